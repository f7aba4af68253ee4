import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { maskSecrets, RunError } from '../errors.ts';
import type { World } from '../world.ts';
import type { RateLimit, Reply, Retry, Sender, Watch } from './http.ts';
import { Concurrency, CONCURRENCY, post, RateLimiter, REQUEST_TIMEOUT_MS, RETRY } from './http.ts';

export interface Refused {
  /** Position in the batch, from zero. */
  readonly index: number;
  readonly reason: string;
}

export interface BatchResult {
  /** In the batch's order, each record once. All others were accepted. */
  readonly refused: readonly Refused[];
  /** An earlier attempt of this batch had no answer: what is refused may be shown all the same. */
  readonly maybe: boolean;
  readonly notes: readonly string[];
}

/** JSON objects, one a line: as lines, or joined by newlines as the warehouse aggregates them. */
export type Batch = readonly string[] | { readonly body: string; readonly records: number };

export interface Mixpanel {
  /** Host and project: what a state remembers. */
  readonly name: string;
  /** Sends one batch of events until each record is accepted or refused. */
  importBatch(batch: Batch, watch: Watch): Promise<BatchResult>;
}

export interface MixpanelOptions {
  /** With scheme, like `https://api-eu.mixpanel.com`. */
  readonly host: string;
  readonly projectId?: string | undefined;
  readonly serviceAccount?: { readonly username: string; readonly secret: string } | undefined;
  readonly token?: string | undefined;
  readonly retry?: Partial<Retry> | undefined;
  readonly requestTimeoutMs?: number | undefined;
  /** Left out: off. */
  readonly rateLimit?: RateLimit | undefined;
  /** Requests on their way at once, at most. */
  readonly concurrency?: number | undefined;
}

/**
 * A client of `POST /import` with `strict=1` (documentation: Import Events; OpenAPI: ingestion). All its batches share
 * one rate limit and one concurrency, so a process opens a project once.
 */
export function createMixpanel(world: World, options: MixpanelOptions): Mixpanel & { readonly concurrency: number } {
  const host = hostOf(options.host);
  const access = accessOf(options);
  const most = options.concurrency ?? CONCURRENCY;
  const sender: Sender = {
    world,
    host,
    retry: { ...RETRY, ...options.retry },
    requestTimeoutMs: options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS,
    limiter: new RateLimiter(world, options.rateLimit),
    concurrency: new Concurrency(most),
    secrets: access.secrets,
  };
  const query = new URLSearchParams({ strict: '1', ...access.query });
  const url = `${host}/import?${query.toString()}`;
  const headers = {
    'content-type': 'application/json',
    'content-encoding': 'gzip',
    accept: 'application/json',
    authorization: `Basic ${Buffer.from(access.user).toString('base64')}`,
  };

  const send = async (batch: Batch, watch: Watch): Promise<BatchResult> => {
    const records = countOf(batch);
    if (records === 0) return { refused: [], maybe: false, notes: [] };
    const json = toArray(batch);
    const body = await world.gzip(json);
    const reply = await post(sender, { url, headers, body, records, bytes: Buffer.byteLength(json) }, watch);
    const masked: Reply = { ...reply, body: maskSecrets(reply.body, access.secrets) };
    if (reply.status === 200) return { refused: [], maybe: reply.maybe, notes: notesOf(masked, records) };
    if (reply.status === 400) {
      const refused = namedRecords(masked.body, records);
      if (refused) return { refused, maybe: reply.maybe, notes: notesOf(masked, records - refused.length) };
    }
    if (reply.status === 400 || reply.status === 413) return split(batch, masked, watch);
    throw fatal(masked, host, access.what);
  };

  /** A refusal that names no record, or a request that is too large, is narrowed down to the rows that cause it. */
  const split = async (batch: Batch, reply: Reply, watch: Watch): Promise<BatchResult> => {
    const lines = 'body' in batch ? batch.body.split('\n') : batch;
    if (lines.length <= 1) return { refused: [{ index: 0, reason: errorOf(reply) }], maybe: reply.maybe, notes: [] };
    const half = Math.ceil(lines.length / 2);
    const first = await send(lines.slice(0, half), watch);
    const second = await send(lines.slice(half), watch);
    return {
      refused: [...first.refused, ...second.refused.map((r) => ({ ...r, index: r.index + half }))],
      maybe: reply.maybe || first.maybe || second.maybe,
      notes: [...first.notes, ...second.notes],
    };
  };

  return {
    name: `${host}#${access.project}`,
    concurrency: most,
    importBatch: (batch, watch) => {
      // Every request on its way listens to the one signal of the run; Node takes more than ten for a leak.
      setMaxListeners(0, watch.signal);
      return send(batch, watch);
    },
  };
}

interface Access {
  /** User and password of the Basic header. */
  readonly user: string;
  readonly query: Readonly<Record<string, string>>;
  /** How the state knows the project. */
  readonly project: string;
  readonly secrets: readonly string[];
  /** How a message names the credentials. */
  readonly what: string;
}

/** Documentation: Import Events (authentication), Service Accounts. A token says which project it is, an account does not. */
function accessOf({ serviceAccount, token, projectId }: MixpanelOptions): Access {
  if (serviceAccount) {
    const { username, secret } = serviceAccount;
    if (projectId === undefined || projectId === '')
      throw new RunError(
        'mixpanel-unauthorized',
        `The service account ${username} needs to know its Mixpanel project. Set project_id of the target.`,
        { retryable: false },
      );
    const user = `${username}:${secret}`;
    return {
      user,
      query: { project_id: projectId },
      project: projectId,
      secrets: [secret, Buffer.from(user).toString('base64')],
      what: `the service account ${username} (its secret, its role Owner or Admin, whether it expired) and project_id ${projectId}`,
    };
  }
  if (token === undefined || token === '')
    throw new RunError('mixpanel-unauthorized', 'Mixpanel needs a service_account or a token. Set one of the target.', {
      retryable: false,
    });
  return {
    user: `${token}:`,
    query: {},
    // Two projects of one host must not look alike to a state, and the token is not to be written down.
    project: projectId ?? `token-${createHash('sha256').update(token).digest('hex').slice(0, 12)}`,
    secrets: [token],
    what: 'the project token',
  };
}

function hostOf(host: string): string {
  const url = URL.canParse(host) ? new URL(host) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '' || url.search !== '')
    throw new RunError(
      'mixpanel-unreachable',
      'The host of Mixpanel is no plain URL. Write it like https://api.mixpanel.com, without credentials.',
      { retryable: false },
    );
  return host.replace(/\/+$/, '');
}

const countOf = (batch: Batch): number => ('body' in batch ? batch.records : batch.length);

/** JSON text holds no raw newline, so joining needs no parsing. */
function toArray(batch: Batch): string {
  return `[${'body' in batch ? batch.body.replaceAll('\n', ',\n') : batch.join(',\n')}]`;
}

interface Failure {
  readonly error?: unknown;
  readonly failed_records?: unknown;
  readonly num_records_imported?: unknown;
}

/** Undefined when it is no JSON object: gateways answer HTML (mixpanel-node issue 136). */
function parse(body: string): Failure | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The records that a 400 names; the others of the batch were stored (documentation: Import Events). Entries key on
 * `index` (`insert_id` is also spelled `$insert_id`) but can be plain texts that name nothing (mixpanel-import,
 * probe findings): undefined as soon as one entry names no record of the batch.
 */
function namedRecords(body: string, records: number): Refused[] | undefined {
  const failed = parse(body)?.failed_records;
  if (!Array.isArray(failed) || failed.length === 0) return undefined;
  const reasons = new Map<number, string>();
  for (const entry of failed as readonly unknown[]) {
    if (typeof entry !== 'object' || entry === null) return undefined;
    const { index, message, field } = entry as { index?: unknown; message?: unknown; field?: unknown };
    if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= records) return undefined;
    const reason = text(message) ?? `${text(field) ?? 'the record'} is invalid`;
    const known = reasons.get(index);
    reasons.set(index, known === undefined ? reason : `${known}; ${reason}`);
  }
  return [...reasons].sort(([a], [b]) => a - b).map(([index, reason]) => ({ index, reason }));
}

/** Why a whole request was refused, as text for a person. */
function errorOf({ status, body }: Reply): string {
  const failure = parse(body);
  const failed: unknown = Array.isArray(failure?.failed_records) ? failure.failed_records[0] : undefined;
  const said =
    text(failed) ??
    (typeof failed === 'object' && failed !== null && 'message' in failed ? text(failed.message) : undefined) ??
    text(failure?.error);
  if (said !== undefined) return said;
  const plain = body
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, 200);
  return plain === '' || failure ? `refused with status ${status} and no reason` : plain;
}

const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);

/** A count that differs is told, not trusted: accepted is the batch without its refused records. */
function notesOf({ status, body }: Reply, accepted: number): string[] {
  const count = parse(body)?.num_records_imported;
  if (count === accepted) return [];
  if (typeof count === 'number')
    return [`Mixpanel says that it imported ${count} records where ${accepted} were accepted.`];
  if (status !== 200) return [];
  return [
    `Mixpanel accepted ${accepted} records without saying how many it imported. Check that the host is Mixpanel's.`,
  ];
}

/** What no further attempt and no smaller batch can change. */
function fatal(reply: Reply, host: string, what: string): RunError {
  const { status } = reply;
  if (status === 401 || status === 403)
    return new RunError(
      'mixpanel-unauthorized',
      `Mixpanel refused the credentials (status ${status}). Check ${what}, and that the project is in the region of ${host}.`,
      { retryable: false },
    );
  const message =
    status >= 300 && status < 400
      ? `${host} answers with a redirect (status ${status}${whereTo(reply.location)}). Set the host of the target to Mixpanel's ingestion host.`
      : status === 404
        ? `${host} has no /import (status 404). Check the host and the region of the target.`
        : `${host} answered an import with status ${status} (${errorOf(reply)}). Check that the host of the target is Mixpanel's ingestion host.`;
  return new RunError('mixpanel-rejected', message, { retryable: false });
}

/** Only the origin: a query may hold anything. */
function whereTo(location: string | null): string {
  return location !== null && URL.canParse(location) ? ` to ${new URL(location).origin}` : '';
}
