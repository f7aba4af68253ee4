import { randomUUID } from 'node:crypto';
import type { DuckDBPreparedStatement } from '@duckdb/node-api';
import type { Row } from './database.ts';
import { Database } from './database.ts';
import { LookupStore } from './lookup-store.ts';
import { ProfileStore } from './profile-store.ts';

/** One accepted event as it is kept. */
export interface StoredEvent {
  readonly event: string;
  readonly distinct_id: string;
  readonly time_ms: number;
  readonly insert_id: string;
  readonly properties: Readonly<Record<string, unknown>>;
}

/** What an export may restrict in SQL; `project` undefined means all. */
export interface EventFilter {
  readonly project: string | undefined;
  readonly fromMs: number;
  readonly untilMs: number;
  readonly events: readonly string[] | undefined;
}

const TABLES = `
  create table if not exists sandbox (id varchar not null);
  create table if not exists events_raw (
    seq bigint not null, received_ms bigint not null, project varchar not null, event varchar not null,
    distinct_id varchar not null, time_ms bigint not null, insert_id varchar not null, properties json not null,
    endpoint varchar default '/import');
  alter table events_raw add column if not exists endpoint varchar default '/import';`;

/** Queries see one copy of each (event, distinct_id, time, $insert_id). Source: Mixpanel docs "Event Deduplication". */
const view = (copy: 'max' | 'min'): string => `
  create or replace view events as select * exclude endpoint from events_raw where seq in (
    select ${copy}(seq) from events_raw group by project, event, distinct_id, time_ms, insert_id)`;

/** One statement, so one transaction; one text carries all rows, which DuckDB takes far faster than binds by row. */
const INSERT = `
  insert into events_raw
  select $seq::bigint + unnest(range(len(b.e))), $received::bigint, $project::varchar,
    unnest(b.e), unnest(b.d), unnest(b.t), unnest(b.i), unnest(b.p), $endpoint::varchar
  from (select from_json($batch::json,
    '{"e":["varchar"],"d":["varchar"],"t":["bigint"],"i":["varchar"],"p":["json"]}') as b)`;

/** Compaction ignores the time within a day and keeps whichever copy. Source: Mixpanel docs "Event Deduplication". */
const COMPACT = `
  delete from events_raw where seq not in (
    select arg_min(seq, hash(seq, $salt::double)) from events_raw
    group by project, event, distinct_id, insert_id, time_ms // 86400000)`;

/** Exports show every copy. Source: Mixpanel docs "Raw Data Export Overview". */
const EXPORT = `
  select event, distinct_id, insert_id, time_ms, received_ms, endpoint, properties::varchar from events_raw
  where time_ms >= $from::bigint and time_ms < $until::bigint and ($project is null or project = $project)
    and ($events is null or event in (select unnest(from_json($events::json, '["varchar"]'))))`;

/** The DuckDB file of a sandbox: its id, every copy in `events_raw`, what a report shows in `events`. */
export class SandboxStore {
  readonly id: string;
  readonly profiles: ProfileStore;
  readonly groups: ProfileStore;
  readonly lookup: LookupStore;
  readonly #database: Database;
  readonly #insert: DuckDBPreparedStatement;
  #seq: number;

  private constructor(id: string, seq: number, database: Database, insert: DuckDBPreparedStatement) {
    this.id = id;
    this.#seq = seq;
    this.#database = database;
    this.#insert = insert;
    this.profiles = new ProfileStore(database, 'profiles');
    this.groups = new ProfileStore(database, 'groups');
    this.lookup = new LookupStore(database);
  }

  /** Opens or creates the file; the id is made once and stays. */
  static async open(path: string, options: { oldestWins: boolean }): Promise<SandboxStore> {
    const database = await Database.open(path);
    try {
      const { writer } = database;
      for (const tables of [TABLES, ProfileStore.TABLES, LookupStore.TABLES]) await writer.run(tables);
      await writer.run(view(options.oldestWins ? 'min' : 'max'));
      await writer.run(`insert into sandbox select '${randomUUID()}' where not exists (from sandbox)`);
      const [found] = await database.read(
        'select id, (select coalesce(max(seq), 0) from events_raw) as seq from sandbox',
      );
      const insert = await writer.prepare(INSERT);
      return new SandboxStore(String(found?.['id']), Number(found?.['seq']), database, insert);
    } catch (error) {
      await database.close(() => undefined);
      throw error;
    }
  }

  /** Stores one request in one transaction; durable once this resolves. An abort before its turn stores nothing. */
  append(
    source: { readonly project: string; readonly endpoint: string; readonly receivedMs: number },
    events: readonly StoredEvent[],
    signal?: AbortSignal,
  ): Promise<void> {
    return this.#database.serially(async () => {
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
      const { project, endpoint, receivedMs } = source;
      this.#insert.bind({ seq: BigInt(first), received: BigInt(receivedMs), project, batch, endpoint });
      await this.#insert.run();
    }, signal);
  }

  /** Keeps an arbitrary copy of each event, chosen by the salt. */
  compact(salt: number): Promise<void> {
    return this.#database.serially(async () => {
      await this.#database.writer.run(COMPACT, { salt });
    });
  }

  /** Every stored copy: event, distinct_id, insert_id, time, received, endpoint, properties as JSON. */
  events(filter: EventFilter): AsyncGenerator<unknown[][]> {
    return this.#database.stream(EXPORT, {
      from: BigInt(filter.fromMs),
      until: BigInt(filter.untilMs),
      project: filter.project ?? null,
      events: filter.events ? JSON.stringify(filter.events) : null,
    });
  }

  query(sql: string): Promise<Row[]> {
    return this.#database.query(sql);
  }

  close(): Promise<void> {
    return this.#database.close(() => this.#insert.destroySync());
  }
}
