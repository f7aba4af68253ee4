import type { Column, Dialect, Grantee, Json, LogicalType, Member, Sql } from './dialect.ts';
import { sql } from './dialect.ts';
import { ident, inUtc, isDated, relation, tableExists, tablesEnding, text, zoneOf } from './postgres.ts';

/**
 * Native type names as SVV_COLUMNS writes them, those of external tables included (documentation: Data types), without
 * their parameters. GEOMETRY, GEOGRAPHY, VARBYTE and HLLSKETCH have no text that Mixpanel could show.
 */
const TYPES: Readonly<Record<string, LogicalType>> = {
  'character varying': 'text',
  character: 'text',
  varchar: 'text',
  char: 'text',
  bpchar: 'text',
  string: 'text',
  text: 'text',
  smallint: 'integer',
  integer: 'integer',
  bigint: 'integer',
  int: 'integer',
  numeric: 'decimal',
  decimal: 'decimal',
  real: 'float',
  'double precision': 'float',
  float: 'float',
  double: 'float',
  boolean: 'boolean',
  date: 'date',
  'time without time zone': 'time',
  'time with time zone': 'time',
  'timestamp without time zone': 'timestamp',
  timestamp: 'timestamp',
  'timestamp with time zone': 'timestamp_utc',
  'interval year to month': 'interval',
  'interval day to second': 'interval',
  super: 'json',
};
const plainType = (native: string): string =>
  native
    .toLowerCase()
    .replace(/\s*\([^)]*\)/, '')
    .trim();

/** Bytes of the longest text, also in the middle of an expression (documentation: Character types). */
const LONGEST = 65_535;
/** What stands for a value that is longer: with a name before it, it fits nowhere, so the row is told instead of cut. */
const TOO_LONG = `repeat('x', ${LONGEST})`;
/** A cast to `varchar` alone would cut at 256. */
const VARCHAR = sql(`varchar(${LONGEST})`);

const col = (column: Column): Sql => ident(column.name);
const asText = (value: string): Sql => sql(`cast(${value} as ${VARCHAR})`);
const sizeOf = (value: string): Sql => sql(`octet_length(${value})`);
const fingerprint = (value: string): string => `cast(farmfingerprint64(${value}) as decimal(38,0))`;

function keyText(column: Column): Sql {
  const c = col(column);
  switch (column.type) {
    case 'text':
      return plainType(column.native) === 'character varying' ? c : asText(c);
    case 'boolean':
      return sql(`case when ${c} then 'true' when not ${c} then 'false' end`);
    case 'float':
      return asText(`cast(${c} as double precision)`);
    case 'json':
      // As bytes it has no limit that a SUPER could exceed.
      return sql(`json_serialize_to_varbyte(${c})`);
    default:
      // Dates are written by the pinned `datestyle`, times with zone by the pinned zone.
      return asText(c);
  }
}

/** The value as text, in the spelling that it has inside JSON, without quotes. */
function plainText(column: Column): Sql {
  const c = col(column);
  switch (column.type) {
    case 'float':
      return sql(`nullif(nullif(nullif(${keyText(column)}, 'NaN'), 'Infinity'), '-Infinity')`);
    case 'timestamp':
    case 'timestamp_utc': {
      const utc = inUtc(column);
      const shown = (format: string): string => `to_char(${utc}, 'YYYY-MM-DD"T"HH24:MI:SS${format}')`;
      return sql(
        `case when ${isDated(column)} then case when date_trunc('second', ${utc}) = ${utc} then ${shown('')} else ${shown('.US')} end end`,
      );
    }
    case 'date':
      return sql(`case when ${isDated(column)} then to_char(${c}, 'YYYY-MM-DD') end`);
    case 'json':
      return sql(
        `case when json_size(${c}) <= ${LONGEST} then nullif(json_serialize(${c}), 'null') when ${c} is not null then ${TOO_LONG} end`,
      );
    default:
      return keyText(column);
  }
}

/** JSON of a text, written by the warehouse as the one member of an object and taken out of it. */
function jsonString(value: Sql): Sql {
  const object = `object('k', ${value})`;
  return sql(
    `case when ${value} is null then null when json_size(${object}) <= ${LONGEST} then substring(rtrim(json_serialize(${object}), '}'), 6, ${LONGEST}) else ${TOO_LONG} end`,
  );
}

const jsonValid = (value: Sql): Sql => sql(`can_json_parse(${value})`);

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
      return plainText(column);
    case 'timestamp':
    case 'timestamp_utc':
    case 'date':
      return sql(`'"' || ${plainText(column)} || '"'`);
    default:
      // A line break outside strings is mere layout, and batches are split at line breaks.
      return column.sentAs === 'json'
        ? provenJson(sql(`nullif(trim(replace(${keyText(column)}, chr(10), ' ')), 'null')`))
        : jsonString(keyText(column));
  }
}

/** A part of a text that is put together: a constant, or an expression with the bytes that it will have. */
type Piece = string | { readonly sql: string; readonly bytes: string };

const LITERAL = /^'(?:[^'\\]|'')*'$/;
const optional = (head: string, value: Sql): Exclude<Piece, string> => ({
  sql: `coalesce(${text(head)} || ${value}, '')`,
  bytes: `coalesce(${sizeOf(value)} + ${Buffer.byteLength(head)}, 0)`,
});

/** What each part has a comma before, without the first comma. */
function listOf(parts: readonly Exclude<Piece, string>[]): readonly Piece[] {
  if (parts.length === 0) return [];
  return [
    {
      sql: `substring(${parts.map((p) => p.sql).join(' || ')}, 2, ${LONGEST})`,
      bytes: parts.map((p) => p.bytes).join(' + '),
    },
  ];
}

function piecesOf(value: Json): readonly Piece[] {
  if (typeof value === 'string')
    return LITERAL.test(value) ? [value.slice(1, -1).replaceAll("''", "'")] : [{ sql: value, bytes: sizeOf(value) }];
  if ('list' in value) return ['[', ...listOf(value.list.map((item) => optional(',', item))), ']'];
  if ('optional' in value)
    return ['{', ...listOf(value.optional.map((m) => optional(`,${JSON.stringify(m.name)}:`, m.value))), '}'];
  const members = value.members.flatMap((m, i) => {
    const head = `${i === 0 ? '' : ','}${JSON.stringify(m.name)}:`;
    return m.optional && typeof m.value === 'string' ? [optional(head, m.value)] : [head, ...piecesOf(m.value)];
  });
  return ['{', ...members, ...(value.more === undefined ? [] : piecesOf(value.more)), '}'];
}

/** The pieces as one text, if that fits: a longer one would be an error, and fail the statement for all rows. */
function put(pieces: readonly Piece[]): Sql {
  const merged: Piece[] = [];
  for (const piece of pieces) {
    const last = merged.at(-1);
    if (typeof piece === 'string' && typeof last === 'string') merged.splice(-1, 1, last + piece);
    else merged.push(piece);
  }
  const constant = merged.reduce((sum, p) => sum + (typeof p === 'string' ? Buffer.byteLength(p) : 0), 0);
  const bytes = [String(constant), ...merged.flatMap((p) => (typeof p === 'string' ? [] : [p.bytes]))];
  const made = merged.map((p) => (typeof p === 'string' ? text(p) : p.sql)).join(' || ');
  return sql(`case when ${bytes.join(' + ')} <= ${LONGEST} then ${made} end`);
}

/** `role:name` and `group:name`; any other name is a user's. */
function grantee(name: string): Grantee {
  const [, kind = 'user', bare = name] = /^(role|group):(.+)$/s.exec(name) ?? [];
  const found = {
    user: 'pg_user where usename',
    role: 'svv_roles where role_name',
    group: 'pg_group where groname',
  }[kind as 'user' | 'role' | 'group'];
  const isUser = kind === 'user';
  return {
    to: sql(isUser ? ident(bare) : `${kind} ${ident(bare)}`),
    made: {
      created: sql(`${kind} ${ident(bare)}${isUser ? ' password disable' : ''}`),
      found: sql(`${found} = ${text(bare)}`),
    },
    tables: isUser ? 'owned' : 'granted',
  };
}

const refusedBefore = (): never => {
  throw new Error('Redshift lists no keys of an object inside an expression, and `json_properties` is refused there');
};

/** Names are folded to lower case, also in quotes, unless a cluster says otherwise. */
const either = (name: string): string =>
  name === name.toLowerCase() ? `= ${text(name)}` : `in (${text(name)}, ${text(name.toLowerCase())})`;

/** Amazon Redshift, provisioned and Serverless (documentation: Amazon Redshift Database Developer Guide). */
export const redshift: Dialect = {
  name: 'redshift',
  family: 'pg',
  transaction: { begin: 'begin', commit: 'commit', rollback: 'rollback' },
  inlined: sql(''),
  session: [
    sql("set query_group to 'syncline'"),
    sql("set timezone to 'UTC'"),
    sql("set datestyle to 'ISO, YMD'"),
    sql('set extra_float_digits to 2'),
  ],
  statementTimeout: (ms) => sql(`set statement_timeout to ${Math.round(ms)}`),
  embedded: false,
  fileLock: false,
  readsPartitions: false,
  snapshots: null,
  qualifier: null,
  readsText: true,
  flattens: false,
  prunesPlainly: true,
  ordersTotals: true,
  takesTurns: true,
  renamesIfThere: false,
  grantee,
  types: { text: VARCHAR, integer: sql('bigint') },
  // A SUPER may be one, and no row tells before it is read.
  isList: () => false,
  logicalType: (native) => (Object.hasOwn(TYPES, plainType(native)) ? TYPES[plainType(native)] : undefined),
  ident,
  relation,
  text,
  typed: asText,
  // Comparing ignores trailing blanks (documentation: Character types). A long text is named by its digest, so that
  // what is made of several keys fits a text; no digest ends with the mark.
  exact: (value) => sql(`case when octet_length(${value}) <= 255 then ${value} || '|' else md5(${value}) end`),
  bytewise: (value) => value,
  concat: (texts) => put(texts.flatMap(piecesOf)),
  oversized: (value, bytes) => sql(`(${value} is null or ${sizeOf(value)} > ${bytes})`),
  rowsOf: (source, _, condition) =>
    condition === null ? source : sql(`(select * from ${source} where (${condition}))`),
  bind: (_, position) => sql(`$${position}`),
  keyText,
  // A sum knows no text of the whole row, which might be too long. A null adds nothing wherever it is.
  checksum: (columns) =>
    asText(
      [
        'cast(0 as decimal(38,0))',
        ...columns.map(
          (column, i) =>
            `case when ${col(column)} is null then 0 else ${fingerprint(`'${i + 1}:' || cast(farmfingerprint64(${keyText(column)}) as varchar(20))`)} end`,
        ),
      ].join(' + '),
    ),
  md5: (value) => sql(`md5(${value})`),
  bytes: sizeOf,
  epochMs(column) {
    const utc = inUtc(column);
    return sql(
      `case when ${isDated(column)} then cast(extract(epoch from date_trunc('second', ${utc})) as bigint) * 1000 + cast(left(to_char(${utc}, 'US'), 3) as bigint) end`,
    );
  },
  nowMs: () => sql('cast(extract(epoch from getdate()) as bigint) * 1000'),
  watermark(column) {
    const c = col(column);
    const type = { timestamp_utc: 'timestamptz', date: 'date' }[column.type as string] ?? 'timestamp';
    const utc = `(getdate() at time zone 'UTC')`;
    const now = column.type === 'timestamp_utc' ? utc : `cast(${utc} at time zone ${text(zoneOf(column))} as ${type})`;
    return {
      toText: asText(`max(${c})`),
      fromText: (bound) => sql(`cast(${bound} as ${type})`),
      minus: (stamp, ms) =>
        sql(
          column.type === 'date'
            ? `${stamp} - ${Math.ceil(ms / 86_400_000)}`
            : `${stamp} - interval '${Math.ceil(ms / 1000)} seconds'`,
        ),
      now: sql(now),
    };
  },
  jsonValue,
  jsonString,
  notObject: refusedBefore,
  flattened: refusedBefore,
  members: refusedBefore,
  listed: (texts) =>
    sql(
      listOf(texts.map((t) => optional(',', t)))
        .map((p) => (p as { sql: string }).sql)
        .join('') || "''",
    ),
  csvField(column) {
    const value = column.sentAs === 'json' ? jsonValue(column) : plainText(column);
    const isBare = ['integer', 'decimal', 'float', 'boolean'].includes(column.type) && column.sentAs !== 'string';
    if (isBare) return sql(`coalesce(${value}, '')`);
    const quotes = `${sizeOf(value)} - ${sizeOf(`replace(${value}, '"', '')`)}`;
    return sql(
      `case when ${value} is null then '' when ${sizeOf(value)} + ${quotes} + 2 <= ${LONGEST} then '"' || replace(${value}, '"', '""') || '"' else ${TOO_LONG} end`,
    );
  },
  // There is no text aggregate that would fit: the digest of a table is the sum of its rows' fingerprints.
  digest: (value) => sql(`${asText('count(*)')} || ':' || ${asText(`coalesce(sum(${fingerprint(value)}), 0)`)}`),
  jsonObject: (members: readonly Member[], more) => put(piecesOf({ members, more })),
  jsonValid,
  jsonAt: (value, key) => sql(`nullif(json_extract_path_text(${value}, ${asText(key)}), '')`),
  // Pages have one record a row, so nothing is joined.
  lines: (value) => value,
  columns(parts) {
    const [table = '', schema, database] = [...parts].reverse();
    const where = [
      `c.table_name ${either(table)}`,
      `c.table_schema ${schema === undefined ? '= current_schema()' : either(schema)}`,
      ...(database === undefined ? [] : [`c.table_catalog ${either(database)}`]),
    ];
    const digits = `'(' || cast(c.numeric_precision as varchar(10)) || ',' || cast(c.numeric_scale as varchar(10)) || ')'`;
    return sql(
      `select ${asText('c.column_name')} as name, ${asText(`c.data_type || case when c.data_type = 'numeric' then ${digits} else '' end`)} as native from svv_columns as c where ${where.join(' and ')} order by c.ordinal_position`,
    );
  },
  cataloged(parts) {
    const [table = '', schema, database] = [...parts].reverse();
    return sql(
      [
        `c.relname ${either(table)}`,
        `n.nspname ${schema === undefined ? '= current_schema()' : either(schema)}`,
        ...(database === undefined ? [] : [`current_database() ${either(database)}`]),
      ].join(' and '),
    );
  },
  // Both read catalogs that Redshift has from PostgreSQL.
  tablesEnding,
  tableExists,
};
