import type { Dialect, Sql } from './dialects/dialect.ts';
import { sql } from './dialects/dialect.ts';
import { keyOf } from './mapping/key.ts';
import { closings, historyColumns, historyRows } from './mapping/history.ts';
import type { Mapping } from './mapping/mapping.ts';
import { joined } from './mapping/mapping.ts';
import type { Source } from './mapping/wire.ts';
import { mappedColumns } from './mapping/wire.ts';
import { conditionOf } from './partitions.ts';
import type { Place } from './lower.ts';
import type { ResolvedSync } from './project/resolve.ts';
import type { Context, LateName, Renderer, Values } from './render.ts';
import { bound, hole } from './render.ts';
import { snapshotContext } from './snapshot.ts';
import type { StagingTables } from './tables.ts';
import { windowContext } from './window.ts';

/** Version of the staging tables' layout. A newer one in the warehouse is refused. */
const LAYOUT = 1;

/** What the templates of all syncs of a target share. */
function targetContext(dialect: Dialect, place: Place): Values {
  const bind = (n: LateName): Sql => bound(dialect, n);
  return {
    project: dialect.text(place.project),
    target: dialect.text(place.target),
    layout: LAYOUT,
    runs: dialect.relation([place.staging, 'runs']),
    runs_exists: dialect.tableExists(place.staging, sql("'runs'")),
    tables: dialect.tablesEnding(place.staging, ''),
    other_id: dialect.md5(
      joined(dialect, [sql('n.syncline_named_id'), sql(`cast(${bind('run')} as ${dialect.types.text})`)]),
    ),
    inlined: dialect.inlined,
    old_checksum: hole('old_checksum'),
    old_key: hole('old_key'),
    closings: closings(sql('row_key')),
    payload_bytes: dialect.bytes(sql('j.payload')),
    batch_records: place.limits.records,
    batch_bytes: place.limits.bytes,
    lines: dialect.lines(sql('payload'), sql('ordinal')),
    digest: dialect.digest(sql('syncline_checksum'), sql('syncline_key, syncline_checksum')),
    outbox_digest: dialect.digest(sql('row_checksum'), sql('row_key, row_checksum')),
    refusal: dialect.jsonAt(bind('refusals'), sql('n.position')),
    forward: false,
    initial: false,
  };
}

/** What the templates of syncs of one kind and mode share. */
function kindContext(sync: ResolvedSync): Values {
  return {
    mirror: sync.mode === 'mirror',
    twins: sync.kind === 'events' && sync.key === null && !sync.history,
    windowed: sync.mode === 'append',
    pruned: sync.mode === 'append' && sync.kind === 'events',
    newest: sync.mode === 'append' && sync.kind !== 'events' && !sync.history,
    history: sync.history !== null,
    // Its row keys are lists, which the runtime says in words.
    composed: sync.history !== null || (sync.key?.length ?? 0) > 1,
    once: sync.mode === 'one_time',
    lookup: sync.kind === 'lookup_table',
    late: sync.lateWindowMs !== null,
  };
}

/** What the templates of a sync share. */
export function contextOf(
  dialect: Dialect,
  renderer: Renderer,
  place: Place,
  sync: ResolvedSync,
  source: Source,
  mapping: Mapping,
  tables: StagingTables,
): Context {
  const name = (suffix: string): Sql => dialect.relation([place.staging, `${sync.name}__${suffix}`]);
  const relation = dialect.relation(sync.relation);
  const mapped = mappedColumns(sync);
  // A late value that stands for the end of a name, inside its quotes.
  const ending = (name: string, late: LateName): Sql =>
    sql(dialect.relation([place.staging, name]).replace(/0(.)$/, (_, quote: string) => hole(late) + quote));
  const outbox = ending(`${sync.name}__outbox_0`, 'run');
  const insertTime = sync.insertTime === null ? null : source.column(sync.insertTime);
  const rowsOf = (columns: readonly { readonly name: string }[], properties: readonly string[]): Sql =>
    historyRows(dialect, sync, source, dialect.rowsOf(relation, columns, conditionOf(dialect, sync)), properties);
  // In layers: what all syncs of a target share, what those of a kind do, and what is the sync's own.
  const shared = renderer
    .shared('target', () => targetContext(dialect, place))
    .sharing({ ...kindContext(sync), ...recordContext(mapping) });
  const common = shared.with({
    sync: dialect.text(sync.name),
    former: dialect.text(sync.renamedFrom ?? sync.name),
    id_space: dialect.text(sync.name),
    source_text: dialect.text(sync.relation.join('.')),
    relation,
    state: name('state'),
    ledger: name('ledger'),
    rejects: name('rejects'),
    seen: name('seen'),
    outbox,
    outbox_prefix: dialect.text(`${sync.name}__outbox_`),
    source: rowsOf(
      source.columns,
      source.properties.map((p) => p.column.name),
    ),
    // What is excluded by now may be part of the old checksum.
    old_source: rowsOf(
      sync.columns,
      sync.columns.map((c) => c.name).filter((n) => !mapped.has(n)),
    ),
    checksum: dialect.checksum(historyColumns(sync, source)),
    key: keyOf(dialect, sync, source),
    ledger_columns: tables.ledger.get('columns'),
    // History sends to two endpoints: each has its own batches.
    batch_of: sql(
      (sync.history ? `partition by ${String(mapping.billable)} ` : '') +
        (sync.history || dialect.ordersTotals ? 'order by j.row_key, j.insert_id ' : ''),
    ),
    columns_query: dialect.columns(sync.relation),
    state_exists: dialect.tableExists(place.staging, dialect.text(`${sync.name}__state`)),
    ledger_exists: dialect.tableExists(place.staging, dialect.text(`${sync.name}__ledger`)),
  });
  const read = common
    .with(snapshotContext(dialect, place, sync, source, ending))
    .with(mappingContext(dialect, mapping));
  return insertTime ? read.with(windowContext(dialect, sync, insertTime)) : read;
}

export function mappingContext(dialect: Dialect, m: Mapping): Values {
  return {
    identity: m.identity.map((c) => ({ name: sql(c.name), type: dialect.types[c.type], sql: c.sql })),
    insert_id: m.image.insertId,
    image_payload: m.image.payload,
    partial: m.partial ? { when: m.partial.when, insert_id: m.partial.insertId, payload: m.partial.payload } : {},
    vanished: m.vanished
      ? {
          when: m.vanished.when,
          insert_id: m.vanished.insertId,
          old_insert_id: m.vanished.oldInsertId,
          payload: m.vanished.payload,
        }
      : {},
    marks: named(m.marks),
    tallies: [],
  };
}

/** What a mapping says of records, in words that hardly depend on the sync. */
export function recordContext(m: Mapping): Values {
  return {
    identity_names: sql(m.identity.map((c) => c.name).join(', ')),
    identity_nulls: sql(m.identity.map(() => 'null').join(', ')),
    image_change: m.image.change,
    has_partial: m.partial !== null,
    has_vanished: m.vanished !== null,
    has_leftovers: m.leftovers !== null,
    leftovers: m.leftovers ?? sql(''),
    billable: {
      all: m.billable === true,
      some: typeof m.billable === 'string',
      when: typeof m.billable === 'string' ? m.billable : sql(''),
    },
    rules: m.rules,
    has_rules: m.rules.length > 0,
    clock_reasons: m.clockReasons,
    companion: m.commit.companion,
    shown_image: m.commit.shown,
    removed: m.commit.removed,
    unknown: m.commit.unknown,
  };
}

const named = (all: Mapping['marks']) => all.map((m) => ({ name: sql(m.name), sql: m.sql }));

/** What a preview counts besides records, too. */
export const talliesContext = (m: Mapping): Values => ({
  marks: named([...m.marks, ...m.tallies]),
  tallies: named(m.tallies),
});
