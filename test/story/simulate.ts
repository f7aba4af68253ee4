import { expect, test } from 'vitest';
import { duckdb } from './duckdb.ts';
import type { Engine } from './engine.ts';
import { rests } from './foretold.ts';
import { history } from './history.ts';
import type { Shape } from './table.ts';

/** `SEED=…` replays one history, `HISTORIES=…` runs more than CI does. */
const only = process.env['SEED'];
const count = Number(process.env['HISTORIES'] ?? 510);

/** @param share the part of all histories that are of this shape */
export function simulate(shape: Shape, share: number, engine: Engine = duckdb): void {
  const mine = Math.max(1, Math.ceil(count * share));
  test(
    `${shape}: histories with kills, pauses, lost answers, two holders and other plans end in equality`,
    { timeout: Math.max(600_000, mine * 6000) },
    async () => {
      const seeds = only === undefined ? Array.from({ length: mine }, (_, i) => i + 1) : [Number(only)];
      let lost = 0;
      for (const seed of seeds) {
        const told = await history(engine, shape, seed);
        lost += told.lost;
        expect(
          told.problem === undefined
            ? ''
            : `SEED=${seed} (${shape}): ${told.problem}\n${told.trace.slice(-150).join('\n')}`,
        ).toBe('');
      }
      if (seeds.length > 50) expect(rests.loud).toBeGreaterThan(0);
      // The window of a story is short enough that some rows come later than it.
      if (shape === 'late' && seeds.length > 9) expect(lost).toBeGreaterThan(0);
    },
  );
}
