import pg from 'pg';
import { postgres as dialect } from '../../compiler/dialects/postgres.ts';
import { openPostgres } from '../../runtime/warehouses/postgres.ts';
import type { Connection, Query, Row, Warehouse } from '../../runtime/warehouses/warehouse.ts';
import { realWorld } from '../../runtime/world.ts';
import type { Cluster } from '../engines/postgres/cluster.ts';
import type { Database, Engine, LockServer, Session } from './engine.ts';
import type { Column } from './table.ts';

/** `format_type` of the source's columns, by the types as DuckDB names them. */
const TYPES: Readonly<Record<string, string>> = {
  VARCHAR: 'text',
  INTEGER: 'integer',
  'DECIMAL(9,2)': 'numeric(9,2)',
  DOUBLE: 'double precision',
  BOOLEAN: 'boolean',
  DATE: 'date',
  TIME: 'time without time zone',
  TIMESTAMP: 'timestamp without time zone',
  'TIMESTAMP WITH TIME ZONE': 'timestamp with time zone',
  TIMESTAMP_S: 'timestamp(0) without time zone',
  TIMESTAMP_MS: 'timestamp(3) without time zone',
  TIMESTAMP_NS: 'timestamp without time zone',
  'TIME WITH TIME ZONE': 'time with time zone',
  TINYINT: 'smallint',
  SMALLINT: 'smallint',
  BIGINT: 'bigint',
  HUGEINT: 'numeric(39,0)',
  UTINYINT: 'smallint',
  USMALLINT: 'integer',
  UINTEGER: 'bigint',
  UBIGINT: 'numeric(20,0)',
  UHUGEINT: 'numeric(39,0)',
  'DECIMAL(38,10)': 'numeric(38,10)',
  FLOAT: 'real',
  BLOB: 'bytea',
  UUID: 'uuid',
  "ENUM('S', 'M', 'it''s')": 'text',
  BIT: 'bit varying',
  INTERVAL: 'interval',
  JSON: 'json',
  'INTEGER[]': 'integer[]',
  'STRUCT(x INTEGER, y VARCHAR[])': 'pair',
};

/** The world sees the source with a number for each row; processes see it without, and their clock is the story's. */
const PATHS = { world: 'source, sim, public, pg_catalog', process: 'sim, public, pg_catalog' };
const TEMPLATE = 'story_template';

/** What a story needs of DuckDB's functions, and a `now()` that stands before the one of the server. */
const PREPARATION = `
  create schema sim;
  create schema source;
  create type public.pair as (x integer, y text[]);
  create function sim.now() returns timestamptz stable language sql as
    $$ select to_timestamp(0) + cast(current_setting('sim.now_ms') as bigint) * interval '1 millisecond' $$;
  create function sim.epoch_ms(bigint) returns timestamp immutable language sql as
    $$ select timestamp '1970-01-01' + $1 * interval '1 millisecond' $$;
  create function sim.make_timestamp(bigint) returns timestamp immutable language sql as
    $$ select timestamp '1970-01-01' + $1 * interval '1 microsecond' $$;
  create function sim.epoch_ms(timestamp) returns bigint immutable language sql as
    $$ select cast(floor(extract(epoch from $1) * 1000) as bigint) $$;
  create function sim.epoch_us(timestamp) returns bigint immutable language sql as
    $$ select cast(extract(epoch from $1) * 1000000 as bigint) $$;
  create function sim.epoch_us(timestamptz) returns bigint immutable language sql as
    $$ select cast(extract(epoch from $1) * 1000000 as bigint) $$;
`;

/** What a cluster is started with: no server process of its own takes locks, and a deadlock shows at once. */
export const SETTINGS = { autovacuum: 'off', deadlock_timeout: '5ms', max_parallel_workers_per_gather: '0' };

const INT8 = 20;
const parsers: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format: 'text'): unknown =>
    oid === INT8
      ? BigInt
      : (pg.types.getTypeParser as (oid: number, format: 'text') => unknown)(
          oid,
          format,
        )) as pg.CustomTypesConfig['getTypeParser'],
};

let databases = 0;

/** PostgreSQL itself, each story in a database of its own. @param cluster called once tests run */
export const postgres = (cluster: () => Cluster): Engine => ({
  name: 'PostgreSQL',
  dialect,
  target: '{ type: postgres, host: x, user: x, dbname: x }',
  column: (column) => ({
    ...column,
    type: TYPES[column.type] ?? column.type,
    native: column.type.startsWith('STRUCT') ? 'composite pair' : TYPES[column.type],
    values: column.values.map((v) => ({ ...v, sql: v.postgres ?? v.sql })),
  }),
  // JSON has no equality.
  is: ({ name, type }, value) =>
    `cast(${name} as text) is not distinct from cast(cast(${value.sql} as ${type}) as text)`,
  open: async (columns) => {
    const { host, port, user } = cluster();
    const name = `story_${++databases}`;
    await cluster().query('postgres', `create database ${name} template ${TEMPLATE}`);
    return PostgresDatabase.of({ host, port, user, database: name }, columns);
  },
});

/** Makes the database that those of all stories are copies of. */
export async function prepare(cluster: Cluster): Promise<void> {
  await cluster.query('postgres', `create database ${TEMPLATE}`);
  await cluster.query(TEMPLATE, PREPARATION);
}

interface Place {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
}

class PostgresDatabase implements Database {
  readonly server: LockServer = { areStuck: (sessions) => this.#areStuck(sessions) };
  readonly #place: Place;
  readonly #outside: pg.Client;
  readonly #warehouse: Warehouse;

  private constructor(place: Place, outside: pg.Client, warehouse: Warehouse) {
    this.#place = place;
    this.#outside = outside;
    this.#warehouse = warehouse;
  }

  static async of(place: Place, columns: readonly Column[]): Promise<PostgresDatabase> {
    const { host, port, user, database } = place;
    // What waits here waits for a session that the story has to move: it would wait for ever.
    const options = `-c search_path=${PATHS.world.replaceAll(' ', '')} -c timezone=UTC -c lock_timeout=10s`;
    const outside = new pg.Client({ ...place, options, types: parsers });
    // After a failure nobody waits for it when its cluster stops.
    outside.on('error', () => undefined);
    await outside.connect();
    await outside.query(
      `create table source.src (${columns.map((c) => `${c.name} ${c.type}`).join(', ')}, rowid bigint generated always as identity)`,
    );
    await outside.query(`create view public.src as select ${columns.map((c) => c.name).join(', ')} from source.src`);
    const settings = { type: 'postgres', host, port, user, dbname: database, sslmode: 'disable' } as const;
    const warehouse = await openPostgres(
      realWorld,
      { ...settings, search_path: PATHS.process },
      { dir: '/', readOnly: false },
    );
    return new PostgresDatabase(place, outside, warehouse);
  }

  async run(sql: string): Promise<void> {
    await this.#outside.query(sql);
  }

  async rows(sql: string): Promise<Record<string, unknown>[]> {
    return (await this.#outside.query<Record<string, unknown>>(sql)).rows;
  }

  async connect(): Promise<Session> {
    const connection = await this.#warehouse.connect();
    return new PostgresSession(connection, Number(connection.session), this.#outside);
  }

  async close(): Promise<void> {
    await this.#outside.query(
      'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
    );
    await this.#outside.end();
    const admin = new pg.Client({ ...this.#place, database: 'postgres' });
    await admin.connect();
    await admin.query(`drop database ${this.#place.database} with (force)`);
    await admin.end();
  }

  async #areStuck(sessions: readonly number[]): Promise<boolean> {
    const { rows } = await this.#outside.query<{ pid: number; blockers: number[] }>(
      'select pid, pg_blocking_pids(pid) as blockers from unnest($1::int[]) as p(pid)',
      [sessions],
    );
    const blockers = new Map(rows.map((r) => [r.pid, r.blockers]));
    // A circle is broken by the server, which ends one of its statements.
    const reaches = (from: number, to: number, seen: Set<number>): boolean =>
      (blockers.get(from) ?? []).some((b) => b === to || (!seen.has(b) && reaches(b, to, seen.add(b))));
    return rows.every((r) => r.blockers.length > 0 && !reaches(r.pid, r.pid, new Set()));
  }
}

class PostgresSession implements Session {
  readonly id: number;
  readonly #connection: Connection;
  readonly #outside: pg.Client;
  #now = 0;

  constructor(connection: Connection, id: number, outside: pg.Client) {
    this.#connection = connection;
    this.id = id;
    this.#outside = outside;
  }

  async setNow(now: number): Promise<void> {
    if (this.#now === now) return;
    this.#now = now;
    await this.#connection.execute({
      sql: `select set_config('sim.now_ms', '${Math.floor(now)}', false)`,
      binds: [],
      label: 'clock',
    });
  }

  execute(query: Query): Promise<number> {
    return this.#connection.execute(query);
  }

  rows(query: Query): Promise<readonly Row[]> {
    return this.#connection.rows(query);
  }

  stream(query: Query): AsyncIterable<readonly Row[]> {
    return this.#connection.stream(query);
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  async end(): Promise<void> {
    await this.#outside.query('select pg_terminate_backend($1)', [this.id]);
    for (;;) {
      const { rows } = await this.#outside.query('select from pg_stat_activity where pid = $1', [this.id]);
      if (rows.length === 0) return;
    }
  }
}
