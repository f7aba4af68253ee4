import type { DirectPlan, Expect, Late, SqlStep, SyncPlan } from '../schemas/types.ts';
import { declaredOf } from './project/declared.ts';
import { checksOf, foretold, guardsOf, probeChecks, rowChecks } from './checks.ts';
import { contextOf, mappingContext, recordContext, talliesContext } from './contexts.ts';
import type { Dialect, Sql } from './dialects/dialect.ts';
import { sql } from './dialects/dialect.ts';
import { eventId, mapEvents } from './mapping/events.ts';
import { historyColumns, mapHistory } from './mapping/history.ts';
import { lookupHeader, mapLookup } from './mapping/lookup.ts';
import type { Mapping } from './mapping/mapping.ts';
import { keyOf } from './mapping/key.ts';
import { mappingList } from './mapping/list.ts';
import type { Earlier } from './mapping/profiles.ts';
import { mapProfiles } from './mapping/profiles.ts';
import type { Source } from './mapping/wire.ts';
import { sourceOf } from './mapping/wire.ts';
import { conditionOf, partitioningOf } from './partitions.ts';
import type { ResolvedSync } from './project/resolve.ts';
import { whyOf } from './project/strategy.ts';
import type { Context, LateName, Renderer, Statements, Values } from './render.ts';
import { LATE, bound } from './render.ts';
import type { Grants } from './grants.ts';
import { handedTo, ownerContext } from './shared.ts';
import { destroyOf, renameOf } from './removal.ts';
import { createSnapshot, ofSnapshot, oldSide, snapshotOf } from './snapshot.ts';
import { stagingTables } from './tables.ts';

/** Limits of one delivered batch: Mixpanel takes 2,000 records and 10 MB a request (documentation: Import Events). */
export const BATCH_RECORDS = 2000;
/** Bytes in a batch before its last record; with that record (at most 1 MB) a batch stays within 8 MB. */
export const BATCH_BYTES = 7_000_000;

export interface Place {
  readonly project: string;
  readonly target: string;
  readonly staging: string;
  readonly idManagement: 'simplified' | 'original';
  readonly limits: { readonly records: number; readonly bytes: number };
  /** Where the staging schema is made, where the warehouse has such a thing and the target says it. */
  readonly location: string | null;
  readonly grants: Grants | null;
}

/**
 * Renders a statement and names its file. When none is given, the template's name is the statement's own, and the
 * context the sync's; `values` are a context of their own.
 */
export type Add = (
  statement: string,
  options?: Parameters<Renderer['render']>[2] & { template?: string; context?: Context; values?: Values },
) => string;

const late = (name: LateName): Late => ({ name, type: LATE[name] });
const step = (run: readonly string[], atomic = false): SqlStep => ({ kind: 'sql', run: [...run], atomic });
/** What would write the source: a table may ask for a filter on its partitions there, too. */
function excessOf(dialect: Dialect, sync: ResolvedSync): Values {
  const whole = conditionOf(dialect, { ...sync, where: null });
  return { relation: dialect.relation(sync.relation), has_condition: whole !== null, whole: sql(whole ?? '') };
}

const LEASE_LOST: Expect = { affected: 1, otherwise: 'lease-lost' };

/** Adds a sync's statements; `overridden` becomes the list of those that templates of the project took part in. */
function adding(renderer: Renderer, sync: ResolvedSync, statements: Statements, context: Context) {
  const overridden: string[] = [];
  const add: Add = (statement, options = {}) => {
    const values = options.values ? renderer.context(options.values) : (options.context ?? context);
    const made = renderer.render(options.template ?? statement, values, options);
    if (made.overrides.length > 0) overridden.push(statement);
    return statements.add(sync.name, statement, made);
  };
  return { add, overridden };
}

const ENDPOINTS = {
  events: 'import',
  user_profiles: 'engage',
  group_profiles: 'groups',
  lookup_table: 'lookup-tables',
} as const;

/** Kind × mode × strategy → the steps of one sync, with its statements rendered. */
export function lowerSync(
  dialect: Dialect,
  renderer: Renderer,
  place: Place,
  sync: ResolvedSync,
  statements: Statements,
): SyncPlan {
  const source = sourceOf(dialect, sync);
  const bind = (n: LateName): Sql => bound(dialect, n);
  // Before the first run nothing gives these values: a preview then states what setup would write.
  const knownAs = (name: string): Mapping =>
    mappingOf(dialect, place, sync, source, {
      idSpace: bind('id_space'),
      epoch: bind('epoch'),
      earlier: {
        again: bind('again'),
        names: earlierNames(dialect, sync, dialect.relation([place.staging, `${name}__rejects`])),
      },
    });
  const known = knownAs(sync.name);
  const hasSnapshot = sync.strategy === 'snapshot';
  const unset = { idSpace: dialect.text(sync.name), epoch: sql('0') };
  // Of an event only its id knows the difference.
  const first =
    sync.kind === 'events'
      ? { ...known, image: { ...known.image, insertId: eventId(dialect, unset) } }
      : mappingOf(dialect, place, sync, source, { ...unset, earlier: { again: sql('0'), names: null } });
  const mirror = sync.mode === 'mirror';
  const isLookup = sync.kind === 'lookup_table';
  const tables = stagingTables(dialect, renderer, known, { hasPosition: sync.lateWindowMs !== null, hasSnapshot });
  const context = contextOf(dialect, renderer, place, sync, source, known, tables);
  const initially: Values = {
    ...(sync.kind === 'events'
      ? { insert_id: first.image.insertId }
      : { ...recordContext(first), ...mappingContext(dialect, first) }),
    initial: true,
  };
  const initial = context.with(initially);
  // What a run captures is read from the snapshot that it makes; what is previewed, from the table as it is.
  const captured = hasSnapshot ? ofSnapshot(context) : context;

  const { add, overridden } = adding(renderer, sync, statements, context);
  const table = (name: 'state' | 'ledger' | 'rejects' | 'seen' | 'outbox'): string =>
    add(`create_${name}`, {
      template: 'create_table',
      context: tables[name].with({ table: context.get(name) }),
      repeatable: false,
    });
  // Without transactions the state has its row at once, and a commit's statements leave the same when they run again.
  const [isAtomic, owner] = [dialect.transaction !== null, handedTo(dialect, place)];
  const handOver = (name: 'state' | 'ledger' | 'rejects' | 'seen'): string =>
    add(`hand_over_${name}`, {
      template: 'hand_over',
      values: { table: context.get(name), ...ownerContext(owner) },
    });
  const emptied = (name: 'ledger' | 'rejects' | 'seen'): string =>
    add(`reset_${name}`, {
      template: 'reset_table',
      values: { table: context.get(name), state: context.get('state') },
    });

  // Made without a window, too: one may be declared when the sync has run for long.
  const hasSeen = sync.kind === 'events' && sync.mode === 'append';
  const owned = (['state', 'ledger', 'rejects', 'seen'] as const).filter(
    (t) => (t !== 'ledger' || mirror) && (t !== 'seen' || hasSeen),
  );
  const probe = probeChecks(dialect, sync, source, add, context);
  const checks = checksOf(dialect, sync, probe, add, captured);
  const more = foretold(dialect, sync, checks);
  // What is only counted needs no id that is its own.
  const counted = { ...more, other_id: dialect.text('') };
  const counting = (under: Context, mapping: Mapping): Context =>
    under.with({ ...talliesContext(mapping), ...counted });
  const preview = counting(context, known);
  const formerly = (name: string) => {
    const mapping = knownAs(name);
    const old = contextOf(dialect, renderer, place, { ...sync, name }, source, mapping, tables);
    return { name, context: old, preview: counting(old, mapping) };
  };
  const outboxTable = table('outbox');
  const isOlderAsked = dialect.readsPartitions && context.get('pruned') === true;
  const older = isOlderAsked ? [add('older_rows', { returns: [late('older')] })] : [];
  const analyzed = renderer.has('analyze') ? [add('analyze')] : [];
  const record = add('run_record');
  const partitioning = hasSnapshot ? partitioningOf(dialect, sync, source) : null;
  const made = [outboxTable, ...(hasSnapshot ? createSnapshot(add, partitioning) : [])];
  const filled = (name: string, from: Context): SqlStep[] => [
    step([...made, add(name, { template: 'capture', context: from, repeatable: false }), ...analyzed]),
  ];
  // Without a key a row is named by its checksum, and what a snapshot says of it has no other name.
  const mayForward = mirror && !(hasSnapshot && context.get('twins') === true);
  const renamed = sync.renamedFrom === null ? null : formerly(sync.renamedFrom);
  const asked = { filled, partitioning, outbox: outboxTable, mayForward, preview, renamed: renamed?.preview };
  const snapshot = hasSnapshot ? snapshotOf(add, context, asked) : null;
  return {
    ...describe(dialect, sync, source, known),
    overridden,
    lateWindowMs: sync.lateWindowMs,
    expressions: mirror
      ? {
          checksum: dialect.checksum(historyColumns(sync, source)),
          key: keyOf(dialect, sync, source, sql('syncline_was')),
          ...(hasSnapshot ? oldSide(sync, known) : {}),
        }
      : null,
    snapshot,
    decisions: sync.decisions,
    adopts: sync.initial === 'skip',
    guards: guardsOf(sync),
    discover: add('columns'),
    state: {
      exists: add('state_exists'),
      owner: add('state_owner'),
      read: add('state_read'),
      lease: add('state_lease', { expect: { affected: 1, otherwise: 'lease-held' }, repeatable: false }),
      renew: add('state_renew', { expect: LEASE_LOST }),
      release: add('state_release', { expect: LEASE_LOST }),
      unlock: add('state_unlock', { expect: { affected: 1, otherwise: 'lease-held' }, repeatable: false }),
      forget: add('state_forget', { expect: LEASE_LOST }),
      settle: add('state_settle', { expect: LEASE_LOST }),
      // Who has a file's lock keeps it while it is paused, so there no outbox is made too late.
      outboxes: dialect.fileLock ? '' : add('outboxes'),
    },
    setup: [
      step(
        [
          isAtomic ? table('state') : add('create_state'),
          ...(mirror ? [table('ledger')] : []),
          table('rejects'),
          ...(hasSeen ? [table('seen')] : []),
          ...(isAtomic ? [add('state_insert')] : []),
          ...(owner === null ? [] : owned.map(handOver)),
        ],
        true,
      ),
    ],
    probe: probeOf(sync, probe, add),
    capture: {
      fill: [
        ...(snapshot?.partitions ? [step(made), ...snapshot.partitions.changed] : []),
        step([
          ...(snapshot?.partitions ? [] : made),
          ...older,
          add('capture', { context: captured, repeatable: false }),
          ...analyzed,
          ...(isLookup ? [add('capture_content', { returns: [late('content')] })] : []),
        ]),
      ],
      forward: mayForward ? filled('capture_forward', captured.with({ forward: true })) : null,
      totals: add('totals'),
      checks: [step(checks)],
      flip: add('state_flip', { expect: LEASE_LOST, repeatable: false }),
    },
    deliver: {
      kind: 'deliver',
      ...endpointOf(sync, source),
      pages: add('deliver_pages'),
      restart: add('deliver_restart'),
      abandon: add('deliver_abandon'),
      outcome: add('deliver_outcome'),
      checkpoint: add('checkpoint', { expect: LEASE_LOST }),
      hold: renderer.has('deliver_hold') ? add('deliver_hold', { expect: LEASE_LOST }) : null,
    },
    commit: [
      step(
        [
          ...(dialect.takesTurns ? [add('lock_runs')] : []),
          add('check_accounts', {
            expect: {
              rows: 0,
              otherwise: 'accounts-differ',
              message:
                'Accepted, refused and invalid records do not add up to the captured ones. Nothing was recorded; please report this.',
            },
          }),
          ...(mirror ? [add('ledger_forward')] : []),
          ...(hasSnapshot ? [add('ledger_exceptions')] : []),
          ...(mirror && !hasSnapshot
            ? [
                ...(isAtomic ? [add('ledger_remove'), add('ledger_insert')] : [add('ledger_merge')]),
                add('ledger_unknown'),
              ]
            : []),
          ...(isAtomic ? [add('rejects_remove'), add('rejects_insert')] : [add('rejects_merge')]),
          ...(sync.lateWindowMs !== null ? [add('seen_insert'), add('seen_remove')] : []),
          record,
          add('state_commit', { expect: LEASE_LOST, repeatable: false }),
        ],
        true,
      ),
    ],
    cleanup: [step([add('drop_outbox')])],
    record: { write: record, read: add('run_read') },
    excess: renderer.has('excess') ? add('excess', { values: excessOf(dialect, sync) }) : '',
    preview: {
      initial: add('preview_initial', {
        template: 'preview',
        context: preview.with({ ...initially, ...talliesContext(first) }),
      }),
      changes: add('preview', { context: preview }),
      forward: mayForward
        ? add('preview_forward', { template: 'preview', context: preview.with({ forward: true }) })
        : null,
      pending: add('preview_pending'),
      older: older[0] ?? '',
      explain: renderer.has('explain') ? add('explain') : '',
      shown: mirror ? add('preview_shown') : null,
    },
    destroy: destroyOf(sync, add, context, outboxTable, analyzed),
    rename: renamed === null ? null : renameOf(dialect, place.staging, sync, owned, renamed, mayForward, add),
    show: add('show', { context: initial }),
    rejects: add('rejects'),
    reset: [
      step(
        [
          ...(mirror ? [emptied('ledger')] : []),
          emptied('rejects'),
          ...(hasSeen ? [emptied('seen')] : []),
          add('reset_state', { expect: LEASE_LOST }),
        ],
        true,
      ),
    ],
  };
}

/** A sync of a target without write access: what it would capture is read, and sent as it is read. */
export function lowerDirect(
  dialect: Dialect,
  renderer: Renderer,
  place: Place,
  sync: ResolvedSync,
  statements: Statements,
): DirectPlan {
  const source = sourceOf(dialect, sync);
  const earlier = { again: sql('1'), names: earlierNames(dialect, sync, null) };
  const space = { idSpace: dialect.text(sync.name), epoch: sql('0'), earlier };
  const mapping = mappingOf(dialect, place, sync, source, space);
  const tables = stagingTables(dialect, renderer, mapping, { hasPosition: false, hasSnapshot: false });
  const context = contextOf(dialect, renderer, place, sync, source, mapping, tables).with({ initial: true });
  const { add, overridden } = adding(renderer, sync, statements, context);
  const checks = rowChecks(sync);
  const foreseen = checks.map(({ name }) => `${sync.name}/${name}.sql`);
  return {
    ...describe(dialect, sync, source, mapping),
    overridden,
    checks: [...checks],
    maxChanges: sync.guard.maxChanges,
    maxRejects: sync.guard.maxRejects,
    discover: add('columns'),
    probe: probeOf(sync, probeChecks(dialect, sync, source, add, context), add),
    deliver: { ...endpointOf(sync, source), limits: place.limits, read: add('read') },
    preview: add('preview', {
      context: context.with({ ...talliesContext(mapping), ...foretold(dialect, sync, foreseen) }),
    }),
    show: add('show'),
  };
}

/** What a plan tells of a sync, however it runs. */
function describe(dialect: Dialect, sync: ResolvedSync, source: Source, mapping: Mapping) {
  return {
    name: sync.name,
    kind: sync.kind,
    mode: sync.mode,
    strategy: sync.strategy,
    why: whyOf(dialect, sync),
    source: sync.relation.join('.'),
    tags: [...sync.tags],
    frequency: sync.frequency ?? null,
    declared: declaredOf(sync),
    mapping: mappingList(dialect, sync, source, mapping),
    columns: source.columns.map((c) => ({ name: c.name, native: c.native })),
    excluded: sync.columns.filter((c) => !source.columns.some((o) => o.name === c.name)).map((c) => c.name),
  };
}

function endpointOf(sync: ResolvedSync, source: Source) {
  const isLookup = sync.kind === 'lookup_table';
  return {
    endpoint: ENDPOINTS[sync.kind],
    also: sync.history ? ('import' as const) : null,
    table: isLookup ? { id: sync.lookupTableId ?? '', header: lookupHeader(sync, source) } : null,
  };
}

/** What a run reads before it reads rows: the columns, the bound of an append, the content of a lookup table. */
function probeOf(sync: ResolvedSync, checks: readonly string[], add: Add): SqlStep[] {
  return [
    step([
      ...checks,
      ...(sync.insertTime === null
        ? []
        : [add('probe', { template: 'probe_watermark', returns: [late('watermark_to'), late('waiting')] })]),
      ...(sync.kind === 'lookup_table'
        ? [add('probe', { template: 'probe_content', returns: [late('content')] })]
        : []),
    ]),
  ];
}

/** Only a mirror can be resent, and `full` sends every row in each run: there, names of earlier can go. */
function earlierNames(dialect: Dialect, { kind, mode }: ResolvedSync, rejects: Sql | null): Earlier['names'] {
  if (kind === 'events' || kind === 'lookup_table' || (mode !== 'mirror' && mode !== 'full')) return null;
  const bind = (n: LateName): Sql => bound(dialect, n);
  return { retired: bind('retired'), retried: bind('retried'), resend: bind('resend'), rejects };
}

function mappingOf(
  dialect: Dialect,
  place: Place,
  sync: ResolvedSync,
  source: Source,
  space: { readonly idSpace: Sql; readonly epoch: Sql; readonly earlier: Earlier },
): Mapping {
  switch (sync.kind) {
    case 'events':
      return mapEvents(dialect, sync, source, { ...space, idManagement: place.idManagement });
    case 'user_profiles':
    case 'group_profiles':
      if (sync.history) return mapHistory(dialect, sync, source, { ...space, idManagement: place.idManagement });
      return mapProfiles(dialect, sync, source, space.earlier);
    case 'lookup_table':
      return mapLookup(dialect, sync, source);
  }
}
