import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { cli, duck, project, sent, told, YML } from './cli.ts';

async function start(sync: string, ...tables: string[]): Promise<string> {
  const dir = await project({ 'syncline.yml': YML, 'syncs/s.yml': `syncs:\n  - { name: p, ${sync} }\n` });
  await duck(path.join(dir, 'warehouse.duckdb'), ...tables);
  told(await cli(dir, 'lock'), 0);
  return dir;
}
const change = (dir: string, ...sql: string[]): Promise<unknown> => duck(path.join(dir, 'warehouse.duckdb'), ...sql);

test.each([
  ['events', 'kind: events, event: E, time: t'],
  ['user_profiles', 'kind: user_profiles, user_id: n'],
])(
  'append of %s: a row without insert time is invalid, one of a time to come waits and is said to',
  async (_, kind) => {
    const dir = await start(
      `${kind}, mode: append, insert_time: loaded, source: { relation: log }`,
      `create table log as select * from (values ('a', timestamp '2024-01-01', timestamp '2024-01-01'), ('b', '2024-01-01', null), ('c', '2024-01-01', (now() at time zone 'UTC')::timestamp + interval 1 day)) as v(n, t, loaded)`,
    );
    told(
      await cli(dir, 'apply'),
      0,
      '1 insert, 0 updates, 0 deletes, 1 invalid',
      '1 row has an insert time that is not reached yet: sent in a later run',
    );
    expect((await cli(dir, 'rejects')).out).toContain('insert-time-missing');
    told(await cli(dir, 'apply'), 0, 'nothing changed');
    await change(dir, `update log set loaded = timestamp '2024-02-01' where n <> 'a'`);
    told(await cli(dir, 'apply'), 0, '2 inserts, 0 updates, 0 deletes');
    told(await cli(dir, 'apply'), 0, 'nothing changed');
  },
);

test('what --allow let pass is on record, and passes once', async () => {
  const dir = await start(
    'kind: events, mode: mirror, source: { relation: p }, event: E, time: t, key: id, guard: { max_changes: 10 }',
    `create table p as select i as id, timestamp '2024-01-01' as t from range(20) as t(i)`,
  );
  told(await cli(dir, 'apply'), 1, 'The guard max_changes');
  told(await cli(dir, 'apply', '--allow', 'p.max_changes=20'), 0, '20 inserts');
  const manifest = JSON.parse(await readFile(path.join(dir, 'target/syncline/dev/manifest.json'), 'utf8')) as {
    allowed: unknown;
  };
  expect(manifest.allowed).toEqual(['p.max_changes=20']);
  await change(dir, `update p set t = '2024-01-02'`);
  told(await cli(dir, 'apply'), 1, 'The guard max_changes');
  expect(await sent(dir)).toBe(20);
});

test('max_deletes, to the row: by default 10 % and at least 100 rows; one of both where the sync says so', async () => {
  const mirror = 'mode: mirror, source: { relation: p }';
  /** Rows that Mixpanel shows, the declaration, and how many of them may go in one run. */
  const tables: Readonly<Record<string, readonly [number, string, number]>> = {
    small: [150, `kind: events, event: E, time: t, key: id, ${mirror}`, 100],
    // 10 % of them are 100.9 rows.
    equal: [1009, `kind: group_profiles, group_key: g, group_id: id, ${mirror}`, 100],
    large: [1010, `kind: user_profiles, user_id: id, ${mirror}`, 101],
    twins: [3000, `kind: events, event: E, time: t, ${mirror}, properties: { exclude: [id] }`, 300],
    share: [150, `kind: user_profiles, user_id: id, ${mirror}, guard: { max_deletes: 2% }`, 3],
    rows: [3000, `kind: events, event: E, time: t, key: id, ${mirror}, guard: { max_deletes: 7 }`, 7],
  };
  const all = Object.entries(tables);
  const dir = await project({
    'syncline.yml': YML,
    'syncs/s.yml': `syncs:\n${all.map(([name, [, how]]) => `  - { name: ${name}, ${how.replace('{ relation: p }', `{ relation: p_${name} }`)} }\n`).join('')}`,
  });
  await change(
    dir,
    ...all.map(
      ([name, [rows]]) =>
        `create table p_${name} as select i as id, 'a' as v, timestamp '2024-01-01' as t from range(${rows}) as r(i)`,
    ),
  );
  told(await cli(dir, 'lock'), 0);
  told(await cli(dir, 'apply', '-q'), 0);
  await change(dir, ...all.map(([name, [, , may]]) => `delete from p_${name} where id <= ${may}`));
  const stopped = await cli(dir, 'plan');
  const refused = await cli(dir, 'apply');
  expect(refused.code).toBe(1);
  for (const [name, [rows, , may]] of all) {
    expect(stopped.out).toContain(
      `apply will stop: ${may + 1} rows where ${may} rows may pass (guard max_deletes). If that is meant: --allow ${name}.max_deletes=${may + 1}`,
    );
    expect(refused.err).toMatch(
      new RegExp(`${name}: The guard max_deletes [^\\n]*\\(deletes: ${may + 1} of ${rows} rows\\)`),
    );
  }
  await change(dir, ...all.map(([name]) => `insert into p_${name} values (0, 'a', timestamp '2024-01-01')`));
  expect((await cli(dir, 'plan')).out).not.toContain('apply will stop');
  const applied = await cli(dir, 'apply');
  told(applied, 0, ...all.map(([name, [, , may]]) => `${name}: run 3 done: 0 inserts, 0 updates, ${may} deletes`));
});

test('a run drops the tables that the state names, and none that only look like them', async () => {
  const dir = await start(
    'kind: events, mode: mirror, source: { relation: p }, event: E, time: t, key: id',
    `create table p as select i as id, timestamp '2024-01-01' as t from range(3) as t(i)`,
  );
  told(await cli(dir, 'apply'), 0, '3 inserts');
  // The first is of a run that the state does not name, the second of one that it does.
  await change(
    dir,
    'create table mixpanel.p__outbox_99 as select 1 as mine',
    'create table mixpanel.pp__outbox_1 as select 1 as mine',
    'create table mixpanel.p__outbox_7 as select 1 as theirs',
    `update mixpanel.p__state set version = 7, names = '7 '`,
    `update p set t = '2024-01-02' where id = 0`,
  );
  told(await cli(dir, 'apply'), 0, '1 insert, 0 updates, 1 delete');
  const rows = await duck(
    path.join(dir, 'warehouse.duckdb'),
    `select table_name as t from duckdb_tables() where schema_name = 'mixpanel' order by 1`,
  );
  expect(rows.map((r) => r['t'])).toEqual([
    'p__ledger',
    'p__outbox_99',
    'p__rejects',
    'p__state',
    'pp__outbox_1',
    'runs',
  ]);
});
