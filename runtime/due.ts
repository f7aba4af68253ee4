import type { SyncPlan } from '../schemas/types.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/**
 * How long after the end of a run the next one is due. A little less than the word says: a job that starts at the same
 * minute of each hour must not find a sync too early because its last run took a while.
 */
const REST_MS = { hourly: 50 * MINUTE, daily: 23 * HOUR, weekly: (7 * 24 - 1) * HOUR } as const;

/** What is known of a sync's last run. */
export interface LastRun {
  /** False when it never ran, or forgot what it sent. */
  readonly isKnown: boolean;
  /** True when it was interrupted while sending. */
  readonly isPending: boolean;
  /** When its last finished run ended, wall milliseconds; undefined when that is not on record. */
  readonly finishedMs: number | undefined;
  /** From when on what the next run compares with nears its end; undefined where it has none. */
  readonly replaceUntilMs?: number | undefined;
}

/** When `apply --due` runs a sync: now, at a time, or (null) only when it is asked for without --due. */
export type Due = { readonly isDue: true } | { readonly isDue: false; readonly nextMs: number | null };

/**
 * Whether a sync is due. An interrupted run always is: what it began must not wait. So is a sync whose baseline nears
 * its end, whatever its frequency says: once that is gone, the whole table is to be sent again.
 */
export function dueOf(frequency: SyncPlan['frequency'], last: LastRun, nowMs: number): Due {
  if (last.isPending || frequency === null) return { isDue: true };
  const { replaceUntilMs: end } = last;
  if (end !== undefined && end <= nowMs) return { isDue: true };
  if (frequency === 'api') return { isDue: false, nextMs: end ?? null };
  if (!last.isKnown || last.finishedMs === undefined) return { isDue: true };
  const rest = REST_MS[frequency];
  // A clock that was set back must not hold a sync for longer than its frequency.
  const isRested = Math.abs(nowMs - last.finishedMs) >= rest;
  const next = last.finishedMs + rest;
  return isRested ? { isDue: true } : { isDue: false, nextMs: end === undefined ? next : Math.min(next, end) };
}
