import type { Expect, Plan, SqlStep } from '../schemas/types.ts';
import { RunError } from './errors.ts';
import { spokenKey } from './keys.ts';
import type { Values } from './values.ts';
import { toQuery } from './values.ts';
import type { Connection, Row, Warehouse } from './warehouses/warehouse.ts';

/** Walks a plan's statements on one connection. It knows what a statement promises, not what it says. */
export class Runner {
  readonly #plan: Plan;
  readonly #warehouse: Warehouse;
  readonly #connection: Connection;

  private constructor(plan: Plan, warehouse: Warehouse, connection: Connection) {
    this.#plan = plan;
    this.#warehouse = warehouse;
    this.#connection = connection;
  }

  static async open(plan: Plan, warehouse: Warehouse): Promise<Runner> {
    const connection = await warehouse.connect();
    for (const [i, sql] of plan.session.entries())
      await connection.execute({ sql, binds: [], label: `session statement ${i + 1}` });
    return new Runner(plan, warehouse, connection);
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  async rows(file: string, values: Values = {}): Promise<readonly Row[]> {
    return this.#connection.rows(toQuery(this.#statement(file), values, file));
  }

  /** The rows of a statement about tables; none where the schema that holds them is not there yet. */
  async rowsIfThere(file: string): Promise<readonly Row[]> {
    return this.rows(file).catch((error: unknown) => {
      if (error instanceof RunError && error.code === 'not-found') return [];
      throw error;
    });
  }

  /** Bytes that a statement would read; undefined where the warehouse does not say. */
  async estimate(file: string, values: Values): Promise<number | undefined> {
    return this.#connection.estimate?.(toQuery(this.#statement(file), values, file));
  }

  /** Whether who connects may give others rights on a table of the staging schema; false where the warehouse does not say. */
  async mayGrant(table: string): Promise<boolean> {
    return (await this.#connection.mayGrant?.(this.#plan.staging, table)) ?? false;
  }

  /** The rows of a statement as they come, in pieces. */
  stream(file: string, values: Values = {}): AsyncIterable<readonly Row[]> {
    return this.#connection.stream(toQuery(this.#statement(file), values, file));
  }

  /** Runs one statement under its own fence. @returns what it `returns`, else nothing */
  async statement(file: string, values: Values = {}): Promise<Values> {
    const statement = this.#statement(file);
    const query = toQuery(statement, values, file);
    if (statement.failure !== undefined)
      return this.#connection.rows(query).then(
        () => ({}),
        (error: unknown) => {
          if (!(error instanceof RunError && error.code === 'warehouse-error')) throw error;
          throw new RunError('check-failed', `${statement.failure ?? ''} (${error.message})`, { retryable: false });
        },
      );
    if (statement.returns) {
      const [row] = await this.#connection.rows(query);
      return Object.fromEntries(statement.returns.map((late) => [late.name, row?.[late.name] ?? null]));
    }
    if (statement.expect && 'rows' in statement.expect) {
      const rows = await this.#connection.rows(query);
      if (rows.length > 0) throw violated(statement.expect, rows.map(said));
      return {};
    }
    const affected = await this.#connection.execute(query);
    if (statement.expect && 'affected' in statement.expect && affected !== 1)
      throw new RunError(
        statement.expect.otherwise,
        statement.expect.otherwise === 'lease-lost'
          ? 'The lease was lost: another process has it now. The next apply finishes this run.'
          : 'Another process took the lease first.',
        { retryable: true },
      );
    return {};
  }

  /** What a check says about violations that another statement found. */
  violation(file: string, violations: readonly string[]): RunError {
    const { expect } = this.#statement(file);
    if (!expect || !('rows' in expect)) throw new Error(`${file} is no check`);
    return violated(expect, violations);
  }

  /** Runs the steps in order; what one returns is a late value of those after it. */
  async steps(steps: readonly SqlStep[], values: Values, onStatement?: (file: string) => void): Promise<Values> {
    let known = values;
    for (const step of steps) {
      if (step.unless !== undefined && (await this.rows(step.unless, known)).length > 0) continue;
      const transaction = step.atomic ? this.#plan.transaction : null;
      try {
        // Inside the try: when only its answer was lost, the transaction is open and must not swallow what follows.
        if (transaction) await this.#control(transaction.begin);
        for (const file of step.run) {
          onStatement?.(file);
          known = { ...known, ...(await this.statement(file, known)) };
        }
        if (transaction) await this.#control(transaction.commit);
      } catch (error) {
        // An error in a fenced statement ends the attempt: no commit after it, which might report success.
        if (transaction) await this.#control(transaction.rollback).catch(() => undefined);
        throw error;
      }
    }
    return known;
  }

  /**
   * Work that a person may stop: what runs in the warehouse then ends there too. Only for what may end anywhere.
   * @throws RunError `interrupted`
   */
  async stoppable<T>(stop: AbortSignal, work: () => Promise<T>): Promise<T> {
    let ending: Promise<void> | undefined;
    const end = (): void => void (ending = this.#interrupt());
    stop.addEventListener('abort', end, { once: true });
    try {
      if (stop.aborted) throw stopped();
      const result = await work();
      if (ending) throw stopped();
      return result;
    } catch (error) {
      throw ending ? stopped() : error;
    } finally {
      stop.removeEventListener('abort', end);
      // It must not reach the statement after this work.
      await ending;
    }
  }

  /** What cannot be ended runs to its end. */
  async #interrupt(): Promise<void> {
    const { session } = this.#connection;
    this.#connection.interrupt?.();
    if (session === undefined || this.#plan.cancel === '') return;
    try {
      const other = await this.#warehouse.connect();
      await other.rows(toQuery(this.#statement(this.#plan.cancel), { session }, this.#plan.cancel));
      await other.close();
    } catch {
      return;
    }
  }

  /** Runs statements with values of their own in one transaction, where the engine has them. */
  async atomic(calls: readonly (readonly [file: string, values: Values])[]): Promise<void> {
    const { transaction } = this.#plan;
    try {
      if (transaction) await this.#control(transaction.begin);
      for (const [file, values] of calls) await this.statement(file, values);
      if (transaction) await this.#control(transaction.commit);
    } catch (error) {
      if (transaction) await this.#control(transaction.rollback).catch(() => undefined);
      throw error;
    }
  }

  #control(sql: string): Promise<number> {
    return this.#connection.execute({ sql, binds: [], label: sql });
  }

  #statement(file: string) {
    const statement = this.#plan.statements[file];
    if (!statement) throw new Error(`the plan has no statement ${file}`);
    return statement;
  }
}

const stopped = (): RunError => new RunError('interrupted', 'Stopped before anything was sent.', { retryable: true });
const said = (row: Row): string => Object.values(row).join(' ');

/** The error of a check whose violations are these. */
export function violated(
  expect: Pick<Extract<Expect, { rows: 0 }>, 'otherwise' | 'message'>,
  violations: readonly string[],
): RunError {
  // One for each row that a check returns, and rows may say the same.
  const shown = [...new Set(violations)].slice(0, 3).map(spokenKey).join('; ');
  return new RunError(expect.otherwise, `${expect.message} (${shown})`, { retryable: false });
}

/** Connections that read at a time, each one statement. */
export class Readers {
  readonly #all: readonly Runner[];
  readonly #free: Runner[];

  private constructor(all: readonly Runner[]) {
    this.#all = all;
    this.#free = [...all];
  }

  static async open(plan: Plan, warehouse: Warehouse): Promise<Readers> {
    const all: Runner[] = [];
    try {
      for (let i = 0; i < (warehouse.readers ?? 1); i++) all.push(await Runner.open(plan, warehouse));
    } catch (error) {
      for (const reader of all) await reader.close();
      throw error;
    }
    return new Readers(all);
  }

  get count(): number {
    return this.#all.length;
  }

  async rows(file: string, values: Values): Promise<readonly Row[]> {
    const reader = this.#free.pop();
    if (!reader) throw new Error(`${file} is read by more at a time than there are connections`);
    try {
      return await reader.rows(file, values);
    } finally {
      this.#free.push(reader);
    }
  }

  async close(): Promise<void> {
    for (const reader of this.#all) await reader.close();
  }
}
