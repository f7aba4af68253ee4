import { maskSecrets, RunError } from '../errors.ts';
import type { World } from '../world.ts';

/** Waits between attempts (documentation: Import Events, Rate Limits: from 2 s, doubled up to 60 s, jitter on top). */
export interface Retry {
  /** First wait, doubled after each attempt up to `maxMs`; the jitter comes on top. */
  readonly initialMs: number;
  readonly maxMs: number;
  readonly attempts: number;
}

export const RETRY: Retry = { initialMs: 2000, maxMs: 60_000, attempts: 10 };
export const REQUEST_TIMEOUT_MS = 30_000;
/** Documentation: Import Events recommends 10 to 20 senders. */
export const CONCURRENCY = 10;
/** A `Retry-After` beyond this is a mistake or a clock that is off. */
const LONGEST_ASKED_MS = 3_600_000;

/** What one Mixpanel project may take (documentation: Import Events, Rate Limits); a missing one is off. */
export interface RateLimit {
  readonly eventsPerSecond?: number | undefined;
  readonly bytesPerMinute?: number | undefined;
}

/** What a sender watches while a request is on its way. */
export interface Watch {
  /** Ends requests in flight, and every wait; what ended is rejected with the signal's reason. */
  readonly signal: AbortSignal;
  /** Called right before each request; throws when the lease is too old to send under. */
  beforeRequest(): void;
  /** Called when a request ended without an answer: it may have been stored. Wall milliseconds of its start. */
  unanswered(startedAt: number): void;
  /** Called when a request was answered. */
  answered?(): void;
}

/**
 * Tokens that refill at a steady rate. One second's worth may be spent at once; what is larger than that goes out as
 * soon as the bucket is not empty and leaves a debt, so any rolling minute holds the limit, a second's worth and one
 * request. Reserving is synchronous: those who wait are served in order.
 */
class TokenBucket {
  readonly #perMs: number;
  readonly #capacity: number;
  #tokens: number;
  #at: number;

  constructor(perSecond: number, now: number) {
    this.#perMs = perSecond / 1000;
    this.#capacity = perSecond;
    this.#tokens = perSecond;
    this.#at = now;
  }

  /** Takes the tokens and returns how long to wait until they may be used. */
  reserve(amount: number, now: number): number {
    this.#tokens = Math.min(this.#capacity, this.#tokens + Math.max(0, now - this.#at) * this.#perMs);
    this.#at = now;
    const wait = this.#tokens < 0 ? Math.ceil(-this.#tokens / this.#perMs) : 0;
    this.#tokens -= amount;
    return wait;
  }
}

/** The rate limit of one Mixpanel project, shared by all its senders. */
export class RateLimiter {
  readonly #world: World;
  readonly #events: TokenBucket | undefined;
  readonly #bytes: TokenBucket | undefined;

  constructor(world: World, limit: RateLimit | undefined) {
    const now = world.monotonic();
    this.#world = world;
    if (limit?.eventsPerSecond !== undefined) this.#events = new TokenBucket(limit.eventsPerSecond, now);
    if (limit?.bytesPerMinute !== undefined) this.#bytes = new TokenBucket(limit.bytesPerMinute / 60, now);
  }

  /** Waits until the project may take this much (bytes uncompressed, as the limit is stated). */
  async take(events: number, bytes: number, signal: AbortSignal): Promise<void> {
    const now = this.#world.monotonic();
    const wait = Math.max(this.#events?.reserve(events, now) ?? 0, this.#bytes?.reserve(bytes, now) ?? 0);
    if (wait > 0) await this.#world.sleep(wait, signal);
  }
}

/** The right to have one request on its way. */
export interface Slot {
  readonly round: number;
}

/**
 * How many requests may be on their way: halved on trouble, one more after each twenty answers. Requests that were
 * already out when it was halved say nothing new, so a burst of failures halves it once.
 */
export class Concurrency {
  readonly #max: number;
  #limit: number;
  #busy = 0;
  #good = 0;
  #round = 0;
  readonly #waiting: ((slot: Slot) => void)[] = [];

  constructor(max: number) {
    this.#max = Math.max(1, max);
    this.#limit = this.#max;
  }

  /** How many may be on their way now. */
  get limit(): number {
    return this.#limit;
  }

  /** Waits for a slot, first come first served; rejects with the signal's reason. */
  acquire(signal: AbortSignal): Promise<Slot> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const abort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(grant), 1);
        reject(signal.reason as Error);
      };
      const grant = (slot: Slot): void => {
        signal.removeEventListener('abort', abort);
        resolve(slot);
      };
      signal.addEventListener('abort', abort, { once: true });
      this.#waiting.push(grant);
      this.#serve();
    });
  }

  /** Gives the slot back: `good` was answered, `trouble` was 429, 5xx or nothing, `unused` made no request. */
  release(slot: Slot, outcome: 'good' | 'trouble' | 'unused'): void {
    this.#busy--;
    if (outcome === 'trouble' && slot.round === this.#round) {
      this.#limit = Math.max(1, Math.floor(this.#limit / 2));
      this.#round++;
      this.#good = 0;
    } else if (outcome === 'good' && ++this.#good % 20 === 0) this.#limit = Math.min(this.#max, this.#limit + 1);
    this.#serve();
  }

  #serve(): void {
    while (this.#busy < this.#limit) {
      const grant = this.#waiting.shift();
      if (!grant) return;
      this.#busy++;
      grant({ round: this.#round });
    }
  }
}

export interface Reply {
  readonly status: number;
  /** Without the sender's secrets. */
  readonly body: string;
  /** Where a redirect points. */
  readonly location: string | null;
  /** True when an earlier attempt of this request had no answer: what is refused now may be shown all the same. */
  readonly maybe: boolean;
}

export interface Sender {
  readonly world: World;
  readonly host: string;
  readonly retry: Retry;
  readonly requestTimeoutMs: number;
  readonly limiter: RateLimiter;
  readonly concurrency: Concurrency;
  readonly secrets: readonly string[];
}

export interface Post {
  /** Left out: POST. */
  readonly method?: 'PUT' | undefined;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  /** What the rate limit counts. */
  readonly records: number;
  readonly bytes: number;
  /** What more may be tried when no attempt had an answer. */
  readonly hint?: string | undefined;
}

/** Documentation: Import Events names 429, 502 and 503; 408 and the other 5xx are retried by Mixpanel's own clients. */
const isRetried = (status: number): boolean => status === 408 || status === 429 || status >= 500;

/** A gateway may give up on a request that the server behind it stores all the same; 429 alone promises it did not. */
const isAnswer = (status: number): boolean => !isRetried(status) || status === 429;

/**
 * One request with its attempts: the same bytes each time, exponential backoff with jitter, `Retry-After` honoured.
 * @throws RunError `retries-exhausted` when no attempt had an answer that settles it
 */
export async function post(sender: Sender, request: Post, watch: Watch): Promise<Reply> {
  const { world, retry } = sender;
  let maybe = false;
  let last = '';
  for (let attempt = 1; attempt <= retry.attempts; attempt++) {
    const tried = await attemptOnce(sender, request, watch);
    if (tried.answer && !isRetried(tried.answer.status))
      return { ...tried.answer, body: maskSecrets(tried.answer.body, sender.secrets), maybe };
    maybe ||= !tried.answer || !isAnswer(tried.answer.status);
    last = tried.answer ? `status ${tried.answer.status}` : tried.reason;
    if (attempt < retry.attempts)
      await world.sleep(backoff(sender, attempt, tried.answer?.retryAfter ?? null), watch.signal);
  }
  throw new RunError(
    'retries-exhausted',
    `${sender.host} gave no usable answer in ${retry.attempts} attempts (last: ${maskSecrets(last, sender.secrets)}). Check Mixpanel's status and the network; the next apply finishes this run.`,
    { retryable: true, hint: request.hint ?? 'retry.attempts and retry.max of the target say how long it is tried.' },
  );
}

interface Answered {
  readonly status: number;
  readonly body: string;
  readonly retryAfter: string | null;
  readonly location: string | null;
}

type Tried =
  { readonly answer: Answered; readonly reason?: never } | { readonly answer?: never; readonly reason: string };

/** A slot, the rate limit, the lease, then the request: nothing may pass between the lease's word and the request. */
async function attemptOnce(sender: Sender, request: Post, watch: Watch): Promise<Tried> {
  const { world, limiter, concurrency } = sender;
  const slot = await concurrency.acquire(watch.signal);
  let outcome: 'good' | 'trouble' | 'unused' = 'unused';
  try {
    await limiter.take(request.records, request.bytes, watch.signal);
    watch.beforeRequest();
    const startedAt = world.now();
    let answer: Answered;
    try {
      answer = await exchange(sender, request, watch.signal);
    } catch (error) {
      watch.unanswered(startedAt);
      if (watch.signal.aborted) throw watch.signal.reason;
      outcome = 'trouble';
      return { reason: reasonOf(error) };
    }
    outcome = isRetried(answer.status) ? 'trouble' : 'good';
    if (isAnswer(answer.status)) watch.answered?.();
    else watch.unanswered(startedAt);
    return { answer };
  } finally {
    concurrency.release(slot, outcome);
  }
}

async function exchange({ world, requestTimeoutMs }: Sender, request: Post, signal: AbortSignal): Promise<Answered> {
  const flight = new AbortController();
  const done = new AbortController();
  const abort = (): void => flight.abort(signal.reason);
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) abort();
  // The wait goes through the world, so that a simulated clock can run it out.
  world.sleep(requestTimeoutMs, done.signal).then(
    () => flight.abort(new Error(`no answer within ${requestTimeoutMs} ms`)),
    () => undefined,
  );
  try {
    const { method = 'POST', url, headers, body } = request;
    const answer = await world.fetch(url, { method, headers, body, signal: flight.signal });
    return {
      status: answer.status,
      body: await answer.text(),
      retryAfter: answer.headers.get('retry-after'),
      location: answer.headers.get('location'),
    };
  } finally {
    signal.removeEventListener('abort', abort);
    done.abort(new Error('the request ended'));
  }
}

/** How long to wait before the next attempt: never less than the server asked for. */
function backoff({ world, retry }: Sender, attempt: number, retryAfter: string | null): number {
  const wait = Math.min(retry.maxMs, retry.initialMs * 2 ** (attempt - 1));
  const asked = Math.min(LONGEST_ASKED_MS, askedFor(retryAfter, world.now()));
  return Math.round(Math.max(wait, asked) + (world.random() * wait) / 2);
}

/** `Retry-After` is seconds or a date (RFC 9110); Mixpanel documents none for ingestion, a gateway may send one. */
function askedFor(retryAfter: string | null, now: number): number {
  const text = retryAfter?.trim() ?? '';
  if (text === '') return 0;
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}

/** The innermost cause: fetch itself only says that it failed. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.cause instanceof Error) return reasonOf(error.cause);
  if (error.message !== '') return error.message;
  return 'code' in error ? String(error.code) : error.name;
}
