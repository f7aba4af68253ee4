import type { Dialect, Sql } from './dialects/dialect.ts';
import { sql } from './dialects/dialect.ts';
import type { Mapping } from './mapping/mapping.ts';
import type { Context, Renderer } from './render.ts';

/** A column of a staging table. */
export interface TableColumn {
  readonly name: Sql;
  readonly type: Sql;
  readonly [key: string]: Sql;
}

/** What a table is looked up by: its rows are unique in it, where a warehouse can use that. */
const indexOf = (table: Table) => {
  const unique = { state: '', ledger: 'row_key', rejects: '', seen: 'row_key', outbox: 'batch, ordinal' }[table];
  return { is_unique: unique !== '', unique: sql(unique) };
};

type Table = 'state' | 'ledger' | 'rejects' | 'seen' | 'outbox';
/** What makes each of a sync's staging tables, but for its name. */
export type StagingTables = Readonly<Record<Table, Context>>;

/** A sync's staging tables; syncs whose tables have the same columns share them. */
export function stagingTables(
  dialect: Dialect,
  renderer: Renderer,
  mapping: Mapping,
  more: { readonly hasPosition: boolean; readonly hasSnapshot: boolean },
): StagingTables {
  const identity = mapping.identity.map((c) => `${c.name}:${c.type}`).join();
  let columns: ReturnType<typeof columnsOf> | undefined;
  const of = (table: Table): Context =>
    renderer.shared(`${table} ${identity} ${more.hasPosition} ${more.hasSnapshot}`, () => ({
      columns: (columns ??= columnsOf(dialect, mapping, more))[table],
      ...indexOf(table),
      is_kept: table !== 'outbox',
    }));
  return { state: of('state'), ledger: of('ledger'), rejects: of('rejects'), seen: of('seen'), outbox: of('outbox') };
}

function columnsOf(
  { types }: Dialect,
  mapping: Mapping,
  { hasPosition, hasSnapshot }: { readonly hasPosition: boolean; readonly hasSnapshot: boolean },
): Readonly<Record<Table, readonly TableColumn[]>> {
  const { text, integer } = types;
  const of = (names: string, type: Sql): TableColumn[] => names.split(' ').map((n) => ({ name: sql(n), type }));
  const identity = mapping.identity.map((c): TableColumn => ({ name: sql(c.name), type: types[c.type] }));
  return {
    state: [
      ...of('version', integer),
      ...of('holder', text),
      ...of('lease_until quiet_until', integer),
      ...of('phase', text),
      ...of('run', integer),
      ...of('baseline pending', text),
      ...of('next_batch', integer),
      ...of('id_space', text),
      ...of('epoch layout', integer),
      ...of('project target mixpanel source names', text),
    ],
    ledger: [...of('row_key row_checksum', text), ...identity, ...of('insert_id', text)],
    rejects: [
      ...of('row_key insert_id kind change reason row_checksum', text),
      ...identity,
      ...of('shown run', integer),
    ],
    /** Rows of the late window that were sent: `position` is their insert time. */
    seen: of('row_key position', text),
    outbox: [
      ...of('batch ordinal', integer),
      ...of('row_change change row_key row_checksum', text),
      ...identity,
      ...of('insert_id old_insert_id payload reason outcome outcome_reason', text),
      ...(hasPosition ? of('position', text) : []),
      // What is shown of a row whose records are not accepted is told by its record, where no ledger tells it.
      ...(hasSnapshot ? of('old_checksum', text) : []),
    ],
  };
}
