import type { Partitioning, Sql } from './dialect.ts';
import { sql } from './dialect.ts';

/** What a partitioned table is compared by, by the type of its column. */
interface Unit {
  /** A number as a value of the column, in what stands around it; a constant, so that partitions are left unread. */
  readonly value: readonly [string, string];
  readonly least: string;
  readonly most: string;
  /** A DATE or DATETIME as such a number. */
  number(value: string): string;
}

const MICROSECONDS = { least: '-62135596800000000', most: '253402300799999999' };
const UNITS: Readonly<Record<string, Unit>> = {
  DATE: {
    value: ['date_from_unix_date(', ')'],
    least: '-719162',
    most: '2932896',
    number: (date) => `unix_date(${date})`,
  },
  DATETIME: {
    value: ['datetime(timestamp_micros(', `), 'UTC')`],
    ...MICROSECONDS,
    number: (datetime) => `unix_micros(timestamp(${datetime}, 'UTC'))`,
  },
  TIMESTAMP: {
    value: ['timestamp_micros(', ')'],
    ...MICROSECONDS,
    number: (datetime) => `unix_micros(timestamp(${datetime}, 'UTC'))`,
  },
};

/** Ids of partitions (documentation: Managing partitioned tables). */
const FORMATS: Readonly<Record<string, { readonly format: string; readonly length: number }>> = {
  hour: { format: '%Y%m%d%H', length: 10 },
  day: { format: '%Y%m%d', length: 8 },
  month: { format: '%Y%m', length: 6 },
  year: { format: '%Y', length: 4 },
};

const RANGE = /^range_bucket\((\w+),generate_array\((-?\d+),(-?\d+)(?:,(\d+))?\)\)$/i;
const TRUNCATED = /^(?:timestamp|datetime|date)_trunc\((\w+),(hour|day|month|year)\)$/i;
const DATE = /^date\((\w+)\)$/i;
const BARE = /^\w+$/;

/**
 * How a table's partitions are told apart, of the clause that makes it (documentation: CREATE TABLE, `PARTITION BY`).
 * Null for one that is not known here: then nothing of the table is left unread.
 */
export function partitioningOf(
  clause: string,
  columns: readonly { readonly name: string; readonly native: string }[],
  ident: (name: string) => Sql,
): Partitioning | null {
  const text = clause.replaceAll(/[`\s]/g, '');
  const range = RANGE.exec(text);
  const truncated = TRUNCATED.exec(text);
  const [, written = BARE.exec(text)?.[0]] = range ?? truncated ?? DATE.exec(text) ?? [];
  if (written === undefined) return null;
  const isIngested = /^_partition(time|date)$/i.test(written);
  const found = columns.find((c) => c.name.toLowerCase() === written.toLowerCase());
  if (!found && !isIngested) return null;
  const value = found ? ident(found.name) : sql('_PARTITIONTIME');
  const column = found?.name ?? null;
  if (range) {
    if (found?.native !== 'INT64') return null;
    const from = 'safe_cast(partition_id as int64)';
    return {
      column,
      value,
      item: items(value, ['', '']),
      least: '-9223372036854775808',
      most: '9223372036854775807',
      from: sql(from),
      to: sql(`${from} + ${BigInt(range[4] ?? 1) - 1n}`),
    };
  }
  const unit = UNITS[found?.native ?? 'TIMESTAMP'];
  const grain = truncated?.[2]?.toLowerCase() ?? 'day';
  const { format, length } = FORMATS[grain] ?? { format: '', length: 0 };
  if (!unit || (found?.native === 'DATE' && grain === 'hour')) return null;
  const type = found?.native === 'DATE' ? 'date' : 'datetime';
  // The year 9999 has no next one to end at.
  const start = `if(length(partition_id) = ${length} and partition_id < '9999', safe.parse_${type}('${format}', partition_id), null)`;
  return {
    column,
    value,
    item: items(value, unit.value),
    least: unit.least,
    most: unit.most,
    from: sql(unit.number(start)),
    to: sql(`${unit.number(`${type}_add(${start}, interval 1 ${grain})`)} - 1`),
  };
}

const items = (value: Sql, [before, after]: readonly [string, string]): Partitioning['item'] =>
  [`${value} between ${before}`, `${after} and ${before}`, after, ' or '].map(sql) as unknown as Partitioning['item'];
