import { expect, test } from 'vitest';
import { packed, toState } from '../runtime/state.ts';

test('a baseline that a text of 64 KB does not hold is packed, and read as it was', () => {
  const row = { version: 1, holder: null, run: null, pending: null };
  const wide = JSON.stringify({ mapping: Array.from({ length: 3000 }, (_, i) => ({ column: `c${i}`, means: 'é' })) });
  expect(Buffer.byteLength(wide)).toBeGreaterThan(65_535);
  expect(Buffer.byteLength(packed(wide))).toBeLessThan(65_535);
  expect(toState({ ...row, baseline: packed(wide) }).baseline).toBe(wide);
  expect(packed('{"mapping":[]}')).toBe('{"mapping":[]}');
});
