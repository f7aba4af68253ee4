import { expect } from 'vitest';
import type { Sandbox } from '../../runtime/sandbox/server.ts';

/** Six syncs, one of each way to see a table, whose tables change between runs that are killed. */
export const SYNCS = (schema = ''): string => `syncs:
  - { name: purchases, kind: events, mode: mirror, source: { relation: ${schema}orders }, event: Purchase, time: t, user_id: u, key: id, guard: { max_deletes: 100% } }
  - { name: customers, kind: user_profiles, mode: mirror, source: { relation: ${schema}customers }, user_id: id, guard: { max_deletes: 100% } }
  - { name: accounts, kind: group_profiles, mode: mirror, source: { relation: ${schema}accounts }, group_key: company, group_id: id, on_delete: delete, guard: { max_deletes: 100% } }
  - { name: tiers, kind: user_profiles, mode: mirror, source: { relation: ${schema}versions }, user_id: id, history: { start_time: start_at, end_time: end_at }, guard: { max_deletes: 100% } }
  - { name: songs, kind: lookup_table, mode: full, source: { relation: ${schema}songs }, id: id, lookup_table_id: songs }
  - { name: log, kind: events, mode: append, source: { relation: ${schema}log }, event: Log, time: t, insert_time: loaded, late_window: 1h }
`;
export const NAMES = ['purchases', 'customers', 'accounts', 'tiers', 'songs', 'log'];
export const COUNT = NAMES.length;

/** A target whose requests and leases are short, for processes that die. */
export const project = (warehouse: string, port: number): string => `name: shop
default_target: dev
targets:
  dev:
    warehouse: ${warehouse}
    lease: { ttl: 2s }
    mixpanel:
      host: http://127.0.0.1:${port}
      project_id: 1
      token: x
      service_account: { username: a, secret: b }
      retry: { initial: 20ms, max: 100ms, attempts: 6 }
      request_timeout: 1s
`;

/** How a database says what the tables need. */
export interface Words {
  /** Rows `i` of a range; its end does not belong to it. */
  series(from: number, to: number): string;
  /** A time so many seconds, minutes or days after another. */
  after(time: string, count: string, unit: 'second' | 'minute' | 'day'): string;
  /** A number of at least zero that depends on the value alone. */
  hash(value: string): string;
  /** Milliseconds since the epoch. */
  ms(time: string): string;
}

const log = (w: Words, from: number, count: number, loaded: string): string =>
  `insert into log select ${from} + i, ${w.after(`timestamp '2024-02-01'`, 'i', 'second')}, ${loaded} from ${w.series(0, count)}`;

export function tables(w: Words): string[] {
  const people = (table: string): string =>
    `create table ${table} as select '${table} ' || i as id, case when i % 3 > 0 then 'n' || i end as name, i as v from ${w.series(0, 5000)}`;
  return [
    `create table orders as select cast(i as integer) as id, ${w.after(`timestamp '2024-01-01'`, 'i', 'second')} as t, 'u' || (i % 99) as u, 0 as v from ${w.series(0, 10_000)}`,
    people('customers'),
    people('accounts'),
    `create table songs as select i as id, 'song, "' || i || '"' as title, 0 as v from ${w.series(1, 3000)}`,
    `create table versions as select 'm' || i as id, ${w.after(`timestamp '2024-01-01'`, 'i', 'second')} as start_at, timestamp '2024-02-01' as end_at, 'Free' as tier from ${w.series(0, 2000)}`,
    `insert into versions select id, end_at, null, 'Pro' from versions where ${w.hash('id')} % 3 > 0`,
    'create table log (n integer, t timestamp, loaded timestamp)',
    log(w, 0, 3000, `timestamp '2024-02-01'`),
  ];
}

/** What changes before a round. */
export function changes(w: Words, round: number, rng: () => number): string[] {
  const part = (modulus: number): string => `${w.hash('id')} % ${modulus} = ${Math.floor(rng() * modulus)}`;
  const loaded = (minutes: number): string => w.after(`timestamp '2024-02-01'`, String(minutes), 'minute');
  return [
    `update orders set v = v + 1 where ${part(97)}`,
    `update orders set u = 'v' || v where ${part(211)}`,
    `delete from orders where ${part(307)}`,
    ...['customers', 'accounts'].flatMap((table) => [
      `update ${table} set name = case when name is null then 'again' end, v = v + 1 where ${part(50)}`,
      `delete from ${table} where ${part(101)}`,
      `insert into ${table} select '${table} ' || i, null, -1 from ${w.series(20 * round, 20 * round + 10)} where not exists (select 1 from ${table} as c where c.id = '${table} ' || i)`,
    ]),
    `update versions set end_at = ${w.after(`timestamp '2024-03-01'`, String(round), 'day')} where end_at is null and ${part(30)}`,
    // What has ended goes on where it ended.
    `insert into versions select id, max(end_at), null, 'next ${round}' from versions where ${part(20)} group by id having count(*) = count(end_at)`,
    `update versions set tier = case when tier = 'Pro' then null else 'Pro' end where ${part(50)}`,
    `delete from versions where ${part(101)} and ${w.hash('start_at')} % 2 = ${round % 2}`,
    ...(rng() < 0.5 ? [`update songs set v = v + 1 where ${part(20)}`, `delete from songs where ${part(301)}`] : []),
    // A row in time, one that is late within the window, and twins of both.
    log(w, 10_000 + round * 100, 20, loaded(10 * (round + 1))),
    log(w, 10_020 + round * 100, 20, loaded(10 * (round + 1) - 20)),
    `insert into log select * from log where n in (${10_000 + round * 100}, ${10_020 + round * 100})`,
  ];
}

/** Rows that come later than the window: they stay out. */
export const tooLate = (w: Words): string => log(w, -5, 5, `timestamp '2020-01-01'`);

type Query = (text: string) => Promise<Record<string, unknown>[]>;

/** Each table and what Mixpanel shows of it. */
export async function expectEqual(w: Words, table: Query, sandbox: Sandbox): Promise<void> {
  const compare = async (what: string, ofTable: string, ofMixpanel: string): Promise<void> => {
    const lines = async (query: Query, text: string): Promise<string[]> =>
      (await query(`select line from (${text}) as q(line)`)).map((r) => String(r['line'])).sort();
    const a = await lines(table, ofTable);
    const b = await lines((text) => sandbox.query(text), ofMixpanel);
    expect(a.length, what).toBeGreaterThan(0);
    const [inTable, inMixpanel] = [new Set(a), new Set(b)];
    const lost = a.filter((x) => !inMixpanel.has(x));
    const extra = b.filter((x) => !inTable.has(x));
    expect({ what, lost: lost.slice(0, 5), extra: extra.slice(0, 5), rows: b.length }).toEqual({
      what,
      lost: [],
      extra: [],
      rows: a.length,
    });
  };
  const p = (name: string): string => `coalesce((properties ->> '${name}'), '')`;
  await compare(
    'events',
    `select id || '|' || ${w.ms('t')} || '|' || u || '|' || v from orders`,
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
    `select id || '|' || ${w.ms('start_at')} || '|' || coalesce(tier, '') from versions union all
     select v.id || '|' || ${w.ms('v.end_at')} || '|' from versions as v where v.end_at is not null
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
    `select n || '|' || ${w.ms('t')} from log where n >= 0`,
    `select ${p('n')} || '|' || time_ms from events where event = 'Log'`,
  );
  await compare(
    'lookup table',
    `select id || '|' || title || '|' || v from songs`,
    `select row_id || '|' || ${p('title')} || '|' || ${p('v')} from lookup_rows where lookup_table_id = 'songs'`,
  );
}
