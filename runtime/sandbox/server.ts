import { createServer } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import type { Faults } from './faults.ts';
import { NO_FAULTS } from './faults.ts';
import { ingest } from './ingest.ts';
import { Store } from './store.ts';

export interface SandboxRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: Uint8Array;
}

export interface SandboxResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** A local Mixpanel. `reset` means that the connection is cut instead of answered. */
export interface Sandbox {
  /** Random, made once for a file: a state remembers which sandbox it was filled from. */
  readonly id: string;
  readonly counts: { requests: number; records: number };
  handle(request: SandboxRequest, signal?: AbortSignal): Promise<SandboxResponse | 'reset'>;
  query(sql: string): Promise<Record<string, unknown>[]>;
  compact(): Promise<void>;
  close(): Promise<void>;
}

export interface SandboxOptions {
  /** A DuckDB file, or `:memory:`. */
  readonly path: string;
  /** Count and answer, store nothing. */
  readonly discard?: boolean;
  readonly faults?: Faults;
  readonly now?: () => number;
  readonly random?: () => number;
}

const inflate = promisify(gunzip) as (body: Uint8Array) => Promise<Buffer>;
const MAX_RECORDS = 2000;
const MAX_BYTES = 10 * 1024 * 1024;

const json = (status: number, body: object, headers: Record<string, string> = {}): SandboxResponse => ({
  status,
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
});
const failure = (code: number, status: string, error: string, headers?: Record<string, string>): SandboxResponse =>
  json(code, { code, error, status }, headers);

export async function openSandbox(options: SandboxOptions): Promise<Sandbox> {
  const faults = options.faults ?? NO_FAULTS;
  const now = options.now ?? Date.now;
  const chance = (p: number): boolean => p > 0 && (options.random ?? Math.random)() < p;
  const store = await Store.open(options.path, faults.oldestWins);
  const counts = { requests: 0, records: 0 };

  const handle = async (request: SandboxRequest): Promise<SandboxResponse | 'reset'> => {
    counts.requests++;
    const url = new URL(request.url, 'http://sandbox');
    if (request.method !== 'POST' || url.pathname !== '/import')
      return failure(404, 'Not Found', `the sandbox has no ${request.method} ${url.pathname}`);
    const project = projectOf(url, request.headers['authorization']);
    if (project === undefined) return failure(401, 'Unauthorized', 'Invalid credentials');
    if (faults.slowMs > 0) await new Promise((resolve) => setTimeout(resolve, faults.slowMs));
    if (chance(faults.resetBefore)) return 'reset';
    if (chance(faults.error429))
      return failure(
        429,
        'Too Many Requests',
        'Project exceeded rate limits. Please retry the request with exponential backoff.',
        faults.retryAfter === null ? {} : { 'retry-after': String(faults.retryAfter) },
      );
    if (chance(faults.error5xx))
      return {
        status: 503,
        headers: { 'content-type': 'text/html' },
        body: '<html><h1>503 Service Unavailable</h1></html>',
      };
    let text: string;
    try {
      const body =
        request.headers['content-encoding'] === 'gzip' ? await inflate(request.body) : Buffer.from(request.body);
      if (body.length > MAX_BYTES)
        return failure(413, 'Request Entity Too Large', `request exceeds max limit of ${MAX_BYTES} bytes`);
      if (options.discard) {
        const records = lines(body);
        counts.records += records;
        return json(200, { code: 200, num_records_imported: records, status: 'OK' });
      }
      text = body.toString('utf8');
    } catch {
      return failure(400, 'Bad Request', 'the body is not gzip');
    }
    const batch = parseBatch(text);
    if (batch === undefined) return failure(400, 'Bad Request', 'data, invalid JSON');
    if (batch.length === 0) return failure(400, 'Bad Request', 'data, missing or empty');
    if (batch.length > MAX_RECORDS)
      return failure(413, 'Request Entity Too Large', `request exceeds max limit of ${MAX_RECORDS} events`);
    const { accepted, failed } = ingest(batch, now(), faults.refuse);
    await store.add(
      project,
      accepted.filter((e) => !faults.drop.includes(e.event)),
      now(),
    );
    counts.records += accepted.length;
    if (chance(faults.resetAfter)) return 'reset';
    if (failed.length === 0) return json(200, { code: 200, num_records_imported: accepted.length, status: 'OK' });
    return json(400, {
      code: 400,
      error: 'some data points in the request failed validation',
      failed_records: failed,
      num_records_imported: accepted.length,
      status: 'Bad Request',
    });
  };

  return {
    id: store.id,
    counts,
    handle,
    query: (sql) => store.query(sql),
    compact: () => store.compact(),
    close: () => store.close(),
  };
}

/** A service account names its project in the query; a token as user is the project. */
function projectOf(url: URL, authorization: string | undefined): string | undefined {
  const encoded = /^Basic (.+)$/i.exec(authorization ?? '')?.[1];
  if (encoded === undefined) return undefined;
  const [user = '', secret = ''] = Buffer.from(encoded, 'base64').toString('utf8').split(':');
  if (user === '') return undefined;
  return url.searchParams.get('project_id') ?? (secret === '' ? user : undefined);
}

/** A JSON array, or one event a line. */
function parseBatch(text: string): readonly unknown[] | undefined {
  try {
    if (text.trimStart().startsWith('[')) return JSON.parse(text) as unknown[];
    return text
      .split('\n')
      .filter((l) => l.trim() !== '')
      .map((l) => JSON.parse(l) as unknown);
  } catch {
    return undefined;
  }
}

function lines(body: Buffer): number {
  let n = 1;
  for (let at = body.indexOf(10); at >= 0 && at < body.length - 1; at = body.indexOf(10, at + 1)) n++;
  return n;
}

/** Serves a sandbox over HTTP on 127.0.0.1. */
export async function serveSandbox(
  sandbox: Sandbox,
  options: { readonly port: number },
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const server = createServer((request, response) => {
    void (async () => {
      const body = await read(request);
      const headers = Object.fromEntries(
        Object.entries(request.headers).map(([k, v]) => [k, Array.isArray(v) ? v[0] : v]),
      );
      const answer = await sandbox.handle({ method: request.method ?? 'GET', url: request.url ?? '/', headers, body });
      if (answer === 'reset') return void request.socket.destroy();
      response.writeHead(answer.status, { ...answer.headers }).end(answer.body);
    })().catch(() => request.socket.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        error.code === 'EADDRINUSE'
          ? new Error(`Port ${options.port} is in use. Give the sandbox another one with --port.`)
          : error,
      ),
    );
    server.listen(options.port, '127.0.0.1', resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
