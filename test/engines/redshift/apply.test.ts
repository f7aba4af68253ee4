import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Values } from '../../../runtime/values.ts';
import { toQuery } from '../../../runtime/values.ts';
import { openRedshift } from '../../../runtime/warehouses/redshift.ts';
import { realWorld } from '../../../runtime/world.ts';
import { cli, cliIn, duck, project, start as begin, YML } from '../../e2e/cli.ts';
import { compileFiles } from '../../golden/project.ts';
import { onEngine } from '../engine.ts';
import { CHANGES, received, SYNCS, tables } from '../everything.ts';
import { missing } from '../postgres/cluster.ts';
import type { Compat } from './compat.ts';
import { startCompat } from './compat.ts';

/** Says nothing of how a table is distributed: PostgreSQL knows no such words. */
const OVERRIDE = {
  'templates/redshift/create_table.sql.njk':
    '{% extends "builtin:create_table" %}\n{% block distribution %}\n{% endblock %}\n',
};

/** Kinds and modes that `SYNCS` has not, since each of its lines is run by other engines, too. */
const MORE = `  - { name: firms_added, kind: group_profiles, mode: append, source: { relation: public.people }, group_key: added, group_id: id, insert_time: seen_at }
  - { name: firms_once, kind: group_profiles, mode: one_time, source: { relation: public.people }, group_key: once, group_id: id }
  - { name: tiers_once, kind: group_profiles, mode: one_time, source: { relation: public.tiers }, group_key: once_tier, group_id: id, history: { start_time: valid_from, end_time: valid_to } }
  - { name: strict, kind: events, mode: mirror, source: { relation: public.orders }, event: Strict, time: ordered_at, key: ref, on_delete: fail, properties: { exclude: [odd] } }
`;

onEngine(missing(), 'every kind and mode on the Redshift engine', () => {
  let engine: Compat;
  const dirs: string[] = [];
  beforeAll(async () => {
    engine = await startCompat();
  });
  afterAll(async () => {
    engine.stop();
    for (const dir of dirs) await rm(dir, { recursive: true, force: true });
  });

  const redshift = (more: string): string => {
    const { host, port, user, database } = engine;
    return `{ type: redshift, host: ${host}, port: ${port}, user: ${user}, dbname: ${database}, sslmode: disable, ${more} }`;
  };
  const start = async (
    warehouse: string,
    syncs: string,
    more: Readonly<Record<string, string>> = {},
  ): Promise<string> => {
    const yml = YML.replace('{ type: duckdb, path: warehouse.duckdb }', warehouse);
    const dir = await project({ 'syncline.yml': yml, 'syncs/all.yml': syncs, ...more });
    dirs.push(dir);
    return dir;
  };
  const done = async (dir: string, ...args: string[]): Promise<string> => {
    const ran = await cli(dir, ...args);
    expect(ran.code, ran.err).toBe(0);
    return ran.out + ran.err;
  };

  test('sends what DuckDB sends for the same tables, and nothing when nothing changed', async () => {
    const dir = await start(redshift('statement_timeout: 1m'), SYNCS + MORE, OVERRIDE);
    const peer = await start('{ type: duckdb, path: warehouse.duckdb }', SYNCS + MORE);
    await engine.query(...tables('super', 'geometry'));
    await duck(path.join(peer, 'warehouse.duckdb'), 'create schema public', ...tables('json', 'varchar'));

    for (const at of [dir, peer]) await done(at, 'lock');
    await done(dir, 'setup', '--execute');
    await engine.query('analyze');
    const planned = await done(dir, 'plan');
    for (const rows of ['7 rows of public.orders', '2 rows of public.songs'])
      expect(planned).toContain(`reads about ${rows}`);
    for (const at of [dir, peer]) await done(at, 'apply');
    const first = await received(dir);
    expect(first).toEqual(await received(peer));
    expect(first['events']).toHaveLength(48);

    // What needs no write access sends the same without any.
    const lines = (...names: string[]) => SYNCS.split('\n').filter((l) => names.some((n) => l.includes(`name: ${n},`)));
    const own = ['syncs:', ...lines('once', 'late', 'people_full', 'firms_full', 'songs'), ''].join('\n');
    const direct = await start(redshift('staging: none'), own.replace(' late_window: 48h,', ''));
    await done(direct, 'lock');
    await done(direct, 'apply');
    const sentSo = await received(direct);
    expect(sentSo['events']).toEqual((first['events'] as string[]).filter((e) => /^{"event":"(Once|Late)"/.test(e)));
    expect(sentSo['groups']).toEqual((first['groups'] as string[]).filter((g) => g.includes('"group_key":"other"')));
    expect(sentSo['lookups']).toHaveLength(2);
    expect(await engine.query(`select 1 from pg_namespace where nspname = 'none'`)).toEqual([]);

    // What a database says of its sessions changes no checksum.
    await engine.query(
      ...["datestyle to 'German'", "timezone to 'America/New_York'", 'extra_float_digits to 0'].map(
        (setting) => `alter database ${engine.database} set ${setting}`,
      ),
    );
    for (const at of [dir, peer]) {
      const again = await done(at, 'apply');
      expect(again.match(/nothing changed/g), again).toHaveLength(13);
    }
    expect(await received(dir)).toEqual(await received(peer));

    await engine.query(...CHANGES);
    await duck(path.join(peer, 'warehouse.duckdb'), ...CHANGES);
    for (const at of [dir, peer]) {
      const { code, err } = await cli(at, 'apply');
      expect([code, err]).toEqual([1, expect.stringContaining('strict: Rows vanished from the source')]);
      expect(err.match(/^error/gm), err).toHaveLength(1);
    }
    expect(await received(dir)).toEqual(await received(peer));

    // What a person asks for besides.
    for (const at of [dir, peer]) {
      const file = path.join(at, 'syncs/all.yml');
      await writeFile(file, (await readFile(file, 'utf8')).replace('amount: Amount', 'amount: Sum'));
      const asked = await done(at, 'apply', '-s', 'keyed', 'people', '--resend', 'people', '--forward', 'keyed');
      expect(asked).toMatch(/people: run \d+ done: /);
      await done(at, 'apply', '-s', 'appended', '--backfill', '2024-03-01..2024-03-03');
      await done(at, 'destroy', 'firms', '--data', '--yes');
    }
    const last = await received(dir);
    expect(last).toEqual(await received(peer));
    expect((last['groups'] as string[]).filter((g) => g.includes('"group_key":"firm"'))).toEqual([]);
    expect(await engine.query(`select 1 from pg_tables where tablename like 'firms\\_\\_%'`)).toEqual([]);
    expect([...engine.groups]).toEqual(['syncline']);
    expect(engine.statements()).toContain('set statement_timeout to 60000');
    await engine.query(
      ...['datestyle', 'timezone', 'extra_float_digits'].map((s) => `alter database ${engine.database} reset ${s}`),
    );
  });

  const DOCS = (name: string, more = ''): string => `syncs:
  - { name: ${name}, kind: events, mode: mirror, source: { relation: public.docs }, event: Doc, time: t, key: id${more} }
`;

  test('a row that no text holds is invalid, what Mixpanel refuses is kept with its reason, and both are sent when they are mended', async () => {
    const dir = await start(redshift('staging: docs_staging'), DOCS('docs'), OVERRIDE);
    await engine.query(
      'create table public.docs (id varchar(50), t timestamp, body varchar(65535), more varchar(65535), raw super)',
      `insert into public.docs values
        ('fine', '2024-01-02', 'x', null, null),
        ('long', '2024-01-02', repeat('x', 40000), repeat('"', 20000), null),
        ('longest', '2024-01-02', repeat('x', 65535), null, null),
        ('nested', '2024-01-02', 'x', null, '{"a": {"b": {"c": {"d": {"e": 1}}}}}'),
        ('big', '2024-01-02', 'x', null, jsonb_build_array(repeat('x', 40000), repeat('x', 40000)))`,
    );
    await done(dir, 'lock');
    await done(dir, 'setup', '--execute');
    expect(await done(dir, 'apply')).toContain('1 insert, 0 updates, 0 deletes, 1 refused, 3 invalid');
    const ids = async (): Promise<string[]> => {
      const rows = await duck(path.join(dir, 'sandbox.duckdb'), 'select properties::varchar as p from events_raw');
      return rows.map((row) => (JSON.parse(String(row['p'])) as { id: string }).id).sort();
    };
    expect(await ids()).toEqual(['fine']);
    // The refusal was written behind the lock of the state.
    const statements = engine.statements();
    const outcome = statements.findIndex((s) => s.includes('update "docs_staging"."docs__outbox_1"\nset\n  outcome ='));
    const around = [-2, -1, 1].map((n) => statements[outcome + n]);
    expect(around).toEqual([
      'begin',
      expect.stringContaining('update "docs_staging"."docs__state"\nset version = version\nwhere'),
      'commit',
    ]);
    // A commit is one transaction, in which commits take turns; a capture is in none, since it may take long.
    const bare = statements.map((s) => s.replaceAll(/^--.*\n/gm, '').trim());
    const at = (end: string): number => bare.findIndex((s) => s.includes(end));
    const committed = at(`"docs_staging"."docs__state"\nset version = version, phase = 'idle', baseline = pending`);
    const from = bare.lastIndexOf('begin', committed);
    expect(bare.slice(from, committed + 2)).toEqual(
      [
        'begin',
        'lock table "docs_staging"."runs"',
        "select 'records not accounted for",
        'update "docs_staging"."docs__ledger"',
        'delete from "docs_staging"."docs__ledger"',
        'insert into "docs_staging"."docs__ledger"',
        'update "docs_staging"."docs__ledger"',
        'delete from "docs_staging"."docs__rejects"',
        'insert into "docs_staging"."docs__rejects"',
        'insert into "docs_staging"."runs"',
        'update "docs_staging"."docs__state"',
        'commit',
      ].map((text) => expect.stringMatching(new RegExp(`^${text}`)) as string),
    );
    const capture = at('insert into "docs_staging"."docs__outbox_1"');
    expect(capture).toBeGreaterThan(-1);
    expect(bare.lastIndexOf('begin', capture)).toBeLessThan(bare.lastIndexOf('commit', capture));
    const rejects = await engine.query('select row_key, kind, reason from docs_staging.docs__rejects order by row_key');
    expect(rejects).toEqual([
      { row_key: 'big|', kind: 'invalid', reason: 'too-large' },
      { row_key: 'longest|', kind: 'invalid', reason: 'too-large' },
      { row_key: 'long|', kind: 'invalid', reason: 'too-large' },
      { row_key: 'nested|', kind: 'refused', reason: expect.stringContaining('nested deeper') as string },
    ]);
    await engine.query(
      `update public.docs set body = 'y', more = null, raw = null where id in ('long', 'longest', 'nested', 'big')`,
    );
    await done(dir, 'apply');
    expect(await ids()).toEqual(['big', 'fine', 'long', 'longest', 'nested']);
    expect(await engine.query('select row_key from docs_staging.docs__rejects')).toEqual([]);

    // Another name goes on with the same tables, also after an attempt that made no outbox.
    await engine.query(`update docs_staging.docs__state set names = '1 '`);
    await writeFile(path.join(dir, 'syncs/all.yml'), DOCS('papers', ', renamed_from: docs'));
    expect(await done(dir, 'apply')).toMatch(/renamed from docs[^]*papers: nothing changed/);
    expect(await ids()).toHaveLength(5);
    const doctor = await cli(dir, 'doctor');
    expect(doctor.out + doctor.err).toContain('it is a superuser. Take that right away.');
    await engine.query('drop table public.docs');
  });

  test('doctor names the rights that lack, by the name that the catalog has, and without a schema too', async () => {
    const syncs =
      DOCS('folded').replace('public.docs', 'Shop.DOCS') +
      DOCS('bare').replace('syncs:\n', '').replace('public.docs', 'bare') +
      DOCS('closed').replace('syncs:\n', '').replace('public.docs', 'closed.docs');
    const table = (name: string) => `create table ${name} (id varchar(50), t timestamp)`;
    await engine.query(
      ...['shop', 'closed'].map((schema) => `create schema ${schema}`),
      // Where a name without a schema is found here.
      ...['shop.docs', 'redshift.bare', 'closed.docs'].map(table),
      'create role reader login',
      'grant usage on schema redshift, shop to reader',
    );
    const dir = await start(redshift('staging: public'), syncs);
    await done(dir, 'lock');
    const yml = await readFile(path.join(dir, 'syncline.yml'), 'utf8');
    await writeFile(path.join(dir, 'syncline.yml'), yml.replace(`user: ${engine.user}`, 'user: reader'));
    const told = async () => (await cli(dir, 'doctor')).out.split('\n').filter((line) => line.includes('privileges'));
    const role = 'privileges: The role that syncline connects as: it may';
    const setup = '`syncline setup` prints the SQL that gives it.';
    expect(await told()).toEqual([
      `fail  ${role} not create tables in the schema public (USAGE, CREATE). ${setup}`,
      `fail  ${role} not read "Shop"."DOCS" (SELECT). ${setup}`,
      `fail  ${role} not read "bare" (SELECT). ${setup}`,
      `fail  ${role} not use the schema of "closed"."docs" (USAGE). ${setup}`,
    ]);
    await engine.query(
      'grant usage, create on schema public to reader',
      'grant usage on schema closed to reader',
      'grant select on shop.docs, closed.docs, redshift.bare to reader',
      'grant delete on shop.docs to reader',
    );
    expect(await told()).toEqual([`warn  ${role} write "Shop"."DOCS", and only reads it. Take that right away.`]);
  });

  test('a user of setup runs it, also on a table that is made anew; what fails leaves the baseline, and the next apply finishes', async () => {
    const dir = await start(
      redshift(`staging: kept_staging, grantee: keeper, creator: ${engine.user}`),
      DOCS('kept').replace('public.docs', 'kept.docs'),
      OVERRIDE,
    );
    const made = (body: string): string =>
      `create table kept.docs as select i as id, timestamp '2024-01-01' as t, cast('${body}' as varchar(9)) as body from pg_catalog.generate_series(1, 2500) as s(i)`;
    await engine.query(
      'create schema kept',
      made('a'),
      'create table kept.secrets (x integer)',
      `create role keeper login password 'of keeper'`,
      // Redshift's own functions are everybody's.
      'grant usage on schema redshift to keeper',
      'grant select on redshift.svv_columns to keeper',
    );
    await done(dir, 'lock');
    expect(await done(dir, 'setup', '--execute')).toContain('Set up 1 sync');
    const file = path.join(dir, 'syncline.yml');
    const yml = (await readFile(file, 'utf8'))
      .replace(`user: ${engine.user}`, 'user: keeper, password: "of keeper"')
      .replace('mixpanel: sandbox', 'mixpanel: sandbox\n    lease: { ttl: 2s }');
    await writeFile(file, yml);
    expect(await done(dir, 'apply')).toContain('run 1 done: 2,500 inserts');
    for (const refused of ['select * from kept.secrets', 'create table kept.mine (x integer)', 'drop table kept.docs'])
      await expect(engine.query('set role keeper', refused)).rejects.toThrow(/permission denied|must be owner/);
    const [owned] = await engine.query(
      `select count(*)::int as n from pg_tables where schemaname = 'kept_staging' and tableowner <> 'keeper'`,
    );
    expect(owned).toEqual({ n: 0 });

    const baseline = () => engine.query('select baseline from kept_staging.kept__state');
    const before = await baseline();
    const failed = async (...texts: string[]): Promise<void> => {
      const { code, err } = await cli(dir, 'apply');
      expect([code, err]).toEqual([1, err]);
      for (const text of texts) expect(err).toContain(text);
      expect(err).not.toMatch(/^\s+at |of keeper/m);
      expect(await baseline()).toEqual(before);
    };
    // Columns are listed for those who may read them.
    const gone = '(kept.docs does not exist, or may not be read: check `relation:`)';
    for (const statement of ['revoke select on kept.docs from keeper', 'drop table kept.docs']) {
      await engine.query(statement);
      await failed('error[columns-drifted]: kept: ', gone);
    }

    // A statement that takes too long, and a server without TLS.
    await engine.query(
      `create view kept.docs as select 1 as id, timestamp '2024-01-01' as t, cast('x' as varchar(9)) as body where pg_catalog.pg_sleep(20) is not null`,
    );
    await writeFile(file, yml.replace('grantee: keeper', 'statement_timeout: 300ms, grantee: keeper'));
    await failed('statement timeout', 'raise `statement_timeout`');
    await writeFile(file, yml.replace('sslmode: disable', 'sslmode: verify-full'));
    await failed('takes no TLS. Turn it on there, or say `sslmode: disable`');
    await writeFile(file, yml);
    await engine.query('drop view kept.docs');

    // Made anew it can be read. The connection is cut in the middle of the cursor.
    const cut = path.join(dir, 'templates/redshift/deliver_pages.sql.njk');
    const CUT =
      '{% extends "builtin:deliver_pages" %}{% block where %}{{ super() }} and kept.cut(ordinal)\n{% endblock %}';
    await writeFile(cut, CUT);
    await engine.query(
      made('b'),
      `create function kept.cut(n bigint) returns boolean language plpgsql as $$ begin if n = 2200 then perform pg_terminate_backend(pg_backend_pid()); end if; return true; end $$`,
    );
    await failed(
      'error[warehouse-unavailable]: kept: The connection to warehouse',
      'was lost during kept/deliver_pages.sql',
      'Run the same command again',
    );
    await rm(cut);
    await new Promise((resolve) => setTimeout(resolve, 2500));
    await engine.guard('keeper');
    await writeFile(file, yml.replace('of keeper', 'of yesterday'));
    await failed('refuses the login: password authentication failed for user "keeper". Check `user` and `password`.');
    await writeFile(file, yml);
    const finished = await done(dir, 'apply');
    expect(finished).toContain('finishing interrupted run');
    expect(finished).toMatch(/run \d+ done: 0 inserts, 2,500 updates/);

    // A table that is replaced meanwhile ends two attempts.
    await engine.query(
      'drop table kept.docs',
      'create sequence kept.tries',
      `create function kept.replaced() returns boolean language plpgsql security definer as $$ begin if nextval('kept.tries') <= 2 then raise exception using message = '1018', detail = 'Relation does not exist'; end if; return true; end $$`,
      `create view kept.docs as select 1 as id, timestamp '2024-01-01' as t, cast('c' as varchar(9)) as body where kept.replaced() union all select i, timestamp '2024-01-01', 'b' from pg_catalog.generate_series(2, 2501) as s(i)`,
    );
    const again = await done(dir, 'apply');
    expect(again.match(/a table was replaced while it was used[^\n]*it is begun again/g)).toHaveLength(2);
    expect(again).toMatch(/run \d+ done: 1 insert, 1 update, 0 deletes/);
    const bodies = async (): Promise<unknown> => {
      const sql = `select properties ->> 'body' as body, count(*)::int as n from events where properties ->> 'syncline_deleted' is null group by all order by all`;
      return (await duck(path.join(dir, 'sandbox.duckdb'), sql)).map((row) => Object.values(row));
    };
    expect(await bodies()).toEqual([
      ['b', 2500],
      ['c', 1],
    ]);

    // Commits that others crossed: the run is finished, and neither captured nor sent again.
    await engine.query(
      'drop view kept.docs',
      made('b'),
      `update kept.docs set body = 'd' where id = 1`,
      'create sequence kept.crossings',
      `create function kept.crossed() returns trigger language plpgsql security definer as $$ begin if nextval('kept.crossings') <= 2 then raise exception using message = '1023', detail = 'Serializable isolation violation on table'; end if; return null; end $$`,
      'create trigger crossed before insert on kept_staging.kept__ledger for each statement execute function kept.crossed()',
    );
    const crossed = await done(dir, 'apply');
    expect(crossed.match(/another transaction wrote a table that this one used[^\n]*it is begun again/g)).toHaveLength(
      2,
    );
    expect(crossed.match(/finishing interrupted run/g)).toHaveLength(2);
    expect(crossed.match(/captured/g)).toHaveLength(1);
    expect(crossed).toMatch(/run \d+ done: 0 inserts, 1 update, 1 delete/);
    expect(await bodies()).toEqual([
      ['b', 2499],
      ['d', 1],
    ]);

    // A run that nobody finishes: what it had still to send is compared again, with what is there now.
    await engine.query(`update kept.docs set body = 'e'`);
    await writeFile(cut, CUT);
    await failed('error[warehouse-unavailable]: kept: The connection to warehouse');
    await rm(cut);
    await new Promise((resolve) => setTimeout(resolve, 2500));
    await engine.query(`update kept.docs set body = 'f' where id = 1`, `delete from kept.docs where id = 2500`);
    const abandoned = await done(dir, 'apply', '-s', 'kept', '--abandon', 'kept');
    expect(abandoned).toMatch(/run \d+ is abandoned: [\d,]+ records were not sent, and their rows are compared again/);
    expect(await bodies()).toEqual([
      ['e', 2498],
      ['f', 1],
    ]);
    expect(await done(dir, 'apply')).toContain('nothing changed');
    expect(await engine.query(`select 1 from pg_tables where tablename like 'kept\\_\\_outbox%'`)).toEqual([]);
  });

  test('the longest names that this server holds, quotes in them, and the longest name of a sync', async () => {
    const [table, column, schema] = ['d'.repeat(63), `${'c'.repeat(61)}"x`, 's'.repeat(63)];
    const quoted = `"${column.replace('"', '""')}"`;
    const sync = `p${'x'.repeat(39)}`;
    const dir = await start(redshift(`staging: ${schema}`), DOCS(sync).replace('docs', table), OVERRIDE);
    await engine.query(
      `create table public.${table} (id integer, t timestamp, ${quoted} varchar(9))`,
      `insert into public.${table} values (1, '2024-01-01', 'a'), (2, '2024-01-01', 'b')`,
    );
    await done(dir, 'lock');
    await done(dir, 'setup', '--execute');
    expect(await done(dir, 'apply')).toContain(`${sync}: run 1 done: 2 inserts`);
    await engine.query(`update public.${table} set ${quoted} = 'new' where id = 1`);
    expect(await done(dir, 'apply')).toContain(`${sync}: run 2 done: 0 inserts, 1 update, 0 deletes`);
    const shown = await duck(path.join(dir, 'sandbox.duckdb'), 'select properties::varchar as p from events');
    const values = shown.map((row) => (JSON.parse(String(row['p'])) as Record<string, unknown>)[column]);
    expect(values.sort()).toEqual(['b', 'new']);
    await done(dir, 'destroy', sync, '--yes');
    expect(await engine.query(`select 1 from pg_tables where tablename like 'pxxx%'`)).toEqual([]);
  });

  test('what is recorded of a batch locks the state first: no lease is taken before it ends, and it changes nothing after one', async () => {
    const dir = await start(redshift('staging: held_staging'), DOCS('held'), OVERRIDE);
    await engine.query('create table public.docs (id varchar(50), t timestamp)');
    await done(dir, 'lock');
    await done(dir, 'setup', '--execute');
    const names = ['syncline.yml', 'syncs/all.yml', 'syncline.lock.json', ...Object.keys(OVERRIDE)];
    const texts = await Promise.all(names.map(async (name) => [name, await readFile(path.join(dir, name), 'utf8')]));
    const { plan } = await compileFiles(Object.fromEntries(texts) as Record<string, string>);
    const { state, deliver, capture } = plan!.syncs[0]!;
    const { host, port, user, database: dbname } = engine;
    const settings = { type: 'redshift', host, port, user, dbname, sslmode: 'disable' } as const;
    const warehouse = await openRedshift(realWorld, settings, { dir });
    const [late, taker] = [await warehouse.connect(), await warehouse.connect()];
    const of = (file: string, values: Values) => toQuery(plan!.statements[file]!, values, file);
    const plain = (sql: string) => late.execute({ sql, binds: [], label: 'test' });

    const dead = { version: 3, run: 3, holder: 'dead', batch: 0, outcome: 'refused', refusals: '{"1":"x"}', more: 0 };
    await late.execute(of(capture.fill[0]!.run[0]!, dead));
    await engine.query(
      `update held_staging.held__state set version = 3, holder = 'dead', phase = 'sending', run = 3, names = '3 '`,
      `insert into held_staging.held__outbox_3 (batch, ordinal) values (0, 0)`,
    );
    const taking = { state_version: 3, state_holder: 'dead', holder: 'next', ttl_ms: 1, quiet_ms: 1, mixpanel: 'x' };
    const outcomes = () => engine.query('select outcome from held_staging.held__outbox_3');
    await plain('begin');
    expect(await late.execute(of(deliver.hold!, dead))).toBe(1);
    const taken = taker.execute(of(state.lease, taking)).then((rows) => ['taken', rows]);
    const waits = async () =>
      (await engine.query(`select from pg_stat_activity where pid = ${taker.session!} and wait_event_type = 'Lock'`))
        .length > 0;
    while (!(await waits())) if ((await Promise.race([taken, waits()])) !== false) break;
    expect(await waits()).toBe(true);
    await late.execute(of(deliver.outcome, dead));
    await plain('commit');
    expect(await taken).toEqual(['taken', 1]);
    // The next holder saw what was recorded, and forgets it.
    const next = { ...dead, version: 4, holder: 'next', next_batch: 0 };
    await plain('begin');
    expect(await late.execute(of(deliver.hold!, next))).toBe(1);
    expect(await late.execute(of(deliver.restart, next))).toBe(1);
    await plain('commit');
    // What comes later ends at the state.
    expect(await late.execute(of(deliver.hold!, dead))).toBe(0);
    expect(plan!.statements[deliver.hold!]?.expect).toEqual({ affected: 1, otherwise: 'lease-lost' });
    expect(await outcomes()).toEqual([{ outcome: null }]);
    await warehouse.close();
    await engine.query('drop table public.docs');
  });

  test('a statement that takes too long is ended, Ctrl-C ends one through a second connection, and the next apply starts anew', async () => {
    const dir = await start(redshift('staging: slow_staging, statement_timeout: 300ms'), DOCS('slow', ''), OVERRIDE);
    await engine.query(
      "create table public.quick as select 1 as id, timestamp '2024-01-01' as t",
      'create view public.docs as select id, t from public.quick where pg_sleep(20) is not null',
    );
    await done(dir, 'lock');
    await done(dir, 'setup', '--execute');
    const ended = await cli(dir, 'apply');
    expect([ended.code, ended.err]).toEqual([
      1,
      expect.stringMatching(/statement timeout[^]*raise `statement_timeout`/),
    ]);
    const yml = await readFile(path.join(dir, 'syncline.yml'), 'utf8');
    await writeFile(path.join(dir, 'syncline.yml'), yml.replace(', statement_timeout: 300ms', ''));
    const running = async (): Promise<boolean> => {
      const active = `select from pg_stat_activity where state = 'active' and query like 'insert into "slow_staging"%'`;
      return (await engine.query(active)).length > 0;
    };
    const applied = begin(dir, 'apply');
    while (!(await running())) await new Promise((resolve) => setTimeout(resolve, 50));
    applied.child.kill('SIGINT');
    expect(await applied.ended).toBe(1);
    expect(await running()).toBe(false);
    expect(engine.statements().filter((s) => s.includes('select pg_cancel_backend(')).length).toBe(1);
    await engine.query('drop view public.docs', 'create table public.docs as select id, t from public.quick');
    expect(await done(dir, 'apply')).toContain('1 insert,');
    await engine.query('drop table public.docs');
  });

  test('a line of a lookup table that no text holds stops the run before anything is sent; the clients of AWS are loaded only for its credentials', async () => {
    const syncs = `syncs:
  - { name: lines, kind: lookup_table, mode: full, source: { relation: public.lines }, id: id, lookup_table_id: lines-1 }
`;
    const dir = await start(redshift('staging: lines_staging'), syncs, OVERRIDE);
    await engine.query(
      'create table public.lines (id varchar(50), a varchar(65535), b varchar(65535))',
      `insert into public.lines values ('a', repeat('x', 40000), repeat('x', 40000))`,
    );
    await done(dir, 'lock');
    await done(dir, 'setup', '--execute');
    const ran = await cli(dir, 'apply');
    expect([ran.code, ran.err]).toEqual([1, expect.stringContaining('a row has more than 65,535 bytes')]);
    await engine.query(`update public.lines set b = null`);

    // What was loaded, at the end of a process: the clients of AWS only where they are used.
    const listing = path.join(dir, 'listing.cjs');
    await writeFile(
      listing,
      `process.on('exit', () => require('fs').writeFileSync(__dirname + '/loaded', Object.keys(require.cache).join('\\n')));`,
    );
    const loaded = async (code: number, ...args: string[]): Promise<string> => {
      const env = {
        NODE_OPTIONS: `--require ${listing}`,
        AWS_ENDPOINT_URL: 'http://127.0.0.1:1',
        AWS_MAX_ATTEMPTS: '1',
      };
      const ran = await cliIn({ cwd: dir, env }, ...args);
      expect([ran.code, ran.err]).toEqual([code, ran.err]);
      return readFile(path.join(dir, 'loaded'), 'utf8');
    };
    expect(await loaded(0, '--version')).not.toContain('@aws-sdk');
    const applied = await loaded(0, 'apply');
    expect(applied).toContain('node_modules/pg/');
    expect(applied).not.toContain('@aws-sdk');
    expect(await duck(path.join(dir, 'sandbox.duckdb'), 'select count(*)::int as n from lookup_rows')).toEqual([
      { n: 1 },
    ]);
    const yml = await readFile(path.join(dir, 'syncline.yml'), 'utf8');
    const iam = 'method: iam, cluster_id: x, region: eu-west-1, access_key_id: a, secret_access_key: s';
    await writeFile(path.join(dir, 'syncline.yml'), yml.replace('staging:', `${iam}, staging:`));
    expect(await loaded(1, 'status')).toContain('@aws-sdk/client-redshift/');
  });

  test('processes that are killed anywhere leave each row sent and recorded once', async () => {
    const dir = await start(redshift('staging: killed_staging'), DOCS('killed').replace('docs', 'many'), OVERRIDE);
    const yml = await readFile(path.join(dir, 'syncline.yml'), 'utf8');
    await writeFile(path.join(dir, 'syncline.yml'), `${yml.trimEnd()}\n    lease: { ttl: 2s }\n`);
    await engine.query(
      `create table public.many as select i as id, timestamp '2024-01-01' as t, i % 7 as n from pg_catalog.generate_series(1, 5000) as s(i)`,
    );
    await done(dir, 'lock');
    await done(dir, 'setup', '--execute');
    for (const ms of [1500, 2500, 3500]) {
      const { child, ended } = begin(dir, 'apply');
      await new Promise((resolve) => setTimeout(resolve, ms));
      child.kill('SIGKILL');
      await ended;
      await new Promise((resolve) => setTimeout(resolve, 3200));
      await engine.query(`update public.many set n = n + 1 where id % 50 = ${ms % 50}`);
    }
    await done(dir, 'apply');
    expect(await done(dir, 'apply')).toContain('nothing changed');
    const shown = await duck(
      path.join(dir, 'sandbox.duckdb'),
      `select count(*)::int as n, count(distinct properties ->> 'id')::int as ids from events`,
    );
    expect(shown).toEqual([{ n: 5000, ids: 5000 }]);
    const [ledger] = await engine.query(
      'select count(*) as n, count(distinct row_key) as keys from killed_staging.killed__ledger',
    );
    expect(ledger).toEqual({ n: '5000', keys: '5000' });
  });
});
