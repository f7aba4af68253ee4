import type { Column, Dialect, LogicalType, Skip, Sql } from './dialect.ts';
import { sql } from './dialect.ts';
import { jsonText } from './json.ts';

/** Native type names of DuckDB (documentation: Data Types) without their parameters. */
const TYPES: Readonly<Record<string, LogicalType>> = {
  VARCHAR: 'text',
  CHAR: 'text',
  UUID: 'text',
  ENUM: 'text',
  BIT: 'text',
  TINYINT: 'integer',
  SMALLINT: 'integer',
  INTEGER: 'integer',
  BIGINT: 'integer',
  HUGEINT: 'integer',
  UTINYINT: 'integer',
  USMALLINT: 'integer',
  UINTEGER: 'integer',
  UBIGINT: 'integer',
  UHUGEINT: 'integer',
  BIGNUM: 'integer',
  DECIMAL: 'decimal',
  FLOAT: 'float',
  DOUBLE: 'float',
  BOOLEAN: 'boolean',
  DATE: 'date',
  TIME: 'time',
  TIME_NS: 'time',
  'TIME WITH TIME ZONE': 'time',
  TIMESTAMP: 'timestamp',
  TIMESTAMP_S: 'timestamp',
  TIMESTAMP_MS: 'timestamp',
  TIMESTAMP_NS: 'timestamp',
  'TIMESTAMP WITH TIME ZONE': 'timestamp_utc',
  BLOB: 'binary',
  JSON: 'json',
  STRUCT: 'nested',
  MAP: 'nested',
  UNION: 'nested',
  INTERVAL: 'interval',
  GEOMETRY: 'geo',
};

const ident = (name: string): Sql => sql(`"${name.replaceAll('"', '""')}"`);
const text = (value: string): Sql => sql(`'${value.replaceAll("'", "''")}'`);
const col = (column: Column): Sql => ident(column.name);
const relation = (parts: readonly string[]): Sql => sql(parts.map(ident).join('.'));

/** Years that an ISO date of four digits can name; infinities have none either. */
const inCalendar = (c: Sql): string => `isfinite(${c}) and year(${c}) between 1 and 9999`;

function keyText(column: Column): Sql {
  const c = col(column);
  switch (column.type) {
    // The plain cast follows the session zone; microseconds do not (documentation: Timestamp Types).
    case 'timestamp_utc':
      return sql(`cast(epoch_us(${c}) as varchar)`);
    // A display cast of nested values is not a format; JSON marks inner nulls and quotes strings.
    case 'nested':
      return sql(`cast(to_json(${c}) as varchar)`);
    default:
      return sql(`cast(${c} as varchar)`);
  }
}

/** A timestamp column as a naive one in UTC. */
function inUtc(column: Column): string {
  const c = col(column);
  if (column.type === 'timestamp_utc') return `(${c} at time zone 'UTC')`;
  const naive = `cast(${c} as timestamp)`;
  return zoneOf(column) === 'UTC' ? naive : `((${naive} at time zone ${text(zoneOf(column))}) at time zone 'UTC')`;
}

/** The zone of a naive timestamp; a date is its midnight in UTC. */
const zoneOf = (column: Column): string => (column.type === 'timestamp' ? (column.zone ?? 'UTC') : 'UTC');

/** A column that holds an object, as JSON. */
const asJson = (column: Column): string =>
  column.type === 'nested' ? `to_json(${col(column)})` : `try_cast(cast(${col(column)} as varchar) as json)`;

/** The value as text, in the spelling that it has inside JSON, without quotes. */
function plainText(column: Column): Sql {
  const c = col(column);
  switch (column.type) {
    case 'float':
      return sql(`case when isfinite(${c}) then cast(to_json(${c}) as varchar) end`);
    case 'timestamp':
    case 'timestamp_utc': {
      const utc = inUtc(column);
      // strftime takes only a constant format, so the choice is made outside it.
      const shown = (format: string): string => `strftime(${utc}, '${format}')`;
      return sql(
        `case when ${inCalendar(sql(utc))} then case when date_trunc('second', ${utc}) = ${utc} then ${shown('%Y-%m-%dT%H:%M:%S')} else ${shown('%Y-%m-%dT%H:%M:%S.%f')} end end`,
      );
    }
    case 'date':
      return sql(`case when ${inCalendar(c)} then strftime(${c}, '%Y-%m-%d') end`);
    case 'binary':
      return sql(`base64(${c})`);
    case 'nested':
      return sql(`cast(to_json(${c}) as varchar)`);
    default:
      return sql(`cast(${c} as varchar)`);
  }
}

/** JSON from outside as it is. A line break outside strings is mere layout, and batches are split at line breaks. */
const rawJson = (c: Sql): Sql => sql(`nullif(trim(replace(cast(${c} as varchar), chr(10), ' ')), 'null')`);

/** DuckDB's own reader takes NaN, Infinity and trailing commas too; outside strings they can be nothing else. */
function jsonValid(value: Sql): Sql {
  const bare = `regexp_replace(${value}, '"(?:[^"\\\\]|\\\\.)*"', '""', 'g')`;
  return sql(`(json_valid(${value}) and not regexp_matches(${bare}, '(?i)nan|inf|,\\s*[\\]}]'))`);
}

/** A text that is no JSON by itself must not become a part of it: what stands here then makes the whole invalid. */
const provenJson = (value: Sql): Sql => sql(`case when not ${jsonValid(value)} then 'no JSON' else ${value} end`);

function jsonValue(column: Column): Sql {
  const c = col(column);
  if (column.sentAs === 'string') return sql(`cast(to_json(${plainText(column)}) as varchar)`);
  if (column.sentAs === 'json') return column.type === 'json' ? rawJson(c) : provenJson(rawJson(c));
  switch (column.type) {
    case 'integer':
    case 'decimal':
    case 'boolean':
      return sql(`cast(${c} as varchar)`);
    case 'float':
    case 'nested':
      return plainText(column);
    case 'timestamp':
    case 'timestamp_utc':
    case 'date':
    case 'binary':
      return sql(`'"' || ${plainText(column)} || '"'`);
    case 'json':
      return rawJson(c);
    default:
      return sql(`cast(to_json(cast(${c} as varchar)) as varchar)`);
  }
}

/** The members of a column's object as a list of keys and values, without nulls and what is skipped; null for no object. */
function entries(column: Column, { names, prefixes }: Skip): string {
  const json = asJson(column);
  const kept = [
    'e.value is not null',
    `cast(e.value as varchar) <> 'null'`,
    ...(names.length === 0 ? [] : [`e.key not in (${names.map(text).join(', ')})`]),
    ...prefixes.map((p) => `not starts_with(e.key, ${text(p)})`),
  ].join(' and ');
  const object = `case when json_type(${json}) = 'OBJECT' then ${json} end`;
  return `list_filter(map_entries(cast(${object} as map(varchar, json))), lambda e: ${kept})`;
}

const sizeOf = (value: Sql): Sql => sql(`strlen(${value})`);

/** DuckDB, the embedded default (documentation: duckdb.org/docs/stable). */
export const duckdb: Dialect = {
  name: 'duckdb',
  transaction: { begin: 'begin transaction', commit: 'commit', rollback: 'rollback' },
  // Documentation: WITH Clause. A table that two others read is kept otherwise, with all its columns.
  inlined: sql('not materialized '),
  session: [sql("set timezone = 'UTC'")],
  statementTimeout() {
    throw new Error('DuckDB has no limit of a statement, and its targets no setting for one');
  },
  embedded: true,
  fileLock: true,
  readsPartitions: false,
  snapshots: null,
  qualifier: null,
  readsText: true,
  flattens: true,
  prunesPlainly: false,
  ordersTotals: false,
  takesTurns: false,
  renamesIfThere: true,
  grantee: null,
  types: { text: sql('varchar'), integer: sql('bigint') },
  isList: (native) => native.endsWith(']'),
  logicalType(native) {
    if (duckdb.isList(native)) return 'nested';
    return TYPES[native.replace(/\(.*$/s, '').trim().toUpperCase()];
  },
  ident,
  relation,
  text,
  typed: (literal) => literal,
  exact: (value) => value,
  // Documentation: Collations. The catalog does not say which columns have one.
  bytewise: (value) => sql(`(${value} collate "C")`),
  concat: (texts) => sql(texts.join(' || ')),
  oversized: (value, bytes) => sql(`${sizeOf(value)} > ${bytes}`),
  rowsOf: (source, _, condition) =>
    condition === null ? source : sql(`(select * from ${source} where (${condition}))`),
  bind: (name) => sql(`$${name}`),
  keyText,
  checksum: (columns) =>
    sql(`md5(regexp_replace(cast(json_array(${columns.map(keyText).join(', ')}) as varchar), '(,null)+\\]$', ']'))`),
  md5: (value) => sql(`md5(${value})`),
  bytes: sizeOf,
  epochMs(column) {
    const c = col(column);
    const stamp = column.type === 'timestamp_utc' ? c : inUtc(column);
    // Division of microseconds rounds towards zero; a floor keeps times before 1970 exact too.
    return sql(`case when isfinite(${c}) then cast(floor(epoch_us(${stamp}) / 1000.0) as bigint) end`);
  },
  nowMs: () => sql('epoch_ms(now())'),
  watermark(column) {
    const c = col(column);
    const utc = column.type === 'timestamp_utc';
    const type = column.type === 'date' ? 'date' : utc ? 'timestamptz' : column.native;
    const now = utc ? 'now()' : `cast(now() at time zone ${text(zoneOf(column))} as ${type})`;
    return {
      toText: sql(`cast(max(${c}) as varchar)`),
      fromText: (bound) => sql(`cast(${bound} as ${type})`),
      minus: (stamp, ms) =>
        sql(column.type === 'date' ? `${stamp} - ${Math.ceil(ms / 86_400_000)}` : `${stamp} - to_milliseconds(${ms})`),
      now: sql(now),
    };
  },
  jsonValue,
  jsonString: (value) => sql(`cast(to_json(${value}) as varchar)`),
  notObject: (column) =>
    sql(`(${col(column)} is not null and coalesce(json_type(${asJson(column)}), 'NONE') not in ('OBJECT', 'NULL'))`),
  flattened: (column, skip) =>
    sql(
      `coalesce(list_aggregate(list_transform(${entries(column, skip)}, lambda e: ',' || to_json(e.key) || ':' || e.value), 'string_agg', ''), '')`,
    ),
  members: (column, skip) => sql(`coalesce(list_unique(list_transform(${entries(column, skip)}, lambda e: e.key)), 0)`),
  listed: (texts) => sql(`concat_ws(',', ${texts.join(', ')})`),
  csvField(column) {
    const value = column.type === 'json' && column.sentAs !== 'string' ? jsonValue(column) : plainText(column);
    const isBare = ['integer', 'decimal', 'float', 'boolean'].includes(column.type) && column.sentAs !== 'string';
    return sql(isBare ? `coalesce(${value}, '')` : `coalesce('"' || replace(${value}, '"', '""') || '"', '')`);
  },
  digest: (value, order) => sql(`md5(coalesce(string_agg(${value}, '' order by ${order}), ''))`),
  jsonObject(members, more) {
    // concat() takes a null piece as empty, so a null member disappears with its name and comma.
    const pieces = members.map((m, i) => {
      const head = text(`${i === 0 ? '' : ','}${JSON.stringify(m.name)}:`);
      const value = jsonText(duckdb, m.value);
      return m.optional ? `${head} || ${value}` : `${head}, ${value}`;
    });
    return sql(`concat('{', ${[...pieces, ...(more === undefined ? [] : [more])].join(', ')}, '}')`);
  },
  jsonValid,
  jsonAt: (value, key) => sql(`json_extract_string(${value}, '$."' || ${key} || '"')`),
  lines: (value, order) => sql(`string_agg(${value}, chr(10) order by ${order})`),
  columns(parts) {
    const [table, schema, database] = [...parts].reverse();
    return sql(
      `select column_name as name, data_type as native from duckdb_columns() where lower(table_name) = lower(${text(table ?? '')}) and ${
        schema === undefined ? 'schema_name = current_schema()' : `lower(schema_name) = lower(${text(schema)})`
      } and ${database === undefined ? 'database_name = current_database()' : `lower(database_name) = lower(${text(database)})`} order by column_index`,
    );
  },
  tablesEnding: (staging, end) =>
    sql(
      `select left(table_name, length(table_name) - ${end.length}) as name from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower(${text(staging)}) and ends_with(table_name, ${text(end)}) order by 1`,
    ),
  tableExists: (staging, table) =>
    sql(
      `exists (select 1 from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower(${text(staging)}) and table_name = ${table})`,
    ),
};
