import { expect, test } from 'vitest';
import { lint } from './lint.ts';
import type { Tables } from './googlesql.ts';

const tables: Tables = {
  'p.d.t': [
    { name: 'day', type: 'DATE' },
    { name: 'at', type: 'TIMESTAMP' },
    { name: 'text', type: 'STRING' },
    { name: 'weight', type: 'FLOAT64' },
    { name: 'raw', type: 'JSON' },
    { name: 'n', type: 'INT64' },
  ],
};

test('refuses what GoogleSQL takes and BigQuery does not', () => {
  const refused: Readonly<Record<string, string>> = {
    "grant `roles/bigquery.dataViewer` on dataset d to 'user:a@b.c'": 'nothing is granted on "dataset"',
    "grant `roles/bigquery.dataViewer` on schema d to 'a@b.c'": '"a@b.c" is no member',
    "grant select on table d.t to 'user:a@b.c'": 'a role is named in backticks',
    'create table d.t (text string) partition by text': 'not partitioned by text, a STRING',
    'create table d.t (n int64) partition by n': 'not partitioned by n, a INT64',
    'create table d.t (at timestamp) partition by at': 'not partitioned by at, a TIMESTAMP',
    'create table d.t (at timestamp) partition by timestamp_trunc(at, week)': 'a partition has no week',
    'create table d.t partition by date_trunc(day, hour) as select 1 as x': 'a date has no hours',
    'create table d.t (raw json) cluster by n, raw': 'not clustered by raw, a JSON',
    'create table d.t (weight float64) cluster by weight': 'not clustered by weight, a FLOAT64',
    'create table d.t cluster by n, day, at, text, x as select 1 as n': 'by 4 columns at most, not 5',
    'create snapshot table d.s clone d.t where n = 1': 'CLONE has no WHERE',
    'select n from d.t for system_time as of @then': 'takes no parameter',
    'begin transaction': 'not in transactions',
    'select 1; commit transaction': 'not in transactions',
    'create or replace table d.sync__state as select 1 as n': 'p.d.sync__state is kept',
    'create or replace table `d`.`runs` (n int64)': 'p.d.runs is kept',
    'select list_value(1, 2)': 'list_value is no function',
    'select safe.nothing_(n), n from d.t': 'safe.nothing_ is no function',
    'select n from d.T': 'p.d.T is written p.d.t',
    [`select 1 as \`${'x'.repeat(301)}\``]: 'has 301 characters',
    [`select '${'x'.repeat(1024 * 1024)}'`]: 'bytes, and 1048576 at most',
  };
  for (const [sql, text] of Object.entries(refused))
    expect(lint(sql, tables).join('; '), sql.slice(0, 99)).toContain(text);
});

test('takes what BigQuery takes', () => {
  for (const sql of [
    'grant `roles/bigquery.dataViewer` on schema `p.d` to \'serviceAccount:a@b.c\', "group:x@y.z"',
    "revoke `roles/bigquery.dataViewer` on external table `p.d.t` from 'user:a@b.c'",
    'create table d.t (day date) partition by day cluster by text, n',
    'create table d.t (at timestamp) partition by timestamp_trunc(at, hour)',
    'create table d.t (n int64) partition by range_bucket(n, generate_array(0, 100, 10)) options (require_partition_filter = true)',
    'create table d.t (n int64) partition by _partitiondate',
    "create snapshot table d.s clone d.t options (description = 'where begin')",
    'create or replace table d.outbox as select 1 as n',
    "-- list_value(1)\nselect 'list_value(1)', if(n > 1, left(text, 2), null), safe.timestamp(text) from d.t where n in (1, 2)",
    'with x as (select 1 as n) insert into d.t (n, text) select x.n, cast(null as string) from x',
    'merge d.t as t using (select 1 as n) as s on t.n = s.n when not matched then insert (n) values (s.n)',
  ])
    expect(lint(sql, tables), sql).toEqual([]);
});
