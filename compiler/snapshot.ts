import type { SqlStep, SyncPlan } from '../schemas/types.ts';
import type { Dialect, Partitioning, Sql } from './dialects/dialect.ts';
import type { Add, Place } from './lower.ts';
import type { Mapping } from './mapping/mapping.ts';
import type { Source } from './mapping/wire.ts';
import { conditionOf, partitionContext, partitioningOf, partitionsOf, readingOf } from './partitions.ts';
import type { ResolvedSync } from './project/resolve.ts';
import { nothingOf } from './removal.ts';
import type { Context, LateName, Values } from './render.ts';
import { bound, hole, LATE } from './render.ts';

/*
 * Strategy `snapshot`: a run makes a zero-copy snapshot of the table and compares it with that of the run before. What
 * Mixpanel shows of a row is computed from the older one, by the expressions of the run that sent it; the ledger holds
 * only the rows of which that is not so.
 */

/** A snapshot that nobody compares for so long is gone. */
const DAYS = 21;
const NOT_MADE =
  'No snapshot of the source could be made, and nothing was sent: only tables have one, and whoever runs this needs the role dataOwner on the staging dataset. With `strategy: checksum` none is needed.';

/** What templates of the strategy share; of the others it is only known that it is not theirs. */
export function snapshotContext(
  dialect: Dialect,
  place: Place,
  sync: ResolvedSync,
  source: Source,
  ending: (name: string, late: LateName) => Sql,
): Values {
  if (sync.strategy !== 'snapshot') return { snapshot: false, partitioned: false };
  const table = ending(`${sync.name}__snapshot_0`, 'run');
  const partitioning = partitioningOf(dialect, sync, source);
  const partitions: Values = partitioning === null ? {} : partitionContext(dialect, place, sync, partitioning);
  const { compared } = partitions as { readonly compared?: Sql };
  const rowsOf = (from: Sql, columns: ResolvedSync['columns'], ...conditions: readonly Sql[]): Sql =>
    dialect.rowsOf(from, columns, conditionOf(dialect, sync, ...conditions));
  const read = compared === undefined ? [] : [compared];
  const relation = dialect.relation(sync.relation);
  const sourceColumns = source.columns.map(({ name, native }) => ({ name, native }));
  return {
    snapshot: true,
    // False where there is no snapshot of a last run: then the ledger tells all that Mixpanel shows.
    has_before: true,
    snapshot_days: DAYS,
    snapshot_table: table,
    snapshot_prefix: dialect.text(`${sync.name}__snapshot_`),
    snapshot_rows: rowsOf(table, sourceColumns),
    // What is excluded by now may be part of the old checksum.
    snapshot_old_rows: rowsOf(table, sync.columns),
    // Rows of the partitions that are compared; rows of the ledger always are.
    compared_source: rowsOf(relation, sourceColumns, ...read),
    compared_old_source: rowsOf(relation, sync.columns, ...read),
    compared_rows: rowsOf(table, sourceColumns, ...read),
    compared_old_rows: rowsOf(table, sync.columns, ...read),
    partitioned: partitioning !== null,
    ...partitions,
    before: ending('0', 'snapshot_from'),
    before_exists: dialect.tableExists(place.staging, bound(dialect, 'snapshot_was')),
    modified_of: dialect.relation([...sync.relation.slice(0, -1), '__TABLES__']),
    table_text: dialect.text(sync.relation.at(-1) ?? ''),
    named_snapshot: ending('0', 'snapshot_name'),
    named_partitions: readingOf(dialect, place, '', 'snapshot_name'),
    old_where: hole('old_where'),
    old_identity: hole('old_identity'),
  };
}

/** The context of what a run reads: the snapshot that it makes in place of the table. */
export const ofSnapshot = (context: Context): Context =>
  context.with({
    source: context.get('snapshot_rows'),
    old_source: context.get('snapshot_old_rows'),
    compared_source: context.get('compared_rows'),
    compared_old_source: context.get('compared_old_rows'),
  });

/** What the next run computes of this run's snapshot besides key and checksum: what its rows were sent as, and which. */
export const oldSide = (sync: ResolvedSync, { identity }: Mapping) => ({
  identity: identity.map((c) => `${c.sql} as syncline_${c.name}`).join(', '),
  where: sync.where ?? 'true',
});

/** What a run makes before it reads: the reading of the partitions comes before the snapshot. */
export const createSnapshot = (add: Add, partitioning: Partitioning | null): readonly string[] => [
  ...(partitioning === null ? [] : [add('create_partitions', { repeatable: false })]),
  add('create_snapshot', { failure: NOT_MADE, repeatable: false }),
];

/** The statements of the strategy that other parts of a plan do not have. */
export function snapshotOf(
  add: Add,
  context: Context,
  given: {
    readonly filled: (name: string, from: Context) => SqlStep[];
    readonly partitioning: Partitioning | null;
    readonly outbox: string;
    readonly mayForward: boolean;
    readonly preview: Context;
    readonly renamed: Context | undefined;
  },
): NonNullable<SyncPlan['snapshot']> {
  const { filled, partitioning, outbox, mayForward, preview, renamed } = given;
  const unknown = { has_before: false };
  const anew = ofSnapshot(context).with(unknown);
  const previewed = (prefix: string, from: Context) => ({
    changes: add(`${prefix}_anew`, { template: 'preview', context: from.with(unknown) }),
    forward: mayForward
      ? add(`${prefix}_anew_forward`, { template: 'preview', context: from.with({ ...unknown, forward: true }) })
      : null,
  });
  const returning = (...names: readonly LateName[]) => ({ returns: names.map((name) => ({ name, type: LATE[name] })) });
  const gone = add('destroy_anew', {
    template: 'capture',
    context: nothingOf(context).with(unknown),
    repeatable: false,
  });
  return {
    days: DAYS,
    partitions: partitioning === null ? null : partitionsOf(add, partitioning),
    probe: add('probe_snapshot', returning('probed_ms', 'snapshot_there', 'retry')),
    modified: add('probe_modified', returning('source_modified', 'source_rows')),
    drop: add('drop_snapshot'),
    quiet: [{ kind: 'sql', run: [outbox, add('prolong_snapshot')], atomic: false }],
    anew: {
      fill: filled('capture_anew', anew),
      forward: mayForward ? filled('capture_anew_forward', anew.with({ forward: true })) : null,
      destroy: [{ kind: 'sql', run: [outbox, gone], atomic: false }],
      preview: previewed('preview', preview),
      renamed: renamed === undefined ? null : previewed('rename_preview', renamed),
    },
  };
}
