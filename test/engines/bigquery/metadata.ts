import { informationSchema } from './known.ts';
import { Refusal } from './refusal.ts';
import { fullName, NAME, type Options, type Statement } from './rewrite.ts';

type Json = Record<string, unknown>;
type Ask = (method: string, path: string, body?: unknown) => Promise<{ status: number; answer: Json }>;
type Rows = Record<string, string | null>[];
type Query = (project: string, sql: string) => Promise<Rows>;

type Partitioned =
  | { readonly by: 'HOUR' | 'DAY' | 'MONTH' | 'YEAR'; readonly field: string }
  | {
      readonly by: 'range';
      readonly field: string;
      readonly start: number;
      readonly end: number;
      readonly interval: number;
    };

/** What a partition had when it was last looked at. */
interface Partition {
  readonly rows: number;
  readonly print: string;
  modifiedMs: number;
}

/** What is remembered of a table that was made, written or altered through the proxy. */
interface Table {
  isSnapshot: boolean;
  of: string | undefined;
  createdMs: number;
  modifiedMs: number;
  /** The last write that did more than delete. */
  writtenMs: number;
  expiresMs: number | undefined;
  options: Options;
  partitioned: Partitioned | undefined;
  partitionBy: string | undefined;
  clusterBy: readonly string[];
  partitions: Map<string, Partition>;
  /** Rows that were streamed in and that a snapshot does not see, as a condition. */
  buffered: string | undefined;
}

/** The column that stands for `_PARTITIONTIME`: the emulator's own one is the time of each query. */
export const INGESTED = 'syncline_partitiontime';
const FORMATS = { HOUR: '%Y%m%d%H', DAY: '%Y%m%d', MONTH: '%Y%m', YEAR: '%Y' } as const;

const split = (name: string): [string, string, string] => name.split('.') as [string, string, string];
const quoted = (name: string): string => `\`${name}\``;
const path = (name: string): string => {
  const [project, dataset, table] = split(name);
  return `/bigquery/v2/projects/${project}/datasets/${dataset}/tables/${table}`;
};

/** How a table is partitioned, of its clause (documentation: CREATE TABLE, `PARTITION BY`). */
export function partitionedBy(clause: string | undefined): Partitioned | undefined {
  if (clause === undefined) return undefined;
  const text = clause.replaceAll('`', '').replaceAll(/\s+/g, ' ').trim();
  const range = /^range_bucket ?\((\w+), ?generate_array ?\( ?(-?\d+), ?(-?\d+), ?(\d+) ?\) ?\)$/i.exec(text);
  if (range) {
    const [, field = '', start, end, interval] = range;
    return { by: 'range', field, start: Number(start), end: Number(end), interval: Number(interval) };
  }
  const truncated = /^(?:timestamp|datetime|date)_trunc ?\( ?(\w+) ?, ?(hour|day|month|year) ?\)$/i.exec(text);
  const field = truncated?.[1] ?? /^date ?\( ?(\w+) ?\)$/i.exec(text)?.[1] ?? text;
  const by = (truncated?.[2]?.toUpperCase() ?? 'DAY') as keyof typeof FORMATS;
  return { by, field: /^_partition(time|date)$/i.test(field) ? INGESTED : field };
}

/** The id of a row's partition, as SQL (documentation: Managing partitioned tables). */
function partitionId(partitioned: Partitioned): string {
  const { field } = partitioned;
  if (partitioned.by !== 'range')
    return `coalesce(format_timestamp('${FORMATS[partitioned.by]}', cast(${quoted(field)} as timestamp), 'UTC'), '__NULL__')`;
  const { start, end, interval } = partitioned;
  return `case when ${quoted(field)} is null then '__NULL__' when ${quoted(field)} < ${start} or ${quoted(field)} >= ${end} then '__UNPARTITIONED__' else cast(${start} + div(${quoted(field)} - ${start}, ${interval}) * ${interval} as string) end`;
}

/** Tables as BigQuery describes them; the emulator's own account stands still after a write. */
export class Metadata {
  readonly #ask: Ask;
  readonly #query: Query;
  readonly #tables = new Map<string, Table>();
  readonly #own = new Set<string>();
  /** How long tables of a dataset live, by its name. */
  readonly #lives = new Map<string, number>();
  #lastMs = 0;
  #viewed = 0;

  constructor(ask: Ask, query: Query) {
    this.#ask = ask;
    this.#query = query;
  }

  /** Each write has a moment of its own. */
  #now(): number {
    this.#lastMs = Math.max(Date.now(), this.#lastMs + 1);
    return this.#lastMs;
  }

  #known(name: string): Table {
    const known = this.#tables.get(name);
    if (known) return known;
    const now = this.#now();
    const made: Table = {
      isSnapshot: false,
      of: undefined,
      createdMs: now,
      modifiedMs: now,
      writtenMs: now,
      expiresMs: undefined,
      options: {},
      partitioned: undefined,
      partitionBy: undefined,
      clusterBy: [],
      partitions: new Map(),
      buffered: undefined,
    };
    this.#tables.set(name, made);
    return made;
  }

  async #exists(name: string): Promise<boolean> {
    await this.#expire(name);
    const { status } = await this.#ask('GET', path(name));
    if (status === 404) this.#tables.delete(name);
    return status === 200;
  }

  /** A table whose time is over is gone. */
  async #expire(name: string): Promise<void> {
    const known = this.#tables.get(name);
    if (known?.expiresMs !== undefined && known.expiresMs <= Date.now()) await this.#remove(name);
  }

  async #remove(name: string): Promise<void> {
    const isSnapshot = this.#tables.get(name)?.isSnapshot === true;
    this.#tables.delete(name);
    await this.#query(split(name)[0], `drop ${isSnapshot ? 'snapshot ' : ''}table ${quoted(name)}`);
  }

  /** Options of a statement, as values. */
  async #optionsOf(
    name: string,
    options: Options,
  ): Promise<{ readonly expiresMs: number | undefined; readonly others: Options }> {
    const { expiration_timestamp: expiry, ...others } = options;
    if (expiry === undefined) return { expiresMs: undefined, others };
    const [row] = await this.#query(split(name)[0], `select unix_millis(${expiry}) as ms`);
    const ms = row?.['ms'];
    return { expiresMs: ms == null ? undefined : Number(ms), others };
  }

  /** A dataset of the proxy's own: for views of metadata, or for what a script keeps for its length. */
  async temporary(project: string, job?: string): Promise<string> {
    const name = temporaryOf(project, job);
    if (!this.#own.has(name)) await this.#query(project, `create schema if not exists ${quoted(name)}`);
    this.#own.add(name);
    return name;
  }

  async dropTemporary(project: string, job: string): Promise<void> {
    const name = temporaryOf(project, job);
    this.#own.delete(name);
    await this.#query(project, `drop schema if exists ${quoted(name)} cascade`);
  }

  async snapshot(name: string, of: string, about: Extract<Statement, { what: 'snapshot' }>): Promise<void> {
    if (await this.#exists(name)) {
      if (about.ifNotExists) return;
      throw new Refusal('duplicate', `Already Exists: Table ${name.replace('.', ':')}`);
    }
    if (!(await this.#exists(of))) throw new Refusal('notFound', `Not found: Table ${of.replace('.', ':')}`);
    const source = this.#tables.get(of);
    const { expiresMs, others } = await this.#optionsOf(name, about.options);
    if (expiresMs !== undefined && expiresMs <= Date.now())
      throw new Refusal('invalidQuery', 'Table expiration time must be in the future.');
    const [project] = split(name);
    // The emulator's snapshot has all rows; one without the streaming buffer is made as a table, and kept from writes here.
    if (source?.buffered === undefined)
      await this.#query(project, `create snapshot table ${quoted(name)} clone ${quoted(of)}`);
    else
      await this.#query(
        project,
        `create table ${quoted(name)} as select * from ${quoted(of)} where not coalesce((${source.buffered}), false)`,
      );
    const made = this.#known(name);
    Object.assign(made, { isSnapshot: source?.buffered === undefined, of, expiresMs, options: others });
    Object.assign(made, { partitioned: source?.partitioned, clusterBy: source?.clusterBy ?? [] });
  }

  async drop(name: string, ifExists: boolean, isSnapshot: boolean): Promise<void> {
    if (!(await this.#exists(name))) {
      if (ifExists) return;
      throw new Refusal('notFound', `Not found: Table ${name.replace('.', ':')}`);
    }
    const known = this.#tables.get(name);
    if ((known?.of !== undefined) !== isSnapshot)
      throw new Refusal('invalidQuery', `${name.replace('.', ':')} is ${isSnapshot ? 'not ' : ''}a table snapshot.`);
    await this.#remove(name);
  }

  async alter(name: string, { ifExists, options }: Extract<Statement, { what: 'alter table' }>): Promise<void> {
    if (!(await this.#exists(name))) {
      if (ifExists) return;
      throw new Refusal('notFound', `Not found: Table ${name.replace('.', ':')}`);
    }
    const known = this.#known(name);
    const { expiresMs, others } = await this.#optionsOf(name, options);
    if ('expiration_timestamp' in options) known.expiresMs = expiresMs;
    known.options = { ...known.options, ...others };
  }

  /** The emulator's catalog keeps the old name: the table is copied, with what is known of it. */
  async rename(name: string, to: string, ifExists: boolean): Promise<void> {
    const isThere = await this.#exists(name);
    if (!isThere && ifExists) return;
    if (!isThere) throw new Refusal('notFound', `Not found: Table ${name.replace('.', ':')}`);
    if (await this.#exists(to)) throw new Refusal('duplicate', `Already Exists: Table ${to.replace('.', ':')}`);
    const known = this.#known(name);
    await this.#query(split(name)[0], `create table ${quoted(to)} clone ${quoted(name)}`);
    await this.#remove(name);
    this.#tables.set(to, known);
  }

  async created(name: string, about: Extract<Statement, { what: 'create table' }>): Promise<void> {
    // Where it was there already nothing happened.
    if (about.ifNotExists && this.#tables.has(name)) return;
    this.#tables.delete(name);
    const made = this.#known(name);
    const { expiresMs, others } = await this.#optionsOf(name, about.options);
    // An option that is NULL is none (documentation: CREATE TABLE), and then the dataset's word counts.
    const lifeMs = this.#lives.get(name.slice(0, name.lastIndexOf('.')));
    Object.assign(made, {
      expiresMs: expiresMs ?? (lifeMs === undefined ? undefined : Date.now() + lifeMs),
      options: others,
      clusterBy: about.clusterBy,
      partitioned: partitionedBy(about.partitionBy),
      partitionBy: about.partitionBy,
    });
  }

  /** @param what the kind of statement: time of a partition does not move when rows are only deleted (documentation: PARTITIONS view) */
  written(name: string, what: string): void {
    const known = this.#known(name);
    known.modifiedMs = this.#now();
    if (what !== 'delete' && what !== 'truncate') known.writtenMs = known.modifiedMs;
  }

  /** A snapshot that is a table in the emulator. @throws Refusal */
  async refuseSnapshot(name: string): Promise<void> {
    await this.#expire(name);
    if (this.#tables.get(name)?.of !== undefined)
      throw new Refusal('invalidQuery', `Cannot run DML against snapshot ${name.replace('.', ':')}`);
  }

  /** Ends a table's time now. */
  async expire(name: string): Promise<void> {
    this.#known(name).expiresMs = 0;
    await this.#expire(name);
  }

  /** Tables that are made in the dataset from now on end after so many milliseconds, where nothing says otherwise. */
  outlives(dataset: string, ms: number): void {
    this.#lives.set(dataset, ms);
  }

  /** Tables of the dataset are so many milliseconds nearer to their end. */
  async pass(dataset: string, ms: number): Promise<void> {
    for (const [name, table] of [...this.#tables])
      if (name.startsWith(`${dataset}.`) && table.expiresMs !== undefined) {
        table.expiresMs -= ms;
        await this.#expire(name);
      }
  }

  /** Rows under the condition are in the streaming buffer from now on: queries see them, snapshots do not. Undefined: none is. */
  buffer(name: string, condition: string | undefined): void {
    const known = this.#known(name);
    known.buffered = condition;
    this.written(name, 'insert');
  }

  /** What was written to a table until now was written so many milliseconds earlier. */
  async aged(name: string, ms: number): Promise<void> {
    const known = this.#known(name);
    for (const partition of (await this.#partitions(name)).values()) partition.modifiedMs -= ms;
    known.modifiedMs -= ms;
    known.writtenMs -= ms;
  }

  forgetDataset(name: string): void {
    for (const table of this.#tables.keys()) if (table.startsWith(`${name}.`)) this.#tables.delete(table);
  }

  /** As tables.get answers. @throws Refusal */
  async table(name: string): Promise<Json> {
    await this.#expire(name);
    const { status, answer } = await this.#ask('GET', path(name));
    if (status !== 200) throw new Refusal('notFound', `Not found: Table ${name.replace('.', ':')}`);
    const known = this.#tables.get(name);
    const [project] = split(name);
    const [count] = await this.#query(project, `select count(*) as n from ${quoted(name)}`);
    const rows = count?.['n'] ?? '0';
    const fields = ((answer['schema'] as { fields?: { name: string }[] } | undefined)?.fields ?? []).filter(
      (f) => f.name !== INGESTED,
    );
    const measured = { numRows: rows, numBytes: String(Number(rows) * 100), schema: { fields } };
    if (known === undefined) return { ...answer, ...measured };
    const { partitioned, options } = known;
    const filter =
      options['require_partition_filter'] === undefined
        ? {}
        : { requirePartitionFilter: /^true$/i.test(options['require_partition_filter']) };
    const [baseProject, baseDataset, baseTable] = split(known.of ?? '..');
    return {
      ...answer,
      ...measured,
      ...filter,
      type: known.of === undefined ? answer['type'] : 'SNAPSHOT',
      creationTime: String(known.createdMs),
      lastModifiedTime: String(known.modifiedMs),
      ...(known.expiresMs === undefined ? {} : { expirationTime: String(known.expiresMs) }),
      ...(known.clusterBy.length === 0 ? {} : { clustering: { fields: known.clusterBy } }),
      ...(known.of === undefined
        ? {}
        : {
            snapshotDefinition: {
              baseTableReference: { projectId: baseProject, datasetId: baseDataset, tableId: baseTable },
              snapshotTime: new Date(known.createdMs).toISOString(),
            },
          }),
      ...(known.buffered === undefined
        ? {}
        : {
            streamingBuffer: { estimatedRows: '1', estimatedBytes: '100', oldestEntryTime: String(known.modifiedMs) },
          }),
      ...(partitioned === undefined
        ? {}
        : partitioned.by === 'range'
          ? {
              timePartitioning: undefined,
              rangePartitioning: {
                field: partitioned.field,
                range: {
                  start: String(partitioned.start),
                  end: String(partitioned.end),
                  interval: String(partitioned.interval),
                },
              },
            }
          : {
              timePartitioning: {
                type: partitioned.by,
                ...(partitioned.field === INGESTED ? {} : { field: partitioned.field }),
                ...filter,
              },
            }),
    };
  }

  /** Puts a table of the proxy in the place of each view of metadata that the emulator lacks or has wrong. */
  async views(statement: string, project: string): Promise<string> {
    let text = statement;
    for (const [written] of statement.matchAll(new RegExp(NAME, 'g'))) {
      const parts = written
        .replaceAll('`', '')
        .split('.')
        .map((part) => part.trim());
      const at = parts.findIndex((part) => /^information_schema$/i.test(part));
      const view =
        at >= 0
          ? `INFORMATION_SCHEMA.${parts[at + 1] ?? ''}`.toUpperCase()
          : parts.at(-1) === '__TABLES__'
            ? '__TABLES__'
            : '';
      const rowsOf = this.#views[view];
      if (rowsOf === undefined) continue;
      const dataset = fullName(parts.slice(0, at >= 0 ? at : -1).join('.'), project, 2);
      // What the emulator says of columns is right where nothing is partitioned or clustered.
      if (view.endsWith('.COLUMNS') && !this.#isArranged(dataset, statement)) continue;
      // Of tables it lacks the statement that makes them.
      if (view.endsWith('.TABLES') && !/\bddl\b/i.test(statement)) continue;
      const types = informationSchema(dataset)[view] ?? {};
      const rows = await rowsOf(dataset, statement);
      // Statements that run at once each have one of their own.
      const place = (this.#viewed = (this.#viewed + 1) % 64);
      const name = `${await this.temporary(project)}.${view.replace('INFORMATION_SCHEMA.', 'v_')}_${place}`;
      const columns = Object.entries(types).map(([column, type]) => `cast(null as ${type}) as ${column}`);
      await this.#query(project, `drop table if exists ${quoted(name)}`);
      await this.#query(project, `create table ${quoted(name)} as select ${columns.join(', ')} limit 0`);
      if (rows.length > 0) await this.#ask('POST', `${path(name)}/insertAll`, { rows: rows.map((json) => ({ json })) });
      text = text.replace(written, quoted(name));
    }
    return text;
  }

  /** Whether a table that a statement names is partitioned or clustered. */
  #isArranged(dataset: string, statement: string): boolean {
    return [...this.#tables].some(
      ([name, known]) =>
        name.startsWith(`${dataset}.`) &&
        (known.partitioned !== undefined || known.clusterBy.length > 0) &&
        (!/table_name = '/.test(statement) || statement.includes(`'${split(name)[2]}'`)),
    );
  }

  readonly #views: Readonly<Record<string, (dataset: string, statement: string) => Promise<Json[]>>> = {
    'INFORMATION_SCHEMA.PARTITIONS': async (dataset, statement) => {
      const all = await this.#list(dataset);
      const named = all.filter(({ table }) => statement.includes(`'${table}'`) || statement.includes(`"${table}"`));
      const rows: Json[] = [];
      for (const { name, place } of named.length > 0 ? named : all)
        for (const [id, partition] of await this.#partitions(name))
          rows.push({
            ...place,
            partition_id: id === '' ? null : id,
            total_rows: String(partition.rows),
            total_logical_bytes: String(partition.rows * 100),
            last_modified_time: time(partition.modifiedMs),
            storage_tier: 'ACTIVE',
          });
      return rows;
    },
    'INFORMATION_SCHEMA.TABLE_SNAPSHOTS': async (dataset) =>
      (await this.#list(dataset)).flatMap(({ known, place }) => {
        if (known?.of === undefined) return [];
        const [base_table_catalog, base_table_schema, base_table_name] = split(known.of);
        return [
          { ...place, base_table_catalog, base_table_schema, base_table_name, snapshot_time: time(known.createdMs) },
        ];
      }),
    'INFORMATION_SCHEMA.COLUMNS': async (dataset, statement) => {
      const [project] = split(dataset);
      const rows = await this.#query(project, `select * from ${quoted(dataset)}.INFORMATION_SCHEMA.COLUMNS`);
      const real = new Set((await this.#list(dataset)).map(({ table }) => table));
      return rows
        .filter(
          (row) =>
            real.has(row['table_name'] ?? '') &&
            (!/table_name = '/.test(statement) || statement.includes(`'${row['table_name'] ?? ''}'`)),
        )
        .map((row) => {
          const known = this.#tables.get(`${dataset}.${row['table_name'] ?? ''}`);
          const column = row['column_name'] ?? '';
          const place = known?.clusterBy.indexOf(column) ?? -1;
          const isIngested = column === INGESTED;
          return {
            ...Object.fromEntries(
              Object.keys(informationSchema(dataset)['INFORMATION_SCHEMA.COLUMNS'] ?? {}).map((name) => [
                name,
                row[name] ?? null,
              ]),
            ),
            ...(known === undefined
              ? {}
              : { is_partitioning_column: known.partitioned?.field === column ? 'YES' : 'NO' }),
            ...(place < 0 ? {} : { clustering_ordinal_position: String(place + 1) }),
            ...(isIngested
              ? { column_name: '_PARTITIONTIME', is_hidden: 'YES', is_system_defined: 'YES', ordinal_position: null }
              : {}),
          };
        });
    },
    'INFORMATION_SCHEMA.TABLES': async (dataset, statement) => {
      const [project] = split(dataset);
      const rows = await this.#query(project, `select * from ${quoted(dataset)}.INFORMATION_SCHEMA.TABLES`);
      return rows
        .filter((row) => statement.includes(`'${row['table_name'] ?? ''}'`))
        .map((row) => {
          const name = `${dataset}.${row['table_name'] ?? ''}`;
          const { of, partitionBy, createdMs = 0 } = this.#tables.get(name) ?? {};
          const clause = partitionBy === undefined ? '' : `\nPARTITION BY ${partitionBy.replaceAll('`', '')}`;
          return {
            table_catalog: project,
            table_schema: split(name)[1],
            table_name: split(name)[2],
            table_type: of === undefined ? row['table_type'] : 'SNAPSHOT',
            creation_time: time(createdMs),
            ddl: `CREATE ${row['table_type'] ?? ''} ${quoted(name)}${clause};`,
          };
        });
    },
    'INFORMATION_SCHEMA.TABLE_STORAGE': async (region) => {
      const [project] = split(region);
      const datasets = await this.#query(project, 'select schema_name from INFORMATION_SCHEMA.SCHEMATA').catch(
        () => [],
      );
      const all = (await Promise.all(datasets.map(({ schema_name: d }) => this.#list(`${project}.${d ?? ''}`)))).flat();
      // What a snapshot stores beside its table is not known here.
      return all.map(({ known, place }) => ({
        ...place,
        project_id: project,
        table_type: known?.of === undefined ? 'BASE TABLE' : 'SNAPSHOT',
        creation_time: time(known?.createdMs ?? 0),
        active_logical_bytes: '0',
        total_logical_bytes: '0',
        total_physical_bytes: '0',
        deleted: false,
      }));
    },
    __TABLES__: async (dataset) => {
      const [project_id, dataset_id] = split(dataset);
      const rows: Json[] = [];
      for (const { name, table, known } of await this.#list(dataset)) {
        const { numRows, creationTime, lastModifiedTime, numBytes } = await this.table(name);
        const type = known?.of === undefined ? '1' : '7';
        rows.push({
          project_id,
          dataset_id,
          table_id: table,
          creation_time: creationTime,
          last_modified_time: lastModifiedTime,
          row_count: numRows,
          size_bytes: numBytes,
          type,
        });
      }
      return rows;
    },
  };

  async #list(dataset: string) {
    const [project, schema] = split(dataset);
    const rows = await this.#query(
      project,
      `select table_name as name from ${quoted(dataset)}.INFORMATION_SCHEMA.TABLES`,
    );
    return rows.map(({ name: table }) => {
      const name = `${dataset}.${table ?? ''}`;
      const place = { table_catalog: project, table_schema: schema, table_name: table ?? '' };
      return { name, table: table ?? '', known: this.#tables.get(name), place };
    });
  }

  /** Partitions that have rows; their times move when their rows changed since they were last looked at. */
  async #partitions(name: string): Promise<ReadonlyMap<string, Partition>> {
    const known = this.#known(name);
    const { partitioned, buffered } = known;
    const own = partitioned === undefined ? "''" : partitionId(partitioned);
    const id =
      buffered === undefined || partitioned === undefined
        ? own
        : `case when ${buffered} then '__UNPARTITIONED__' else ${own} end`;
    const rows = await this.#query(
      split(name)[0],
      `select ${id} as id, count(*) as n, cast(sum(mod(farm_fingerprint(to_json_string(t)), 1000000007)) as string) as print from ${quoted(name)} as t group by 1`,
    );
    const now = new Map<string, Partition>();
    for (const { id: partition, n, print } of rows) {
      const old = known.partitions.get(partition ?? '');
      const isSame = old !== undefined && old.print === print && old.rows === Number(n);
      const modifiedMs = isSame
        ? old.modifiedMs
        : old === undefined
          ? known.writtenMs
          : Math.max(old.modifiedMs, known.writtenMs);
      now.set(partition ?? '', { rows: Number(n), print: print ?? '', modifiedMs });
    }
    if (partitioned === undefined && now.size === 0) now.set('', { rows: 0, print: '', modifiedMs: known.writtenMs });
    known.partitions = now;
    return now;
  }
}

const temporaryOf = (project: string, job = ''): string => `${project}.syncline_proxy${job.replaceAll('-', '_')}`;
const time = (ms: number): string => new Date(ms).toISOString().replace('T', ' ').replace('Z', '+00');
