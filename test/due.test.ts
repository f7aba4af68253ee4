import { expect, test } from 'vitest';
import type { LastRun } from '../runtime/due.ts';
import { dueOf } from '../runtime/due.ts';

const NOW = Date.UTC(2026, 0, 31, 12);
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const ago = (ms: number): LastRun => ({ isKnown: true, isPending: false, finishedMs: NOW - ms });
const DUE = { isDue: true };

test.each([
  ['hourly', ago(49 * MINUTE), { isDue: false, nextMs: NOW + MINUTE }],
  ['hourly', ago(50 * MINUTE), DUE],
  ['daily', ago(22 * HOUR), { isDue: false, nextMs: NOW + HOUR }],
  ['daily', ago(23 * HOUR), DUE],
  ['weekly', ago(166 * HOUR), { isDue: false, nextMs: NOW + HOUR }],
  ['weekly', ago(167 * HOUR), DUE],
  ['api', ago(9999 * HOUR), { isDue: false, nextMs: null }],
  [null, ago(0), DUE],
  // A job at the same minute of each hour finds due what ended some minutes after its start.
  ['hourly', ago(51 * MINUTE), DUE],
  // What it began must not wait, whatever the frequency.
  ['weekly', { ...ago(0), isPending: true }, DUE],
  ['api', { ...ago(0), isPending: true }, DUE],
  // It never ran, it was reset, or its state is of a version that did not write the time.
  ['weekly', { isKnown: false, isPending: false, finishedMs: undefined }, DUE],
  ['weekly', { ...ago(0), isKnown: false }, DUE],
  ['weekly', { ...ago(0), finishedMs: undefined }, DUE],
  ['api', { isKnown: false, isPending: false, finishedMs: undefined }, { isDue: false, nextMs: null }],
  // What it compares with nears its end, which is earlier than its frequency says.
  ['weekly', { ...ago(0), replaceUntilMs: NOW }, DUE],
  ['api', { ...ago(0), replaceUntilMs: NOW - 1 }, DUE],
  ['api', { ...ago(0), replaceUntilMs: NOW + HOUR }, { isDue: false, nextMs: NOW + HOUR }],
  ['weekly', { ...ago(0), replaceUntilMs: NOW + HOUR }, { isDue: false, nextMs: NOW + HOUR }],
  ['hourly', { ...ago(0), replaceUntilMs: NOW + HOUR }, { isDue: false, nextMs: NOW + 50 * MINUTE }],
  // The warehouse's clock is a little ahead of ours; or ours was set back by far.
  ['hourly', ago(-MINUTE), { isDue: false, nextMs: NOW + 51 * MINUTE }],
  ['hourly', ago(-5 * HOUR), DUE],
] as const)('%s after %j → %j', (frequency, last, due) => {
  expect(dueOf(frequency, last, NOW)).toEqual(due);
});
