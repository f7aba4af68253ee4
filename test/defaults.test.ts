import { describe, expect, test } from 'vitest';
import type { ResolvedSync } from '../compiler/project/resolve.ts';
import { loadProject } from '../compiler/project/load.ts';
import { writeLock } from '../compiler/lock.ts';

const columns = (names: string) =>
  names.split(' ').map((name) => ({ name, type: ['t', 'loaded'].includes(name) ? 'TIMESTAMP' : 'VARCHAR' }));
const LOCK = writeLock({
  lockVersion: 1,
  targets: {
    dev: {
      sources: {
        orders: { columns: columns('id t note internal_note amount loaded') },
        people: { columns: columns('id Email t') },
        songs: { columns: columns('id title') },
      },
    },
  },
});
const ORDERS = 'kind: events, mode: mirror, source: { relation: orders }, event: E, time: t, key: id';
const LOG = 'kind: events, mode: append, source: { relation: orders }, event: E, time: t, insert_time: loaded';
const PEOPLE = 'kind: user_profiles, mode: mirror, source: { relation: people }, user_id: id';
const SONGS = 'kind: lookup_table, mode: full, source: { relation: songs }, id: id, lookup_table_id: x';

/** The project of these defaults and syncs, by file. */
function load(defaults: string, syncs: Readonly<Record<string, readonly string[]>>) {
  return loadProject(
    {
      'syncline.yml': `name: shop
default_target: dev
vars: { often: hourly }
targets:
  dev: { warehouse: { type: duckdb, path: w.duckdb }, mixpanel: sandbox, vars: { often: daily } }
defaults: ${defaults}
`,
      'syncline.lock.json': LOCK,
      ...Object.fromEntries(
        Object.entries(syncs).map(([file, list]) => [file, `syncs:\n${list.map((s) => `  - { ${s} }\n`).join('')}`]),
      ),
    },
    { needLock: true },
  );
}

function only(defaults: string, sync: string, file = 'syncs/a.yml'): ResolvedSync {
  const { project, diagnostics } = load(defaults, { [file]: [`name: a, ${sync}`] });
  expect(diagnostics.filter((d) => d.severity === 'error')).toEqual([]);
  return project!.syncs[0]!;
}
const problems = (defaults: string, syncs: Readonly<Record<string, readonly string[]>>): readonly string[] =>
  load(defaults, syncs).diagnostics.map((d) => {
    const at = d.span ? `${d.span.file}:${d.span.start.line}:${d.span.start.col}` : '';
    return `${at} ${d.code} ${d.message}${d.hint === undefined ? '' : ` (${d.hint})`}`;
  });

describe('how defaults merge', () => {
  test('the sync’s own key wins, then the narrower default', () => {
    const defaults = `{ frequency: hourly, on_new_column: fail, kind: { events: { frequency: daily } }, path: { "syncs/**": { frequency: weekly } } }`;
    expect(only(defaults, ORDERS).frequency).toBe('weekly');
    expect(only(defaults, ORDERS).onNewColumn).toBe('fail');
    expect(only(defaults, `${ORDERS}, frequency: api, on_new_column: ignore`)).toMatchObject({
      frequency: 'api',
      onNewColumn: 'ignore',
    });
    const inKind = defaults.replace('path: { "syncs/**"', 'path: { "other/**"');
    expect(only(inKind, ORDERS).frequency).toBe('daily');
    expect(only(inKind, PEOPLE).frequency).toBe('hourly');
  });

  test('of paths the one with more letters before its first wildcard is narrower, and a kind inside it more so', () => {
    const defaults = `{ path: {
      syncs/finance/ar.yml: { frequency: api, kind: { user_profiles: { frequency: weekly } } },
      "syncs/finance": { frequency: daily },
      "syncs/*/ar.yml": { frequency: hourly } } }`;
    expect(only(defaults, ORDERS, 'syncs/finance/ar.yml').frequency).toBe('api');
    expect(only(defaults, PEOPLE, 'syncs/finance/ar.yml').frequency).toBe('weekly');
    expect(only(defaults, ORDERS, 'syncs/finance/deep/ap.yml').frequency).toBe('daily');
    expect(only(defaults, ORDERS, 'syncs/sales/ar.yml').frequency).toBe('hourly');
    const equal = `{ path: { "syncs/*": { frequency: daily }, "syncs/**": { frequency: hourly } } }`;
    expect(only(equal, ORDERS).frequency).toBe('hourly');
  });

  test('lists add up, the sync’s own entries first, and maps merge by key', () => {
    const sync = only(
      `{ tags: [nightly, a], properties: { exclude: [internal_note], rename: { amount: Amount, NOTE: Note } }, guard: { max_deletes: 5, max_changes: 10 }, owner: { name: Data, email: d@x.io }, kind: { events: { tags: [b], guard: { max_changes: 20 } } } }`,
      `${ORDERS}, tags: [own, a], properties: { exclude: [amount], rename: { note: Mine } }, guard: { max_deletes: 7 }, owner: { name: Me }`,
    );
    expect(sync.tags).toEqual(['own', 'a', 'b', 'nightly']);
    expect(sync.properties.exclude).toEqual(['amount', 'internal_note']);
    expect(sync.properties.rename).toEqual({ note: 'Mine', amount: 'Amount' });
    expect(sync.guard).toMatchObject({ maxDeletes: { rows: 7 }, maxChanges: 20 });
    expect(sync.owner).toEqual({ name: 'Me', email: 'd@x.io' });
  });

  test('variables of the target are known', () => {
    expect(
      only(`{ frequency: "{{ var('often') }}", guard: { max_changes: "{{ var('n', '12') }}" } }`, ORDERS),
    ).toMatchObject({
      frequency: 'daily',
      guard: { maxChanges: 12 },
    });
  });

  test('enabled may be a default', () => {
    const defaults = '{ path: { syncs/old: { enabled: false } } }';
    expect(only(defaults, ORDERS, 'syncs/old/a.yml').enabled).toBe(false);
    expect(only(defaults, `${ORDERS}, enabled: true`, 'syncs/old/a.yml').enabled).toBe(true);
  });
});

describe('a default that does not suit', () => {
  test('a kind does not apply where it is not narrowed', () => {
    const defaults = '{ on_delete: tombstone, late_window: 6h, properties: { exclude: [internal_note] } }';
    expect(only(defaults, PEOPLE)).toMatchObject({
      onDelete: 'unset',
      lateWindowMs: null,
      properties: { exclude: [] },
    });
    expect(only(defaults, SONGS).given.has('on_delete')).toBe(false);
    expect(only(defaults, LOG)).toMatchObject({ lateWindowMs: 21_600_000 });
    expect(only(defaults, LOG).given.has('on_delete')).toBe(false);
    expect(only('{ on_delete: delete }', PEOPLE).onDelete).toBe('delete');
    expect(only('{ on_delete: delete }', ORDERS).onDelete).toBe('tombstone');
  });

  test('a mode does not apply anywhere', () => {
    expect(
      only('{ kind: { events: { on_delete: ignore, guard: { max_deletes: 5, max_changes: 9 } } } }', LOG),
    ).toMatchObject({
      guard: { maxDeletes: null, maxChanges: 9 },
    });
  });

  test('a kind is a mistake where it is narrowed, and told once', () => {
    const two = { 'syncs/a.yml': [`name: a, ${PEOPLE}`, `name: b, ${PEOPLE}`] };
    expect(
      problems('{ kind: { lookup_table: { on_delete: ignore }, user_profiles: { on_delete: tombstone } } }', two),
    ).toEqual([
      'syncline.yml:6:37 kind-refuses kind lookup_table has no use for `on_delete:` (remove it)',
      'syncline.yml:6:86 wrong-value `on_delete` of kind user_profiles must be unset or delete or ignore or fail',
    ]);
    expect(problems('{ path: { syncs: { on_delete: tombstone, late_window: 6h } } }', two)).toEqual([
      'syncline.yml:6:41 wrong-value `on_delete` of kind user_profiles must be unset or delete or ignore or fail (for sync a)',
    ]);
  });

  test('is told where it stands, and not again for what a sync says itself', () => {
    const a = { 'syncs/a.yml': [`name: a, ${ORDERS}`, `name: b, ${ORDERS}, timezone: UTC`] };
    expect(problems('{ timezone: Mars/Olympus }', a)).toEqual([
      'syncline.yml:6:23 wrong-value `timezone` Mars/Olympus is not in the IANA database (for sync a)',
    ]);
    expect(problems('{ late_window: soon }', a)).toEqual([
      'syncline.yml:6:26 wrong-value `defaults.late_window` must look like 500ms, 60s or 2m',
    ]);
    expect(problems(`{ tags: ["{{ var('nobody') }}"] }`, a)).toEqual([
      'syncline.yml:6:20 var-unset variable `nobody` has no value (set it under `vars:` or with --vars)',
    ]);
  });
});

test.each([
  ['{ tag: [a] }', 'unknown-key unknown key `tag` (did you mean `tags`?)'],
  ['{ guard: { max_delete: 5 } }', 'unknown-key unknown key `max_delete` (did you mean `max_deletes`?)'],
  ['{ kind: { event: {} } }', 'unknown-key unknown key `event` (did you mean `events`?)'],
  ['{ name: a }', 'default-refused `name` cannot be a default: it says what one sync is (write it in each sync)'],
  [
    '{ source: { relation: a } }',
    'default-refused `source` cannot be a default: it says what one sync is (write it in each sync)',
  ],
  [
    '{ kind: { events: { key: id } } }',
    'default-refused `key` cannot be a default: it says what one sync is (write it in each sync)',
  ],
  [
    '{ path: { syncs: { time: t } } }',
    'default-refused `time` cannot be a default: it says what one sync is (write it in each sync)',
  ],
  ['{ path: { syncs: { path: { a: {} } } } }', 'unknown-key unknown key `path`'],
  ['{ frequency: dayly }', 'wrong-value `frequency` must be hourly or daily or weekly or api (did you mean `daily`?)'],
])('defaults: %s is refused', (defaults, problem) => {
  const found = problems(defaults, { 'syncs/a.yml': [`name: a, ${ORDERS}`] });
  expect(found).toHaveLength(1);
  expect(found[0]).toMatch(/^syncline\.yml:6:\d+ /);
  expect(found[0]!.replace(/^\S+ /, '')).toBe(problem);
});

test('what does nothing is warned of', () => {
  expect(
    problems('{ properties: { exclude: [internl_note], types: { email: string } }, path: { sync/x: { tags: [a] } } }', {
      'syncs/a.yml': [`name: a, ${ORDERS}`, `name: b, ${PEOPLE}`],
    }),
  ).toEqual([
    'syncline.yml:6:37 default-column-not-found no source that this default reaches has a column `internl_note` (did you mean `internal_note`?)',
    'syncline.yml:6:88 default-unmatched no sync is declared in a file that matches sync/x (a path starts at the folder of the project, such as "syncs/finance/**")',
  ]);
});
