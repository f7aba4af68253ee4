import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Column, Sql } from '../../../compiler/dialects/dialect.ts';
import { sql } from '../../../compiler/dialects/dialect.ts';
import { redshift } from '../../../compiler/dialects/redshift.ts';
import { onEngine } from '../engine.ts';
import { missing } from '../postgres/cluster.ts';
import type { Compat } from './compat.ts';
import { startCompat } from './compat.ts';

const column = (name: string, native: string, more: Partial<Column> = {}): Column => ({
  name,
  native,
  type: redshift.logicalType(native)!,
  ...more,
});

onEngine(missing(), 'the Redshift dialect', () => {
  let engine: Compat;
  beforeAll(async () => {
    engine = await startCompat();
  });
  afterAll(() => engine.stop());

  const session = (): string[] => [
    "set timezone to 'America/New_York'",
    ...redshift.session.filter((s) => !s.includes('query_group')),
  ];
  const one = async (text: string): Promise<unknown> => {
    const [row] = await engine.query(...session(), text);
    return Object.values(row ?? {})[0];
  };
  /** An expression over a column `c` of that type and value. */
  const over = (native: string, value: string, of: (c: Column) => Sql, more: Partial<Column> = {}): Promise<unknown> =>
    one(`select ${of(column('c', native, more))} as x from (select cast(${value} as ${native}) as c) as t`);

  test('the engine refuses texts that Redshift refuses, and pins its query group', async () => {
    for (const long of [
      `repeat('x', 65535) || 'y'`,
      `cast(repeat('x', 65535) as varchar(65535)) || cast('y' as varchar)`,
    ])
      await expect(one(`select ${long}`)).rejects.toThrow('VARCHAR');
    await expect(one(`select json_serialize(object('k', repeat('x', 65535)))`)).rejects.toThrow('VARCHAR');
    expect(redshift.session[0]).toBe("set query_group to 'syncline'");
  });

  const sum = (values: readonly string[], type = 'character varying'): string =>
    `(select ${redshift.checksum(values.map((_, i) => column(`c${i}`, type)))} from (select ${values.map((v, i) => `cast(${v} as ${type}) as c${i}`).join(', ')}) as t)`;

  test.each([
    [["'12345'", "'One Dance'", "'Drake'", 'null'], ["'12345'", "'One Dance'", "'Drake'"], true],
    [["'83921'", 'null', 'null', "'Classical'"], ["'83921'", 'null', 'null', "'Classical'", 'null'], true],
    [['null', 'null'], ['null'], true],
    [["'12345'", "'One Dance'", "'Drake'", 'null', "'tag1'"], ["'12345'", "'One Dance'", "'Drake'", "'tag1'"], false],
    [["'1'", "'a'"], ["'1'", "'a'", "''"], false],
    [["'1'", "'a'"], ["'1'", "'a'", "'null'"], false],
    [["'1'", "'a,null'"], ["'1'", "'a'", 'null'], false],
    [["'1'", 'null', "'a'"], ["'1'", "'a'"], false],
    [["'a'", "'b'"], ["'b'", "'a'"], false],
    [["'a'"], ["'a '"], false],
    [["repeat('é', 32767)", "repeat('y', 65535)"], ["repeat('é', 32767)", "repeat('y', 65534)"], false],
  ])('checksum of %j and %j: equal is %j', async (a, b, equal) => {
    expect(await one(`select ${sum(a)} = ${sum(b)}`)).toBe(equal);
    expect(await one(`select ${sum(a)}`)).toMatch(/^-?\d+$/);
  });

  test('a checksum tells the values of each type apart, and sees a JSON of more than 64 KB', async () => {
    const of = (native: string, value: string) => over(native, value, (c) => redshift.checksum([c]));
    for (const [native, a, b] of [
      ['date', "'0044-03-15 BC'", "'0044-03-15'"],
      ['timestamp without time zone', "'2024-01-02 03:04:05.000001'", "'2024-01-02 03:04:05'"],
      ['timestamp with time zone', "'2024-01-02 03:04:05+02'", "'2024-01-02 03:04:05+01'"],
      ['double precision', '0.1', '0.1000000000000001'],
      ['real', '0.1', '0.10000002'],
      ['numeric(9,2)', '1.50', '1.51'],
      ['boolean', 'true', 'false'],
      ['time without time zone', "'03:04:05'", "'03:04:05.1'"],
    ] as const)
      expect(await of(native, a), native).not.toBe(await of(native, b));
    const json = (end: string): string => `('["' || repeat('x', 65000) || '"' || repeat(', "x"', 200) || '${end}]')`;
    // Built by PostgreSQL's own operator, since the engine refuses such a text.
    const big = (end: string): string => json(end).replaceAll('||', 'operator(pg_catalog.||)');
    const digest = (end: string) =>
      one(`select ${redshift.checksum([column('c', 'super')])} from (select cast(${big(end)} as super) as c) as t`);
    expect(await digest('')).not.toBe(await digest(', 1'));
    expect(await digest('')).toBe(await digest(''));
  });

  test.each([
    ['bigint', '9007199254740993', '9007199254740993'],
    ['numeric(38,10)', '12345678901234567890.0123456789', '12345678901234567890.0123456789'],
    ['numeric(9,2)', '1.50', '1.50'],
    ['double precision', "'nan'", null],
    ['double precision', "'-infinity'", null],
    ['double precision', '0.1', '0.1'],
    ['double precision', '1e300', '1e+300'],
    ['real', '0.1', '0.10000000149011612'],
    ['boolean', 'true', 'true'],
    ['boolean', 'null', null],
    ['character varying', "'a\"b' || chr(92) || chr(10) || '}🎉'", '"a\\"b\\\\\\n}🎉"'],
    ['character varying', "'}'", '"}"'],
    ['character varying', "''", '""'],
    ['character varying', 'null', null],
    ['character(5)', "'ab'", '"ab"'],
    ['timestamp without time zone', "'2024-01-02 03:04:05'", '"2024-01-02T03:04:05"'],
    ['timestamp without time zone', "'2024-01-02 03:04:05.123456'", '"2024-01-02T03:04:05.123456"'],
    ['timestamp without time zone', "'infinity'", null],
    ['timestamp with time zone', "'2024-01-02 03:04:05+02'", '"2024-01-02T01:04:05"'],
    ['date', "'2024-02-29'", '"2024-02-29"'],
    ['date', "'20240-02-29'", null],
    ['date', "'0044-03-15 BC'", null],
    ['time without time zone', "'03:04:05.5'", '"03:04:05.5"'],
    ['super', `'{"a": [1.50, null, "x"], "b": {"c": true}}'`, '{"a":[1.50,null,"x"],"b":{"c":true}}'],
    ['super', "'null'", null],
    ['super', `'"x"'`, '"x"'],
    ['super', 'null', null],
  ])('%s %s is sent as %s', async (native, value, sent) => {
    expect(await over(native, value, (c) => redshift.jsonValue(c))).toBe(sent);
  });

  test('a column is sent as the text or the JSON that it is told to be', async () => {
    const as = (native: string, value: string, sentAs: 'string' | 'json') =>
      over(native, value, (c) => redshift.jsonValue(c), { sentAs });
    expect(await as('numeric(9,2)', '1.50', 'string')).toBe('"1.50"');
    expect(await as('super', `'{"a": "b"}'`, 'string')).toBe('"{\\"a\\":\\"b\\"}"');
    expect(await as('character varying', `'{"a":' || chr(10) || ' 1}'`, 'json')).toBe('{"a":  1}');
    expect(await one(`select ${redshift.jsonValid(sql("'{'"))}`)).toBe(false);
  });

  test('time is floored to milliseconds, before 1970 too; what has no year of four digits has none', async () => {
    const ms = (native: string, value: string, zone?: string) =>
      over(native, value, (c) => redshift.epochMs(c), zone === undefined ? {} : { zone });
    expect(await ms('timestamp without time zone', "'2024-01-02 03:04:05.123999'")).toBe('1704164645123');
    expect(await ms('timestamp without time zone', "'1969-12-31 23:59:59.9999'")).toBe('-1');
    expect(await ms('timestamp without time zone', "'2024-07-01 12:00:00'", 'Europe/Berlin')).toBe('1719828000000');
    expect(await ms('timestamp with time zone', "'2024-01-02 03:04:05+02'")).toBe('1704157445000');
    expect(await ms('date', "'2024-01-02'")).toBe('1704153600000');
    expect(await ms('timestamp without time zone', "'infinity'")).toBe(null);
    const now = Number(await one(`select ${redshift.nowMs()}`));
    expect(Math.abs(now - Date.now())).toBeLessThan(60_000);
  });

  test('bounds of an append go through a text and come back', async () => {
    for (const [native, value, back] of [
      ['timestamp without time zone', "'2024-01-02 03:04:05.123456'", '2024-01-02 02:04:05.123456'],
      ['timestamp with time zone', "'2024-01-02 03:04:05.5+02'", '2024-01-02 00:04:05.5+00'],
      ['date', "'2024-01-02'", '2024-01-01'],
    ] as const) {
      const w = redshift.watermark(column('c', native));
      const text = String(await over(native, value, () => w.toText));
      const bound = redshift.text(text);
      expect(await over(native, value, () => sql(`c = ${w.fromText(bound)}`))).toBe(true);
      expect(await one(`select cast(${w.minus(w.fromText(bound), 3_600_000)} as varchar(65535))`)).toBe(back);
      expect(await over(native, value, () => sql(`c < ${w.now}`))).toBe(true);
    }
  });

  test('keys that differ in trailing blanks only are two keys, long ones are short, and none is another', async () => {
    const keys = [
      "'a'",
      "'a '",
      "'a|'",
      "md5(repeat('x', 65535))",
      "repeat('x', 65535)",
      "repeat('x', 65534)",
      "''",
      "' '",
    ];
    const exact = await Promise.all(keys.map((k) => one(`select ${redshift.exact(sql(k))}`)));
    const trimmed = exact.map((k) => String(k).replace(/ +$/, ''));
    expect(new Set(trimmed).size).toBe(keys.length);
    expect(Math.max(...trimmed.map((k) => k.length))).toBeLessThanOrEqual(256);
    expect(await one(`select ${redshift.exact(sql('cast(null as varchar(10))'))}`)).toBe(null);
  });

  test('an object leaves out what is null, nests, and keeps hostile names', async () => {
    const evil = `a"b'c\\d;--\${x}{{ y }}🎉`;
    const object = redshift.jsonObject([
      { name: 'event', value: sql("'1'"), optional: false },
      {
        name: 'properties',
        optional: false,
        value: {
          members: [
            { name: evil, value: redshift.jsonString(redshift.text(evil)), optional: false },
            { name: 'gone', value: sql('cast(null as varchar(10))'), optional: true },
            { name: 'there', value: sql("cast('2' as varchar(10))"), optional: true },
          ],
        },
      },
      {
        name: '$set',
        value: {
          optional: [
            { name: 'n', value: sql('cast(null as varchar(10))') },
            { name: 'm', value: sql("cast('3' as varchar(10))") },
          ],
        },
        optional: false,
      },
      {
        name: '$unset',
        value: { list: [sql('cast(null as varchar(10))'), sql(`cast('"n"' as varchar(10))`)] },
        optional: false,
      },
      { name: 'none', value: { optional: [] }, optional: false },
    ]);
    expect(JSON.parse(String(await one(`select ${object}`)))).toEqual({
      event: 1,
      properties: { [evil]: evil, there: 2 },
      $set: { m: 3 },
      $unset: ['n'],
      none: {},
    });
    expect(await one(`select ${redshift.text(evil)} as ${redshift.ident(evil)}`)).toBe(evil);
  });

  test('what a text cannot hold is told as such, and never an error', async () => {
    const sized = (n: number) =>
      one(
        `select ${redshift.jsonObject([
          { name: 'a', value: redshift.jsonString(sql('c')), optional: true },
          { name: 'b', value: redshift.jsonString(sql('d')), optional: true },
        ])} from (select repeat('x', ${n}) as c, repeat('y', 100) as d) as t`,
      );
    // {"a":"…","b":"…"} has 15 bytes besides its values.
    expect(String(await sized(65_535 - 115))).toHaveLength(65_535);
    expect(await sized(65_535 - 114)).toBe(null);
    expect(await sized(65_535)).toBe(null);
    // Escaped it would be six times as long.
    const escaped = redshift.jsonObject([{ name: 'a', value: redshift.jsonString(sql('c')), optional: true }]);
    expect(await one(`select ${escaped} from (select repeat(chr(1), 20000) as c) as t`)).toBe(null);
    const quoted = redshift.csvField(column('c', 'character varying'));
    const line = redshift.concat([quoted, sql("','"), quoted]);
    expect(await one(`select ${line} from (select repeat('"', 40000) as c) as t`)).toBe(null);
    expect(await one(`select ${line} from (select 'a"b' as c) as t`)).toBe('"a""b","a""b"');
    expect(await one(`select ${redshift.oversized(sql('cast(null as varchar(9))'), 10)}`)).toBe(true);
    expect(await one(`select ${redshift.oversized(sql("'12345678901'"), 10)}`)).toBe(true);
    expect(await one(`select ${redshift.oversized(sql("'1234567890'"), 10)}`)).toBe(false);
    const dollar = redshift.concat([sql("'$device:'"), sql('c')]);
    expect(await one(`select ${dollar} from (select repeat('x', 65530) as c) as t`)).toBe(null);
  });

  test('a digest of a table knows its rows, whatever their order', async () => {
    const of = (...rows: string[]) =>
      one(
        `select ${redshift.digest(sql('c'), sql('c'))} from (select cast('x' as varchar(9)) as c where false${rows.map((r) => ` union all select '${r}'`).join('')}) as t`,
      );
    expect(await of('a', 'b')).toBe(await of('b', 'a'));
    expect(await of('a', 'b')).not.toBe(await of('a', 'c'));
    expect(await of('a', 'a')).not.toBe(await of('a'));
    expect(await of()).toBe('0:0');
  });

  test('reasons are found by position', async () => {
    const at = (key: string) => one(`select ${redshift.jsonAt(redshift.text('{"1":"x","12":"\\"y"}'), sql(key))}`);
    expect([await at('1'), await at('12'), await at('2')]).toEqual(['x', '"y', null]);
  });

  test('columns of tables and views, by their names in any case', async () => {
    await engine.query(
      'create table public.all_types (a varchar(10), b numeric(9,2), c super, d geometry, e timestamptz, "F f" integer)',
      'create view public.some_types as select b, e from public.all_types',
    );
    const columns = (...parts: string[]) => engine.query(redshift.columns(parts));
    expect(await columns('public', 'ALL_TYPES')).toEqual([
      { name: 'a', native: 'character varying' },
      { name: 'b', native: 'numeric(9,2)' },
      { name: 'c', native: 'super' },
      { name: 'd', native: 'geometry' },
      { name: 'e', native: 'timestamp with time zone' },
      { name: 'F f', native: 'integer' },
    ]);
    expect((await columns('warehouse', 'public', 'some_types')).map((c) => c['name'])).toEqual(['b', 'e']);
    expect(await columns('elsewhere', 'public', 'some_types')).toEqual([]);
  });
});

test('types that have no text are none that can be synced', () => {
  for (const native of ['geometry', 'geography', 'binary varying', 'varbyte', 'hllsketch', 'array<int>', 'constructor'])
    expect(redshift.logicalType(native)).toBeUndefined();
});
