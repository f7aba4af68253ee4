import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { RunError } from '../errors.ts';
import type { World } from '../world.ts';
import type { Batch, BatchResult, Verdict } from './batch.ts';
import { countOf, createNarrowing, errorOf, fatal, namedRecords, parse } from './batch.ts';
import type { ProfileEndpoint } from './engage.ts';
import { createProfiles } from './engage.ts';
import type { RateLimit, Reply, Retry, Sender, Watch } from './http.ts';
import { Concurrency, CONCURRENCY, post, RateLimiter, REQUEST_TIMEOUT_MS, RETRY } from './http.ts';
import type { LookupAccess, LookupResult } from './lookup.ts';
import { createLookups } from './lookup.ts';

export type { Batch, BatchResult, Refused } from './batch.ts';
export type { ProfileEndpoint } from './engage.ts';
export type { LookupResult } from './lookup.ts';

/** One Mixpanel project. All that it sends shares one rate limit and one concurrency, so a process opens it once. */
export interface Mixpanel {
  /** Host and project: what a state remembers. */
  readonly name: string;
  /** The same for what is sent with the token: another token is another project. */
  readonly profileName: string;
  /** Requests on their way at once, at most. */
  readonly concurrency: number;
  /** Proves that the host is Mixpanel and takes the credentials, by one empty event that it refuses. */
  check(signal: AbortSignal): Promise<void>;
  /** Sends one batch of events until each record is accepted or refused. */
  importBatch(batch: Batch, watch: Watch): Promise<BatchResult>;
  /** Sends one batch of updates of user or group profiles, without their `$token`, in their order. */
  engageBatch(endpoint: ProfileEndpoint, batch: Batch, watch: Watch): Promise<BatchResult>;
  /** Replaces one lookup table as a whole. */
  replaceLookup(id: string, csv: AsyncIterable<string>, watch: Watch): Promise<LookupResult>;
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

/** Opens a project of Mixpanel. */
export function createMixpanel(world: World, options: MixpanelOptions): Mixpanel {
  const host = hostOf(options.host);
  const access = accessOf(options);
  const concurrency = options.concurrency ?? CONCURRENCY;
  const sender: Sender = {
    world,
    host,
    retry: { ...RETRY, ...options.retry },
    requestTimeoutMs: options.requestTimeoutMs ?? REQUEST_TIMEOUT_MS,
    limiter: new RateLimiter(world, options.rateLimit),
    concurrency: new Concurrency(concurrency),
    // The token goes with profiles also where a service account imports events.
    secrets: [...access.secrets, ...(options.token === undefined ? [] : [options.token])],
  };
  // Profiles are sent with the token, which their endpoint never refuses: a wrong one would lose them without a word.
  const proven = access.account && options.token !== undefined ? [access, byToken(options.token)] : [access];
  const checks = proven.map((one) => createCheck(sender, one));
  const imports = createImport(sender, access);
  const profiles = createProfiles(sender, options.token);
  const lookups = createLookups(sender, access.account);
  return {
    name: `${host}#${access.project}`,
    profileName:
      options.token === undefined ? `${host}#${access.project}` : `${host}#${byToken(options.token).project}`,
    concurrency,
    check: async (signal) => {
      for (const check of checks) await check(signal);
    },
    importBatch: (batch, watch) => imports(batch, patient(watch)),
    engageBatch: (endpoint, batch, watch) => profiles(endpoint, batch, patient(watch)),
    replaceLookup: (id, csv, watch) => lookups(id, csv, patient(watch)),
  };
}

/** Attempts of a check: a host that is down for long is told at once, not after minutes. */
const CHECK_ATTEMPTS = 3;

/** What an empty event gets (Mixpanel's Go client, http_test.go); whatever else is JSON came from an API as well. */
function createCheck(sender: Sender, access: Access): (signal: AbortSignal) => Promise<void> {
  const { host, world } = sender;
  const url = `${host}/import?${new URLSearchParams({ strict: '1', ...access.query }).toString()}`;
  const json = '[{}]';
  return async (signal) => {
    const watch = { signal, beforeRequest: () => undefined, unanswered: () => undefined };
    const request = { url, headers: headersOf(access), body: await world.gzip(json), records: 1, bytes: json.length };
    const few = { ...sender, retry: { ...sender.retry, attempts: Math.min(CHECK_ATTEMPTS, sender.retry.attempts) } };
    const reply = await post(few, request, watch).catch((error: unknown) => {
      if (!(error instanceof RunError && error.code === 'retries-exhausted')) throw error;
      throw new RunError(
        'mixpanel-unreachable',
        `${error.message.replace(/\. Check .*$/, '')}. Nothing was sent. Check the target's host or region, the network and Mixpanel's status.`,
        { retryable: true },
      );
    });
    if (reply.status !== 200 && reply.status !== 400) throw fatal(reply, host, '/import', access.what);
    if (parse(reply.body) === undefined)
      throw new RunError(
        'mixpanel-rejected',
        `${host} does not answer as Mixpanel does (status ${reply.status}, no JSON). Nothing was sent. Set the host of the target to Mixpanel's ingestion host.`,
        { retryable: false },
      );
  };
}

const headersOf = (access: Access): Readonly<Record<string, string>> => ({
  'content-type': 'application/json',
  'content-encoding': 'gzip',
  accept: 'application/json',
  authorization: access.authorization,
});

/** Every request on its way listens to the one signal of the run; Node takes more than ten for a leak. */
function patient(watch: Watch): Watch {
  setMaxListeners(0, watch.signal);
  return watch;
}

/** A client of `POST /import` with `strict=1` (documentation: Import Events; OpenAPI: ingestion). */
function createImport(sender: Sender, access: Access): (batch: Batch, watch: Watch) => Promise<BatchResult> {
  const { host, world } = sender;
  const query = new URLSearchParams({ strict: '1', ...access.query });
  const url = `${host}/import?${query.toString()}`;
  const headers = headersOf(access);
  const ask = async (batch: Batch, watch: Watch): Promise<Verdict> => {
    const records = countOf(batch);
    const json = toArray(batch);
    const body = await world.gzip(json);
    const reply = await post(sender, { url, headers, body, records, bytes: json.length }, watch);
    const { maybe, status } = reply;
    if (status === 200) return { settled: { refused: [], maybe, notes: notesOf(reply, records) } };
    if (status === 413) return { refusal: 'too-large', reason: errorOf(reply), maybe };
    if (status !== 400) throw fatal(reply, host, '/import', access.what);
    const refused = namedRecords(reply.body, records);
    if (refused) return { settled: { refused, maybe, notes: notesOf(reply, records - refused.length) } };
    return { refusal: 'unnamed', reason: errorOf(reply), maybe };
  };
  return createNarrowing(ask, `Check ${access.what}, the host of the target and the identity settings of the project.`);
}

const basic = (user: string): string => `Basic ${Buffer.from(user).toString('base64')}`;

interface Access {
  readonly authorization: string;
  readonly query: Readonly<Record<string, string>>;
  /** How the state knows the project. */
  readonly project: string;
  readonly secrets: readonly string[];
  /** How a message names the credentials. */
  readonly what: string;
  /** Set when it is a service account. */
  readonly account?: LookupAccess;
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
    const authorization = basic(`${username}:${secret}`);
    const what = `the service account ${username} (its secret, its role Owner or Admin, whether it expired) and project_id ${projectId}`;
    return {
      authorization,
      query: { project_id: projectId },
      project: projectId,
      secrets: [secret, authorization.slice('Basic '.length)],
      what,
      account: { authorization, projectId, what },
    };
  }
  if (token === undefined || token === '')
    throw new RunError('mixpanel-unauthorized', 'Mixpanel needs a service_account or a token. Set one of the target.', {
      retryable: false,
    });
  return byToken(token, projectId);
}

/** Documentation: Import Events takes the project token as user of Basic. */
function byToken(token: string, projectId?: string): Access {
  return {
    authorization: basic(`${token}:`),
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

/**
 * JSON text holds no raw newline, so joining needs no parsing. Written straight into bytes: a batch is large, and each
 * text in between would be one more copy of it that waits for the garbage collection.
 */
function toArray(batch: Batch): Buffer {
  const records = 'body' in batch ? batch.body.replaceAll('\n', ',\n') : batch.join(',\n');
  const array = Buffer.allocUnsafe(Buffer.byteLength(records) + 2);
  array.write('[');
  array.write(records, 1);
  array.write(']', array.length - 1);
  return array;
}

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
