/** A value that a driver binds. */
export interface Bind {
  readonly name: string;
  readonly type: 'integer' | 'text';
  readonly value: number | string | null;
}

/** One statement, ready for a driver. `label` is its file in the compiled folder. */
export interface Query {
  readonly sql: string;
  readonly binds: readonly Bind[];
  readonly label: string;
  /** The run that it is of, where it is of one. */
  readonly run?: number;
}

/** A row by column name; integers come as numbers, everything else as text. */
export type Row = Readonly<Record<string, string | number | null>>;

/** One connection runs one statement at a time. */
export interface Connection {
  /** The server's number for it; undefined where there is no server. */
  readonly session?: number | undefined;
  /** Ends the statement that runs, where the driver can do that by itself. */
  interrupt?(): void;
  /** @returns the number of rows that the statement changed */
  execute(query: Query): Promise<number>;
  rows(query: Query): Promise<readonly Row[]>;
  /** The rows as they come, in pieces: a table never is in memory as a whole. */
  stream(query: Query): AsyncIterable<readonly Row[]>;
  /** Bytes that a statement would read, where the warehouse says so without running it. */
  estimate?(query: Query): Promise<number>;
  /** Whether who connects may give others rights on a table, where the warehouse tells; false where there is none. */
  mayGrant?(schema: string, table: string): Promise<boolean>;
  close(): Promise<void>;
}

/** A warehouse as the runtime sees it: connections, and no SQL of its own. */
export interface Warehouse {
  /** As people know it: a file, or a database of a host. */
  readonly name: string;
  /** Why it could not be written, where that shows without writing. */
  obstacle?(): Promise<string | undefined>;
  /** Connections that read the outbox at a time, where a statement takes long to begin; one where that is not said. */
  readonly readers?: number;
  connect(): Promise<Connection>;
  close(): Promise<void>;
}
