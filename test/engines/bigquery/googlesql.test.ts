import { beforeAll, expect, test } from 'vitest';
import { onEngine } from '../engine.ts';
import { googlesql, missing, type GoogleSql, type Tables } from './googlesql.ts';

const tables: Tables = {
  'my-proj.shop.orders': [
    { name: 'id', type: 'INT64' },
    { name: 'ordered_at', type: 'TIMESTAMP' },
    { name: 'amount', type: 'NUMERIC(10, 2)' },
    { name: 'lines', type: 'ARRAY<STRUCT<sku STRING, n INT64>>' },
    { name: '_PARTITIONTIME', type: 'TIMESTAMP', pseudo: true },
    { name: '_PARTITIONDATE', type: 'DATE', pseudo: true },
  ],
};
const datasets = ['my-proj.stg', 'my-proj.region-eu'];

onEngine(missing(), 'GoogleSQL', () => {
  let sql: GoogleSql;
  beforeAll(async () => {
    sql = await googlesql();
  });

  test('types queries of declared tables under every spelling', () => {
    const session = sql.session({ tables, datasets, parameters: { id: 'INT64', ids: 'ARRAY<INT64>' } });
    for (const name of [
      'my-proj.shop.orders',
      '`my-proj.shop.orders`',
      '`my-proj`.shop.orders',
      '`my-proj.shop`.orders',
      'shop.orders',
    ])
      expect(session.check(`select id + 1, lines[safe_offset(0)].n from ${name} where id = @id`), name).toBeUndefined();
    for (const name of [
      '`my-proj.shop.INFORMATION_SCHEMA.PARTITIONS`',
      '`my-proj.shop`.INFORMATION_SCHEMA.PARTITIONS',
      '`my-proj`.stg.INFORMATION_SCHEMA.TABLE_SNAPSHOTS',
      '`my-proj.region-eu`.INFORMATION_SCHEMA.TABLE_STORAGE',
    ])
      expect(session.check(`select table_name from ${name}`), name).toBeUndefined();
    expect(
      session.check('select id from shop.orders where id in unnest(@ids) and _partitiondate > date "2026-01-01"'),
    ).toBeUndefined();
    expect(session.check('select @@row_count, @@project_id')).toBeUndefined();
    expect(
      session.check(`with n as (select id, 'x' as k from shop.orders) select 1 from n full outer join shop.orders as o
        on o.id + 1 = n.id and o.id > 3 left join n as m on cast(m.id as string) = cast(n.id as string) where n.id < o.id`),
    ).toBeUndefined();
  });

  test('says what is wrong, and where', () => {
    const session = sql.session({ tables, datasets, parameters: { id: 'INT64' } });
    const wrong: Readonly<Record<string, string>> = {
      'select idd from shop.orders': 'Unrecognized name: idd; Did you mean id? [at 1:8]',
      'select 1;\nselect 1 from shop.order': 'Table not found: shop.`order`; Did you mean shop.orders? [at 2:15]',
      'select id + lines from shop.orders':
        'No matching signature for operator +; Argument types: INT64, ARRAY<STRUCT<sku STRING, n INT64>> [at 1:8]',
      'select id from shop.orders where @id': 'WHERE clause should return type BOOL, but returns INT64 [at 1:34]',
      'select 1 from shop.orders as a full join shop.orders as b on a.id < b.id':
        'FULL OUTER JOIN cannot be used without a condition that is an equality',
      'select 1 from shop.orders as a left join shop.orders as b on a.id = a.id and b.id = 1':
        'LEFT OUTER JOIN cannot be used without a condition that is an equality',
      'select @other': "Query parameter 'other' not found [at 1:8]",
      'select @@other': 'Unrecognized name: @@other [at 1:8]',
      'select id, count(*) from shop.orders':
        'SELECT list expression references column id which is neither grouped nor aggregated [at 1:8]',
      'select from shop.orders': 'Syntax error: SELECT list must not be empty [at 1:8]',
      'begin select 1; end': 'Syntax error: Expected ";" or end of input but got keyword SELECT [at 1:7]',
      'create schema `my-proj.new` options (expiration_timestamp = null)':
        'Unknown option: expiration_timestamp [at 1:38]',
      'create snapshot table stg.s clone shop.orders options (expiration_timestamp = 21)':
        'Option expiration_timestamp value has type INT64 which cannot be coerced to expected type TIMESTAMP [at 1:79]',
      '-- A comment.\nalter table shop.orders set options (max_time_travel_hours = 48)':
        'Unknown option: max_time_travel_hours [at 2:38]',
      'update shop.orders set id = "1" where true':
        'Value of type STRING cannot be assigned to id, which has type INT64',
    };
    for (const [statement, text] of Object.entries(wrong))
      expect(session.check(statement) ?? 'fine', statement).toContain(text);
  });

  test('checks what comes with a project: datasets, state, snapshots, rights', () => {
    const session = sql.session({ tables, project: 'my-proj' });
    const fine = (statement: string) => expect(session.run(statement), statement).toBeUndefined();
    const refused = (statement: string, why: string) => expect(session.run(statement), statement).toMatch(why);
    refused('create table `my-proj.stg.ledger` (row_key string)', 'Not found: Dataset my-proj.stg');
    fine(`create schema if not exists \`my-proj.stg\`
      options (location = 'EU', max_time_travel_hours = 168, description = 'x', labels = [('app', 'syncline')])`);
    fine(`create table if not exists \`my-proj.stg.ledger\` (
      row_key string not null options (description = 'x'), n numeric, at_ timestamp, s struct<a int64, b array<string>>
    ) partition by date(at_) cluster by row_key options (require_partition_filter = true)`);
    fine("insert into stg.ledger (row_key, n, s) values ('k', 1.5, (1, ['x']))");
    refused('insert into stg.ledger (row_key) values (1)', 'cannot be inserted into column row_key');
    refused('create table `my-proj.stg.ledger` (row_key string)', 'Already Exists: Table my-proj.stg.ledger');
    fine('create table stg.kept as select row_key, s.b as names from stg.ledger; select names[0] || "" from stg.kept');
    fine('create or replace table stg.kept as select 1 as n');
    refused('select names from stg.kept', 'Unrecognized name: names');
    fine(`create snapshot table \`my-proj.stg.snap_7\` clone \`my-proj.shop.orders\`
      options (expiration_timestamp = timestamp_add(current_timestamp(), interval 21 day))`);
    refused('create snapshot table stg.snap_7 clone shop.orders', 'Already Exists: Table my-proj.stg.snap_7');
    fine('create snapshot table if not exists stg.snap_7 clone shop.orders');
    fine('select sum(amount) from `my-proj.stg.snap_7`');
    refused('delete from stg.snap_7 where true', 'Cannot run DML against snapshot my-proj.stg.snap_7');
    refused('drop table stg.snap_7', 'my-proj.stg.snap_7 is a snapshot');
    refused('drop snapshot table stg.ledger', 'my-proj.stg.ledger is no snapshot');
    fine('alter table stg.snap_7 set options (expiration_timestamp = timestamp "2026-12-01")');
    fine('drop snapshot table if exists stg.snap_7');
    refused('select 1 from stg.snap_7', 'Table not found: stg.snap_7');
    refused('drop snapshot table stg.snap_7', 'Not found: Table my-proj.stg.snap_7');
    refused('alter table stg.snap_7 set options (expiration_timestamp = null)', 'Not found: Table my-proj.stg.snap_7');
    fine('alter table stg.ledger add column more string, drop column n');
    fine('select more from stg.ledger');
    refused('select n from stg.ledger', 'Unrecognized name: n');
    fine("grant `roles/bigquery.dataViewer` on table `my-proj.shop.orders` to 'serviceAccount:a@b.c'");
    fine("revoke `roles/bigquery.dataEditor` on schema `my-proj.stg` from 'serviceAccount:a@b.c'");
  });

  test('gives values as BigQuery writes them', () => {
    expect(
      sql.evaluate(`struct(
        9007199254740993 as wide, 1.0 as f, 1e20 as big, cast('nan' as float64) as nan, numeric '10.50' as n,
        b'\\x00\\xff' as b, timestamp '2024-01-02 03:04:05.5' as ts, date '2024-01-02' as d, json '{"b": 1, "a": null}' as j
      )`),
    ).toBe(
      '{"wide":"9007199254740993","f":1,"big":1e+20,"nan":"NaN","n":"10.5","b":"AP8=","ts":"2024-01-02T03:04:05.500Z","d":"2024-01-02","j":{"a":null,"b":1}}',
    );
    expect(sql.evaluate("to_hex(md5('a'))")).toBe('"0cc175b9c0f1b6a831c399e269772661"');
    expect(() => sql.evaluate('1 / 0')).toThrow('division by zero');
    // A crash of the engine is one error, and the next call works.
    expect(sql.evaluate('cast(null as int64)')).toBe('null');
  });

  test('runs queries over given rows', () => {
    const rows = sql.evaluateQuery(
      'select coalesce(n.id, o.id) as id, n.v as now, o.v as before from `p.d.new` as n full join `p.d.old` as o on n.id = o.id where to_json_string(n) <> to_json_string(o) or n.id is null or o.id is null',
      {
        'p.d.new': "select id, if(id = 2, 'changed', 'same') as v from unnest(generate_array(1, 3)) as id",
        'p.d.old': "select id, 'same' as v from unnest(generate_array(2, 4)) as id",
      },
    );
    expect(rows.sort((a, b) => Number(a['id']) - Number(b['id']))).toEqual([
      { id: 1, now: 'same', before: null },
      { id: 2, now: 'changed', before: 'same' },
      { id: 4, now: null, before: 'same' },
    ]);
  });
});
