import { expect, test } from 'vitest';
import { Progress } from '../runtime/cli/progress.ts';
import type { RunEvent } from '../runtime/events.ts';

const sent = (sync: string, records: number, total: number): RunEvent => ({ type: 'sent', sync, records, total });
const begin = (sync: string, resumed = false): RunEvent => ({ type: 'begin', sync, run: 1, resumed });
const captured = (sync: string, records: number, invalid = 0): RunEvent => ({
  type: 'captured',
  sync,
  records,
  invalid,
  batches: 1,
});

test('a sync reads, sends and records; rate and time left are those of the last seconds', () => {
  const progress = new Progress();
  const line = (now: number): string => progress.lines(now, 100).join('\n');
  expect(line(0)).toBe('');
  expect(progress.take(begin('orders'), 0)).toBe(true);
  expect(progress.take({ type: 'step', sync: 'orders', step: 'orders/capture.sql' }, 10)).toBe(false);
  expect(line(3661_000)).toBe('orders  reading the source  1h 01m');
  expect(progress.take(captured('orders', 10_100, 100), 5000)).toBe(true);
  expect(line(5000)).toBe('orders  ────────────────────  0 of 10,000  0%  0s');
  expect(progress.take(sent('orders', 1000, 10_000), 6000)).toBe(false);
  expect(line(6000)).toBe('orders  ━━──────────────────  1,000 of 10,000  10%  1,000 a second  9s left');
  // Nothing came for a second: the rate falls.
  expect(line(7000)).toBe('orders  ━━──────────────────  1,000 of 10,000  10%  500 a second  18s left');
  for (let second = 1; second <= 60; second++)
    progress.take(sent('orders', 1000 + second * 50, 10_000), 7000 + second * 1000);
  expect(line(67_000)).toBe('orders  ━━━━━━━━────────────  4,000 of 10,000  40%  50 a second  2m 00s left');
  expect(progress.take(sent('orders', 10_000, 10_000), 68_000)).toBe(true);
  expect(line(69_000)).toBe('orders  recording what was sent  1s');
  expect(
    progress.take({ type: 'committed', sync: 'orders', run: 1, counts: {} as never } satisfies RunEvent, 70_000),
  ).toBe(true);
  expect(line(70_000)).toBe('');
});

test('a line a sync, names aligned; a failed one goes; what does not fit is left out, the bar first', () => {
  const progress = new Progress();
  progress.take(begin('a'), 0);
  progress.take(begin('log_events', true), 0);
  progress.take({ type: 'waiting', sync: 'log_events', message: '' }, 0);
  expect(progress.lines(2000, 80)).toEqual(['a           reading the source  2s', 'log_events  waiting  2s']);
  progress.take(sent('log_events', 500, 2000), 2000);
  progress.take(sent('log_events', 1500, 2000), 3000);
  progress.drop('a');
  const wide = 'log_events  ━━━━━━━━━━━━━━━─────  1,500 of 2,000  75%  1,500 a second  0s left';
  expect(progress.lines(3000, 90)).toEqual([wide]);
  expect([60, 45, 40, 20].flatMap((columns) => progress.lines(3000, columns))).toEqual([
    'log_events  1,500 of 2,000  75%  1,500 a second  0s left',
    'log_events  1,500 of 2,000  75%  0s left',
    'log_events  1,500 of 2,000  75%',
    wide.slice(0, 19),
  ]);
});

test('a run with nothing to send goes from reading to its end; an interrupted one is sent without reading', () => {
  const progress = new Progress();
  progress.take(begin('a'), 0);
  expect(progress.take(captured('a', 2, 2), 0)).toBe(false);
  expect(progress.take({ type: 'unchanged', sync: 'a', run: 1, done: false }, 0)).toBe(true);
  expect(progress.lines(0, 80)).toEqual([]);
  progress.take(begin('a', true), 0);
  expect(progress.take(sent('a', 1, 4), 0)).toBe(true);
  expect(progress.lines(0, 80)).toEqual(['a  ━━━━━───────────────  1 of 4  25%  0s']);
});
