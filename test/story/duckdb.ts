import type { DuckDBConnection } from '@duckdb/node-api';
import { DuckDBInstance } from '@duckdb/node-api';
import { duckdb as dialect } from '../../compiler/dialects/duckdb.ts';
import type { Bind, Query, Row } from '../../runtime/warehouses/warehouse.ts';
import type { Database, Engine, Session } from './engine.ts';

/** DuckDB in memory. Its file's lock would hide the lease, so the holders share one process. */
export const duckdb: Engine = {
  name: 'DuckDB',
  dialect: { ...dialect, fileLock: false },
  target: '{ type: duckdb, path: x }',
  column: (column) => column,
  is: ({ name, type }, value) => `${name} is not distinct from cast(${value.sql} as ${type})`,
  open: async (columns) => {
    const instance = await DuckDBInstance.create(':memory:', { threads: '1' });
    const outside = await instance.connect();
    await outside.run("set timezone = 'UTC'");
    await outside.run("create macro main.now() as getvariable('now')");
    await outside.run('set variable now = to_timestamp(1700000000)');
    await outside.run(`create table src (${columns.map((c) => `${c.name} ${c.type}`).join(', ')})`);
    const database: Database = {
      run: (sql) => outside.run(sql),
      rows: async (sql) => (await outside.runAndReadAll(sql)).getRowObjectsJS(),
      connect: async () => new DuckDBSession(await instance.connect()),
      close() {
        outside.closeSync();
        instance.closeSync();
        return Promise.resolve();
      },
    };
    return database;
  },
};

class DuckDBSession implements Session {
  readonly id = 0;
  readonly #connection: DuckDBConnection;
  #now = 0;

  constructor(connection: DuckDBConnection) {
    this.#connection = connection;
  }

  async setNow(now: number): Promise<void> {
    if (this.#now === now) return;
    this.#now = now;
    await this.#connection.run(`set variable now = to_timestamp(${now / 1000})`);
  }

  async execute({ sql, binds }: Query): Promise<number> {
    return (await this.#connection.run(sql, values(binds))).rowsChanged;
  }

  async rows({ sql, binds }: Query): Promise<readonly Row[]> {
    const reader = await this.#connection.runAndReadAll(sql, values(binds));
    return reader
      .getRowObjectsJS()
      .map((row) =>
        Object.fromEntries(
          Object.entries(row).map(([k, v]) => [k, typeof v === 'bigint' ? Number(v) : (v as string | null)]),
        ),
      );
  }

  /** Only syncs without write access stream, and the story has none. */
  stream(): never {
    throw new Error('not simulated');
  }

  /** A statement that finishes late still needs its connection; the database closes them all. */
  close(): Promise<void> {
    return Promise.resolve();
  }

  async end(): Promise<void> {
    await this.#connection.run('rollback').catch(() => undefined);
  }
}

const values = (binds: readonly Bind[]): Record<string, string | bigint | null> =>
  Object.fromEntries(binds.map((b) => [b.name, typeof b.value === 'number' ? BigInt(b.value) : b.value]));
