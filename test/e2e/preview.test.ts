import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { PreviewFile } from '../../schemas/types.ts';
import { cli, duck, project, sent, shop, SYNC, told, YML } from './cli.ts';

const db = (dir: string, ...sql: string[]): Promise<unknown> => duck(path.join(dir, 'warehouse.duckdb'), ...sql);
const read = async (dir: string): Promise<PreviewFile> =>
  JSON.parse(await readFile(path.join(dir, 'p.json'), 'utf8')) as PreviewFile;

/** Before the first apply there is no sandbox. */
const copies = async (dir: string): Promise<number> => (existsSync(path.join(dir, 'sandbox.duckdb')) ? sent(dir) : 0);

test('a preview is applied as it was reviewed, and refused when the plan, the lock or the state have moved', async () => {
  const dir = await shop();
  told(await cli(dir, 'plan', '--out', 'p.json'), 0, 'syncline apply p.json');
  expect((await read(dir)).syncs).toMatchObject([
    { sync: 'purchases', route: 'initial', inserts: 3, billable: 3, records: 3 },
  ]);
  // The source may move: what guards allow is sent.
  await db(dir, `insert into orders values (3, timestamp '2024-01-02', 'new')`);
  expect((await cli(dir, 'apply', 'p.json')).code).toBe(0);
  expect(await sent(dir)).toBe(4);
  told(
    await cli(dir, 'apply', 'p.json'),
    1,
    'error[preview-moved]: purchases: purchases ran or was reset since the preview',
  );

  // Its sync is well all the same.
  expect((await cli(dir, 'status')).out).toMatch(/^purchases: ok, last run/);

  await cli(dir, 'plan', '--out', 'p.json');
  await db(dir, `alter table orders add column note varchar`);
  await cli(dir, 'lock');
  told(await cli(dir, 'apply', 'p.json'), 1, 'the project, its lock or syncline itself changed since it was written');
  await cli(dir, 'plan', '--out', 'p.json');
  await writeFile(path.join(dir, 'syncs/shop.yml'), SYNC.replace('event: Purchase', 'event: Sale'));
  told(await cli(dir, 'apply', 'p.json'), 1, 'the project, its lock or syncline itself changed since it was written');
  expect(await sent(dir)).toBe(4);
});

test('a preview of another project or target, of another form, or beside flags that say otherwise', async () => {
  const dir = await shop();
  await cli(dir, 'plan', '--out', 'p.json');
  told(await cli(dir, 'apply', 'p.json', '--resend', 'purchases'), 2, 'A preview says which syncs are applied and how');
  told(await cli(dir, 'apply', 'none.json'), 2, 'There is no preview file none.json');
  const preview = await read(dir);
  await writeFile(path.join(dir, 'p.json'), JSON.stringify({ ...preview, project: 'other' }));
  told(await cli(dir, 'apply', 'p.json'), 2, 'is of other / dev, this is shop / dev');
  await writeFile(path.join(dir, 'p.json'), JSON.stringify({ ...preview, target: 'prod' }));
  told(await cli(dir, 'apply', 'p.json'), 2, 'is of shop / prod, this is shop / dev. Use -t, or plan again.');
  const unmarked = { ...preview.syncs[0]!, state: undefined };
  for (const text of ['{', '[]', '{"previewVersion":2}', JSON.stringify({ ...preview, syncs: [unmarked] })]) {
    await writeFile(path.join(dir, 'p.json'), text);
    told(await cli(dir, 'apply', 'p.json'), 2, 'p.json is no preview of this syncline');
  }
  expect(await copies(dir)).toBe(0);
  expect(await db(dir, `select count(*)::int as n from duckdb_schemas() where schema_name = 'mixpanel'`)).toEqual([
    { n: 0 },
  ]);
});

test('what a preview says of a rename, a decided resend, a decided forward and initial: skip is what is done', async () => {
  const dir = await shop({ extra: '    initial: skip\n' });
  /** Plans, applies exactly that, and compares. @returns what both say */
  const done = async (): Promise<Record<string, unknown>> => {
    // An adoption and a rename send nothing for themselves, and change the state all the same.
    told(await cli(dir, 'plan', '--out', 'p.json', '--detailed-exitcode'), 3);
    const [p] = (await read(dir)).syncs;
    const before = await copies(dir);
    const applied = await cli(dir, 'apply', 'p.json');
    told(applied, 0);
    const [run] = (await duck(
      path.join(dir, 'warehouse.duckdb'),
      'select accepted_inserts, accepted_updates, accepted_deletes, invalid, billable, captured_inserts from mixpanel.runs order by run desc limit 1',
    )) as [Record<string, unknown>];
    const { inserts, updates, deletes, billable, adopted, records, route, decision, renamedFrom } = p!;
    const [invalid] = [Object.values(p!.invalid).reduce((a, b) => a + b, 0)];
    expect(Object.values(run).slice(0, 5).map(Number)).toEqual([inserts, updates, deletes, invalid, billable]);
    expect([(await copies(dir)) - before, adopted]).toEqual([
      records,
      adopted > 0 ? Number(run['captured_inserts']) : 0,
    ]);
    return { route, decision, renamedFrom, inserts, updates, deletes, invalid, adopted };
  };
  const declare = (text: string): Promise<void> => writeFile(path.join(dir, 'syncs/shop.yml'), text);
  const nothing = { decision: null, renamedFrom: null, inserts: 0, updates: 0, deletes: 0, invalid: 0, adopted: 0 };
  expect(await done()).toEqual({ ...nothing, route: 'initial', adopted: 3 });
  expect((await cli(dir, 'plan', '--detailed-exitcode')).code).toBe(0);
  await declare(`${SYNC.replace('purchases', 'sales')}    renamed_from: purchases\n`);
  expect((await cli(dir, 'plan', '--detailed-exitcode')).code).toBe(3);

  const renamed = `${SYNC.replace('purchases', 'sales')}    renamed_from: purchases\n    guard: { max_deletes: 3 }\n`;
  await declare(renamed);
  await db(dir, `update orders set item = 'new' where id = 1`, `insert into orders values (7, null, 'no time')`);
  expect(await done()).toEqual({ ...nothing, route: 'changes', renamedFrom: 'purchases', updates: 1, invalid: 1 });

  for (const [decision, name, updates] of [
    ['resend', 'Item', 2],
    ['forward', 'Thing', 1],
  ] as const) {
    const properties = `    properties: { rename: { item: ${name} } }\n`;
    await declare(renamed + properties);
    const hash = /decisions: \{ ([0-9a-f]{7}): resend/.exec((await cli(dir, 'plan')).out)![1]!;
    await declare(`${renamed}${properties}    decisions: { ${hash}: ${decision} }\n`);
    await db(
      dir,
      `update orders set item = '${name}' where id = 1`,
      `delete from orders where id = (select min(id) from orders where id <> 1)`,
      `insert into orders values (${name.length + 10}, timestamp '2024-01-02', 'x')`,
    );
    // What was invalid is judged again under another declaration.
    const changes = { inserts: 1, updates, deletes: 1, invalid: 1 };
    expect(await done()).toEqual({ ...nothing, route: 'changes', decision, ...changes });
  }
});

test('a mapping that waits for a decision gives no preview file', async () => {
  const dir = await shop();
  await cli(dir, 'apply', '-q');
  await writeFile(path.join(dir, 'syncs/shop.yml'), `${SYNC}    properties: { rename: { item: Item } }\n`);
  const planned = await cli(dir, 'plan', '--out', 'p.json');
  told(planned, 1, 'The mapping of purchases changed since its last run (columns item)');
  expect(planned.out).toContain('purchases: the mapping changed (columns item)');
  await expect(readFile(path.join(dir, 'p.json'))).rejects.toThrow('ENOENT');
});

test('a guard that would stop apply is told by plan, with the flag that lets it pass', async () => {
  const dir = await shop();
  await cli(dir, 'apply', '-q');
  await db(dir, `insert into orders values (3, timestamp '2024-01-02', 'new')`);
  // A guard stops it before anything is sent, and plan says so first.
  await writeFile(path.join(dir, 'syncs/shop.yml'), `${SYNC}    guard: { max_changes: 0 }\n`);
  const planned = await cli(dir, 'plan');
  expect(planned.out).toContain(
    'apply will stop: 1 row where 0 rows may pass (guard max_changes). If that is meant: --allow purchases.max_changes=1',
  );
  told(await cli(dir, 'apply'), 1, 'The guard max_changes stopped this run');
  expect((await cli(dir, 'apply', '--allow', 'purchases.max_changes=1')).code).toBe(0);
});

test('what a guard stopped is allowed with the same preview, and applied once; a reset makes it stale', async () => {
  const dir = await shop();
  await cli(dir, 'apply', '-q');
  await db(dir, `delete from orders where id > 0`);
  await writeFile(path.join(dir, 'syncs/shop.yml'), `${SYNC}    guard: { max_deletes: 1 }\n`);
  const planned = await cli(dir, 'plan', '--out', 'p.json');
  expect([planned.code, planned.out]).toEqual([0, expect.stringContaining('--allow purchases.max_deletes=2')]);
  for (let i = 0; i < 2; i++) told(await cli(dir, 'apply', 'p.json'), 1, 'The guard max_deletes stopped this run');
  const allowed = ['apply', 'p.json', '--allow', 'purchases.max_deletes=2'] as const;
  told(await cli(dir, ...allowed), 0, '0 inserts, 0 updates, 2 deletes');
  const moved = 'error[preview-moved]: purchases: purchases ran or was reset since the preview was written';
  told(await cli(dir, ...allowed), 1, moved);
  // Also where nothing changed: its baseline is the same, its record is not.
  await cli(dir, 'plan', '--out', 'p.json');
  told(await cli(dir, 'apply'), 0, 'nothing changed');
  told(await cli(dir, 'apply', 'p.json'), 1, moved);
  await cli(dir, 'plan', '--out', 'p.json');
  await cli(dir, 'reset', 'purchases');
  told(await cli(dir, 'apply', 'p.json'), 1, moved);
  expect(await sent(dir)).toBe(5);
  // A failure of before stays the one that is told.
  await writeFile(path.join(dir, 'syncs/shop.yml'), `${SYNC}    guard: { max_changes: 0 }\n`);
  told(await cli(dir, 'apply'), 1, 'The guard max_changes stopped this run');
  await cli(dir, 'plan', '--out', 'p.json');
  await cli(dir, 'reset', 'purchases', '--new-epoch');
  told(await cli(dir, 'apply', 'p.json'), 1, moved);
  expect((await cli(dir, 'status')).out).toMatch(
    /^purchases: failed .*\. Next: syncline plan -s purchases\n {2}guard: /,
  );

  // A sync that never ran: its setup, and a run that was stopped, leave the preview as it was.
  const first = await shop({ extra: '    guard: { max_changes: 2 }\n' });
  await cli(first, 'plan', '--out', 'p.json');
  told(await cli(first, 'apply', 'p.json'), 1, 'The guard max_changes stopped this run');
  told(await cli(first, 'apply', 'p.json', '--allow', 'purchases.max_changes=3'), 0, '3 inserts');
});

test('what a check of apply would refuse is told by plan, in the same sentence and with the rows', async () => {
  const lookup = `syncs:
  - { name: purchases, kind: lookup_table, mode: full, source: { relation: orders }, id: id, lookup_table_id: a1 }
`;
  const profiles = lookup
    .replace('lookup_table, mode: full', 'user_profiles, mode: mirror')
    .replace(/ id: id.*/, ' user_id: id }');
  const strict = `${SYNC}    on_delete: fail\n    guard: { max_rejects: 0 }\n`;
  for (const [yml, first, then, sentence] of [
    [SYNC, `insert into orders values (null, '2024-01-02', 'x')`, '', 'check-failed: A key column is NULL.'],
    [SYNC, `insert into orders values (1, '2024-01-02', 'x')`, '', 'check-failed: A key occurs more than once.'],
    // The twin of a row that Mixpanel shows is no news by itself.
    [SYNC, '', `insert into orders select * from orders where id = 1`, undefined],
    [SYNC, '', `insert into orders values (1, '2024-01-02', 'x')`, '(key 1 occurs 2 times)'],
    [lookup, `insert into orders values (1, '2024-01-02', 'x')`, '', 'check-failed: An id occurs more than once.'],
    [lookup, `update orders set id = 0 where id = 1`, '', 'check-failed: A row has no id: Mixpanel takes none that is'],
    [lookup, '', `delete from orders`, 'guard: The source of the lookup table is empty'],
    [profiles, `update orders set id = null where id = 1`, '', 'check-failed: A row has no id. Give every row an id'],
    [strict, '', `delete from orders where id = 1`, 'check-failed: Rows vanished from the source, and `on_delete` is'],
    [strict, `update orders set t = null where id = 1`, '', 'guard: The guard max_rejects stopped this run'],
    [strict, '', `update orders set t = null where id = 1`, '(new invalid rows: 1)'],
  ] as const) {
    const dir = await shop();
    await db(dir, 'update orders set id = id + 1', ...(first === '' ? [] : [first]));
    await writeFile(path.join(dir, 'syncs/shop.yml'), yml);
    if (then !== '') {
      expect((await cli(dir, 'apply', '-q')).code).toBe(0);
      await db(dir, then);
    }
    const planned = await cli(dir, 'plan', '--output', 'json', '--out', 'p.json');
    const [preview] = (JSON.parse(planned.out) as PreviewFile).syncs;
    const refusals = preview!.refusals.map((r) => `${r.code}: ${r.message}`);
    const applied = await cli(dir, 'apply');
    if (sentence === undefined) {
      expect([refusals, planned.code, applied.code]).toEqual([[], 0, 0]);
      continue;
    }
    const [refusal] = refusals as [string];
    expect(refusal).toContain(sentence);
    const [code, ...message] = refusal.split(': ');
    told(applied, 1, `error[${code}]: purchases: ${message.join(': ')}`);
    // What no flag lets pass is no preview to apply.
    const isGuard = code === 'guard';
    expect([planned.code, existsSync(path.join(dir, 'p.json'))]).toEqual(isGuard ? [0, true] : [1, false]);
    if (!isGuard) told(planned, 1, `error[${code}]: purchases: ${message.join(': ')}`);
  }
});

test('as Markdown: one table, and details that say what the text says', async () => {
  const dir = await shop({ yml: YML.replace('duckdb }', 'duckdb, egress_price: 100000 }') });
  const { code, out } = await cli(dir, 'plan', '--markdown');
  expect(code).toBe(0);
  await expect(out).toMatchFileSnapshot('expected/plan.md');
});

test('a sync that plan refuses, and what no sync is of, are in the comment and in the JSON', async () => {
  const dir = await shop();
  await cli(dir, 'apply', '-q');
  await writeFile(path.join(dir, 'syncs/shop.yml'), SYNC.replace('purchases', 'sales'));
  await db(dir, 'alter table orders drop column item');
  const planned = await cli(dir, 'plan', '--output', 'json', '--out', 'p.json');
  told(planned, 1, 'error[columns-drifted]: sales: ', 'has the state of purchases');
  const { syncs, refused, orphans } = JSON.parse(planned.out) as PreviewFile;
  const message = expect.stringContaining('item') as string;
  expect([syncs, refused]).toEqual([[], [{ sync: 'sales', code: 'columns-drifted', message }]]);
  expect(orphans).toEqual([{ name: 'purchases', hasState: true }]);
  const { code, out } = await cli(dir, 'plan', '--markdown');
  expect([code, out]).toEqual([1, expect.stringContaining('\n1 sync with something to say, 0 unchanged.\n')]);
  expect(out).toContain('\nmixpanel has tables of purchases, which the project does not declare');
  expect(out).toContain(`| sales | **apply refuses it** |`);
  expect(out).toContain(`~~~~\napply will refuse: ${refused[0]!.message}\n~~~~`);
  await expect(readFile(path.join(dir, 'p.json'))).rejects.toThrow('ENOENT');
});

test('without a scan: what the declarations mean, with no connection and no credentials', async () => {
  const dir = await shop({
    yml: YML.replace('mixpanel: sandbox', `mixpanel: { project_id: 1, token: "{{ env_var('NOT_SET') }}" }`),
  });
  const plan = (...more: string[]) => cli(dir, 'plan', '--no-scan', ...more);
  expect((await plan()).out).toContain('compiled/dev/ is missing');
  await cli(dir, 'compile', '-q');
  expect((await plan('--detailed-exitcode')).out).toBe('No difference to what was reviewed.\n');
  expect((await plan('--markdown')).out).toBe(
    '### syncline plan --no-scan: shop / dev\n\nNo difference to what was reviewed.\n',
  );
  const declare = (text: string): Promise<void> => writeFile(path.join(dir, 'syncs/shop.yml'), text);
  // Whatever makes apply refuse what was reviewed is said, each in the words of its declaration.
  await declare(
    `${SYNC}    on_delete: ignore\n    frequency: daily\n    tags: [b, a]\n    initial: skip\n    guard: { max_changes: 5, max_deletes: 2%, max_rejects: 7 }\n    decisions: { a123456: resend }\n`,
  );
  const said =
    '~ purchases: frequency: none → daily; guard.max_changes: none → 5; guard.max_deletes: default → 2%; guard.max_rejects: none → 7; initial: send → skip; on_delete: tombstone → ignore; tags: none → a, b; decides a123456: resend';
  expect((await plan()).out).toBe(`${said}\n`);
  const json = await plan('--output', 'json');
  expect(JSON.parse(json.out)).toEqual({
    ...{ project: 'shop', target: 'dev', planHash: expect.stringMatching(/^[0-9a-f]{64}$/) as string },
    differences: [said],
  });
  await declare(`${SYNC}    enabled: false\n`);
  expect((await plan()).out).toBe('- purchases: says `enabled: false`\n');
  const append = SYNC.replace('mode: mirror', 'mode: append\n    insert_time: t').replace('    key: id\n', '');
  await declare(append);
  await cli(dir, 'compile', '-q');
  await declare(`${append}    late_window: 12h\n    properties: { exclude: [item] }\n`);
  expect((await plan()).out).toBe(
    '~ purchases: mapping: columns item (what is sent from now on has the new form); late_window: none → 12h\n',
  );
  await declare(SYNC);
  await cli(dir, 'compile', '-q');
  // Another SQL for the same declaration, as a newer compiler may write it.
  const file = path.join(dir, 'compiled/dev/purchases/deliver_pages.sql');
  await writeFile(file, `${await readFile(file, 'utf8')}-- more\n`);
  expect((await plan()).out).toBe('~ purchases: SQL of deliver_pages, with the same meaning\n');
  await cli(dir, 'compile', '-q');
  const extra = SYNC.slice(7).replace('purchases', 'more').replace('mirror', 'full').replace('events', 'user_profiles');
  await writeFile(
    path.join(dir, 'syncs/shop.yml'),
    `${SYNC}    properties: { rename: { item: Item } }\n${extra.replace(/ {4}event.*\n {4}time.*\n {4}key: id/, '    user_id: id')}`,
  );
  await writeFile(path.join(dir, 'warehouse.duckdb'), 'no database');
  const changed = await plan('--detailed-exitcode');
  expect([changed.code, changed.out]).toEqual([
    3,
    expect.stringMatching(
      /^~ purchases: mapping: columns item \(a mirror that has run waits for a decision: `syncline plan` prices it\)\n\+ more: user_profiles, full, from orders\n$/,
    ),
  ]);
  told(await plan('--out', 'p.json'), 2, '--out needs the counts of a scan');
});

test('numbers that a double does not hold and reserved keys inside JSON are counted, of rows that would be sent', async () => {
  const dir = await project({
    'syncline.yml': YML,
    'syncs/s.yml': `syncs:
  - { name: e, kind: events, mode: mirror, source: { relation: e }, event: E, time: t, key: id, json_properties: j }
  - { name: u, kind: user_profiles, mode: full, source: { relation: e }, user_id: id, properties: { exclude: [j, t], types: { h: string } } }
  - { name: h, kind: group_profiles, mode: mirror, source: { relation: e }, group_key: g, group_id: id, history: { start_time: t }, properties: { exclude: [j, h] } }
  - { name: l, kind: lookup_table, mode: full, source: { relation: e }, id: id, lookup_table_id: x, properties: { exclude: [j, t] } }
`,
  });
  const warehouse = path.join(dir, 'warehouse.duckdb');
  const row = (id: number, more: string): string => `(${id}, '2024-01-01', ${more})`;
  await duck(
    warehouse,
    'create table e (id integer, t timestamp, b bigint, d decimal(38,30), h hugeint, j json)',
    `insert into e values ${[
      row(1, `9007199254740991, 1.5, 1, '{"a":1,"b":2,"time":null}'`),
      row(2, `9007199254740993, null, null, '{"time":5,"mp_x":1}'`),
      row(3, `-9223372036854775808, 1.5, null, '{"syncline_x":1}'`),
      row(4, `null, null, -170141183460469231731687303715884105727, '[1]'`),
      row(5, `null, null, 9007199254740993, null`),
    ].join(', ')}`,
  );
  expect((await cli(dir, 'lock')).code).toBe(0);
  const planned = await cli(dir, 'plan', '--output', 'json');
  const { syncs } = JSON.parse(planned.out) as PreviewFile;
  // Row 4 is invalid for events: what is not sent is not counted.
  expect(syncs.map((s) => [s.sync, s.inexact, s.leftOut])).toEqual([
    ['e', 3, 2],
    ['u', 2, 0],
    ['h', 4, 0],
    ['l', 4, 0],
  ]);
  const told =
    '2 rows with keys in `json_properties` whose names are reserved: those keys are left out\n  3 rows with a number beyond 2^53: Mixpanel keeps the nearest double';
  expect((await cli(dir, 'plan', '-s', 'e')).out).toContain(told);
  expect((await cli(dir, 'plan', '--markdown')).out).toContain(told);
  expect((await cli(dir, 'apply')).code).toBe(0);
  await duck(warehouse, 'update e set d = 2.5 where id = 2');
  const next = JSON.parse((await cli(dir, 'plan', '-s', 'e', '--output', 'json')).out) as PreviewFile;
  expect(next.syncs.map((s) => [s.updates, s.inexact, s.leftOut])).toEqual([[1, 1, 1]]);
});
