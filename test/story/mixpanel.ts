import type { Server } from './scheduler.ts';

interface Stored {
  readonly event: string;
  readonly properties: Readonly<Record<string, unknown>>;
}

/** How it refuses: by naming the records, by a 400 that names none, or everything that is more than one record. */
export type Manner = 'names' | 'nameless' | 'too-large';

interface Sending {
  readonly run: number;
  readonly batches: number;
  checkpoint: number;
  /** Requests that may be made: a whole batch or, after a 400 or 413, neighbours in it. */
  readonly bodies: ReadonlyMap<string, { readonly batch: number; readonly records: number }>;
}

/**
 * Mixpanel in memory: the newest copy of an id is shown; what it refuses comes and goes, but never for what it once
 * took. It also judges each request: only a batch of the captured run that is not behind the checkpoint may be sent,
 * byte for byte, and not again once it was answered.
 */
export class Mixpanel implements Server {
  readonly view = new Map<string, Stored>();
  refusing: ((insertId: string, tombstone: boolean) => boolean) | null = null;
  manner: Manner = 'names';
  /** Refuses also what it once took. */
  forgets = false;
  /** Records of all requests, of captured batches, and of requests that were made before. */
  records = 0;
  captured = 0;
  resent = 0;
  problem: string | undefined;
  readonly #ever = new Set<string>();
  readonly #taken = new Set<string>();
  readonly #refused = new Set<string>();
  readonly #started = new Set<string>();
  readonly #answered = new Set<string>();
  readonly #whole = new Set<string>();
  #sending: Sending | undefined;

  /** A run became `sending` with these payloads by batch. `once`: what Mixpanel took is not captured again. */
  captures(run: number, batches: readonly (readonly string[])[], once: boolean): void {
    for (const line of once ? batches.flat() : []) {
      const record = JSON.stringify(JSON.parse(line));
      if (this.#taken.has(record) && !this.#refused.has(record)) this.#blame(`captured again: ${line}`);
    }
    const bodies = new Map<string, { batch: number; records: number }>();
    for (const [batch, lines] of batches.entries()) {
      for (let from = 0; from < lines.length; from++)
        for (let to = lines.length; to > from; to--)
          bodies.set(`[${lines.slice(from, to).join(',\n')}]`, { batch, records: to - from });
      this.#whole.add(`${run} [${lines.join(',\n')}]`);
      this.captured += lines.length;
    }
    this.#sending = { run, batches: batches.length, checkpoint: 0, bodies };
  }

  reaches(run: number, next: number): void {
    if (this.#sending?.run === run) this.#sending.checkpoint = next;
  }

  request(actor: string, body: string): (status: number) => void {
    const sending = this.#sending;
    const known = sending?.bodies.get(body);
    if (!sending || !known) {
      this.#blame(`a request that no captured run has: ${body}`);
      return () => undefined;
    }
    const id = `${sending.run} ${body}`;
    this.records += known.records;
    if (this.#started.has(id) || !this.#whole.has(id)) this.resent += known.records;
    if (known.batch < sending.checkpoint) this.#blame(`batch ${known.batch} is sent behind the checkpoint: ${body}`);
    if (this.#answered.has(`${actor} ${id}`)) this.#blame(`an answered batch is sent again: ${body}`);
    if (!this.#started.has(id) && !this.#whole.has(id) && !this.#split(sending, known.batch))
      this.#blame(`a part of a batch that no refusal split: ${body}`);
    this.#started.add(id);
    return (status) => {
      if (status === 200 || status === 400) this.#answered.add(`${actor} ${id}`);
    };
  }

  store(body: string): { status: number; body: string } {
    const batch = JSON.parse(body) as Stored[];
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
      if (this.refusing?.(String(p['$insert_id']), tombstone) && (this.forgets || !this.#taken.has(line))) {
        failed.push({ index, message: 'refused' });
        this.#refused.add(line);
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

  shown(): string[] {
    return this.#rows().map(canonical).sort();
  }

  insertIds(): string[] {
    return this.#rows()
      .map((r) => String(r.properties['$insert_id']))
      .sort();
  }

  #rows(): Stored[] {
    return [...this.view.values()].filter((r) => r.properties['syncline_deleted'] !== true);
  }

  #split({ run, bodies }: Sending, batch: number): boolean {
    return [...bodies].some(
      ([body, b]) => b.batch === batch && this.#whole.has(`${run} ${body}`) && this.#started.has(`${run} ${body}`),
    );
  }

  #blame(problem: string): void {
    this.problem ??= problem;
  }
}

const idOf = ({ event, properties: p }: Stored): string =>
  [event, p['distinct_id'], p['time'], p['$insert_id']].join('\n');

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
