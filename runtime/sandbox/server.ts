import { isUtf8 } from 'node:buffer';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { FaultDice, type Faults } from './faults.ts';
import { countRecords, hasIdentityEvent, ingest, parseRecords } from './ingest.ts';
import { SandboxStore } from './store.ts';

/** A request, from a socket or from the same process. Header names may have any case. */
export interface SandboxRequest {
  method: string;
  url: string;
  headers: Record<string, string | undefined>;
  body: Uint8Array;
}

/** An answer; header names are lower case. */
export interface SandboxResponse {
  status: number;
  headers: Record<string, string>;
  body: string;
}

export interface SandboxOptions {
  path: string; // A file, or ':memory:'.
  /** Only inflates, counts and answers 200; stores and validates nothing. */
  discard?: boolean;
  faults?: Faults;
  now?: () => number;
  random?: () => number;
}

/** A local Mixpanel project that takes `POST /import`. */
export interface Sandbox {
  /** Random, stored in the file, made once. */
  readonly id: string;
  /** Answers one request; `reset` stands for a dropped connection. Rejects when the signal aborts before it stored. */
  handle(request: SandboxRequest, signal?: AbortSignal): Promise<SandboxResponse | 'reset'>;
  /** Runs SQL over `events` (what a report shows), `events_raw` (every copy) and `sandbox`. */
  query(sql: string): Promise<Record<string, unknown>[]>;
  /** Keeps an arbitrary copy of each (event, distinct_id, $insert_id, UTC day), as Mixpanel's compaction may. */
  compact(): Promise<void>;
  /** Requests handled, and records accepted, since it was opened. */
  readonly counts: { requests: number; records: number };
  close(): Promise<void>;
}

/** Sources: Mixpanel docs "Import Events"; the 413 text follows the OpenAPI "ingestion" example with the real limit. */
const MAX_EVENTS = 2000;
const MAX_BYTES = 10 * 1024 * 1024;

/** Source: Mixpanel OpenAPI "ingestion" (StrictReceived, StrictInvalid, StrictUnauthorized, StrictTooLarge). */
const STATUS = {
  200: 'OK',
  400: 'Bad Request',
  401: 'Unauthorized',
  404: 'Not Found',
  405: 'Method Not Allowed',
  413: 'Request Entity Too Large',
  429: 'Too Many Requests',
} as const;

const inflate = promisify<Uint8Array, { maxOutputLength: number; chunkSize: number }, Buffer>(gunzip);

/** Opens or creates a sandbox. */
export async function openSandbox(options: SandboxOptions): Promise<Sandbox> {
  const store = await SandboxStore.open(options.path, { oldestWins: options.faults?.oldestWins === true });
  return new LocalMixpanel(store, options);
}

class LocalMixpanel implements Sandbox {
  readonly counts = { requests: 0, records: 0 };
  readonly #store: SandboxStore;
  readonly #dice: FaultDice;
  readonly #discard: boolean;
  readonly #now: () => number;
  readonly #random: () => number;

  constructor(store: SandboxStore, options: SandboxOptions) {
    this.#store = store;
    this.#discard = options.discard === true;
    this.#now = options.now ?? Date.now;
    this.#random = options.random ?? Math.random;
    this.#dice = new FaultDice(options.faults ?? {}, this.#random);
  }

  get id(): string {
    return this.#store.id;
  }

  async handle(request: SandboxRequest, signal?: AbortSignal): Promise<SandboxResponse | 'reset'> {
    this.counts.requests++;
    signal?.throwIfAborted();
    if (this.#dice.strikes('resetBefore')) return 'reset';
    if (this.#dice.strikes('error5xx')) return badGateway(this.#random() < 0.5 ? 502 : 503);
    const response = await this.#import(request, signal);
    const { slowMs } = this.#dice.faults;
    if (slowMs !== undefined && slowMs > 0) await delay(slowMs, undefined, signal ? { signal } : {});
    return response;
  }

  query(sql: string): Promise<Record<string, unknown>[]> {
    return this.#store.query(sql);
  }

  compact(): Promise<void> {
    return this.#store.compact(this.#random());
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #import(request: SandboxRequest, signal: AbortSignal | undefined): Promise<SandboxResponse | 'reset'> {
    const url = new URL(request.url, 'http://sandbox');
    if (!/^\/import\/?$/.test(url.pathname)) return failure(404, `the sandbox has no ${url.pathname}`);
    if (request.method !== 'POST') return failure(405, 'only POST is allowed');
    const caller = authenticate(header(request, 'authorization'), url.searchParams.get('project_id') ?? '');
    if (typeof caller !== 'string') return caller;
    if (this.#dice.strikes('error429')) return this.#tooMany();
    const body = await read(request);
    if (!(body instanceof Uint8Array)) return body;
    const contentType = header(request, 'content-type') ?? '';
    const response = this.#discard
      ? this.#count(body, contentType)
      : await this.#ingest(caller, url.searchParams.get('strict'), body, contentType, signal);
    return response.status === 429 || !this.#dice.strikes('resetAfter') ? response : 'reset';
  }

  #count(body: Uint8Array, contentType: string): SandboxResponse {
    const records = countRecords(body, contentType);
    if (records === 0) return failure(400, 'data, missing or empty');
    if (records > MAX_EVENTS) return tooManyEvents;
    if (!this.#dice.admits(this.#now(), records, body.length)) return this.#tooMany();
    return this.#received(records);
  }

  async #ingest(
    project: string,
    strict: string | null,
    body: Uint8Array,
    contentType: string,
    signal: AbortSignal | undefined,
  ): Promise<SandboxResponse> {
    const records = parseRecords(new TextDecoder().decode(body), contentType);
    if (records === undefined) return failure(400, 'request body is not valid JSON');
    if (records.length === 0) return failure(400, 'data, missing or empty');
    if (records.length > MAX_EVENTS) return tooManyEvents;
    if (strict === null && isProbe(records)) return answer(400, { error: 'data, missing or empty', status: 0 });
    const now = this.#now();
    if (!this.#dice.admits(now, records.length, body.length)) return this.#tooMany();
    if (hasIdentityEvent(records)) return identityEvents;
    const { accepted, failed } = ingest(records, {
      now,
      refuse: (record) => this.#dice.refusal(record),
      malformed: !isUtf8(body),
      bytes: body.length,
    });
    const kept = accepted.filter((event) => !('$ignore' in event.properties) && !this.#dice.drops(event.event));
    await this.#store.append(project, now, kept, signal);
    if (this.#dice.strikes('compaction')) await this.compact();
    const response = this.#received(accepted.length);
    if (failed.length === 0 || strict === '0') return response;
    return failure(400, 'some data points in the request failed validation', {
      failed_records: failed,
      num_records_imported: accepted.length,
    });
  }

  #received(records: number): SandboxResponse {
    this.counts.records += records;
    return answer(200, { code: 200, num_records_imported: records, status: STATUS[200] });
  }

  #tooMany(): SandboxResponse {
    const { retryAfter } = this.#dice.faults;
    const response = failure(429, 'Project exceeded rate limits. Please retry the request with exponential backoff.');
    if (retryAfter !== undefined) response.headers['retry-after'] = String(retryAfter);
    return response;
  }
}

/** Strict ingestion's answers are JSON. Source: Mixpanel OpenAPI "ingestion". */
const answer = (status: number, body: unknown): SandboxResponse => ({
  status,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

const failure = (code: Exclude<keyof typeof STATUS, 200>, error: string, more: object = {}): SandboxResponse =>
  answer(code, { code, error, ...more, status: STATUS[code] });

const tooLarge = failure(413, `request exceeds max limit of ${MAX_BYTES} bytes`);
const tooManyEvents = failure(413, `request exceeds max limit of ${MAX_EVENTS} events`);

/** What a Simplified ID Merge project says of `$identify`, `$create_alias` and `$merge`: texts instead of objects. */
const identityEvents = failure(400, 'some data points in the request failed validation', {
  failed_records: ['identity events are not allowed when project is using simplified identity management'],
  num_records_imported: 0,
});

const badGateway = (status: number): SandboxResponse => ({
  status,
  headers: { 'content-type': 'text/html; charset=utf-8' },
  body: `<html><head><title>${status} Server Error</title></head><body><h1>Error: Server Error</h1></body></html>`,
});

/** Clients probe credentials with one empty event. Source: Mixpanel's Go client, `http_test.go`. */
const isProbe = (records: readonly unknown[]): boolean => records.length === 1 && JSON.stringify(records[0]) === '{}';

const header = (request: SandboxRequest, name: string): string | undefined =>
  request.headers[name] ??
  Object.entries(request.headers).find(([given, value]) => value !== undefined && given.toLowerCase() === name)?.[1];

/**
 * The project of the credentials: a service account names it by `project_id`, a project token or secret is the
 * Basic user with no password. Sources: Mixpanel docs "Service Accounts", "Project Token", "Import Events".
 */
function authenticate(authorization: string | undefined, projectId: string): string | SandboxResponse {
  const [, scheme = '', value = ''] = /^\s*(\w+)\s+(\S.*?)\s*$/.exec(authorization ?? '') ?? [];
  const bearer = scheme.toLowerCase() === 'bearer';
  if (!bearer && scheme.toLowerCase() !== 'basic') return unauthorized();
  const decoded = Buffer.from(value, 'base64').toString();
  const pair = value.includes(':') ? value : decoded;
  const colon = pair.indexOf(':');
  if (!bearer && colon < 1) return unauthorized();
  if (projectId !== '') return projectId;
  if (bearer || colon < pair.length - 1) return failure(400, 'project_id is required with a service account');
  return pair.slice(0, colon);
}

const unauthorized = (): SandboxResponse => failure(401, 'Invalid credentials');

/** The inflated body, or the refusal. Only gzip is documented. */
async function read(request: SandboxRequest): Promise<Uint8Array | SandboxResponse> {
  const encoding = header(request, 'content-encoding')?.toLowerCase() ?? 'identity';
  if (encoding === 'identity') return request.body.length > MAX_BYTES ? tooLarge : request.body;
  if (encoding !== 'gzip') return failure(400, `content encoding ${encoding} is not supported`);
  try {
    return await inflate(request.body, { maxOutputLength: MAX_BYTES, chunkSize: 256 * 1024 });
  } catch (error) {
    const large = error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE';
    return large ? tooLarge : failure(400, 'request body is not valid gzip');
  }
}

/** Serves a sandbox over HTTP; closing lets requests in flight end. */
export async function serveSandbox(
  sandbox: Sandbox,
  options: { port: number; host?: string },
): Promise<{ port: number; close(): Promise<void> }> {
  const host = options.host ?? '127.0.0.1';
  const running = new Set<Promise<void>>();
  const server = createServer((incoming, outgoing) => {
    const work = respond(sandbox, incoming, outgoing).finally(() => running.delete(work));
    running.add(work);
  });
  server.keepAliveTimeout = 60_000;
  const port = await listen(server, options.port, host);
  return {
    port,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      const patience = new Promise((resolve) => setTimeout(resolve, 2000).unref());
      while (running.size > 0 && (await Promise.race([Promise.all(running), patience])) !== undefined);
      server.closeAllConnections();
      await closed;
    },
  };
}

async function respond(sandbox: Sandbox, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  try {
    const { method = '', url = '', headers } = incoming;
    const flat = Object.fromEntries(Object.entries(headers).map(([k, v]) => [k, Array.isArray(v) ? v.join(', ') : v]));
    const response = await sandbox.handle({ method, url, headers: flat, body: await collect(incoming) });
    if (response === 'reset') {
      incoming.socket.resetAndDestroy();
      return;
    }
    // A client that was killed meanwhile has closed already: nothing would ever say that the answer ended.
    if (outgoing.destroyed || incoming.socket.destroyed) return;
    outgoing.writeHead(response.status, { ...response.headers, 'content-length': Buffer.byteLength(response.body) });
    await new Promise<void>((resolve) => {
      outgoing.once('close', resolve);
      outgoing.end(response.body, resolve);
    });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (!outgoing.headersSent) outgoing.writeHead(500, { 'content-type': 'text/plain; charset=utf-8' });
    outgoing.end(message);
  }
}

/** Keeps no more of a body than it takes to see that it is too large. */
async function collect(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    if (size <= MAX_BYTES) chunks.push(chunk);
    size += chunk.length;
  }
  return Buffer.concat(chunks);
}

function listen(server: Server, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'it is already in use' : error.message;
      reject(new Error(`The sandbox cannot listen on ${host}:${port}: ${why}.`, { cause: error }));
    });
    server.listen(port, host, () => {
      const address = server.address();
      resolve(typeof address === 'object' && address ? address.port : port);
    });
  });
}
