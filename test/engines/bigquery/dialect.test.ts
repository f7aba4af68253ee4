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

  // The digest is committed, and what it is the digest of stands beside it, as it is read.
  test.each([
    ['STRING', `'é"\\n'`, '4:é"\n;', 'b448e2f940e8a7da6392e4f2a8d1166e'],
    ['STRING', `''`, '0:;', 'f21d481af0c11b58a129f80d4fcc324a'],
    ['INT64', '-1', '2:-1;', 'c612c7edcdfea5afdf99aede95c1d281'],
    ['INT64', '9223372036854775807', '19:9223372036854775807;', 'b5148bcfc1f0e9871cd28e5e02999db9'],
    ['INT64', '9007199254740993', '16:9007199254740993;', 'f444fd1c2c5b5082590e3215ebe33704'],
    ['NUMERIC', "'1.50'", '3:1.5;', 'e5f8ff085aec1b5cab1bb0051ed323ad'],
    [
      'NUMERIC',
      "'-99999999999999999999999999999.999999999'",
      '40:-99999999999999999999999999999.999999999;',
      '6f3e56c8ab4be49f5212288940a4a4cb',
    ],
    [
      'BIGNUMERIC',
      "'0.00000000000000000000000000000000000001'",
      '40:0.00000000000000000000000000000000000001;',
      '8bc84a88338613d4f1f5fb432a283370',
    ],
    ['FLOAT64', '0.1', '3:0.1;', 'ec1e16cca5976670ccf75dfdb1437af1'],
    ['FLOAT64', '1.0', '1:1;', 'b0f019febcda57e691991852f348de3d'],
    ['FLOAT64', '1e300', '6:1e+300;', 'e0457074a67e173c07a4103ed49a7085'],
    ['FLOAT64', '-0.0', '1:0;', '6aba01e4cc2bc1548aabdaf637cbcbf3'],
    ['FLOAT64', "'nan'", '5:"NaN";', '5f724a746ca487244adb828434174d7a'],
    ['FLOAT64', "'-inf'", '11:"-Infinity";', '16762bd9f1c4b3ee09063cece89dcfe0'],
    ['BOOL', 'true', '4:true;', '17792c673346431b3e250f38ad0ca298'],
    ['BYTES', "b'\\x00\\xff'", '4:00ff;', '10fc86327bafc446f07c358192b35ae1'],
    ['DATE', "'0001-01-01'", '10:0001-01-01;', 'f087803ca5d95d6458cc9540e61eb46b'],
    ['TIME', "'01:02:03.5'", '12:01:02:03.500;', '46374a426a3b8afdc858ebefb6e13786'],
    ['DATETIME', "'2024-07-01 12:00:00.000001'", '26:2024-07-01 12:00:00.000001;', '968bdd1c84aa87d76dffe16905c95a2c'],
    ['TIMESTAMP', "'2024-07-01 12:00:00.000001+02'", '16:1719828000000001;', '1fac80189bf303cdf50ba766aeed90c8'],
    ['TIMESTAMP', "'0001-01-01 00:00:00+00'", '18:-62135596800000000;', 'a48b09fa6e5719f96809811e6575a0ba'],
    [
      'JSON',
      `json '{"b": 9007199254740993, "a": [null, 1.50]}'`,
      '37:{"a":[null,1.5],"b":9007199254740993};',
      '82f4755d29284934dddde7b8388a1862',
    ],
    ['JSON', `json 'null'`, '4:null;', '13e45f1157d2739626f0c38d3699e91e'],
    [
      'STRUCT<a INT64, b STRING, c ARRAY<NUMERIC>>',
      `struct(9007199254740993 as a, cast(null as string) as b, [numeric '1.5'] as c)`,
      '45:{"a":"9007199254740993","b":null,"c":["1.5"]};',
      'b3904c6a7c9b6a1aa9cab9f87363883f',
    ],
    ['ARRAY<STRING>', `['a', 'b,c', '']`, '14:["a","b,c",""];', 'ccefe37c3141098170a01e856073dc2f'],
    [
      'ARRAY<STRUCT<x FLOAT64>>',
      `[struct(cast('inf' as float64) as x)]`,
      '18:[{"x":"Infinity"}];',
      'd8f15d1c8e29128b636a691a6f176705',
    ],
    ['ARRAY<INT64>', '[]', '', 'd41d8cd98f00b204e9800998ecf8427e'],
    ['INTERVAL', "interval '1 2:3:4' day to second", '11:0-0 1 2:3:4;', '4cc260fa62f5a1d2ae40dd87a2aa16bf'],
    ['STRING', 'null', '', 'd41d8cd98f00b204e9800998ecf8427e'],
  ] as const)('the checksum of %s %s is that of %j: %s', (native, value, text, digest) => {
    expect(over(native, value, (c) => bigquery.checksum([c]))).toBe(digest);
    expect(createHash('md5').update(text).digest('hex')).toBe(digest);
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

  // The evaluator has no GEOGRAPHY: it types the expressions, and their texts are pinned.
  test('a GEOGRAPHY counts by its bytes and is sent as its text', () => {
    const c = column('c', 'GEOGRAPHY');
    const checksum = bigquery.checksum([c]);
    expect(checksum).toBe(
      "to_hex(md5(rtrim(array_to_string([coalesce(cast(byte_length(to_hex(st_asbinary(`c`))) as string) || ':' || to_hex(st_asbinary(`c`)) || ';', '~')], ''), '~')))",
    );
    const payload = bigquery.jsonValue(c);
    expect(payload).toBe('if(st_astext(`c`) is null, null, to_json_string(st_astext(`c`)))');
    const tables = { 'p.d.t': [{ name: 'c', type: 'GEOGRAPHY' }] };
    expect(engine.analyze(`select ${checksum} || ${payload} from p.d.t`, tables)).toBeUndefined();
    expect(engine.analyze('select st_asbinary(c) || 1 from p.d.t', tables)).toContain('No matching signature');
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
