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

/**
 * DuckDB's buffers beyond the first limit spill to disk: the process stays small whatever the size of the table. What
 * cannot spill, such as vectors of long texts, gets the next one; the last is DuckDB's own (most of the memory).
 */
const MEMORY_LIMITS = ['128MB', '512MB'] as const;

/** How much DuckDB may hold, which grows for a statement that cannot be done otherwise and stays so. */
class Buffers {
  readonly #instance: DuckDBInstance;
  readonly #higher: string[];

  private constructor(instance: DuckDBInstance, limits: readonly string[]) {
    this.#instance = instance;
    this.#higher = [...limits];
  }

  static async of(instance: DuckDBInstance, settings: DuckDBOptions['settings']): Promise<Buffers> {
    // A limit that a person chose is the only one.
    if (Object.keys(settings).some((name) => /^(memory_limit|max_memory)$/i.test(name)))
      return new Buffers(instance, []);
    const session = await instance.connect();
    const reader = await session.runAndReadAll(`select current_setting('memory_limit')`);
    session.closeSync();
    const buffers = new Buffers(instance, [...MEMORY_LIMITS, String(reader.getRows()[0]?.[0])]);
    await buffers.grow();
    return buffers;
  }

  /** @returns false when there is no higher limit */
  async grow(): Promise<boolean> {
    const limit = this.#higher.shift();
    if (limit === undefined) return false;
    // A session of its own: the one that failed may be in a transaction that takes nothing more.
    const session = await this.#instance.connect();
    try {
      await session.run(`set memory_limit = '${limit}'`);
    } finally {
      session.closeSync();
    }
    return true;
  }
}

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
      const instance = await DuckDBInstance.create(options.path, config);
      return new DuckDBWarehouse(world, instance, await Buffers.of(instance, options.settings), options);
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
  readonly #buffers: Buffers;

  constructor(world: World, instance: DuckDBInstance, buffers: Buffers, options: DuckDBOptions) {
    this.#world = world;
    this.#instance = instance;
    this.#buffers = buffers;
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
    return new DuckDBConnectionAdapter(await this.#instance.connect(), this.#buffers);
  }

  close(): Promise<void> {
    this.#instance.closeSync();
    return Promise.resolve();
  }
}

class DuckDBConnectionAdapter implements Connection {
  readonly #connection: DuckDBConnection;
  readonly #buffers: Buffers;

  constructor(connection: DuckDBConnection, buffers: Buffers) {
    this.#connection = connection;
    this.#buffers = buffers;
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
      // What was read stays read, so it is not run again.
      const piece = await pieces.next().catch((error: unknown) => {
        throw failure(query, error instanceof Error ? error.message : String(error));
      });
      if (piece.done) return;
      yield piece.value.map((row) => Object.fromEntries(Object.entries(row).map(([k, v]) => [k, plain(v)])));
    }
  }

  close(): Promise<void> {
    this.#connection.closeSync();
    return Promise.resolve();
  }

  /** Runs a statement, again with more memory where it needs more. */
  async #run<T>(query: Query, run: () => Promise<T>): Promise<T> {
    for (let again = false; ; again = true)
      try {
        return await run();
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        if (isOutOfMemory(message) && (await this.#buffers.grow())) continue;
        if (again && message.includes('transaction is aborted'))
          throw new RunError('warehouse-conflict', `${query.label} needs more memory`, {
            retryable: true,
            hint: MORE_MEMORY,
          });
        throw failure(query, message);
      }
  }
}

const isOutOfMemory = (message: string): boolean => message.startsWith('Out of Memory Error');
const MORE_MEMORY =
  "Raise `settings: { memory_limit: 1GB }` of the target's warehouse, or give it a `temp_directory` with more space.";

function failure({ label }: Query, message: string): RunError {
  if (NO_ROOM.test(message))
    return new RunError(
      'disk',
      `${label}: ${firstLine(message)}. Make room where the database file and its temp_directory are, then run it again.`,
      { retryable: true },
    );
  return new RunError('warehouse-error', `${label}: ${firstLine(message)}`, {
    retryable: message.startsWith('TransactionContext Error'),
    hint: isOutOfMemory(message) ? MORE_MEMORY : undefined,
  });
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
