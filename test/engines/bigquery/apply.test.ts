import { rm } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cli, duck, project, YML } from '../../e2e/cli.ts';
import { onEngine } from '../engine.ts';
import { missing, startEmulator } from './emulator.ts';
import type { Proxy } from './proxy.ts';

const SYNCS = `syncs:
  - { name: keyed, kind: events, mode: mirror, source: { relation: shop.orders }, event: Bought, time: ordered_at, user_id: customer_id, key: ref, timezone: Europe/Berlin, properties: { rename: { amount: Amount }, types: { note: json } } }
  - { name: late, kind: events, mode: append, source: { relation: shop.orders }, event: Late, time: ordered_at, insert_time: loaded_at, late_window: 48h }
  - { name: people, kind: user_profiles, mode: mirror, source: { relation: shop.people }, user_id: id, properties: { rename: { email: $email } } }
  - { name: tiers, kind: user_profiles, mode: mirror, source: { relation: shop.tiers }, user_id: id, history: { start_time: valid_from, end_time: valid_to } }
  - { name: songs, kind: lookup_table, mode: full, source: { relation: shop.songs }, id: song_id, lookup_table_id: songs-1 }
`;

/** Statements that make the tables, in words that both engines know. */
const tables = (
  types: Readonly<Record<'text' | 'decimal' | 'float' | 'naive' | 'utc' | 'integer', string>>,
  quote: string,
): string[] => {
  const { text, decimal, float, naive, utc, integer } = types;
  return [
    `create table shop.orders (ref ${text}, ordered_at ${naive}, customer_id ${text}, amount ${decimal}, weight ${float}, gift boolean, shipped date, loaded_at ${utc}, note ${text})`,
    `insert into shop.orders values
    ('a', '2024-01-02 03:04:05.123456', 'alice', 1.50, 0.1, true, '2024-02-29', '2024-03-01 00:00:00+00', '{"k": [1, null]}'),
    ('a ', '2024-07-02 03:04:05', 'bob', 20, 1e300, false, null, '2024-03-02 00:00:00+00', null),
    ('it${quote}s "b"', '2024-07-02 03:04:05', null, 3, null, null, '9999-12-31', '2024-03-03 00:00:00+00', 'null'),
    ('no time', null, 'carol', 4, 5, true, null, '2024-03-03 00:00:00+00', '[]'),
    ('broken', '2024-01-02 00:00:00', 'dave', 5, 5, true, null, '2024-03-03 00:00:00+00', '{'),
    ('gone', '2024-01-02 00:00:00', 'erin', 6, 5, true, null, '2024-03-03 00:00:00+00', '1'),
    ('no insert', '2024-01-02 00:00:00', 'frank', 0, 5, true, null, null, '"x"')`,
    `create table shop.people (id ${text}, email ${text}, tier ${text}, seen_at ${naive})`,
    `insert into shop.people values ('p1', 'a@b', 'Pro', '2024-01-01 00:00:00'), ('p2', 'c@d', null, '2024-01-02 00:00:00'), ('p3', 'e@f', 'Free', '2024-01-03 00:00:00')`,
    `create table shop.tiers (id ${text}, tier ${text}, valid_from ${naive}, valid_to ${naive})`,
    `insert into shop.tiers values ('t1', 'Free', '2024-01-01 00:00:00', '2024-02-01 00:00:00'), ('t1', 'Pro', '2024-02-01 00:00:00', null), ('t2', 'Free', null, null)`,
    `create table shop.songs (song_id ${integer}, title ${text}, artist ${text})`,
    `insert into shop.songs values (1, 'One Dance', 'Drake'), (2, 'a "b", c', null)`,
  ];
};
const CHANGES = [
  `update shop.orders set amount = 21, note = '[true]' where ref = 'a '`,
  `update shop.orders set ordered_at = '2024-01-03 00:00:00' where ref = 'a'`,
  `update shop.orders set note = null where ref = 'broken'`,
  `delete from shop.orders where ref = 'gone'`,
  `insert into shop.orders (ref, ordered_at, amount, loaded_at) values ('new', '2024-05-01 00:00:00', 1, '2024-04-01 00:00:00+00'), ('slow', '2024-05-01 00:00:00', 1, '2024-03-02 12:00:00+00')`,
  `update shop.people set tier = null, email = 'x@y' where id = 'p1'`,
  `delete from shop.people where id = 'p3'`,
  `insert into shop.people values ('p4', 'g@h', 'Pro', '2024-02-01 00:00:00')`,
  `update shop.tiers set valid_to = '2024-04-01 00:00:00' where tier = 'Pro'`,
  `update shop.songs set artist = 'nobody' where song_id = 2`,
];

/** What Mixpanel was sent, without what names the warehouse: ids of records are made of its own key texts. */
async function received(dir: string): Promise<Record<string, unknown>> {
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

onEngine(missing(), 'kinds on the BigQuery emulator', () => {
  let emulator: Proxy;
  const dirs: string[] = [];
  beforeAll(async () => {
    process.env['METADATA_SERVER_DETECTION'] = 'none';
    emulator = await startEmulator();
  }, 120_000);
  afterAll(async () => {
    await emulator.stop();
    for (const dir of dirs) await rm(dir, { recursive: true, force: true });
  });

  const start = async (warehouse: string): Promise<string> => {
    const yml = YML.replace('{ type: duckdb, path: warehouse.duckdb }', warehouse);
    const dir = await project({ 'syncline.yml': yml, 'syncs/all.yml': SYNCS });
    dirs.push(dir);
    return dir;
  };
  const done = async (dir: string, ...args: string[]): Promise<string> => {
    const ran = await cli(dir, ...args);
    expect(ran.code, ran.err).toBe(0);
    return ran.out + ran.err;
  };

  test('sends what DuckDB sends for the same tables, and nothing when nothing changed', async () => {
    const dir = await start(
      `{ type: bigquery, project: my-proj, location: US, method: oauth-secrets, token: x, api_endpoint: "${emulator.endpoint}" }`,
    );
    const peer = await start('{ type: duckdb, path: warehouse.duckdb }');
    const types = {
      text: 'string',
      decimal: 'numeric(9, 2)',
      float: 'float64',
      naive: 'datetime',
      utc: 'timestamp',
      integer: 'int64',
    };
    for (const statement of ['create schema `my-proj.shop`', ...tables(types, "\\'")])
      await emulator.query(statement.replaceAll('shop.', '`my-proj`.shop.').replace('boolean', 'bool'));
    const own = {
      text: 'varchar',
      decimal: 'decimal(9,2)',
      float: 'double',
      naive: 'timestamp',
      utc: 'timestamptz',
      integer: 'integer',
    };
    await duck(path.join(peer, 'warehouse.duckdb'), 'create schema shop', ...tables(own, "''"));

    for (const at of [dir, peer]) await done(at, 'lock');
    await done(dir, 'setup', '--execute');
    for (const at of [dir, peer]) await done(at, 'apply');
    const first = await received(dir);
    expect(first).toEqual(await received(peer));

    const again = await done(dir, 'apply');
    expect(again.match(/nothing changed/g), again).toHaveLength(5);
    expect(again).not.toContain('the mapping changed');

    for (const change of CHANGES) await emulator.query(change.replaceAll('shop.', '`my-proj`.shop.'));
    await duck(path.join(peer, 'warehouse.duckdb'), ...CHANGES);
    for (const at of [dir, peer]) await done(at, 'apply');
    const last = await received(dir);
    expect(last).toEqual(await received(peer));
    expect(last).not.toEqual(first);
    expect(emulator.jobs.filter(({ failure }) => failure !== undefined)).toEqual([]);
  });
});
