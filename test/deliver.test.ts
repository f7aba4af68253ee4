import { expect, test } from 'vitest';
import { deliver } from '../runtime/deliver.ts';
import { Lease } from '../runtime/lease.ts';
import type { World } from '../runtime/world.ts';

const lease = (): Lease =>
  new Lease({ now: () => 0, monotonic: () => 0 } as World, 60_000, () => Promise.resolve(), { wall: 0, monotonic: 0 });
const PORT = {
  readers: 1,
  pages: () => Promise.resolve([]),
  outcome: () => Promise.resolve(),
  checkpoint: () => Promise.resolve(),
};
const DELIVERY = {
  ...{ next: 0, resumed: false, concurrency: 1, stop: new AbortController().signal },
  ...{ progress: () => undefined, note: () => undefined, unanswered: () => undefined },
};

test('what fails while it is read ahead fails the delivery, and nothing is sent or recorded after it', async () => {
  const sent: string[] = [];
  const checkpoints: number[] = [];
  let reads = 0;
  const delivered = deliver(
    {
      ...PORT,
      pages: (from, to) =>
        ++reads > 1
          ? Promise.reject(new Error('the connection is gone'))
          : Promise.resolve(Array.from({ length: to - from }, (_, i) => ({ batch: from + i, records: 1, body: '{}' }))),
      checkpoint: (next) => Promise.resolve(void checkpoints.push(next)),
    },
    async () => {
      sent.push('batch');
      await new Promise((resolve) => setTimeout(resolve, 5));
      return { refused: [], maybe: false, notes: [] };
    },
    lease(),
    { ...DELIVERY, batches: 12 },
  );
  await expect(delivered).rejects.toThrow('the connection is gone');
  expect(sent.length).toBeLessThanOrEqual(4);
  expect(checkpoints.every((next) => next <= 4)).toBe(true);
});

test.each([1, 3])(
  'with %i readers so many reads are on their way at most, and each batch is sent once',
  async (readers) => {
    const sent: number[] = [];
    const checkpoints: number[] = [];
    let [reads, most, waiting] = [0, 0, 0];
    await deliver(
      {
        ...PORT,
        readers,
        pages: async (from, to) => {
          most = Math.max(most, ++reads);
          // The later ones come first.
          await new Promise((resolve) => setTimeout(resolve, 20 - (from % 12)));
          reads--;
          waiting += to - from;
          return Array.from({ length: to - from }, (_, i) => ({ batch: from + i, records: 1, body: '{}' }));
        },
        checkpoint: (next) => Promise.resolve(void checkpoints.push(next)),
      },
      async (_, __, number) => {
        // What is read ahead of the senders stays within what the readers hold.
        expect(waiting).toBeLessThanOrEqual(4 * readers + 2);
        waiting--;
        sent.push(number);
        await new Promise((resolve) => setTimeout(resolve, 1));
        return { refused: [], maybe: false, notes: [] };
      },
      lease(),
      { ...DELIVERY, batches: 50 },
    );
    expect(most).toBe(readers);
    expect(sent.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i));
    expect(checkpoints.at(-1)).toBe(50);
    expect(checkpoints).toEqual(checkpoints.toSorted((a, b) => a - b));
  },
);

test('a batch that comes in pieces is sent as one', async () => {
  const sent: unknown[] = [];
  const rows = ['a', 'b', 'c'].map((body, i) => ({ batch: i === 2 ? 2 : 0, records: 1, body }));
  await deliver(
    { ...PORT, pages: () => Promise.resolve(rows) },
    (batch, _, number) => {
      sent.push([number, batch]);
      return Promise.resolve({ refused: [], maybe: false, notes: [] });
    },
    lease(),
    { ...DELIVERY, batches: 3 },
  );
  expect(sent).toEqual([
    [0, { body: 'a\nb', records: 2 }],
    [2, { body: 'c', records: 1 }],
  ]);
});

test('refusals that do not fit one text are recorded in several statements before the checkpoint passes', async () => {
  const told: [string, number][] = [];
  await deliver(
    {
      ...PORT,
      pages: () => Promise.resolve([{ batch: 0, records: 300, body: 'x' }]),
      outcome: (_, __, refusals, more) => Promise.resolve(void told.push([refusals, more])),
      checkpoint: () => Promise.resolve(void told.push(['checkpoint', 0])),
    },
    () => Promise.resolve({ refused: refused(300), maybe: false, notes: [] }),
    lease(),
    { ...DELIVERY, batches: 1 },
  );
  expect(told.map(([, more]) => more)).toEqual([0, 1, 1, 0]);
  expect(told.at(-1)?.[0]).toBe('checkpoint');
  const texts = told.slice(0, -1).map(([text]) => text);
  expect(texts.every((text) => Buffer.byteLength(text) <= 65_535)).toBe(true);
  const all = Object.assign({}, ...texts.map((text) => JSON.parse(text) as object)) as Record<string, string>;
  expect(Object.keys(all)).toHaveLength(300);
  expect(all['300']).toBe('é'.repeat(250));
});

const refused = (n: number) => Array.from({ length: n }, (_, index) => ({ index, reason: 'é'.repeat(250) }));
