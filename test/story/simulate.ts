import { expect, test } from 'vitest';
import { history } from './history.ts';
import type { Shape } from './table.ts';

/** `SEED=…` replays one history, `HISTORIES=…` runs more than CI does. */
const only = process.env['SEED'];
const count = Number(process.env['HISTORIES'] ?? 510);

export function simulate(shape: Shape): void {
  test(
    `${shape}: histories with kills, pauses, lost answers, two holders and other plans end in equality`,
    { timeout: Math.max(600_000, count * 2000) },
    async () => {
      const seeds = only === undefined ? Array.from({ length: Math.ceil(count / 3) }, (_, i) => i + 1) : [Number(only)];
      for (const seed of seeds) {
        const { problem, trace } = await history(shape, seed);
        expect(
          problem === undefined ? '' : `SEED=${seed} (${shape}): ${problem}\n${trace.slice(-150).join('\n')}`,
        ).toBe('');
      }
    },
  );
}
