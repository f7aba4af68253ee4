import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { cli, duck, sent, shop, SYNC, told } from './cli.ts';

const db = (dir: string, ...sql: string[]): Promise<Record<string, unknown>[]> =>
  duck(path.join(dir, 'warehouse.duckdb'), ...sql);
const mixpanel = (dir: string, sql: string): Promise<Record<string, unknown>[]> =>
  duck(path.join(dir, 'sandbox.duckdb'), sql);
const declare = (dir: string, text: string): Promise<void> => writeFile(path.join(dir, 'syncs/shop.yml'), text);
const tables = async (dir: string): Promise<unknown[]> =>
  (await db(dir, `select table_name as t from duckdb_tables() where schema_name = 'mixpanel' order by 1`)).map(
    (r) => r['t'],
  );
const RENAMED = `${SYNC.replace('purchases', 'sales')}    renamed_from: purchases\n`;

test('a renamed sync goes on with its state, its ledger and its ids', async () => {
  const dir = await shop();
  await cli(dir, 'compile', '-q');
  await cli(dir, 'apply', '-q');
  await db(dir, `update orders set item = 'new' where id = 1`);
  await declare(dir, RENAMED);
  // The preview reads the tables of the former name, and writes nothing.
  const planned = await cli(dir, 'plan');
  const renamed = 'renamed from purchases: state and ids are kept, nothing is resent for it';
  expect(planned.out).toContain(`sales (changes): 0 inserts, 1 update, 0 deletes; 1 billable event\n  ${renamed}\n`);
  expect(planned.out).not.toContain('SQL that differs');
  expect((await cli(dir, 'plan', '--no-scan')).out).toBe(`~ sales: ${renamed}\n`);
  // What is more than the name is told, and no more.
  await declare(dir, `${RENAMED}    guard: { max_changes: 5 }\n`);
  expect((await cli(dir, 'plan')).out).toContain('SQL that differs from what was reviewed: check_max_changes\n');
  expect((await cli(dir, 'plan', '--no-scan')).out).toBe(`~ sales: ${renamed}; guard.max_changes: none → 5\n`);
  await declare(dir, RENAMED);
  await cli(dir, 'compile', '-q');
  expect(planned.err).not.toContain('does not declare');
  expect(await tables(dir)).toContain('purchases__state');
  // Until an apply has renamed it, what goes by its state says where that is.
  const status = await cli(dir, 'status');
  expect(status.out).toMatch(
    /^sales: ok, last run .*\n {2}its state is that of purchases until the next apply renames/,
  );
  const still = 'sales goes on from purchases, whose state still has that name: `syncline apply -s sales` gives it';
  told(await cli(dir, 'destroy', 'sales', '-y'), 1, still);
  told(await cli(dir, 'reset', 'sales'), 1, still);
  expect(await tables(dir)).toContain('purchases__state');
  told(await cli(dir, 'apply'), 0, 'renamed from purchases', '0 inserts, 1 update, 0 deletes');
  expect(await tables(dir)).toEqual(['runs', 'sales__ledger', 'sales__rejects', 'sales__state']);
  told(await cli(dir, 'apply'), 0, 'nothing changed');
  const [events] = await mixpanel(dir, 'select count(*)::int as n from events');
  expect([events, await sent(dir)]).toEqual([{ n: 3 }, 4]);
  // An outbox that was made under the former name too late is nobody's, whatever the declaration says.
  await db(dir, 'create table mixpanel.purchases__outbox_9 (batch integer)');
  for (const command of ['plan', 'status'])
    told(
      await cli(dir, command),
      0,
      'mixpanel has tables of purchases, which the project does not declare, and no state',
    );
  await db(dir, 'drop table mixpanel.purchases__outbox_9');
  // The line may stay, or go.
  await declare(dir, SYNC.replace('purchases', 'sales'));
  await cli(dir, 'compile', '-q');
  const after = await cli(dir, 'plan');
  expect(after.out).not.toContain('renamed');
  expect(after.err).not.toContain('does not declare');
  told(await cli(dir, 'apply'), 0, 'nothing changed');
  // The name is not free: equal rows of another sync would get the ids of these.
  await declare(dir, `${SYNC.replace('purchases', 'sales')}${SYNC.replace('syncs:\n', '')}`);
  await cli(dir, 'compile', '-q');
  told(
    await cli(dir, 'setup', '--execute'),
    1,
    'sales was called purchases before',
    'Give this sync a name of its own',
  );
});

test('a renamed append, one_time and history go on where they were', async () => {
  const declared = (prefix: string, more: (name: string) => string): string =>
    `syncs:\n${[
      'log, kind: events, mode: append, source: { relation: log }, event: Logged, time: t, insert_time: t, late_window: 1d',
      'once, kind: events, mode: one_time, source: { relation: log }, event: Once, time: t',
      'tiers, kind: user_profiles, mode: mirror, source: { relation: tiers }, user_id: id, history: { start_time: t }',
    ]
      .map((sync) => `  - { name: ${prefix}${sync}${more(sync.split(',')[0]!)} }\n`)
      .join('')}`;
  const dir = await shop();
  await declare(
    dir,
    declared('', () => ''),
  );
  await db(
    dir,
    `create table log as select i as n, timestamp '2024-01-01' + to_hours(i::integer) as t from range(5) as t(i)`,
    `create table tiers as select * from (values ('a', timestamp '2024-01-01', 'x'), ('b', timestamp '2024-01-01', 'x')) as v(id, t, tier)`,
  );
  told(await cli(dir, 'lock'), 0);
  told(await cli(dir, 'apply'), 0, 'log: run 1 done: 5 inserts', 'once: run 1 done: 5 inserts', 'tiers: run 1 done');
  expect(await sent(dir)).toBe(12);
  await db(
    dir,
    // One comes late, within the window.
    `insert into log values (5, '2024-01-02'), (6, '2024-01-01 00:30:00')`,
    `insert into tiers values ('a', '2024-02-01', 'y')`,
  );
  await declare(
    dir,
    declared('new_', (name) => `, renamed_from: ${name}`),
  );
  const planned = await cli(dir, 'plan');
  for (const name of ['log', 'once', 'tiers']) expect(planned.out).toContain(`renamed from ${name}: state and ids`);
  expect(planned.out).toContain('new_log (changes): 2 inserts');
  told(
    await cli(dir, 'apply'),
    0,
    'new_log: renamed from log: its state',
    'new_log: run 2 done: 2 inserts',
    'new_once: renamed from once: its state',
    'new_once: one_time, and done',
    'new_tiers: renamed from tiers: its state',
  );
  // The event of a history is named like its sync, so a new one has a new name, and those of before stay.
  const events = await mixpanel(
    dir,
    `select event, count(*)::int as n from events where properties ->> 'syncline_deleted' is null group by 1 order by 1`,
  );
  expect(events.map((e) => Object.values(e))).toEqual([
    ['Logged', 7],
    ['Once', 5],
    ['new_tiers', 1],
    ['tiers', 2],
  ]);
  told(
    await cli(dir, 'apply'),
    0,
    'new_log: nothing changed',
    'new_once: one_time, and done',
    'new_tiers: nothing changed',
  );
  expect((await tables(dir)).filter((t) => !String(t).startsWith('new_'))).toEqual(['runs']);
});

test('a rename of an interrupted run takes its outbox along, and the run is finished', async () => {
  const dir = await shop();
  await cli(dir, 'apply', '-q');
  await db(
    dir,
    `create table mixpanel.purchases__outbox_1 as select 0::bigint as batch, row_number() over () as ordinal, 'insert' as row_change, 'insert' as change, row_key, row_checksum, time_ms, event, user_id, device_id, insert_id, null::varchar as old_insert_id, json_object('event', 'Purchase', 'properties', json_object('time', time_ms, 'distinct_id', '', '$insert_id', insert_id))::varchar as payload, null::varchar as reason, null::varchar as outcome, null::varchar as outcome_reason from mixpanel.purchases__ledger`,
    'delete from mixpanel.purchases__ledger',
    `update mixpanel.purchases__state set phase = 'sending', run = 1, pending = baseline, next_batch = 0, names = '1 '`,
  );
  await declare(dir, RENAMED);
  expect((await cli(dir, 'plan')).out).toContain('it has still to send): 3 inserts');
  told(await cli(dir, 'apply'), 0, 'finishing interrupted run 1', 'run 1 done: 3 inserts', 'nothing changed');
  expect(await tables(dir)).toEqual(['runs', 'sales__ledger', 'sales__rejects', 'sales__state']);
});

test('a rename onto a sync that lives is refused, and nothing is changed', async () => {
  const dir = await shop();
  await cli(dir, 'apply', '-q');
  await declare(dir, SYNC.replace('purchases', 'sales'));
  await cli(dir, 'apply', '-q');
  const contents = async (): Promise<unknown> => [
    await tables(dir),
    await db(dir, 'from mixpanel.purchases__state union all from mixpanel.sales__state order by 1, id_space'),
    await db(dir, 'from mixpanel.purchases__ledger union all from mixpanel.sales__ledger order by all'),
    await db(dir, 'from mixpanel.runs order by all'),
    await sent(dir),
  ];
  const before = await contents();
  await declare(dir, RENAMED);
  told(await cli(dir, 'apply'), 1, 'sales and purchases both have a state in mixpanel, so one cannot become the other');
  await declare(dir, `${SYNC}${RENAMED.slice(7)}`);
  told(await cli(dir, 'validate'), 2, 'error[renamed-from-living]');
  expect(await contents()).toEqual(before);
});

test('destroy drops the tables of a sync, with --data also what Mixpanel shows; it never happens unasked', async () => {
  const dir = await shop();
  told(await cli(dir, 'destroy', 'purchases', '--yes'), 1, 'purchases has no state');
  await cli(dir, 'apply', '-q');
  told(await cli(dir, 'destroy', 'purchases'), 2, 'nobody can be asked here: say --yes');
  told(await cli(dir, 'destroy', 'nope'), 1, 'nope is not declared and has no state in mixpanel');
  await db(dir, `update mixpanel.purchases__state set phase = 'sending', run = 1, pending = baseline`);
  const interrupted = 'purchases has an interrupted run. Run `syncline apply -s purchases` first';
  told(await cli(dir, 'destroy', 'purchases', '--yes'), 1, interrupted);
  told(await cli(dir, 'destroy', 'purchases', '--data', '--yes'), 1, interrupted, 'with `--abandon purchases`');
  expect(await db(dir, 'select phase, run::int as run from mixpanel.purchases__state')).toEqual([
    { phase: 'sending', run: 1 },
  ]);
  expect([await sent(dir), await tables(dir)]).toEqual([3, expect.objectContaining({ length: 4 })]);
  await db(dir, `update mixpanel.purchases__state set phase = 'idle', run = null, pending = null`);

  told(await cli(dir, 'destroy', 'purchases', '--data', '--yes'), 0, '0 inserts, 0 updates, 3 deletes', 'destroyed');
  const manifest = await readFile(path.join(dir, 'target/syncline/dev/manifest.json'), 'utf8');
  expect(JSON.parse(manifest)).toMatchObject({ project: 'shop', syncs: {} });
  expect(manifest).not.toContain('purchases');
  expect(await tables(dir)).toEqual(['runs']);
  const deleted = await mixpanel(dir, `select properties ->> 'syncline_deleted' as d from events`);
  expect(deleted).toEqual([{ d: 'true' }, { d: 'true' }, { d: 'true' }]);
  // A run is on record, so nothing starts anew by itself, and plan and status say so.
  const missing = 'purchases has no state in mixpanel. Run `syncline setup --execute` if it never ran or was destroyed';
  for (const command of ['plan', 'apply']) told(await cli(dir, command), 1, 'error[state-missing]', missing);
  expect((await cli(dir, 'status')).out).toMatch(
    /^purchases: failed .*Next: syncline setup --execute -s purchases\n {2}state-missing: /,
  );
  told(await cli(dir, 'setup', '--execute'), 0, 'Set up');
  const anew = await cli(dir, 'status');
  expect(anew.out).toMatch(
    /^purchases: ok, last run .*; forgotten since, by reset or a new set-up\. The next apply sends/,
  );
  expect(anew.out).toContain('the whole table. Next: syncline apply -s purchases\n');
  expect(anew.out).not.toContain('state-missing');
  // Its runs are numbered on: a run of its new life is none of those that are on record.
  const [last] = await db(dir, 'select max(run)::int as run from mixpanel.runs');
  told(await cli(dir, 'apply'), 0, '3 inserts, 0 updates, 0 deletes');
  const runs = await db(
    dir,
    'select run::int as run, accepted_deletes::int as d from mixpanel.runs order by run desc limit 1',
  );
  expect(runs).toEqual([{ run: Number(last!['run']) + 1, d: 0 }]);
});

test('destroy --data of profiles, and what cannot be taken back', async () => {
  const profiles = SYNC.replace('kind: events', 'kind: user_profiles').replace(
    / {4}event.*\n {4}time.*\n {4}key.*\n/,
    '    user_id: id\n    on_delete: delete\n',
  );
  const dir = await shop();
  await declare(dir, profiles);
  await cli(dir, 'apply', '-q');
  const count = async (): Promise<unknown> => (await mixpanel(dir, 'select count(*)::int as n from profiles'))[0]!['n'];
  expect(await count()).toBe(3);
  told(await cli(dir, 'reset', 'purchases', '--new-epoch'), 2, 'purchases sends no events, and --new-epoch gives');
  told(await cli(dir, 'destroy', 'purchases', '--data', '-y'), 0, 'Its profiles are taken back');
  expect(await count()).toBe(0);

  const other = await shop();
  await declare(other, profiles.replace('mode: mirror', 'mode: full').replace('    on_delete: delete\n', ''));
  await cli(other, 'apply', '-q');
  told(await cli(other, 'destroy', 'purchases', '--data', '-y'), 1, 'mode full keeps no ledger of what Mixpanel shows');
  // Another sync under its name sends nothing, and can be told to begin where that one ends.
  await declare(other, SYNC);
  told(await cli(other, 'apply'), 1, 'error[mapping-changed]: purchases: purchases was user_profiles in mode full');
  told(await cli(other, 'destroy', 'purchases', '-y'), 0, 'What it sent stays in Mixpanel');
  expect(await tables(other)).toEqual(['runs']);
});

test('a sync that is not enabled can be destroyed, and one that is declared no more', async () => {
  const dir = await shop();
  await cli(dir, 'apply', '-q');
  await declare(dir, RENAMED);
  told(await cli(dir, 'destroy', 'purchases', '-y'), 2, 'purchases goes on as sales');
  await declare(dir, 'syncs: []\n');
  const how = '`syncline destroy purchases` drops its tables; to take back what it sent, too, declare it as it was';
  for (const command of ['plan', 'status']) told(await cli(dir, command), 0, 'has the state of purchases', how);
  told(await cli(dir, 'destroy', 'purchases', '--data', '-y'), 2, 'purchases is not declared, and --data needs its');
  told(await cli(dir, 'destroy', 'purchase', '-y'), 1, 'purchase is not declared and has no state in mixpanel');
  told(await cli(dir, 'destroy', 'Purchases', '-y'), 2, 'There is no sync Purchases');
  expect(await tables(dir)).toHaveLength(4);

  // As the sentence says: its declaration once more, and nothing runs meanwhile.
  await declare(dir, `${SYNC}    enabled: false\n`);
  expect(await sent(dir)).toBe(3);
  told(
    await cli(dir, 'destroy', 'purchases', '--data', '-y'),
    0,
    '3 deletes',
    'destroyed',
    'Remove it from the project',
  );
  expect(await tables(dir)).toEqual(['runs']);

  const late = SYNC.replace('mode: mirror', 'mode: append\n    insert_time: t\n    late_window: 1d');
  for (const yml of [late, SYNC]) {
    const other = await shop();
    await declare(other, yml);
    await cli(other, 'apply', '-q');
    expect(await tables(other)).toHaveLength(4);
    await declare(other, 'syncs: []\n');
    told(await cli(other, 'destroy', 'purchases', '-y'), 0, 'What it sent stays in Mixpanel. Declared again it needs');
    expect([await tables(other), await sent(other)]).toEqual([['runs'], 3]);
    expect((await cli(other, 'plan')).err).not.toContain('has the state of');
  }
});
