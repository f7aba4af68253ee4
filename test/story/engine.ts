import type { Dialect } from '../../compiler/dialects/dialect.ts';
import type { Connection } from '../../runtime/warehouses/warehouse.ts';
import type { Column, Value } from './table.ts';

/** A warehouse in which stories happen. The source tables and what is done to them are written once, for DuckDB. */
export interface Engine {
  readonly name: string;
  readonly dialect: Dialect;
  /** The warehouse of a target. */
  readonly target: string;
  /** A column and its values as this engine writes them. */
  readonly column: (column: Column) => Column;
  /** A condition that a column has a value. */
  readonly is: (column: Column, value: Value) => string;
  /** A database of its own with the table `src`, which has no row. */
  readonly open: (columns: readonly Column[]) => Promise<Database>;
}

export interface Database {
  /** What the world does to the source. */
  run(sql: string): Promise<unknown>;
  rows(sql: string): Promise<Record<string, unknown>[]>;
  connect(): Promise<Session>;
  /** There where it is a server of its own: a session there has a life of its own. */
  readonly server?: LockServer;
  close(): Promise<void>;
}

/** A process's connection. */
export interface Session extends Connection {
  /** Its number at a server. */
  readonly id: number;
  /** Its `now()` says this from now on; in a transaction it says what it said at the beginning. */
  setNow(ms: number): Promise<void>;
  /** The server has noticed that nobody is there any more: what was not committed is rolled back. */
  end(): Promise<void>;
}

/**
 * A statement there may wait for a lock of another session. Who loses an answer has lost the session as well, and
 * what is on its way there comes to its end without a client.
 */
export interface LockServer {
  /** True once each of these, whose statements are on their way, waits for a lock, and none of them for another in a circle. */
  areStuck(sessions: readonly number[]): Promise<boolean>;
}
