import { rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { openSandbox, serveSandbox } from '../../runtime/sandbox/server.ts';
import { cli, duck, project, YML } from './cli.ts';

const dirs: string[] = [];
afterEach(async () => {
  for (const dir of dirs.splice(0)) await rm(dir, { recursive: true, force: true });
});

/** A locked project with one sync over the tables of the statements. */
async function start(sync: string, ...tables: string[]): Promise<string> {
  const dir = await project({ 'syncline.yml': YML, 'syncs/s.yml': `syncs:\n${sync}` });
  dirs.push(dir);
  await duck(path.join(dir, 'warehouse.duckdb'), ...tables);
  const locked = await cli(dir, 'lock');
  expect(locked.err, locked.err).toContain('syncline.lock.json');
  return dir;
}

const change = (dir: string, ...sql: string[]): Promise<unknown> => duck(path.join(dir, 'warehouse.duckdb'), ...sql);
const shown = (dir: string, sql: string): Promise<Record<string, unknown>[]> =>
  duck(path.join(dir, 'sandbox.duckdb'), sql);

async function apply(dir: string, ...flags: string[]): Promise<string> {
  const ran = await cli(dir, 'apply', ...flags);
  expect(ran.code, ran.err).toBe(0);
  return ran.err;
}

const CUSTOMERS = `create table customers as select * from (values
  (12345, 'grace@example.com', 'Grace Hopper', 'Pro'), (45678, 'bob@example.com', 'Bob Noyce', 'Free')) as v(user_id, email, name, tier)`;

async function profiles(dir: string): Promise<Record<string, unknown>> {
  const rows = await shown(dir, 'select distinct_id, properties::varchar as p from profiles order by 1');
  return Object.fromEntries(
    rows.map((r) => [String(r['distinct_id']), JSON.parse(String(r['p'])) as Record<string, unknown>]),
  );
}

describe('user profiles', () => {
  const sync = (more: string): string =>
    `  - { name: customers, kind: user_profiles, source: { relation: customers }, user_id: user_id, properties: { rename: { email: $email, name: $name } }, ${more} }\n`;

  test('a mirror sets what has a value, unsets what lost it, and unsets the properties of a row that is gone', async () => {
    const dir = await start(sync('mode: mirror'), CUSTOMERS);
    expect(await apply(dir)).toContain('2 inserts');
    expect(await profiles(dir)).toMatchObject({
      '12345': { $email: 'grace@example.com', $name: 'Grace Hopper', tier: 'Pro' },
      '45678': { $email: 'bob@example.com', $name: 'Bob Noyce', tier: 'Free' },
    });
    expect(await apply(dir)).toContain('nothing changed');
    await change(
      dir,
      `update customers set tier = null, email = 'grace@navy.mil' where user_id = 12345`,
      'delete from customers where user_id = 45678',
    );
    await apply(dir);
    const now = await profiles(dir);
    expect(now['12345']).toMatchObject({ $email: 'grace@navy.mil', $name: 'Grace Hopper' });
    expect(now['12345']).not.toHaveProperty('tier');
    expect(now['45678']).not.toHaveProperty('tier');
    expect(now['45678']).not.toHaveProperty('$email');
    expect(await apply(dir)).toContain('nothing changed');
  });

  test('an invalid row that is gone is no profile that Mixpanel shows', async () => {
    const dir = await start(
      sync('mode: mirror'),
      `create table customers as select * from (values ('a', 'a@b', 'A', 'x'), ('', 'c@d', 'C', 'y')) as v(user_id, email, name, tier)`,
    );
    expect(await apply(dir)).toContain('1 invalid');
    await change(dir, `delete from customers where user_id = ''`);
    await apply(dir);
    const ledger = await duck(path.join(dir, 'warehouse.duckdb'), 'select row_key from mixpanel.customers__ledger');
    expect(ledger).toEqual([{ row_key: 'a' }]);
    expect(await apply(dir)).toContain('nothing changed');
  });

  test('on_delete: delete removes the profile, ignore leaves it, fail refuses', async () => {
    const dir = await start(sync('mode: mirror, on_delete: delete'), CUSTOMERS);
    await apply(dir);
    await change(dir, 'delete from customers where user_id = 45678');
    expect(await apply(dir)).toContain('1 delete');
    expect(Object.keys(await profiles(dir))).toEqual(['12345']);

    const kept = await start(sync('mode: mirror, on_delete: ignore'), CUSTOMERS);
    await apply(kept);
    await change(kept, 'delete from customers where user_id = 45678');
    expect(await apply(kept)).toContain('nothing changed');
    expect(Object.keys(await profiles(kept))).toEqual(['12345', '45678']);

    const strict = await start(sync('mode: mirror, on_delete: fail'), CUSTOMERS);
    await apply(strict);
    await change(strict, 'delete from customers where user_id = 45678');
    const refused = await cli(strict, 'apply');
    expect(refused.code).toBe(1);
    expect(refused.err).toContain('row 45678 is gone');
  });

  test('append sends only the newest row of an id, also when an older one arrives later', async () => {
    const dir = await start(
      sync('mode: append, insert_time: loaded'),
      `create table customers as select * from (values
        (1, 'a1', null, 'x', timestamp '2024-01-01'), (1, 'a2', 'A', null, timestamp '2024-01-02'), (2, 'b', 'B', 'y', timestamp '2024-01-01'), (null, 'c', 'C', 'z', timestamp '2024-01-01')) as v(user_id, email, name, tier, loaded)`,
    );
    const first = await apply(dir);
    expect(first).toContain('2 inserts');
    expect(first).toContain('1 invalid');
    expect(await profiles(dir)).toMatchObject({ '1': { $email: 'a2', $name: 'A' }, '2': { $email: 'b' } });
    await change(
      dir,
      `insert into customers values (2, 'b-old', 'B', 'y', timestamp '2023-01-01'), (1, 'a3', null, 'x', timestamp '2024-01-03')`,
    );
    expect(await apply(dir)).toContain('1 insert,');
    const now = await profiles(dir);
    expect(now['1']).toMatchObject({ $email: 'a3', tier: 'x' });
    expect(now['1']).not.toHaveProperty('$name');
    expect(now['2']).toMatchObject({ $email: 'b' });
    expect(await apply(dir)).toContain('nothing changed');
  });

  test('full sends every row each time; two rows of one id and a row without id are told', async () => {
    const dir = await start(sync('mode: full'), CUSTOMERS);
    await apply(dir);
    await change(
      dir,
      `update customers set tier = null where user_id = 12345`,
      `insert into customers (email) values ('x')`,
    );
    const second = await apply(dir);
    expect(second).toContain('2 inserts');
    expect((await profiles(dir))['12345']).not.toHaveProperty('tier');
    expect(second).toContain('1 invalid');
    await change(dir, `insert into customers (user_id) values (45678)`);
    const twins = await cli(dir, 'apply');
    expect(twins.code).toBe(1);
    expect(twins.err).toContain('An id occurs more than once');
  });

  test.each(['full', 'one_time'])('equal rows without id are invalid, and no twins (%s)', async (mode) => {
    const dir = await start(
      sync(`mode: ${mode}, guard: { max_rejects: 2 }`),
      CUSTOMERS,
      `alter table customers alter user_id type varchar`,
      `insert into customers select null, 'x', null, null from range(3)`,
      `insert into customers select ' ', 'x', null, null from range(2)`,
    );
    // Each is two updates, and counts once.
    expect(await apply(dir)).toContain('2 inserts, 0 updates, 0 deletes, 2 invalid');
    expect((await cli(dir, 'rejects')).out.match(/id-missing/g)).toHaveLength(4);
    expect(Object.keys(await profiles(dir))).toEqual(['12345', '45678']);
    await change(dir, `delete from customers where user_id is null`);
    await apply(dir);
    expect((await cli(dir, 'rejects')).out.match(/id-missing/g)).toHaveLength(1);
  });

  test('one_time sends once and says so', async () => {
    const dir = await start(sync('mode: one_time'), CUSTOMERS);
    await apply(dir);
    await change(dir, `insert into customers values (3, 'c', 'C', 'z')`);
    expect(await apply(dir)).toContain('one_time, and done');
    expect(Object.keys(await profiles(dir))).toEqual(['12345', '45678']);
  });
});

test('group profiles: mirror with $set, $unset and $delete', async () => {
  const dir = await start(
    `  - { name: accounts, kind: group_profiles, mode: mirror, source: { relation: accounts }, group_key: company, group_id: id, on_delete: delete }\n`,
    `create table accounts as select * from (values (12345, 'Notion', 'notion.so', 45000, 'Enterprise'), (45678, 'Linear', 'linear.so', 2000, 'Pro')) as v(id, name, domain, arr, tier)`,
  );
  await apply(dir);
  await change(dir, `update accounts set arr = null where id = 12345`, `delete from accounts where id = 45678`);
  await apply(dir);
  const rows = await shown(dir, 'select group_key, group_id, properties::varchar as p from groups');
  expect(rows.map((r) => [r['group_key'], r['group_id'], JSON.parse(String(r['p'])) as unknown])).toEqual([
    ['company', '12345', expect.objectContaining({ name: 'Notion', domain: 'notion.so', tier: 'Enterprise' })],
  ]);
  expect(String(rows[0]!['p'])).not.toContain('arr');
});

describe('lookup tables', () => {
  const sync = `  - { name: songs, kind: lookup_table, mode: full, source: { relation: songs }, id: id, lookup_table_id: songs-1 }\n`;
  const SONGS = `create table songs as select * from (values (12345, 'One "Dance"', 'Drake', null), (45678, 'Voyager, live', 'Daft Punk', 'Electronic'), (83921, null, null, 'Classical')) as v(id, song_name, artist, genre)`;

  test('the whole table is sent, and only when its content changed', async () => {
    const dir = await start(sync, SONGS);
    await shown(dir, 'select 1');
    expect((await cli(dir, 'plan')).out).toMatch(/^songs \(initial load\): whole table, 3 rows\n {2}sends \d+ B/);
    const first = await cli(dir, 'apply');
    expect(first.err).toContain('3 inserts');
    expect((await cli(dir, 'plan')).out).toBe(
      'songs (changes): nothing to send\n  all: full reads every row in each run\n',
    );
    expect(await apply(dir)).toContain('nothing changed');
    await change(dir, `delete from songs where id = 83921`, `update songs set genre = 'Pop' where id = 12345`);
    await apply(dir);
    const rows = await shown(dir, 'select * from lookup_rows order by 2');
    expect(rows).toHaveLength(2);
    expect(JSON.stringify(rows)).toContain('Pop');
  });

  test('what Mixpanel would refuse is refused before', async () => {
    const dir = await start(sync, SONGS, `insert into songs values (12345, 'twin', null, null)`);
    const twins = await cli(dir, 'apply');
    expect(twins.code).toBe(1);
    expect(twins.err).toContain('An id occurs more than once');
    await change(dir, `delete from songs`);
    const empty = await cli(dir, 'apply');
    expect(empty.err, empty.err).toContain('nothing changed');
    expect(await apply(dir)).toContain('nothing changed');
    await change(dir, `insert into songs values (1, 'One', null, null)`);
    await apply(dir);
    await change(dir, `delete from songs`);
    expect((await cli(dir, 'apply')).err).toContain('Mixpanel takes no empty table');
  });

  test('an id that Mixpanel takes for none is refused before', async () => {
    const dir = await start(sync, `create table songs (id varchar, song_name varchar)`);
    for (const id of ["''", "' '", "'0'", "'False'", 'null']) {
      await change(dir, 'delete from songs', `insert into songs values ('a', 'x'), (${id}, 'y')`);
      const blank = await cli(dir, 'apply');
      expect([blank.code, blank.err]).toEqual([1, expect.stringContaining('A row has no id')]);
    }
    await change(dir, `update songs set id = '00' where id is null`);
    expect(await apply(dir)).toContain('2 inserts');
  });
});

describe('events', () => {
  test('options: device, JSON properties, zone, where, exclude, rename, types, case', async () => {
    const dir = await start(
      `  - name: e
    kind: events
    mode: mirror
    source: { relation: e }
    where: "status <> 'test'"
    event: E
    time: t
    timezone: Europe/Berlin
    user_id: u
    device_id: d
    key: id
    json_properties: j
    properties: { exclude: [secret], rename: { amount: Amount }, types: { id: string, raw: json }, case: upper }
`,
      `create table e (id integer, t timestamp, u varchar, d varchar, amount decimal(9,2), secret varchar, status varchar, raw varchar, seen_at timestamp, j json)`,
      `insert into e values
        (1, '2024-07-01 12:00:00', null, 'dev', 1.50, 's', 'live', '[1,2]', '2024-07-01 12:00:00', '{"a":1,"time":5,"Amount":9,"$city":"x","n":null,"mp_x":1}'),
        (2, '2024-07-01 12:00:00', 'u', 'dev', null, 's', 'test', null, null, null),
        (3, '2024-07-01 12:00:00', 'u', 'dev', null, 's', 'live', null, null, '[1]')`,
    );
    const ran = await apply(dir);
    expect(ran).toContain('1 insert,');
    expect(ran).toContain('1 invalid');
    const [row] = await shown(dir, 'select event, properties::varchar as p from events');
    const p = JSON.parse(String(row!['p'])) as Record<string, unknown>;
    expect(p).toMatchObject({
      distinct_id: '$device:dev',
      $device_id: 'dev',
      time: Date.UTC(2024, 6, 1, 10),
      ID: '1',
      Amount: 1.5,
      STATUS: 'live',
      RAW: [1, 2],
      SEEN_AT: '2024-07-01T10:00:00',
      a: 1,
      $city: 'x',
    });
    for (const absent of ['SECRET', 'secret', 'n', 'mp_x', 'J', 'j', '$user_id']) expect(p).not.toHaveProperty(absent);
    const rejects = await cli(dir, 'rejects');
    expect(rejects.out).toContain('json-not-object');
  });

  test('a text that holds no JSON object is an invalid row', async () => {
    const dir = await start(
      `  - { name: raw, kind: events, mode: one_time, source: { relation: raw }, event: E, time: t, json_properties: j }\n`,
      `create table raw as select timestamp '2024-01-01' as t, * from (values (1, '{"a": 1}'), (2, 'nope{'), (3, ''), (4, '[1]'), (5, 'null'), (6, null)) as v(n, j)`,
    );
    expect((await cli(dir, 'apply')).err).toContain('run 1 done: 3 inserts, 0 updates, 0 deletes, 3 invalid');
    const rows = await shown(dir, `select (properties->>'n')::int as n, properties->>'a' as a from events order by 1`);
    expect(rows).toEqual([
      { n: 1, a: '1' },
      { n: 5, a: null },
      { n: 6, a: null },
    ]);
    expect((await cli(dir, 'rejects')).out).toContain('json-not-object');
  });

  test('late_window: a row that arrives late is sent once, and none twice', async () => {
    const dir = await start(
      `  - { name: log, kind: events, mode: append, source: { relation: log }, event: E, time: t, insert_time: loaded, late_window: 6h }\n`,
      `create table log as select i as n, timestamp '2024-01-01' + to_hours(i::integer) as t, timestamp '2024-01-01' + to_hours(i::integer) as loaded from range(24) as t(i)`,
    );
    expect(await apply(dir)).toContain('24 inserts');
    expect(await apply(dir)).toContain('nothing changed');
    await change(
      dir,
      `insert into log values (100, '2024-01-01', '2024-01-01 20:00:00'), (101, '2024-01-01', '2024-01-01 02:00:00'), (23, '2024-01-01 23:00:00', '2024-01-01 23:00:00'), (102, '2024-01-02', '2024-01-02 05:00:00')`,
    );
    // The late one, a second row equal to the last one, and the new one; not the one that is later than the window.
    expect(await apply(dir)).toContain('3 inserts');
    expect(await apply(dir)).toContain('nothing changed');
    const rows = await shown(dir, `select properties ->> 'n' as n from events order by n::integer`);
    expect(rows).toHaveLength(27);
  });

  test('late_window declared when the sync has run, and again under another name: what was sent is not sent again', async () => {
    const log = (name: string, more = ''): string =>
      `  - { name: ${name}, kind: events, mode: append, source: { relation: log }, event: E, time: t, insert_time: loaded${more} }\n`;
    const window = ', late_window: 6h';
    const dir = await start(
      log('log'),
      `create table log as select i as n, timestamp '2024-01-01' as t, timestamp '2024-01-01' + to_hours(i::integer) as loaded from range(24) as t(i)`,
    );
    const declare = (text: string): Promise<void> => writeFile(path.join(dir, 'syncs/s.yml'), `syncs:\n${text}`);
    const insert = (n: number, time: string): Promise<unknown> =>
      change(dir, `insert into log values (${n}, '2024-01-01', '2024-01-${time}')`);
    expect(await apply(dir)).toContain('24 inserts');
    await declare(log('log', window));
    expect((await cli(dir, 'plan')).out).toContain('log (changes): 0 inserts');
    expect(await apply(dir)).toContain('nothing changed');
    await insert(24, '02 04:00');
    expect(await apply(dir)).toContain('1 insert');
    await insert(25, '02 03:00');
    expect(await apply(dir)).toContain('1 insert');
    await declare(log('log'));
    expect(await apply(dir)).toContain('nothing changed');
    await declare(log('later', ', renamed_from: log'));
    expect(await apply(dir)).toContain('renamed from log');
    await declare(log('later', window));
    expect(await apply(dir)).toContain('nothing changed');
    await insert(26, '02 05:00');
    expect(await apply(dir)).toContain('1 insert');
    await insert(27, '02 04:30');
    expect(await apply(dir)).toContain('1 insert');
    expect(await shown(dir, 'select count(*)::int as n from events_raw')).toEqual([{ n: 28 }]);
  });

  test('guards: their defaults, and a ceiling for one run', async () => {
    const dir = await start(
      `  - { name: p, kind: events, mode: mirror, source: { relation: p }, event: E, time: t, key: id }\n`,
      `create table p as select i as id, timestamp '2024-01-01' as t from range(2000) as t(i)`,
    );
    await apply(dir);
    await change(dir, 'delete from p where id < 300');
    const refused = await cli(dir, 'apply');
    expect(refused.code).toBe(1);
    expect(refused.err).toContain('--allow p.max_deletes=N');
    expect((await cli(dir, 'apply', '--allow', 'p.max_deletes=299')).code).toBe(1);
    expect(await apply(dir, '--allow', 'p.max_deletes=300')).toContain('300 deletes');
    await change(dir, 'delete from p');
    const empty = await cli(dir, 'apply', '--allow', 'p.max_deletes=5000');
    expect(empty.err).toContain('the source is empty');
    expect(await apply(dir, '--allow', 'p.max_deletes=5000', 'p.on_empty_source')).toContain('1,700 deletes');
    expect((await cli(dir, 'apply', '--allow', 'p.nope=1')).code).toBe(2);
  });
});

test('a run with nothing to send makes no request', async () => {
  const sandbox = await openSandbox({ path: ':memory:' });
  const server = await serveSandbox(sandbox, { port: 0 });
  try {
    const dir = await start(
      `  - { name: e, kind: events, mode: mirror, source: { relation: c }, event: E, time: t, key: id }
  - { name: c, kind: user_profiles, mode: mirror, source: { relation: c }, user_id: id }
  - { name: l, kind: lookup_table, mode: full, source: { relation: c }, id: id, lookup_table_id: x }\n`,
      `create table c as select 'u' || i as id, timestamp '2024-01-01' as t, i as n from range(10) as t(i)`,
    );
    const yml = `{ host: "http://127.0.0.1:${server.port}", project_id: 1, token: t, service_account: { username: u, secret: s } }`;
    await writeFile(path.join(dir, 'syncline.yml'), YML.replace('mixpanel: sandbox', `mixpanel: ${yml}`));
    await apply(dir);
    const { requests } = sandbox.counts;
    expect(requests).toBeGreaterThan(3);
    expect((await apply(dir)).match(/nothing changed/g)).toHaveLength(3);
    expect(sandbox.counts.requests).toBe(requests);
  } finally {
    await server.close();
    await sandbox.close();
  }
});

describe('bad input', () => {
  test('a condition that cannot be run, a new column, too many rejects, a table that is too large', async () => {
    const sync = (more: string): string =>
      `  - { name: p, kind: events, mode: mirror, source: { relation: p }, event: E, time: t, key: id, ${more} }\n`;
    const table = `create table p as select i as id, timestamp '2024-01-01' as t from range(9) as t(i)`;
    const where = await start(sync(`where: "status ==== 'x'"`), table);
    expect((await cli(where, 'apply')).err).toContain('The warehouse cannot run the condition `where:`');

    const fresh = await start(sync('on_new_column: fail'), table);
    await change(fresh, 'alter table p add column late integer');
    const drifted = await cli(fresh, 'apply');
    expect([drifted.code, drifted.err]).toEqual([1, expect.stringContaining('column `late` is new')]);

    const strict = await start(sync('guard: { max_rejects: 2 }'), table);
    await change(strict, `update p set t = '1960-01-01' where id < 3`);
    const stopped = await cli(strict, 'apply');
    expect([stopped.code, stopped.err]).toEqual([1, expect.stringContaining('new invalid rows: 3')]);
    await change(strict, `update p set t = '2024-01-01' where id = 0`);
    expect(await apply(strict)).toContain('2 invalid');
    await change(strict, `update p set t = '1961-01-01' where id in (1, 5)`);
    // One of them is on record already, so these are two new ones at most.
    expect(await apply(strict)).toContain('2 invalid');

    const large = await start(
      `  - { name: big, kind: lookup_table, mode: full, source: { relation: big }, id: id, lookup_table_id: x }\n`,
      `create table big as select i as id, repeat('x', 1000) as text from range(1, 100001) as t(i)`,
    );
    const refused = await cli(large, 'apply');
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('at most 100 MB a lookup table')]);
  });

  test('two rows without id, and a user id that is a time, are told before anything is sent', async () => {
    const dir = await start(
      `  - { name: c, kind: user_profiles, mode: mirror, source: { relation: c }, user_id: id }\n`,
      `create table c as select * from (values ('a', 1), (null, 2)) as v(id, n)`,
    );
    const planned = (await cli(dir, 'plan')).out;
    expect(planned).toContain('apply will refuse: A row has no id');
    // Rows that a check refuses are not counted as invalid, least of all as none of them.
    expect(planned).not.toContain('invalid row');
    expect((await cli(dir, 'apply')).err).toContain('A row has no id');
    await change(dir, `drop table c`, `create table c as select timestamp '2024-01-01' as id, 1 as n`);
    await cli(dir, 'lock');
    const typed = await cli(dir, 'apply');
    expect([typed.code, typed.err]).toEqual([2, expect.stringContaining('user_id needs text or an integer')]);
  });
});

describe('history', () => {
  const rows = (dir: string): Promise<Record<string, unknown>[]> =>
    shown(
      dir,
      `select distinct_id as u, strftime(make_timestamp(time_ms * 1000), '%m-%d') as at, properties ->> 'tier' as tier,
         properties ->> 'company' as company, properties ->> 'syncline_deleted' as gone, event
       from events order by 1, 2, 4`,
    );
  const VERSIONS = `create table versions as select * from (values
    ('a', 'Free', timestamp '2024-01-01', timestamp '2024-02-01'), ('a', 'Pro', timestamp '2024-02-01', null),
    ('b', 'Free', timestamp '2024-01-01', timestamp '2024-03-01')) as v(id, tier, start_at, end_at)`;

  test('versions are events, an end without successor closes, the profile is the newest version', async () => {
    const dir = await start(
      `  - { name: tiers, kind: user_profiles, mode: mirror, source: { relation: versions }, user_id: id, history: { start_time: start_at, end_time: end_at } }\n`,
      VERSIONS,
    );
    const planned = await cli(dir, 'plan');
    expect(planned.out).toContain('6 inserts');
    expect(planned.out).toContain('4 billable events');
    expect(await apply(dir)).toContain('6 inserts');
    const seen = (list: Record<string, unknown>[]): unknown[] =>
      list.map((r) => [r['u'], r['at'], r['tier'], r['gone']]);
    expect(seen(await rows(dir))).toEqual([
      ['a', '01-01', 'Free', null],
      ['a', '02-01', 'Pro', null],
      ['b', '01-01', 'Free', null],
      ['b', '03-01', null, null],
    ]);
    expect(await profiles(dir)).toMatchObject({ a: { tier: 'Pro' } });
    expect((await profiles(dir))['b'] ?? {}).not.toHaveProperty('tier');
    expect(await apply(dir)).toContain('nothing changed');

    // A new version, a version that goes, and one whose value was mended.
    await change(
      dir,
      `update versions set end_at = '2024-04-01' where id = 'a' and tier = 'Pro'`,
      `insert into versions values ('a', 'Enterprise', '2024-04-01', null), ('b', 'Pro', '2024-03-01', null)`,
      `delete from versions where id = 'b' and tier = 'Free'`,
      `update versions set tier = 'Trial' where id = 'a' and tier = 'Free'`,
    );
    await apply(dir);
    expect(seen((await rows(dir)).filter((r) => r['gone'] === null))).toEqual([
      ['a', '01-01', 'Trial', null],
      ['a', '02-01', 'Pro', null],
      ['a', '04-01', 'Enterprise', null],
      ['b', '03-01', 'Pro', null],
    ]);
    expect(await profiles(dir)).toMatchObject({ a: { tier: 'Enterprise' }, b: { tier: 'Pro' } });
    expect(await apply(dir)).toContain('nothing changed');

    await change(dir, `insert into versions values ('b', 'Twin', '2024-03-01', null)`);
    const twins = await cli(dir, 'apply');
    expect(twins.code).toBe(1);
    expect(twins.err).toContain(
      'tiers: An id has two versions at one time. Give each version a start of its own. (id b at 2024-03-01 00:00:00)\n',
    );
  });

  test('a naive start is reached by the clock of its zone', async () => {
    const dir = await start(
      `  - { name: tiers, kind: user_profiles, mode: mirror, source: { relation: versions }, user_id: id, timezone: Pacific/Kiritimati, history: { start_time: start_at } }\n`,
      // Fourteen hours ahead of UTC.
      `create table versions as select v.id, v.tier, cast(now() at time zone 'UTC' as timestamp) + to_hours(v.h::integer) as start_at
         from (values ('a', 'Free', -1), ('a', 'Pro', 10), ('b', 'Free', -1), ('b', 'Pro', 14.5)) as v(id, tier, h)`,
    );
    await apply(dir);
    expect(await profiles(dir)).toMatchObject({ a: { tier: 'Pro' }, b: { tier: 'Free' } });
  });

  test('groups in append: the event names its group, and a touched group is set to its newest version', async () => {
    const dir = await start(
      `  - { name: plans, kind: group_profiles, mode: append, source: { relation: versions }, group_key: company, group_id: id, insert_time: loaded, history: { start_time: start_at } }\n`,
      `create table versions as select * from (values ('x', 'Free', timestamp '2024-01-01', timestamp '2024-01-02')) as v(id, tier, start_at, loaded)`,
    );
    await apply(dir);
    await change(
      dir,
      `insert into versions values ('x', null, '2024-02-01', '2024-02-02'), ('y', 'Pro', '2024-02-01', '2024-02-02')`,
    );
    expect(await apply(dir)).toContain('4 inserts');
    expect((await rows(dir)).map((r) => [r['company'], r['at'], r['tier'], r['event']])).toEqual([
      ['x', '01-01', 'Free', 'plans'],
      ['x', '02-01', null, 'plans'],
      ['y', '02-01', 'Pro', 'plans'],
    ]);
    const groups = await shown(dir, 'select group_id, properties ->> $$tier$$ as tier from groups order by 1');
    expect(groups).toEqual([
      { group_id: 'x', tier: null },
      { group_id: 'y', tier: 'Pro' },
    ]);
    expect(await apply(dir)).toContain('nothing changed');
  });
});

test('ids are told apart by their bytes, whatever collation their column has', async () => {
  const of = (name: string, kind: string): string => `  - { name: ${name}, source: { relation: people }, ${kind} }\n`;
  const rest = 'insert_time: loaded, properties: { exclude: [t] }';
  const dir = await start(
    of(
      'mirrored',
      `kind: group_profiles, mode: mirror, group_key: m, group_id: id, properties: { exclude: [t, loaded] }`,
    ) +
      of('appended', `kind: user_profiles, mode: append, user_id: id, ${rest}`) +
      of(
        'versions',
        `kind: group_profiles, mode: append, group_key: h, group_id: id, insert_time: loaded, history: { start_time: t }`,
      ) +
      of('events', `kind: events, mode: mirror, event: E, time: t, key: id, properties: { exclude: [loaded] }`) +
      of(
        'looked_up',
        `kind: lookup_table, mode: full, lookup_table_id: l, id: id, properties: { exclude: [t, loaded] }`,
      ),
    `create table people as select id collate nocase as id, v, timestamp '2024-01-01' as t, timestamp '2024-01-02' as loaded from (values ('a', 1), ('A', 2)) as v(id, v)`,
    'alter table people alter id set data type varchar collate nocase',
  );
  expect(await change(dir, `select count(*)::int as n from people where id = 'A'`)).toEqual([{ n: 2 }]);
  await apply(dir);
  const both = [{ v: '1' }, { v: '2' }];
  for (const from of [
    `groups where group_key = 'm'`,
    'profiles',
    `groups where group_key = 'h'`,
    `events where event = 'E'`,
    'lookup_rows',
  ])
    expect([from, await shown(dir, `select properties ->> 'v' as v from ${from} order by 1`)]).toEqual([from, both]);
});
