import path from 'node:path';
import { duck } from '../e2e/cli.ts';

/** Every kind in every mode, over four tables of a schema `public`; `odd` is a column of a type that cannot be synced. */
export const SYNCS = `syncs:
  - { name: keyed, kind: events, mode: mirror, source: { relation: public.orders }, event: Bought, time: ordered_at, user_id: customer_id, key: ref, timezone: Europe/Berlin, properties: { exclude: [odd], rename: { amount: Amount }, types: { note: json } } }
  - { name: listed, kind: events, mode: mirror, source: { relation: public.orders }, event: { column: ref }, time: ordered_at, device_id: customer_id, key: [customer_id, ref], where: customer_id is not null, on_delete: ignore, properties: { exclude: [odd, raw] } }
  - { name: unkeyed, kind: events, mode: mirror, source: { relation: public.orders }, event: Bought, time: ordered_at, where: "amount > 0", properties: { exclude: [ref, odd] } }
  - { name: appended, kind: events, mode: append, source: { relation: public.orders }, event: Added, time: ordered_at, insert_time: loaded_at, properties: { exclude: [odd] } }
  - { name: late, kind: events, mode: append, source: { relation: public.orders }, event: Late, time: ordered_at, insert_time: loaded_at, late_window: 48h, properties: { exclude: [odd] } }
  - { name: once, kind: events, mode: one_time, source: { relation: public.orders }, event: Once, time: ordered_at, properties: { exclude: [odd] } }
  - { name: people, kind: user_profiles, mode: mirror, source: { relation: public.people }, user_id: id, properties: { rename: { email: $email } } }
  - { name: people_added, kind: user_profiles, mode: append, source: { relation: public.people }, user_id: id, insert_time: seen_at, properties: { rename: { email: added_email, tier: added_tier } } }
  - { name: people_full, kind: user_profiles, mode: full, source: { relation: public.people }, user_id: id, properties: { rename: { email: full_email, tier: full_tier, seen_at: full_seen } } }
  - { name: people_once, kind: user_profiles, mode: one_time, source: { relation: public.people }, user_id: id, properties: { rename: { email: once_email, tier: once_tier, seen_at: once_seen } } }
  - { name: firms, kind: group_profiles, mode: mirror, source: { relation: public.people }, group_key: firm, group_id: id, on_delete: delete }
  - { name: firms_full, kind: group_profiles, mode: full, source: { relation: public.people }, group_key: other, group_id: id }
  - { name: tiers, kind: user_profiles, mode: mirror, source: { relation: public.tiers }, user_id: id, history: { start_time: valid_from, end_time: valid_to } }
  - { name: tiers_added, kind: group_profiles, mode: append, source: { relation: public.tiers }, group_key: tier, group_id: id, insert_time: valid_from, history: { start_time: valid_from } }
  - { name: songs, kind: lookup_table, mode: full, source: { relation: public.songs }, id: song_id, lookup_table_id: songs-1 }
  - { name: songs_once, kind: lookup_table, mode: one_time, source: { relation: public.songs }, id: song_id, lookup_table_id: songs-2 }
`;

/** Statements that make the tables, in words that both engines know; `json` is the type of a nested value. */
export const tables = (json: string, odd: string): string[] => [
  `create table public.orders (ref varchar(50), ordered_at timestamp, customer_id varchar(50), amount numeric(9,2), weight double precision, gift boolean, shipped date, loaded_at timestamptz, note varchar(500), raw ${json}, odd ${odd})`,
  `insert into public.orders values
    ('a', '2024-01-02 03:04:05.123456', 'alice', 1.50, 0.1, true, '2024-02-29', '2024-03-01 00:00:00+00', '{"k": [1, null]}', '{"a": 1.50, "b": ["x"]}', null),
    ('a ', '2024-07-02 03:04:05', 'bob', 20, 1e300, false, null, '2024-03-02 00:00:00+00', null, null, null),
    ('it''s "b"', '2024-07-02 03:04:05', null, 3, null, null, '9999-12-31', '2024-03-03 00:00:00+00', 'null', 'null', null),
    ('no time', null, 'carol', 4, 5, true, null, '2024-03-03 00:00:00+00', '[]', '[]', null),
    ('broken', '2024-01-02', 'dave', 5, 5, true, null, '2024-03-03 00:00:00+00', '{', '{}', null),
    ('gone', '2024-01-02', 'erin', 6, 5, true, null, '2024-03-03 00:00:00+00', '1', '1', null),
    ('no insert', '2024-01-02', 'frank', 0, 5, true, null, null, '"x"', '"x"', null)`,
  'create table public.people (id varchar(50), email varchar(50), tier varchar(50), seen_at timestamp)',
  `insert into public.people values ('p1', 'a@b', 'Pro', '2024-01-01'), ('p1 ', 'c@d', null, '2024-01-02'), ('p3', 'e@f', 'Free', '2024-01-03')`,
  'create table public.tiers (id varchar(50), tier varchar(50), valid_from timestamp, valid_to timestamp)',
  `insert into public.tiers values ('t1', 'Free', '2024-01-01', '2024-02-01'), ('t1', 'Pro', '2024-02-01', null), ('t1 ', 'Free', '2024-01-15', '2024-03-01'), ('t2', 'Free', null, null)`,
  'create table public.songs (song_id integer, title varchar(50), artist varchar(50))',
  `insert into public.songs values (1, 'One Dance', 'Drake'), (2, 'a "b", c', null)`,
];
/** What changes after the first run. */
export const CHANGES = [
  `update public.orders set amount = 21, note = '[true]' where ref = 'a '`,
  `update public.orders set ordered_at = '2024-01-03' where ref = 'a'`,
  `update public.orders set note = null where ref = 'broken'`,
  `delete from public.orders where ref = 'gone'`,
  `insert into public.orders (ref, ordered_at, amount, loaded_at) values ('new', '2024-05-01', 1, '2024-04-01 00:00:00+00'), ('slow', '2024-05-01', 1, '2024-03-02 12:00:00+00')`,
  `update public.people set tier = null, email = 'x@y' where id = 'p1'`,
  `delete from public.people where id = 'p3'`,
  `insert into public.people values ('p4', 'g@h', 'Pro', '2024-02-01')`,
  `update public.tiers set valid_to = '2024-04-01' where tier = 'Pro'`,
  `insert into public.tiers values ('t1', 'Gone', '2024-05-01', null)`,
  `update public.songs set artist = 'nobody' where song_id = 2`,
];

/** What Mixpanel was sent, without what names the warehouse: ids of records are made of its own key texts. */
export async function received(dir: string): Promise<Record<string, unknown>> {
  const rows = (of: string) => duck(path.join(dir, 'sandbox.duckdb'), of);
  const parsed = (list: Record<string, unknown>[]): string[] =>
    list
      .map((row) => {
        const properties = Object.entries(JSON.parse(String(row['p'])) as Record<string, unknown>);
        const told = properties.filter(([name]) => !['$insert_id', 'syncline_warehouse'].includes(name));
        return JSON.stringify({ ...row, p: Object.fromEntries(told.sort()) });
      })
      .sort();
  return {
    events: parsed(await rows('select event, distinct_id, properties::varchar as p from events_raw')),
    profiles: parsed(await rows('select distinct_id, properties::varchar as p from profiles')),
    groups: parsed(await rows('select group_key, group_id, properties::varchar as p from groups')),
    lookups: (await rows('select * from lookup_rows')).map((row) => JSON.stringify(row)).sort(),
  };
}
