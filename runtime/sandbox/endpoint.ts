import type { Gate } from './access.ts';
import type { FaultDice } from './faults.ts';
import type { Family, Refusal, Reply, SandboxRequest } from './http.ts';
import type { SandboxStore } from './store.ts';

/** What every endpoint works with. */
export interface Context {
  readonly store: SandboxStore;
  readonly gate: Gate;
  readonly dice: FaultDice;
  readonly discard: boolean;
  /** Whether a lookup table comes to be with its first rows, which Mixpanel's public API never does. */
  readonly lookupAny: boolean;
  readonly now: () => number;
  readonly random: () => number;
  /** Books accepted records. */
  readonly accepted: (records: number) => void;
}

/** One request on its way through an endpoint. */
export interface Call {
  readonly request: SandboxRequest;
  readonly url: URL;
  /** What the credentials say: a project, or an account; empty where records carry a token. */
  readonly caller: string;
  /** The part of the path that the endpoint's pattern captured. */
  readonly id: string;
  readonly signal: AbortSignal | undefined;
}

/** A path of the sandbox. */
export interface Endpoint {
  readonly path: RegExp;
  readonly methods: readonly string[];
  readonly family: Family;
  /** Requests that change something are struck by a reset after storing. */
  readonly stores: boolean;
  readonly authorize: (request: SandboxRequest, url: URL, context: Context) => string | Refusal;
  readonly handle: (call: Call, context: Context) => Promise<Reply | Refusal>;
}

/** Sources: Mixpanel docs "Import Events", "User Profile Limits"; the 413 text is of OpenAPI "ingestion". */
export const MAX_RECORDS = 2000;
export const MAX_BYTES = 10 * 1024 * 1024;

/** Source: Mixpanel docs "Lookup Tables". */
export const MAX_CSV_BYTES = 100 * 1024 * 1024;

export const TOO_MANY = 'Project exceeded rate limits. Please retry the request with exponential backoff.';
