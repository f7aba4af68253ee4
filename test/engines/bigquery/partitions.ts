import { writeLock } from '../../../compiler/lock.ts';
import { statementText } from '../../../compiler/render.ts';
import type { Plan } from '../../../schemas/types.ts';
import { compileFiles, PROJECT } from '../../golden/project.ts';

/** Minutes as the microseconds that metadata has. */
const us = (minutes: number): number => minutes * 60_000_000;
const FIRST_DAY = 19_723;

interface Row {
  readonly day: number;
  readonly value: number;
}
type Rows = ReadonlyMap<string, Row>;
/** A row of the PARTITIONS view. */
interface Partition {
  rows: number;
  modified: number;
}
export interface Reading {
  readonly at: number;
  readonly partitions: ReadonlyMap<string, Readonly<Partition>>;
}

export type Ranges = readonly (readonly [number, number])[];
export const toRanges = (text: string): Ranges =>
  text.split(',').map((range) => range.split(':').map(Number) as [number, number]);

/** What decides which partitions are read. */
export interface Rule {
  /** Ranges of days that are read, both ends included. */
  ranges(was: Reading, now: Reading, isRejected: boolean): Promise<Ranges>;
}

/** The tables that the compiled statement reads, as queries without tables in words that GoogleSQL and DuckDB share. */
export function tablesOf(was: Reading, now: Reading, isRejected: boolean): Readonly<Record<string, string>> {
  const rowsOf = ({ at, partitions }: Reading, time: string): string => {
    const rows = [['__NULL__', { rows: 0, modified: 0 }] as const, ...partitions];
    return rows
      .map(
        ([id, { rows: total, modified }]) =>
          `select 't' as table_name, '${id}' as partition_id, ${total} as total_rows, ${us(modified)} as ${time}, 1 as made_us, 'd' as partitioning, ${us(at)} as read_us`,
      )
      .join('\nunion all ');
  };
  return {
    was_read_then: rowsOf(was, 'modified_us'),
    partitions_view: rowsOf(now, 'last_modified_time'),
    made_view: "select 1 as made_us, 'd' as partitioning",
    // An invalid row that Mixpanel does not show stands in both, and keeps nothing from being left unread.
    rejects: `select 'invalid' as kind, 0 as shown, 'event-blank' as reason union all select x.kind, 0, 'refused' from (select 'refused' as kind) as x where ${isRejected ? 1 : 0} = 1`,
    ledger: 'select cast(null as string) as insert_id',
  };
}

/** How streamed rows come to the table; documentation tells no more than that they are not in snapshots at first. */
const STREAMS = [
  'listed',
  'listed, and the partition moves at once',
  'not listed, and the partition moves at once',
] as const;

/** A table by day with writes at any moment, and the runs of one sync over it. */
export class History {
  readonly #random: () => number;
  readonly #rows = new Map<string, Row>();
  readonly #partitions = new Map<number, Partition>();
  /** Rows of the streaming buffer, and until when they stay there. */
  readonly #buffer: { readonly key: string; readonly row: Row; readonly until: number }[] = [];
  readonly #stream: (typeof STREAMS)[number];
  /** Two writes within so many minutes have one time. */
  readonly #tick: number;
  #now = 10_000;
  #made = 0;

  constructor(random: () => number) {
    this.#random = random;
    this.#stream = this.#pick(STREAMS);
    this.#tick = this.#pick([1, 1, 30]);
    for (let i = 0; i < 24; i++) this.#insert(this.#day());
    this.#now += 1000;
  }

  #below(n: number): number {
    return Math.floor(this.#random() * n);
  }
  #pick<T>(of: readonly T[]): T {
    return of[this.#below(of.length)] as T;
  }
  /** Mostly the last ones. */
  #day(): number {
    return FIRST_DAY + 7 - Math.floor(this.#random() ** 2 * 8);
  }

  #touch(day: number, rows: number, moves = true): void {
    const found = this.#partitions.get(day) ?? { rows: 0, modified: this.#now };
    found.rows += rows;
    if (moves) found.modified = this.#now - (this.#now % this.#tick);
    if (found.rows <= 0) this.#partitions.delete(day);
    else this.#partitions.set(day, found);
  }

  #insert(day: number): void {
    this.#rows.set(`k${this.#made++}`, { day, value: this.#below(5) });
    this.#touch(day, 1);
  }
  /** @param moves false: rows that are only deleted may leave the time where it was */
  #delete(key: string, moves: boolean): void {
    const row = this.#rows.get(key);
    if (!row) return;
    this.#rows.delete(key);
    this.#touch(row.day, -1, moves);
  }

  /** Rows leave the buffer; where nothing tells of them, after 90 minutes at most. */
  #flush(): void {
    for (const [i, { key, row, until }] of [...this.#buffer.entries()].reverse()) {
      if (this.#now < until) continue;
      this.#buffer.splice(i, 1);
      this.#rows.set(key, row);
      if (this.#stream === 'listed') this.#touch(row.day, 1);
    }
  }

  #isListed(): boolean {
    return this.#stream !== 'not listed, and the partition moves at once';
  }

  /** Something happens to the table, or nothing. */
  write(): void {
    this.#now += this.#pick([0, 0, 1, 3]);
    this.#flush();
    const key = this.#pick([...this.#rows.keys(), 'none']);
    const row = this.#rows.get(key);
    switch (this.#below(12)) {
      case 0:
        return this.#insert(this.#day());
      case 1:
        if (row) this.#rows.set(key, { ...row, value: row.value + 1 });
        return row && this.#touch(row.day, 0);
      case 2: {
        // The key moves to another partition.
        const day = this.#day();
        if (!row) return;
        this.#touch(row.day, -1, this.#below(2) === 0);
        this.#rows.set(key, { day, value: row.value });
        return this.#touch(day, 1);
      }
      case 3:
        return this.#delete(key, this.#below(2) === 0);
      case 4:
        // As many rows as before.
        if (!row) return;
        this.#delete(key, false);
        return this.#insert(row.day);
      case 5: {
        const day = this.#day();
        for (const [other, { day: its }] of [...this.#rows]) if (its === day) this.#delete(other, false);
        return;
      }
      case 6:
      case 7:
      case 8: {
        const row = { day: this.#day(), value: 0 };
        this.#buffer.push({
          key: `k${this.#made++}`,
          row,
          until: this.#now + this.#below(this.#isListed() ? 600 : 90),
        });
        if (this.#stream !== 'listed') this.#touch(row.day, 1);
        return;
      }
      default:
        return;
    }
  }

  writes(): void {
    for (let n = this.#below(3); n > 0; n--) this.write();
  }

  passes(minutes: number): void {
    this.#now += minutes;
    this.#flush();
  }

  /** The PARTITIONS view of this moment. */
  read(): Reading {
    const partitions = new Map<string, Partition>();
    for (const [day, partition] of this.#partitions) partitions.set(idOf(day), { ...partition });
    if (this.#buffer.length > 0 && this.#isListed())
      partitions.set('__UNPARTITIONED__', { rows: this.#buffer.length, modified: this.#now });
    return { at: this.#now, partitions };
  }

  /** Without the streaming buffer. */
  snapshot(): Rows {
    return new Map(this.#rows);
  }
}

export const idOf = (day: number): string => new Date(day * 86_400_000).toISOString().slice(0, 10).replaceAll('-', '');

/** When a run reads the metadata, and what it leaves for the next one. */
export interface Order {
  /** What the next run compares with. */
  readonly baseline: 'before' | 'after';
  /** What is compared with it. */
  readonly compared: 'before' | 'after';
}

export interface Outcome {
  /** Rows that differ between what was sent and the snapshot. */
  readonly lost: number;
  readonly read: number;
  readonly partitions: number;
}

/** Rows that are never sent. */
const isInvalid = (row: Row): boolean => row.value % 4 === 3;

/** Some runs over one history: what is sent of the rows in the ranges makes what is shown equal the snapshot. */
export async function simulate(rule: Rule, random: () => number, { baseline, compared }: Order): Promise<Outcome> {
  const table = new History(random);
  const shown = new Map<string, Row>();
  const refused = new Set<string>();
  let before: { readonly reading: Reading; readonly rows: Rows } | undefined;
  const outcome = { lost: 0, read: 0, partitions: 0 };
  for (let run = 0; run < 8; run++) {
    table.writes();
    const reading = { before: table.read(), after: table.read() };
    table.writes();
    const rows = table.snapshot();
    table.writes();
    reading.after = table.read();
    const ranges = before
      ? await rule.ranges(before.reading, reading[compared], refused.size > 0)
      : [[-Infinity, Infinity]];
    const isRead = (row: Row | undefined): boolean =>
      row !== undefined && ranges.some(([from = 0, to = 0]) => row.day >= from && row.day <= to);
    // A run that dies before its commit leaves the last baseline; what it sent is taken for not sent.
    const isDead = random() < 0.1;
    if (!isDead) {
      const known = new Set(refused);
      refused.clear();
      for (const key of new Set([...(before?.rows.keys() ?? []), ...rows.keys(), ...shown.keys()])) {
        // Both sides are read alike, and what Mixpanel refused is compared besides.
        if (!isRead(rows.get(key)) && !isRead(before?.rows.get(key)) && !known.has(key)) continue;
        const row = isRead(rows.get(key)) ? rows.get(key) : undefined;
        if (row && isInvalid(row)) {
          // What is shown of it is another than the snapshot says.
          if (shown.has(key)) refused.add(key);
          continue;
        }
        if (row?.day === shown.get(key)?.day && row?.value === shown.get(key)?.value) continue;
        if (random() < 0.02) refused.add(key);
        else if (row) shown.set(key, row);
        else shown.delete(key);
      }
      for (const key of new Set([...rows.keys(), ...shown.keys()])) {
        const row = rows.get(key);
        const [is, should] = [shown.get(key), row && isInvalid(row) ? undefined : row];
        if (!refused.has(key) && (is?.day !== should?.day || is?.value !== should?.value)) outcome.lost++;
      }
      for (const [id] of reading.after.partitions) {
        const day = Date.parse(id.replace(/^(\d{4})(\d\d)(\d\d)$/, '$1-$2-$3')) / 86_400_000;
        outcome.partitions++;
        if (Number.isNaN(day) || isRead({ day, value: 0 })) outcome.read++;
      }
      before = { reading: reading[baseline], rows };
    }
    table.passes(random() < 0.3 ? 2 : Math.floor(random() * 400));
  }
  return outcome;
}

/** A keyed mirror by snapshots of `ds.t`, of which the lock says how it is partitioned. */
export async function planOf(partitioning: string, columns: readonly (readonly [string, string])[]): Promise<Plan> {
  const source = {
    type: 'BASE TABLE',
    partitioning,
    columns: [['id', 'INT64'], ['happened', 'TIMESTAMP'], ...columns].map(([name = '', type = '']) => ({ name, type })),
  };
  const { plan, diagnostics } = await compileFiles({
    'syncline.yml': PROJECT.replace('type: duckdb, path: warehouse.duckdb', 'type: bigquery, project: acme'),
    'syncs/s.yml':
      'syncs: [{ name: s, kind: events, mode: mirror, strategy: snapshot, source: { relation: ds.t }, event: E, time: happened, key: id }]\n',
    'syncline.lock.json': writeLock({ lockVersion: 1, targets: { dev: { sources: { 'ds.t': source } } } }),
  });
  if (!plan) throw new Error(JSON.stringify(diagnostics));
  return plan;
}

/** The compiled statement that says which partitions of a table by the DATE `d` are read, over tables with the names of `tablesOf`. */
export async function statementOf(): Promise<string> {
  const { statements } = await planOf('d', [['d', 'DATE']]);
  const named: readonly (readonly [RegExp, string])[] = [
    [/`mixpanel\.\$\{snapshot_from\}_partitions`/g, 'was_read_then'],
    [/`mixpanel\.s__(rejects|ledger)`/g, '$1'],
    [/`ds`\.INFORMATION_SCHEMA\.PARTITIONS/g, 'partitions_view'],
    [/\(select unix_micros\(creation_time\).*\) as t$/gm, 'made_view as t'],
    [/@whole/g, '0'],
  ];
  return named.reduce(
    (text, [pattern, name]) => {
      if (!pattern.test(text)) throw new Error(`${String(pattern)} is not in ${text}`);
      return text.replaceAll(pattern, name);
    },
    statementText(statements['s/changed_partitions.sql']?.sql ?? []),
  );
}
