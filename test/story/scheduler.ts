import { setTimeout as delay } from 'node:timers/promises';
import { RunError } from '../../runtime/errors.ts';
import type { Connection, Query, Row, Warehouse } from '../../runtime/warehouses/warehouse.ts';
import type { Answer, RequestInit, World } from '../../runtime/world.ts';
import type { Database, LockServer, Session } from './engine.ts';

/** How late a statement whose client is gone is carried out at most. */
const LATE_MS = 20_000;
/** When a server notices at the latest that a client is gone which left a transaction open: sessions pin it. */
const NOTICES_MS = 300_000;

/** mulberry32: a seed replays a history. */
export function random(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

interface Point {
  readonly actor: Actor;
  readonly kind: 'statement' | 'sleep' | 'request';
  readonly label: string;
  readonly at: number;
  /** Of a statement, the one that it runs on. */
  readonly connection?: SimConnection | undefined;
  /** Does it; what it returns is handed to the actor. @param orphaned nobody waits for it any more */
  readonly run: (orphaned?: boolean) => Promise<() => void>;
  /** For a request: what the network may still do once nobody waits. */
  readonly land?: () => void;
  gone: boolean;
}

export interface Actor {
  readonly name: string;
  dead: boolean;
  pausedUntil: number;
  readonly inbox: (() => void)[];
  readonly connections: SimConnection[];
}

export interface Server {
  /** A request starts. @returns called with the status once its answer is known to the process */
  request(actor: string, url: string, body: string): (status: number) => void;
  /** Stores the batch and answers. */
  store(url: string, body: string): { readonly status: number; readonly body: string };
}

/** What tells the judge of requests which run is `sending` and how far it is, and what each run read of the source. */
export interface Watcher {
  probed(actor: Actor): Promise<void>;
  captured(actor: Actor, run: number): Promise<void>;
  flipped(actor: Actor, run: number): Promise<void>;
  /** A run that captured nothing came to its end. */
  settled(run: number): void;
  reached(run: number, next: number): void;
}

/** Probabilities of one history. */
export interface Chaos {
  kill: number;
  pause: number;
  mutate: number;
  lostStatement: number;
  network: number;
}

/**
 * One step at a time: every statement, sleep and request of every process is a point, and the seed decides which
 * comes next, what goes wrong with it and what the world does in between. Time is virtual, in the warehouse too.
 */
export class Scheduler {
  now = 1_700_000_000_000;
  readonly points: Point[] = [];
  readonly actors: Actor[] = [];
  readonly trace: string[] = [];
  chaos: Chaos = { kill: 0, pause: 0, mutate: 0, lostStatement: 0, network: 0 };
  mutate: () => Promise<void> = () => Promise.resolve();
  watcher: Watcher | undefined;
  /** The process dies, or pauses for some milliseconds, right before or after the step of this number, counted from one, or of this label. */
  crash: { readonly at: number | string; readonly when: 'before' | 'after'; readonly pauses?: number } | undefined;
  /** What the network does with the next requests; `last` is `late` at the last moment. */
  readonly fates: ('after' | 'last')[] = [];
  /** Statements and requests carried out. */
  steps = 0;
  /** Set where statements may wait for locks. */
  locks: LockServer | undefined;
  readonly #rng: () => number;
  readonly #server: Server;
  readonly #timeout: number;
  readonly #late: { at: number; run: () => void | Promise<void>; connection?: SimConnection | undefined }[] = [];
  /** Statements on their way: those that wait for a lock of another session are carried out bit by bit. */
  readonly #waiting: { readonly session: Session; readonly ended: Promise<void> }[] = [];
  /** Connections that processes have closed. */
  readonly #closing: SimConnection[] = [];

  constructor(rng: () => number, server: Server, timeoutMs: number) {
    this.#rng = rng;
    this.#server = server;
    this.#timeout = timeoutMs;
  }

  chance(p: number): boolean {
    return p > 0 && this.#rng() < p;
  }
  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.#rng() * list.length)]!;
  }
  log(text: string): void {
    this.trace.push(`${this.now - 1_700_000_000_000} ${text}`);
  }

  actor(name: string): Actor {
    const actor: Actor = { name, dead: false, pausedUntil: 0, inbox: [], connections: [] };
    this.actors.push(actor);
    return actor;
  }

  setTime(now: number): void {
    this.now = now;
  }

  world(actor: Actor): World {
    return {
      now: () => this.now,
      monotonic: () => this.now,
      random: this.#rng,
      randomId: () => Array.from({ length: 32 }, () => Math.floor(this.#rng() * 16).toString(16)).join(''),
      gzip: (text) => Promise.resolve(Buffer.from(text)),
      readFile: () => Promise.resolve(undefined),
      mayUse: () => Promise.resolve(),
      writeFileAtomic: () => Promise.resolve(),
      createFile: () => Promise.resolve(true),
      removeFile: () => Promise.resolve(),
      isRunning: () => true,
      sleep: (ms, signal) => this.#sleep(actor, ms, signal),
      fetch: (url, init) => this.#fetch(actor, url, init),
    };
  }

  warehouse(actor: Actor, database: Database): Warehouse {
    return {
      name: 'story',
      connect: () =>
        this.statement(actor, undefined, 'connect', async () => {
          const connection = new SimConnection(this, actor, await database.connect());
          actor.connections.push(connection);
          return connection;
        }),
      close: () => Promise.resolve(),
    };
  }

  /** Puts a point before an actor; it goes on when the scheduler says so. */
  statement<T>(actor: Actor, connection: SimConnection | undefined, label: string, run: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.points.push({
        actor,
        kind: 'statement',
        label,
        at: this.now,
        gone: false,
        connection,
        run: async (orphaned = false) => {
          // Once the server has ended the session, its driver says so.
          if (connection?.isLost === true && !connection.hasEnded && !orphaned)
            return () => reject(new RunError('warehouse-unavailable', `${label}: no connection`, { retryable: true }));
          const control =
            !connection ||
            connection.isLost ||
            label.startsWith('session') ||
            (connection.inTransaction && label !== 'commit');
          const fate =
            !control && this.chance(this.chaos.lostStatement)
              ? this.pick(
                  label.startsWith('begin') ? (['before', 'after'] as const) : (['before', 'after', 'late'] as const),
                )
              : 'fine';
          const lost = (): void =>
            reject(new RunError('warehouse-unavailable', `${label}: connection lost (${fate})`, { retryable: true }));
          if (fate === 'late') {
            this.log(`${actor.name} ${label} answer lost, runs later`);
            this.#later(connection, () =>
              run().then(
                () => undefined,
                () => undefined,
              ),
            );
          }
          if (fate === 'before' || fate === 'late') {
            await this.#hangUp(connection);
            return lost;
          }
          try {
            const value = await run();
            if (fate === 'after') this.log(`${actor.name} ${label} answer lost`);
            return fate === 'after' ? lost : () => resolve(value);
          } catch (error) {
            return () => reject(error);
          } finally {
            if (fate === 'after') await this.#hangUp(connection);
          }
        },
      });
    });
  }

  #sleep(actor: Actor, ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const point: Point = {
        actor,
        kind: 'sleep',
        label: `sleep ${ms}`,
        at: this.now + ms,
        gone: false,
        run: () => Promise.resolve(resolve),
      };
      signal?.addEventListener('abort', () => {
        point.gone = true;
        reject(signal.reason);
      });
      this.points.push(point);
    });
  }

  #fetch(actor: Actor, url: string, init: RequestInit): Promise<Answer> {
    const body = Buffer.from(init.body ?? '').toString('utf8');
    const startedAt = this.now;
    const answered = this.#server.request(actor.name, url, body);
    let ended = false;
    return new Promise((resolve, reject) => {
      const answer = (a: { readonly status: number; readonly body: string }) => (): void => {
        if (!ended) answered(a.status);
        resolve({ status: a.status, headers: { get: () => null }, text: () => Promise.resolve(a.body) });
      };
      const store = (): { readonly status: number; readonly body: string } => {
        this.log(`server stores a request of ${actor.name}`);
        return this.#server.store(url, body);
      };
      const later = (): void => {
        if (this.chance(0.5))
          this.#late.push({ at: startedAt + this.#rng() * (this.#timeout - 1), run: () => void store() });
      };
      const point: Point = {
        actor,
        kind: 'request',
        label: 'request',
        at: this.now + this.#rng() * 300,
        gone: false,
        land: later,
        run: () => {
          const reset = (): void => reject(new Error('socket hang up'));
          const fate =
            this.fates.shift() ??
            (this.now >= startedAt + this.#timeout
              ? 'lost'
              : this.chance(this.chaos.network)
                ? this.pick(['lost', 'after', 'late', '429', '503'] as const)
                : 'fine');
          if (fate === 'fine') return Promise.resolve(answer(store()));
          if (fate === '429' || fate === '503')
            return Promise.resolve(answer({ status: Number(fate), body: '<html>' }));
          if (fate === 'after') store();
          if (fate === 'late') later();
          if (fate === 'last') this.#late.push({ at: startedAt + this.#timeout - 1, run: () => void store() });
          return Promise.resolve(reset);
        },
      };
      init.signal.addEventListener('abort', () => {
        if (!point.gone) later();
        point.gone = true;
        ended = true;
        reject(init.signal.reason);
      });
      this.points.push(point);
    });
  }

  async kill(actor: Actor): Promise<void> {
    this.log(`${actor.name} is killed`);
    actor.dead = true;
    for (const point of this.points.filter((p) => p.actor === actor && !p.gone)) {
      point.gone = true;
      point.land?.();
      // A statement on its way may still be carried out, but a transaction of a dead session is rolled back.
      const isRolledBack = this.locks
        ? point.connection?.inTransaction === true && point.label !== 'commit'
        : actor.connections.some((c) => c.inTransaction);
      if (point.kind === 'statement' && !point.label.startsWith('begin') && !isRolledBack && this.chance(0.5))
        this.#later(point.connection, () => point.run(true).then(() => undefined));
    }
    for (const connection of actor.connections)
      if (this.locks) await this.#hangUp(connection);
      else await connection.abandon();
  }

  #later(connection: SimConnection | undefined, run: () => Promise<void>, within = LATE_MS): void {
    if (connection) connection.late++;
    this.#late.push({ at: this.now + this.#rng() * within, run, connection });
  }

  /** Client and server lose each other; the server notices it at once or later, and holds its locks until then. */
  async #hangUp(connection: SimConnection | undefined): Promise<void> {
    if (!connection || !this.locks || connection.isLost) return;
    connection.isLost = true;
    if (connection.late === 0 && connection.inTransaction && this.chance(0.5))
      this.#later(connection, () => Promise.resolve(), NOTICES_MS);
    else await connection.endIfIdle();
  }

  /** A process ends a connection. */
  closes(connection: SimConnection): void {
    this.#closing.push(connection);
  }

  /** Carries out as much as is possible now: to the end, or until all that is left waits for a lock. */
  async #carryOut(connection: SimConnection | undefined, work: Promise<void>): Promise<void> {
    if (!this.locks || !connection) return work;
    const ended = work.finally(() => {
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
      if (waits) this.log(`${name} waits no longer`);
    });
    const waiting = { session: connection.real, ended };
    const { name } = connection;
    let waits = false;
    this.#waiting.push(waiting);
    await this.#rest();
    waits = this.#waiting.includes(waiting);
    if (waits) this.log(`${name} waits for a lock`);
  }

  async #rest(): Promise<void> {
    while (this.#waiting.length > 0) {
      const before = this.#waiting.length;
      await Promise.race([...this.#waiting.map((w) => w.ended), delay(10)]);
      if (this.#waiting.length < before) continue;
      if (await this.locks?.areStuck(this.#waiting.map((w) => w.session.id))) return;
    }
  }

  async #carryOutLate(at: number): Promise<void> {
    const [late] = this.#late.splice(at, 1);
    if (!late) return;
    const { connection } = late;
    if (connection) connection.late--;
    await this.#carryOut(
      connection,
      Promise.resolve(late.run()).then(() => (connection?.isLost === true ? connection.endIfIdle() : undefined)),
    );
  }

  /** Lets everything that is still on its way happen. */
  async settle(): Promise<void> {
    while (this.#late.length > 0) await this.#carryOutLate(0);
    if (this.#waiting.length > 0) throw new Error('a statement waits for ever');
  }

  /** Runs until the given processes have ended. */
  async until(ended: () => boolean): Promise<void> {
    for (let steps = 0; ; steps++) {
      if (steps > 20_000) throw new Error('a history does not end');
      // Everything that is not a point is a chain of promises; it is over within a turn of the event loop.
      await new Promise(setImmediate);
      await new Promise(setImmediate);
      for (let i = this.points.length - 1; i >= 0; i--) if (this.points[i]!.gone) this.points.splice(i, 1);
      for (const actor of this.actors.filter((a) => !a.dead && a.pausedUntil <= this.now))
        for (const deliver of actor.inbox.splice(0)) deliver();
      await new Promise(setImmediate);
      for (const connection of this.#closing.splice(0)) await connection.real.close();
      if (ended()) return;
      for (let i = this.#late.length - 1; i >= 0; i--) if (this.#late[i]!.at <= this.now) await this.#carryOutLate(i);
      if (this.chance(this.chaos.mutate)) await this.mutate();
      const alive = this.actors.filter((a) => !a.dead);
      if (alive.length > 0 && this.chance(this.chaos.pause)) {
        const actor = this.pick(alive);
        actor.pausedUntil = this.now + Math.floor(this.#rng() * 30_000);
        this.log(`${actor.name} pauses`);
      }
      if (alive.length > 0 && this.chance(this.chaos.kill)) {
        await this.kill(this.pick(alive));
        continue;
      }
      const ready = this.points.filter(
        (p) =>
          !p.gone && !p.actor.dead && p.at <= this.now && (p.kind === 'request' || p.actor.pausedUntil <= this.now),
      );
      const point = ready.length > 0 ? this.pick(ready) : undefined;
      if (point) {
        point.gone = true;
        if (point.kind !== 'sleep') this.steps++;
        const { at, when, pauses } = this.crash ?? {};
        const hit = point.kind !== 'sleep' && (at === this.steps || at === point.label);
        if (hit) this.crash = undefined;
        if (hit && pauses !== undefined) {
          point.actor.pausedUntil = this.now + pauses;
          this.log(`${point.actor.name} pauses`);
        }
        const dies = hit && pauses === undefined ? when : undefined;
        if (dies === 'before') {
          await this.kill(point.actor);
          continue;
        }
        if (point.kind !== 'sleep') this.log(`${point.actor.name} ${point.label}`);
        const { actor } = point;
        await this.#carryOut(
          point.connection,
          point.run().then((deliver) => void actor.inbox.push(deliver)),
        );
        if (dies === 'after') {
          await this.kill(actor);
          continue;
        }
        if (this.chance(0.3)) this.setTime(this.now + Math.floor(this.#rng() * 200));
        continue;
      }
      const next = Math.min(
        ...this.points
          .filter((p) => !p.gone && !p.actor.dead)
          .map((p) => Math.max(p.at, p.kind === 'request' ? 0 : p.actor.pausedUntil)),
        ...this.actors.filter((a) => !a.dead && a.inbox.length > 0).map((a) => a.pausedUntil),
        ...this.#late.map((l) => l.at),
      );
      if (!Number.isFinite(next)) throw new Error(`nothing can happen any more\n${this.trace.slice(-30).join('\n')}`);
      if (next > this.now) this.setTime(Math.ceil(next));
    }
  }
}

export class SimConnection implements Connection {
  readonly real: Session;
  inTransaction = false;
  /** Client and server have lost each other. */
  isLost = false;
  /** Statements that are on their way to the server. */
  late = 0;
  hasEnded = false;
  readonly #scheduler: Scheduler;
  readonly #actor: Actor;
  #running = 0;

  constructor(scheduler: Scheduler, actor: Actor, real: Session) {
    this.#scheduler = scheduler;
    this.#actor = actor;
    this.real = real;
  }

  get name(): string {
    return this.#actor.name;
  }

  /** Only syncs without write access stream, and the story has none. */
  stream(): never {
    throw new Error('not simulated');
  }

  execute(query: Query): Promise<number> {
    return this.#point(query, async () => {
      const changed = await this.real.execute(query);
      await this.#tell(query, changed === 1);
      if (query.label.startsWith('begin')) this.inTransaction = true;
      if (query.label === 'commit' || query.label === 'rollback') this.inTransaction = false;
      return changed;
    });
  }

  rows(query: Query): Promise<readonly Row[]> {
    return this.#point(query, async () => {
      const rows = await this.real.rows(query);
      if (query.label.endsWith('/probe.sql')) await this.#scheduler.watcher?.probed(this.#actor);
      return rows;
    });
  }

  close(): Promise<void> {
    if (!this.isLost) this.#scheduler.closes(this);
    return Promise.resolve();
  }

  /** The server notices that the client is gone. */
  async abandon(): Promise<void> {
    if (this.inTransaction) await this.real.end();
    this.inTransaction = false;
  }

  /** A server looks for its client between two statements. */
  async endIfIdle(): Promise<void> {
    if (this.hasEnded || this.#running > 0 || this.late > 0) return;
    this.hasEnded = true;
    await this.real.end();
    this.inTransaction = false;
  }

  async #tell({ label, sql, binds: list }: Query, one: boolean): Promise<void> {
    const { watcher } = this.#scheduler;
    const value = (name: string): number => Number(list.find((b) => b.name === name)?.value);
    if (/\/(capture(_forward)?|destroy)\.sql$/.test(label))
      await watcher?.captured(this.#actor, Number(/__outbox_(\d+)/.exec(sql)?.[1]));
    if (!one) return;
    if (label.endsWith('/state_flip.sql')) await watcher?.flipped(this.#actor, value('run'));
    if (label.endsWith('/state_settle.sql')) watcher?.settled(value('version'));
    if (label.endsWith('/checkpoint.sql')) watcher?.reached(value('run'), value('next_batch'));
  }

  #point<T>(query: Query, run: () => Promise<T>): Promise<T> {
    const { label } = query;
    return this.#scheduler.statement(this.#actor, this, label, async () => {
      this.#running++;
      try {
        // A server's clock stands still for a transaction.
        if (!this.inTransaction || !this.#scheduler.locks) await this.real.setNow(this.#scheduler.now);
        return await run();
      } catch (error) {
        if (error instanceof RunError) throw error;
        throw new RunError('warehouse-error', `${label}: ${error instanceof Error ? error.message : String(error)}`, {
          retryable: true,
        });
      } finally {
        this.#running--;
        if (this.isLost) await this.endIfIdle();
      }
    });
  }
}
