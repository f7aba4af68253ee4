import type { Lease } from './lease.ts';
import type { Batch, BatchResult } from './mixpanel/batch.ts';
import type { Watch } from './mixpanel/http.ts';
import type { Mixpanel } from './mixpanel/import.ts';
import type { Row } from './warehouses/warehouse.ts';

/** Batches that one statement reads; one holds at most 8 MB. */
const PAGES = 4;
/** Bytes of refusals in one statement: a text of some warehouses holds no more than 64 KB. */
const REFUSALS = 60_000;

export interface DeliverPort {
  /** How many statements may read at a time, so that what takes long to begin is begun in advance. */
  readonly readers: number;
  /** Rows of batch, records and body, in the order of the batches; a batch may come in several rows. */
  pages(from: number, to: number): Promise<readonly Row[]>;
  /**
   * Records what a batch was refused of, in place of what was recorded before; with `more` in addition to it.
   * @param refusals a JSON object of reasons by the record's position in its batch
   */
  outcome(batch: number, outcome: 'refused' | 'maybe', refusals: string, more: 0 | 1): Promise<void>;
  checkpoint(next: number): Promise<void>;
}

export interface Delivery {
  readonly batches: number;
  readonly next: number;
  /** True when an earlier attempt of this run may have sent: what is refused now may be shown all the same. */
  readonly resumed: boolean;
  readonly concurrency: number;
  readonly progress: (records: number) => void;
  readonly note: (text: string) => void;
  readonly unanswered: (startedAt: number) => void;
  /** Aborted when the person asks to stop: batches in flight end, none starts. */
  readonly stop: AbortSignal;
}

/** Sends one batch until each of its records is accepted or refused. */
export type Send = (batch: Batch, watch: Watch, number: number) => Promise<BatchResult>;

interface Refusal {
  readonly index: number;
  readonly reason: string;
}

/**
 * Sends the outbox's batches. The checkpoint is the contiguous prefix of finished batches, so a resend repeats
 * whole batches with the same bytes. An accepted record leaves no trace but the checkpoint; a refused one is
 * written to the outbox before the checkpoint passes it.
 */
export async function deliver(port: DeliverPort, send: Send, lease: Lease, d: Delivery): Promise<void> {
  let read = d.next;
  let prefix = d.next;
  let written = d.next;
  const done = new Set<number>();
  const queue: Page[] = [];
  const reading = new Set<Promise<void>>();
  let checkpointing: Promise<void> = Promise.resolve();
  let failure: unknown;

  const fill = async (): Promise<void> => {
    const from = read;
    read = Math.min(d.batches, from + PAGES);
    const pages = whole(await port.pages(from, read));
    const present = new Set(pages.map((p) => p.batch));
    for (let b = from; b < read; b++) if (!present.has(b)) done.add(b);
    queue.push(...pages);
  };
  const ahead = (): void => {
    const enough = PAGES * (port.readers - 0.5);
    while (failure === undefined && read < d.batches && reading.size * PAGES + queue.length < enough) {
      // Nobody may be waiting for what is read ahead, so its failure is kept, not thrown.
      const one = fill()
        .catch((error: unknown) => {
          failure ??= error;
        })
        .finally(() => reading.delete(one));
      reading.add(one);
    }
  };
  const next = async (): Promise<Page | undefined> => {
    for (;;) {
      if (failure !== undefined) return undefined;
      const page = queue.shift();
      ahead();
      if (page !== undefined || reading.size === 0) return page;
      await Promise.race(reading);
    }
  };
  const advance = async (): Promise<void> => {
    while (done.delete(prefix)) prefix++;
    if (prefix === written) return;
    // One checkpoint at a time; it takes whatever the prefix has become.
    checkpointing = checkpointing.then(async () => {
      if (prefix === written || failure !== undefined) return;
      const to = prefix;
      await lease.write(() => port.checkpoint(to));
      written = to;
    });
    await checkpointing;
  };

  const worker = async (): Promise<void> => {
    while (failure === undefined && !d.stop.aborted) {
      const page = await next();
      if (page === undefined) return;
      const { batch, ...body } = page;
      const result = await send(
        body,
        {
          signal: lease.signal,
          beforeRequest: () => lease.assertFresh(),
          unanswered: d.unanswered,
        },
        batch,
      );
      result.notes.forEach(d.note);
      if (result.refused.length > 0)
        await record(port, batch, result.maybe || d.resumed ? 'maybe' : 'refused', result.refused);
      done.add(batch);
      d.progress(body.records);
      await advance();
    }
  };
  const senders = Array.from({ length: d.concurrency }, () =>
    worker().catch((error: unknown) => {
      failure ??= error;
    }),
  );
  await Promise.all(senders);
  await Promise.all(reading);
  if (failure !== undefined) throw failure instanceof Error ? failure : new Error(JSON.stringify(failure));
  await advance();
}

interface Page {
  readonly batch: number;
  readonly records: number;
  readonly body: string;
}

/** Batches whole again: a warehouse that joins no long texts gives them in pieces. */
function whole(rows: readonly Row[]): readonly Page[] {
  const pages: { batch: number; records: number; bodies: string[] }[] = [];
  for (const row of rows) {
    const [batch, records, body] = [Number(row['batch']), Number(row['records']), String(row['body'])];
    const last = pages.at(-1);
    if (last?.batch === batch) {
      last.records += records;
      last.bodies.push(body);
    } else pages.push({ batch, records, bodies: [body] });
  }
  return pages.map(({ bodies, ...page }) => ({ ...page, body: bodies.join('\n') }));
}

/** Records the refusals of a batch, in as many statements as they need; the checkpoint passes it after the last one. */
async function record(
  port: DeliverPort,
  batch: number,
  outcome: 'refused' | 'maybe',
  refused: readonly Refusal[],
): Promise<void> {
  let more: 0 | 1 = 0;
  let members: string[] = [];
  let bytes = 0;
  const flush = async (): Promise<void> => {
    await port.outcome(batch, outcome, `{${members.join(',')}}`, more);
    [more, members, bytes] = [1, [], 0];
  };
  for (const { index, reason } of refused) {
    const member = `"${index + 1}":${JSON.stringify(reason.slice(0, 500) || 'refused')}`;
    const size = Buffer.byteLength(member) + 1;
    if (bytes + size > REFUSALS) await flush();
    members.push(member);
    bytes += size;
  }
  await flush();
}

/**
 * Sends the outbox as one CSV, which replaces a lookup table or changes nothing: it has no checkpoint before its end.
 * @returns why Mixpanel refused it
 */
export async function deliverTable(
  port: DeliverPort,
  mixpanel: Mixpanel,
  lease: Lease,
  table: { readonly id: string; readonly header: string },
  d: Delivery,
): Promise<string | undefined> {
  const records = new Map<number, number>();
  async function* csv(): AsyncGenerator<string> {
    yield `${table.header}\n`;
    for (let from = 0; from < d.batches; from += PAGES)
      for (const page of whole(await port.pages(from, Math.min(d.batches, from + PAGES)))) {
        records.set(page.batch, page.records);
        yield `${page.body}\n`;
      }
  }
  const result = await mixpanel.replaceLookup(table.id, csv(), {
    signal: lease.signal,
    beforeRequest: () => lease.assertFresh(),
    unanswered: d.unanswered,
  });
  if (result.accepted) result.notes.forEach(d.note);
  else {
    const outcome = result.maybe || d.resumed ? 'maybe' : 'refused';
    for (const [batch, count] of records) {
      const all = Array.from({ length: count }, (_, index) => ({ index, reason: result.reason }));
      await record(port, batch, outcome, all);
    }
  }
  await lease.write(() => port.checkpoint(d.batches));
  if (!result.accepted) return result.reason;
  d.progress([...records.values()].reduce((sum, n) => sum + n, 0));
  return undefined;
}
