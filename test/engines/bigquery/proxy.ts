import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { INGESTED, Metadata } from './metadata.ts';
import { errorOf, problemOf, Refusal, statusOf } from './refusal.ts';
import { fullName, inlined, type Parameter, read, replaceCode, spelled, statementsOf } from './rewrite.ts';

type Json = Record<string, unknown>;

interface Job {
  readonly reference: { readonly projectId: string; readonly jobId: string; readonly location: string };
  readonly configuration: Json;
  readonly sql: string;
  readonly startMs: number;
  state: 'PENDING' | 'RUNNING' | 'DONE';
  failure: Refusal | undefined;
  endMs: number | undefined;
  /** The emulator's job that has the rows. */
  inner: string | undefined;
  affected: string | undefined;
  bytes: number;
  kind: string;
  done: Promise<void>;
}

/** What a request is, for a test that interferes. */
export interface Seen {
  readonly method: string;
  /** Without `/bigquery/v2/projects/<project>`. */
  readonly path: string;
  /** Of a job that is started. */
  readonly sql: string | undefined;
}

/** What a test does to requests and jobs; all of it may change while the proxy runs. */
export interface Interference {
  /** `cut`: nothing is done and the connection ends; `lost`: it is done, and the answer does not arrive; a refusal is answered. */
  onRequest?: (request: Seen) => 'cut' | 'lost' | Refusal | undefined;
  /** A job waits for it before it does anything; it may throw a refusal, which the job fails with. */
  beforeJob?: (sql: string) => Promise<void> | undefined;
  /** Bytes that a statement reads; what `maximumBytesBilled` is compared with, and dry runs answer. Default: 0. */
  bytesOf?: (sql: string) => number;
}

export interface Proxy {
  /** For `apiEndpoint`. */
  readonly endpoint: string;
  readonly metadata: Metadata;
  readonly interference: Interference;
  /** Statements of GRANT and REVOKE, in order: they change nothing. */
  readonly rights: readonly string[];
  /** Every job that was started, with its labels, in that order. */
  readonly jobs: readonly {
    readonly id: string;
    readonly sql: string;
    readonly labels: Json;
    readonly failure: string | undefined;
    readonly startMs: number;
    /** Undefined while it runs. */
    readonly endMs: number | undefined;
  }[];
  /** Runs statements as the emulator's own, past all interference. @returns the rows of the last one. @throws Refusal */
  query(sql: string): Promise<Record<string, string | null>[]>;
  stop(): Promise<void>;
}

/**
 * Stands before the emulator, and gives what BigQuery gives and the emulator does not: a job id once, labels, limits of
 * bytes, errors as errors, snapshots with options, metadata that moves with each write, scripts with parameters.
 * @param emulator its address, `http://127.0.0.1:…`
 */
export async function startProxy(emulator: string): Promise<Proxy> {
  const jobs = new Map<string, Job>();
  const rights: string[] = [];
  const interference: Interference = {};

  const ask = async (method: string, path: string, body?: unknown): Promise<{ status: number; answer: Json }> => {
    const response = await fetch(`${emulator}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
    const text = await response.text();
    return { status: response.status, answer: text === '' ? {} : (JSON.parse(text) as Json) };
  };

  /** Runs one statement in the emulator. @returns the id of its job there. @throws Refusal */
  const runInner = async (
    project: string,
    query: string,
    configuration: Json = {},
  ): Promise<{ id: string; job: Json }> => {
    const id = `inner_${randomUUID()}`;
    const { answer } = await ask('POST', `/bigquery/v2/projects/${project}/jobs`, {
      jobReference: { projectId: project, jobId: id },
      configuration: { query: { ...configuration, query, useLegacySql: false } },
    });
    const failure = ((answer['status'] as Json | undefined)?.['errorResult'] ??
      ((answer['error'] as Json | undefined)?.['errors'] as Json[] | undefined)?.[0]) as
      { reason?: string; message?: string } | undefined;
    if (failure) throw new Refusal(failure.reason ?? 'invalidQuery', failure.message ?? 'it failed');
    return { id, job: answer };
  };
  const rowsOf = async (project: string, id: string): Promise<Record<string, string | null>[]> => {
    const rows: Record<string, string | null>[] = [];
    for (let token: string | undefined = ''; token !== undefined;) {
      const more: string = token === '' ? '' : `&pageToken=${token}`;
      const { answer } = await ask('GET', `/bigquery/v2/projects/${project}/queries/${id}?maxResults=10000${more}`);
      const names = ((answer['schema'] as Json | undefined)?.['fields'] as { name: string }[] | undefined) ?? [];
      for (const { f } of (answer['rows'] ?? []) as { f: { v: string | null }[] }[])
        rows.push(Object.fromEntries(names.map(({ name }, i) => [name, f[i]?.v ?? null])));
      token = answer['pageToken'] as string | undefined;
    }
    return rows;
  };
  const queryIn = async (project: string, sql: string): Promise<Record<string, string | null>[]> =>
    rowsOf(project, (await runInner(project, spelled(sql))).id);

  const metadata = new Metadata(ask, queryIn);

  /** Runs a statement of a job, with what the proxy does of it. */
  const step = async (job: Job, given: string, temporary: Map<string, string>): Promise<void> => {
    const project = job.reference.projectId;
    let statement = given;
    for (const [name, real] of temporary) {
      statement = statement.replaceAll(`\`${name}\``, name);
      // Its columns keep its name; a name after a dot is another's.
      statement = replaceCode(statement, new RegExp(`(?<![.\\w])${name}(?![.\\w])`, 'g'), real);
    }
    const about = read(statement);
    const name =
      'name' in about
        ? fullName(about.name, project, about.what === 'alter schema' || about.what === 'drop schema' ? 2 : 3)
        : '';
    job.inner = undefined;
    job.affected = undefined;
    switch (about.what) {
      case 'rights':
        rights.push(statement);
        job.kind = /^grant/i.test(statement) ? 'GRANT' : 'REVOKE';
        return;
      case 'snapshot':
        job.kind = 'CREATE_SNAPSHOT_TABLE';
        return metadata.snapshot(name, fullName(about.of, project), about);
      case 'drop snapshot':
        job.kind = 'DROP_SNAPSHOT_TABLE';
        return metadata.drop(name, about.ifExists, true);
      case 'drop table':
        job.kind = 'DROP_TABLE';
        return metadata.drop(name, about.ifExists, false);
      case 'alter table':
        job.kind = 'ALTER_TABLE';
        return metadata.alter(name, about);
      case 'alter schema':
        job.kind = 'ALTER_SCHEMA';
        return;
      case 'rename':
        job.kind = 'ALTER_TABLE';
        return metadata.rename(
          name,
          fullName([...name.split('.').slice(0, 2), about.to].join('.'), project),
          about.ifExists,
        );
      case 'drop schema':
        metadata.forgetDataset(name);
        break;
      case 'temp table': {
        const real = `\`${await metadata.temporary(project, job.reference.jobId)}\`.${about.name}`;
        temporary.set(about.name, real);
        statement = `create table ${real}${about.rest}`;
        break;
      }
      case 'insert':
      case 'update':
      case 'delete':
      case 'merge':
      case 'truncate':
        await metadata.refuseSnapshot(name);
        break;
      case 'create table':
        if (about.partitionBy !== undefined && /_partition/i.test(about.partitionBy))
          statement = statement
            .replace('(', `(${INGESTED} timestamp, `)
            .replace(/\bpartition\s+by\s+(_partition(time|date)|\w+\s*\([^)]*\))/i, '');
        break;
      case 'other':
        break;
    }
    statement = replaceCode(
      replaceCode(statement, /\b_partitiontime\b/gi, INGESTED),
      /\b_partitiondate\b/gi,
      `date(${INGESTED})`,
    );
    const { text, rest } = asked(job.configuration, spelled(await metadata.views(statement, project)));
    const { id, job: inner } = await runInner(project, text, rest);
    job.inner = id;
    const statistics = ((inner['statistics'] as Json | undefined)?.['query'] ?? {}) as Json;
    job.kind = (statistics['statementType'] as string | undefined) ?? 'SELECT';
    job.affected = statistics['numDmlAffectedRows'] as string | undefined;
    if (about.what === 'create table') await metadata.created(name, about);
    else if (isWrite(about.what) && job.affected !== '0') metadata.written(name, about.what);
  };

  const work = async (job: Job): Promise<void> => {
    const temporary = new Map<string, string>();
    try {
      await interference.beforeJob?.(job.sql);
      // It may have been cancelled meanwhile.
      if ((job.state as string) === 'DONE') return;
      job.state = 'RUNNING';
      job.bytes = interference.bytesOf?.(job.sql) ?? 0;
      const { maximumBytesBilled: limit } = job.configuration['query'] as { maximumBytesBilled?: string };
      if (limit !== undefined && job.bytes > Number(limit))
        throw new Refusal(
          'bytesBilledLimitExceeded',
          `Query exceeded limit for bytes billed: ${limit}. ${job.bytes} or higher required.`,
        );
      const statements = statementsOf(job.sql);
      for (const statement of statements) await step(job, statement, temporary);
      // Those of a script are its children's, which are not made here.
      if (statements.length > 1) job.affected = undefined;
      if (statements.length > 1) job.kind = 'SCRIPT';
    } catch (error) {
      job.failure = error instanceof Refusal ? error : new Refusal('internalError', String(error));
    } finally {
      if (temporary.size > 0) await metadata.dropTemporary(job.reference.projectId, job.reference.jobId);
      job.state = 'DONE';
      job.endMs ??= Date.now();
    }
  };

  const resource = (job: Job): Json => ({
    kind: 'bigquery#job',
    id: `${job.reference.projectId}:${job.reference.location}.${job.reference.jobId}`,
    jobReference: job.reference,
    configuration: job.configuration,
    status: {
      state: job.state,
      ...(job.failure && job.state === 'DONE'
        ? { errorResult: problemOf(job.failure), errors: [problemOf(job.failure)] }
        : {}),
    },
    statistics: {
      creationTime: String(job.startMs),
      startTime: String(job.startMs),
      ...(job.endMs === undefined ? {} : { endTime: String(job.endMs) }),
      totalBytesProcessed: String(job.bytes),
      query: {
        statementType: job.kind,
        totalBytesProcessed: String(job.bytes),
        totalBytesBilled: String(job.failure ? 0 : job.bytes),
        ...(job.affected === undefined ? {} : { numDmlAffectedRows: job.affected }),
      },
    },
  });

  const insert = async (project: string, body: Json): Promise<Json> => {
    const given = (body['jobReference'] ?? {}) as { jobId?: string; location?: string };
    const configuration = (body['configuration'] ?? {}) as Json;
    const query = configuration['query'] as { query: string } | undefined;
    if (query === undefined) throw new Refusal('notImplemented', 'The proxy runs query jobs only.');
    const reference = {
      projectId: project,
      jobId: given.jobId ?? `job_${randomUUID()}`,
      location: given.location ?? 'US',
    };
    const job: Job = {
      reference,
      configuration: { jobType: 'QUERY', ...configuration },
      sql: query.query,
      startMs: Date.now(),
      state: 'PENDING',
      failure: undefined,
      endMs: undefined,
      inner: undefined,
      affected: undefined,
      bytes: 0,
      kind: 'SELECT',
      done: Promise.resolve(),
    };
    if (configuration['dryRun'] === true) {
      // The emulator validates a single statement; a script's later ones name what its earlier ones make.
      const statements = statementsOf(job.sql);
      const [statement = ''] = statements;
      const { text, rest } = asked(configuration, spelled(await metadata.views(statement, project)));
      if (statements.length === 1 && read(statement).what === 'other') {
        const { answer } = await ask('POST', `/bigquery/v2/projects/${project}/jobs`, {
          configuration: {
            dryRun: true,
            query: {
              ...rest,
              query: text,
              useLegacySql: false,
            },
          },
        });
        const error = ((answer['error'] as Json | undefined)?.['errors'] as Json[] | undefined)?.[0];
        const failure = (error ?? (answer['status'] as Json | undefined)?.['errorResult']) as
          { reason: string; message: string } | undefined;
        if (failure) throw new Refusal(failure.reason, failure.message);
      }
      job.bytes = interference.bytesOf?.(job.sql) ?? 0;
      job.state = 'DONE';
      return resource(job);
    }
    const id = `${project}:${reference.jobId}`;
    if (jobs.has(id))
      throw new Refusal('duplicate', `Already Exists: Job ${project}:${reference.location}.${reference.jobId}`);
    jobs.set(id, job);
    job.done = work(job);
    // A short one is done by the time of the answer; one that is held back is not.
    await Promise.race([job.done, interference.beforeJob === undefined ? job.done : pause(50)]);
    return resource(job);
  };

  const results = async (project: string, jobId: string, search: URLSearchParams): Promise<Json> => {
    const job = found(project, jobId);
    await Promise.race([job.done, pause(Math.min(Number(search.get('timeoutMs') ?? 10_000), 10_000))]);
    const { reference: jobReference } = job;
    if (job.state !== 'DONE') return { kind: 'bigquery#getQueryResultsResponse', jobReference, jobComplete: false };
    if (job.failure) throw job.failure;
    const done = { jobReference, jobComplete: true, totalBytesProcessed: String(job.bytes), cacheHit: false };
    const dml = job.affected === undefined ? {} : { numDmlAffectedRows: job.affected };
    if (job.inner === undefined)
      return { kind: 'bigquery#getQueryResultsResponse', schema: { fields: [] }, totalRows: '0', ...done, ...dml };
    const { answer } = await ask('GET', `/bigquery/v2/projects/${project}/queries/${job.inner}?${search.toString()}`);
    return { ...without(answer, 'numDmlAffectedRows'), ...done, ...dml };
  };

  const found = (project: string, jobId: string): Job => {
    const job = jobs.get(`${project}:${jobId}`);
    if (job === undefined) throw new Refusal('notFound', `Not found: Job ${project}:${jobId}`);
    return job;
  };

  /** @returns what is answered; undefined for what the emulator answers by itself */
  const answered = async (
    method: string,
    path: string,
    project: string,
    search: URLSearchParams,
    body: Json,
  ): Promise<Json | undefined> => {
    const [first, second, third, fourth] = path.split('/');
    if (first === 'jobs' && method === 'POST' && second === undefined) return insert(project, body);
    if (first === 'jobs' && method === 'GET' && second !== undefined) return resource(found(project, second));
    if (first === 'jobs' && method === 'POST' && third === 'cancel') {
      const job = found(project, second ?? '');
      // What runs in the emulator runs to its end; what waits does not begin.
      if (job.state === 'PENDING') {
        job.failure = new Refusal('stopped', 'Job execution was cancelled: User requested cancellation');
        job.state = 'DONE';
        job.endMs = Date.now();
        job.done = Promise.resolve();
      }
      return { kind: 'bigquery#jobCancelResponse', job: resource(job) };
    }
    if (first === 'queries' && method === 'POST') {
      const { labels, dryRun, jobTimeoutMs, maxResults } = body;
      const configuration = {
        query: without(body, 'labels', 'dryRun', 'jobTimeoutMs', 'maxResults', 'requestId', 'timeoutMs', 'location'),
        jobTimeoutMs,
        ...(labels === undefined ? {} : { labels }),
        ...(dryRun === undefined ? {} : { dryRun }),
      };
      const job = await insert(project, { configuration, jobReference: { location: body['location'] } });
      const { jobId } = job['jobReference'] as { jobId: string };
      if (dryRun === true) return { ...job, jobComplete: true };
      const page = new URLSearchParams({ 'formatOptions.useInt64Timestamp': 'true' });
      if (typeof maxResults === 'number') page.set('maxResults', String(maxResults));
      return results(project, jobId, page);
    }
    if (first === 'queries' && method === 'GET' && second !== undefined) return results(project, second, search);
    if (first === 'datasets' && third === 'tables' && fourth !== undefined && method === 'GET')
      return metadata.table(`${project}.${second ?? ''}.${fourth}`);
    return undefined;
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const url = new URL(request.url ?? '/', 'http://proxy');
    const [, project = '', path = ''] = /^\/bigquery\/v2\/projects\/([^/]+)\/?(.*)$/.exec(url.pathname) ?? [];
    const method = request.method ?? 'GET';
    let body: Json = {};
    if (text.startsWith('{')) body = JSON.parse(text) as Json;
    const query =
      ((body['configuration'] as Json | undefined)?.['query'] as Json | undefined)?.['query'] ?? body['query'];
    const interfered = interference.onRequest?.({ method, path, sql: query as string | undefined });
    if (interfered === 'cut') return void request.socket.destroy();
    let status = 200;
    let answer: Json | undefined;
    try {
      if (interfered instanceof Refusal) throw interfered;
      answer = await answered(method, decodeURIComponent(path), project, url.searchParams, body);
      if (answer === undefined)
        ({ status, answer } = await ask(method, `${url.pathname}${url.search}`, text === '' ? undefined : body));
      const [, dataset, , table, rows] = path.split('/');
      if (rows === 'insertAll') metadata.written([project, dataset, table].join('.'), 'insert');
    } catch (error) {
      const refusal = error instanceof Refusal ? error : new Refusal('internalError', String(error));
      status = statusOf(refusal.reason);
      answer = errorOf(refusal);
    }
    if (interfered === 'lost') return void request.socket.destroy();
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
  };

  const server = createServer((request, response) => void handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    metadata,
    interference,
    rights,
    get jobs() {
      return [...jobs.values()].map((job) => ({
        id: job.reference.jobId,
        sql: job.sql,
        labels: (job.configuration['labels'] ?? {}) as Json,
        failure: job.failure?.reason,
        startMs: job.startMs,
        endMs: job.endMs,
      }));
    },
    async query(sql) {
      let rows: Record<string, string | null>[] = [];
      for (const statement of statementsOf(sql)) rows = await queryIn('p', statement);
      return rows;
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms).unref());

const without = (from: Json, ...names: readonly string[]): Json =>
  Object.fromEntries(Object.entries(from).filter(([name]) => !names.includes(name)));

const isWrite = (what: string): boolean => ['insert', 'update', 'delete', 'merge', 'truncate'].includes(what);

/** A statement with its parameters' values, and how the emulator is asked to run it. */
function asked(configuration: Json, statement: string): { readonly text: string; readonly rest: Json } {
  const query = configuration['query'] as Json;
  const given = (query['queryParameters'] ?? []) as readonly Parameter[];
  const { text, left } = inlined(statement, given);
  const rest = without(query, 'queryParameters', 'parameterMode', 'query', 'maximumBytesBilled');
  return {
    text,
    rest: left.length === 0 ? rest : { ...rest, parameterMode: query['parameterMode'], queryParameters: left },
  };
}
