import { createHash } from 'node:crypto';
import { BigQuery, type Query } from '@google-cloud/bigquery';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { bigquery } from '../../../compiler/dialects/bigquery.ts';
import type { Column } from '../../../compiler/dialects/dialect.ts';
import { onEngine } from '../engine.ts';
import { missing, startEmulator } from './emulator.ts';
import type { Proxy } from './proxy.ts';
import { Refusal } from './refusal.ts';

onEngine(missing(), 'the BigQuery emulator behind its proxy', () => {
  let emulator: Proxy;
  let client: BigQuery;
  let count = 0;
  beforeAll(async () => {
    process.env['METADATA_SERVER_DETECTION'] = 'none';
    emulator = await startEmulator();
    // The SDK tries again by itself what is lost; here each request is sent once.
    client = new BigQuery({ projectId: 'my-proj', apiEndpoint: emulator.endpoint, retryOptions: { autoRetry: false } });
  }, 120_000);
  afterAll(() => emulator.stop());
  afterEach(() => {
    for (const name of Object.keys(emulator.interference)) Reflect.deleteProperty(emulator.interference, name);
  });

  /** @returns rows and the number of rows that DML touched */
  async function run(query: string, options: Partial<Query> = {}) {
    const [job] = await client.createQueryJob({ query, jobId: `job_${++count}`, ...options });
    const [rows, , answer] = await job.getQueryResults({ autoPaginate: false });
    return {
      rows: rows as Record<string, unknown>[],
      affected: (answer as { numDmlAffectedRows?: string }).numDmlAffectedRows,
    };
  }
  const refused = (
    promise: Promise<unknown>,
  ): Promise<{ code?: number; errors?: { reason: string; message: string }[] }> =>
    promise.then(
      () => {
        throw new Error('it was not refused');
      },
      (error: unknown) => error as { code?: number; errors?: { reason: string; message: string }[] },
    );
  const tableOf = async (dataset: string, table: string): Promise<Record<string, unknown>> => {
    const [metadata] = (await client.dataset(dataset).table(table).getMetadata()) as [Record<string, unknown>, unknown];
    return metadata;
  };
  const datasetNamed = async (name: string): Promise<void> =>
    void (await run(`create schema if not exists \`my-proj.${name}\` options (location = 'US')`));

  test('runs what a run needs: windows, full joins, MERGE, leases', async () => {
    await datasetNamed('shapes');
    await run('create table shapes.state as select 0 as version, cast(null as string) as holder, 0 as lease_until');
    const lease = `-- a comment before it
      update shapes.state set version = version + 1, holder = @who, lease_until = unix_millis(current_timestamp()) + @ms
      where version = @version and (holder is null or lease_until <= unix_millis(current_timestamp()))`;
    const params = { who: 'a', ms: 60_000, version: 0 };
    expect(await run(lease, { params })).toMatchObject({ affected: '1' });
    expect(await run(lease, { params })).toMatchObject({ affected: '0' });
    await run('create table shapes.ledger (row_key string, checksum string) cluster by row_key');
    await run("insert into shapes.ledger values ('1', 'old'), ('3', 'gone')");
    const merge = `merge shapes.ledger as l using (
        select n.* from (
          select r.*, row_number() over (partition by r.row_key order by r.is_gone) as place
          from (select '1' as row_key, 'new' as checksum, 0 as is_gone union all select '2', 'new', 0 union all select '3', null, 1) as r
          where exists (select 1 from shapes.state as f where f.version = @version and f.holder = @who)
        ) as n where n.place = 1
      ) as c on l.row_key = c.row_key
      when matched and c.is_gone = 1 then delete
      when matched then update set checksum = c.checksum
      when not matched and c.is_gone = 0 then insert (row_key, checksum) values (c.row_key, c.checksum)`;
    expect(await run(merge, { params: { version: 9, who: 'a' } })).toMatchObject({ affected: '0' });
    expect(await run(merge, { params: { version: 1, who: 'a' } })).toMatchObject({ affected: '3' });
    const { rows } = await run(`with older as (select * from shapes.ledger),
      newer as (select '2' as row_key, 'new' as checksum union all select '4', 'x')
      select coalesce(n.row_key, o.row_key) as row_key,
        case when o.row_key is null then 'insert' when n.row_key is null then 'delete' else 'same' end as change,
        array_to_string(['{', '"k":', if(n.row_key is null, 'null', to_json_string(n.row_key)),
          if(n.checksum is null, null, ',"t":' || cast(unix_millis(safe.timestamp(datetime '2026-01-02 03:04:05', 'UTC')) as string)),
        '}'], '') as payload,
        2 * div(length(n.row_key) + 14, 10) + 7 - 2 * mod(length(n.row_key) + 14, 10) as numbers
      from newer as n full outer join older as o on n.row_key = o.row_key
      where true qualify row_number() over (partition by o.checksum, n.row_key order by o.row_key) = 1 order by 1`);
    expect(rows).toEqual([
      { row_key: '1', change: 'delete', payload: '{"k":null}', numbers: null },
      { row_key: '2', change: 'same', payload: '{"k":"2","t":1767323045000}', numbers: -1 },
      { row_key: '4', change: 'insert', payload: '{"k":"4","t":1767323045000}', numbers: -1 },
    ]);
    expect((await run("select string_agg(row_key, '\\n' order by row_key) as keys from shapes.ledger")).rows).toEqual([
      { keys: '1\n2' },
    ]);
  });

  test('runs a job id once, keeps its labels, and has its rows for whoever asks again', async () => {
    await datasetNamed('ids');
    await run('create table ids.t (n int64)');
    const job = { query: 'insert into ids.t values (1)', jobId: 'once', labels: { app: 'syncline', run: '7' } };
    await client.createQueryJob(job);
    expect(await refused(client.createQueryJob(job))).toMatchObject({ code: 409, errors: [{ reason: 'duplicate' }] });
    expect((await run('select count(*) as n from ids.t')).rows).toEqual([{ n: 1 }]);
    const [metadata] = (await client.job('once').getMetadata()) as [unknown, unknown];
    expect(metadata).toMatchObject({
      status: { state: 'DONE' },
      configuration: { labels: { app: 'syncline', run: '7' } },
      statistics: { query: { numDmlAffectedRows: '1' } },
    });
    await client.createQueryJob({
      query: 'select * from unnest(generate_array(1, 5)) as n order by n',
      jobId: 'pages',
    });
    const [first, next] = (await client
      .job('pages')
      .getQueryResults({ autoPaginate: false, maxResults: 3 })) as unknown as [unknown[], { pageToken: string }];
    const [second] = (await client.job('pages').getQueryResults({
      autoPaginate: false,
      pageToken: next.pageToken,
    })) as unknown as [unknown[]];
    expect([...first, ...second]).toEqual([1, 2, 3, 4, 5].map((n) => ({ n })));
    expect(emulator.jobs.filter(({ id }) => id === 'once')).toMatchObject([
      { labels: { run: '7' }, failure: undefined },
    ]);
  });

  test('answers errors as errors, by job and by query', async () => {
    expect(await refused(run('select nothing'))).toMatchObject({ errors: [{ reason: 'invalidQuery' }] });
    const [job] = await client
      .job('missing_1')
      .getMetadata()
      .catch((error: unknown) => [error]);
    expect(job).toMatchObject({ code: 404 });
    expect(await refused(client.query('select 1 from ids_missing.t'))).toMatchObject({ code: 404 });
    expect(await refused(client.query('insert into ids_missing.t values (1)'))).toMatchObject({ code: 404 });
    // A value arrives as it is, whatever it looks like.
    const texts = ['a\\b\n"c\'', '%E4Y ${x} $1', "div(a, b) -- ' || '", '', 'é\u2028😀'];
    for (const text of texts) {
      const [[row]] = (await client.query({ query: 'select @text as text', params: { text } })) as unknown as [
        unknown[],
      ];
      expect(row).toEqual({ text });
    }
    const [rows] = await client.query({ query: 'select @n + 1 as n', params: { n: 1 } });
    expect(rows).toEqual([{ n: 2 }]);
    // The failed job is on record, and its id is used up.
    expect(await refused(client.createQueryJob({ query: 'select nothing', jobId: 'failed' }))).toBeDefined();
    expect(await refused(client.job('failed').getQueryResults())).toMatchObject({ code: 400 });
    expect(await refused(client.createQueryJob({ query: 'select 1', jobId: 'failed' }))).toMatchObject({ code: 409 });
  });

  test('a script has parameters, temporary tables, and no number of rows', async () => {
    await datasetNamed('scripts');
    await run('create table scripts.t (n int64)');
    const script = `-- first what is kept
      create temp table kept as select @n as n union all select 5; -- ; 'no end'
      insert into scripts.t select kept.n from kept where kept.n > @least;`;
    expect(await run(script, { params: { n: 3, least: 1 } })).toMatchObject({ affected: undefined });
    await run(script, { params: { n: 4, least: 4 } });
    expect((await run('select n from scripts.t order by n')).rows).toEqual([{ n: 3 }, { n: 5 }, { n: 5 }]);
    expect(await refused(run('select 1 from kept'))).toMatchObject({ errors: [{ reason: 'notFound' }] });
    // What was done before an error stays done.
    await refused(run('insert into scripts.t values (9); select nothing'));
    expect((await run('select count(*) as n from scripts.t')).rows).toEqual([{ n: 4 }]);
    // An update from a query has its parameters where they were, whatever order its translation has.
    const update = `update scripts.t set n = case when p.m is null then @keep when cast(@kind as string) = 'x\\'\\\\"' then p.m else @other end
      from (select k.n as m, @nine as nine from scripts.t as k where k.n = @nine) as p where t.n = p.nine`;
    const params = { keep: 1, kind: 'x\'\\"', other: 3, nine: 9 };
    expect(await run(update, { params })).toMatchObject({ affected: '1' });
    expect((await run('select count(*) as n from scripts.t where n = 9')).rows).toEqual([{ n: 1 }]);
    expect((await run('create temp table rows_ as select 1 as n; select n + 1 as m from rows_')).rows).toEqual([
      { m: 2 },
    ]);
  });

  test('snapshots: options, immutable, dropped by their own statement, gone when their time is over', async () => {
    await datasetNamed('snaps');
    await run('create table snaps.t (n int64)');
    await run('insert into snaps.t values (1)');
    const create = `create snapshot table \`my-proj.snaps.s\` clone \`my-proj.snaps.t\`
      options (expiration_timestamp = timestamp_add(current_timestamp(), interval 21 day), description = 'a, (b')`;
    const before = Date.now();
    await run(create);
    await run('insert into snaps.t values (2)');
    expect((await run('select n from snaps.s')).rows).toEqual([{ n: 1 }]);
    const { expirationTime, ...snapshot } = await tableOf('snaps', 's');
    expect(snapshot).toMatchObject({
      type: 'SNAPSHOT',
      snapshotDefinition: { baseTableReference: { projectId: 'my-proj', datasetId: 'snaps', tableId: 't' } },
    });
    expect(Math.abs(Number(expirationTime) - before - 21 * 86_400_000)).toBeLessThan(60_000);
    expect(await refused(run(create))).toMatchObject({ errors: [{ reason: 'duplicate' }] });
    await run(create.replace('snapshot table', 'snapshot table if not exists'));
    expect(await refused(run('insert into snaps.s values (3)'))).toMatchObject({
      errors: [{ reason: 'invalidQuery' }],
    });
    expect(await refused(run('drop table snaps.s'))).toMatchObject({ errors: [{ reason: 'invalidQuery' }] });
    await run("alter table snaps.s set options (expiration_timestamp = timestamp '2099-01-01')");
    expect(await tableOf('snaps', 's')).toMatchObject({ expirationTime: '4070908800000' });
    expect(
      (await run('select table_name, base_table_name from snaps.INFORMATION_SCHEMA.TABLE_SNAPSHOTS')).rows,
    ).toEqual([{ table_name: 's', base_table_name: 't' }]);
    await emulator.metadata.expire('my-proj.snaps.s');
    expect(await refused(run('select n from snaps.s'))).toMatchObject({ errors: [{ reason: 'notFound' }] });
    expect(await refused(tableOf('snaps', 's'))).toMatchObject({ code: 404 });
    await run('drop snapshot table if exists snaps.s');
    expect(await refused(run('drop snapshot table snaps.s'))).toMatchObject({ errors: [{ reason: 'notFound' }] });
    // Rows in the streaming buffer are read, and not in a snapshot.
    emulator.metadata.buffer('my-proj.snaps.t', 'n = 2');
    await run('create snapshot table snaps.s clone snaps.t');
    expect((await run('select n from snaps.s')).rows).toEqual([{ n: 1 }]);
    expect((await run('select count(*) as n from snaps.t')).rows).toEqual([{ n: 2 }]);
    expect(await tableOf('snaps', 't')).toHaveProperty('streamingBuffer');
    await run('drop snapshot table snaps.s');
  });

  test('metadata moves with each write, by table and by partition', async () => {
    await datasetNamed('meta');
    await run(
      'create table meta.t (day date, n int64) partition by day cluster by n options (require_partition_filter = true)',
    );
    await run("insert into meta.t values (date '2026-01-01', 1), (date '2026-01-02', 2), (null, 3)");
    const partitions = async () => {
      const { rows } = await run(
        "select partition_id, total_rows, unix_millis(last_modified_time) as at from `my-proj.meta.INFORMATION_SCHEMA.PARTITIONS` where table_name = 't' order by 1",
      );
      return Object.fromEntries(
        rows.map(({ partition_id, total_rows, at }) => [partition_id as string, [total_rows, at] as [number, number]]),
      );
    };
    const first = await partitions();
    expect(Object.entries(first).map(([id, [rows]]) => [id, rows])).toEqual([
      ['20260101', 1],
      ['20260102', 1],
      ['__NULL__', 1],
    ]);
    const one = await tableOf('meta', 't');
    expect(one).toMatchObject({
      numRows: '3',
      timePartitioning: { type: 'DAY', field: 'day' },
      clustering: { fields: ['n'] },
      requirePartitionFilter: true,
    });
    await run("update meta.t set n = 20 where day = date '2026-01-02'");
    const second = await partitions();
    expect(second['20260102']?.[1]).toBeGreaterThan(first['20260102']?.[1] ?? 0);
    expect([second['20260101'], second['__NULL__']]).toEqual([first['20260101'], first['__NULL__']]);
    const two = await tableOf('meta', 't');
    expect(Number(two['lastModifiedTime'])).toBeGreaterThan(Number(one['lastModifiedTime']));
    // Deleting alone moves the table's time and no partition's.
    await run("delete from meta.t where day = date '2026-01-01'");
    const third = await partitions();
    expect([third['20260101'], third['20260102']]).toEqual([undefined, second['20260102']]);
    expect(Number((await tableOf('meta', 't'))['lastModifiedTime'])).toBeGreaterThan(Number(two['lastModifiedTime']));
    // A statement that touches no row moves nothing.
    const three = await tableOf('meta', 't');
    await run('update meta.t set n = 1 where false');
    expect((await tableOf('meta', 't'))['lastModifiedTime']).toBe(three['lastModifiedTime']);
    await run('create table meta.r (id int64) partition by range_bucket(id, generate_array(0, 100, 10))');
    await run('insert into meta.r values (5), (15), (19), (500), (null)');
    expect(
      (
        await run(
          "select partition_id, total_rows from meta.INFORMATION_SCHEMA.PARTITIONS where table_name = 'r' order by 1",
        )
      ).rows,
    ).toEqual([
      { partition_id: '0', total_rows: 1 },
      { partition_id: '10', total_rows: 2 },
      { partition_id: '__NULL__', total_rows: 1 },
      { partition_id: '__UNPARTITIONED__', total_rows: 1 },
    ]);
    expect(await tableOf('meta', 'r')).toMatchObject({
      rangePartitioning: { field: 'id', range: { start: '0', end: '100', interval: '10' } },
    });
    await run('create table meta.i (id int64) partition by _partitiondate');
    await run("insert into meta.i (_partitiontime, id) values (timestamp '2026-01-03', 1)");
    expect(
      (await run('select id, _partitiontime as at from meta.i where _partitiondate = date "2026-01-03"')).rows,
    ).toMatchObject([{ id: 1 }]);
    expect(
      (await run("select partition_id from meta.INFORMATION_SCHEMA.PARTITIONS where table_name = 'i'")).rows,
    ).toEqual([{ partition_id: '20260103' }]);
    expect(
      (
        await run(
          "select column_name, is_hidden, is_partitioning_column as p from meta.INFORMATION_SCHEMA.COLUMNS where table_name = 'i' order by 1",
        )
      ).rows,
    ).toEqual([
      { column_name: '_PARTITIONTIME', is_hidden: 'YES', p: 'YES' },
      { column_name: 'id', is_hidden: 'NO', p: 'NO' },
    ]);
    await run('alter table meta.r rename to renamed');
    expect((await run('select count(*) as n from meta.renamed')).rows).toEqual([{ n: 5 }]);
    expect(await tableOf('meta', 'renamed')).toHaveProperty('rangePartitioning');
  });

  test('rights are recorded, bytes are limited, dry runs say how many', async () => {
    await datasetNamed('limits');
    await run("grant `roles/bigquery.dataViewer` on schema `my-proj.limits` to 'user:a@b.c'");
    expect(emulator.rights.at(-1)).toContain('dataViewer');
    emulator.interference.bytesOf = (sql) => (sql.includes('limits') ? 20_000_000 : 0);
    const [job] = await client.createQueryJob({ query: 'select 1 as limits', dryRun: true });
    expect(job.metadata).toMatchObject({ statistics: { totalBytesProcessed: '20000000' } });
    expect(await refused(client.createQueryJob({ query: 'select nothing', dryRun: true }))).toMatchObject({
      code: 400,
    });
    expect(await refused(run('select 1 as limits', { maximumBytesBilled: '10000000' }))).toMatchObject({
      errors: [{ reason: 'bytesBilledLimitExceeded' }],
    });
    expect((await run('select 1 as limits', { maximumBytesBilled: '30000000' })).rows).toEqual([{ limits: 1 }]);
  });

  test('a test may lose answers, refuse requests and hold jobs back', async () => {
    await datasetNamed('faults');
    await run('create table faults.t (n int64)');
    emulator.interference.onRequest = ({ sql }) => (sql?.includes('faults.t values') ? 'lost' : undefined);
    await refused(client.createQueryJob({ query: 'insert into faults.t values (1)', jobId: 'lost' }));
    emulator.interference.onRequest = ({ sql }) => (sql?.includes('faults.t values') ? 'cut' : undefined);
    await refused(client.createQueryJob({ query: 'insert into faults.t values (2)', jobId: 'cut' }));
    emulator.interference.onRequest = ({ path }) =>
      path === 'jobs' ? new Refusal('rateLimitExceeded', 'Exceeded rate limits') : undefined;
    expect(await refused(run('select 1'))).toMatchObject({ code: 403, errors: [{ reason: 'rateLimitExceeded' }] });
    delete emulator.interference.onRequest;
    expect((await run('select n from faults.t')).rows).toEqual([{ n: 1 }]);
    expect(
      await refused(client.createQueryJob({ query: 'insert into faults.t values (1)', jobId: 'lost' })),
    ).toMatchObject({ code: 409 });
    // A job that somebody else's orphan left: it is done after what came later.
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    emulator.interference.beforeJob = (sql) => (sql.includes('(3)') ? held : undefined);
    const [orphan] = await client.createQueryJob({ query: 'insert into faults.t values (3)', jobId: 'orphan' });
    expect(orphan.metadata).toMatchObject({ status: { state: 'PENDING' } });
    expect((await run('select count(*) as n from faults.t')).rows).toEqual([{ n: 1 }]);
    release();
    await orphan.getQueryResults();
    expect((await run('select count(*) as n from faults.t')).rows).toEqual([{ n: 2 }]);
    // One that is cancelled before it began does nothing.
    emulator.interference.beforeJob = (sql) => (sql.includes('(4)') ? new Promise(() => undefined) : undefined);
    const [cancelled] = await client.createQueryJob({ query: 'insert into faults.t values (4)', jobId: 'cancelled' });
    await cancelled.cancel();
    expect(await refused(cancelled.getQueryResults())).toMatchObject({ errors: [{ reason: 'stopped' }] });
  });

  // The reference evaluator has no GEOGRAPHY. Here it is DuckDB's, whose bytes are OGC's, as those of BigQuery are
  // documented to be; its text has a blank before the bracket that BigQuery's has not.
  test('the checksum of a GEOGRAPHY is that of its bytes, and its payload its text', async () => {
    const c: Column = { name: 'c', native: 'GEOGRAPHY', type: 'geo' };
    const { rows } = await run(
      `select n, ${bigquery.checksum([c])} as checksum, ${String(bigquery.jsonValue(c))} as payload
       from (select 1 as n, st_geogpoint(2.5, 48.25) as c union all select 2, st_geogfromtext('LINESTRING(0 0, 1 1)') union all select 3, null) order by n`,
    );
    const bytes = (kind: number, ...numbers: readonly (readonly [value: number, as: 'count' | 'place'])[]): string => {
      const made = Buffer.alloc(5 + numbers.reduce((n, [, as]) => n + (as === 'count' ? 4 : 8), 0));
      made.writeUInt8(1, 0);
      made.writeUInt32LE(kind, 1);
      let at = 5;
      for (const [value, as] of numbers)
        at = as === 'count' ? made.writeUInt32LE(value, at) : made.writeDoubleLE(value, at);
      return made.toString('hex');
    };
    const digest = (text: string): string => createHash('md5').update(text).digest('hex');
    const of = (hex: string): string => digest(`${hex.length}:${hex};`);
    const place = (value: number): readonly [number, 'place'] => [value, 'place'];
    expect(rows.map((row) => row['checksum'])).toEqual([
      of(bytes(1, place(2.5), place(48.25))),
      of(bytes(2, [2, 'count'], ...[0, 0, 1, 1].map(place))),
      digest(''),
    ]);
    expect(rows.map((row) => row['payload'])).toEqual(['"POINT (2.5 48.25)"', '"LINESTRING (0 0, 1 1)"', null]);
  });
});
