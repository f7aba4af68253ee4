import { spawn } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  chownSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeTls } from '../../runtime/sandbox/tls.ts';
import { onEngine } from '../engines/engine.ts';
import type { Cluster } from '../engines/postgres/cluster.ts';
import { missing, startCluster } from '../engines/postgres/cluster.ts';
import { cli, cliIn, duck, MAIN, project, SECRET, sent, told } from './cli.ts';

onEngine(missing(), 'PostgreSQL', () => {
  let cluster: Cluster;
  let databases = 0;
  beforeAll(async () => {
    cluster = await startCluster();
  });
  afterAll(() => cluster.stop());

  const SYNC = `syncs:
  - { name: purchases, kind: events, mode: mirror, source: { relation: public.orders }, event: Purchase, time: t, key: id }
`;
  const ORDERS = `create table orders as select i as id, timestamp '2024-01-01' + i * interval '1 minute' as t, 'item ' || i as item from generate_series(1, 3) as t(i)`;

  interface Shop {
    readonly dir: string;
    readonly query: (...statements: string[]) => Promise<Record<string, unknown>[]>;
  }

  /** A project on a database of its own. */
  async function shop(options: { settings?: string; syncs?: string; tables?: readonly string[] } = {}): Promise<Shop> {
    const name = `shop${++databases}`;
    await cluster.query('postgres', `create database ${name}`);
    await cluster.query(name, ...(options.tables ?? [ORDERS]));
    const dir = await project({ 'syncs/shop.yml': options.syncs ?? SYNC });
    configure(dir, name, options.settings);
    return { dir, query: (...statements) => cluster.query(name, ...statements) };
  }

  function configure(dir: string, database: string, more = 'sslmode: disable'): void {
    const { host, port, user } = cluster;
    const own = `host: ${host}, user: ${user}, sslmode: disable`;
    const settings = [...new Map([...own.split(', '), ...more.split(', ')].map((s) => [s.split(':')[0], s])).values()];
    writeFileSync(
      path.join(dir, 'syncline.yml'),
      `name: shop\ndefault_target: dev\ntargets:\n  dev:\n    warehouse: { type: postgres, port: ${port}, dbname: ${database}, ${settings.join(', ')} }\n    mixpanel: sandbox\n    lease: { ttl: 2s }\n`,
    );
  }

  async function locked(options: Parameters<typeof shop>[0] = {}): Promise<Shop> {
    const made = await shop(options);
    told(await cli(made.dir, 'lock'), 0);
    return made;
  }

  async function ready(options: Parameters<typeof shop>[0] = {}): Promise<Shop> {
    const made = await locked(options);
    told(await cli(made.dir, 'setup', '--execute'), 0, 'Set up');
    return made;
  }

  test('a person sets it up, and then it is applied like any other', async () => {
    const { dir, query } = await locked();
    await query('analyze orders');
    const plan = await cli(dir, 'plan');
    told(plan, 0);
    expect(plan.out).toContain("reads about 3 rows of public.orders, 57 B, as the warehouse's planner expects");
    told(await cli(dir, 'apply'), 1, 'error[state-missing]: purchases', 'Run `syncline setup --execute`');
    expect(await query(`select 1 from pg_namespace where nspname = 'mixpanel'`)).toEqual([]);
    told(await cli(dir, 'setup', '--execute'), 0);
    told(await cli(dir, 'apply'), 0, 'run 1 done: 3 inserts');
    told(await cli(dir, 'apply'), 0, 'nothing changed');
    await query(`update orders set item = null where id = 1`, `delete from orders where id = 2`);
    told(await cli(dir, 'apply', '--allow', 'purchases.max_deletes=1'), 0, '0 inserts, 1 update, 1 delete');
    expect((await cli(dir, 'status')).out).toContain('purchases: ok');
    const held = `update mixpanel.purchases__state set phase = 'sending', holder = 'other', lease_until = (extract(epoch from now()) * 1000)::bigint`;
    await query(`${held} + 3600000`);
    expect((await cli(dir, 'status')).out).toMatch(
      /^purchases: running, until [-\d]+ [\d:]+ UTC unless its lease is renewed\n {2}if its process is dead, /,
    );
    await query(`${held} - 1`);
    expect((await cli(dir, 'status')).out).toContain('purchases: interrupted while sending');
    await query(`update mixpanel.purchases__state set phase = 'idle', holder = null`);
    expect((await cli(dir, 'doctor')).out).toContain('ok    warehouse: shop');
    told(await cli(dir, 'destroy', 'purchases', '--yes'), 0);
    expect(await query(`select 1 from pg_tables where schemaname = 'mixpanel' and tablename <> 'runs'`)).toEqual([]);
  });

  test('the role of setup may do what a run needs and nothing else, also on a table that dbt makes anew', async () => {
    const role = `Mr "Sync" ${databases}`;
    const quoted = JSON.stringify(role);
    const syncs =
      SYNC.replace('public.', 'shop.') +
      `  - { name: people, kind: user_profiles, mode: mirror, source: { relation: shop.people }, user_id: id }\n`;
    const orders = ORDERS.replace('table orders', 'table shop.orders');
    const tables = [
      'create schema shop',
      orders,
      `create table shop.people as select 'p' || i as id, i as v from generate_series(1, 5) as t(i)`,
      'create table shop.secrets (x integer)',
    ];
    const settings = `grantee: ${quoted}, creator: syncline`;
    const { dir, query } = await locked({ settings, syncs, tables });
    const [database] = await query('select current_database() as name');
    const printed = await cli(dir, 'setup');
    expect(printed.out).toContain('grant select on table "shop"."orders", "shop"."people" to "Mr ""Sync""');
    told(await cli(dir, 'setup', '--execute'), 0, 'Set up 2 syncs');
    // What was made already is no trouble.
    told(await cli(dir, 'setup', '--execute'), 0);
    configure(dir, String(database?.['name']), `${settings}, user: ${quoted}`);
    told(await cli(dir, 'apply'), 0, 'purchases: run 1 done: 3 inserts', 'people: run 1 done: 5 inserts');
    expect((await cli(dir, 'doctor')).out).toContain('ok    privileges');
    const as = `set role "Mr ""Sync"" ${role.split(' ').at(-1) ?? ''}"`;
    await expect(query(as, 'select * from shop.secrets')).rejects.toThrow('permission denied for table secrets');
    await expect(query(as, 'create table shop.mine (x integer)')).rejects.toThrow('permission denied for schema shop');
    await query('drop table shop.orders', orders, `update shop.orders set item = 'new'`);
    told(await cli(dir, 'apply'), 0, 'purchases: run 2 done: 0 inserts, 3 updates');
    await query(
      'drop table shop.people',
      `create table shop.people as select 'p' || i as id, i as v from generate_series(1, 5) as t(i)`,
      `revoke all on shop.people from "Mr ""Sync"" ${role.split(' ').at(-1) ?? ''}"`,
    );
    told(
      await cli(dir, 'apply'),
      1,
      'error[warehouse-error]: people: ',
      'permission denied for table people',
      '`syncline setup` prints what it needs',
    );
    const found = (await cli(dir, 'doctor')).out;
    expect(found).toContain(
      'fail  privileges: The role that syncline connects as: it may not read "shop"."people" (SELECT).',
    );
    await query(`grant select, delete on shop.people to "Mr ""Sync"" ${role.split(' ').at(-1) ?? ''}"`);
    told(await cli(dir, 'apply'), 0, 'people: nothing changed');
    expect((await cli(dir, 'doctor')).out).toContain(
      'warn  privileges: The role that syncline connects as: it may write "shop"."people", and only reads it.',
    );
    // Without a right to the schema the server would not even say which right to a table there is.
    await query(`revoke usage on schema shop from "Mr ""Sync"" ${role.split(' ').at(-1) ?? ''}"`);
    const outside = await cli(dir, 'doctor');
    expect([outside.code, outside.out]).toEqual([
      1,
      expect.stringContaining('it may not use the schema of "shop"."orders" (USAGE). `syncline setup` prints the SQL'),
    ]);
    expect(outside.out).toContain('it may not use the schema of "shop"."people" (USAGE).');
    expect(outside.out).not.toContain('permission denied');
  });

  test('a host, a port, a database, a role and a password that are wrong: one sentence each', async () => {
    const { dir } = await shop();
    const { port } = cluster;
    const lock = (database: string, settings: string) => {
      configure(dir, database, settings);
      return cli(dir, 'lock');
    };
    told(
      await lock('postgres', 'host: nowhere.invalid'),
      1,
      `The warehouse postgres on nowhere.invalid:${port} cannot be reached`,
    );
    told(await lock('postgres', 'connect_timeout: 1, host: 192.0.2.1'), 1, 'cannot be reached');
    configure(dir, 'postgres');
    writeFileSync(
      path.join(dir, 'syncline.yml'),
      readFileSync(path.join(dir, 'syncline.yml'), 'utf8').replace(`port: ${port}`, 'port: 1'),
    );
    told(await cli(dir, 'lock'), 1, '127.0.0.1:1 cannot be reached (ECONNREFUSED). Check `host` and `port`');
    told(await lock('nothing', ''), 1, 'The warehouse nothing on 127.0.0.1', 'has no such database. Check `dbname`.');
    await cluster.query('postgres', `create role guarded login password '${SECRET}'`);
    const hba = path.join(cluster.dir, 'data/pg_hba.conf');
    writeFileSync(hba, `host all guarded 127.0.0.1/32 scram-sha-256\n${readFileSync(hba, 'utf8')}`);
    await cluster.query('postgres', 'select pg_reload_conf()');
    const wrong = await lock('postgres', `user: guarded, password: wrong ${SECRET}`);
    told(
      wrong,
      1,
      'refuses the login: password authentication failed for user "guarded". Check `user` and `password`.',
    );
    told(await lock('postgres', 'user: guarded'), 1, 'refuses');
    // Nobody waited for the server to lose its patience.
    expect(readFileSync(path.join(cluster.dir, 'log'), 'utf8')).not.toContain('authentication due to timeout');
    configure(dir, 'postgres', `user: guarded, password: "{{ env_var('PGSECRET') }}"`);
    told(await cli(dir, 'lock'), 2, 'environment variable PGSECRET is not set');
    const right = await cliIn({ cwd: dir, env: { PGSECRET: SECRET } }, 'lock');
    told(right, 1, 'the source public.orders does not exist');

    // A password that is changed between two runs costs nothing but the run.
    const made = await ready();
    const [at] = await made.query('alter role guarded superuser', 'select current_database() as name');
    configure(made.dir, String(at?.['name']), `user: guarded, password: "{{ env_var('PGSECRET') }}"`);
    const apply = (secret: string) => cliIn({ cwd: made.dir, env: { PGSECRET: secret } }, 'apply');
    told(await apply(SECRET), 0, 'run 1 done: 3 inserts');
    const state = () => made.query('select * from mixpanel.purchases__state');
    const before = await state();
    await made.query(`update orders set item = 'new' where id = 1`);
    told(await apply('of yesterday'), 1, 'refuses the login', 'Check `user` and `password`.');
    expect(await state()).toEqual(before);
    told(await apply(SECRET), 0, 'run 2 done: 0 inserts, 1 update');
  });

  test('TLS: a server without it, one that nobody vouches for, and one that is trusted', async () => {
    const { dir, query } = await ready();
    told(await cli(dir, 'apply'), 0, 'run 1 done: 3 inserts');
    const baseline = () => query('select baseline, phase from mixpanel.purchases__state');
    const before = await baseline();
    await query(`update orders set item = 'new' where id = 1`);
    const [at] = await query('select current_database() as name');
    configure(dir, String(at?.['name']), 'sslmode: verify-full');
    told(await cli(dir, 'apply'), 1, 'takes no TLS. Turn it on there, or say `sslmode: disable`');
    expect(await baseline()).toEqual(before);
    configure(dir, String(at?.['name']));
    told(await cli(dir, 'apply'), 0, 'run 2 done: 0 inserts, 1 update');
    const tls = await makeTls(Date.now());
    const files = { crt: tls.cert, key: tls.key };
    const { uid, gid } = statSync(path.join(cluster.dir, 'data'));
    for (const [name, text] of Object.entries(files)) {
      const file = path.join(cluster.dir, `server.${name}`);
      writeFileSync(file, text);
      chownSync(file, uid, gid);
      chmodSync(file, 0o600);
    }
    writeFileSync(path.join(dir, 'ca.pem'), tls.ca);
    cluster.restart({
      ssl: 'on',
      ssl_cert_file: path.join(cluster.dir, 'server.crt'),
      ssl_key_file: path.join(cluster.dir, 'server.key'),
    });
    await cluster.query('postgres', 'create database shop_tls');
    await cluster.query('shop_tls', ORDERS);
    const lock = (settings: string) => {
      configure(dir, 'shop_tls', settings);
      return cli(dir, 'lock');
    };
    told(
      await lock('sslmode: verify-full'),
      1,
      'does not prove who it is: unable to verify the first certificate. Give the file of its certificate authority as `sslrootcert`',
    );
    told(
      await lock('sslmode: verify-full, sslrootcert: nothing.pem'),
      1,
      'The file nothing.pem cannot be read (there is none).',
    );
    told(await lock('sslmode: verify-full, sslrootcert: ca.pem'), 0);
    // The certificate does not name this address, which the looser mode does not ask for.
    const other = await lock('sslmode: verify-full, sslrootcert: ca.pem, host: 127.0.0.2');
    told(other, 1, 'does not prove who it is', '127.0.0.2');
    told(await lock('sslmode: verify-ca, sslrootcert: ca.pem, host: 127.0.0.2'), 0);
    told(await lock('sslmode: require'), 0);
    cluster.restart({});
  });

  test('a source that is dropped, retyped or cannot be synced: nothing is sent, and the state stays', async () => {
    const { dir, query } = await ready();
    told(await cli(dir, 'apply'), 0);
    await query('alter table orders alter column item type varchar(40)');
    told(await cli(dir, 'apply'), 1, 'column `item` is now character varying(40), the lock says text');
    await query('alter table orders rename to gone');
    const baseline = () => query('select baseline, phase, run from mixpanel.purchases__state');
    const before = await baseline();
    told(
      await cli(dir, 'apply'),
      1,
      'error[columns-drifted]: purchases: The source is not what the lock says. Restore it, or run `syncline lock`, review and compile again. (public.orders does not exist, or may not be read: check `relation:`)',
    );
    expect(await baseline()).toEqual(before);
    await query('alter table gone rename to orders', 'alter table orders rename id to other');
    told(await cli(dir, 'apply'), 1, 'column `id` is missing');
    await query(
      'alter table orders rename other to id',
      'alter table orders alter column item type text',
      `alter table orders add column period int4range`,
    );
    told(await cli(dir, 'apply'), 0, 'nothing changed');
    told(await cli(dir, 'lock'), 0);
    told(await cli(dir, 'compile'), 2, 'error[column-type-unknown]', 'period', 'int4range');
    appendFileSync(path.join(dir, 'syncs/shop.yml'), '');
    writeFileSync(
      path.join(dir, 'syncs/shop.yml'),
      SYNC.replace('key: id', 'key: id, properties: { exclude: [period] }'),
    );
    told(await cli(dir, 'apply'), 0, 'nothing changed');
    expect(await sent(dir)).toBe(3);
  });

  test('names that the server cuts at 63 bytes, and the longest name of a sync', async () => {
    const [cut, staging, sync] = ['é'.repeat(40), 's'.repeat(70), `p${'x'.repeat(39)}`];
    const [time, item] = ['t'.repeat(63), `${'i'.repeat(62)}"`];
    const quoted = JSON.stringify(item).replaceAll('\\"', '""');
    const tables = [ORDERS.replace('table orders', `table "${cut}"`)];
    tables.push(`alter table "${cut}" rename t to ${time}`, `alter table "${cut}" rename item to ${quoted}`);
    const syncs = SYNC.replace('public.orders', `'public."${cut}"'`)
      .replace('purchases', sync)
      .replace('time: t', `time: ${time}`);
    const { dir, query } = await ready({ tables, syncs, settings: `staging: ${staging}` });
    told(await cli(dir, 'apply'), 0, `${sync}: run 1 done: 3 inserts`);
    await query(`update "${cut}" set ${quoted} = 'new' where id = 1`);
    told(await cli(dir, 'apply'), 0, `${sync}: run 2 done: 0 inserts, 1 update`);
    const [event] = await duck(
      path.join(dir, 'sandbox.duckdb'),
      `select properties::varchar as p from events_raw where properties::varchar like '%"new"%'`,
    );
    expect(JSON.parse(String(event?.['p']))).toMatchObject({ id: 1, [item]: 'new' });
    expect((await cli(dir, 'doctor')).out).toContain(`has the tables of 1 sync`);
    told(await cli(dir, 'destroy', sync, '--yes'), 0);
    expect(await query(`select 1 from pg_tables where tablename like 'pxxx%'`)).toEqual([]);
  });

  test('texts are told apart by their bytes, whatever collations their columns have', async () => {
    const columns = (...of: readonly string[]): string =>
      ['id', 'who', 'device', 'what'].map((name, i) => `${name} text collate "${of[i]!}"`).join(', ');
    const rows = `values ('a', 'U', 'd', 'x"y', timestamp '2024-01-01'), ('A', 'u', 'D', 'X"y', '2024-01-01')`;
    const tables = [
      `create collation folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
      `create table mixed (${columns('C', 'en-x-icu', 'de-x-icu', 'fr-x-icu')}, t timestamp)`,
      `create table folded (${columns('folded', 'folded', 'folded', 'folded')}, t timestamp)`,
      `insert into mixed ${rows}`,
      `insert into folded ${rows}`,
    ];
    const of = (table: string): string =>
      [
        'kind: events, mode: mirror, key: [id, who], event: { column: what }, time: t, user_id: who, device_id: device',
        'kind: events, mode: mirror, event: { column: what }, time: t, user_id: who, device_id: device',
        'kind: user_profiles, mode: append, user_id: id, insert_time: t',
        'kind: user_profiles, mode: mirror, user_id: who, history: { start_time: t }',
        `kind: lookup_table, mode: full, id: id, lookup_table_id: ${table}`,
      ]
        .map((sync, i) => `  - { name: ${table}_${i}, source: { relation: public.${table} }, ${sync} }\n`)
        .join('');
    const { dir } = await ready({ tables, syncs: `syncs:\n${of('mixed')}${of('folded')}` });
    const applied = await cli(dir, 'apply');
    told(applied, 0);
    // Of a history the event of each version, and its profile.
    for (const table of ['mixed', 'folded'])
      for (const [i, inserts] of [2, 2, 2, 4, 2].entries())
        expect(applied.err).toContain(`${table}_${i}: run 1 done: ${inserts} inserts`);
  });

  test('text is no JSON column, because the server could not say so without failing', async () => {
    const { dir } = await locked();
    writeFileSync(path.join(dir, 'syncs/shop.yml'), SYNC.replace('key: id', 'key: id, json_properties: item'));
    told(await cli(dir, 'compile'), 2, 'error[column-type]', 'postgres cannot tell whether a text is JSON');
    writeFileSync(
      path.join(dir, 'syncs/shop.yml'),
      SYNC.replace('key: id', 'key: id, properties: { types: { item: json } }'),
    );
    told(await cli(dir, 'compile'), 2, 'error[column-type]', 'postgres cannot tell whether a text is JSON');
  });

  const SLOW = `create view orders as select i as id, timestamp '2024-01-01' as t, 'x' as item from generate_series(1, 5) as t(i) where pg_sleep(20) is not null`;
  const running = async ({ query }: Shop): Promise<number> => {
    const [row] = await query(
      `select count(*)::int as n from pg_stat_activity where datname = current_database() and state = 'active' and pid <> pg_backend_pid() and query like '%insert into%'`,
    );
    return Number(row?.['n']);
  };

  test('a statement that takes too long is ended by the server, and said', async () => {
    const made = await ready({ settings: 'statement_timeout: 300ms', tables: [SLOW] });
    told(
      await cli(made.dir, 'apply'),
      1,
      'error[warehouse-error]: purchases: purchases/capture.sql: canceling statement due to statement timeout',
      'raise `statement_timeout`',
    );
    await made.query('drop view orders', ORDERS);
    told(await cli(made.dir, 'apply'), 0, 'run 2 done: 3 inserts');
    // After a run that finished, too.
    const baseline = () => made.query('select baseline, phase from mixpanel.purchases__state');
    const before = await baseline();
    await made.query('drop table orders', SLOW);
    told(await cli(made.dir, 'apply'), 1, 'canceling statement due to statement timeout');
    expect(await baseline()).toEqual(before);
    await made.query('drop view orders', ORDERS, `update orders set item = 'new' where id = 1`);
    told(await cli(made.dir, 'apply'), 0, 'done: 0 inserts, 1 update');
    expect(await sent(made.dir)).toBe(4);
  });

  test('Ctrl-C ends a capture on the server too, and the next apply starts anew', async () => {
    const made = await ready({ tables: [SLOW] });
    const child = spawn(process.execPath, [MAIN, 'apply'], { cwd: made.dir, stdio: ['ignore', 'ignore', 'pipe'] });
    let err = '';
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
    const ended = new Promise((resolve) => child.once('close', resolve));
    while ((await running(made)) === 0) await new Promise((resolve) => setTimeout(resolve, 50));
    child.kill('SIGINT');
    expect(await ended).toBe(1);
    expect(err).toContain('error[interrupted]: purchases: Stopped before anything was sent.');
    expect(await running(made)).toBe(0);
    await made.query('drop view orders', ORDERS);
    told(await cli(made.dir, 'apply'), 0, 'run 2 done: 3 inserts');
  });

  test('a connection that is cut while captured, and while rows are read: one sentence, and the next apply finishes', async () => {
    const made = await ready({ tables: [SLOW] });
    const cut = `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`;
    const applied = cli(made.dir, 'apply');
    while ((await running(made)) === 0) await new Promise((resolve) => setTimeout(resolve, 50));
    await made.query(cut);
    told(
      await applied,
      1,
      'error[warehouse-unavailable]: purchases: The connection to shop',
      'was lost during purchases/',
      'Run the same command again',
    );
    await made.query('drop view orders', ORDERS);
    // Who lost the connection could not give its lease back.
    await new Promise((resolve) => setTimeout(resolve, 2500));
    told(await cli(made.dir, 'apply'), 0, 'run 2 done: 3 inserts');

    // Without write access the rows are read by a cursor while they are sent.
    const many = `create table orders as select i as id, timestamp '2024-01-01' + i * interval '1 second' as t, repeat('x', 500) as item from generate_series(1, 60000) as t(i)`;
    const direct = await locked({
      settings: 'staging: none',
      syncs: SYNC.replace('mode: mirror', 'mode: one_time'),
      tables: [many],
    });
    const first = cli(direct.dir, 'apply');
    for (let n = 0; n === 0;) {
      const [row] = await direct.query(
        `select count(*)::int as n from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and query like 'with known%' and state = 'active' and wait_event = 'ClientRead'`,
      );
      n = Number(row?.['n']);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
    await direct.query(cut);
    told(
      await first,
      1,
      'error[warehouse-unavailable]: purchases: The connection to shop',
      'was lost during purchases/read.sql',
    );
    told(await cli(direct.dir, 'apply'), 0, '60,000');
    const shown = await duck(path.join(direct.dir, 'sandbox.duckdb'), 'select count(*)::int as n from events');
    expect(shown).toEqual([{ n: 60_000 }]);
  });

  test('a connection that is cut while batches are read: the baseline stays, and the next apply finishes the run', async () => {
    const { dir, query } = await ready();
    told(await cli(dir, 'apply'), 0, 'run 1 done: 3 inserts');
    const baseline = () => query('select baseline from mixpanel.purchases__state');
    const before = await baseline();
    await query(`update orders set item = 'new'`);
    const slow = path.join(dir, 'templates/postgres/deliver_pages.sql.njk');
    mkdirSync(path.dirname(slow), { recursive: true });
    writeFileSync(
      slow,
      '{% extends "builtin:deliver_pages" %}{% block where %}{{ super() }} and pg_sleep(20) is not null\n{% endblock %}',
    );
    const applied = cli(dir, 'apply');
    const reading = `from pg_stat_activity where datname = current_database() and state = 'active' and query like '%pg_sleep(20)%' and pid <> pg_backend_pid()`;
    const isReading = async (): Promise<boolean> => (await query(`select ${reading}`)).length > 0;
    const isOver = applied.then(() => true);
    while (!(await Promise.race([isOver, isReading()]))) await new Promise((resolve) => setTimeout(resolve, 50));
    await query(`select pg_terminate_backend(pid) ${reading}`);
    told(
      await applied,
      1,
      'error[warehouse-unavailable]: purchases: The connection to shop',
      'was lost during purchases/deliver_pages.sql: terminating connection due to administrator command. Run the same command again',
    );
    expect(await baseline()).toEqual(before);
    expect(await sent(dir)).toBe(3);
    rmSync(slow);
    told(await cli(dir, 'apply'), 0, 'finishing interrupted run 2', 'run 2 done: 0 inserts, 3 updates');
    expect(await sent(dir)).toBe(6);
  });

  test('an append reads its window by an index, and rows before it only while one is to be tried again', async () => {
    const tables = [
      `create table log as select i as id, timestamp '2024-01-01' + i * interval '1 second' as t, timestamp '2024-01-01' + i * interval '1 second' as loaded from generate_series(1, 50000) as t(i)`,
      'create index log_loaded on log (loaded)',
      'analyze log',
    ];
    const syncs = `syncs:
  - { name: log, kind: events, mode: append, source: { relation: public.log }, event: Log, time: t, insert_time: loaded, initial: skip }
`;
    const { dir, query } = await ready({ tables, syncs });
    told(await cli(dir, 'apply'), 0, 'adopted');
    const scans = async () => {
      const [row] = await query(
        `select seq_scan::int as whole, seq_tup_read::int as read from pg_stat_user_tables where relname = 'log'`,
      );
      return row;
    };
    const before = await scans();
    await query(`insert into log values (50001, timestamp '2024-02-01', timestamp '2024-02-01')`);
    told(await cli(dir, 'apply'), 0, 'log: run 2 done: 1 insert');
    expect(await scans()).toEqual(before);
    expect((await cli(dir, 'plan')).out).toContain('reads about 1 row of public.log');
  });

  test('a transaction that crossed ours: the same apply begins again, and ends after three attempts', async () => {
    const crossed = (times: number): string[] => [
      'create sequence tries',
      `create function crossed() returns boolean language plpgsql volatile as $$ begin if nextval('tries') <= ${times} then raise exception 'could not serialize access' using errcode = '40001'; end if; return true; end $$`,
      `create view orders as select 1 as id, timestamp '2024-01-01' as t, 'x' as item where crossed()`,
    ];
    const { dir } = await ready({ tables: crossed(2) });
    const applied = await cli(dir, 'apply');
    told(applied, 0, 'purchases/capture.sql: could not serialize access; it is begun again', 'run 3 done: 1 insert');
    expect(await sent(dir)).toBe(1);
    const never = await ready({ tables: crossed(99) });
    told(
      await cli(never.dir, 'apply'),
      1,
      'error[warehouse-conflict]',
      'Run the same command again when the other transaction is done',
    );
  });

  test('a commit that another transaction crossed: the run is finished, and neither captured nor sent again', async () => {
    const { dir, query } = await ready();
    await query(
      'create sequence tries',
      `create function crossed() returns trigger language plpgsql as $$ begin if nextval('tries') <= 2 then raise exception 'could not serialize access' using errcode = '40001'; end if; return null; end $$`,
      'create trigger crossed before insert on mixpanel.purchases__ledger for each statement execute function crossed()',
    );
    const applied = await cli(dir, 'apply');
    told(
      applied,
      0,
      'purchases/ledger_insert.sql: could not serialize access; it is begun again',
      'purchases: finishing interrupted run 1',
      'purchases: run 1 done: 3 inserts',
    );
    expect(applied.err.match(/captured/g)).toHaveLength(1);
    expect(await sent(dir)).toBe(3);
    told(await cli(dir, 'apply'), 0, 'nothing changed');
  });

  test('two applies at once: one sends, the other is told, and nothing is sent twice', async () => {
    const many = `create table orders as select i as id, timestamp '2024-01-01' as t, 'x' as item from generate_series(1, 20000) as t(i)`;
    const { dir } = await ready({ tables: [many] });
    const other = await project({
      'syncs/shop.yml': SYNC,
      'syncline.yml': readFileSync(path.join(dir, 'syncline.yml'), 'utf8'),
      'syncline.lock.json': readFileSync(path.join(dir, 'syncline.lock.json'), 'utf8'),
    });
    const both = await Promise.all([cli(dir, 'apply'), cli(other, 'apply')]);
    // Each has a sandbox of its own, and a state knows one only.
    expect(both.map((r) => r.code).sort()).toEqual([0, 1]);
    const failed = both.find((r) => r.code === 1)!;
    expect(failed.err).toMatch(/error\[(lease-held|state-foreign)\]/);
    const counts = await Promise.all([dir, other].map((d) => sent(d).catch(() => 0)));
    expect(counts.reduce((sum, n) => sum + n, 0)).toBe(20_000);
  });
});
