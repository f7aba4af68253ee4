import { copyFile, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { openSandbox, serveSandbox } from '../../runtime/sandbox/server.ts';
import { cli, duck, project, sent, shop, start, SYNC, told, YML } from './cli.ts';

const db = (dir: string, ...sql: string[]): Promise<Record<string, unknown>[]> =>
  duck(path.join(dir, 'warehouse.duckdb'), ...sql);
const mixpanel = (dir: string, sql: string): Promise<Record<string, unknown>[]> =>
  duck(path.join(dir, 'sandbox.duckdb'), sql);
const declare = (dir: string, text: string): Promise<void> => writeFile(path.join(dir, 'syncs/shop.yml'), text);

/** An apply that is killed when the first of many batches is sent. */
async function interrupted(dir: string): Promise<void> {
  const done = async (): Promise<number> => {
    const text = await readFile(path.join(dir, 'target/syncline/dev/manifest.json'), 'utf8').catch(() => '{}');
    return (JSON.parse(text) as { syncs?: { purchases?: { sent?: number } } }).syncs?.purchases?.sent ?? 0;
  };
  const { child, ended } = start(dir, 'apply', '--quiet');
  for (let i = 0; i < 4000 && (await done()) === 0; i++) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill('SIGKILL');
  await ended;
}

test('abandon: what an interrupted run has still to send is compared again, under the plan of now', async () => {
  const table = `create table orders as select i::integer as id, timestamp '2024-01-01' as t, 'x' as item from range(60000) as t(i)`;
  const dir = await shop({ table });
  await interrupted(dir);
  expect((await cli(dir, 'plan')).out).toContain('finishes an interrupted run first; it has still to send');
  told(await cli(dir, 'apply', '--abandon', 'nobody'), 2, '--abandon take names of selected syncs, and nobody is none');
  await db(dir, 'delete from orders where id >= 20');
  const before = await sent(dir);
  const applied = await cli(dir, 'apply', '--abandon', 'purchases', '--allow', 'purchases.max_deletes=60000');
  told(applied, 0, 'run 1 is abandoned: ');
  const left = Number(/abandoned: (\d+) records/.exec(applied.err)![1]);
  expect(left).toBeGreaterThan(0);
  // 20 rows stay, and each other one that may be shown gets a tombstone: nothing of the old run is sent.
  expect((await sent(dir)) - before).toBeLessThan(60_001);
  const [shown] = await mixpanel(
    dir,
    `select count(*)::int as n from events where properties ->> 'syncline_deleted' is null`,
  );
  expect(shown).toEqual({ n: 20 });
  const none = 'it has no interrupted run, so --abandon gives nothing up';
  told(await cli(dir, 'apply', '--abandon', 'purchases'), 0, none, 'nothing changed');
  expect(applied.err).not.toContain(none);
}, 240_000);

test.each([
  ['was stored', true],
  ['was not', false],
])('abandon: profiles, histories and appends end as their tables are, where what was sent %s', async (_, isStored) => {
  const faults: { slowMs?: number; resetBefore?: number } = {};
  const sandbox = await openSandbox({ path: ':memory:', faults });
  const server = await serveSandbox(sandbox, { port: 0 });
  try {
    const syncs = [
      'people, kind: user_profiles, mode: mirror, source: { relation: people }, user_id: id, on_delete: delete',
      'firms, kind: group_profiles, mode: mirror, source: { relation: firms }, group_key: firm, group_id: id',
      'tiers, kind: user_profiles, mode: mirror, source: { relation: tiers }, user_id: id, history: { start_time: t }',
      'log, kind: events, mode: append, source: { relation: log }, event: Logged, time: t, insert_time: t',
    ];
    const dir = await project({
      'syncline.yml': YML.replace(
        'sandbox',
        `{ host: 'http://127.0.0.1:${server.port}', project_id: 1, token: t, request_timeout: 3s }`,
      ),
      'syncs/shop.yml': `syncs:\n${syncs.map((s) => `  - { name: ${s} }\n`).join('')}`,
    });
    await db(
      dir,
      `create table people as select * from (values ('a', 'x'), ('b', 'x'), ('c', 'x')) as v(id, tier)`,
      'create table firms as select * from people',
      `create table tiers as select 't' || id as id, timestamp '2024-01-01' as t, tier from people`,
      `create table log as select i as n, timestamp '2024-01-01' + to_days(i::integer) as t from range(3) as t(i)`,
    );
    told(await cli(dir, 'lock'), 0);
    told(await cli(dir, 'apply'), 0);

    await db(
      dir,
      ...['people', 'firms'].map((t) => `update ${t} set tier = 'y'`),
      `insert into tiers select id, timestamp '2024-02-01', 'y' from tiers`,
      `insert into log values (3, '2024-02-01'), (4, '2024-02-02')`,
    );
    // What proves the host is answered; then each sync has sent, and the process dies.
    const before = sandbox.counts.requests;
    const requests = (): number => sandbox.counts.requests - before;
    faults.slowMs = 2500;
    const { child, ended } = start(dir, 'apply', '--quiet');
    const count = async (sql: string): Promise<number> =>
      Number((await sandbox.query(`select count(*)::int as n from ${sql}`))[0]?.['n']);
    const stored = async (): Promise<boolean> =>
      (await count(`profiles where properties ->> 'tier' = 'y'`)) === 6 &&
      (await count(`groups where properties ->> 'tier' = 'y'`)) === 3 &&
      (await count(`events where event = 'Logged'`)) === 5;
    const until = async (is: () => Promise<boolean> | boolean): Promise<void> => {
      for (let i = 0; i < 800 && child.exitCode === null && !(await is()); i++)
        await new Promise((resolve) => setTimeout(resolve, 20));
    };
    if (!isStored) {
      await until(() => requests() === 1);
      faults.resetBefore = 1;
    }
    await until(isStored ? stored : () => requests() > 4);
    child.kill('SIGKILL');
    await ended;
    expect(await stored()).toBe(isStored);
    delete faults.slowMs;
    delete faults.resetBefore;

    await db(
      dir,
      ...['people', 'firms'].flatMap((t) => [
        `delete from ${t} where id = 'b'`,
        `update ${t} set tier = 'z' where id = 'a'`,
      ]),
      `delete from tiers where id = 'tb' and tier = 'y'`,
      `insert into log values (5, '2024-02-03')`,
    );
    const names = ['people', 'firms', 'tiers', 'log'];
    const allowed = ['people', 'firms', 'tiers'].flatMap((n) => ['--allow', `${n}.max_deletes=9`]);
    const applied = await cli(dir, 'apply', '--abandon', ...names, ...allowed);
    told(applied, 0, ...names.map((n) => `${n}: run 2 is abandoned: `));
    const tiersOf = (table: string, id: string): Promise<unknown> =>
      sandbox
        .query(`select ${id} as id, properties ->> 'tier' as tier from ${table} order by 1`)
        .then((rows) => rows.map((row) => Object.values(row)));
    expect(await tiersOf('profiles', 'distinct_id')).toEqual([
      ['a', 'z'],
      ['c', 'y'],
      ['ta', 'y'],
      ['tb', 'x'],
      ['tc', 'y'],
    ]);
    expect(await tiersOf('groups', 'group_id')).toEqual([
      ['a', 'z'],
      ['b', null],
      ['c', 'y'],
    ]);
    const alive = `properties ->> 'syncline_deleted' is null`;
    const events = await sandbox.query(
      `select event, count(*)::int as n, count(distinct properties ->> 'n')::int as rows from events where ${alive} group by 1 order by 1`,
    );
    expect(events.map((e) => Object.values(e))).toEqual([
      ['Logged', 6, 6],
      ['tiers', 5, 0],
    ]);
    told(await cli(dir, 'apply'), 0, ...names.map((n) => `${n}: nothing changed`));
  } finally {
    await server.close();
    await sandbox.close();
  }
});

test('a changed mapping is decided before a reset, which would leave events of before under other ids', async () => {
  const dir = await shop();
  await cli(dir, 'apply', '-q');
  await declare(dir, SYNC.replace('event: Purchase', 'event: Bought'));
  const refused = await cli(dir, 'reset', 'purchases');
  told(refused, 1, 'error[mapping-changed]: ', 'its event', '`apply --resend purchases` sends every row, too');
  told(await cli(dir, 'apply', '--resend', 'purchases'), 0, '3 inserts, 0 updates, 3 deletes');
  told(await cli(dir, 'reset', 'purchases'), 0, 'forgotten');
  told(await cli(dir, 'apply'), 0, '3 inserts');
  const [shown] = await mixpanel(
    dir,
    `select count(*)::int as n, count(distinct event)::int as names from events where properties ->> 'syncline_deleted' is null`,
  );
  expect(shown).toEqual({ n: 3, names: 1 });
  // Those of before are to stay.
  await declare(dir, SYNC);
  told(await cli(dir, 'reset', 'purchases', '--new-epoch'), 0, 'new ids');
});

test('reset with a new epoch gives every event a new id; without it the ids are the same', async () => {
  const dir = await shop();
  const events = async (): Promise<unknown> => (await mixpanel(dir, 'select count(*)::int as n from events'))[0]!['n'];
  await cli(dir, 'apply', '-q');
  const vanished = 'Rows that vanished since the last apply are forgotten too: what Mixpanel shows of them stays.';
  told(
    await cli(dir, 'reset', 'purchases'),
    0,
    'forgotten. The next apply sends the whole table. Events with equal ids are the same events in Mixpanel.',
    vanished,
  );
  const forgotten = async (): Promise<unknown> =>
    (JSON.parse((await cli(dir, 'status', '--output', 'json')).out) as { forgotten: unknown }[])[0]!.forgotten;
  expect(await forgotten()).toBe(true);
  await cli(dir, 'apply', '-q');
  expect(await forgotten()).toBe(false);
  expect([await events(), await sent(dir)]).toEqual([3, 6]);
  const both = 'Its events get new ids: Mixpanel shows those of before beside them, and counts both.';
  told(await cli(dir, 'reset', 'purchases', '--new-epoch'), 0, both, vanished);
  await cli(dir, 'apply', '-q');
  expect([await events(), await sent(dir)]).toEqual([6, 9]);
});

test('initial: skip adopts what is in Mixpanel: nothing is sent for it, and later changes are', async () => {
  const dir = await shop({ extra: '    initial: skip\n' });
  const planned = await cli(dir, 'plan', '--output', 'json');
  expect((JSON.parse(planned.out) as { syncs: unknown[] }).syncs).toMatchObject([
    { route: 'initial', adopted: 3, inserts: 0, billable: 0, records: 0 },
  ]);
  expect((await cli(dir, 'plan')).out).toContain('3 rows taken for what Mixpanel shows (initial: skip)');
  told(await cli(dir, 'apply'), 0, '3 records are adopted as in Mixpanel: nothing is sent', '0 inserts');
  const runs = await db(dir, 'select captured_inserts, accepted_inserts, billable from mixpanel.runs');
  expect(runs.map((r) => Object.values(r).map(Number))).toEqual([[3, 0, 0]]);
  await db(dir, `update orders set item = 'new' where id = 1`, 'delete from orders where id = 2');
  told(await cli(dir, 'apply'), 0, '0 inserts, 1 update, 1 delete');
  expect(await sent(dir)).toBe(2);
  told(await cli(dir, 'apply'), 0, 'nothing changed');
  told(await cli(dir, 'reset', 'purchases'), 0, 'takes the table for what Mixpanel shows (initial: skip)');
});

test('initial: skip that is interrupted between its flip and its commit sends nothing either', async () => {
  const dir = await shop({ extra: '    initial: skip\n' });
  await cli(dir, 'apply', '-q');
  // As it was at the flip: the outbox is there, nothing is committed.
  await db(
    dir,
    `create table mixpanel.purchases__outbox_1 as select 0::bigint as batch, row_number() over () as ordinal, 'insert' as row_change, 'insert' as change, row_key, row_checksum, time_ms, event, user_id, device_id, insert_id, null::varchar as old_insert_id, '{"not": "sent"}' as payload, null::varchar as reason, null::varchar as outcome, null::varchar as outcome_reason from mixpanel.purchases__ledger`,
    'delete from mixpanel.purchases__ledger',
    `update mixpanel.purchases__state set phase = 'sending', run = 1, pending = baseline, baseline = null, next_batch = 0, names = '1 '`,
  );
  const planned = await cli(dir, 'plan', '--output', 'json');
  expect((JSON.parse(planned.out) as { syncs: unknown[] }).syncs).toMatchObject([
    { route: 'sending', adopted: 3, inserts: 0, billable: 0, records: 0 },
  ]);
  const text = await cli(dir, 'plan');
  expect(text.out).toContain('it has still to send): 0 inserts, 0 updates, 0 deletes; 0 billable events');
  expect(text.out).toContain('3 rows taken for what Mixpanel shows (initial: skip)');
  told(await cli(dir, 'apply'), 0, 'finishing interrupted run 1', '3 records are adopted', 'nothing changed');
  expect((await db(dir, 'select count(*)::int as n from mixpanel.purchases__ledger'))[0]).toEqual({ n: 3 });
});

const LOG = `syncs:
  - name: log
    kind: events
    mode: append
    source: { relation: orders }
    insert_time: t
    event: Logged
    time: t
`;

test('a backfill sends the rows of a range again, its end left out, and moves no position', async () => {
  const dir = await shop({
    table: `create table orders as select i::integer as id, timestamp '2024-01-01' + to_days(i::integer) as t from range(10) as t(i)`,
  });
  await declare(dir, LOG);
  for (const command of ['plan', 'apply'])
    told(await cli(dir, command, '-s', 'log', '--backfill', '2024-01-01..2024-01-02'), 1, 'log has not run yet');
  await cli(dir, 'apply', '-q');
  await db(dir, `insert into orders values (100, timestamp '2024-01-03'), (101, timestamp '2024-01-05')`);
  told(await cli(dir, 'apply'), 0, 'nothing changed');
  const range = ['--backfill', '2024-01-03..2024-01-05'] as const;
  const planned = await cli(dir, 'plan', '-s', 'log', ...range, '--out', 'p.json');
  expect(planned.out).toContain(
    'log (backfill of 2024-01-03..2024-01-05): 3 inserts, 0 updates, 0 deletes; 3 billable',
  );
  told(await cli(dir, 'plan', ...range, '--no-scan'), 2, '--backfill needs a scan');
  // Its preview says how it is applied.
  told(await cli(dir, 'apply', 'p.json', ...range), 2, 'A preview says which syncs are applied and how');
  told(await cli(dir, 'apply', 'p.json'), 0, '3 inserts');
  told(await cli(dir, 'apply', 'p.json'), 1, 'error[preview-moved]');
  told(await cli(dir, 'apply', '-s', 'log', ...range), 0, '3 inserts');
  const [events] = await mixpanel(dir, 'select count(*)::int as n from events');
  expect(events).toEqual({ n: 11 });
  await db(dir, `insert into orders values (102, timestamp '2024-02-01')`);
  told(await cli(dir, 'apply'), 0, 'done: 1 insert');

  for (const [range, why] of [
    ['2024-01-05..2024-01-03', 'ends before it starts'],
    ['2024-01-05', 'is not understood: write FROM..TO'],
    ['2024-02-30..2024-03-31', 'is not understood: write FROM..TO'],
    [`2024-01-01..2024-01-02'; drop table orders`, 'is not understood: write FROM..TO'],
  ] as const)
    for (const command of ['plan', 'apply']) told(await cli(dir, command, '-s', 'log', '--backfill', range), 2, why);
  await declare(dir, LOG.replace('append', 'mirror').replace('    insert_time: t\n', ''));
  told(await cli(dir, 'apply', '--backfill', '2024-01-03..2024-01-05'), 2, 'log is a mirror', '--resend log');
});

test('a backfill keeps what is known of the late window: nothing of it is sent again', async () => {
  const dir = await shop({
    table: `create table orders as select i::integer as id, timestamp '2024-01-01' + to_hours(i::integer) as t from range(100) as t(i)`,
  });
  await declare(dir, `${LOG}    late_window: 30h\n`);
  await cli(dir, 'apply', '-q');
  told(await cli(dir, 'apply', '-s', 'log', '--backfill', '2023-12-01..2024-02-06'), 0, 'inserts');
  told(await cli(dir, 'apply'), 0, 'nothing changed');
});

test('initial: skip is refused where every run sends every row, and without staging', async () => {
  const full = SYNC.replace('kind: events', 'kind: user_profiles')
    .replace('mode: mirror', 'mode: full')
    .replace(/ {4}event.*\n {4}time.*\n {4}key.*\n/, '    user_id: id\n');
  const dir = await shop();
  await declare(dir, `${full}    initial: skip\n`);
  told(await cli(dir, 'validate'), 2, 'error[mode-refuses]');
  await declare(dir, `${full}    properties: { exclude: [t, item] }\n`);
  told(await cli(dir, 'validate'), 2, 'a profile needs a property, and none of orders is left');
  await writeFile(path.join(dir, 'syncline.yml'), YML.replace('duckdb }', 'duckdb, staging: none }'));
  await declare(dir, `${LOG}    initial: skip\n`);
  told(await cli(dir, 'validate'), 2, 'error[staging-needed]');
});

test('what the README says of a lost state and of a restored database: equal ids, one event each', async () => {
  const dir = await shop();
  await cli(dir, 'apply', '-q');
  await db(dir, 'drop table mixpanel.purchases__state');
  told(await cli(dir, 'apply'), 1, 'error[state-missing]', 'starting anew would resend the table');
  told(await cli(dir, 'setup', '--execute'), 1, 'error[state-missing]');
  await db(dir, 'drop table mixpanel.purchases__ledger', 'drop table mixpanel.purchases__rejects');
  told(await cli(dir, 'apply'), 1, 'error[state-missing]');
  told(await cli(dir, 'setup', '--execute'), 0, 'Set up 1 sync');
  told(await cli(dir, 'apply'), 0, '3 inserts');
  const events = async (): Promise<unknown> =>
    (
      await mixpanel(
        dir,
        `select count(*)::int as n, count(properties ->> 'syncline_deleted')::int as gone from events`,
      )
    )[0];
  expect([await events(), await sent(dir)]).toEqual([{ n: 3, gone: 0 }, 6]);

  // A backup, a delete that was sent, and the day of the backup once more.
  const file = path.join(dir, 'warehouse.duckdb');
  await copyFile(file, `${file}.backup`);
  await db(dir, 'delete from orders where id = 1');
  told(await cli(dir, 'apply'), 0, '1 delete');
  await copyFile(`${file}.backup`, file);
  told(await cli(dir, 'apply'), 0, 'nothing changed');
  expect(await events()).toEqual({ n: 3, gone: 1 });
  told(await cli(dir, 'apply', '--resend', 'purchases'), 0, '3 updates');
  expect(await events()).toEqual({ n: 3, gone: 0 });
});
