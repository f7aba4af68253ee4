import type { Tables } from './googlesql.ts';
import { code, fullName, NAME, read, statementsOf } from './rewrite.ts';

/** Words that stand before a bracket and are no function. */
const WORDS = new Set(
  `all and any array as asc between by case cluster cross desc distinct else end except exists false from full group having if ignore in
  inner insert interval into is join left like limit merge not null nulls on options or order outer over partition qualify
  recursive right rows select set struct table then true union unnest update using values when where window with
  int64 string numeric bignumeric float64 bool bytes date datetime time timestamp json geography`
    .split(/\s+/)
    // Types and `if`, `left` and `right` are functions too.
    .filter((word) => !['if', 'left', 'right', 'date', 'datetime', 'time', 'timestamp', 'string'].includes(word)),
);

/** Functions that compiled statements may call, each documented for BigQuery (Functions, alphabetical). */
const FUNCTIONS = new Set(
  `any_value array_agg array_length array_to_string byte_length cast ceil coalesce concat count countif current_date
  current_datetime current_timestamp date date_add date_diff date_from_unix_date date_sub date_trunc datetime datetime_add datetime_diff datetime_sub
  datetime_trunc div ends_with exists extract farm_fingerprint floor format_date format_datetime format_timestamp from_base64 from_hex
  generate_array generate_uuid greatest if ifnull is_inf is_nan json_extract_scalar json_keys json_object json_query json_query_array
  json_set json_strip_nulls json_type json_value json_value_array lag lead least left length logical_and logical_or lower ltrim max
  md5 min mod nullif parse_date parse_datetime parse_json parse_timestamp range_bucket regexp_contains regexp_extract
  regexp_replace replace right round row_number rtrim safe_cast safe_offset offset sha256 sign split st_asbinary st_astext starts_with
  string string_agg strpos substr sum time timestamp timestamp_add timestamp_diff timestamp_micros timestamp_millis
  timestamp_seconds timestamp_sub timestamp_trunc to_base64 to_hex to_json to_json_string trim unix_date unix_micros unix_millis
  unix_seconds upper`.split(/\s+/),
);

const GRANTED_ON = /^(?:grant|revoke)\b[\s\S]+?\bon\s+((?:external|materialized)\s+\w+|\w+)/i;
const OBJECTS = ['schema', 'table', 'view', 'external table', 'project'];
const MEMBER = /^(user|group|serviceAccount|domain|specialGroup):./;
/** Types that may be clustered by (documentation: Introduction to clustered tables). */
const CLUSTERED = /^(BIGNUMERIC|BOOL|DATE|DATETIME|GEOGRAPHY|INT64|NUMERIC|RANGE|STRING|TIMESTAMP)\b/i;
const KEPT = /__(state|ledger|rejects|seen)$|\.runs$/;
/** The longest text of a query, in bytes (documentation: Quotas, "unresolved GoogleSQL query length"). */
const LONGEST = 1024 * 1024;

/**
 * What BigQuery refuses though GoogleSQL takes it, and what a compiled statement may not do.
 * @param tables as they are after the statement: types of what is partitioned and clustered
 * @returns one text for each finding
 */
export function lint(
  sql: string,
  tables: Tables = {},
  project = Object.keys(tables)[0]?.split('.')[0] ?? '',
): string[] {
  const found: string[] = [];
  const bytes = Buffer.byteLength(sql);
  if (bytes > LONGEST) found.push(`the statement has ${bytes} bytes, and ${LONGEST} at most are taken`);
  for (const statement of statementsOf(sql)) found.push(...findings(statement, tables, project));
  return found;
}

function findings(statement: string, tables: Tables, project: string): string[] {
  const found: string[] = [];
  const plain = code(statement);
  const about = read(statement);
  const name = 'name' in about ? fullName(about.name, project) : '';

  if (about.what === 'rights') {
    const on = GRANTED_ON.exec(statement)?.[1]?.toLowerCase().replace(/\s+/g, ' ') ?? '';
    if (!OBJECTS.includes(on)) found.push(`nothing is granted on "${on}": ${OBJECTS.join(', ')}`);
    if (!/^(?:grant|revoke)\s+`roles\/[\w.]+`/i.test(statement)) found.push('a role is named in backticks: `roles/…`');
    const members = /\b(?:to|from)\s+((?:'[^']*'|"[^"]*"|\s|,)+)$/i.exec(statement)?.[1] ?? '';
    for (const [, member = ''] of members.matchAll(/['"]([^'"]*)['"]/g))
      if (!MEMBER.test(member))
        found.push(`"${member}" is no member: user:, group:, serviceAccount:, domain:, specialGroup:`);
  }
  if (about.what === 'snapshot' && /\bwhere\b/i.test(plain)) found.push('a snapshot has all rows: CLONE has no WHERE');
  if (/\bfor\s+system_time\s+as\s+of\s+@/i.test(plain)) found.push('FOR SYSTEM_TIME AS OF takes no parameter here');
  if (/^(begin|commit|rollback)\b/i.test(plain)) found.push('statements are repeatable, not in transactions');
  if (/^create\s+or\s+replace\b/i.test(plain) && KEPT.test(name))
    found.push(`${name} is kept: it must not be replaced`);
  if (about.what === 'create table') found.push(...arrangement(about, tables[name]));

  for (const [, prefix, called = ''] of plain.matchAll(/(?<![\w@`])((?:\w+\s*\.\s*)*)(\w+)\s*\(/g)) {
    const before = (prefix ?? '').replace(/\s/g, '').toLowerCase();
    const isPath = before !== '' && before !== 'safe.' && before !== 'net.';
    if (
      !isPath &&
      !isDeclared(plain, called) &&
      !WORDS.has(called.toLowerCase()) &&
      !FUNCTIONS.has(called.toLowerCase())
    )
      found.push(`${before}${called} is no function that compiled statements may call`);
  }
  for (const [quoted] of statement.matchAll(/`(?:\\[\s\S]|[^`\\])*`/g))
    for (const part of quoted.slice(1, -1).split('.'))
      if (part.length > 300)
        found.push(`the name ${part.slice(0, 20)}… has ${part.length} characters, and 300 at most are taken`);
  const declared = Object.keys(tables);
  for (const [written] of statement.matchAll(new RegExp(NAME, 'g'))) {
    const full = fullName(written, project);
    const meant = declared.find((table) => table !== full && table.toLowerCase() === full.toLowerCase());
    if (meant !== undefined && !declared.includes(full))
      found.push(`${full} is written ${meant}: names of tables have their case`);
  }
  return found;
}

/** A table of the statement, or one that it writes to with a list of columns. */
const isDeclared = (plain: string, name: string): boolean =>
  new RegExp(`\\b(?:into|table|exists|merge)\\s+${name}\\s*\\(|\\b${name}\\s+as\\s*\\(`, 'i').test(plain);

function arrangement(
  about: Extract<ReturnType<typeof read>, { what: 'create table' }>,
  columns: Tables[string] | undefined,
): string[] {
  const found: string[] = [];
  const typeOf = (column: string): string | undefined =>
    columns?.find(({ name }) => name.toLowerCase() === column.toLowerCase())?.type;
  const by = about.partitionBy?.replaceAll('`', '').trim() ?? '';
  if (/^\w+$/.test(by) && !/^_partition(date|time)$/i.test(by)) {
    const type = typeOf(by);
    if (type !== undefined && !/^DATE$/i.test(type)) found.push(`a table is not partitioned by ${by}, a ${type}`);
  }
  const [, truncated, , part] = /^(timestamp|datetime|date)_trunc\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)$/i.exec(by) ?? [];
  if (truncated !== undefined && !/^(hour|day|month|year)$/i.test(part ?? ''))
    found.push(`a partition has no ${part ?? ''}`);
  if (/^date_trunc/i.test(by) && /hour/i.test(part ?? '')) found.push('a date has no hours to be partitioned by');
  if (about.clusterBy.length > 4)
    found.push(`a table is clustered by 4 columns at most, not ${about.clusterBy.length}`);
  for (const column of about.clusterBy) {
    const type = typeOf(column);
    if (type !== undefined && !CLUSTERED.test(type)) found.push(`a table is not clustered by ${column}, a ${type}`);
  }
  return found;
}
