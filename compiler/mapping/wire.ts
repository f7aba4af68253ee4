import type { Column, Dialect, Sql } from '../dialects/dialect.ts';
import type { ResolvedSync } from '../project/resolve.ts';

/** Columns with a role of their own: they do not become properties. */
export function mappedColumns(sync: ResolvedSync): ReadonlySet<string> {
  const { event, history } = sync;
  return new Set(
    [
      sync.time,
      sync.userId,
      sync.deviceId,
      sync.groupId,
      sync.id,
      sync.insertTime,
      sync.jsonProperties,
      event && 'column' in event ? event.column : null,
      history?.startTime,
      history?.endTime,
    ].filter((name) => name != null),
  );
}

/** The property that each column becomes, in the order of the columns. */
export function propertyNames(sync: ResolvedSync): ReadonlyMap<string, string> {
  const { exclude, rename } = sync.properties;
  const mapped = mappedColumns(sync);
  const named = (column: string): string => {
    if (Object.hasOwn(rename, column)) return rename[column] ?? column;
    if (sync.properties.case === null) return column;
    return sync.properties.case === 'lower' ? column.toLowerCase() : column.toUpperCase();
  };
  return new Map(
    sync.columns.filter((c) => !mapped.has(c.name) && !exclude.includes(c.name)).map((c) => [c.name, named(c.name)]),
  );
}

export interface Property {
  readonly name: string;
  readonly column: Column;
  /** Its value as JSON. */
  readonly value: Sql;
}

/** A sync's columns as a mapping sees them. */
export interface Source {
  /** Columns that reach Mixpanel, in order: what is excluded is not even read. */
  readonly columns: readonly Column[];
  readonly properties: readonly Property[];
  /** The column of a role. */
  column(name: string | null): Column;
}

export const propertyOf = (dialect: Dialect, name: string, column: Column): Property => ({
  name,
  column,
  value: dialect.jsonValue(column),
});

export function sourceOf(dialect: Dialect, sync: ResolvedSync): Source {
  const all = sync.columns.map((c): Column => ({
    name: c.name,
    native: c.native,
    type: dialect.logicalType(c.native) ?? 'text',
    zone: sync.timezone,
    sentAs: sync.properties.types[c.name] ?? null,
  }));
  const names = propertyNames(sync);
  const mapped = mappedColumns(sync);
  const roles = new Set([...mapped, ...(sync.key ?? [])]);
  return {
    columns: all.filter((c) => names.has(c.name) || roles.has(c.name)),
    properties: all
      .filter((c) => names.has(c.name))
      .map((column) => propertyOf(dialect, names.get(column.name) ?? column.name, column)),
    column(name) {
      const found = all.find((c) => c.name === name);
      if (!found) throw new Error(`column ${name} was not checked against the lock`);
      return found;
    },
  };
}
