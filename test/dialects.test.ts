import { DuckDBInstance } from '@duckdb/node-api';
import { expect, test } from 'vitest';
import { duckdb } from '../compiler/dialects/duckdb.ts';
import type { Column } from '../compiler/dialects/dialect.ts';
import { sql } from '../compiler/dialects/dialect.ts';
import { checksumOf, EQUAL, UNEQUAL } from './conformance/checksums.ts';
import { parseRelation } from '../compiler/project/resolve.ts';
import { toQuery } from '../runtime/values.ts';

async function query(text: string): Promise<unknown[][]> {
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  await connection.run("set timezone = 'America/New_York'");
  const rows = (await connection.runAndReadAll(text)).getRowsJson() as unknown[][];
  connection.closeSync();
  instance.closeSync();
  return rows;
}
const column = (name: string, native: string): Column => ({ name, native, type: duckdb.logicalType(native)! });

test('checksum: the lookup table of the documentation, a NULL column that appears, and what must differ', async () => {
  const sum = (values: readonly string[]): string => checksumOf(duckdb, 'VARCHAR', values);
  for (const [a, b] of EQUAL) expect(await query(`select ${sum(a)} = ${sum(b)}`), a.join()).toEqual([[true]]);
  for (const [a, b] of UNEQUAL) expect(await query(`select ${sum(a)} = ${sum(b)}`), a.join()).toEqual([[false]]);
  // The digest is stored in ledgers: another one would resend every table.
  expect(await query(`select ${sum(["'12345'", "'One Dance'", "'Drake'"])}`)).toEqual([
    ['f412217511d132eff1a4c7505d234ef8'],
  ]);
});

test.each([
  ['BIGINT', '9007199254740993', '9007199254740993'],
  ['HUGEINT', '170141183460469231731687303715884105727', '170141183460469231731687303715884105727'],
  ['DECIMAL(9,2)', '1.50', '1.50'],
  ['DOUBLE', "'nan'", null],
  ['DOUBLE', "'infinity'", null],
  ['DOUBLE', '0.1', '0.1'],
  ['BOOLEAN', 'true', 'true'],
  ['VARCHAR', "'a\"b\\' || chr(10)", '"a\\"b\\\\\\n"'],
  ['TIMESTAMP', "'2024-01-02 03:04:05'", '"2024-01-02T03:04:05"'],
  ['TIMESTAMP', "'2024-01-02 03:04:05.123456'", '"2024-01-02T03:04:05.123456"'],
  ['TIMESTAMP', "'infinity'", null],
  ['TIMESTAMP WITH TIME ZONE', "'2024-01-02 03:04:05+02'", '"2024-01-02T01:04:05"'],
  ['DATE', "'2024-02-29'", '"2024-02-29"'],
  ['DATE', "'20240-02-29'", null],
  ['JSON', `'{"a":null}'`, '{"a":null}'],
  ['JSON', "'null'", null],
  ['INTEGER[]', '[1, null]', '[1,null]'],
  ['BLOB', "'\\xFF'", '"/w=="'],
  ['UUID', "'6b1a0a0e-0000-4000-8000-000000000000'", '"6b1a0a0e-0000-4000-8000-000000000000"'],
  ['INTERVAL', "'1 day'", '"1 day"'],
])('%s %s is sent as %s', async (native, value, sent) => {
  const text = `select ${duckdb.jsonValue(column('c', native))} from (select cast(${value} as ${native}) as c)`;
  expect(await query(text)).toEqual([[sent]]);
});

test.each([
  ['{"a":[1,-2.5e3,true,false,null,"x"]}', true],
  ['{"nan":"Infinity, [1,] \\" NaN","b":"\\\\"}', true],
  ['{"a":[NaN]}', false],
  ['{"a":-Infinity}', false],
  ['{"a":inf}', false],
  ['{"a":[1,]}', false],
  ['{"a":1, }', false],
  ['{"a":', false],
])('%s is JSON: %s, as Mixpanel reads it', async (text, valid) => {
  expect(await query(`select ${duckdb.jsonValid(duckdb.text(text))}`)).toEqual([[valid]]);
  const parses = (): unknown => JSON.parse(text);
  if (valid) expect(parses).not.toThrow();
  else expect(parses).toThrow();
});

test.each([
  ['{"a": [1]}', '{"a": [1]}'],
  ['1', '1'],
  ['1,"distinct_id":"bob"', 'no JSON'],
  ['1},"event":"Evil","x":{"y":2', 'no JSON'],
  ['null', null],
])('text %s that is sent as JSON stays one value: %s', async (given, sent) => {
  const c = { ...column('c', 'VARCHAR'), sentAs: 'json' as const };
  expect(await query(`select ${duckdb.jsonValue(c)} from (select ${duckdb.text(given)} as c)`)).toEqual([[sent]]);
});

test('time is floored to milliseconds, infinity has none', async () => {
  const ms = (native: string, value: string) =>
    query(`select ${duckdb.epochMs(column('c', native))} from (select cast(${value} as ${native}) as c)`);
  expect(await ms('TIMESTAMP', "'2024-01-02 03:04:05.123999'")).toEqual([['1704164645123']]);
  expect(await ms('TIMESTAMP', "'1969-12-31 23:59:59.9999'")).toEqual([['-1']]);
  expect(await ms('TIMESTAMP WITH TIME ZONE', "'2024-01-02 03:04:05+02'")).toEqual([['1704157445000']]);
  expect(await ms('DATE', "'2024-01-02'")).toEqual([['1704153600000']]);
  expect(await ms('TIMESTAMP', "'infinity'")).toEqual([[null]]);
});

test('hostile names and values stay inside their quotes', async () => {
  const evil = `a"b'c\\d;--\${x}{{ y }}\n🎉`;
  expect(await query(`select ${duckdb.text(evil)} as ${duckdb.ident(evil)}`)).toEqual([[evil]]);
  expect(duckdb.relation(['a.b', 'c"'])).toBe('"a.b"."c"""');
  expect(parseRelation('"a.b".c')).toEqual(['a.b', 'c']);
  expect(parseRelation('a..c')).toBeUndefined();
});

test('a late value that is inlined has one strict form', () => {
  const statement = {
    sql: ['drop table "s__outbox_', { name: 'run', type: 'integer' }, '"'],
    binds: [],
    sha256: '',
    repeatable: true,
  } as const;
  const make = (run: number | string) =>
    toQuery({ ...statement, sql: [...statement.sql], binds: [] }, { run }, 'x').sql;
  expect(make(7)).toBe('drop table "s__outbox_7"');
  for (const bad of ['7"; drop', 1.5, Number.NaN]) expect(() => make(bad)).toThrow('run is no integer');
  const item = ['d between f(', ') and f(', ')', ' or '];
  const ranges = (text: string | null) =>
    toQuery({ ...statement, sql: ['where ', { name: 'read', type: 'ranges', item }], binds: [] }, { read: text }, 'x')
      .sql;
  expect(ranges('-3:4')).toBe('where d between f(-3) and f(4)');
  expect(ranges('1:2,5:7')).toBe('where d between f(1) and f(2) or d between f(5) and f(7)');
  for (const bad of ['', '1', '1:2,', '1:2) or (1', '1:2;3:4', null])
    expect(() => ranges(bad)).toThrow('read is no ranges');
  expect(sql('x')).toBe('x');
});
