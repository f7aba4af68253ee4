import { setTimeout as delay } from 'node:timers/promises';
import { absent } from './absent.ts';
import type { Access } from './access.ts';
import { Gate } from './access.ts';
import type { Call, Context, Endpoint } from './endpoint.ts';
import { TOO_MANY } from './endpoint.ts';
import { engageEndpoint, groupsEndpoint } from './engage.ts';
import { exportEndpoint } from './export.ts';
import { FaultDice, type Faults } from './faults.ts';
import type { Reply, SandboxRequest, SandboxResponse } from './http.ts';
import { badGateway, isRefusal, refusal, refuse, whole } from './http.ts';
import { importEndpoint } from './import.ts';
import { lookupListEndpoint, lookupReplaceEndpoint } from './lookup.ts';
import { engageQueryEndpoint, meEndpoint, rateLimited } from './query.ts';
import { SandboxStore } from './store.ts';
import { trackEndpoint } from './track.ts';

export type { SandboxRequest, SandboxResponse } from './http.ts';
export { serveSandbox } from './serve.ts';

export interface SandboxOptions {
  path: string; // A file, or ':memory:'.
  /** Only inflates, counts and answers 200; stores and validates nothing. */
  discard?: boolean;
  faults?: Faults;
  now?: () => number;
  random?: () => number;
  /** Whom it knows; by default everybody, and one project. */
  access?: Access;
  /** Lookup tables that exist, id to name; others are then 404. By default a table comes to be with its first rows. */
  lookupTables?: Readonly<Record<string, string>>;
}

/** A local Mixpanel: ingestion, export and the reading of profiles. */
export interface Sandbox {
  /** Random, stored in the file, made once. */
  readonly id: string;
  /** Answers one request; `reset` stands for a dropped connection. Rejects when the signal aborts before it stored. */
  handle(request: SandboxRequest, signal?: AbortSignal): Promise<SandboxResponse | 'reset'>;
  /** The same with the body in pieces, where it has any. */
  exchange(request: SandboxRequest, signal?: AbortSignal): Promise<Reply | 'reset'>;
  /**
   * Runs SQL over `events` (what a report shows), `events_raw` (every copy), `profiles`, `groups`, `lookup_tables`,
   * `lookup_rows` and `sandbox`.
   */
  query(sql: string): Promise<Record<string, unknown>[]>;
  /** Keeps an arbitrary copy of each (event, distinct_id, $insert_id, UTC day), as Mixpanel's compaction may. */
  compact(): Promise<void>;
  /** Requests handled, and records accepted, since it was opened. */
  readonly counts: { requests: number; records: number };
  close(): Promise<void>;
}

/** Opens or creates a sandbox. */
export async function openSandbox(options: SandboxOptions): Promise<Sandbox> {
  const store = await SandboxStore.open(options.path, { oldestWins: options.faults?.oldestWins === true });
  for (const [id, name] of Object.entries(options.lookupTables ?? {})) await store.lookup.declare(id, name);
  return new LocalMixpanel(store, options);
}

class LocalMixpanel implements Sandbox {
  readonly counts = { requests: 0, records: 0 };
  readonly #store: SandboxStore;
  readonly #context: Context;
  readonly #endpoints: readonly Endpoint[] = [
    importEndpoint,
    trackEndpoint,
    engageEndpoint,
    groupsEndpoint,
    lookupListEndpoint,
    lookupReplaceEndpoint,
    exportEndpoint,
    engageQueryEndpoint(),
    meEndpoint,
  ];

  constructor(store: SandboxStore, options: SandboxOptions) {
    const random = options.random ?? Math.random;
    this.#store = store;
    this.#context = {
      store,
      gate: new Gate(options.access ?? {}),
      dice: new FaultDice(options.faults ?? {}, random),
      discard: options.discard === true,
      lookupAny: options.lookupTables === undefined,
      now: options.now ?? Date.now,
      random,
      accepted: (records) => {
        this.counts.records += records;
      },
    };
  }

  get id(): string {
    return this.#store.id;
  }

  async handle(request: SandboxRequest, signal?: AbortSignal): Promise<SandboxResponse | 'reset'> {
    const reply = await this.exchange(request, signal);
    return reply === 'reset' ? reply : whole(reply);
  }

  async exchange(request: SandboxRequest, signal?: AbortSignal): Promise<Reply | 'reset'> {
    const { dice, random } = this.#context;
    this.counts.requests++;
    signal?.throwIfAborted();
    if (dice.strikes('resetBefore')) return 'reset';
    if (dice.strikes('error5xx')) return badGateway(random() < 0.5 ? 502 : 503);
    const reply = await this.#route(request, signal);
    const { slowMs } = dice.faults;
    if (slowMs !== undefined && slowMs > 0) await delay(slowMs, undefined, signal ? { signal } : {});
    return reply;
  }

  query(sql: string): Promise<Record<string, unknown>[]> {
    return this.#store.query(sql);
  }

  compact(): Promise<void> {
    return this.#store.compact(this.#context.random());
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #route(request: SandboxRequest, signal: AbortSignal | undefined): Promise<Reply | 'reset'> {
    const url = new URL(request.url, 'http://sandbox');
    const path = url.pathname;
    const endpoint = this.#endpoints.find((candidate) => candidate.path.test(path));
    if (!endpoint) {
      const { family, refused } = absent(path);
      return refuse(family, refused, request.url);
    }
    if (!endpoint.methods.includes(request.method)) {
      const wrong = refusal(405, `only ${endpoint.methods.join(' and ')} is allowed`);
      return refuse(endpoint.family, wrong, request.url);
    }
    const caller = endpoint.authorize(request, url, this.#context);
    if (typeof caller !== 'string') return refuse(endpoint.family, caller, request.url);
    if (this.#context.dice.strikes('error429')) return this.#tooMany(endpoint, caller, request.url);
    const id = decoded(endpoint.path.exec(path)?.[1] ?? '');
    const reply = await this.#answer(endpoint, { request, url, caller, id, signal });
    const struck = endpoint.stores && reply.status !== 429 && this.#context.dice.strikes('resetAfter');
    return struck ? 'reset' : reply;
  }

  async #answer(endpoint: Endpoint, call: Call): Promise<Reply> {
    const reply = await endpoint.handle(call, this.#context);
    if (!isRefusal(reply)) return reply;
    if (reply.refused === 429) return this.#tooMany(endpoint, call.caller, call.request.url, reply.error);
    return refuse(endpoint.family, reply, call.request.url);
  }

  #tooMany(endpoint: Endpoint, caller: string, request: string, error?: string): Reply {
    const usual = endpoint.family === 'query' ? rateLimited(caller) : TOO_MANY;
    const reply = refuse(endpoint.family, refusal(429, error ?? usual), request);
    const { retryAfter } = this.#context.dice.faults;
    if (retryAfter !== undefined) reply.headers['retry-after'] = String(retryAfter);
    return reply;
  }
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
