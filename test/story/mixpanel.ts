import type { Server } from './scheduler.ts';

interface Stored {
  readonly event: string;
  readonly properties: Readonly<Record<string, unknown>>;
}

type Names = Readonly<Record<string, unknown>>;

/** One operation on a profile. */
interface Update {
  readonly $distinct_id?: string;
  readonly $group_key?: string;
  readonly $group_id?: string;
  readonly $set?: Names;
  readonly $unset?: readonly string[];
  readonly $delete?: '';
}

/**
 * How it refuses: by naming the records, by a 400 that names none, everything that is more than one record, or by
 * naming records and leaving the others of the request out as well (profiles only).
 */
export type Manner = 'names' | 'nameless' | 'too-large' | 'names-alone';

interface Sending {
  readonly run: number;
  readonly batches: readonly (readonly string[])[];
  checkpoint: number;
  /** The CSV of a lookup table. */
  readonly csv: string | undefined;
  /** Batch and position of each record. */
  readonly places: ReadonlyMap<string, { readonly batch: number; readonly position: number }>;
}

export interface Capture {
  readonly run: number;
  /** Payloads by batch. */
  readonly batches: readonly (readonly string[])[];
  /** Payloads that take back a profile whose row is gone. */
  readonly gone: readonly string[];
  /** Payloads that are not captured again once Mixpanel took them. */
  readonly once: readonly string[];
  /** First line of a lookup table. */
  readonly header: string | undefined;
}

/** One record of a batch that was requested. */
export interface Received {
  readonly line: string;
  readonly isEvent: boolean;
}

interface Reply {
  readonly status: number;
  readonly body: string;
}

const TOKEN = '{"$token":"x",';

/**
 * Mixpanel in memory: the newest copy of an event's id is shown, updates of profiles are applied as they come, a
 * lookup table is replaced whole. What it refuses comes and goes, but never for what it once took. It also judges each
 * request: only a batch of the captured run that is not behind the checkpoint may be sent, byte for byte, and not
 * again once it was answered.
 */
export class Mixpanel implements Server {
  readonly view = new Map<string, Stored>();
  readonly profiles = new Map<string, Map<string, unknown>>();
  table: readonly string[] = [];
  refusing: ((id: string, tombstone: boolean) => boolean) | null = null;
  manner: Manner = 'names';
  /** Refuses also what it once took. */
  forgets = false;
  /** Records of all requests, of captured batches, and of requests that were made before. */
  records = 0;
  captured = 0;
  resent = 0;
  problem: string | undefined;
  /** Ids of rows and profiles that were refused at least once. */
  readonly refused = new Set<string>();
  /** Properties of profiles that a sync may touch. */
  own: ReadonlySet<string> = new Set();
  readonly #ever = new Set<string>();
  readonly #taken = new Set<string>();
  readonly #refusedLines = new Set<string>();
  readonly #started = new Set<string>();
  readonly #answered = new Set<string>();
  readonly #whole = new Set<string>();
  #sending: Sending | undefined;
  /** Lines by batch, since they were last taken. */
  #received = new Map<number, { readonly isEvent: boolean; readonly lines: Set<string> }>();

  /** Every record that was requested since the last call, each once however often it was tried. */
  takeReceived(): readonly Received[] {
    const received = [...this.#received].flatMap(([batch, { isEvent, lines }]) =>
      (this.#sending?.batches[batch] ?? []).filter((line) => lines.has(line)).map((line) => ({ line, isEvent })),
    );
    this.#received = new Map();
    return received;
  }

  /** A run became `sending`. */
  captures({ run, batches, gone, once, header }: Capture): void {
    for (const line of gone)
      if (!this.#ever.has(profileOf(JSON.parse(line) as Update))) this.#blame(`taken back, but never sent: ${line}`);
    for (const line of once) {
      const record = JSON.stringify(JSON.parse(line));
      if (this.#taken.has(record) && !this.#refusedLines.has(record)) this.#blame(`captured again: ${line}`);
    }
    const places = new Map<string, { batch: number; position: number }>();
    for (const [batch, lines] of batches.entries()) {
      for (const [position, line] of lines.entries()) places.set(line, { batch, position });
      this.#whole.add(`${run} ${lines.join('\n')}`);
      this.captured += lines.length;
    }
    const csv = header === undefined ? undefined : `${[header, ...batches.flat()].join('\n')}\n`;
    if (csv !== undefined) this.#whole.add(`${run} ${csv}`);
    this.#sending = { run, batches, checkpoint: 0, csv, places };
  }

  reaches(run: number, next: number): void {
    if (this.#sending?.run === run) this.#sending.checkpoint = next;
  }

  request(actor: string, url: string, body: string): (status: number) => void {
    const sending = this.#sending;
    const known = sending && this.#known(sending, url, body);
    if (!sending || !known) {
      this.#blame(`a request that no captured run has: ${url} ${body}`);
      return () => undefined;
    }
    const id = `${sending.run} ${known.lines}`;
    const isWhole = this.#whole.has(id);
    this.records += known.records;
    if (this.#started.has(id) || !isWhole) this.resent += known.records;
    if (known.batch < sending.checkpoint) this.#blame(`batch ${known.batch} is sent behind the checkpoint: ${body}`);
    if (this.#answered.has(`${actor} ${id}`)) this.#blame(`an answered batch is sent again: ${body}`);
    const whole = `${sending.run} ${(sending.batches[known.batch] ?? []).join('\n')}`;
    if (!this.#started.has(id) && !isWhole && !this.#started.has(whole))
      this.#blame(`a part of a batch that no refusal split: ${body}`);
    this.#started.add(id);
    // A lookup table is one request, whatever its batches are.
    const isTable = sending.csv !== undefined;
    for (const [batch, lines] of sending.batches.entries()) {
      if (!isTable && batch !== known.batch) continue;
      const received = this.#received.get(batch) ?? { isEvent: endpointOf(url) === 'events', lines: new Set<string>() };
      for (const line of isTable ? lines : known.lines.split('\n')) received.lines.add(line);
      this.#received.set(batch, received);
    }
    return (status) => {
      if (status === 200 || status === 400) this.#answered.add(`${actor} ${id}`);
    };
  }

  /** A lookup table, or records of one batch in their order; only `/engage` and `/groups` may leave some out. */
  #known(
    sending: Sending,
    url: string,
    body: string,
  ): { readonly batch: number; readonly records: number; readonly lines: string } | undefined {
    const endpoint = endpointOf(url);
    if (endpoint === 'lookup')
      return sending.csv === body ? { batch: 0, records: sending.places.size, lines: body } : undefined;
    const lines = body.slice(1, -1).split(',\n');
    if (body !== `[${lines.join(',\n')}]` || sending.csv !== undefined) return undefined;
    const isProfile = endpoint === 'profiles';
    if (isProfile && !lines.every((line) => line.startsWith(TOKEN))) return undefined;
    const payloads = isProfile ? lines.map((line) => `{${line.slice(TOKEN.length)}`) : lines;
    const places = payloads.map((line) => sending.places.get(line));
    const first = places[0];
    const fits = places.every(
      (p, i) =>
        p &&
        first &&
        p.batch === first.batch &&
        (isProfile ? i === 0 || p.position > places[i - 1]!.position : p.position === first.position + i),
    );
    return first && fits ? { batch: first.batch, records: lines.length, lines: payloads.join('\n') } : undefined;
  }

  store(url: string, body: string): Reply {
    const endpoint = endpointOf(url);
    if (endpoint === 'events') return this.#events(JSON.parse(body) as Stored[]);
    return endpoint === 'lookup' ? this.#replace(body) : this.#profiles(JSON.parse(body) as Update[]);
  }

  #events(batch: readonly Stored[]): Reply {
    if (this.manner === 'too-large' && batch.length > 1) return { status: 413, body: '<html>' };
    const failed: { index: number; message: string }[] = [];
    const accepted: [string, string, Stored][] = [];
    for (const [index, record] of batch.entries()) {
      const { properties: p } = record;
      const id = idOf(record);
      const line = JSON.stringify(record);
      const tombstone = p['syncline_deleted'] === true;
      // A record that was refused after an attempt without answer counts as maybe shown, so its tombstone is right.
      if (tombstone && !this.#ever.has(id)) this.#blame(`tombstone for what was never sent: ${line}`);
      this.#ever.add(id);
      if (this.#refuses(String(p['$insert_id']), tombstone, line)) {
        failed.push({ index, message: 'refused' });
        // A tombstone does not say which row it was: its copy that is shown does.
        this.refused.add(rowOf({ ...this.view.get(id)?.properties, ...p }));
      } else accepted.push([id, line, record]);
    }
    if (failed.length > 0 && this.manner === 'nameless') return { status: 400, body: '{"code":400,"error":"bad"}' };
    for (const [id, line, record] of accepted) {
      this.#taken.add(line);
      this.view.set(id, record);
    }
    const count = { num_records_imported: accepted.length };
    return failed.length === 0
      ? { status: 200, body: JSON.stringify({ code: 200, ...count }) }
      : { status: 400, body: JSON.stringify({ code: 400, failed_records: failed, ...count }) };
  }

  #profiles(batch: readonly Update[]): Reply {
    if (this.manner === 'too-large' && batch.length > 1) return { status: 413, body: '<html>' };
    const failed: { index: number; message: string }[] = [];
    const accepted: [string, string, Update][] = [];
    for (const [index, update] of batch.entries()) {
      const id = profileOf(update);
      const line = JSON.stringify({ ...update, $token: undefined });
      const [name] = id.split('/').slice(-1);
      const touched = [...Object.keys(update.$set ?? {}), ...(update.$unset ?? [])];
      const foreign = touched.filter((n) => !this.own.has(n));
      if (foreign.length > 0) this.#blame(`a property that is not the sync's: ${line}`);
      if (update.$set) this.#ever.add(id);
      if (this.#refuses(hash(line), !update.$set, line)) {
        failed.push({ index, message: 'refused' });
        this.refused.add(name!);
      } else accepted.push([id, line, update]);
    }
    const nothing = failed.length > 0 && this.manner === 'names-alone';
    if (failed.length > 0 && this.manner === 'nameless') return { status: 200, body: '{"status":0,"error":"bad"}' };
    for (const [id, line, update] of nothing ? [] : accepted) {
      this.#taken.add(line);
      this.#update(id, update);
    }
    const count = { num_good_events: nothing ? 0 : accepted.length };
    return failed.length === 0
      ? { status: 200, body: JSON.stringify({ code: 200, status: 'OK', ...count }) }
      : { status: 400, body: JSON.stringify({ code: 400, failed_records: failed, ...count }) };
  }

  #update(id: string, { $set, $unset = [], $delete }: Update): void {
    if ($delete !== undefined) return void this.profiles.delete(id);
    const profile = this.profiles.get(id) ?? new Map<string, unknown>();
    for (const [name, value] of Object.entries($set ?? {})) profile.set(name, value);
    for (const name of $unset) profile.delete(name);
    this.profiles.set(id, profile);
  }

  #replace(csv: string): Reply {
    if (this.manner === 'too-large') return { status: 413, body: '<html>' };
    if (this.#refuses(hash(csv), false, csv))
      return {
        status: 400,
        body: JSON.stringify({ code: 400, error: 'some rows are invalid', status: 'Bad Request' }),
      };
    this.#taken.add(csv);
    this.table = parseCsv(csv).slice(1).map(canonicalRow);
    return { status: 200, body: '{"code":200,"status":"OK"}' };
  }

  #refuses(id: string, tombstone: boolean, line: string): boolean {
    const refuses = this.refusing?.(id, tombstone) === true && (this.forgets || !this.#taken.has(line));
    if (refuses) this.#refusedLines.add(line);
    return refuses;
  }

  /** What is shown, by row id: of profiles also those without a property. */
  shown(): { readonly id: string; readonly image: string }[] {
    const profiles = [...this.profiles].map(([id, properties]) => {
      const name = id.slice(id.indexOf('/') + 1);
      return { id: name, image: canonicalProfile(name, Object.fromEntries(properties)) };
    });
    const rows = this.table.map((image) => ({ id: (JSON.parse(image) as string[])[0]!, image }));
    const events = this.#rows().map((r) => ({ id: rowOf(r.properties), image: canonical(r) }));
    return [...events, ...profiles, ...rows];
  }

  insertIds(): string[] {
    return this.#rows()
      .map((r) => String(r.properties['$insert_id']))
      .sort();
  }

  #rows(): Stored[] {
    return [...this.view.values()].filter((r) => r.properties['syncline_deleted'] !== true);
  }

  #blame(problem: string): void {
    this.problem ??= problem;
  }
}

function endpointOf(url: string): 'events' | 'profiles' | 'lookup' {
  const { pathname } = new URL(url);
  if (pathname === '/import') return 'events';
  return pathname.startsWith('/lookup-tables/') ? 'lookup' : 'profiles';
}

const idOf = ({ event, properties: p }: Stored): string =>
  [event, p['distinct_id'], p['time'], p['$insert_id']].join('\n');

const profileOf = (u: Update): string => u.$distinct_id ?? `${u.$group_key}/${u.$group_id}`;

/** The row that an event is of; a version of a history has its id in place of a key. */
const rowOf = (p: Names): string => String(p['id'] ?? p['company'] ?? p['distinct_id']);

/** FNV-1a, as eight hex digits. */
function hash(text: string): string {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return (h >>> 0).toString(16).padStart(8, '0');
}

function parseCsv(csv: string): string[][] {
  const rows: string[][] = [[]];
  const fields = /("(?:[^"]|"")*"|[^",\n]*)(,|\n)/gy;
  for (let m = fields.exec(csv); m; m = fields.exec(csv)) {
    const [, field = '', end] = m;
    rows.at(-1)!.push(field.startsWith('"') ? field.slice(1, -1).replaceAll('""', '"') : field);
    if (end === '\n') rows.push([]);
  }
  if (rows.pop()?.length !== 0) throw new Error(`no CSV: ${csv}`);
  return rows;
}

const OWN = new Set(['$insert_id', 'syncline_sync', 'syncline_warehouse', 'ip', '$user_id']);

/** An event as text, without what syncline itself adds. */
export function canonical({ event, properties }: Stored): string {
  return JSON.stringify([
    event,
    Object.entries(properties)
      .filter(([name]) => !OWN.has(name))
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  ]);
}

/** A profile as text. */
export function canonicalProfile(id: string, properties: Names): string {
  return JSON.stringify([id, Object.entries(properties).sort(([a], [b]) => (a < b ? -1 : 1))]);
}

/** A row of a lookup table as text; a number is the same whatever its digits. */
export function canonicalRow(fields: readonly string[]): string {
  return JSON.stringify(fields.map((f) => (/^-?\d+\.\d+$/.test(f) ? String(Number(f)) : f)));
}
