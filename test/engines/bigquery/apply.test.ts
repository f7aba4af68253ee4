import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { BigQuery } from '@google-cloud/bigquery';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Lock } from '../../../schemas/types.ts';
import { openSandbox, serveSandbox } from '../../../runtime/sandbox/server.ts';
import { cli, duck, project, start as begin, YML } from '../../e2e/cli.ts';
import * as fleet from '../../e2e/fleet.ts';
import { onEngine } from '../engine.ts';
import { CHANGES, received, SYNCS, tables } from '../everything.ts';
import { missing, startEmulator } from './emulator.ts';
import type { Proxy } from './proxy.ts';
import { Refusal } from './refusal.ts';

const TYPES: readonly (readonly [RegExp, string])[] = [
  [/varchar\(\d+\)/g, 'string'],
  [/numeric\(9,2\)/g, 'numeric(20,9)'],
  [/double precision/g, 'float64'],
  [/\bboolean\b/g, 'bool'],
  [/\btimestamp\b/g, 'datetime'],
  [/\btimestamptz\b/g, 'timestamp'],
  [/\binteger\b/g, 'int64'],
  [/''/g, "\\'"],
];
/** A statement of the tables in BigQuery's words. */
const said = (statement: string): string => TYPES.reduce((text, [type, own]) => text.replaceAll(type, own), statement);

onEngine(missing(), 'every kind and mode on the BigQuery emulator', () => {
  let engine: Proxy;
  const dirs: string[] = [];
  beforeAll(async () => {
    // Nobody asks where this machine stands.
    process.env['METADATA_SERVER_DETECTION'] = 'none';
    engine = await startEmulator();
  });
  afterAll(async () => {
    await engine.stop();
    for (const dir of dirs) await rm(dir, { recursive: true, force: true });
  });

  const bigquery = (more = ''): string =>
    `{ type: bigquery, project: acme, method: oauth-secrets, token: secret-token, api_endpoint: "${engine.endpoint}"${more} }`;
  const start = async (warehouse: string, syncs: string): Promise<string> => {
    const yml = YML.replace('{ type: duckdb, path: warehouse.duckdb }', warehouse);
    const dir = await project({ 'syncline.yml': yml, 'syncs/all.yml': syncs });
    dirs.push(dir);
    return dir;
  };
  const done = async (dir: string, ...args: string[]): Promise<string> => {
    const ran = await cli(dir, ...args);
    expect(ran.code, ran.err).toBe(0);
    return ran.out + ran.err;
  };
  /** Statements of somebody else: they go through the service like every one. */
  const query = async (...statements: string[]): Promise<readonly unknown[]> => {
    const client = new BigQuery({ projectId: 'acme', apiEndpoint: engine.endpoint });
    let rows: readonly unknown[] = [];
    for (const statement of statements) {
      const [job] = await client.createQueryJob(statement);
      [rows] = await job.getQueryResults();
    }
    return rows;
  };

  /** The syncs of the snapshots in a dataset. */
  const snapshots = async (dataset: string): Promise<string[]> => {
    const rows = (await query(
      `select table_name as name from ${dataset}.INFORMATION_SCHEMA.TABLES where table_name like '%snapshot%'`,
    )) as readonly { name: string }[];
    return rows.map(({ name }) => name.replace(/__snapshot_\d+$/, '')).sort();
  };
  test('sends what DuckDB sends for the same tables, and nothing when nothing changed', async () => {
    const dir = await start(bigquery(), SYNCS);
    const peer = await start('{ type: duckdb, path: warehouse.duckdb }', SYNCS);
    // What a column of type JSON gives is not the emulator's strength: dialect.test.ts shows it by the reference evaluator.
    const noJson = 'update public.orders set raw = null where true';
    await query('create schema public', ...tables('json', 'geography').map(said), noJson);
    await duck(path.join(peer, 'warehouse.duckdb'), 'create schema public', ...tables('json', 'varchar'), noJson);

    for (const at of [dir, peer]) await done(at, 'lock');
    // Before the dataset is there a plan says what the first load is.
    expect(await done(dir, 'plan', '-s', 'keyed')).toContain('keyed (initial load): ');
    await done(dir, 'setup', '--execute');
    for (const at of [dir, peer]) await done(at, 'apply');
    const first = await received(dir);
    expect(first).toEqual(await received(peer));
    expect(first['events']).toHaveLength(38);

    for (const at of [dir, peer]) {
      const again = await done(at, 'apply', '-s', 'keyed unkeyed late people tiers songs');
      expect(again.match(/nothing changed/g), again).toHaveLength(6);
    }
    await query(...CHANGES.map(said));
    await duck(path.join(peer, 'warehouse.duckdb'), ...CHANGES);
    for (const at of [dir, peer]) await done(at, 'apply');
    expect(await received(dir)).toEqual(await received(peer));
    // One snapshot is kept for each sync that compares them, and its ledger has what Mixpanel shows otherwise: nothing of the one invalid row of each.
    expect(await snapshots('mixpanel')).toEqual(['firms', 'keyed', 'people', 'unkeyed']);
    const exceptions = ['keyed', 'unkeyed', 'people', 'firms'].map(
      (name) => `select '${name}' as name, count(*) as n, count(insert_id) as shown from mixpanel.${name}__ledger`,
    );
    expect(await query(`${exceptions.join(' union all ')} order by name`)).toEqual([
      { name: 'firms', n: 0, shown: 0 },
      { name: 'keyed', n: 1, shown: 0 },
      { name: 'people', n: 0, shown: 0 },
      { name: 'unkeyed', n: 1, shown: 0 },
    ]);
    expect(JSON.stringify(engine.jobs)).not.toContain('secret-token');
  });

  const ITEMS = (name: string): string => `syncs:
  - { name: ${name}, kind: events, mode: mirror, strategy: checksum, source: { relation: ${name}.items }, event: Item, time: t, key: id }
`;
  const items = (schema: string): Promise<unknown> =>
    query(
      `create schema ${schema}`,
      `create table ${schema}.items (id int64, t datetime, v int64)`,
      `insert into ${schema}.items select i, datetime '2024-01-01 00:00:00', 0 from unnest(generate_array(1, 300)) as i`,
    );

  test('partitions that did not change since the last snapshot are left unread', async () => {
    const dir = await start(
      bigquery(', staging: days_staging'),
      `syncs:
  - { name: days, kind: events, mode: mirror, strategy: snapshot, source: { relation: days.items }, event: Item, time: happened, key: id }
`,
    );
    await query(
      'create schema days',
      'create table days.items (id int64, happened date, v int64) partition by happened',
      "insert into days.items select i, date_add(date '2024-01-01', interval div(i, 3) day), 0 from unnest(generate_array(0, 29)) as i",
    );
    // Two rows that are never sent, of which one will be mended: they keep nothing from being left unread.
    await query("insert into days.items values (100, date '1960-01-01', 0), (101, null, 0)");
    await engine.metadata.aged('acme.days.items', 24 * 3_600_000);
    for (const args of [['lock'], ['setup', '--execute'], ['apply']]) await done(dir, ...args);
    /** The days that the last capture reads, and how often it says so: once of each snapshot. */
    const read = (): readonly string[][] => {
      const { sql } = engine.jobs.findLast((job) => job.labels['statement'] === 'capture') ?? { sql: '' };
      return [
        ...sql.matchAll(/`happened` is null or (.*?)\)+ as syncline_source|`happened` is null or (.*?)\) and/g),
      ].map((m) => {
        const text = `${m[1] ?? m[2] ?? ''})`;
        const ranges = [...text.matchAll(/unix_date\((-?\d+)\) and date_from_unix_date\((-?\d+)\)/g)];
        return Array.from({ length: 12 }, (_, i) => i)
          .filter((i) => ranges.some(([, from, to]) => 19_723 + i >= Number(from) && 19_723 + i <= Number(to)))
          .map(String);
      });
    };

    // One day is written, of another a row is only deleted, a row moves from one to another, and one day is new.
    await query(
      'update days.items set v = 1 where id = 4',
      'delete from days.items where id = 8',
      "update days.items set happened = date '2024-01-05' where id = 0",
      "insert into days.items select 30, date '2024-01-11', 0",
    );
    // One range is the whole table.
    engine.interference.bytesOf = (sql) => (sql.split('between').length === 2 ? 50_000_000 : 7_000_000);
    const planned = await done(dir, 'plan');
    expect(planned).toContain('2 inserts, 1 update, 2 deletes');
    expect(planned).toMatch(
      /reads about days\.items, 7(\.0)? MB of 50(\.0)? MB: partitions that did not change stay unread/,
    );
    delete engine.interference.bytesOf;
    expect(await done(dir, 'apply')).toContain('2 inserts, 1 update, 2 deletes');
    const days = ['0', '1', '2', '4', '10', '11'];
    expect(read()).toEqual([days, days]);
    const rejects = (await done(dir, 'rejects', 'days')).match(/time-before-1971|time-missing/g);
    expect([...(rejects ?? [])].sort()).toEqual(['time-before-1971', 'time-missing']);
    // What was written shortly before the last reading is read again, and is as it was.
    await query("update days.items set happened = date '2024-01-01' where id = 100");
    expect(await done(dir, 'apply')).toContain('1 insert, 0 updates, 0 deletes');
    expect((await done(dir, 'rejects', 'days')).match(/time-before-1971|time-missing/g)).toEqual(['time-missing']);
    // Rows in the streaming buffer may go anywhere.
    engine.metadata.buffer('acme.days.items', 'id = 29');
    await query('update days.items set v = 2 where id = 15');
    expect(await done(dir, 'apply')).toContain('1 update');
    expect(read()[0]).toHaveLength(12);
    const kept = (await query(
      "select table_name as name from days_staging.INFORMATION_SCHEMA.TABLES where ends_with(table_name, '_partitions')",
    )) as { name: string }[];
    expect(kept).toHaveLength(1);
  });

  test('lock says what each source is, and how it is partitioned', async () => {
    const of = (name: string): string =>
      `  - { name: ${name}, kind: events, mode: mirror, source: { relation: kinds.${name} }, event: Item, time: t, key: id }\n`;
    const dir = await start(bigquery(), `syncs:\n${['plain', 'days', 'tens', 'seen'].map(of).join('')}`);
    const columns = '(id int64, t datetime)';
    await query(
      'create schema kinds',
      `create table kinds.plain ${columns}`,
      `create table kinds.days ${columns} partition by datetime_trunc(t, day)`,
      `create table kinds.tens ${columns} partition by range_bucket(id, generate_array(0, 100, 10)) cluster by t`,
      'create view kinds.seen as select * from kinds.plain',
    );
    await done(dir, 'lock');
    const { targets } = JSON.parse(await readFile(path.join(dir, 'syncline.lock.json'), 'utf8')) as Lock;
    const sources = Object.entries(targets['dev']?.sources ?? {});
    expect(Object.fromEntries(sources.map(([name, { type, partitioning }]) => [name, { type, partitioning }]))).toEqual(
      {
        'kinds.plain': { type: 'BASE TABLE' },
        'kinds.days': { type: 'BASE TABLE', partitioning: 'datetime_trunc(t, day)' },
        'kinds.tens': { type: 'BASE TABLE', partitioning: 'range_bucket(id, generate_array(0, 100, 10))' },
        'kinds.seen': { type: 'VIEW' },
      },
    );
    await query('drop table kinds.days', `create table kinds.days ${columns} partition by datetime_trunc(t, month)`);
    const { err, code } = await cli(dir, 'lock', '--check');
    expect([code, err]).toEqual([
      1,
      expect.stringContaining(
        'kinds.days: BASE TABLE partitioned by datetime_trunc(t, day) → BASE TABLE partitioned by datetime_trunc(t, month)',
      ),
    ]);
  });

  test('a table without rows, one that turns out to be a view, lost answers of flip and commit, and a table that lost all its rows', async () => {
    const dir = await start(
      bigquery(', staging: bare_staging'),
      ['whole', 'days']
        .map((n) => ITEMS(n).replace('checksum', 'snapshot').replace(`${n}.items`, `bare.${n}`))
        .join('')
        .replace(/\nsyncs:/, ''),
    );
    await query(
      'create schema bare',
      'create table bare.whole (id int64, t datetime, v int64)',
      'create table bare.days (id int64, t datetime, v int64) partition by datetime_trunc(t, day)',
    );
    for (const args of [['lock'], ['setup', '--execute']]) await done(dir, ...args);
    const kept = async (): Promise<string[]> =>
      (await snapshots('bare_staging')).filter((name) => !name.endsWith('_partitions'));
    expect((await done(dir, 'plan')).match(/\(initial load\): 0 inserts/g)).toHaveLength(2);
    // The first run has nothing to send, and is the one that the next compares with.
    expect((await done(dir, 'apply')).match(/nothing changed/g)).toHaveLength(2);
    expect(await kept()).toEqual(['days', 'whole']);

    const row = "select i, datetime '2024-01-01 00:00:00', 0 from unnest(generate_array(1, 3)) as i";
    await query(`insert into bare.whole ${row}`, `insert into bare.days ${row}`);
    const isView = new Refusal('invalidQuery', 'Cannot clone acme:bare.whole: it is a VIEW');
    engine.interference.beforeJob = (sql) =>
      sql.includes('create snapshot table') ? Promise.reject(isView) : undefined;
    const refused = await cli(dir, 'apply', '-s', 'whole');
    expect([refused.code, refused.err]).toEqual([
      1,
      expect.stringContaining(
        'No snapshot of the source could be made, and nothing was sent: only tables have one, and whoever runs this needs the role dataOwner on the staging dataset. With `strategy: checksum` none is needed. (whole/create_snapshot.sql: Cannot clone acme:bare.whole: it is a VIEW)',
      ),
    ]);
    delete engine.interference.beforeJob;
    // The answers to the flip and to the commit are lost: the jobs are found by their ids, and nothing runs twice.
    const lost = ["phase = 'sending', run =", "phase = 'idle', baseline ="];
    const losing = new Set(lost);
    engine.interference.onRequest = ({ sql = '' }) => {
      const part = lost.find((text) => sql.includes(text));
      return part !== undefined && losing.delete(part) ? 'lost' : undefined;
    };
    const before = engine.jobs.length;
    expect((await done(dir, 'apply')).match(/3 inserts/g)).toHaveLength(2);
    delete engine.interference.onRequest;
    expect(losing.size).toBe(0);
    const since = engine.jobs.slice(before);
    for (const part of lost) expect(since.filter(({ sql }) => sql.includes(part))).toHaveLength(2);
    expect(await kept()).toEqual(['days', 'whole']);

    await query('delete from bare.whole where true', 'delete from bare.days where true');
    const emptied = await cli(dir, 'apply');
    const allowed = ['whole', 'days'].map((name) => `${name}.on_empty_source`);
    const sentences = allowed.map(
      (name) =>
        `The guard on_empty_source stopped this run before anything was sent. Check the source; if the change is meant, raise the guard, or once: --allow ${name}. (the source is empty and Mixpanel shows 3 rows)`,
    );
    expect([emptied.code, emptied.err.match(/The guard on_empty_source[^\n]*/g)?.sort()]).toEqual([
      1,
      sentences.sort(),
    ]);
    // What the refused attempts made is gone after the next one.
    expect((await done(dir, 'apply', '--allow', ...allowed)).match(/3 deletes/g)).toHaveLength(2);
    expect(await kept()).toEqual(['days', 'whole']);
  });

  test('a setup that was cut is completed by the next one, as long as nothing was sent', async () => {
    const dir = await start(bigquery(', staging: cut_staging, grantee: "user:sync@example.com"'), ITEMS('cut'));
    await items('cut');
    await done(dir, 'lock');
    // Who may not say who runs jobs in the project has set up all the rest.
    const denied = new Refusal(
      'accessDenied',
      'Access Denied: Permission resourcemanager.projects.setIamPolicy denied',
    );
    engine.interference.onRequest = ({ sql }) => (sql?.includes('jobUser') === true ? denied : undefined);
    const refused = await cli(dir, 'setup', '--execute');
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining('shared/grant_jobs.sql: Access Denied')]);
    delete engine.interference.onRequest;
    await query('drop table cut_staging.cut__ledger', 'drop table cut_staging.cut__rejects');
    const noLedger =
      'cut has a state in cut_staging and no ledger. Where its setup was cut, `syncline setup --execute`';
    expect((await cli(dir, 'apply')).err).toContain(noLedger);
    await done(dir, 'setup', '--execute');
    const rights = engine.rights.map((sql) => /roles\/bigquery\.(\w+)` on (\w+)/.exec(sql)?.slice(1).join(' '));
    expect(new Set(rights)).toEqual(
      new Set(['metadataViewer schema', 'dataViewer table', 'dataEditor schema', 'jobUser project']),
    );
    expect(rights.indexOf('jobUser project')).toBe(rights.length - 1);
    expect(await done(dir, 'apply')).toContain('300 inserts');
    // An empty ledger would now send everything again.
    await query('drop table cut_staging.cut__ledger');
    await done(dir, 'setup', '--execute');
    const ran = await cli(dir, 'apply');
    expect([ran.code, ran.err]).toEqual([1, expect.stringContaining(noLedger)]);
  });

  test('jobs of a dead process that end after another one has taken the lease change nothing', async () => {
    const dir = await start(bigquery(', staging: late_staging'), ITEMS('late'));
    const file = path.join(dir, 'syncline.yml');
    await writeFile(file, `${(await readFile(file, 'utf8')).trimEnd()}\n    lease: { ttl: 10s }\n`);
    await items('late');
    await done(dir, 'lock');
    await done(dir, 'setup', '--execute');
    const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
    for (const what of ['merge `late_staging.late__ledger`', "set version = version, phase = 'sending'"]) {
      await query('update late.items set v = v + 1 where mod(id, 10) = 0');
      const gate = { isHeld: false };
      let release = (): void => undefined;
      const held = new Promise<void>((resolve) => (release = resolve));
      engine.interference.beforeJob = (sql) => {
        if (gate.isHeld || !sql.includes(what)) return undefined;
        gate.isHeld = true;
        return held;
      };
      const { child, ended } = begin(dir, 'apply');
      for (let i = 0; i < 1200 && !gate.isHeld; i++) await wait(50);
      expect(gate.isHeld, what).toBe(true);
      child.kill('SIGKILL');
      await ended;
      delete engine.interference.beforeJob;
      await wait(11_500);
      await done(dir, 'apply');
      release();
      await wait(500);
      expect(await done(dir, 'apply'), what).toContain('nothing changed');
      expect(
        await query(
          'select count(*) as n, count(distinct row_key) as names, count(row_checksum) as known from late_staging.late__ledger',
        ),
        what,
      ).toEqual([{ n: 300, names: 300, known: 300 }]);
    }
    const shown = await duck(
      path.join(dir, 'sandbox.duckdb'),
      `select count(*)::int as n, count(distinct properties ->> 'id')::int as ids, sum((properties ->> 'v')::int)::int as v from events`,
    );
    expect(shown).toEqual([{ n: 300, ids: 300, v: 60 }]);
  });

  test('a mirror of snapshots: what is streamed in, a table left alone, changed mappings, a rename, an expired snapshot', async () => {
    const sync = (more: string, name = 'life'): string =>
      `syncs:\n  - { name: ${name}, kind: events, mode: mirror, strategy: snapshot, source: { relation: life.items }, event: Item, time: t, key: id${more} }\n`;
    const dir = await start(bigquery(', staging: life_staging'), sync('').replace('snapshot', 'checksum'));
    const declare = (more: string, name?: string): Promise<void> =>
      writeFile(path.join(dir, 'syncs/all.yml'), sync(more, name));
    await items('life');
    await done(dir, 'lock');
    await done(dir, 'setup', '--execute');
    expect(await done(dir, 'apply')).toContain('300 inserts');
    // A ledger of all rows goes on as one of exceptions; one of exceptions cannot go on as one of all rows.
    await declare('');
    await query('update life.items set v = 5 where id = 5');
    expect(await done(dir, 'plan')).toContain('1 update');
    expect(await done(dir, 'apply')).toContain('0 inserts, 1 update, 0 deletes');
    await writeFile(path.join(dir, 'syncs/all.yml'), sync('').replace('snapshot', 'checksum'));
    const turned = await cli(dir, 'apply');
    expect([turned.code, turned.err]).toEqual([1, expect.stringContaining('Set `strategy: snapshot` again')]);
    await declare('');

    // What stands in the streaming buffer is in no snapshot: it is sent when one has it, and nothing else waits for it.
    await query(
      'update life.items set v = 1 where id = 1',
      "insert into life.items values (301, '2024-01-02 00:00:00', 0)",
    );
    engine.metadata.buffer('acme.life.items', 'id = 301');
    expect(await done(dir, 'apply')).toContain('0 inserts, 1 update, 0 deletes');
    engine.metadata.buffer('acme.life.items', undefined);
    expect(await done(dir, 'plan')).toContain('1 insert');
    expect(await done(dir, 'apply')).toContain('1 insert, 0 updates, 0 deletes');

    // A table that was left alone before its last snapshot is not read again; one that was written meanwhile is.
    await engine.metadata.aged('acme.life.items', 3 * 3_600_000);
    expect(await done(dir, 'apply')).toContain('nothing changed');
    const before = engine.jobs.length;
    expect(await done(dir, 'plan')).toContain('0 inserts');
    expect(await done(dir, 'apply')).toContain('nothing changed');
    const quiet = engine.jobs.slice(before).map(({ sql }) => sql);
    expect(quiet.filter((sql) => /create snapshot table|syncline_changes/.test(sql))).toEqual([]);
    expect(quiet.filter((sql) => sql.includes('set options (expiration_timestamp'))).toHaveLength(1);
    await query('delete from life.items where id = 2');
    // As the job of a dead process leaves them that ends after its successor looked: no state names them.
    await query(
      'create snapshot table life_staging.life__snapshot_1 clone life.items',
      'create table life_staging.life__snapshot_1_partitions as select 1 as one',
    );
    expect(await done(dir, 'apply')).toContain('0 inserts, 0 updates, 1 delete');
    expect(await snapshots('life_staging')).toEqual(['life']);

    // The old side is read as it was sent, whatever is declared now.
    await declare(', properties: { rename: { v: value } }');
    const stopped = await cli(dir, 'apply');
    expect([stopped.code, stopped.err]).toEqual([1, expect.stringContaining('--resend life or --forward life')]);
    await query('update life.items set v = 7 where id = 3');
    expect(await done(dir, 'apply', '--forward', 'life')).toContain('0 inserts, 1 update, 0 deletes');
    expect(await done(dir, 'apply')).toContain('nothing changed');
    expect(await done(dir, 'apply', '--resend', 'life')).toContain('0 inserts, 300 updates, 0 deletes');

    await declare(', properties: { rename: { v: value } }, renamed_from: life', 'lives');
    await query('update life.items set v = 8 where id = 3');
    expect(await done(dir, 'plan')).toContain('1 update');
    expect(await done(dir, 'apply')).toContain('0 inserts, 1 update, 0 deletes');
    expect(await snapshots('life_staging')).toEqual(['lives']);
    expect(await query('select count(*) as n from life_staging.lives__ledger')).toEqual([{ n: 0 }]);

    // From day 14 on it is told, and due whatever its frequency says; a new snapshot ends that.
    await declare(', properties: { rename: { v: value } }, frequency: api', 'lives');
    expect(await done(dir, 'apply', '--due')).toContain('lives: not due until');
    const soon = `"untilMs":${Date.now() + 3 * 86_400_000}`;
    await query(
      `update life_staging.lives__state set baseline = regexp_replace(baseline, '"untilMs":[0-9]+', '${soon}') where true`,
    );
    for (const command of ['plan', 'status']) expect(await done(dir, command)).toMatch(/snapshot .*is dropped on 20/);
    expect(await done(dir, 'apply', '--due')).toContain('nothing changed');
    expect(await done(dir, 'status')).not.toContain('is dropped on');

    const [kept] = (await query(
      "select table_name as name from life_staging.INFORMATION_SCHEMA.TABLES where table_name like '%snapshot%'",
    )) as { name: string }[];
    await engine.metadata.expire(`acme.life_staging.${kept?.name ?? ''}`);
    for (const command of ['plan', 'apply']) {
      const ran = await cli(dir, command);
      expect([ran.code, ran.err]).toEqual([
        1,
        expect.stringMatching(/snapshot that lives compares with is gone.*reset lives.*300 rows.*every 14 days/s),
      ]);
    }
    await done(dir, 'reset', 'lives');
    expect(await done(dir, 'apply')).toContain('300 inserts');
    await done(dir, 'destroy', '--data', '--yes', 'lives');
    const left = 'select count(*) as n from life_staging.INFORMATION_SCHEMA.TABLES';
    expect(await query(`${left} where table_name <> 'runs'`)).toEqual([{ n: 0 }]);
    const shown = await duck(
      path.join(dir, 'sandbox.duckdb'),
      `select count(*)::int as n from events where (properties ->> 'syncline_deleted') is null`,
    );
    expect(shown).toEqual([{ n: 0 }]);
  });

  test('a staging dataset whose tables end by themselves: what is known lasts, and a run that was interrupted is finished', async () => {
    const day = 86_400_000;
    const dir = await start(bigquery(', staging: brief_staging'), ITEMS('brief').replace('checksum', 'snapshot'));
    await query('create schema brief_staging');
    engine.metadata.outlives('acme.brief_staging', day);
    await items('brief');
    for (const args of [['lock'], ['setup', '--execute']]) await done(dir, ...args);
    engine.interference.onRequest = ({ sql }) =>
      sql?.includes('records not accounted for') === true ? new Refusal('invalidQuery', 'not now') : undefined;
    expect((await cli(dir, 'apply')).err).toContain('not now');
    delete engine.interference.onRequest;
    // Somebody else's table goes.
    await query('create table brief_staging.other (a int64)');
    await engine.metadata.pass('acme.brief_staging', 19 * day);
    expect(await done(dir, 'apply')).toContain('finishing interrupted run');
    const tables = (await query(
      'select table_name as name from brief_staging.INFORMATION_SCHEMA.TABLES order by 1',
    )) as { name: string }[];
    expect(tables.map(({ name }) => name.replace(/\d+$/, 'n'))).toEqual([
      'brief__ledger',
      'brief__rejects',
      'brief__snapshot_n',
      'brief__state',
      'runs',
    ]);
  });

  test('what Mixpanel refused is compared with what it shows, and not with the snapshot', async () => {
    let isRefusing = false;
    const refuse = ({ insert_id }: { insert_id: string }): string | undefined =>
      isRefusing && insert_id < '8' ? 'not now' : undefined;
    const sandbox = await openSandbox({ path: ':memory:', faults: { refuse } });
    const server = await serveSandbox(sandbox, { port: 0 });
    const syncs = ['key: id, event: Keyed', 'event: Unkeyed'].map(
      (own, i) =>
        `  - { name: ${i === 0 ? 'keyed' : 'unkeyed'}, kind: events, mode: mirror, source: { relation: refused.items }, time: t, user_id: u, ${own}, guard: { max_deletes: 100% } }\n`,
    );
    const dir = await project({
      'syncline.yml': fleet
        .project(bigquery(', staging: refused_staging'), server.port)
        .replace(/ttl: \w+/, 'ttl: 60s'),
      'syncs/all.yml': `syncs:\n${syncs.join('')}  - { name: appended, kind: events, mode: append, source: { relation: refused.log }, time: seen, insert_time: seen, event: Appended }\n`,
    });
    dirs.push(dir);
    const logged = (from: number, to: number, day: string): string =>
      `insert into refused.log select i, timestamp '${day} 00:00:00+00' from unnest(generate_array(${from}, ${to})) as i`;
    const some = (from: number, to: number): string =>
      `insert into refused.items select i, datetime '2024-01-01 00:00:00', 'u', 0 from unnest(generate_array(${from}, ${to})) as i`;
    await query(
      'create schema refused',
      'create table refused.items (id int64, t datetime, u string, v int64)',
      some(1, 40),
      'create table refused.log (id int64, seen timestamp) partition by timestamp_trunc(seen, day)',
      logged(1, 5, '2024-01-01'),
    );
    await done(dir, 'lock');
    await done(dir, 'setup', '--execute');
    await done(dir, 'apply');
    isRefusing = true;
    await query(
      'update refused.items set v = 1 where id <= 10',
      "update refused.items set u = 'w' where id > 10 and id <= 20",
      'delete from refused.items where id > 30',
      some(101, 110),
      logged(6, 25, '2024-02-01'),
    );
    for (let i = 0; i < 2; i++) {
      expect(await done(dir, 'apply')).toMatch(/ refused/);
      await query(logged(26 + i, 26 + i, `2024-03-0${i + 1}`));
    }
    const [ledger] = (await query(
      'select count(insert_id) as shown, count(*) - count(insert_id) as missing from refused_staging.keyed__ledger',
    )) as { shown: number; missing: number }[];
    expect(ledger?.shown).toBeGreaterThan(0);
    expect(ledger?.missing).toBeGreaterThan(0);
    isRefusing = false;
    await done(dir, 'apply');
    expect((await done(dir, 'apply')).match(/nothing changed/g)).toHaveLength(3);
    // What was refused lies before the window by then, and is read while it waits.
    const appended = await sandbox.query("select properties ->> 'id' as id from events where event = 'Appended'");
    expect(appended.map((r) => Number(r['id'])).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 27 }, (_, i) => i + 1),
    );
    const rows = (await query(
      "select cast(id as string) || '|' || u || '|' || cast(v as string) as line from refused.items",
    )) as { line: string }[];
    for (const event of ['Keyed', 'Unkeyed']) {
      const shown = await sandbox.query(
        `select (properties ->> 'id') || '|' || distinct_id || '|' || (properties ->> 'v') as line from events where event = '${event}' and (properties ->> 'syncline_deleted') is null`,
      );
      expect(shown.map((r) => String(r['line'])).sort(), event).toEqual(rows.map((r) => r.line).sort());
      expect(await query(`select count(*) as n from refused_staging.${event.toLowerCase()}__ledger`)).toEqual([
        { n: 0 },
      ]);
    }
    await server.close();
    await sandbox.close();
  });
});
