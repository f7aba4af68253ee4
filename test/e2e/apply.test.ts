import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Ran } from './cli.ts';
import { cli, duck, project, told } from './cli.ts';

const YML = `name: shop
default_target: dev
targets:
  dev:
    warehouse: { type: duckdb, path: warehouse.duckdb }
    mixpanel: sandbox
`;
const sync = (extra = ''): string => `syncs:
  - name: purchases
    kind: events
    mode: mirror
    source: { relation: orders }
    event: Purchase Completed
    time: ordered_at
    user_id: customer_id
    key: order_id
${extra}`;
const TABLE = `create table orders as select i::integer as order_id, timestamp '2024-01-01' + to_minutes(i::integer) as ordered_at,
  'user-' || (i % 50) as customer_id, case when i % 7 = 0 then null else 'item ' || i end as item, (i * 1.25)::decimal(9, 2) as amount
  from range(5000) as t(i)`;

async function shop(extra = '', table = TABLE): Promise<string> {
  const dir = await project({ 'syncline.yml': YML, 'syncs/shop.yml': sync(extra) });
  await duck(path.join(dir, 'warehouse.duckdb'), table);
  for (const args of [['lock'], ['compile'], ['setup', '--execute']]) {
    const ran = await cli(dir, ...args);
    expect(ran.code, ran.err).toBe(0);
  }
  return dir;
}

/** Rows that Mixpanel's view and the table do not have in common. */
async function differences(dir: string): Promise<Record<string, unknown>[]> {
  return duck(
    path.join(dir, 'sandbox.duckdb'),
    `attach '${path.join(dir, 'warehouse.duckdb')}' as w (read_only)`,
    `with shown as (
       select distinct_id, time_ms, properties ->> 'order_id' as k, properties ->> 'item' as item, cast(properties ->> 'amount' as double) as amount
       from events where properties ->> 'syncline_deleted' is null),
     wanted as (
       select customer_id as distinct_id, epoch_ms(ordered_at) as time_ms, cast(order_id as varchar) as k, item, cast(amount as double) as amount from w.orders)
     (select 'extra' as what, * from (select * from shown except all select * from wanted))
     union all (select 'lost', * from (select * from wanted except all select * from shown))`,
  );
}
const warehouse = (dir: string): string => path.join(dir, 'warehouse.duckdb');

describe('apply', () => {
  test('sends the table, then only what changed, then nothing', async () => {
    const dir = await shop();
    const first = await cli(dir, 'apply');
    expect(first.code, first.err).toBe(0);
    expect(await differences(dir)).toEqual([]);

    await duck(
      warehouse(dir),
      "update orders set item = 'changed' where order_id < 10",
      'update orders set ordered_at = ordered_at + interval 1 day where order_id between 10 and 12',
      "update orders set customer_id = 'someone else' where order_id = 13",
      'update orders set item = null where order_id = 15',
      'delete from orders where order_id between 20 and 24',
      "insert into orders values (9001, timestamp '2024-06-01', null, 'new', 1)",
    );
    const plan = await cli(dir, 'plan', '--output', 'json', '--detailed-exitcode');
    expect(plan.code).toBe(3);
    expect((JSON.parse(plan.out) as { syncs: unknown[] }).syncs[0]).toMatchObject({
      route: 'changes',
      inserts: 5,
      updates: 11,
      deletes: 9,
      billable: 25,
      invalid: {},
    });
    const second = await cli(dir, 'apply');
    expect(second.err).toContain('5 inserts, 11 updates, 9 deletes');
    const shown = await duck(path.join(dir, 'sandbox.duckdb'), 'select count(*)::int as n from events_raw');
    expect(shown).toEqual([{ n: 5025 }]);
    const third = await cli(dir, 'apply');
    expect(third.err).toContain('nothing changed');
    expect((await cli(dir, 'plan', '--detailed-exitcode')).code).toBe(0);
    const manifest = JSON.parse(await readFile(path.join(dir, 'target/syncline/dev/manifest.json'), 'utf8')) as {
      syncs: Record<string, { status: string }>;
    };
    expect(manifest.syncs['purchases']?.status).toBe('unchanged');
    // A user that became NULL is shown without one.
    const left = (await differences(dir)).filter((d) => d['k'] !== '9001');
    expect(left).toEqual([]);
  });

  test('an invalid row is kept with its reason, not sent again, and sent once it is mended', async () => {
    const dir = await shop();
    await duck(
      warehouse(dir),
      'update orders set ordered_at = null where order_id = 5',
      "update orders set customer_id = 'undefined' where order_id = 6",
    );
    expect((await cli(dir, 'apply')).err).toContain('4,998 inserts, 0 updates, 0 deletes, 2 invalid');
    const rejects = JSON.parse((await cli(dir, 'rejects', '--output', 'json')).out) as Record<string, unknown>[];
    expect(rejects.map((r) => [r['row_key'], r['reason']])).toEqual([
      ['5', 'time-missing'],
      ['6', 'user-banned'],
    ]);
    const named = await cli(dir, 'rejects', 'purchases');
    expect(named.out).toBe((await cli(dir, 'rejects', '-s', 'purchases')).out);
    expect(named.out).toMatch(
      /^purchases {2}key 5 \(event Purchase.*user id .*\) {2}insert invalid: time-missing: its time is NULL, or .*\npurchases {2}key 6 \(time 20\d\d-.*Z, event Purchase.*, user id undefined\) {2}insert invalid: user-banned: .*\n$/,
    );
    told(await cli(dir, 'rejects', 'nobody'), 2, 'No sync matches nobody. `syncline ls`');
    expect((await cli(dir, 'apply')).err).toContain('nothing changed');
    await duck(
      warehouse(dir),
      "update orders set ordered_at = '2024-02-02', customer_id = 'someone' where order_id in (5, 6)",
    );
    expect((await cli(dir, 'apply')).err).toContain('2 inserts');
    expect(await differences(dir)).toEqual([]);
    expect((await cli(dir, 'rejects')).out).toBe('');
  });

  test('a guard stops a run before anything is sent, also when it is applied again', async () => {
    const dir = await shop('    guard: { max_deletes: 1%, on_empty_source: fail }\n');
    expect((await cli(dir, 'apply')).code).toBe(0);
    await duck(warehouse(dir), 'delete from orders where order_id < 100');
    for (let i = 0; i < 2; i++) {
      const stopped = await cli(dir, 'apply');
      expect(stopped.code).toBe(1);
      expect(stopped.err).toContain('error[guard]');
      expect(stopped.err).toContain('deletes: 100 of 5000 rows');
    }
    expect(await duck(path.join(dir, 'sandbox.duckdb'), 'select count(*)::int as n from events_raw')).toEqual([
      { n: 5000 },
    ]);
    await duck(warehouse(dir), 'delete from orders');
    expect((await cli(dir, 'apply')).err).toContain('error[guard]');
  });

  test('twins, a NULL key and a drifted column are refused before anything is sent', async () => {
    const dir = await shop();
    await duck(warehouse(dir), 'insert into orders select * from orders where order_id = 7');
    const twins = await cli(dir, 'apply');
    expect([twins.code, twins.err.includes('key 7')]).toEqual([1, true]);
    await duck(
      warehouse(dir),
      'delete from orders where order_id = 7',
      'insert into orders values (null, now(), null, null, 1)',
    );
    expect((await cli(dir, 'apply')).err).toContain('A key column is NULL');
    await duck(warehouse(dir), 'delete from orders where order_id is null', 'alter table orders drop column amount');
    const drifted = await cli(dir, 'apply');
    expect(drifted.err).toContain('column `amount` is missing');
    expect(await duck(path.join(dir, 'sandbox.duckdb'), 'select count(*)::int as n from events_raw')).toEqual([
      { n: 0 },
    ]);
  });

  test('a compiled folder that differs is refused; reset sends the table again', async () => {
    const dir = await shop();
    expect((await cli(dir, 'apply')).code).toBe(0);
    await duck(warehouse(dir), 'alter table orders add column note varchar');
    expect((await cli(dir, 'apply')).err).toContain('nothing changed');
    expect((await cli(dir, 'plan')).out).toContain('not sent until `syncline lock`: note');
    await cli(dir, 'lock');
    const differs = await cli(dir, 'apply');
    expect([differs.code, differs.err.includes('error[compiled-differs]')]).toEqual([1, true]);
    await cli(dir, 'compile');
    // A column of NULLs at the end changes no row.
    expect((await cli(dir, 'apply')).err).toContain('nothing changed');
    expect((await cli(dir, 'reset', 'purchases')).code).toBe(0);
    expect((await cli(dir, 'apply')).err).toContain('5,000 inserts');
    expect(await differences(dir)).toEqual([]);
  });

  test('without key, equal rows stay distinct and one of three twins can go', async () => {
    const dir = await project({ 'syncline.yml': YML, 'syncs/shop.yml': sync().replace('    key: order_id\n', '') });
    await duck(
      warehouse(dir),
      TABLE,
      'insert into orders select * from orders where order_id = 3',
      'insert into orders select * from orders where order_id = 3 limit 1',
    );
    await cli(dir, 'lock');
    expect((await cli(dir, 'apply')).err).toContain('5,002 inserts');
    expect(await differences(dir)).toEqual([]);
    await duck(warehouse(dir), 'delete from orders where rowid = (select max(rowid) from orders where order_id = 3)');
    expect((await cli(dir, 'apply')).err).toContain('0 inserts, 0 updates, 1 delete');
    expect(await differences(dir)).toEqual([]);
  });

  test('append sends what was inserted since the last run', async () => {
    const dir = await project({
      'syncline.yml': YML,
      'syncs/shop.yml': sync('    insert_time: loaded_at\n')
        .replace('    key: order_id\n', '')
        .replace('mirror', 'append'),
    });
    const load = (day: string, rows: string): string =>
      `insert into orders select i, timestamp '2024-01-01' + to_minutes(i::integer), 'u', 'x', 1, timestamp '${day}' from ${rows}`;
    await duck(
      warehouse(dir),
      'create table orders (order_id integer, ordered_at timestamp, customer_id varchar, item varchar, amount decimal(9, 2), loaded_at timestamp)',
      load('2024-02-01', 'range(100) as t(i)'),
    );
    await cli(dir, 'lock');
    expect((await cli(dir, 'plan')).out).toContain('100 inserts');
    expect((await cli(dir, 'apply')).err).toContain('100 inserts');
    expect((await cli(dir, 'apply')).err).toContain('nothing changed');
    await duck(warehouse(dir), load('2024-02-02', 'range(7) as t(i)'), load('2024-02-02', 'range(3) as t(i)'));
    expect((await cli(dir, 'plan')).out).toContain('10 inserts');
    expect((await cli(dir, 'apply')).err).toContain('10 inserts');
    expect(await duck(path.join(dir, 'sandbox.duckdb'), 'select count(*)::int as n from events')).toEqual([{ n: 110 }]);
  });
});

describe('bad input', () => {
  test('a typo is named with file, line, column and a suggestion', async () => {
    const dir = await project({ 'syncline.yml': YML, 'syncs/shop.yml': sync().replace('user_id', 'user_idd') });
    const ran = await cli(dir, 'validate');
    expect(ran.code).toBe(2);
    expect(ran.err).toContain('syncs/shop.yml:8:5: error[unknown-key]: unknown key `user_idd`');
    expect(ran.err).toContain('hint: did you mean `user_id`?');
  });

  test('an unset environment variable, a missing and a broken database', async () => {
    const dir = await project({
      'syncline.yml': YML.replace('warehouse.duckdb', '\'{{ env_var("SYNCLINE_NOT_SET") }}\''),
      'syncs/shop.yml': sync(),
    });
    const unset = await cli(dir, 'lock');
    told(unset, 2, 'syncline.yml:5:38: error[env-var-unset]: environment variable SYNCLINE_NOT_SET is not set');
    // A line below targets may hold a secret, so its place is all that is shown.
    expect(unset.err).not.toContain('  5 | ');
    const other = await project({ 'syncline.yml': YML, 'syncs/shop.yml': sync() });
    expect((await cli(other, 'lock')).code).toBe(1);
    const broken = await project({
      'syncline.yml': YML,
      'syncs/shop.yml': sync(),
      'warehouse.duckdb': 'x'.repeat(20000),
    });
    const ran = await cli(broken, 'lock');
    expect([ran.code, ran.err.includes('error[warehouse-unavailable]')]).toEqual([1, true]);
  });

  test.each(['key: id', 'guard: {}'])(
    'columns named like aliases of our statements reach the sandbox (%s)',
    async (line) => {
      const names = 'a b c d e f i j k l m n o p r s w x'.split(' ');
      const dir = await project({
        'syncline.yml': YML,
        'syncs/shop.yml': `syncs:\n  - { name: s, kind: events, mode: mirror, source: { relation: orders }, event: E, time: t, ${line} }\n`,
      });
      await duck(
        warehouse(dir),
        `create table orders (id integer, t timestamp, ${names.map((n) => `${n} json`).join(', ')})`,
        `insert into orders select i, case when i > 1 then timestamp '2024-01-01' end, ${names.map((n) => `json '{"row_key": "${n}"}'`).join(', ')} from range(4) as r(i)`,
      );
      await cli(dir, 'lock');
      expect((await cli(dir, 'apply')).err).toContain('2 inserts, 0 updates, 0 deletes, 2 invalid');
      await duck(
        warehouse(dir),
        "update orders set t = '2024-01-02' where id = 0",
        'delete from orders where id = 1',
        'delete from orders where id = 2',
      );
      expect((await cli(dir, 'apply')).err).toContain('1 insert, 0 updates, 1 delete');
      const shown = await duck(
        path.join(dir, 'sandbox.duckdb'),
        `select properties ->> 'id' as id, ${names.map((n) => `properties ->> '$.${n}.row_key' as ${n}`).join(', ')} from events where properties ->> 'syncline_deleted' is null order by id`,
      );
      const row = Object.fromEntries(names.map((n) => [n, n]));
      expect(shown).toEqual([
        { id: '0', ...row },
        { id: '3', ...row },
      ]);
    },
  );

  test('hostile names and values reach the sandbox as they are', async () => {
    const evil = `x"; drop table "o'; --\${x}{{ y }}\\n🎉`;
    const name = evil.replaceAll('"', '""');
    const dir = await project({
      'syncline.yml': YML,
      'syncs/shop.yml': `syncs:
  - name: evil
    kind: events
    mode: mirror
    source: { relation: '${`"main"."${name}"`.replaceAll("'", "''").replace('{{ y }}', '')}' }
    event: '${evil.replaceAll("'", "''").replace('{{ y }}', '')}'
    time: t
    key: id
`,
    });
    const table = name.replace('{{ y }}', '');
    await duck(
      warehouse(dir),
      `create table "${table}" (id integer, t timestamp, "${table}" varchar)`,
      `insert into "${table}" values (1, '2024-01-01', 'a''b"c\\d;--\${x}{{ y }}🎉' || chr(10))`,
    );
    for (const args of [['lock'], ['compile'], ['apply']]) {
      const ran = await cli(dir, ...args);
      expect(ran.code, ran.err).toBe(0);
    }
    const [row] = await duck(path.join(dir, 'sandbox.duckdb'), 'select event, properties from events');
    const property = evil.replace('{{ y }}', '');
    expect(row?.['event']).toBe(property);
    expect((JSON.parse(String(row?.['properties'])) as Record<string, unknown>)[property]).toBe(
      'a\'b"c\\d;--${x}{{ y }}🎉\n',
    );
  });

  test('hostile names of schema, table, staging, event and a condition are quoted, and braces are what var says', async () => {
    const evil = `x"; drop table victim; --'o\\\${x}{% y %}{# z #}🎉`;
    const braces = '{{ x }}';
    const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;
    const yaml = (text: string): string => JSON.stringify(text);
    const dir = await project({
      'syncline.yml': YML.replace('duckdb }', `duckdb, staging: ${yaml(`${evil}g`)} }`),
      'syncs/shop.yml': `syncs:
  - name: evil
    kind: events
    mode: mirror
    source: { relation: ${yaml(`${quoted(`${evil}s`)}.${quoted(`${evil}{{ var('braces') }}`)}`)} }
    event: ${yaml(`${evil}{{ var('braces') }}`)}
    where: ${yaml(`note <>\n'a;--"\\\${x}{% y %}' and "{# z #}" = 1`)}
    time: t
    key: id
`,
    });
    const source = `${quoted(`${evil}s`)}.${quoted(`${evil}${braces}`)}`;
    await duck(
      warehouse(dir),
      'create table victim as select 1 as id',
      `create schema ${quoted(`${evil}s`)}`,
      `create table ${source} (id integer, t timestamp, note varchar, "{# z #}" integer)`,
      `insert into ${source} values (1, '2024-01-01', 'kept', 1), (2, '2024-01-01', 'a;--"\\\${x}{% y %}', 1), (3, '2024-01-01', 'kept', 2)`,
    );
    const run = (...args: string[]): Promise<Ran> => cli(dir, ...args, '--vars', `{ braces: ${yaml(braces)} }`);
    for (const command of ['lock', 'compile', 'plan', 'apply', 'status']) told(await run(command), 0);
    const events = `select event, properties ->> 'id' as id, properties ->> 'note' as note from events`;
    expect(await duck(path.join(dir, 'sandbox.duckdb'), events)).toEqual([
      { event: `${evil}${braces}`, id: '1', note: 'kept' },
    ]);
    const tables = await duck(
      warehouse(dir),
      `select schema_name as s, table_name as t from duckdb_tables() where table_name not like 'evil\\_\\_%' escape '\\' order by 1`,
    );
    expect(tables).toEqual([
      { s: 'main', t: 'victim' },
      { s: `${evil}g`, t: 'runs' },
      { s: `${evil}s`, t: `${evil}${braces}` },
    ]);
    const state = await duck(warehouse(dir), `select phase from ${quoted(`${evil}g`)}.evil__state`);
    expect(state).toEqual([{ phase: 'idle' }]);
    await duck(warehouse(dir), `update ${source} set t = '2024-01-02' where id = 1`);
    told(await run('apply'), 0, '1 insert, 0 updates, 1 delete');
    told(await run('destroy', 'evil', '-y'), 0);
  });
});
