/** How often a fault strikes: a probability from 0 to 1, or the first so many requests it could strike. */
export type Chance = number | { readonly first: number };

/** What a refusing function gets to see of a record. */
export interface RefusableRecord {
  readonly event: string;
  readonly distinct_id: string;
  readonly insert_id: string;
}

/**
 * What goes wrong on purpose. Nothing does unless it is named here.
 * Sources: Mixpanel docs "Import Events" (429, 502, 503), "Event Deduplication" (compaction, which copy a query
 * picks), "Data Clean-Up" (Lexicon drops).
 */
export interface Faults {
  /** Answers 429 before anything is stored. */
  readonly error429?: Chance;
  /** Seconds for the `Retry-After` header of a 429; Mixpanel does not promise one. */
  readonly retryAfter?: number;
  /** Answers 502 or 503 with an HTML page before anything is stored. */
  readonly error5xx?: Chance;
  /** Drops the connection before anything is stored. */
  readonly resetBefore?: Chance;
  /** Drops the connection after the batch was stored. */
  readonly resetAfter?: Chance;
  /** Delays every answer, after storing: a client that times out has nevertheless delivered. */
  readonly slowMs?: number;
  /** Insert ids and distinct ids that are refused, or a function that returns the message of a refusal. */
  readonly refuse?: readonly string[] | ((record: RefusableRecord) => string | undefined);
  /** Compacts after a stored request: an arbitrary copy of each event survives, not the newest. */
  readonly compaction?: Chance;
  /** Reports show the oldest copy of an event instead of the newest. */
  readonly oldestWins?: boolean;
  /** Event names that are accepted, counted and dropped. */
  readonly lexiconDrop?: readonly string[];
  /** An export ends after half of its first lines with the line `terminated early`, and with 200. */
  readonly terminatedEarly?: Chance;
  /** An export ends within a line, and with 200. */
  readonly cutExport?: Chance;
  /** Enforces 100 replaced lookup tables a day, 60 exports and 60 profile queries an hour, 3 exports a second. */
  readonly callLimits?: boolean;
  /** Enforces this many events a second and 2 GB a minute over a rolling minute; Mixpanel allows 30000. */
  readonly rateLimit?: number;
}

/** The faults that strike by chance. */
export type ChanceFault =
  'error429' | 'error5xx' | 'resetBefore' | 'resetAfter' | 'compaction' | 'terminatedEarly' | 'cutExport';

type Writable = { -readonly [K in keyof Faults]: Faults[K] };

const chanceNames: ReadonlyMap<string, ChanceFault> = new Map([
  ['429', 'error429'],
  ['5xx', 'error5xx'],
  ['reset-before', 'resetBefore'],
  ['reset-after', 'resetAfter'],
  ['compaction', 'compaction'],
  ['terminated-early', 'terminatedEarly'],
  ['cut-export', 'cutExport'],
]);

const numberNames: ReadonlyMap<string, 'retryAfter' | 'slowMs' | 'rateLimit'> = new Map([
  ['retry-after', 'retryAfter'],
  ['slow', 'slowMs'],
  ['rate-limit', 'rateLimit'],
]);

const listNames: ReadonlyMap<string, 'refuse' | 'lexiconDrop'> = new Map([
  ['refuse', 'refuse'],
  ['lexicon-drop', 'lexiconDrop'],
]);

/**
 * Reads `429=0.1,5xx=0.05,reset-before=3x,slow=200,oldest-wins,refuse=id1|id2`: `0.1` is a probability, `3x` the
 * first three requests, lists are separated by `|`.
 */
export function parseFaults(text: string): Faults {
  const faults: Writable = {};
  for (const item of text.split(',').map((part) => part.trim())) {
    if (item === '') continue;
    const [name, value] = splitOnce(item);
    const chance = chanceNames.get(name);
    const number = numberNames.get(name);
    const list = listNames.get(name);
    if (chance) faults[chance] = parseChance(name, value);
    else if (number) faults[number] = parseNumber(name, value);
    else if (list) faults[list] = value.split('|').filter(Boolean);
    else if (name === 'oldest-wins') faults.oldestWins = true;
    else if (name === 'call-limits') faults.callLimits = true;
    else throw new Error(`The fault "${name}" is unknown; there are ${known().join(', ')}.`);
  }
  return faults;
}

const flags = ['oldest-wins', 'call-limits'];

const known = (): string[] => [...chanceNames.keys(), ...numberNames.keys(), ...listNames.keys(), ...flags];

function splitOnce(item: string): [string, string] {
  const at = item.indexOf('=');
  return at < 0 ? [item, ''] : [item.slice(0, at).trim(), item.slice(at + 1).trim()];
}

function parseChance(name: string, value: string): Chance {
  const first = /^(\d+)x$/.exec(value)?.[1];
  if (first !== undefined) return { first: Number(first) };
  const probability = Number(value);
  if (value !== '' && probability >= 0 && probability <= 1) return probability;
  throw new Error(`The fault "${name}" needs a probability such as 0.1 or a count such as 3x, not "${value}".`);
}

function parseNumber(name: string, value: string): number {
  const number = Number(value);
  if (value !== '' && Number.isFinite(number) && number >= 0) return number;
  throw new Error(`The fault "${name}" needs a number, not "${value}".`);
}

/** Decides which faults strike: the data of {@link Faults} plus what has to be remembered between requests. */
export class FaultDice {
  readonly faults: Faults;
  readonly #random: () => number;
  readonly #struck = new Map<ChanceFault, number>();
  readonly #dropped: ReadonlySet<string>;
  readonly #refused: ReadonlySet<string>;
  readonly #calls = new Map<string, number[]>();
  readonly #window: { at: number; events: number; bytes: number }[] = [];

  constructor(faults: Faults, random: () => number) {
    this.faults = faults;
    this.#random = random;
    this.#dropped = new Set(faults.lexiconDrop);
    this.#refused = new Set(typeof faults.refuse === 'function' ? [] : faults.refuse);
  }

  /** Draws from the random source only for faults that are switched on, so a seed replays. */
  strikes(fault: ChanceFault): boolean {
    const chance = this.faults[fault];
    if (chance === undefined) return false;
    if (typeof chance === 'number') return this.#random() < chance;
    const struck = this.#struck.get(fault) ?? 0;
    this.#struck.set(fault, struck + 1);
    return struck < chance.first;
  }

  drops(event: string): boolean {
    return this.#dropped.has(event);
  }

  /** The field and message of a refusal on purpose. */
  refusal(record: RefusableRecord): { field: string; message: string } | undefined {
    const { refuse } = this.faults;
    if (refuse === undefined) return undefined;
    if (typeof refuse === 'function') {
      const message = refuse(record);
      return message === undefined ? undefined : { field: 'event', message };
    }
    if (this.#refused.has(record.insert_id)) return { field: '$insert_id', message: "'$insert_id' is refused" };
    if (!this.#refused.has(record.distinct_id)) return undefined;
    return { field: 'properties.distinct_id', message: "'properties.distinct_id' is refused" };
  }

  /** Whether the rolling minute has room for this batch, and books it if so. Source: Mixpanel docs "Import Events". */
  admits(at: number, events: number, bytes: number): boolean {
    if (this.faults.rateLimit === undefined) return true;
    while (this.#window[0] && this.#window[0].at <= at - 60_000) this.#window.shift();
    const total = (of: 'events' | 'bytes'): number => this.#window.reduce((sum, batch) => sum + batch[of], 0);
    if (total('events') + events > this.faults.rateLimit * 60 || total('bytes') + bytes > 2e9) return false;
    this.#window.push({ at, events, bytes });
    return true;
  }

  /** Whether one more call of this kind fits its rolling window, and books it if so. Source: docs "Rate Limits". */
  mayCall(kind: string, at: number, calls: number, windowMs: number): boolean {
    if (this.faults.callLimits !== true) return true;
    const recent = (this.#calls.get(kind) ?? []).filter((time) => time > at - windowMs);
    this.#calls.set(kind, recent);
    if (recent.length >= calls) return false;
    recent.push(at);
    return true;
  }
}
