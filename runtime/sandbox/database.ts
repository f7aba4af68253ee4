import type { DuckDBConnection, DuckDBInstance, DuckDBValue } from '@duckdb/node-api';

export type Row = Record<string, unknown>;
type Values = Record<string, DuckDBValue>;

/** A DuckDB file: one writer whose work is queued, one reader, and streams of their own. */
export class Database {
  readonly writer: DuckDBConnection;
  readonly #instance: DuckDBInstance;
  readonly #reader: DuckDBConnection;
  #writing: Promise<unknown> = Promise.resolve();
  #closed: Promise<void> | undefined;

  private constructor(instance: DuckDBInstance, writer: DuckDBConnection, reader: DuckDBConnection) {
    this.#instance = instance;
    this.writer = writer;
    this.#reader = reader;
  }

  static async open(path: string): Promise<Database> {
    const instance = await openFile(path);
    try {
      return new Database(instance, await instance.connect(), await instance.connect());
    } catch (error) {
      instance.closeSync();
      throw error;
    }
  }

  /** Runs work after the work before it; an abort before its turn prevents it. */
  serially<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const closed = this.#closed !== undefined;
    const result = this.#writing.then(() => {
      if (closed) throw new Error('The sandbox is closed.');
      signal?.throwIfAborted();
      return work();
    });
    this.#writing = result.catch(() => undefined);
    return result;
  }

  /** The same in one transaction, durable once this resolves. */
  transaction<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.serially(async () => {
      await this.writer.run('begin');
      try {
        const result = await work();
        await this.writer.run('commit');
        return result;
      } catch (error) {
        await this.writer.run('rollback').catch(() => undefined);
        throw error;
      }
    }, signal);
  }

  /** Reads on the writer, so within its transaction. */
  read(sql: string, values?: Values): Promise<Row[]> {
    return rows(this.writer, sql, values);
  }

  query(sql: string, values?: Values): Promise<Row[]> {
    return rows(this.#reader, sql, values);
  }

  /** Rows as they come, so that a result may be larger than memory. */
  async *stream(sql: string, values?: Values): AsyncGenerator<unknown[][]> {
    const connection = await this.#instance.connect();
    try {
      const result = await connection.stream(sql, values);
      for (let chunk = await result.fetchChunk(); chunk && chunk.rowCount > 0; chunk = await result.fetchChunk()) {
        yield chunk.getRows().map((row) => row.map(plain));
      }
    } finally {
      connection.closeSync();
    }
  }

  close(before: () => void): Promise<void> {
    this.#closed ??= this.serially(() => {
      before();
      this.writer.closeSync();
      this.#reader.closeSync();
      this.#instance.closeSync();
      return Promise.resolve();
    });
    return this.#closed;
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
async function rows(connection: DuckDBConnection, sql: string, values?: Values): Promise<Row[]> {
  const result = await (await connection.run(sql, values)).getRowObjectsJS();
  return result.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, plain(value)])));
}

function plain(value: unknown): unknown {
  if (typeof value !== 'bigint') return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
