import type { Range } from '../sync.ts';
import type { Loaded } from './context.ts';
import { FoundBefore } from './context.ts';

/** A day, or a time of a day; what stands between is the warehouse's to read. */
const TIME = /^(\d{4}-\d{2}-\d{2})(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?$/;

/** Milliseconds to compare two of them by, wherever this process runs; NaN where it is no time, as on 30 February. */
function instantOf(text: string): number {
  const [, day = '', zone] = TIME.exec(text) ?? [];
  const midnight = Date.parse(day);
  if (Number.isNaN(midnight) || new Date(midnight).toISOString().slice(0, 10) !== day) return Number.NaN;
  return Date.parse(text.length > 10 && zone === undefined ? `${text}Z` : text);
}

/** DuckDB reads a zone only behind seconds. */
const withSeconds = (text: string): string => text.replace(/([T ]\d{2}:\d{2})(?=Z|[+-])/, '$1:00');

/** `2026-01-01..2026-02-01`: insert times, the start included and the end not. */
export function parseRange(text: string, { syncs, direct }: Pick<Loaded, 'syncs' | 'direct'>): Range {
  const [from = '', to = '', ...more] = text.split('..');
  const [start, end] = [from, to].map(instantOf) as [number, number];
  if (more.length > 0 || Number.isNaN(start) || Number.isNaN(end))
    throw new FoundBefore(`--backfill ${text} is not understood: write FROM..TO, such as 2026-01-01..2026-02-01.`);
  if (start >= end) throw new FoundBefore(`--backfill ${text} ends before it starts.`);
  const [sync, ...others] = syncs;
  if (sync === undefined || others.length + direct.length > 0)
    throw new FoundBefore('--backfill fills in one staged sync: name it with -s.');
  if (sync.mode !== 'append')
    throw new FoundBefore(
      sync.mode === 'mirror'
        ? `${sync.name} is a mirror, which compares every row in each run: nothing can be missing. --resend ${sync.name} sends its rows again.`
        : `--backfill is for mode append, and ${sync.name} has mode ${sync.mode}.`,
    );
  return { from: withSeconds(from), to: withSeconds(to) };
}
