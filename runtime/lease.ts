import { RunError } from './errors.ts';
import type { World } from './world.ts';

/**
 * The right to run one sync. Renewed while statements run; a sender asks it before each request. A renewal counts
 * from when it was sent, and freshness is judged on the wall clock and the monotonic one, because a suspended
 * process may see only one of them move.
 */
export class Lease {
  readonly #world: World;
  readonly #ttlMs: number;
  readonly #renew: () => Promise<void>;
  readonly #abort = new AbortController();
  readonly #stop = new AbortController();
  #sentWall: number;
  #sentMonotonic: number;
  #writing: Promise<unknown> = Promise.resolve();
  #loop: Promise<unknown> = Promise.resolve();
  #lost: Error | undefined;

  constructor(world: World, ttlMs: number, renew: () => Promise<void>, sent: { wall: number; monotonic: number }) {
    this.#world = world;
    this.#ttlMs = ttlMs;
    this.#renew = renew;
    this.#sentWall = sent.wall;
    this.#sentMonotonic = sent.monotonic;
  }

  /** Aborted once the lease is lost or too old to send under. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get fresh(): boolean {
    const age = Math.max(this.#world.now() - this.#sentWall, this.#world.monotonic() - this.#sentMonotonic);
    return !this.#lost && age < this.#ttlMs - this.#margin;
  }

  get #margin(): number {
    return Math.min(5000, this.#ttlMs / 4);
  }

  /** Throws unless a request may start now. */
  assertFresh(): void {
    if (this.fresh) return;
    throw this.#lost ?? lost('its last renewal is too old');
  }

  /** Runs a statement that writes the state row: no two of them overlap, renewals included. */
  write<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#writing.then(run);
    this.#writing = result.catch(() => undefined);
    return result;
  }

  start(): void {
    this.#loop = Promise.all([this.#run(), this.#watch()]);
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
  }

  /** Ends what is in flight once the last renewal is too old, also while a renewal hangs. */
  async #watch(): Promise<void> {
    try {
      while (this.fresh) {
        const left = this.#ttlMs - this.#margin - (this.#world.monotonic() - this.#sentMonotonic);
        await this.#world.sleep(Math.max(10, left), this.#stop.signal);
      }
    } catch {
      return;
    }
    this.#abort.abort(this.#lost ?? lost('its last renewal is too old'));
  }

  async #run(): Promise<void> {
    const stopped = this.#stop.signal;
    while (!stopped.aborted) {
      try {
        await this.#world.sleep(Math.max(50, Math.floor(this.#ttlMs / 3)), stopped);
      } catch {
        return;
      }
      await this.write(async () => {
        if (stopped.aborted) return;
        const sent = { wall: this.#world.now(), monotonic: this.#world.monotonic() };
        try {
          await this.#renew();
          this.#sentWall = sent.wall;
          this.#sentMonotonic = sent.monotonic;
        } catch (error) {
          if (error instanceof RunError && error.code === 'lease-lost') {
            this.#lost = error;
            this.#abort.abort(error);
          }
        }
      });
    }
  }
}

function lost(why: string): RunError {
  return new RunError('lease-lost', `The lease was lost: ${why}. The next apply finishes this run.`, {
    retryable: true,
  });
}
