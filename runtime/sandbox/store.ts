import { randomUUID } from 'node:crypto';
import type { DuckDBConnection, DuckDBInstance, DuckDBPreparedStatement } from '@duckdb/node-api';

/** One accepted event as it is kept. */
export interface StoredEvent {
  readonly event: string;
  readonly distinct_id: string;
  readonly time_ms: number;
  readonly insert_id: string;
  readonly properties: Readonly<Record<string, unknown>>;
}

const TABLES = `
  create table if not exists sandbox (id varchar not null);
  create table if not exists events_raw (
    seq bigint not null, received_ms bigint not null, project varchar not null, event varchar not null,
    distinct_id varchar not null, time_ms bigint not null, insert_id varchar not null, properties json not null
  );`;

/** Queries see one copy of each (event, distinct_id, time, $insert_id). Source: Mixpanel docs "Event Deduplication". */
const view = (copy: 'max' | 'min'): string => `
  create or replace view events as select * from events_raw where seq in (
    select ${copy}(seq) from events_raw group by project, event, distinct_id, time_ms, insert_id)`;

/** One statement, so one transaction; one text carries all rows, which DuckDB takes far faster than binds by row. */
const INSERT = `
  insert into events_raw
  select $seq::bigint + unnest(range(len(b.e))), $received::bigint, $project::varchar,
    unnest(b.e), unnest(b.d), unnest(b.t), unnest(b.i), unnest(b.p)
  from (select from_json($batch::json,
    '{"e":["varchar"],"d":["varchar"],"t":["bigint"],"i":["varchar"],"p":["json"]}') as b)`;

/** Compaction ignores the time within a day and keeps whichever copy. Source: Mixpanel docs "Event Deduplication". */
const COMPACT = `
  delete from events_raw where seq not in (
    select arg_min(seq, hash(seq, $salt::double)) from events_raw
    group by project, event, distinct_id, insert_id, time_ms // 86400000)`;

/** The DuckDB file of a sandbox: its id, every copy in `events_raw`, what a report shows in `events`. */
export class SandboxStore {
  readonly id: string;
  readonly #instance: DuckDBInstance;
  readonly #writer: DuckDBConnection;
  readonly #reader: DuckDBConnection;
  readonly #insert: DuckDBPreparedStatement;
  #seq: number;
  #writing: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;

  private constructor(parts: {
    id: string;
    seq: number;
    instance: DuckDBInstance;
    writer: DuckDBConnection;
    reader: DuckDBConnection;
    insert: DuckDBPreparedStatement;
  }) {
    this.id = parts.id;
    this.#seq = parts.seq;
    this.#instance = parts.instance;
    this.#writer = parts.writer;
    this.#reader = parts.reader;
    this.#insert = parts.insert;
  }

  /** Opens or creates the file; the id is made once and stays. */
  static async open(path: string, options: { oldestWins: boolean }): Promise<SandboxStore> {
    const instance = await openFile(path);
    try {
      const writer = await instance.connect();
      await writer.run(TABLES);
      await writer.run(view(options.oldestWins ? 'min' : 'max'));
      await writer.run(`insert into sandbox select '${randomUUID()}' where not exists (from sandbox)`);
      const found = await rows(writer, 'select id, (select coalesce(max(seq), 0) from events_raw) as seq from sandbox');
      const reader = await instance.connect();
      const insert = await writer.prepare(INSERT);
      return new SandboxStore({
        id: String(found[0]?.['id']),
        seq: Number(found[0]?.['seq']),
        instance,
        writer,
        reader,
        insert,
      });
    } catch (error) {
      instance.closeSync();
      throw error;
    }
  }

  /** Stores one request in one transaction; durable once this resolves. An abort before its turn stores nothing. */
  append(project: string, receivedMs: number, events: readonly StoredEvent[], signal?: AbortSignal): Promise<void> {
    return this.#serially(async () => {
      signal?.throwIfAborted();
      if (events.length === 0) return;
      const first = this.#seq + 1;
      this.#seq += events.length;
      const batch = JSON.stringify({
        e: events.map((event) => event.event),
        d: events.map((event) => event.distinct_id),
        t: events.map((event) => event.time_ms),
        i: events.map((event) => event.insert_id),
        p: events.map((event) => event.properties),
      });
      this.#insert.bind({ seq: BigInt(first), received: BigInt(receivedMs), project, batch });
      await this.#insert.run();
    });
  }

  /** Keeps an arbitrary copy of each event, chosen by the salt. */
  compact(salt: number): Promise<void> {
    return this.#serially(async () => {
      await this.#writer.run(COMPACT, { salt });
    });
  }

  async query(sql: string): Promise<Record<string, unknown>[]> {
    return rows(this.#reader, sql);
  }

  close(): Promise<void> {
    this.#closed ??= this.#serially(() => {
      this.#insert.destroySync();
      this.#writer.closeSync();
      this.#reader.closeSync();
      this.#instance.closeSync();
      return Promise.resolve();
    });
    return this.#closed;
  }

  #serially<T>(work: () => Promise<T>): Promise<T> {
    const closed = this.#closed !== undefined;
    const result = this.#writing.then(() => {
      if (closed) throw new Error('The sandbox is closed.');
      return work();
    });
    this.#writing = result.catch(() => undefined);
    return result;
  }
}

async function openFile(path: string): Promise<DuckDBInstance> {
  const { DuckDBInstance } = await import('@duckdb/node-api');
  try {
    return await DuckDBInstance.create(path);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const pid = /\(PID (\d+)\)/.exec(message)?.[1];
    const why = message.includes('Could not set lock')
      ? `is in use by another process${pid === undefined ? '' : ` (PID ${pid})`}`
      : `cannot be opened: ${message.split('\n', 1)[0] ?? ''}`;
    throw new Error(`The sandbox file ${path} ${why}.`, { cause: error });
  }
}

/** Rows with plain numbers wherever a 64-bit integer fits one. */
async function rows(connection: DuckDBConnection, sql: string): Promise<Record<string, unknown>[]> {
  const result = await (await connection.run(sql)).getRowObjectsJS();
  return result.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, plain(value)])));
}

function plain(value: unknown): unknown {
  if (typeof value !== 'bigint') return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
