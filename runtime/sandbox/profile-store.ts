import type { Database } from './database.ts';
import type { Operation, Properties } from './operations.ts';
import { apply } from './operations.ts';

/** One valid update of a user or group profile. */
export interface ProfileUpdate {
  readonly project: string;
  /** Empty for user profiles. */
  readonly groupKey: string;
  readonly id: string;
  readonly operation: Operation;
  /** False leaves `$last_seen` alone. */
  readonly touches: boolean;
}

/** A profile as a query shows it. */
export interface Profile {
  readonly id: string;
  readonly properties: Properties;
  readonly lastSeenMs: number | undefined;
}

export interface ProfileFilter {
  readonly project: string | undefined;
  readonly groupKey?: string | undefined;
  readonly ids?: readonly string[] | undefined;
}

interface Current {
  properties: Properties | undefined;
  lastSeenMs: number | null;
}

/** User profiles or group profiles; what a profile holds is one JSON object. */
export class ProfileStore {
  static readonly TABLES = `
    create table if not exists profiles (
      project varchar not null, distinct_id varchar not null, properties json not null, last_seen_ms bigint,
      primary key (project, distinct_id));
    create table if not exists groups (
      project varchar not null, group_key varchar not null, group_id varchar not null, properties json not null,
      last_seen_ms bigint, primary key (project, group_key, group_id));`;

  readonly #database: Database;
  readonly #table: 'profiles' | 'groups';
  readonly #columns: { readonly id: string; readonly key: string; readonly into: string; readonly order: string };

  constructor(database: Database, table: 'profiles' | 'groups') {
    this.#database = database;
    this.#table = table;
    this.#columns =
      table === 'groups'
        ? { id: 'group_id', key: 'group_key', into: 'k, i', order: 'project, group_key, group_id' }
        : { id: 'distinct_id', key: "''", into: 'i', order: 'project, distinct_id' };
  }

  /** Applies the updates in their order, in one transaction. */
  update(updates: readonly ProfileUpdate[], at: number, signal?: AbortSignal): Promise<void> {
    if (updates.length === 0) return Promise.resolve();
    return this.#database.transaction(async () => {
      const current = await this.#load(updates);
      for (const update of updates) {
        const address = addressOf(update.project, update.groupKey, update.id);
        const before = current.get(address);
        const properties = apply(before?.properties, update.operation);
        const seen = properties && update.touches ? at : (before?.lastSeenMs ?? null);
        current.set(address, { properties, lastSeenMs: seen });
      }
      await this.#write(current);
    }, signal);
  }

  /** How many profiles match. */
  async count(filter: ProfileFilter): Promise<number> {
    const found = await this.#database.query(`select count(*) as n from ${this.#from()}`, this.#values(filter));
    return Number(found[0]?.['n']);
  }

  /** Matching profiles in the order of their ids. */
  async *read(
    filter: ProfileFilter,
    page?: { readonly limit: number; readonly offset: number },
  ): AsyncGenerator<Profile> {
    const limits = page ? ` limit ${page.limit} offset ${page.offset}` : '';
    const { id, order } = this.#columns;
    const sql = `select ${id}, properties::varchar, last_seen_ms from ${this.#from()} order by ${order}${limits}`;
    for await (const rows of this.#database.stream(sql, this.#values(filter))) {
      for (const [found, properties, seen] of rows) {
        yield {
          id: String(found),
          properties: JSON.parse(String(properties)) as Properties,
          lastSeenMs: seen === null ? undefined : Number(seen),
        };
      }
    }
  }

  #from(): string {
    const { id, key } = this.#columns;
    return `${this.#table} where ($project::varchar is null or project = $project)
      and ($key::varchar is null or ${key} = $key)
      and ($ids::varchar is null or ${id} in (select unnest(from_json($ids::json, '["varchar"]'))))`;
  }

  #values(filter: ProfileFilter): Record<string, string | null> {
    return {
      project: filter.project ?? null,
      key: filter.groupKey ?? null,
      ids: filter.ids ? JSON.stringify(filter.ids) : null,
    };
  }

  async #load(updates: readonly ProfileUpdate[]): Promise<Map<string, Current>> {
    const { id, key } = this.#columns;
    const found = await this.#database.read(
      `select project, ${key} as key, ${id} as id, properties::varchar as properties, last_seen_ms as seen
       from ${this.#table} where ${id} in (select unnest(from_json($ids::json, '["varchar"]')))`,
      { ids: JSON.stringify([...new Set(updates.map((update) => update.id))]) },
    );
    return new Map(
      found.map((row) => [
        addressOf(String(row['project']), String(row['key']), String(row['id'])),
        {
          properties: JSON.parse(String(row['properties'])) as Properties,
          lastSeenMs: row['seen'] === null ? null : Number(row['seen']),
        },
      ]),
    );
  }

  async #write(current: ReadonlyMap<string, Current>): Promise<void> {
    const kept = [...current].filter(([, { properties }]) => properties !== undefined);
    const gone = [...current].filter(([, { properties }]) => properties === undefined);
    const { id, key, into } = this.#columns;
    if (kept.length > 0) {
      const batch = JSON.stringify({
        ...columnsOf(kept.map(([address]) => address)),
        j: kept.map(([, { properties }]) => properties),
        s: kept.map(([, { lastSeenMs }]) => lastSeenMs),
      });
      await this.#database.writer.run(
        `insert or replace into ${this.#table} select p, ${into}, j, s from (
           select unnest(b.p) as p, unnest(b.k) as k, unnest(b.i) as i, unnest(b.j) as j, unnest(b.s) as s
           from (select from_json($batch::json,
             '{"p":["varchar"],"k":["varchar"],"i":["varchar"],"j":["json"],"s":["bigint"]}') as b))`,
        { batch },
      );
    }
    if (gone.length > 0) {
      await this.#database.writer.run(
        `delete from ${this.#table} as t using (
           select unnest(b.p) as p, unnest(b.k) as k, unnest(b.i) as i
           from (select from_json($batch::json, '{"p":["varchar"],"k":["varchar"],"i":["varchar"]}') as b)) as gone
         where t.project = gone.p and ${key} = gone.k and t.${id} = gone.i`,
        { batch: JSON.stringify(columnsOf(gone.map(([address]) => address))) },
      );
    }
  }
}

const addressOf = (project: string, groupKey: string, id: string): string => JSON.stringify([project, groupKey, id]);

function columnsOf(addresses: readonly string[]): { p: string[]; k: string[]; i: string[] } {
  const parts = addresses.map((address) => JSON.parse(address) as [string, string, string]);
  return { p: parts.map(([p]) => p), k: parts.map(([, k]) => k), i: parts.map(([, , i]) => i) };
}
