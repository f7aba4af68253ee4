import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { errorOf, problemOf, Refusal, statusOf } from './refusal.ts';

type Json = Record<string, unknown>;

/** A request as the service gets it. */
export interface Asked {
  /** `jobs.insert`, `jobs.get`, `jobs.cancel`, `jobs.query`, `getQueryResults`, `tables.get`, `datasets.get`, or the method and path of another. */
  readonly call: string;
  /** The job's or the table's name, where there is one. */
  readonly id: string;
  readonly sql: string | undefined;
  readonly body: Json;
  readonly search: URLSearchParams;
  /** The header that says who asks. */
  readonly authorization: string | undefined;
}

/** What is answered. */
export type Answer =
  /** A job that is done, with rows; values are texts or null, as in the service's own JSON. */
  | {
      readonly rows?: readonly Readonly<Record<string, string | null>>[];
      readonly types?: Readonly<Record<string, string>>;
      readonly affected?: number;
      readonly bytes?: number;
    }
  /** A job that was taken and failed: its state is DONE, and its rows are this error. */
  | { readonly failed: Refusal }
  /** A job that runs until it was asked for so often. */
  | { readonly runs: number; readonly then: Answer }
  /** The request itself is refused; nothing is on record. */
  | { readonly refused: Refusal }
  /** The request is done as `then` says, and the connection ends before its answer. */
  | { readonly lost: Answer }
  /** Nothing is done, and the connection ends. */
  | 'cut'
  /** As it stands: for tables.get and datasets.get. */
  | { readonly resource: Json };

/** @returns undefined: the usual answer, a job that is done and has no rows; 404 for tables and datasets. Until a promise of an answer is kept nothing of the request is done */
export type Script = (asked: Asked) => Answer | undefined | Promise<Answer | undefined>;

export interface Scripted {
  readonly endpoint: string;
  /** All requests so far, as `call id`. */
  readonly asked: readonly string[];
  stop(): Promise<void>;
}

type Ended = Exclude<
  Answer,
  'cut' | { readonly refused: Refusal } | { readonly lost: Answer } | { readonly resource: Json }
>;

interface Job {
  readonly reference: Json;
  readonly configuration: Json;
  end: Ended;
  waits: number;
}

const PATHS: readonly (readonly [string, RegExp])[] = [
  ['POST jobs.cancel', /^jobs\/([^/]+)\/cancel$/],
  ['GET jobs.get', /^jobs\/([^/]+)$/],
  ['POST jobs.insert', /^jobs$/],
  ['POST jobs.query', /^queries$/],
  ['GET getQueryResults', /^queries\/([^/]+)$/],
  ['GET tables.get', /^datasets\/([^/]+\/tables\/[^/]+)$/],
  ['GET datasets.get', /^datasets\/([^/]+)$/],
];

/**
 * A service that answers what a test says: for what no emulator has. Jobs whose id was used are refused with 409, unless
 * the script says otherwise; a cancelled job that runs has failed with `stopped`.
 */
export async function startScripted(script: Script): Promise<Scripted> {
  const jobs = new Map<string, Job>();
  const asked: string[] = [];
  let made = 0;

  const endOf = (job: Job): Ended => {
    while ('runs' in job.end && job.waits >= job.end.runs) {
      job.end = job.end.then as Ended;
      job.waits = 0;
    }
    return job.end;
  };
  const resource = (job: Job): Json => {
    const end = endOf(job);
    const failure = 'failed' in end ? problemOf(end.failed) : undefined;
    const { affected, bytes = 0 } = ('affected' in end || 'bytes' in end ? end : {}) as {
      affected?: number;
      bytes?: number;
    };
    return {
      kind: 'bigquery#job',
      id: `${String(job.reference['projectId'])}:US.${String(job.reference['jobId'])}`,
      jobReference: job.reference,
      configuration: job.configuration,
      status: {
        state: 'runs' in end ? 'RUNNING' : 'DONE',
        ...(failure && { errorResult: failure, errors: [failure] }),
      },
      statistics: {
        totalBytesProcessed: String(bytes),
        query: {
          totalBytesProcessed: String(bytes),
          ...(affected === undefined ? {} : { numDmlAffectedRows: String(affected) }),
        },
      },
    };
  };
  const results = (job: Job): Json | Refusal => {
    const end = endOf(job);
    const common = { kind: 'bigquery#getQueryResultsResponse', jobReference: job.reference };
    if ('runs' in end) return { ...common, jobComplete: false };
    if ('failed' in end) return end.failed;
    const { rows = [], types = {}, affected } = end;
    const names = Object.keys(rows[0] ?? types);
    return {
      ...common,
      jobComplete: true,
      schema: { fields: names.map((name) => ({ name, type: types[name] ?? 'STRING', mode: 'NULLABLE' })) },
      rows: rows.map((row) => ({ f: names.map((name) => ({ v: row[name] ?? null })) })),
      totalRows: String(rows.length),
      ...(affected === undefined ? {} : { numDmlAffectedRows: String(affected) }),
    };
  };

  /** @returns what is answered, or undefined where the connection ends */
  const serve = async (request: Asked, project: string): Promise<Json | Refusal | undefined> => {
    const said = await script(request);
    if (said === 'cut') return undefined;
    const isLost = said !== undefined && 'lost' in said;
    const answer = isLost ? said.lost : said;
    const done = act(request, project, answer);
    return isLost ? undefined : done;
  };
  const act = (request: Asked, project: string, answer: Answer | undefined): Json | Refusal | undefined => {
    if (answer === 'cut') return undefined;
    if (answer !== undefined && 'refused' in answer) return answer.refused;
    if (answer !== undefined && 'resource' in answer) return answer.resource;
    const { call, id, body } = request;
    if (call === 'jobs.insert' || call === 'jobs.query') {
      const configuration = call === 'jobs.query' ? { query: body } : ((body['configuration'] ?? {}) as Json);
      const jobId = id === '' ? `made_${++made}` : id;
      const job: Job = {
        reference: { projectId: project, jobId, location: 'US' },
        configuration,
        end: (answer ?? {}) as Ended,
        waits: 0,
      };
      if (jobs.has(jobId)) return gone('duplicate', `Already Exists: Job ${project}:US.${jobId}`);
      if (configuration['dryRun'] !== true) jobs.set(jobId, job);
      return call === 'jobs.query' ? results(job) : resource(job);
    }
    const job = jobs.get(id);
    if (job === undefined)
      return gone(
        'notFound',
        `Not found: ${call === 'tables.get' ? 'Table' : call === 'datasets.get' ? 'Dataset' : 'Job'} ${project}:${id.replace('/tables/', '.')}`,
      );
    if (answer !== undefined) job.end = answer as Ended;
    if (call === 'jobs.cancel') {
      if ('runs' in endOf(job))
        job.end = { failed: gone('stopped', 'Job execution was cancelled: User requested cancellation') };
      return { kind: 'bigquery#jobCancelResponse', job: resource(job) };
    }
    if (call === 'jobs.get' || call === 'getQueryResults') job.waits++;
    return call === 'getQueryResults' ? results(job) : resource(job);
  };
  const gone = (reason: string, message: string): Refusal => new Refusal(reason, message);

  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    const end = async (): Promise<void> => {
      const text = Buffer.concat(chunks).toString();
      const body = text.startsWith('{') ? (JSON.parse(text) as Json) : {};
      const url = new URL(request.url ?? '/', 'http://scripted');
      const [, project = '', path = ''] = /^\/bigquery\/v2\/projects\/([^/]+)\/?(.*)$/.exec(url.pathname) ?? [];
      const method = request.method ?? 'GET';
      const [name] = PATHS.find(([kind, pattern]) => kind.startsWith(`${method} `) && pattern.test(path)) ?? [
        `${method} ${path}`,
      ];
      const call = name.split(' ')[1] ?? name;
      const inPath = PATHS.find(([kind]) => kind === name)?.[1].exec(path)?.[1];
      const id = decodeURIComponent(
        inPath ?? (((body['jobReference'] as Json | undefined)?.['jobId'] ?? '') as string),
      );
      const query =
        (body['configuration'] as { query?: { query?: string } } | undefined)?.query?.query ??
        (body['query'] as string | undefined);
      asked.push(`${call} ${id}`);
      const answer = await serve(
        { call, id, sql: query, body, search: url.searchParams, authorization: request.headers.authorization },
        project,
      );
      if (answer === undefined) return void request.socket.destroy();
      const isRefusal = answer instanceof Refusal;
      const status = isRefusal ? statusOf(answer.reason) : 200;
      const json = isRefusal ? errorOf(answer) : answer;
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json));
    };
    request.on('end', () => void end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
