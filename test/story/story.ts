import path from 'node:path';
import type { DuckDBConnection } from '@duckdb/node-api';
import { DuckDBInstance } from '@duckdb/node-api';
import { compile } from '../../compiler/compile.ts';
import { duckdb } from '../../compiler/dialects/duckdb.ts';
import { writeLock } from '../../compiler/lock.ts';
import { readTemplates } from '../../compiler/templates.ts';
import { RunError } from '../../runtime/errors.ts';
import { createMixpanel } from '../../runtime/mixpanel/import.ts';
import { applySync } from '../../runtime/sync.ts';
import type { Plan } from '../../schemas/types.ts';
import { Mixpanel } from './mixpanel.ts';
import { Scheduler } from './scheduler.ts';
import type { Shape } from './table.ts';
import { columnsOf, create, wanted } from './table.ts';

export const TTL = 10_000;
/** Rows that a run of the first plan may change. */
const MOST = 8;

/** The first plan; one with other tags, guards and limits of a batch; one whose mapping misses a column. */
export type Version = 'first' | 'other' | 'changed';

const plans = new Map<string, Plan>();
export async function planOf(shape: Shape, wide: boolean, version: Version): Promise<Plan> {
  const id = `${shape} ${wide} ${version}`;
  const known = plans.get(id);
  if (known) return known;
  const columns = columnsOf(shape, wide)
    .filter(({ name }) => version !== 'changed' || name !== 'a')
    .map(({ name, type }) => ({ name, type }));
  const guard = version === 'other' ? '    guard: { max_deletes: 100% }\n' : `    guard: { max_changes: ${MOST} }\n`;
  const result = compile({
    files: {
      'syncline.yml':
        'name: sim\ndefault_target: t\ntargets: { t: { warehouse: { type: duckdb, path: x }, mixpanel: sandbox } }\n',
      'syncs/s.yml': `syncs:
  - name: s
    kind: events
    mode: ${shape === 'append' ? 'append' : 'mirror'}
    source: { relation: src }
    event: { column: ev }
    time: t
    user_id: u
${version === 'other' ? '    tags: [other]\n' : ''}${shape === 'keyed' ? '    key: id\n' : ''}${shape === 'append' ? '    insert_time: loaded\n' : guard}`,
      'syncline.lock.json': writeLock({ lockVersion: 1, targets: { t: { sources: { src: { columns } } } } }),
    },
    templates: await readTemplates(path.join(import.meta.dirname, '../../templates')),
    dialect: { ...duckdb, fileLock: false },
    limits: version === 'first' ? { records: 2, bytes: 600 } : { records: 3, bytes: 900 },
  });
  if (!result.plan) throw new Error(JSON.stringify(result.diagnostics));
  plans.set(id, result.plan);
  return result.plan;
}

export interface Apply {
  readonly processes?: number;
  readonly version?: Version;
  readonly mayCreate?: boolean;
  /** A process that pauses is left behind; the next apply that leaves none behind is its end. */
  readonly leave?: boolean;
}

/** One sync, its warehouse, Mixpanel and the processes that apply it. */
export class Story {
  readonly shape: Shape;
  readonly wide: boolean;
  readonly server = new Mixpanel();
  readonly scheduler: Scheduler;
  readonly outside: DuckDBConnection;
  runs = 0;
  /** Runs that another plan than theirs finished. */
  swapped = 0;
  readonly #instance: DuckDBInstance;
  readonly #timeout: number;
  readonly #finished = new Set<string>();
  readonly #flips = new Map<number, Version>();
  readonly #versions = new Map<string, Version>();

  private constructor(
    shape: Shape,
    wide: boolean,
    rng: () => number,
    instance: DuckDBInstance,
    outside: DuckDBConnection,
    timeout: number,
  ) {
    this.#timeout = timeout;
    this.shape = shape;
    this.wide = wide;
    this.#instance = instance;
    this.outside = outside;
    this.scheduler = new Scheduler(rng, this.server, timeout);
    this.scheduler.watcher = {
      flipped: async (actor, run) => {
        const version = this.#versions.get(actor.name)!;
        this.#flips.set(run, version);
        if (version === 'changed') this.server.problem ??= 'a changed mapping was captured';
        const [changed] = await this.rows(
          `select count(distinct row_key) as n from mixpanel.s__outbox_${run} where change <> 'settled'`,
        );
        if (version === 'first' && shape !== 'append' && Number(changed?.['n']) > MOST)
          this.server.problem ??= 'a run slipped past its guard';
        const rows = await this.rows(
          `select batch, payload from mixpanel.s__outbox_${run} where batch is not null order by ordinal`,
        );
        const batches: string[][] = [];
        for (const row of rows) (batches[Number(row['batch'])] ??= []).push(String(row['payload']));
        this.server.captures(
          run,
          Array.from(batches, (lines: string[] | undefined) => lines ?? []),
          shape === 'append',
        );
      },
      reached: (run, next) => this.server.reaches(run, next),
    };
  }

  static async open(shape: Shape, wide: boolean, rng: () => number, timeout = 4_000): Promise<Story> {
    const instance = await DuckDBInstance.create(':memory:', { threads: '1' });
    const outside = await instance.connect();
    await outside.run("set timezone = 'UTC'");
    await outside.run("create macro main.now() as getvariable('now')");
    await outside.run('set variable now = to_timestamp(1700000000)');
    await outside.run(create(columnsOf(shape, wide)));
    return new Story(shape, wide, rng, instance, outside, timeout);
  }

  close(): void {
    this.outside.closeSync();
    this.#instance.closeSync();
  }

  /** Processes that apply at once, until all have ended or died. @returns `ok` or the message of each that ended */
  async apply(options: Apply = {}): Promise<string[]> {
    const { processes = 1, version = 'first', mayCreate = false, leave = false } = options;
    const s = this.scheduler;
    const plan = await planOf(this.shape, this.wide, version);
    const results: string[] = [];
    const actors = Array.from({ length: processes }, (_, i) => s.actor(`p${s.actors.length}-${i}`));
    for (const actor of actors) {
      this.runs++;
      this.#versions.set(actor.name, version);
      const world = s.world(actor);
      void applySync({
        plan,
        sync: plan.syncs[0]!,
        world,
        warehouse: s.warehouse(actor, this.#instance),
        mixpanel: createMixpanel(world, {
          host: 'http://m',
          projectId: '1',
          token: 'x',
          retry: { initialMs: 500, maxMs: 2000, attempts: 3 },
          requestTimeoutMs: this.#timeout,
          concurrency: 2,
        }),
        concurrency: 2,
        leaseTtlMs: TTL,
        requestTimeoutMs: this.#timeout,
        emit: (e) => {
          if (e.type === 'begin' && e.resumed && this.#flips.get(e.run) !== version) this.swapped++;
          if (e.type === 'begin')
            s.log(`${actor.name} ${e.resumed ? 'resumes' : 'begins'} run ${e.run}, ${version} plan`);
          if (e.type === 'unchanged' || e.type === 'committed') s.log(`${actor.name} ${e.type}`);
        },
        stop: new AbortController().signal,
        mayCreate,
      })
        .then(
          () => results.push('ok'),
          (error: unknown) => {
            const text = error instanceof RunError ? `${error.code}: ${error.message}` : String(error);
            s.log(`${actor.name} fails: ${text.split('\n')[0] ?? ''}`);
            results.push(text);
          },
        )
        .finally(() => this.#finished.add(actor.name));
    }
    await s.until(() => actors.every((a) => a.dead || this.#finished.has(a.name) || (leave && a.pausedUntil > s.now)));
    if (!leave) for (const a of s.actors) a.dead = true;
    return results;
  }

  /** Waits for those that were left behind. */
  async ended(): Promise<void> {
    const { actors } = this.scheduler;
    await this.scheduler.until(() => actors.every((a) => a.dead || this.#finished.has(a.name)));
  }

  async state(): Promise<{ readonly sending: boolean; readonly committed: boolean }> {
    const [row] = await this.rows(
      "select phase = 'sending' as sending, baseline is not null as committed from mixpanel.s__state",
    );
    return { sending: row?.['sending'] === true, committed: row?.['committed'] === true };
  }

  /** What is wrong at rest, if anything is. */
  async problem(): Promise<string | undefined> {
    const { server } = this;
    if (server.problem !== undefined) return server.problem;
    if (server.records > server.captured + server.resent)
      return `${server.records} records were sent, ${server.captured} captured and ${server.resent} sent again`;
    const [should, shown] = [await wanted(this.outside, columnsOf(this.shape, this.wide)), server.shown()];
    if (JSON.stringify(should) !== JSON.stringify(shown))
      return `Mixpanel differs from the table\nlost:  ${minus(should, shown).join('\n       ')}\nextra: ${minus(shown, should).join('\n       ')}`;
    if (this.shape === 'append') return undefined;
    const ledger = (await this.rows('select insert_id from mixpanel.s__ledger order by insert_id')).map((r) =>
      String(r['insert_id']),
    );
    const ids = server.insertIds();
    return JSON.stringify(ledger) === JSON.stringify(ids)
      ? undefined
      : `the ledger differs from Mixpanel\nmissing: ${minus(ids, ledger).join(' ')}\nextra: ${minus(ledger, ids).join(' ')}`;
  }

  async rows(sql: string): Promise<Record<string, unknown>[]> {
    return (await this.outside.runAndReadAll(sql)).getRowObjectsJS();
  }
}

const minus = (a: readonly string[], b: readonly string[]): string[] => {
  const rest = [...b];
  return a.filter((x) => {
    const at = rest.indexOf(x);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
};
