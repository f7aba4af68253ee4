import { createHash } from 'node:crypto';
import { beforeAll, expect, test } from 'vitest';
import { bigquery } from '../../../compiler/dialects/bigquery.ts';
import type { Column, Sql } from '../../../compiler/dialects/dialect.ts';
import { sql } from '../../../compiler/dialects/dialect.ts';
import { onEngine } from '../engine.ts';
import type { GoogleSql } from './googlesql.ts';
import { googlesql, missing } from './googlesql.ts';

const column = (name: string, native: string, more: Partial<Column> = {}): Column => ({
  name,
  native,
  type: bigquery.logicalType(native)!,
  ...more,
});

onEngine(missing(), 'the BigQuery dialect, by the reference evaluator', () => {
  let engine: GoogleSql;
  beforeAll(async () => {
    // Another zone than UTC: what is computed must not depend on it.
    engine = await googlesql({ zone: 'America/Los_Angeles' });
  });

  const one = (text: string): unknown => JSON.parse(engine.evaluate(`(${text})`));
  /** An expression over a column `c` of that type and value. */
  const over = (native: string, value: string, of: (c: Column) => Sql, more: Partial<Column> = {}): unknown =>
    one(`select ${of(column('c', native, more))} from (select cast(${value} as ${native}) as c)`);

  test.each([
    ['STRING', `'say "hi"\\n'`, {}, '"say \\"hi\\"\\n"'],
    ['STRING', `''`, {}, '""'],
    ['STRING', `'☃😀'`, {}, '"☃😀"'],
    ['STRING', 'null', {}, null],
    ['STRING', `'[1,\\n {"a": null}]'`, { sentAs: 'json' }, '[1,  {"a": null}]'],
    ['STRING', `'1, "x": 2'`, { sentAs: 'json' }, 'no JSON'],
    ['STRING', `'NaN'`, { sentAs: 'json' }, 'no JSON'],
    ['STRING', `'null'`, { sentAs: 'json' }, null],
    ['INT64', '42', {}, '42'],
    ['INT64', '9007199254740993', {}, '9007199254740993'],
    ['INT64', '9007199254740993', { sentAs: 'string' }, '"9007199254740993"'],
    ['NUMERIC', "'1.50'", {}, '1.5'],
    ['NUMERIC', "'99999999999999999999999999999.999999999'", {}, '99999999999999999999999999999.999999999'],
    [
      'BIGNUMERIC',
      "'12345678901234567890123456789012345678.12345'",
      {},
      '12345678901234567890123456789012345678.12345',
    ],
    ['FLOAT64', '0.1', {}, '0.1'],
    ['FLOAT64', '1.0', {}, '1'],
    ['FLOAT64', '1e300', {}, '1e+300'],
    ['FLOAT64', "'nan'", {}, null],
    ['FLOAT64', "'-inf'", {}, null],
    ['FLOAT64', 'null', {}, null],
    ['BOOL', 'true', {}, 'true'],
    ['DATE', "'0001-01-01'", {}, '"0001-01-01"'],
    ['DATE', "'9999-12-31'", {}, '"9999-12-31"'],
    ['DATETIME', "'2024-07-01 12:00:00'", {}, '"2024-07-01T12:00:00"'],
    ['DATETIME', "'2024-07-01 12:00:00.5'", {}, '"2024-07-01T12:00:00.500000"'],
    ['DATETIME', "'2024-07-01 12:00:00'", { zone: 'Europe/Berlin' }, '"2024-07-01T10:00:00"'],
    ['DATETIME', "'0001-01-01 00:00:00'", { zone: 'Asia/Tokyo' }, null],
    ['TIMESTAMP', "'2024-07-01 12:00:00.000001+02'", {}, '"2024-07-01T10:00:00.000001"'],
    ['TIMESTAMP', 'null', {}, null],
    ['TIME', "'01:02:03.5'", {}, '"01:02:03.500"'],
    ['BYTES', "b'\\x00\\xff'", {}, '"AP8="'],
    ['JSON', `json '{"b": 1, "a": null}'`, {}, '{"a":null,"b":1}'],
    ['JSON', `json 'null'`, {}, null],
    ['JSON', 'null', {}, null],
    ['JSON', `json '[1]'`, { sentAs: 'string' }, '"[1]"'],
    [
      'STRUCT<a INT64, b STRING>',
      `struct(9007199254740993 as a, cast(null as string) as b)`,
      {},
      '{"a":"9007199254740993","b":null}',
    ],
    ['STRUCT<a INT64>', 'null', {}, null],
    ['ARRAY<STRING>', `['a', 'b']`, {}, '["a","b"]'],
    ['ARRAY<STRING>', '[]', {}, null],
    ['ARRAY<FLOAT64>', `[cast('nan' as float64), 1.5]`, {}, '["NaN",1.5]'],
    ['INTERVAL', "interval '1 2:3:4' day to second", {}, '"0-0 1 2:3:4"'],
  ] as const)('%s %s %j arrives as %j', (native, value, more, wanted) => {
    expect(over(native, value, (c) => bigquery.jsonValue(c), more as Partial<Column>)).toEqual(wanted);
  });

  test.each([
    ['DATETIME', "'1969-12-31 23:59:59.999999'", {}, -1],
    ['DATETIME', "'2024-07-01 12:00:00.999999'", { zone: 'Europe/Berlin' }, 1719828000999],
    ['DATETIME', "'9999-12-31 23:30:00'", { zone: 'America/New_York' }, null],
    ['TIMESTAMP', "'2024-07-01 12:00:00.0009+02'", {}, 1719828000000],
    ['DATE', "'1970-01-02'", {}, 86400000],
    ['DATE', 'null', {}, null],
  ] as const)('milliseconds of %s %s %j: %j', (native, value, more, wanted) => {
    expect(over(native, value, (c) => bigquery.epochMs(c), more)).toEqual(wanted);
  });

  const checksum = (values: readonly string[], type = 'STRING'): string =>
    `(select ${bigquery.checksum(values.map((_, i) => column(`c${i}`, type)))} from (select ${values.map((v, i) => `cast(${v} as ${type}) as c${i}`).join(', ')}))`;

  test.each([
    [["'12345'", "'One Dance'", "'Drake'", 'null'], ["'12345'", "'One Dance'", "'Drake'"], true],
    [["'83921'", 'null', 'null', "'Classical'"], ["'83921'", 'null', 'null', "'Classical'", 'null'], true],
    [['null', 'null'], ['null'], true],
    [["'12345'", "'One Dance'", "'Drake'", 'null', "'tag1'"], ["'12345'", "'One Dance'", "'Drake'", "'tag1'"], false],
    [["'1'", "'a'"], ["'1'", "'a'", "''"], false],
    [["'1'", "'a'"], ["'1'", "'a'", "'~'"], false],
    [["'1'", "'a;~'"], ["'1'", "'a'", 'null'], false],
    [["'1'", "'a;1:b'"], ["'1'", "'a'", "'b'"], false],
    [["'1'", 'null', "'a'"], ["'1'", "'a'"], false],
    [["'a'", "'b'"], ["'b'", "'a'"], false],
    [["'a'"], ["'a '"], false],
    [["'A'"], ["'a'"], false],
  ])('checksum of %j and %j: equal is %j', (a, b, equal) => {
    expect(one(`select ${checksum(a)} = ${checksum(b)}`)).toBe(equal);
  });

  test('a checksum is pinned: the digest of each value with its length before it', () => {
    const text = '7:purchase;1:é;~3:a;b;'.replace('7:purchase', '8:purchase').replace('1:é', '2:é');
    expect(one(`select ${checksum(["'purchase'", "'é'", 'null', "'a;b'", 'null'])}`)).toBe(
      createHash('md5').update(text).digest('hex'),
    );
  });

  test.each([
    ['TIMESTAMP', "'2024-01-02 03:04:05+02'", "'2024-01-02 03:04:05+01'"],
    ['TIMESTAMP', "'2024-01-02 03:04:05.000001+00'", "'2024-01-02 03:04:05+00'"],
    ['DATETIME', "'2024-01-02 03:04:05.000001'", "'2024-01-02 03:04:05'"],
    ['FLOAT64', '0.1', '0.1000000000000001'],
    ['FLOAT64', "'nan'", "'inf'"],
    ['NUMERIC', "'1.50'", "'1.51'"],
    ['BIGNUMERIC', "'0.00000000000000000000000000000000000001'", "'0.00000000000000000000000000000000000002'"],
    ['INT64', '9007199254740993', '9007199254740992'],
    ['BYTES', "b'\\x00'", "b'\\x00\\x00'"],
    ['TIME', "'03:04:05'", "'03:04:05.1'"],
    ['JSON', `json 'null'`, 'null'],
    ['JSON', `json '1'`, `json '"1"'`],
    ['STRUCT<a INT64, b INT64>', 'struct(1, null)', 'struct(null, 1)'],
    ['ARRAY<STRING>', `['a,b']`, `['a', 'b']`],
    ['INTERVAL', 'interval 1 month', 'interval 30 day'],
  ])('a checksum tells %s %s from %s', (native, a, b) => {
    const of = (value: string): unknown => over(native, value, (c) => bigquery.checksum([c]));
    expect(of(a)).not.toBe(of(b));
    expect(of(a)).toBe(of(a));
  });

  test('an array that is empty counts as one that nothing was written to', () => {
    expect(over('ARRAY<INT64>', '[]', (c) => bigquery.checksum([c]))).toBe(one(`select ${checksum(['null'])}`));
  });

  test("an object's members, without nulls and without names that are skipped", () => {
    const members = (native: string, value: string): unknown =>
      over(native, value, (c) => bigquery.flattened(c, { names: ['time'], prefixes: ['mp_'] }));
    const nasty = { 'a.b': 1, 'q"uote': [1, null], 'sp ace': { x: null }, time: 5, mp_x: 6, none: null, '☃': 's' };
    const text = `r'''${JSON.stringify(nasty)}'''`;
    const read = (given: unknown): unknown => JSON.parse(`{"":0${given as string}}`);
    const { time, mp_x, none, ...kept } = nasty;
    expect([time, mp_x, none]).toEqual([5, 6, null]);
    expect(read(members('JSON', `parse_json(${text})`))).toEqual({ '': 0, ...kept });
    expect(read(members('STRING', text))).toEqual({ '': 0, ...kept });
    expect(read(members('STRUCT<b INT64, a STRING>', `struct(2 as b, 'x' as a)`))).toEqual({ '': 0, a: 'x', b: 2 });
    const count = (native: string, value: string): unknown =>
      over(native, value, (c) => bigquery.members(c, { names: ['time'], prefixes: ['mp_'] }));
    expect(count('JSON', `parse_json(${text})`)).toBe(Object.keys(kept).length);
    expect(count('STRUCT<b INT64, a STRING>', `struct(2 as b, 'x' as a)`)).toBe(2);
    for (const none of [`json '[1]'`, 'null']) expect(count('JSON', none)).toBe(0);
    for (const none of [`json '[{"a": 1}]'`, `json '1'`, 'null']) expect(members('JSON', none)).toBe('');
    for (const [value, wanted] of [
      [`json '[1]'`, true],
      [`json '{}'`, false],
      [`json 'null'`, false],
      ['null', false],
    ] as const)
      expect(
        over('JSON', value, (c) => bigquery.notObject(c)),
        value,
      ).toBe(wanted);
    expect(over('STRING', `'{"a": 1'`, (c) => bigquery.notObject(c))).toBe(true);
  });

  test('an object is put together without the members that have no value', () => {
    const given = bigquery.jsonObject(
      [
        { name: "it's", value: sql("'1'"), optional: false },
        { name: 'none', value: sql('cast(null as string)'), optional: true },
        { name: 'back\\slash', value: { list: [sql(`'"a"'`), sql('null')] }, optional: false },
      ],
      sql(`',"more":2'`),
    );
    expect(JSON.parse(one(`select ${given}`) as string)).toEqual({ "it's": 1, 'back\\slash': ['a'], more: 2 });
  });

  test('a refusal is found by the position of its record', () => {
    const at = (position: number): unknown =>
      one(`select ${bigquery.jsonAt(sql(`'{"1":"why, \\\\"so\\\\"","12":"x"}'`), sql(String(position)))}`);
    expect([at(1), at(2), at(12)]).toEqual(['why, "so"', null, 'x']);
  });

  test('names and texts of any kind stay what they are', () => {
    for (const name of ['a`b', "it's", 'back\\slash', 'new\nline', 'x${x} {{ y }} @z', '😀', '";--', '\\`', "\\'"]) {
      expect(one(`select ${bigquery.text(name)}`)).toBe(name);
      expect(engine.evaluateQuery(`select 1 as ${bigquery.ident(name)}`)).toEqual([{ [name]: 1 }]);
    }
  });

  test('a stored bound is the same point in time in every zone', () => {
    const stored = bigquery.watermark(column('c', 'TIMESTAMP'));
    const [row] = engine.evaluateQuery(
      `select ${stored.toText} as stored from (select timestamp '2024-07-01 12:00:00.000001+02' as c)`,
    );
    expect(
      one(`select ${stored.fromText(sql(`'${String(row?.['stored'])}'`))} = timestamp '2024-07-01 10:00:00.000001+00'`),
    ).toBe(true);
    expect(
      one(
        `select ${stored.minus(sql("timestamp '2024-07-01 10:00:00+00'"), 1500)} = timestamp '2024-07-01 09:59:58.5+00'`,
      ),
    ).toBe(true);
  });
});
