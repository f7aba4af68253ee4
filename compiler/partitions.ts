import type { SqlStep, SyncPlan } from '../schemas/types.ts';
import type { Dialect, Partitioning, Sql } from './dialects/dialect.ts';
import { sql } from './dialects/dialect.ts';
import type { Add, Place } from './lower.ts';
import type { Source } from './mapping/wire.ts';
import type { ResolvedSync } from './project/resolve.ts';
import type { LateName, Values } from './render.ts';
import { bound, hole, LATE } from './render.ts';

/*
 * A partition of the two snapshots that a run compares is left unread where two readings of the metadata prove that it
 * did not change: one from before the older snapshot, which is kept beside it, and one from after the newer one. A key
 * that moves to another partition leaves one and comes to one: both changed, and both are read of both snapshots.
 */

/**
 * A partition that was written so shortly before its reading is read again: rows stand in a streaming buffer for up to
 * 90 minutes (documentation: Streaming data availability), and two writes may have one time.
 */
const MARGIN_US = 7_200_000_000;
/** Parts of a table that one statement reads: with as many its text stays far below 1 MB. */
const MOST_RANGES = 1000;

/** How a sync's source is partitioned, as far as it is known. */
const found = (dialect: Dialect, { partitioning, columns }: ResolvedSync): Partitioning | null =>
  partitioning === null ? null : (dialect.partitions?.of(partitioning, columns) ?? null);

/** The condition of a sync's rows: all of them, by a plain filter on the partitions where a table may ask for one. */
export function conditionOf(dialect: Dialect, sync: ResolvedSync, ...more: readonly Sql[]): string | null {
  const partitioning = found(dialect, sync);
  const all =
    partitioning === null || more.length > 0
      ? []
      : [`${partitioning.value} is null or ${rangeOf(partitioning, partitioning.least, partitioning.most)}`];
  const conditions = [...more, ...all, ...(sync.where === null ? [] : [sync.where])];
  return conditions.length > 1 ? conditions.map((c) => `(${c})`).join(' and ') : (conditions[0] ?? null);
}

const rangeOf = ({ item: [before, between, after] }: Partitioning, from: string, to: string): string =>
  `${before}${from}${between}${to}${after}`;

/** How a sync's source is partitioned, where a run may leave partitions of it unread. */
export function partitioningOf(dialect: Dialect, sync: ResolvedSync, source: Source): Partitioning | null {
  const partitioning = found(dialect, sync);
  // Without a key a row is named by its content and counted among its equals. They lie in one partition where its
  // column is a part of the content, so a count is of all of them or of none; elsewhere it would be of some.
  const isNamed = sync.key !== null || sync.kind !== 'events';
  return isNamed || source.columns.some((c) => c.name === partitioning?.column) ? partitioning : null;
}

/** The table with a reading of the partitions: it stands beside the snapshot that it was made for, and is known by its name. */
export const readingOf = (dialect: Dialect, { staging }: Place, snapshot: string, late: LateName): Sql =>
  sql(dialect.relation([staging, `${snapshot}0_partitions`]).replace('0_partitions', `${hole(late)}_partitions`));

/** What the templates about partitions share. */
export function partitionContext(
  dialect: Dialect,
  place: Place,
  sync: ResolvedSync,
  { value, item, least, most, from, to }: Partitioning,
): Values {
  const { partitions } = dialect;
  if (!partitions) throw new Error(`${dialect.name} has no partitions`);
  return {
    partitions_table: readingOf(dialect, place, `${sync.name}__snapshot_`, 'run'),
    was_partitions: readingOf(dialect, place, '', 'snapshot_from'),
    was_read: dialect.tableExists(
      place.staging,
      dialect.concat([bound(dialect, 'snapshot_was'), dialect.text('_partitions')]),
    ),
    partitions_view: partitions.view(sync.relation),
    made_view: sql(`(${partitions.made(sync.relation)})`),
    partitioning: dialect.text(sync.partitioning ?? ''),
    partition_from: from,
    partition_to: to,
    partition_least: sql(least),
    partition_most: sql(most),
    partitions_item: item,
    margin_us: MARGIN_US,
    most_ranges: MOST_RANGES - 1,
    compared: sql(`${value} is null or ${hole('partitions')}`),
  };
}

/** What says which partitions are read, and what reads all of them. */
export function partitionsOf(add: Add, { least, most }: Partitioning): NonNullable<SyncPlan['snapshot']>['partitions'] {
  const returns = [{ name: 'partitions', type: LATE.partitions }];
  const changed: SqlStep = {
    kind: 'sql',
    run: [add('changed_partitions', { returns })],
    atomic: false,
    // The table was not partitioned by then, or not known to be.
    unless: add('no_partitions'),
  };
  return { everything: `${least}:${most}`, changed: [changed] };
}
