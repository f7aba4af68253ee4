import { RunError } from '../errors.ts';
import type { Answer, World } from '../world.ts';

export interface Retry {
  /** First wait, doubled after each attempt up to `maxMs`. */
  readonly initialMs: number;
  readonly maxMs: number;
  readonly attempts: number;
}

export interface RateLimit {
  readonly eventsPerSecond: number;
  readonly bytesPerMinute: number;
}

/** What a sender watches while a request is on its way. */
export interface Watch {
  readonly signal: AbortSignal;
  /** Called right before each request; throws when the lease is too old to send under. */
  beforeRequest(): void;
  /** Called when a request ended without an answer: it may have been stored. Wall milliseconds of its start. */
  unanswered(startedAt: number): void;
}

/** Two token buckets of one Mixpanel project, shared by all its senders (documentation: Import Events, rate limits). */
export class RateLimiter {
  readonly #world: World;
  readonly #limit: RateLimit | undefined;
  /** When each bucket is full again, monotonic milliseconds. */
  #events = 0;
  #bytes = 0;

  constructor(world: World, limit: RateLimit | undefined) {
    this.#world = world;
    this.#limit = limit;
  }

  /** Waits until the project may take this much. One second, or one minute, may be spent ahead. */
  async take(events: number, bytes: number, signal: AbortSignal): Promise<void> {
    if (!this.#limit) return;
    const now = this.#world.monotonic();
    this.#events = Math.max(this.#events, now) + (events / this.#limit.eventsPerSecond) * 1000;
    this.#bytes = Math.max(this.#bytes, now) + (bytes / this.#limit.bytesPerMinute) * 60_000;
    const wait = Math.max(this.#events - now - 1000, this.#bytes - now - 60_000);
    if (wait > 0) await this.#world.sleep(wait, signal);
  }
}

/** How many requests may be on their way: halved on trouble, one more after each twenty answers. */
export class Concurrency {
  readonly #max: number;
  #limit: number;
  #busy = 0;
  #good = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(max: number) {
    this.#max = max;
    this.#limit = max;
  }

  async acquire(): Promise<void> {
    while (this.#busy >= this.#limit) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#busy++;
  }

  release(trouble: boolean): void {
    this.#busy--;
    if (trouble) {
      this.#limit = Math.max(1, Math.floor(this.#limit / 2));
      this.#good = 0;
    } else if (++this.#good % 20 === 0) this.#limit = Math.min(this.#max, this.#limit + 1);
    for (const next of this.#waiting.splice(0)) next();
  }
}

export interface Reply {
  readonly status: number;
  readonly body: string;
  /** True when an earlier attempt of this request had no answer: what is refused now may be shown all the same. */
  readonly maybe: boolean;
}

/** Statuses that a later attempt may turn into an answer (documentation: Import Events; 408, 500 and 504 by habit of clients). */
const RETRIED = new Set([408, 429, 500, 502, 503, 504]);

export interface Sender {
  readonly world: World;
  readonly retry: Retry;
  readonly requestTimeoutMs: number;
  readonly limiter: RateLimiter;
  readonly concurrency: Concurrency;
}

/**
 * One request with its retries: exponential backoff with jitter, `Retry-After` honoured.
 * @throws RunError `retries-exhausted` when no attempt had an answer that settles it
 */
export async function request(
  sender: Sender,
  url: string,
  init: { readonly method: string; readonly headers: Readonly<Record<string, string>>; readonly body: Uint8Array },
  size: { readonly records: number; readonly bytes: number },
  watch: Watch,
): Promise<Reply> {
  const { world, retry } = sender;
  let maybe = false;
  let last = '';
  for (let attempt = 1; attempt <= retry.attempts; attempt++) {
    await sender.limiter.take(size.records, size.bytes, watch.signal);
    await sender.concurrency.acquire();
    let trouble = true;
    let answer: { status: number; body: string; retryAfter: string | null } | undefined;
    try {
      watch.beforeRequest();
      const startedAt = world.now();
      try {
        answer = await once(sender, url, init, watch.signal);
        trouble = RETRIED.has(answer.status);
        // A gateway may answer for a server that stored the batch all the same.
        if (answer.status >= 500) unanswered(startedAt);
      } catch (error) {
        unanswered(startedAt);
        if (watch.signal.aborted) throw watch.signal.reason;
        last = reason(error);
      }
    } finally {
      sender.concurrency.release(trouble);
    }
    if (answer && !trouble) return { status: answer.status, body: answer.body, maybe };
    if (answer) last = `status ${answer.status}`;
    if (attempt < retry.attempts) await world.sleep(backoff(sender, attempt, answer?.retryAfter ?? null), watch.signal);
  }
  throw new RunError(
    'retries-exhausted',
    `Mixpanel gave no usable answer in ${retry.attempts} attempts (last: ${last}). Check its status and the network; the next apply finishes this run.`,
    { retryable: true },
  );

  function unanswered(startedAt: number): void {
    maybe = true;
    watch.unanswered(startedAt);
  }
}

async function once(
  { world, requestTimeoutMs }: Sender,
  url: string,
  init: { readonly method: string; readonly headers: Readonly<Record<string, string>>; readonly body: Uint8Array },
  signal: AbortSignal,
): Promise<{ status: number; body: string; retryAfter: string | null }> {
  const timeout = new AbortController();
  const done = new AbortController();
  // The wait goes through the world, so that a simulated clock can run it out.
  world
    .sleep(requestTimeoutMs, done.signal)
    .then(() => timeout.abort(new Error(`no answer within ${requestTimeoutMs} ms`)))
    .catch(() => undefined);
  try {
    const answer: Answer = await world.fetch(url, { ...init, signal: AbortSignal.any([signal, timeout.signal]) });
    return { status: answer.status, body: await answer.text(), retryAfter: answer.headers.get('retry-after') };
  } finally {
    done.abort(new Error('answered'));
  }
}

function backoff({ world, retry }: Sender, attempt: number, retryAfter: string | null): number {
  const wait = Math.min(retry.maxMs, retry.initialMs * 2 ** (attempt - 1));
  const jittered = wait / 2 + (world.random() * wait) / 2;
  const seconds = retryAfter === null ? Number.NaN : Number(retryAfter);
  const asked = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(retryAfter ?? '') - world.now();
  return Number.isFinite(asked) && asked > 0 ? asked + world.random() * 1000 : jittered;
}

function reason(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message : String(cause);
}
