import { partitioningOf } from './bigquery-partitions.ts';
import type { Column, Dialect, LogicalType, Member, Skip, Sql } from './dialect.ts';
import { sql } from './dialect.ts';
import { jsonText } from './json.ts';

/** Native type names as INFORMATION_SCHEMA.COLUMNS writes them (documentation: Data types), without their parameters. */
const TYPES: Readonly<Record<string, LogicalType>> = {
  STRING: 'text',
  INT64: 'integer',
  NUMERIC: 'decimal',
  BIGNUMERIC: 'decimal',
  FLOAT64: 'float',
  BOOL: 'boolean',
  DATE: 'date',
  TIME: 'time',
  DATETIME: 'timestamp',
  TIMESTAMP: 'timestamp_utc',
  BYTES: 'binary',
  JSON: 'json',
  STRUCT: 'nested',
  ARRAY: 'nested',
  RANGE: 'nested',
  INTERVAL: 'interval',
  GEOGRAPHY: 'geo',
};

const ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\\': '\\\\' };
/** Quoted identifiers have the escapes of texts (documentation: Lexical structure and syntax). */
const escaped = (value: string): string => value.replace(/[\\\n\r]/g, (c) => ESCAPES[c] ?? c);
const ident = (name: string): Sql => sql(`\`${escaped(name).replaceAll('`', '\\`')}\``);
const text = (value: string): Sql => sql(`'${escaped(value).replaceAll("'", "\\'")}'`);
const col = (column: Column): Sql => ident(column.name);
/** Quoted as one, since the first of several names may be a column's, which then is taken instead. */
const relation = (parts: readonly string[]): Sql => ident(parts.join('.'));

/** A function that gives a value for NULL too is asked only where there is one. */
const unlessNull = (c: string, value: string): Sql => sql(`if(${c} is null, null, ${value})`);
const isArray = ({ native }: Column): boolean => native.startsWith('ARRAY');

/** A stored array is never NULL: an empty one is what a column has that nothing was written to. */
const nestedText = (column: Column): Sql =>
  isArray(column)
    ? sql(`if(array_length(${col(column)}) > 0, to_json_string(${col(column)}), null)`)
    : unlessNull(col(column), `to_json_string(${col(column)})`);

function keyText(column: Column): Sql {
  const c = col(column);
  switch (column.type) {
    case 'text':
      return c;
    // How it is written depends on the zone of the project; microseconds do not.
    case 'timestamp_utc':
      return sql(`cast(unix_micros(${c}) as string)`);
    // The shortest text that reads back as the same number (documentation: JSON encodings).
    case 'float':
    case 'json':
      return unlessNull(c, `to_json_string(${c})`);
    case 'nested':
      return nestedText(column);
    case 'binary':
      return sql(`to_hex(${c})`);
    case 'geo':
      return sql(`to_hex(st_asbinary(${c}))`);
    default:
      return sql(`cast(${c} as string)`);
  }
}

/** The zone of a naive timestamp; a date is its midnight in UTC. */
const zoneOf = (column: Column): string => (column.type === 'timestamp' ? (column.zone ?? 'UTC') : 'UTC');

/** A timestamp or date column as a point in time; null for what a zone moves out of the years 1 to 9999. */
const instant = (column: Column): string =>
  column.type === 'timestamp_utc' ? col(column) : `safe.timestamp(${col(column)}, ${text(zoneOf(column))})`;

/** The value as text, in the spelling that it has inside JSON, without quotes. */
function plainText(column: Column): Sql {
  const c = col(column);
  switch (column.type) {
    case 'float':
      return sql(`case when ${c} is not null and not is_nan(${c}) and not is_inf(${c}) then to_json_string(${c}) end`);
    case 'timestamp':
    case 'timestamp_utc': {
      const utc = instant(column);
      const shown = (seconds: string): string => `format_timestamp('%E4Y-%m-%dT%H:%M:${seconds}', ${utc}, 'UTC')`;
      return sql(`if(timestamp_trunc(${utc}, second) = ${utc}, ${shown('%S')}, ${shown('%E6S')})`);
    }
    case 'binary':
      return sql(`to_base64(${c})`);
    case 'json':
      return sql(`nullif(to_json_string(${c}), 'null')`);
    case 'nested':
      return nestedText(column);
    case 'geo':
      return sql(`st_astext(${c})`);
    default:
      return sql(`cast(${c} as string)`);
  }
}

const jsonString = (value: Sql): Sql => unlessNull(value, `to_json_string(${value})`);
const parsed = (value: string): string => `safe.parse_json(${value}, wide_number_mode => 'round')`;
const jsonValid = (value: Sql): Sql => sql(`(${parsed(value)} is not null)`);

/** A line break outside strings is mere layout, and batches are split at line breaks. */
const rawJson = (c: Sql): Sql => sql(`nullif(trim(replace(${c}, '\\n', ' ')), 'null')`);
/** A text that is no JSON by itself must not become a part of it: what stands here then makes the whole invalid. */
const provenJson = (value: Sql): Sql =>
  sql(`case when ${value} is not null and not ${jsonValid(value)} then 'no JSON' else ${value} end`);

function jsonValue(column: Column): Sql {
  if (column.sentAs === 'string') return jsonString(plainText(column));
  switch (column.type) {
    case 'integer':
    case 'decimal':
    case 'float':
    case 'boolean':
    case 'json':
    case 'nested':
      return plainText(column);
    case 'timestamp':
    case 'timestamp_utc':
    case 'date':
    case 'binary':
      return sql(`'"' || ${plainText(column)} || '"'`);
    default:
      return column.sentAs === 'json' ? provenJson(rawJson(keyText(column))) : jsonString(plainText(column));
  }
}

/** A column that holds an object, as JSON; null where a text is none. */
function asJson(column: Column): string {
  if (column.type === 'json') return col(column);
  return column.type === 'nested' ? `to_json(${col(column)}, stringify_wide_numbers => true)` : parsed(col(column));
}

/** The names of the members of a column's object as rows, without nulls and what is skipped: from and where of a subquery. */
function entries(column: Column, { names, prefixes }: Skip): string {
  const json = asJson(column);
  const kept = [
    `json_type(${json}[syncline_entry.syncline_name]) <> 'null'`,
    ...(names.length === 0 ? [] : [`syncline_entry.syncline_name not in (${names.map(text).join(', ')})`]),
    ...prefixes.map((p) => `not starts_with(syncline_entry.syncline_name, ${text(p)})`),
  ].join(' and ');
  // A key with characters of a path is given in quotes (documentation: JSON_KEYS).
  const name = `if(starts_with(k, '"'), json_value(safe.parse_json(k)), k)`;
  return `(select ${name} as syncline_name from unnest(json_keys(${json}, 1)) as k) as syncline_entry where ${kept}`;
}

/** The pieces that are not null, one after the other. */
const concatenated = (texts: readonly string[], between: string): Sql =>
  sql(texts.length === 0 ? "''" : `array_to_string([${texts.join(', ')}], '${between}')`);

const sizeOf = (value: Sql): Sql => sql(`byte_length(${value})`);

/** A table of the metadata of a dataset (documentation: Introduction to INFORMATION_SCHEMA). */
const metadata = (dataset: readonly string[], view: string): string =>
  [...dataset.map(ident), `INFORMATION_SCHEMA.${view}`].join('.');

/** Its PARTITION BY; the text of a view may have a line like that of a table. */
const PARTITIONING = `if(ends_with(table_type, 'VIEW'), null, regexp_extract(ddl, r'\\nPARTITION BY ([^\\n]*[^\\n;])'))`;
const aboutTable = (columns: string, parts: readonly string[]): Sql =>
  sql(
    `select ${columns} from ${metadata(parts.slice(0, -1), 'TABLES')} where table_name = ${text(parts.at(-1) ?? '')}`,
  );

/** Google BigQuery, GoogleSQL (documentation: cloud.google.com/bigquery/docs). */
export const bigquery: Dialect = {
  name: 'bigquery',
  // A table cannot be made in one, and a script's is undone only where an error is caught in it.
  transaction: null,
  inlined: sql(''),
  session: [],
  statementTimeout() {
    throw new Error('on BigQuery the job has the limit, not the session');
  },
  embedded: false,
  fileLock: false,
  readsPartitions: true,
  // Neither views nor external tables (documentation: Introduction to table snapshots).
  snapshots: (type) => type === 'BASE TABLE' || type === 'CLONE',
  qualifier: 'dataset',
  readsText: true,
  flattens: true,
  prunesPlainly: true,
  ordersTotals: true,
  takesTurns: false,
  renamesIfThere: true,
  // Accounts are made by the cloud's own tools; a right on a dataset is one on all tables that it ever has.
  grantee: (name) => ({ to: text(name), made: null, tables: 'inherited' }),
  // Documentation: GRANT statement. Snapshots and clones are tables.
  granted: (type) => sql(type === 'EXTERNAL' ? 'external table' : type?.endsWith('VIEW') === true ? 'view' : 'table'),
  types: { text: sql('string'), integer: sql('int64') },
  isList: (native) => /^ARRAY\b/i.test(native),
  logicalType: (native) =>
    TYPES[
      native
        .replace(/[(<].*$/s, '')
        .trim()
        .toUpperCase()
    ],
  ident,
  relation,
  text,
  typed: (literal) => literal,
  exact: (value) => value,
  bytewise: (value) => value,
  concat: (texts) => sql(texts.join(' || ')),
  oversized: (value, bytes) => sql(`${sizeOf(value)} > ${bytes}`),
  // Only columns that are named are read and billed. GoogleSQL reads the name of a table, or of its alias, as its whole
  // row, also where a column has that name: hence an alias that no column may have, here and in every template.
  rowsOf: (source, columns, condition) =>
    sql(
      `(select ${columns.map((c) => ident(c.name)).join(', ')} from ${source} as syncline_source${condition === null ? '' : ` where (${condition})`})`,
    ),
  bind: (name) => sql(`@${name}`),
  keyText,
  checksum: (columns) =>
    sql(
      `to_hex(md5(rtrim(${concatenated(
        columns.map((c) => `coalesce(cast(${sizeOf(keyText(c))} as string) || ':' || ${keyText(c)} || ';', '~')`),
        '',
      )}, '~')))`,
    ),
  md5: (value) => sql(`to_hex(md5(${value}))`),
  bytes: sizeOf,
  epochMs: (column) => sql(`unix_millis(${instant(column)})`),
  nowMs: () => sql('unix_millis(current_timestamp())'),
  watermark(column) {
    const c = col(column);
    const type = { timestamp_utc: 'timestamp', date: 'date' }[column.type as string] ?? 'datetime';
    const now = {
      timestamp: 'current_timestamp()',
      date: `current_date('UTC')`,
      datetime: `current_datetime(${text(zoneOf(column))})`,
    }[type];
    return {
      toText: sql(`cast(max(${c}) as string)`),
      fromText: (bound) => sql(`cast(${bound} as ${type})`),
      minus: (stamp, ms) =>
        sql(
          type === 'date'
            ? `date_sub(${stamp}, interval ${Math.ceil(ms / 86_400_000)} day)`
            : `${type}_sub(${stamp}, interval ${ms} millisecond)`,
        ),
      now: sql(now ?? ''),
    };
  },
  jsonValue,
  jsonString,
  notObject: (column) =>
    sql(`(${col(column)} is not null and coalesce(json_type(${asJson(column)}), 'none') not in ('object', 'null'))`),
  flattened(column, skip) {
    const value = `${asJson(column)}[syncline_entry.syncline_name]`;
    return sql(
      `coalesce(array_to_string(array(select ',' || to_json_string(syncline_entry.syncline_name) || ':' || to_json_string(${value}) from ${entries(column, skip)} order by syncline_entry.syncline_name), ''), '')`,
    );
  },
  members: (column, skip) => sql(`(select count(*) from ${entries(column, skip)})`),
  listed: (texts) => concatenated(texts, ','),
  csvField(column) {
    const value = column.type === 'json' && column.sentAs !== 'string' ? jsonValue(column) : plainText(column);
    const isBare = ['integer', 'decimal', 'float', 'boolean'].includes(column.type) && column.sentAs !== 'string';
    return sql(isBare ? `coalesce(${value}, '')` : `coalesce('"' || replace(${value}, '"', '""') || '"', '')`);
  },
  digest: (value, order) => sql(`to_hex(md5(coalesce(string_agg(${value}, '' order by ${order}), '')))`),
  jsonObject(members: readonly Member[], more) {
    // A null piece is left out, so a null member disappears with its name and comma.
    const pieces = members.map((m, i) => {
      const head = text(`${i === 0 ? '' : ','}${JSON.stringify(m.name)}:`);
      const value = jsonText(bigquery, m.value);
      return m.optional ? `${head} || ${value}` : `${head}, ${value}`;
    });
    return concatenated([`'{'`, ...pieces, ...(more === undefined ? [] : [more]), `'}'`], '');
  },
  jsonValid,
  jsonAt: (value, key) => sql(`json_value(parse_json(${value})[cast(${key} as string)])`),
  lines: (value, order) => sql(`string_agg(${value}, '\\n' order by ${order})`),
  columns(parts) {
    const [table = '', ...dataset] = [...parts].reverse();
    return sql(
      `select column_name as name, data_type as native, case when is_partitioning_column = 'YES' then 1 else 0 end as is_partition from ${metadata(dataset.reverse(), 'COLUMNS')} where table_name = ${text(table)} and is_hidden = 'NO' order by ordinal_position`,
    );
  },
  partitions: {
    of: (clause, columns) => partitioningOf(clause, columns, ident),
    view: (parts) => sql(metadata(parts.slice(0, -1), 'PARTITIONS')),
    made: (parts) => aboutTable(`unix_micros(creation_time) as made_us, ${PARTITIONING} as partitioning`, parts),
  },
  described: (parts) => aboutTable(`table_type as type, ${PARTITIONING} as partitioning`, parts),
  tablesEnding: (staging, end) =>
    sql(
      `select left(table_name, length(table_name) - ${end.length}) as name from ${metadata([staging], 'TABLES')} where ends_with(table_name, ${text(end)})`,
    ),
  tableExists: (staging, table) =>
    sql(`exists (select 1 from ${metadata([staging], 'TABLES')} as t where t.table_name = ${table})`),
};
