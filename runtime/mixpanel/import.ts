import { RunError } from '../errors.ts';
import type { World } from '../world.ts';
import type { RateLimit, Retry, Sender, Watch } from './http.ts';
import { Concurrency, RateLimiter, request } from './http.ts';

export interface Refused {
  /** Position in the batch, from zero. */
  readonly index: number;
  readonly reason: string;
}

export interface BatchResult {
  readonly refused: readonly Refused[];
  /** An attempt had no answer: what is refused may be shown all the same. */
  readonly maybe: boolean;
  readonly notes: readonly string[];
}

export interface Mixpanel {
  /** Host and project: what a state remembers. */
  readonly name: string;
  /** Sends one batch of newline-joined JSON events until each record is accepted or refused. */
  importBatch(batch: { readonly body: string; readonly records: number }, watch: Watch): Promise<BatchResult>;
}

export interface MixpanelOptions {
  readonly host: string;
  readonly projectId?: string;
  readonly serviceAccount?: { readonly username: string; readonly secret: string };
  readonly token?: string;
  readonly retry: Retry;
  readonly requestTimeoutMs: number;
  readonly rateLimit?: RateLimit;
  /** Requests on their way at once. */
  readonly concurrency: number;
}

/** A client of `POST /import` (Mixpanel documentation: Import Events). */
export function createMixpanel(world: World, options: MixpanelOptions): Mixpanel {
  const account = options.serviceAccount;
  const query = new URLSearchParams({ strict: '1' });
  // With a token the project follows from it; with a service account it must be named.
  if (account && options.projectId !== undefined) query.set('project_id', options.projectId);
  const user = account ? `${account.username}:${account.secret}` : `${options.token ?? ''}:`;
  const sender: Sender = {
    world,
    retry: options.retry,
    requestTimeoutMs: options.requestTimeoutMs,
    limiter: new RateLimiter(world, options.rateLimit),
    concurrency: new Concurrency(options.concurrency),
  };
  const url = `${options.host}/import?${query.toString()}`;
  const headers = {
    'content-type': 'application/json',
    'content-encoding': 'gzip',
    accept: 'application/json',
    authorization: `Basic ${Buffer.from(user).toString('base64')}`,
  };

  const send = async (body: string, records: number, watch: Watch): Promise<BatchResult> => {
    // One event a line, and JSON text holds no raw newline: joining needs no parsing.
    const json = `[${body.replaceAll('\n', ',\n')}]`;
    const reply = await request(
      sender,
      url,
      { method: 'POST', headers, body: await world.gzip(json) },
      { records, bytes: json.length },
      watch,
    );
    if (reply.status === 200) return { refused: [], maybe: reply.maybe, notes: counted(reply.body, records) };
    const failure = parseFailure(reply.body);
    if (reply.status === 400 && failure.named)
      return { refused: failure.named, maybe: reply.maybe, notes: counted(reply.body, records - failure.named.length) };
    if (reply.status === 400 || reply.status === 413) return split(body, records, reply.maybe, failure.error, watch);
    throw fatal(reply.status, failure.error, options.host);
  };

  /** A refusal that names no record is narrowed down to the rows that cause it. */
  const split = async (
    body: string,
    records: number,
    maybe: boolean,
    error: string,
    watch: Watch,
  ): Promise<BatchResult> => {
    if (records <= 1) return { refused: [{ index: 0, reason: error }], maybe, notes: [] };
    const lines = body.split('\n');
    const half = Math.floor(lines.length / 2);
    const first = await send(lines.slice(0, half).join('\n'), half, watch);
    const second = await send(lines.slice(half).join('\n'), lines.length - half, watch);
    return {
      refused: [...first.refused, ...second.refused.map((r) => ({ ...r, index: r.index + half }))],
      maybe: maybe || first.maybe || second.maybe,
      notes: [...first.notes, ...second.notes],
    };
  };

  return {
    name: `${options.host}#${options.projectId ?? 'token'}`,
    importBatch: ({ body, records }, watch) => send(body, records, watch),
  };
}

function parseFailure(body: string): { readonly error: string; readonly named?: readonly Refused[] } {
  let value: { error?: unknown; failed_records?: unknown };
  try {
    value = JSON.parse(body) as typeof value;
  } catch {
    return { error: body.slice(0, 200) };
  }
  const error = typeof value.error === 'string' ? value.error : 'refused without a reason';
  if (!Array.isArray(value.failed_records)) return { error };
  const named: Refused[] = [];
  for (const record of value.failed_records as unknown[]) {
    // Entries can be plain texts that name no record.
    if (typeof record === 'string') return { error: record };
    const { index, message, field } = record as { index?: unknown; message?: unknown; field?: unknown };
    if (typeof index !== 'number') return { error };
    named.push({ index, reason: typeof message === 'string' ? message : `${String(field)} is invalid` });
  }
  return named.length > 0 ? { error, named } : { error };
}

/** A count that differs is told, not trusted: accepted is the batch without its refused records. */
function counted(body: string, expected: number): string[] {
  try {
    const { num_records_imported: n } = JSON.parse(body) as { num_records_imported?: unknown };
    if (typeof n === 'number' && n !== expected) return [`Mixpanel says that it imported ${n} of ${expected} records`];
  } catch {
    return [];
  }
  return [];
}

function fatal(status: number, error: string, host: string): RunError {
  if (status === 401 || status === 403)
    return new RunError(
      'mixpanel-unauthorized',
      `Mixpanel refused the credentials (status ${status}). Check the service account or token, its role (Owner or Admin), the project id and the region of ${host}.`,
      { retryable: false },
    );
  return new RunError(
    'mixpanel-rejected',
    `${host} answered ${status}${error === '' ? '' : `: ${error.slice(0, 200)}`}. Check that host and region are Mixpanel's ingestion host.`,
    { retryable: false },
  );
}
