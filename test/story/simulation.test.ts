import { expect, test } from 'vitest';
import type { Shape } from './history.ts';
import { history } from './history.ts';

/** `SEED=…` replays one history, `HISTORIES=…` runs more than CI does. */
const only = process.env['SEED'];
const count = Number(process.env['HISTORIES'] ?? 510);

for (const shape of ['keyed', 'unkeyed', 'append'] as const satisfies Shape[]) {
  test(`${shape}: histories with kills, pauses, lost answers and two holders end in equality`, async () => {
    const seeds = only === undefined ? Array.from({ length: Math.ceil(count / 3) }, (_, i) => i + 1) : [Number(only)];
    for (const seed of seeds) {
      const { problem, trace } = await history(shape, seed);
      expect(problem === undefined ? '' : `SEED=${seed} (${shape}): ${problem}\n${trace.slice(-150).join('\n')}`).toBe(
        '',
      );
    }
  });
}
