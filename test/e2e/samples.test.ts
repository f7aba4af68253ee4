import { rm } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { cli, duck, project, told, YML } from './cli.ts';

// The sample tables of Mixpanel's documentation (Warehouse Connectors), with its own column names.

const dirs: string[] = [];
afterAll(async () => {
  for (const dir of dirs.splice(0)) await rm(dir, { recursive: true, force: true });
});

async function start(sync: string, ...tables: string[]): Promise<string> {
  const dir = await project({ 'syncline.yml': YML, 'syncs/s.yml': `syncs:\n  - { name: s, ${sync} }\n` });
  dirs.push(dir);
  await duck(path.join(dir, 'warehouse.duckdb'), ...tables);
  told(await cli(dir, 'lock'), 0);
  return dir;
}
const warehouse = (dir: string, ...sql: string[]) => duck(path.join(dir, 'warehouse.duckdb'), ...sql);
const sandbox = (dir: string, sql: string) => duck(path.join(dir, 'sandbox.duckdb'), sql);
const parsed = (value: unknown): Record<string, unknown> => JSON.parse(String(value)) as Record<string, unknown>;

test.concurrent('events', async () => {
  const dir = await start(
    'kind: events, mode: mirror, source: { relation: purchases }, event: Purchase Completed, time: Timestamp, user_id: User ID',
    `create table purchases ("Timestamp" timestamp, "User ID" varchar, "Item" varchar, "Brand" varchar, "Amount" double, "Type" varchar)`,
    `insert into purchases values
      ('2024-01-04 11:12:00', 'alice@example.com', 'shoes', 'nike', 99.23, 'in-store'),
      ('2024-01-12 11:12:00', 'bob@example.com', 'socks', 'adidas', 4.56, 'online')`,
  );
  told(await cli(dir, 'apply'), 0, '2 inserts');
  const rows = await sandbox(dir, 'select event, properties::varchar as p from events order by time_ms');
  const common = {
    syncline_sync: 's',
    syncline_warehouse: 'duckdb',
    $insert_id: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
  };
  expect(rows.map((r) => r['event'])).toEqual(['Purchase Completed', 'Purchase Completed']);
  expect(rows.map((r) => parsed(r['p']))).toEqual([
    expect.objectContaining({
      ...common,
      time: Date.UTC(2024, 0, 4, 11, 12),
      distinct_id: 'alice@example.com',
      $user_id: 'alice@example.com',
      Item: 'shoes',
      Brand: 'nike',
      Amount: 99.23,
      Type: 'in-store',
    }),
    expect.objectContaining({
      ...common,
      time: Date.UTC(2024, 0, 12, 11, 12),
      distinct_id: 'bob@example.com',
      $user_id: 'bob@example.com',
      Item: 'socks',
      Brand: 'adidas',
      Amount: 4.56,
      Type: 'online',
    }),
  ]);
  // Mapped columns do not become properties.
  for (const row of rows)
    for (const name of ['Timestamp', 'User ID']) expect(parsed(row['p'])).not.toHaveProperty([name]);
});

test.concurrent('user profiles', async () => {
  const dir = await start(
    'kind: user_profiles, mode: mirror, source: { relation: users }, user_id: User ID, properties: { rename: { Email: $email, Name: $name } }',
    `create table users as select * from (values (12345, 'grace@example.com', 'Grace Hopper', 'Pro'), (45678, 'bob@example.com', 'Bob Noyce', 'Free')) as v("User ID", "Email", "Name", "Subscription Tier")`,
  );
  told(await cli(dir, 'apply'), 0, '2 inserts');
  const rows = await sandbox(dir, 'select distinct_id, properties::varchar as p from profiles order by 1');
  expect(rows.map((r) => [r['distinct_id'], parsed(r['p'])])).toEqual([
    [
      '12345',
      expect.objectContaining({ $email: 'grace@example.com', $name: 'Grace Hopper', 'Subscription Tier': 'Pro' }),
    ],
    ['45678', expect.objectContaining({ $email: 'bob@example.com', $name: 'Bob Noyce', 'Subscription Tier': 'Free' })],
  ]);
});

test.concurrent('group profiles', async () => {
  const dir = await start(
    'kind: group_profiles, mode: mirror, source: { relation: groups }, group_key: company, group_id: Group Key',
    `create table groups as select * from (values (12345, 'Notion', 'notion.so', 45000, 'Enterprise'), (45678, 'Linear', 'linear.so', 2000, 'Pro')) as v("Group Key", "Name", "Domain", "ARR", "Subscription Tier")`,
  );
  told(await cli(dir, 'apply'), 0, '2 inserts');
  const rows = await sandbox(dir, 'select group_key, group_id, properties::varchar as p from groups order by 2');
  expect(rows.map((r) => [r['group_key'], r['group_id'], parsed(r['p'])])).toEqual([
    [
      'company',
      '12345',
      expect.objectContaining({ Name: 'Notion', Domain: 'notion.so', ARR: 45000, 'Subscription Tier': 'Enterprise' }),
    ],
    [
      'company',
      '45678',
      expect.objectContaining({ Name: 'Linear', Domain: 'linear.so', ARR: 2000, 'Subscription Tier': 'Pro' }),
    ],
  ]);
});

const SONGS = `create table songs as select * from (values (12345, 'One Dance', 'Drake', null), (45678, 'Voyager', 'Daft Punk', 'Electronic'), (83921, null, null, 'Classical')) as v("ID", "Song Name", "Artist", "Genre")`;

test.concurrent('lookup table', async () => {
  const dir = await start(
    'kind: lookup_table, mode: full, source: { relation: songs }, id: ID, lookup_table_id: songs',
    SONGS,
  );
  told(await cli(dir, 'apply'), 0, '3 inserts');
  const rows = await sandbox(dir, 'select * from lookup_rows order by 2');
  const values = rows.map((r) => Object.values(r).flatMap((v) => (String(v).startsWith('{') ? [parsed(v)] : [])));
  expect(values.flat()).toEqual([
    { 'Song Name': 'One Dance', Artist: 'Drake' },
    { 'Song Name': 'Voyager', Artist: 'Daft Punk', Genre: 'Electronic' },
    { Genre: 'Classical' },
  ]);
});

test.concurrent('checksums: a new column of NULLs, what is written into it, and a column that is removed', async () => {
  const dir = await start('kind: user_profiles, mode: mirror, source: { relation: songs }, user_id: ID', SONGS);
  const checksums = async (): Promise<string[]> =>
    (await warehouse(dir, 'select row_checksum from mixpanel.s__ledger order by cast(row_key as integer)')).map((r) =>
      String(r['row_checksum']),
    );
  const profiles = async (): Promise<Record<string, unknown>[]> =>
    (await sandbox(dir, 'select properties::varchar as p from profiles order by distinct_id')).map((r) =>
      Object.fromEntries(Object.entries(parsed(r['p'])).filter(([name]) => !name.startsWith('$'))),
    );
  const remap = async (): Promise<void> => {
    told(await cli(dir, 'lock'), 0);
    told(await cli(dir, 'apply'), 1, 'error[mapping-changed]');
    told(await cli(dir, 'reset', 's'), 0);
    told(await cli(dir, 'apply'), 0, '3 inserts');
  };
  told(await cli(dir, 'apply'), 0, '3 inserts');
  const first = await checksums();
  expect(new Set(first).size).toBe(3);

  await warehouse(dir, 'alter table songs add column "Tag" varchar');
  told(await cli(dir, 'apply'), 0, 'nothing changed');
  told(await cli(dir, 'lock'), 0);
  told(await cli(dir, 'apply'), 0, 'nothing changed');
  expect(await checksums()).toEqual(first);
  told(await cli(dir, 'apply'), 0, 'nothing changed');

  await warehouse(dir, `update songs set "Tag" = case "ID" when 12345 then 'tag1' when 45678 then 'tag2' end`);
  told(await cli(dir, 'apply'), 0, '0 inserts, 2 updates, 0 deletes');
  const tagged = await checksums();
  expect(tagged.map((sum, i) => sum === first[i])).toEqual([false, false, true]);
  expect(await profiles()).toEqual([
    { 'Song Name': 'One Dance', Artist: 'Drake', Tag: 'tag1' },
    { 'Song Name': 'Voyager', Artist: 'Daft Punk', Genre: 'Electronic', Tag: 'tag2' },
    { Genre: 'Classical' },
  ]);

  await warehouse(dir, 'alter table songs drop column "Genre"');
  told(await cli(dir, 'apply'), 1, 'column `Genre` is missing');
  await remap();
  const removed = await checksums();
  expect(removed.filter((sum, i) => sum === tagged[i] || sum === first[i])).toEqual([]);
});

test.concurrent('a column that is excluded is in no checksum', async () => {
  const dir = await start(
    'kind: user_profiles, mode: mirror, source: { relation: songs }, user_id: ID, properties: { exclude: [Genre] }',
    SONGS,
  );
  told(await cli(dir, 'apply'), 0, '3 inserts');
  await warehouse(dir, `update songs set "Genre" = 'Pop'`);
  told(await cli(dir, 'apply'), 0, 'nothing changed');
});
