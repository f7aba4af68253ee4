import type { Dialect } from '../dialects/dialect.ts';
import type { ResolvedSync } from './resolve.ts';

/** A condition that another moment or another table may answer otherwise for the same row. */
const UNSTEADY = /\b(select|current_(timestamp|date|datetime|time)|now|rand|generate_uuid|session_user)\b|@/i;

/**
 * Why a mirror cannot compare two snapshots of its table; undefined where it can. What Mixpanel shows of a row is then
 * computed from the older one, so nothing may decide about a row but its values.
 */
export function snapshotProblem(sync: ResolvedSync, dialect: Pick<Dialect, 'name' | 'snapshots'>): string | undefined {
  const { mode, history, onDelete, where, type, relation } = sync;
  if (mode !== 'mirror') return `mode ${mode} compares nothing`;
  if (dialect.snapshots === null) return `syncline makes no snapshots on ${dialect.name}`;
  if (history !== null) return 'what history shows depends on the clock, and only the ledger keeps what was shown';
  if (onDelete === 'ignore') return 'with `on_delete: ignore` only the ledger remembers rows that are gone';
  if (where !== null && UNSTEADY.test(where))
    return 'the condition `where:` depends on more than the row, so the ledger keeps which rows came under it';
  if (type !== null && !dialect.snapshots(type))
    return `${relation.join('.')} is ${type === 'EXTERNAL' ? 'an external table' : `a ${type.toLowerCase()}`}, and only tables that the warehouse stores have snapshots`;
  return undefined;
}

/** What a sync does where it does not say: a mirror compares snapshots where it can, and the lock says that it can. */
export function chosen(sync: ResolvedSync, dialect: Pick<Dialect, 'name' | 'snapshots'>): ResolvedSync['strategy'] {
  const takesSnapshots = sync.isAuto && sync.type !== null && snapshotProblem(sync, dialect) === undefined;
  return takesSnapshots ? 'snapshot' : sync.strategy;
}

/** Why a mirror compares every row with the ledger, as the beginning of a sentence. */
function whyChecksum(sync: ResolvedSync, dialect: Pick<Dialect, 'name' | 'snapshots'>): string {
  if (dialect.snapshots === null) return `this version reads no change feed of ${dialect.name}`;
  if (!sync.isAuto) return 'it says `strategy: checksum`';
  return snapshotProblem(sync, dialect) ?? 'the lock does not say whether its source is a table (`syncline lock` does)';
}

/** Why a run finds changes as it does, in one sentence. */
export function whyOf(dialect: Pick<Dialect, 'name' | 'snapshots'>, sync: ResolvedSync): string {
  switch (sync.mode) {
    case 'mirror':
      if (sync.strategy === 'snapshot')
        return 'a snapshot of the table, which costs nothing to make, is compared with that of the last run';
      return `${whyChecksum(sync, dialect)}, so every row's checksum is compared with the ledger`;
    case 'append':
      return 'append reads the rows whose insert time lies after the last run';
    case 'full':
      return 'full reads every row in each run';
    case 'one_time':
      return 'one_time reads every row, once';
  }
}
