import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Column } from '../../compiler/dialects/dialect.ts';
import { postgres } from '../../compiler/dialects/postgres.ts';
import { openPostgres, tlsOf } from '../../runtime/warehouses/postgres.ts';
import type { Connection, Warehouse } from '../../runtime/warehouses/warehouse.ts';
import { realWorld } from '../../runtime/world.ts';
import type { PostgresSettings } from '../../schemas/types.ts';
import { onEngine } from '../engines/engine.ts';
import type { Cluster } from '../engines/postgres/cluster.ts';
import { missing, startCluster } from '../engines/postgres/cluster.ts';
import { failure } from '../scripted.ts';
import { checksumOf, EQUAL, UNEQUAL } from './checksums.ts';

test('a server proves who it is unless the target says otherwise', async () => {
  const none = { readFile: () => Promise.resolve(undefined) };
  expect(await tlsOf(none, { host: 'db.example.com' }, '.')).toEqual({ rejectUnauthorized: true });
  expect(await tlsOf(none, { host: 'db.example.com', sslmode: 'disable' }, '.')).toBe(false);
});

onEngine(missing(), 'PostgreSQL', () => {
  let cluster: Cluster;
  let settings: PostgresSettings;
  let warehouse: Warehouse;
  let connection: Connection;
  beforeAll(async () => {
    cluster = await startCluster();
    // What a session of another setting would say must not matter.
    await cluster.query(
      'postgres',
      `alter database postgres set timezone to 'America/New_York'`,
      `alter database postgres set datestyle to 'German'`,
      `alter database postgres set intervalstyle to 'iso_8601'`,
      `alter database postgres set extra_float_digits to 0`,
      `alter database postgres set bytea_output to 'escape'`,
      `alter database postgres set default_transaction_isolation to 'serializable'`,
      `create type mood as enum ('sad', 'happy')`,
      `create type point3 as (x integer, y text)`,
      `create domain percent as numeric(5,2)`,
    );
    const { host, port, user } = cluster;
    settings = { type: 'postgres', host, port, user, dbname: 'postgres', sslmode: 'disable' };
    warehouse = await openPostgres(realWorld, settings, { dir: '.', readOnly: false });
    connection = await open(warehouse);
  });
  afterAll(async () => {
    await connection.close();
    cluster.stop();
  });

  async function open(from: Warehouse): Promise<Connection> {
    const opened = await from.connect();
    for (const statement of postgres.session) await opened.execute({ sql: statement, binds: [], label: 'session' });
    return opened;
  }
  const rows = (text: string) => connection.rows({ sql: text, binds: [], label: 'x' });
  const value = async (text: string): Promise<unknown> => Object.values((await rows(text))[0] ?? {})[0];
  const column = (name: string, native: string): Column => ({ name, native, type: postgres.logicalType(native)! });

  test('the server is of a version that the README promises, and says which', async () => {
    const version = Number(await value('show server_version_num'));
    process.stderr.write(`PostgreSQL ${Math.floor(version / 10_000)}\n`);
    expect(version).toBeGreaterThanOrEqual(120_000);
  });

  test('the password is in no error, not even where a server quotes it', async () => {
    const password = 'hunter2-of-the-shop';
    const with_ = (more: Partial<PostgresSettings>) =>
      openPostgres(realWorld, { ...settings, password, ...more }, { dir: '.', readOnly: false });
    const mixedUp = await failure((await with_({ user: password })).connect());
    expect(mixedUp.message).toMatch(/refuses the login: role "\*\*\*" does not exist/);
    const opened = await (await with_({})).connect();
    const raised = await failure(
      opened.execute({ sql: `do $$ begin raise exception 'as ${password}'; end $$`, binds: [], label: 'x' }),
    );
    expect(raised.message).toBe('x: as ***');
    await opened.close();
    expect(JSON.stringify([mixedUp, raised])).not.toContain(password);
  });

  test('a role is one value whatever blanks it has, and no password is taken from elsewhere', async () => {
    const role = 'no\t-c\napplication_name=other x';
    const opened = await openPostgres(realWorld, { ...settings, role }, { dir: '.', readOnly: false });
    expect((await failure(opened.connect())).message).toContain(`role "${role}" does not exist`);
    // Who gives none has none: the driver's own would be in no list of what errors must not show.
    const asked = new Set<string>();
    const before = { PGPASSWORD: process.env['PGPASSWORD'] };
    const server = createServer((socket) => {
      socket.on('data', (data) => {
        // The start of a session is answered by a request for the password in plain text.
        if (asked.size === 0) socket.write(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3]));
        else socket.destroy();
        asked.add(data.toString('latin1'));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    process.env['PGPASSWORD'] = 'of-the-environment';
    try {
      await failure((await openPostgres(realWorld, { ...settings, port }, { dir: '.', readOnly: false })).connect());
    } finally {
      if (before.PGPASSWORD === undefined) delete process.env['PGPASSWORD'];
      else process.env['PGPASSWORD'] = before.PGPASSWORD;
      server.close();
    }
    expect([...asked].at(-1)).toBe('p\0\0\0\u0005\0');
  });

  test('a warehouse forgets a connection that was closed, and one that the server ended', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const many = await openPostgres(realWorld, settings, { dir: '.', readOnly: false });
    const gone = async (end: (c: Connection) => Promise<unknown>): Promise<WeakRef<Connection>> => {
      const opened = await many.connect();
      await end(opened);
      return new WeakRef(opened);
    };
    const closed = await gone((c) => c.close());
    const ended = await gone(async (c) => {
      await cluster.query('postgres', `select pg_terminate_backend(${c.session!})`);
      await failure(c.rows({ sql: 'select pg_sleep(60)', binds: [], label: 'x' }));
    });
    for (let i = 0; i < 100 && (closed.deref() ?? ended.deref()); i++) {
      await new Promise((resolve) => setImmediate(resolve));
      collect();
    }
    expect([closed.deref(), ended.deref()]).toEqual([undefined, undefined]);
    await many.close();
  });

  test('checksum: what must be equal and what must not', async () => {
    const sum = (values: readonly string[]): string => checksumOf(postgres, 'text', values);
    for (const [a, b] of EQUAL) expect(await value(`select ${sum(a)} = ${sum(b)}`), a.join()).toBe(1);
    for (const [a, b] of UNEQUAL) expect(await value(`select ${sum(a)} = ${sum(b)}`), a.join()).toBe(0);
    // The digest is stored in ledgers: another one would resend every table.
    expect(await value(`select ${sum(["'12345'", "'One Dance'", "'Drake'"])}`)).toBe(
      'e53a722a518e56c8e74b482ccf0f0449',
    );
  });

  test.each([
    ['bigint', '9007199254740993', '9007199254740993'],
    ['numeric(38,0)', '17014118346046923173168730371588410572', '17014118346046923173168730371588410572'],
    ['numeric(9,2)', '1.50', '1.50'],
    ['numeric', "'NaN'", null],
    ['numeric', "'Infinity'", null],
    ['double precision', "'NaN'", null],
    ['double precision', "'-Infinity'", null],
    ['double precision', '0.1', '0.1'],
    ['double precision', '0.1::float8 + 0.2::float8', '0.30000000000000004'],
    ['double precision', '1e300', '1e+300'],
    ['real', '0.1', '0.1'],
    ['boolean', 'true', 'true'],
    ['text', "'a\"b' || chr(92) || chr(10) || chr(1)", '"a\\"b\\\\\\n\\u0001"'],
    ['character(5)', "'ab'", '"ab"'],
    ['character varying(5)', "'ab '", '"ab "'],
    ['timestamp without time zone', "'2024-01-02 03:04:05'", '"2024-01-02T03:04:05"'],
    ['timestamp without time zone', "'2024-01-02 03:04:05.123456'", '"2024-01-02T03:04:05.123456"'],
    ['timestamp without time zone', "'infinity'", null],
    ['timestamp without time zone', "'0044-03-15 BC'", null],
    ['timestamp without time zone', "'20240-02-29 00:00:00'", null],
    ['timestamp with time zone', "'2024-01-02 03:04:05+02'", '"2024-01-02T01:04:05"'],
    ['timestamp with time zone', "'-infinity'", null],
    ['date', "'2024-02-29'", '"2024-02-29"'],
    ['date', "'infinity'", null],
    ['date', "'20240-02-29'", null],
    ['date', "'5874897-12-31'", null],
    ['time without time zone', "'03:04:05.5'", '"03:04:05.5"'],
    ['json', `'{"a":1.10, "b" :\n null}'`, '{"a":1.10, "b" :  null}'],
    ['json', "' null '", null],
    ['json', "chr(9) || 'null' || chr(13)", null],
    ['jsonb', `'{"b":1.10,"a":null}'`, '{"a": null, "b": 1.10}'],
    ['integer[]', "'{1,null}'", '[1,null]'],
    ['double precision[]', "'{NaN,1.5}'", '["NaN",1.5]'],
    ['json[]', `array['{"a":\n1}'::json]`, '[{"a": 1}]'],
    ['bytea', `decode(repeat('ff', 60), 'hex')`, `"${'/'.repeat(80)}"`],
    ['uuid', "'6b1a0a0e-0000-4000-8000-000000000000'", '"6b1a0a0e-0000-4000-8000-000000000000"'],
    ['interval', "'1 day 2 hours'", '"1 day 02:00:00"'],
    ['inet', "'10.0.0.1/8'", '"10.0.0.1/8"'],
  ])('%s %s is sent as %s', async (native, given, sent) => {
    const text = `select ${postgres.jsonValue(column('c', native))} as v from (select cast(${given} as ${native}) as c) as t`;
    expect(await value(text)).toBe(sent);
    if (sent !== null) expect(JSON.parse(sent)).toBeDefined();
    const asText = { ...column('c', native), sentAs: 'string' as const };
    const quoted = await value(
      `select ${postgres.jsonValue(asText)} as v from (select cast(${given} as ${native}) as c) as t`,
    );
    if (typeof quoted === 'string') expect(typeof JSON.parse(quoted)).toBe('string');
    // A row whose value is left out still has a checksum, and another one than a row without value.
    const sums = `select (select ${postgres.checksum([column('c', native)])} from (select cast(${given} as ${native}) as c) as t) = (select ${postgres.checksum([column('c', native)])} from (select cast(null as ${native}) as c) as t) as same`;
    expect(await value(sums)).toBe(0);
  });

  test('columns of a relation, with types that have no name of their own', async () => {
    await cluster.query(
      'postgres',
      `create table "Types ""x""" (id integer, n numeric(9,2), m mood, p point3, d percent, r int4range, a text[], "O'Hara" timestamp(3), gone integer)`,
      `alter table "Types ""x""" drop column gone`,
    );
    const found = await rows(postgres.columns(['postgres', 'public', 'Types "x"']));
    expect(found).toEqual([
      { name: 'id', native: 'integer' },
      { name: 'n', native: 'numeric(9,2)' },
      { name: 'm', native: 'enum mood' },
      { name: 'p', native: 'composite point3' },
      { name: 'd', native: 'numeric(5,2)' },
      { name: 'r', native: 'int4range' },
      { name: 'a', native: 'text[]' },
      { name: "O'Hara", native: 'timestamp(3) without time zone' },
    ]);
    const intervals = ['interval day to second(3)', 'interval year to month', 'interval(2)'];
    expect(intervals.map((native) => postgres.logicalType(native))).toEqual(Array(3).fill('interval'));
    expect(found.map((c) => postgres.logicalType(String(c['native'])))).toEqual([
      'integer',
      'decimal',
      'text',
      'nested',
      'decimal',
      undefined,
      'nested',
      'timestamp',
    ]);
    expect(await rows(postgres.columns(['Types "x"']))).toHaveLength(8);
    expect(await rows(postgres.columns(['other', 'public', 'Types "x"']))).toEqual([]);
    expect(await rows(postgres.columns(['public', 'nothing']))).toEqual([]);
  });

  test('time is floored to milliseconds, what has no year of four digits has none', async () => {
    const ms = (native: string, given: string, zone?: string) =>
      value(
        `select ${postgres.epochMs({ ...column('c', native), zone: zone ?? null })} as v from (select cast(${given} as ${native}) as c) as t`,
      );
    expect(await ms('timestamp without time zone', "'2024-01-02 03:04:05.123999'")).toBe(1704164645123);
    expect(await ms('timestamp without time zone', "'1969-12-31 23:59:59.9999'")).toBe(-1);
    expect(await ms('timestamp without time zone', "'2024-07-02 03:00:00'", 'Europe/Berlin')).toBe(1719882000000);
    expect(await ms('timestamp with time zone', "'2024-01-02 03:04:05+02'")).toBe(1704157445000);
    expect(await ms('date', "'2024-01-02'")).toBe(1704153600000);
    for (const given of ["'infinity'", "'-infinity'", "'0001-01-01 BC'"]) {
      expect(await ms('timestamp with time zone', given)).toBeNull();
      expect(await ms('date', given)).toBeNull();
    }
  });

  test('JSON objects are flattened without nulls and what is skipped; what is none, or cannot be read, is told', async () => {
    const json = column('c', 'json');
    const flat = (given: string) =>
      value(
        `select ${postgres.flattened(json, { names: ['time'], prefixes: ['$'] })} as v from (select cast(${postgres.text(given)} as json) as c) as t`,
      );
    const bad = (given: string) =>
      value(`select ${postgres.notObject(json)} as v from (select cast(${postgres.text(given)} as json) as c) as t`);
    expect(await flat('{"b":1.50,"a":{"x":\n[1]},"time":1,"$os":2,"n":null,"q\\"":"v"}')).toBe(
      ',"b":1.50,"a":{"x": [1]},"q\\"":"v"',
    );
    const count = (given: string) =>
      value(
        `select ${postgres.members(json, { names: ['time'], prefixes: ['$'] })} as v from (select cast(${postgres.text(given)} as json) as c) as t`,
      );
    expect(await count('{"b":1,"b":2,"a":{"x":1},"time":1,"$os":2,"n":null}')).toBe(2);
    for (const none of ['{}', '[1]', '{"a\\u0000":1}']) expect([none, await count(none)]).toEqual([none, 0]);
    expect(await flat('{}')).toBe('');
    expect(await flat('[1]')).toBe('');
    expect(await flat('{"a\\u0000":1}')).toBe('');
    expect(await bad('{"a":1}')).toBe(0);
    expect(await bad('null')).toBe(0);
    expect(await bad('[1]')).toBe(1);
    expect(await bad('"x"')).toBe(1);
    // A key that text cannot hold.
    expect(await bad('{"a\\u0000":1}')).toBe(1);
    // Half of a pair, as a cut text has it; and what only looks like an escape.
    for (const odd of ['{"a":"\\ud83d"}', '{"a":["x\\uDE00"]}', '{"a":"\\ud83d\\ud83d\\ude00"}']) {
      expect([odd, await flat(odd), await bad(odd)]).toEqual([odd, '', 1]);
    }
    for (const good of ['{"a":"\\ud83d\\ude00"}', '{"a":"C:\\\\u0000"}', '{"a":"\\\\\\\\ud83d"}'])
      expect([good, await flat(good), await bad(good)]).toEqual([good, `,${good.slice(1, -1)}`, 0]);
  });

  test('hostile names and values stay inside their quotes, whatever the session says of backslashes', async () => {
    const evil = `a"b'c\\d;--\${x}{{ y }}\n🎉`;
    const text = `select ${postgres.text(evil)} as ${postgres.ident('a"b;--')}`;
    expect(await rows(text)).toEqual([{ 'a"b;--': evil }]);
    await connection.execute({ sql: 'set standard_conforming_strings to off', binds: [], label: 'x' });
    expect(await rows(text)).toEqual([{ 'a"b;--': evil }]);
    await connection.execute({ sql: 'set standard_conforming_strings to on', binds: [], label: 'x' });
  });

  test('binds are values: numbers exact, texts as they are, null as null', async () => {
    const binds = [
      { name: 'a', type: 'integer', value: 9007199254740991 },
      { name: 'b', type: 'text', value: `x'; drop table t; -- \\ "🎉"` },
      { name: 'c', type: 'text', value: null },
    ] as const;
    const text = `select cast($1 as bigint) as a, cast($2 as text) as b, cast($3 as text) as c`;
    expect(await connection.rows({ sql: text, binds, label: 'x' })).toEqual([
      { a: 9007199254740991, b: binds[1].value, c: null },
    ]);
  });

  test('a table of many batches is streamed: never more of it in memory than a few fetches', async () => {
    const before = process.memoryUsage().rss;
    let [count, most] = [0, 0];
    const text = `select i as id, repeat('x', 1000) as payload from generate_series(1, 300000) as t(i)`;
    for await (const piece of connection.stream({ sql: text, binds: [], label: 'x' })) {
      count += piece.length;
      most = Math.max(most, process.memoryUsage().rss - before);
    }
    expect(count).toBe(300_000);
    expect(most).toBeLessThan(200e6);
    // One that is left early leaves the connection usable.
    for await (const piece of connection.stream({ sql: text, binds: [], label: 'x' })) {
      expect(piece.length).toBeGreaterThan(0);
      break;
    }
    expect(await value('select 1 as v')).toBe(1);
  });

  test('a transaction is undone as a whole, and counts what a statement changed', async () => {
    const run = (text: string) => connection.execute({ sql: text, binds: [], label: 'x' });
    const { begin, commit, rollback } = postgres.transaction!;
    await run('create table counted (n integer)');
    await run(begin);
    expect(await run('insert into counted select generate_series(1, 5)')).toBe(5);
    await run(rollback);
    expect(await value('select count(*) as n from counted')).toBe(0);
    await run(begin);
    await run('insert into counted values (1)');
    // As where the source is dropped or altered between two statements.
    const anew = { hint: expect.stringContaining('run the same command again') as string };
    await expect(run('select broken')).rejects.toMatchObject({ message: 'x: column "broken" does not exist', ...anew });
    await run(rollback);
    await expect(run('select from gone')).rejects.toMatchObject({
      message: 'x: relation "gone" does not exist',
      ...anew,
    });
    await run(begin);
    await run('insert into counted values (1)');
    await expect(run('select broken')).rejects.toThrow('broken');
    await run(rollback);
    await run(begin);
    await run('insert into counted values (1)');
    await run(commit);
    expect(await run('update counted set n = 2 where n = 9')).toBe(0);
    expect(await value('select count(*) as n from counted')).toBe(1);
    // The pinned level, whatever the database says.
    expect(await value(`select current_setting('transaction_isolation') as v`)).toBe('read committed');
  });

  test('the server is told who connects', async () => {
    expect(await value(`select current_setting('application_name') as v`)).toBe('syncline');
  });

  test('what is opened to be read cannot be written', async () => {
    const reader = await openPostgres(realWorld, settings, { dir: '.', readOnly: true });
    const session = await open(reader);
    await expect(session.execute({ sql: 'create table forbidden (n integer)', binds: [], label: 'x' })).rejects.toThrow(
      'cannot execute CREATE TABLE in a read-only transaction',
    );
    await session.close();
  });
});
