import { expect, test } from 'vitest';
import { deliver } from '../runtime/deliver.ts';
import { Lease } from '../runtime/lease.ts';
import type { World } from '../runtime/world.ts';

test('what fails while it is read ahead fails the delivery, and nothing is sent or recorded after it', async () => {
  const world = { now: () => 0, monotonic: () => 0 } as World;
  const lease = new Lease(world, 60_000, () => Promise.resolve(), { wall: 0, monotonic: 0 });
  const sent: string[] = [];
  const checkpoints: number[] = [];
  let reads = 0;
  const delivered = deliver(
    {
      pages: (from, to) =>
        ++reads > 1
          ? Promise.reject(new Error('the connection is gone'))
          : Promise.resolve(Array.from({ length: to - from }, (_, i) => ({ batch: from + i, records: 1, body: '{}' }))),
      outcome: () => Promise.resolve(),
      checkpoint: (next) => Promise.resolve(void checkpoints.push(next)),
    },
    async () => {
      sent.push('batch');
      await new Promise((resolve) => setTimeout(resolve, 5));
      return { refused: [], maybe: false, notes: [] };
    },
    lease,
    {
      ...{ batches: 12, next: 0, resumed: false, concurrency: 1, stop: new AbortController().signal },
      ...{ progress: () => undefined, note: () => undefined, unanswered: () => undefined },
    },
  );
  await expect(delivered).rejects.toThrow('the connection is gone');
  expect(sent.length).toBeLessThanOrEqual(4);
  expect(checkpoints.every((next) => next <= 4)).toBe(true);
});
