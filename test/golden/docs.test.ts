import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { writeLock } from '../../compiler/lock.ts';
import { compileFiles } from './project.ts';

const root = path.join(import.meta.dirname, '../..');
const read = (file: string): string => readFileSync(path.join(root, file), 'utf8');

test('the README’s project compiles for both of its targets', async () => {
  const [project, syncs, history, defaults] = [...read('README.md').matchAll(/```yaml\n(.*?)```/gs)].map(
    (m) => m[1] ?? '',
  );
  const table = (columns: string) => ({
    columns: columns.split(', ').map((c) => ({ name: c.split(' ')[0]!, type: c.slice(c.indexOf(' ') + 1) })),
  });
  const sources = {
    'main.orders': table(
      'order_id INTEGER, ordered_at TIMESTAMP, customer_id VARCHAR, device VARCHAR, status VARCHAR, amount DOUBLE, attributes JSON, note VARCHAR, internal_note VARCHAR',
    ),
    'main.log': table('loaded_at TIMESTAMP, event_name VARCHAR, happened_at TIMESTAMP WITH TIME ZONE, user_id BIGINT'),
    'main.customers': table('customer_id VARCHAR, email VARCHAR, name VARCHAR, tier VARCHAR'),
    'main.accounts': table('account_id VARCHAR, name VARCHAR, arr INTEGER'),
    'main.customer_versions': table('customer_id VARCHAR, valid_from TIMESTAMP, valid_to TIMESTAMP, tier VARCHAR'),
    'main.songs': table('song_id INTEGER, song_name VARCHAR, artist VARCHAR'),
  };
  for (const target of ['dev', 'prod']) {
    const lock = writeLock({ lockVersion: 1, targets: { [target]: { sources } } });
    const files = {
      'syncline.yml': project!,
      'syncs/shop.yml': syncs!,
      'syncs/z.yml': history!,
      'syncline.lock.json': lock,
    };
    const { diagnostics, plan } = await compileFiles(files, { target });
    expect(diagnostics).toEqual([]);
    const shared = { ...files, 'syncline.yml': project! + defaults!, 'syncs/finance/x.yml': 'syncs: []\n' };
    const compiled = await compileFiles(shared, { target });
    expect(compiled.diagnostics.map((d) => d.code)).toEqual(['default-unmatched']);
    expect(compiled.plan?.syncs.map((s) => [s.tags, s.frequency])).toEqual([
      [['orders', 'nightly'], 'hourly'],
      ...Array<unknown>(5).fill([['nightly'], 'daily']),
    ]);
    expect(compiled.project?.syncs.map((s) => s.onDelete)).toEqual([
      'tombstone',
      'tombstone',
      'unset',
      'delete',
      'unset',
      'ignore',
    ]);
    expect(plan?.syncs.map((s) => [s.name, s.strategy])).toEqual([
      ['purchases', 'checksum'],
      ['log_events', 'watermark'],
      ['customers', 'checksum'],
      ['accounts', 'checksum'],
      ['songs', 'all'],
      ['customer_tiers', 'checksum'],
    ]);
  }
});

test.each([
  ['PostgreSQL', 'public.orders', { id: 'bigint', t: 'timestamp with time zone' }],
  ['Redshift', 'public.orders', { id: 'bigint', t: 'timestamp with time zone' }],
  ['BigQuery', 'shop.orders', { id: 'INT64', t: 'TIMESTAMP' }],
])('the README’s target on %s compiles', async (warehouse, relation, types) => {
  const block = read('README.md')
    .split(`## ${warehouse}\n`)[1]!
    .match(/```yaml\n(.*?)```/s)![1]!;
  const columns = Object.entries(types).map(([name, type]) => ({ name, type }));
  // What stands there as a choice is one, too.
  const chosen = block.replaceAll(/^( +)# (?=[a-z_]+: )/gm, '$1');
  const compiled = (yml: string) =>
    compileFiles(
      {
        'syncline.yml': `name: shop\n${yml}`,
        'syncs/shop.yml': `syncs:\n  - { name: s, kind: events, mode: mirror, source: { relation: ${relation} }, event: E, time: t, key: id }\n`,
        'syncline.lock.json': writeLock({
          lockVersion: 1,
          targets: { prod: { sources: { [relation]: { columns } } } },
        }),
      },
      { target: 'prod' },
    );
  const { diagnostics, plan } = await compiled(block);
  expect(diagnostics).toEqual([]);
  expect((await compiled(chosen)).diagnostics).toEqual([]);
  expect(chosen === block).toBe(warehouse === 'PostgreSQL');
  const isBigQuery = warehouse === 'BigQuery';
  if (!isBigQuery) expect(plan?.session.at(-1)).toBe('set statement_timeout to 1800000');
  expect(plan?.setup.flatMap((s) => s.run)).toContain(`shared/${isBigQuery ? 'grant_sources' : 'grant_future'}.sql`);
});

/** What shows each difference from Warehouse Connectors: files of tests, and the titles of theirs that do. */
const DIFFERENCES: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  'Deletes and updates of events.': {
    'e2e/seen.test.ts': ['events, mirror: a value changes', 'events, mirror: a row is gone, on_delete: tombstone'],
  },
  'Equal rows.': { 'e2e/seen.test.ts': ['events, mirror without key: equal rows'] },
  'Profiles.': {
    'e2e/seen.test.ts': [
      'profiles, mirror: a value becomes NULL',
      'profiles, mirror: a row is gone, on_delete: delete',
    ],
  },
  'What counts as a change.': {
    'e2e/samples.test.ts': [
      'checksums: a new column of NULLs, what is written into it, and a column that is removed',
      'a column that is excluded is in no checksum',
    ],
  },
  'Key.': {
    'e2e/seen.test.ts': ['events, mirror: a value changes', 'events, mirror without key: a row changes in anything'],
  },
  'Plan first.': {
    'e2e/preview.test.ts': [
      'a guard that would stop apply is told by plan, with the flag that lets it pass',
      'what a check of apply would refuse is told by plan, in the same sentence and with the rows',
    ],
    'e2e/seen.test.ts': ['events, mirror: a row that Mixpanel would refuse'],
  },
  'Account.': {
    'mixpanel.test.ts': ['a token goes as user with an empty password and names no project'],
    'golden/diagnostics.test.ts': ['credential-missing'],
    'e2e/doctor.test.ts': ['what is not well in Mixpanel: credentials, region, project, token, group keys, variables'],
  },
  'Getting data out.': { 'golden/diagnostics.test.ts': ['exports'], 'sandbox-events.test.ts': ['export'] },
  'Warehouses.': { 'golden/docs.test.ts': ['the README names the warehouses that can be read, and no other'] },
  'Schedule.': {
    'e2e/due.test.ts': ['apply --due runs what is due by its last finished run, and says when the rest is'],
  },
  'History.': { 'e2e/seen-history.ts': ['profiles with history, mirror: a new version'] },
};

test('each difference from Warehouse Connectors has tests that show it, and no other has', () => {
  const section = read('README.md').split('## Differences from Warehouse Connectors\n')[1]!.split('\n## ')[0]!;
  const titles = [...section.matchAll(/^- (?:\*\*(.*?)\*\*)?/gm)].map((m) => m[1]);
  expect(titles).toEqual(Object.keys(DIFFERENCES));
  const missing = Object.values(DIFFERENCES)
    .flatMap((files) => Object.entries(files))
    .flatMap(([file, tests]) => tests.filter((title) => !read(`test/${file}`).includes(`'${title}'`)));
  expect(missing).toEqual([]);
});

test('the README names the warehouses that can be read, and no other', () => {
  const { $defs } = JSON.parse(read('schemas/project.schema.json')) as { $defs: Record<string, unknown> };
  const types = [...JSON.stringify($defs).matchAll(/"type":\{"const":"([a-z]+)"/g)].map((m) => m[1]!);
  const named = (text: string | undefined): string[] =>
    [...(text ?? '').matchAll(/DuckDB|PostgreSQL|Redshift|BigQuery|Snowflake|Databricks/g)].map((m) =>
      m[0].toLowerCase().replace('postgresql', 'postgres'),
    );
  const readme = read('README.md');
  const [reads, differs] = [/This version reads (.*?)\. /, /syncline reads (.*?); the others come later/].map((p) =>
    named(p.exec(readme)?.[1]),
  );
  for (const list of [reads, differs]) expect([...new Set(list)].sort()).toEqual(types.sort());
});

test('the README names every command, and no other', () => {
  const commands = [...read('runtime/cli/program.ts').matchAll(/(?:command\(\s*'|\.command\(')([a-z-]+)'/g)].map(
    (m) => m[1]!,
  );
  const table = read('README.md').split('## Commands')[1]!.split('Exit codes')[0]!;
  const named = [...table.matchAll(/`([a-z-]+)(?: [^`]*)?`/g)].map((m) => m[1]!).filter((n) => commands.includes(n));
  expect([...new Set(named)].sort()).toEqual([...commands].sort());
});

test('every template is used by a golden case or part of one', async () => {
  const texts = readdirSync(path.join(root, 'compiler'))
    .filter((f) => f.endsWith('.ts'))
    .map((f) => read(`compiler/${f}`));
  const templates = readdirSync(path.join(root, 'templates/default')).map((f) => f.replace('.sql.njk', ''));
  const included = templates.flatMap((t) =>
    [...read(`templates/default/${t}.sql.njk`).matchAll(/include "([a-z_]+)"/g)].map((m) => m[1]!),
  );
  const unused = templates.filter(
    (t) =>
      !included.includes(t) && !texts.some((x) => x.includes(`'${t}'`) || x.includes(`'${t.replace('check_', '')}'`)),
  );
  expect(unused).toEqual([]);
  await Promise.resolve();
});
