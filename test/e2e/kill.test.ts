import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { Sandbox } from '../../runtime/sandbox/server.ts';
import { openSandbox, serveSandbox } from '../../runtime/sandbox/server.ts';
import { random } from '../story/scheduler.ts';
import { cli, duck, project, start } from './cli.ts';

const ROUNDS = Number(process.env['ROUNDS'] ?? 30);
const SEED = Number(process.env['SEED'] ?? 7);

let sandbox: Sandbox | undefined;
let server: { port: number; close(): Promise<void> } | undefined;
afterAll(async () => {
  await server?.close();
  await sandbox?.close();
}, 60_000);

test(`real processes: ${ROUNDS} rounds of kill -9, SIGSTOP and a faulty server end in equality (seed ${SEED})`, async () => {
  const rng = random(SEED);
  const faults = { '429': 0.1, '5xx': 0.1, 'reset-before': 0.1, 'reset-after': 0.15 };
  const { parseFaults } = await import('../../runtime/sandbox/faults.ts');
  sandbox = await openSandbox({
    path: ':memory:',
    faults: parseFaults(
      Object.entries(faults)
        .map(([k, v]) => `${k}=${v}`)
        .join(','),
    ),
    random: rng,
  });
  server = await serveSandbox(sandbox, { port: 0 });
  const dir = await project({
    'syncline.yml': `name: shop
default_target: dev
targets:
  dev:
    warehouse: { type: duckdb, path: warehouse.duckdb }
    lease: { ttl: 2s }
    mixpanel:
      host: http://127.0.0.1:${server.port}
      project_id: 1
      service_account: { username: a, secret: b }
      retry: { initial: 20ms, max: 100ms, attempts: 6 }
      request_timeout: 1s
`,
    'syncs/shop.yml': `syncs:
  - name: purchases
    kind: events
    mode: mirror
    source: { relation: orders }
    event: Purchase
    time: t
    user_id: u
    key: id
`,
  });
  const file = path.join(dir, 'warehouse.duckdb');
  await duck(
    file,
    `create table orders as select i::integer as id, timestamp '2024-01-01' + to_seconds(i::integer) as t, 'u' || (i % 99) as u, 0 as v from range(30000) as t(i)`,
  );
  for (const args of [['lock'], ['setup', '--execute']]) expect((await cli(dir, ...args)).code).toBe(0);

  for (let round = 0; round < ROUNDS; round++) {
    await duck(
      file,
      `update orders set v = v + 1 where id % 97 = ${Math.floor(rng() * 97)}`,
      `update orders set u = 'v' || v where id % 211 = ${Math.floor(rng() * 211)}`,
      `delete from orders where id % 307 = ${Math.floor(rng() * 307)}`,
      `insert into orders select 100000 + ${round} * 1000 + i, timestamp '2024-03-01' + to_seconds(i::integer), 'n', 0 from range(50) as t(i)`,
    );
    const { child, ended } = start(dir, 'apply', '--quiet');
    await new Promise((resolve) => setTimeout(resolve, 150 + rng() * 900));
    if (rng() < 0.3) {
      child.kill('SIGSTOP');
      await new Promise((resolve) => setTimeout(resolve, 2500 * rng()));
      child.kill('SIGCONT');
      if (rng() < 0.5) await new Promise((resolve) => setTimeout(resolve, 300));
    }
    child.kill('SIGKILL');
    await ended;
  }
  // On a slow machine no round may have got as far as a tombstone.
  await cli(dir, 'apply');
  await duck(file, 'delete from orders where id % 307 = 5');
  let last = { code: 1, err: '', out: '' };
  for (let i = 0; i < 6 && !last.err.includes('nothing changed'); i++) last = await cli(dir, 'apply');
  expect(last.err).toContain('nothing changed');

  const rows = await duck(
    file,
    `select string_agg(id || '|' || epoch_ms(t) || '|' || u || '|' || v, chr(10) order by id) as t from orders`,
  );
  const shown = await sandbox.query(
    `select string_agg((properties ->> 'id') || '|' || time_ms || '|' || distinct_id || '|' || (properties ->> 'v'), chr(10) order by cast(properties ->> 'id' as integer)) as t
     from events where properties ->> 'syncline_deleted' is null`,
  );
  expect(
    shown[0]?.['t'] === rows[0]?.['t'] ? 'equal' : difference(String(rows[0]?.['t']), String(shown[0]?.['t'])),
  ).toBe('equal');
  const names = await sandbox.query(
    `select distinct k from (select unnest(json_keys(properties)) as k from events) order by k`,
  );
  expect(names.map((n) => n['k'])).toEqual([
    '$insert_id',
    '$user_id',
    'distinct_id',
    'id',
    'ip',
    'syncline_deleted',
    'syncline_sync',
    'syncline_warehouse',
    'time',
    'v',
  ]);
});

const MANY = Number(process.env['ROUNDS'] ?? 15);

test(`real processes: ${MANY} rounds with six syncs at once end in equality of all of them (seed ${SEED})`, async () => {
  const rng = random(SEED + 1);
  const { parseFaults } = await import('../../runtime/sandbox/faults.ts');
  const many = await openSandbox({
    path: ':memory:',
    faults: parseFaults('429=0.1,5xx=0.1,reset-before=0.1,reset-after=0.15'),
    random: rng,
  });
  const served = await serveSandbox(many, { port: 0 });
  try {
    const dir = await project({
      'syncline.yml': `name: shop
default_target: dev
targets:
  dev:
    warehouse: { type: duckdb, path: warehouse.duckdb }
    lease: { ttl: 2s }
    mixpanel:
      host: http://127.0.0.1:${served.port}
      project_id: 1
      token: x
      service_account: { username: a, secret: b }
      retry: { initial: 20ms, max: 100ms, attempts: 6 }
      request_timeout: 1s
`,
      'syncs/shop.yml': `syncs:
  - { name: purchases, kind: events, mode: mirror, source: { relation: orders }, event: Purchase, time: t, user_id: u, key: id, guard: { max_deletes: 100% } }
  - { name: customers, kind: user_profiles, mode: mirror, source: { relation: customers }, user_id: id, guard: { max_deletes: 100% } }
  - { name: accounts, kind: group_profiles, mode: mirror, source: { relation: accounts }, group_key: company, group_id: id, on_delete: delete, guard: { max_deletes: 100% } }
  - { name: tiers, kind: user_profiles, mode: mirror, source: { relation: versions }, user_id: id, history: { start_time: start_at, end_time: end_at }, guard: { max_deletes: 100% } }
  - { name: songs, kind: lookup_table, mode: full, source: { relation: songs }, id: id, lookup_table_id: songs }
  - { name: log, kind: events, mode: append, source: { relation: log }, event: Log, time: t, insert_time: loaded, late_window: 1h }
`,
    });
    const file = path.join(dir, 'warehouse.duckdb');
    const people = (table: string): string =>
      `create table ${table} as select table_prefix || i as id, case when i % 3 > 0 then 'n' || i end as name, i as v from range(5000) as t(i), (select '${table} ' as table_prefix)`;
    const log = (from: number, count: number, loaded: string): string =>
      `insert into log select ${from} + i, timestamp '2024-02-01' + to_seconds(i::integer), ${loaded} from range(${count}) as t(i)`;
    await duck(
      file,
      `create table orders as select i::integer as id, timestamp '2024-01-01' + to_seconds(i::integer) as t, 'u' || (i % 99) as u, 0 as v from range(10000) as t(i)`,
      people('customers'),
      people('accounts'),
      `create table songs as select i as id, 'song, "' || i || '"' as title, 0 as v from range(1, 3000) as t(i)`,
      `create table versions as select 'm' || i as id, timestamp '2024-01-01' + to_seconds(i::integer) as start_at, timestamp '2024-02-01' as end_at, 'Free' as tier from range(2000) as t(i)`,
      `insert into versions select id, end_at, null, 'Pro' from versions where hash(id) % 3 > 0`,
      'create table log (n integer, t timestamp, loaded timestamp)',
      log(0, 3000, `timestamp '2024-02-01'`),
    );
    for (const args of [['lock'], ['setup', '--execute']]) expect((await cli(dir, ...args)).code).toBe(0);

    for (let round = 0; round < MANY; round++) {
      const part = (modulus: number): string => `hash(id) % ${modulus} = ${Math.floor(rng() * modulus)}`;
      await duck(
        file,
        `update orders set v = v + 1 where ${part(97)}`,
        `update orders set u = 'v' || v where ${part(211)}`,
        `delete from orders where ${part(307)}`,
        ...['customers', 'accounts'].flatMap((table) => [
          `update ${table} set name = case when name is null then 'again' end, v = v + 1 where ${part(50)}`,
          `delete from ${table} where ${part(101)}`,
          `insert into ${table} select '${table} ' || i, null, -1 from range(${20 * round}, ${20 * round + 10}) as t(i) where not exists (select 1 from ${table} as c where c.id = '${table} ' || i)`,
        ]),
        `update versions set end_at = timestamp '2024-03-01' + to_days(${round}) where end_at is null and ${part(30)}`,
        // What has ended goes on where it ended.
        `insert into versions select id, max(end_at), null, 'next ${round}' from versions where ${part(20)} group by id having count(*) = count(end_at)`,
        `update versions set tier = case when tier = 'Pro' then null else 'Pro' end where ${part(50)}`,
        `delete from versions where ${part(101)} and hash(start_at) % 2 = ${round % 2}`,
        ...(rng() < 0.5
          ? [`update songs set v = v + 1 where ${part(20)}`, `delete from songs where ${part(301)}`]
          : []),
        // A row in time, one that is late within the window, and twins of both.
        log(10_000 + round * 100, 20, `timestamp '2024-02-01' + to_minutes(${10 * (round + 1)})`),
        log(10_020 + round * 100, 20, `timestamp '2024-02-01' + to_minutes(${10 * (round + 1) - 20})`),
        `insert into log select * from log where n in (${10_000 + round * 100}, ${10_020 + round * 100})`,
      );
      const { child, ended } = start(dir, 'apply', '--quiet', '--threads', '3');
      await new Promise((resolve) => setTimeout(resolve, 250 + rng() * 1500));
      if (rng() < 0.3) {
        child.kill('SIGSTOP');
        await new Promise((resolve) => setTimeout(resolve, 2500 * rng()));
        child.kill('SIGCONT');
        if (rng() < 0.5) await new Promise((resolve) => setTimeout(resolve, 300));
      }
      child.kill('SIGKILL');
      await ended;
    }
    let last = { code: 1, err: '', out: '' };
    const still = (): number => last.err.split('nothing changed').length - 1;
    for (let i = 0; i < 10 && still() < 6; i++) last = await cli(dir, 'apply', '--threads', '3');
    expect(still(), last.err).toBe(6);
    // Rows that are later than the window stay out.
    await duck(file, log(-5, 5, `timestamp '2020-01-01'`));
    last = await cli(dir, 'apply');
    expect(still(), last.err).toBe(6);

    const compare = async (what: string, table: string, mixpanel: string): Promise<void> => {
      const text = (query: string): string =>
        `select string_agg(line, chr(10) order by line) as t from (${query}) as q(line)`;
      const [row] = await duck(file, text(table));
      const [shown] = await many.query(text(mixpanel));
      const [a, b] = [String(row?.['t']), String(shown?.['t'])];
      expect(`${what}: ${a === b ? 'equal' : difference(a, b)}`).toBe(`${what}: equal`);
    };
    const p = (name: string): string => `coalesce((properties ->> '${name}'), '')`;
    await compare(
      'events',
      `select id || '|' || epoch_ms(t) || '|' || u || '|' || v from orders`,
      `select ${p('id')} || '|' || time_ms || '|' || distinct_id || '|' || ${p('v')} from events where event = 'Purchase' and (properties ->> 'syncline_deleted') is null`,
    );
    await compare(
      'user profiles',
      `select id || '|' || coalesce(name, '') || '|' || v from customers`,
      `select distinct_id || '|' || ${p('name')} || '|' || ${p('v')} from profiles where (properties ->> 'v') is not null`,
    );
    await compare(
      'group profiles',
      `select id || '|' || coalesce(name, '') || '|' || v from accounts`,
      `select group_id || '|' || ${p('name')} || '|' || ${p('v')} from groups where group_key = 'company'`,
    );
    await compare(
      'versions and closings',
      `select id || '|' || epoch_ms(start_at) || '|' || coalesce(tier, '') from versions union all
       select v.id || '|' || epoch_ms(v.end_at) || '|' from versions as v where v.end_at is not null
         and not exists (select 1 from versions as o where o.id = v.id and o.start_at > v.start_at and o.start_at <= v.end_at)`,
      `select distinct_id || '|' || time_ms || '|' || ${p('tier')} from events where event = 'tiers' and (properties ->> 'syncline_deleted') is null`,
    );
    await compare(
      'profiles of versions',
      `select id || '|' || tier from versions as v where v.end_at is null and v.tier is not null and v.start_at = (select max(o.start_at) from versions as o where o.id = v.id)`,
      `select distinct_id || '|' || ${p('tier')} from profiles where (properties ->> 'tier') is not null`,
    );
    await compare(
      'log',
      `select n || '|' || epoch_ms(t) from log where n >= 0`,
      `select ${p('n')} || '|' || time_ms from events where event = 'Log'`,
    );
    await compare(
      'lookup table',
      `select id || '|' || title || '|' || v from songs`,
      `select row_id || '|' || ${p('title')} || '|' || ${p('v')} from lookup_rows where lookup_table_id = 'songs'`,
    );
  } finally {
    await served.close();
    await many.close();
  }
});

function difference(table: string, mixpanel: string): string {
  const [a, b] = [new Set(table.split('\n')), new Set(mixpanel.split('\n'))];
  const lost = [...a].filter((x) => !b.has(x));
  const extra = [...b].filter((x) => !a.has(x));
  return `lost ${lost.length}: ${lost.slice(0, 5).join(' ; ')}\nextra ${extra.length}: ${extra.slice(0, 5).join(' ; ')}`;
}

test('two applies at once: the second waits for the file, and nothing is sent twice', async () => {
  const dir = await project({
    'syncline.yml': `name: shop\ndefault_target: dev\ntargets:\n  dev:\n    warehouse: { type: duckdb, path: warehouse.duckdb }\n    mixpanel: sandbox\n`,
    'syncs/shop.yml': `syncs:\n  - { name: p, kind: events, mode: mirror, source: { relation: orders }, event: E, time: t, key: id }\n`,
  });
  await duck(
    path.join(dir, 'warehouse.duckdb'),
    `create table orders as select i::integer as id, timestamp '2024-01-01' as t from range(20000) as t(i)`,
  );
  await cli(dir, 'lock');
  const both = await Promise.all([cli(dir, 'apply'), cli(dir, 'apply')]);
  expect(both.map((r) => r.code)).toEqual([0, 0]);
  expect(both.filter((r) => r.err.includes('is in use by another process'))).toHaveLength(1);
  expect(both.filter((r) => r.err.includes('nothing changed'))).toHaveLength(1);
  const raw = await duck(path.join(dir, 'sandbox.duckdb'), 'select count(*)::int as n from events_raw');
  expect(raw).toEqual([{ n: 20000 }]);
});
