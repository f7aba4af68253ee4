import type { Column, Dialect, LogicalType, Member, Skip, Sql } from './dialect.ts';
import { sql } from './dialect.ts';
import { jsonText } from './json.ts';

/** Native type names as `format_type` writes them (documentation: Data Types), without their parameters. */
const TYPES: Readonly<Record<string, LogicalType>> = {
  text: 'text',
  'character varying': 'text',
  character: 'text',
  citext: 'text',
  name: 'text',
  uuid: 'text',
  inet: 'text',
  cidr: 'text',
  macaddr: 'text',
  bit: 'text',
  'bit varying': 'text',
  xml: 'text',
  smallint: 'integer',
  integer: 'integer',
  bigint: 'integer',
  oid: 'integer',
  numeric: 'decimal',
  real: 'float',
  'double precision': 'float',
  boolean: 'boolean',
  date: 'date',
  'time without time zone': 'time',
  'time with time zone': 'time',
  'timestamp without time zone': 'timestamp',
  'timestamp with time zone': 'timestamp_utc',
  bytea: 'binary',
  json: 'json',
  jsonb: 'json',
  interval: 'interval',
};

export const ident = (name: string): Sql => sql(`"${name.replaceAll('"', '""')}"`);

/** A backslash is an escape or none by a setting of the session, so none stands in a literal. */
export function text(value: string): Sql {
  const quoted = value.split('\\').map((part) => `'${part.replaceAll("'", "''")}'`);
  return sql(quoted.length === 1 ? (quoted[0] ?? '') : `(${quoted.join(' || chr(92) || ')})`);
}

const col = (column: Column): Sql => ident(column.name);
export const relation = (parts: readonly string[]): Sql => sql(parts.map(ident).join('.'));

/** Years that an ISO date of four digits can name; infinities have none either. */
const inCalendar = (c: string, type: 'date' | 'timestamp'): string =>
  `${c} between ${type} '0001-01-01' and ${type} '9999-12-31${type === 'date' ? '' : ' 23:59:59.999999'}'`;

/** The zone of a naive timestamp; a date is its midnight in UTC. */
export const zoneOf = (column: Column): string => (column.type === 'timestamp' ? (column.zone ?? 'UTC') : 'UTC');

/** A timestamp column as a naive one in UTC. */
export function inUtc(column: Column): string {
  const c = col(column);
  if (column.type === 'timestamp_utc') return `(${c} at time zone 'UTC')`;
  if (column.type === 'date') return `cast(${c} as timestamp)`;
  return zoneOf(column) === 'UTC' ? c : `((${c} at time zone ${text(zoneOf(column))}) at time zone 'UTC')`;
}

/** A zone's offset cannot move what has four digits of year out of the range of a timestamp. */
export const isDated = (column: Column): string =>
  column.type === 'timestamp_utc'
    ? inCalendar(inUtc(column), 'timestamp')
    : inCalendar(col(column), column.type === 'date' ? 'date' : 'timestamp');

/** A text by its bytes: columns of other collations cannot be compared, and some take different texts for equal. */
const textOf = (column: Column): Sql =>
  sql(column.type === 'text' ? `(cast(${col(column)} as text) collate "C")` : `cast(${col(column)} as text)`);

function keyText(column: Column): Sql {
  const c = col(column);
  switch (column.type) {
    // Dates are written by the pinned `datestyle`, a time with zone by the pinned zone.
    case 'binary':
      return sql(`encode(${c}, 'hex')`);
    case 'nested':
      return sql(`cast(to_json(${c}) as text)`);
    default:
      return textOf(column);
  }
}

/** Text of a number, without those that JSON has no spelling for. */
const finite = (c: Sql): string => `nullif(nullif(nullif(cast(${c} as text), 'NaN'), 'Infinity'), '-Infinity')`;

/** The value as text, in the spelling that it has inside JSON, without quotes. */
function plainText(column: Column): Sql {
  const c = col(column);
  switch (column.type) {
    case 'decimal':
    case 'float':
      return sql(finite(c));
    case 'timestamp':
    case 'timestamp_utc': {
      const utc = inUtc(column);
      return sql(
        `case when ${isDated(column)} then to_char(${utc}, case when date_trunc('second', ${utc}) = ${utc} then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end`,
      );
    }
    case 'date':
      return sql(`case when ${isDated(column)} then to_char(${c}, 'YYYY-MM-DD') end`);
    case 'binary':
      // base64 is broken into lines (documentation: Binary String Functions).
      return sql(`replace(encode(${c}, 'base64'), chr(10), '')`);
    case 'nested':
      return sql(`replace(cast(to_json(${c}) as text), chr(10), ' ')`);
    default:
      return textOf(column);
  }
}

const jsonString = (value: Sql): Sql => sql(`cast(to_json(cast(${value} as text)) as text)`);

function jsonValue(column: Column): Sql {
  const c = col(column);
  if (column.sentAs === 'string') return jsonString(plainText(column));
  switch (column.type) {
    case 'integer':
    case 'decimal':
    case 'float':
    case 'boolean':
    case 'nested':
      return plainText(column);
    case 'timestamp':
    case 'timestamp_utc':
    case 'date':
    case 'binary':
      return sql(`'"' || ${plainText(column)} || '"'`);
    case 'json':
      // A line break outside strings is mere layout, and batches are split at line breaks.
      return sql(`nullif(btrim(replace(cast(${c} as text), chr(10), ' '), ' ' || chr(9) || chr(13)), 'null')`);
    default:
      return jsonString(c);
  }
}

const asJson = (column: Column): string =>
  column.type === 'nested' ? `to_json(${col(column)})` : `cast(${col(column)} as json)`;
/**
 * Listing an object's members reads all escapes, and fails on those that name no character: a NUL, or half of a pair.
 * JSON has no control characters of its own, so one of them can stand for the backslash while pairs are taken away.
 */
function isReadable(column: Column): string {
  const escapes = `replace(replace(cast(${asJson(column)} as text), chr(92), chr(1)), chr(1) || chr(1), '')`;
  const unpaired = `regexp_replace(${escapes}, chr(1) || 'u[dD][89abAB]..' || chr(1) || 'u[dD][c-fC-F]..', '', 'g')`;
  return `${unpaired} !~* (chr(1) || 'u(0000|d[89a-f])')`;
}

/** The members of a column's object as rows `e`, without nulls and what is skipped: from and where of a subquery. */
function entries(column: Column, { names, prefixes }: Skip): string {
  const json = asJson(column);
  const kept = [
    `json_typeof(e.value) <> 'null'`,
    ...(names.length === 0 ? [] : [`e.key not in (${names.map(text).join(', ')})`]),
    ...prefixes.map((p) => `left(e.key, ${p.length}) <> ${text(p)}`),
  ].join(' and ');
  return `json_each(case when json_typeof(${json}) = 'object' and ${isReadable(column)} then ${json} end) with ordinality as e(key, value, place) where ${kept}`;
}

/** An array has no limit of members, a function's arguments have (documentation: Limits). */
const concatenated = (texts: readonly string[], between: string): Sql =>
  sql(texts.length === 0 ? "''" : `array_to_string(array[${texts.join(', ')}], '${between}')`);

const sizeOf = (value: Sql): Sql => sql(`octet_length(${value})`);

function cataloged(parts: readonly string[]): Sql {
  const [table = '', schema, database] = [...parts].reverse();
  return sql(
    [
      `c.relname = ${text(table)}`,
      schema === undefined ? 'pg_table_is_visible(c.oid)' : `n.nspname = ${text(schema)}`,
      ...(database === undefined ? [] : [`current_database() = ${text(database)}`]),
    ].join(' and '),
  );
}

export const tablesEnding = (staging: string, end: string): Sql =>
  sql(
    `select left(t.tablename, length(t.tablename) - ${end.length}) as name from pg_tables as t where t.schemaname = ${text(staging)} and right(t.tablename, ${end.length}) = ${text(end)} order by 1`,
  );
export const tableExists = (staging: string, table: Sql): Sql =>
  sql(`exists (select 1 from pg_tables as t where t.schemaname = ${text(staging)} and t.tablename = ${table})`);

/** PostgreSQL 12 and later (documentation: postgresql.org/docs). */
export const postgres: Dialect = {
  name: 'postgres',
  family: 'pg',
  transaction: { begin: 'begin', commit: 'commit', rollback: 'rollback' },
  inlined: sql('not materialized '),
  session: [
    sql("set timezone to 'UTC'"),
    sql("set datestyle to 'ISO, YMD'"),
    sql("set intervalstyle to 'postgres'"),
    sql('set extra_float_digits to 3'),
    sql('set standard_conforming_strings to on'),
    // A stricter level of the database would end fenced statements that only waited for each other.
    sql('set session characteristics as transaction isolation level read committed'),
    // A client that vanished without a word, or was suspended, would hold its lease's row for hours.
    sql("set idle_in_transaction_session_timeout to '5min'"),
  ],
  statementTimeout: (ms) => sql(`set statement_timeout to ${Math.round(ms)}`),
  embedded: false,
  fileLock: false,
  readsPartitions: false,
  snapshots: null,
  qualifier: null,
  readsText: false,
  flattens: true,
  prunesPlainly: false,
  ordersTotals: false,
  takesTurns: false,
  renamesIfThere: true,
  grantee: (name) => ({
    to: ident(name),
    made: { created: sql(`role ${ident(name)} login`), found: sql(`pg_roles where rolname = ${text(name)}`) },
    tables: 'owned',
  }),
  types: { text: sql('text'), integer: sql('bigint') },
  isList: (native) => native.endsWith('[]'),
  logicalType(native) {
    if (postgres.isList(native) || native.startsWith('composite ')) return 'nested';
    if (native.startsWith('enum ')) return 'text';
    // An interval may name its fields: `interval day to second(3)`.
    const name = native.startsWith('interval ') ? 'interval' : native.replace(/\s*\([^)]*\)/, '').trim();
    return Object.hasOwn(TYPES, name) ? TYPES[name] : undefined;
  },
  ident,
  relation,
  text,
  typed: (literal) => literal,
  exact: (value) => value,
  // Its texts for keys say so themselves.
  bytewise: (value) => value,
  concat: (texts) => sql(texts.join(' || ')),
  oversized: (value, bytes) => sql(`${sizeOf(value)} > ${bytes}`),
  rowsOf: (source, _, condition) =>
    condition === null ? source : sql(`(select * from ${source} where (${condition}))`),
  bind: (_, position) => sql(`$${position}`),
  keyText,
  checksum: (columns) =>
    sql(
      `md5(rtrim(${concatenated(
        columns.map((column) => `coalesce(octet_length(${keyText(column)}) || ':' || ${keyText(column)} || ';', '~')`),
        '',
      )}, '~'))`,
    ),
  md5: (value) => sql(`md5(${value})`),
  bytes: sizeOf,
  epochMs: (column) =>
    sql(`case when ${isDated(column)} then cast(floor(extract(epoch from ${inUtc(column)}) * 1000) as bigint) end`),
  nowMs: () => sql('cast(floor(extract(epoch from now()) * 1000) as bigint)'),
  watermark(column) {
    const c = col(column);
    const type = column.type === 'timestamp_utc' ? 'timestamptz' : column.type === 'date' ? 'date' : 'timestamp';
    const now =
      column.type === 'timestamp_utc' ? 'now()' : `cast(now() at time zone ${text(zoneOf(column))} as ${type})`;
    return {
      toText: sql(`cast(max(${c}) as text)`),
      fromText: (bound) => sql(`cast(${bound} as ${type})`),
      minus: (stamp, ms) =>
        sql(
          column.type === 'date'
            ? `${stamp} - ${Math.ceil(ms / 86_400_000)}`
            : `${stamp} - interval '${ms / 1000} seconds'`,
        ),
      now: sql(now),
    };
  },
  jsonValue,
  jsonString,
  notObject: (column) =>
    sql(
      `(${col(column)} is not null and (coalesce(json_typeof(${asJson(column)}), 'null') not in ('object', 'null') or not ${isReadable(column)}))`,
    ),
  flattened: (column, skip) =>
    sql(
      `coalesce((select string_agg(',' || cast(to_json(e.key) as text) || ':' || replace(cast(e.value as text), chr(10), ' '), '' order by e.place) from ${entries(column, skip)}), '')`,
    ),
  members: (column, skip) => sql(`(select count(distinct e.key) from ${entries(column, skip)})`),
  listed: (texts) => concatenated(texts, ','),
  csvField(column) {
    const value = column.type === 'json' && column.sentAs !== 'string' ? jsonValue(column) : plainText(column);
    const isBare = ['integer', 'decimal', 'float', 'boolean'].includes(column.type) && column.sentAs !== 'string';
    return sql(isBare ? `coalesce(${value}, '')` : `coalesce('"' || replace(${value}, '"', '""') || '"', '')`);
  },
  digest: (value, order) => sql(`md5(coalesce(string_agg(${value}, '' order by ${order}), ''))`),
  jsonObject(members: readonly Member[], more) {
    // A null piece is left out, so a null member disappears with its name and comma.
    const pieces = members.map((m, i) => {
      const head = text(`${i === 0 ? '' : ','}${JSON.stringify(m.name)}:`);
      const value = jsonText(postgres, m.value);
      return m.optional ? `${head} || ${value}` : `${head}, ${value}`;
    });
    return concatenated([`'{'`, ...pieces, ...(more === undefined ? [] : [more]), `'}'`], '');
  },
  // Only columns of JSON types reach a payload as they are, and their type has proved them.
  jsonValid: () => sql('true'),
  jsonAt: (value, key) => sql(`(cast(${value} as json) ->> cast(${key} as text))`),
  lines: (value, order) => sql(`string_agg(${value}, chr(10) order by ${order})`),
  columns(parts) {
    const where = [cataloged(parts), `c.relkind in ('r', 'v', 'm', 'f', 'p')`, 'a.attnum > 0 and not a.attisdropped'];
    const native = `case t.typtype when 'e' then 'enum ' || format_type(a.atttypid, null) when 'c' then 'composite ' || format_type(a.atttypid, null) when 'd' then format_type(t.typbasetype, t.typtypmod) else format_type(a.atttypid, a.atttypmod) end`;
    return sql(
      `select cast(a.attname as text) as name, ${native} as native from pg_attribute as a join pg_class as c on c.oid = a.attrelid join pg_namespace as n on n.oid = c.relnamespace join pg_type as t on t.oid = a.atttypid where ${where.join(' and ')} order by a.attnum`,
    );
  },
  cataloged,
  tablesEnding,
  tableExists,
};
