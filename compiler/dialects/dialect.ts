/**
 * What a warehouse's SQL looks like, as pure expressions. Templates hold statements, dialects hold expressions;
 * nothing else in the compiler knows a warehouse by name.
 */

declare const sqlBrand: unique symbol;
/** SQL text that a dialect made. Only this reaches a template's output. */
export type Sql = string & { readonly [sqlBrand]: true };

/** Marks text as SQL. Only dialects and constant SQL in the compiler may call it, never with outside text. */
export const sql = (text: string): Sql => text as Sql;

export type WarehouseKind = 'bigquery' | 'snowflake' | 'databricks' | 'redshift' | 'postgres' | 'duckdb';

export type LogicalType =
  | 'text'
  | 'integer'
  | 'decimal'
  | 'float'
  | 'boolean'
  | 'date'
  | 'time'
  | 'timestamp'
  | 'timestamp_utc'
  | 'binary'
  | 'json'
  | 'nested'
  | 'interval'
  | 'geo';

/** A source column with its type as the warehouse names it and as the compiler understands it. */
export interface Column {
  readonly name: string;
  readonly native: string;
  readonly type: LogicalType;
  /** Zone of a naive timestamp; UTC when it is left out. */
  readonly zone?: string | null;
  /** Sent as text, or as the JSON that its text is, whatever its type. */
  readonly sentAs?: 'string' | 'json' | null;
}

/** A member of a JSON object; an optional one is left out when its value is null. */
export interface Member {
  readonly name: string;
  readonly value: Json;
  readonly optional: boolean;
}

/**
 * A JSON value: SQL of its text; an object, whose `more` is a text of members, each with a comma before it; an object
 * of optional members only; or a list of the texts that are not null.
 */
export type Json =
  | Sql
  | { readonly members: readonly Member[]; readonly more?: Sql | undefined }
  | { readonly optional: readonly { readonly name: string; readonly value: Sql }[] }
  | { readonly list: readonly Sql[] };

/** Members of a JSON object that are left out: those of these names, and those that begin so. */
export interface Skip {
  readonly names: readonly string[];
  readonly prefixes: readonly string[];
}

/** Whom a grant names, as the SQL of rights says it. */
export interface Grantee {
  readonly to: Sql;
  /** How the SQL of rights makes it: what follows `create`, and `from` to find it; null where it is made elsewhere. */
  readonly made: { readonly created: Sql; readonly found: Sql } | null;
  /** How it gets at staging tables: as their owner, by a right on each, or by a right on all that the schema ever has. */
  readonly tables: 'owned' | 'granted' | 'inherited';
}

/** How the partitions of a table are told apart by the values of one column, as integers. */
export interface Partitioning {
  /** Null where no column of the table has them: rows then lie where they were when they arrived. */
  readonly column: string | null;
  /** What is compared, unqualified. */
  readonly value: Sql;
  /** One range, both ends included: what stands before, between and after its two integers, and between two ranges. */
  readonly item: readonly [Sql, Sql, Sql, Sql];
  /** The least and the greatest integer of all. */
  readonly least: string;
  readonly most: string;
  /** The first and the last integer of the partition whose id is `partition_id`; null where that is no range. */
  readonly from: Sql;
  readonly to: Sql;
}

export interface Dialect {
  readonly name: WarehouseKind;
  /** The folder of templates that it shares with its like, read after its own and before `default`. */
  readonly family?: string;
  /** Statements of a transaction, or null where a run has none. */
  readonly transaction: { readonly begin: string; readonly commit: string; readonly rollback: string } | null;
  /** Statements that pin what a session could change: zone, float digits. */
  readonly session: readonly Sql[];
  /** A statement after which the session's statements may take that long, milliseconds. */
  statementTimeout(ms: number): Sql;
  /** Stands before a common table that shall be read anew by each that names it; empty where the engine decides. */
  readonly inlined: Sql;
  /** True for a file that a run sets up by itself; elsewhere a person runs `setup`. */
  readonly embedded: boolean;
  /** True where holding the database file proves that an earlier holder is dead. */
  readonly fileLock: boolean;
  /** True where partitions of a table decide what a statement reads, and what it costs. */
  readonly readsPartitions: boolean;
  /** Tells of which relations, by their type, table snapshots can be made; null where syncline makes none. */
  readonly snapshots: ((type: string) => boolean) | null;
  /** What must stand before a table's name, where nothing else says where it is. */
  readonly qualifier: string | null;
  /** True where a text can be read as JSON without failing on one that is none. */
  readonly readsText: boolean;
  /** True where the members of a JSON object can be listed inside an expression. */
  readonly flattens: boolean;
  /** True where only a plain comparison with a column lets a scan leave blocks out. */
  readonly prunesPlainly: boolean;
  /** True where a running total needs an order of its rows. */
  readonly ordersTotals: boolean;
  /** True where two transactions that read and write one table at once fail each other: commits then take turns. */
  readonly takesTurns: boolean;
  /** True where a table is renamed only if it is there. */
  readonly renamesIfThere: boolean;
  /** Column types of our own tables. */
  readonly types: Readonly<Record<'text' | 'integer', Sql>>;
  /** The logical type of a native type; undefined when it cannot be synced. */
  logicalType(native: string): LogicalType | undefined;
  /** True for a type whose values are lists: they have no members with names. */
  isList(native: string): boolean;
  /** Whom a grant names; null where a warehouse gives no rights. Where it does, it has templates `grant_*` and `privileges`. */
  readonly grantee: ((name: string) => Grantee) | null;
  /** The word for a relation of that type in a grant, where there is more than one. */
  granted?(type: string | null): Sql;
  ident(name: string): Sql;
  relation(parts: readonly string[]): Sql;
  text(value: string): Sql;
  /** A text literal as a column of a subquery: with a type, where it has none by itself. */
  typed(literal: Sql): Sql;
  /** A text that differs from another one's exactly when the texts do, also where comparing ignores trailing blanks. */
  exact(text: Sql): Sql;
  /** The text, compared by its bytes where its column may have a collation that takes other texts for equal. */
  bytewise(text: Sql): Sql;
  /** The texts one after the other; null where one is, or where a text of the warehouse holds no so long one. */
  concat(texts: readonly Sql[]): Sql;
  /** A condition that a text has more bytes than that, or that it could not be made because it has too many. */
  oversized(text: Sql, bytes: number): Sql;
  /**
   * A relation's rows: these columns at least, under a condition that people wrote and review, if there is one; it was
   * checked to be one condition.
   */
  rowsOf(relation: Sql, columns: readonly { readonly name: string }[], condition: string | null): Sql;
  /** A placeholder of the driver. */
  bind(name: string, position: number): Sql;
  /** Canonical text of a column: equal text if and only if equal value, independent of the session. Null stays null. */
  keyText(column: Column): Sql;
  /** Digest over the columns in order; trailing nulls left out, null equal to no value. */
  checksum(columns: readonly Column[]): Sql;
  md5(text: Sql): Sql;
  /** Size in bytes of a text. */
  bytes(text: Sql): Sql;
  /** Milliseconds since the epoch, rounded down; null for what has none (infinity). */
  epochMs(column: Column): Sql;
  /** Milliseconds since the epoch by the warehouse's clock. */
  nowMs(): Sql;
  /** The column as text for the state, and a stored text back as a bound for comparing. */
  watermark(column: Column): {
    readonly toText: Sql;
    fromText(bound: Sql): Sql;
    minus(stamp: Sql, ms: number): Sql;
    readonly now: Sql;
  };
  /** JSON text of a column as it is sent, or null where it is left out. */
  jsonValue(column: Column): Sql;
  /** True for a column that is no JSON object; null is one without members. */
  notObject(column: Column): Sql;
  /**
   * The members of a column's JSON object, each with a comma before it, without nulls and without what `skip` names;
   * empty when there are none.
   */
  flattened(column: Column, skip: Skip): Sql;
  /** How many names the members have that `flattened` gives. */
  members(column: Column, skip: Skip): Sql;
  /** The texts that are not null, joined by commas; empty when all are. */
  listed(texts: readonly Sql[]): Sql;
  /** A field of a CSV file (RFC 4180): typed values as Mixpanel reads them, null as nothing. */
  csvField(column: Column): Sql;
  /** Text aggregate: one digest of texts in the given order. */
  digest(text: Sql, order: Sql): Sql;
  /** JSON text of a text expression. */
  jsonString(text: Sql): Sql;
  /** JSON text of an object, or null where that is longer than a text holds. The first member is not optional. */
  jsonObject(members: readonly Member[], more?: Sql): Sql;
  jsonValid(text: Sql): Sql;
  /** The text that a JSON object `{"1":"…"}` has under an integer, or null. */
  jsonAt(text: Sql, key: Sql): Sql;
  /** Text aggregate: values joined by newline in the given order. */
  lines(text: Sql, order: Sql): Sql;
  /** A select of the columns (name, native) of a relation; `is_partition` is 1 for the one that it is partitioned by. */
  columns(parts: readonly string[]): Sql;
  /** Where a run may leave partitions unread, and read what is known of them. */
  readonly partitions?: {
    /** Null for a clause that is not known: then all is read. */
    of(clause: string, columns: readonly { readonly name: string; readonly native: string }[]): Partitioning | null;
    /** The view with a row for each partition of the tables that are where this one is. */
    view(parts: readonly string[]): Sql;
    /** A select of one row: `made_us`, when the table was made, and `partitioning`, as `described` says it. */
    made(parts: readonly string[]): Sql;
  };
  /**
   * A select of what a relation is, `type`, and how it is partitioned, `partitioning`, both in the warehouse's words;
   * only where something depends on it.
   */
  described?(parts: readonly string[]): Sql;
  /** A condition that `pg_class as c` in `pg_namespace as n` is that relation, where the template `privileges` asks it. */
  cataloged?(parts: readonly string[]): Sql;
  /** A select of the column `name`: tables of the staging schema whose name ends so, without that end. */
  tablesEnding(staging: string, end: string): Sql;
  /** A condition that a table of the staging schema exists. */
  tableExists(staging: string, table: Sql): Sql;
}
