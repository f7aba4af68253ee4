import path from 'node:path';
import type { DuckDBConnection, DuckDBInstance } from '@duckdb/node-api';
import { diskReason } from '../disk.ts';
import { RunError } from '../errors.ts';
import type { World } from '../world.ts';
import type { Bind, Connection, Query, Row, Warehouse } from './warehouse.ts';

export interface DuckDBOptions {
  readonly path: string;
  /** As the project names the file. */
  readonly name: string;
  readonly readOnly: boolean;
  /** How long to wait while another process holds the file, milliseconds. */
  readonly lockTimeoutMs: number;
  /** Called once when waiting begins. */
  readonly onWait: (message: string) => void;
  /** DuckDB's own settings (documentation: Configuration). */
  readonly settings: Readonly<Record<string, string | number>>;
}

/** DuckDB's buffers beyond this spill to disk: the process stays small whatever the size of the table. */
const MEMORY_LIMIT = '256MB';

/** Opens a database file. One process at a time can hold it for writing (documentation: Concurrency). */
export async function openDuckDB(world: World, options: DuckDBOptions): Promise<Warehouse> {
  await world.mayUse(options.path, 'read').catch((error: unknown) => {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) return;
    throw new RunError(
      'warehouse-unavailable',
      `There is no database file ${options.name}. Check \`path:\` of the target.`,
      { retryable: false },
    );
  });
  const { DuckDBInstance } = await import('@duckdb/node-api');
  const config: Record<string, string> = {
    ...(options.readOnly ? { access_mode: 'READ_ONLY' } : {}),
    memory_limit: MEMORY_LIMIT,
    // What is no longer used goes back to the system at once: the limit does not count it.
    allocator_flush_threshold: '1MB',
    allocator_bulk_deallocation_flush_threshold: '16MB',
    // Where order matters a statement says so; keeping it besides makes large inserts buffer (guide: Performance).
    preserve_insertion_order: 'false',
    ...Object.fromEntries(Object.entries(options.settings).map(([name, value]) => [name, String(value)])),
  };
  const deadline = world.monotonic() + options.lockTimeoutMs;
  for (let waits = 0; ; waits++) {
    try {
      return new DuckDBWarehouse(world, await DuckDBInstance.create(options.path, config), options);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (!message.includes('Could not set lock')) throw unreadable(options.path, message, options.readOnly);
      if (world.monotonic() >= deadline) throw locked(options.path, message);
      if (waits === 0) options.onWait(`${options.path} is in use by another process${holderOf(message)}; waiting`);
      await world.sleep(250);
    }
  }
}

const holderOf = (message: string): string => {
  const pid = /\(PID (\d+)\)/.exec(message)?.[1];
  return pid === undefined ? '' : ` (PID ${pid})`;
};

function locked(path: string, message: string): RunError {
  return new RunError(
    'file-locked',
    `The database file ${path} is still in use by another process${holderOf(message)}. Wait for it to end, or raise --lock-timeout.`,
    { retryable: true },
  );
}

function unreadable(path: string, message: string, readOnly: boolean): RunError {
  const [, version, oldest, newest] =
    /version number (\d+), but we can only read versions? (?:between )?(\d+)(?: and (\d+))?/.exec(message) ?? [];
  const reason =
    version === undefined
      ? ''
      : `it has storage version ${version}, this syncline reads ${oldest}${newest === undefined ? '' : ` to ${newest}`}`;
  return new RunError(
    'warehouse-unavailable',
    version !== undefined
      ? `The database file ${path} cannot be opened: ${reason}. ${Number(version) > Number(newest ?? oldest) ? 'Upgrade syncline, or write the file with an older DuckDB.' : 'Write the file with a newer DuckDB.'}`
      : `The database file ${path} cannot be opened: ${firstLine(message)}. Check that the path is right, that it is a DuckDB file and that it may be read${readOnly ? '' : ' and written'}.`,
    { retryable: false },
  );
}

const firstLine = (text: string): string => (text.split('\n', 1)[0] ?? '').replace(/[.!]+$/, '');

/** What the system says when a file cannot grow. */
const NO_ROOM =
  /No space left on device|File too large|Disk quota exceeded|Could not write all bytes|Read-only file system/;

class DuckDBWarehouse implements Warehouse {
  readonly name: string;
  readonly #world: World;
  readonly #path: string;
  readonly #instance: DuckDBInstance;

  constructor(world: World, instance: DuckDBInstance, options: DuckDBOptions) {
    this.#world = world;
    this.#instance = instance;
    this.#path = options.path;
    this.name = options.name;
  }

  /** A database file is written beside itself too: its log is a file of its own. */
  async obstacle(): Promise<string | undefined> {
    const places = [
      [this.name, this.#path],
      [`The folder of ${this.name}`, path.dirname(this.#path)],
    ] as const;
    for (const [what, where] of places)
      try {
        await this.#world.mayUse(where, 'write');
      } catch (error) {
        return `${what} may not be written: ${diskReason(error) ?? String(error)}. Give the right to write, or use \`staging: none\` with the modes append, full and one_time.`;
      }
    return undefined;
  }

  async connect(): Promise<Connection> {
    return new DuckDBConnectionAdapter(await this.#instance.connect());
  }

  close(): Promise<void> {
    this.#instance.closeSync();
    return Promise.resolve();
  }
}

class DuckDBConnectionAdapter implements Connection {
  readonly #connection: DuckDBConnection;

  constructor(connection: DuckDBConnection) {
    this.#connection = connection;
  }

  interrupt(): void {
    this.#connection.interrupt();
  }

  async execute(query: Query): Promise<number> {
    const result = await this.#run(query, () => this.#connection.run(query.sql, values(query.binds)));
    return result.rowsChanged;
  }

  async rows(query: Query): Promise<readonly Row[]> {
    const reader = await this.#run(query, () => this.#connection.runAndReadAll(query.sql, values(query.binds)));
    return reader
      .getRowObjectsJS()
      .map((row) => Object.fromEntries(Object.entries(row).map(([k, v]) => [k, plain(v)])));
  }

  async *stream(query: Query): AsyncGenerator<readonly Row[]> {
    const result = await this.#run(query, () => this.#connection.stream(query.sql, values(query.binds)));
    const pieces = result.yieldRowObjectJs();
    for (;;) {
      const piece = await this.#run(query, () => pieces.next());
      if (piece.done) return;
      yield piece.value.map((row) => Object.fromEntries(Object.entries(row).map(([k, v]) => [k, plain(v)])));
    }
  }

  close(): Promise<void> {
    this.#connection.closeSync();
    return Promise.resolve();
  }

  async #run<T>(query: Query, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (NO_ROOM.test(message))
        throw new RunError(
          'disk',
          `${query.label}: ${firstLine(message)}. Make room where the database file and its temp_directory are, then run it again.`,
          { retryable: true },
        );
      throw new RunError('warehouse-error', `${query.label}: ${firstLine(message)}`, {
        retryable: message.startsWith('TransactionContext Error'),
        hint: message.startsWith('Out of Memory Error')
          ? "Raise `settings: { memory_limit: 1GB }` of the target's warehouse, or give it a `temp_directory` with more space."
          : undefined,
      });
    }
  }
}

function values(binds: readonly Bind[]): Record<string, string | bigint | null> {
  return Object.fromEntries(binds.map((b) => [b.name, typeof b.value === 'number' ? BigInt(b.value) : b.value]));
}

function plain(value: unknown): string | number | null {
  if (value === null || value === undefined) return null;
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'number' || typeof value === 'string') return value;
  if (typeof value === 'boolean') return value ? 1 : 0;
  return JSON.stringify(value);
}
