import path from 'node:path';
import { compile } from '../../compiler/compile.ts';
import { writeLock } from '../../compiler/lock.ts';
import { readTemplates } from '../../compiler/templates.ts';
import { destroySync } from '../../runtime/destroy.ts';
import { RunError } from '../../runtime/errors.ts';
import type { Decision } from '../../runtime/mapping.ts';
import { createMixpanel } from '../../runtime/mixpanel/import.ts';
import { previewSync } from '../../runtime/preview.ts';
import { resetSync } from '../../runtime/reset.ts';
import { Runner } from '../../runtime/run.ts';
import type { Range, SyncRun } from '../../runtime/sync.ts';
import { ensureState } from '../../runtime/setup.ts';
import { applySync } from '../../runtime/sync.ts';
import type { Warehouse } from '../../runtime/warehouses/warehouse.ts';
import type { Plan, Preview, RunCounts, SyncPlan } from '../../schemas/types.ts';
import type { Database, Engine } from './engine.ts';
import type { Received } from './mixpanel.ts';
import { Mixpanel } from './mixpanel.ts';
import { Scheduler } from './scheduler.ts';
import type { Column, Line, Shape, Width } from './table.ts';
import { columnsOf, linesOf, specOf, ymlOf } from './table.ts';
import { Truth } from './truth.ts';

export const TTL = 10_000;
/** Rows that a run of the first plan may change; a version is up to three. */
const mostOf = (shape: Shape): number => (specOf(shape).history ? 16 : 8);

/** The first plan; one with other tags, guards and limits of a batch; one whose mapping misses a column. */
export type Version = 'first' | 'other' | 'changed';

const plans = new Map<string, Plan>();
export async function planOf(engine: Engine, shape: Shape, width: Width, version: Version): Promise<Plan> {
  const id = `${engine.name} ${shape} ${width} ${version}`;
  const known = plans.get(id);
  if (known) return known;
  const left = shape === 'options' ? 'status' : 'a';
  const columns = columnsOf(shape, width).filter(({ name }) => version !== 'changed' || name !== left);
  const guards = {
    first: `    guard: { max_changes: ${mostOf(shape)}, on_empty_source: ${specOf(shape).onEmpty ?? 'allow'} }\n`,
    other: '    guard: { max_deletes: 100%, on_empty_source: allow }\n',
    changed: '',
  };
  const guard = specOf(shape).mode === 'mirror' ? guards[version] : '';
  const yml = `${ymlOf(shape, version === 'other')}${version === 'other' ? '    tags: [other]\n' : ''}${guard}`;
  const limits = version === 'first' ? { records: 2, bytes: 600 } : { records: 3, bytes: 900 };
  const plan = await compiled(engine, yml, columns, limits);
  plans.set(id, plan);
  return plan;
}

/** The plan of a declaration over the columns of `src`. */
export async function compiled(
  engine: Engine,
  yml: string,
  columns: readonly Column[],
  limits: { readonly records: number; readonly bytes: number },
): Promise<Plan> {
  const source = {
    columns: columns.map(engine.column).map(({ name, type, native = type }) => ({ name, type: native })),
  };
  const result = compile({
    files: {
      'syncline.yml': `name: sim\ndefault_target: t\ntargets: { t: { warehouse: ${engine.target}, mixpanel: sandbox } }\n`,
      'syncs/s.yml': yml,
      'syncline.lock.json': writeLock({ lockVersion: 1, targets: { t: { sources: { src: source } } } }),
    },
    templates: await readTemplates(path.join(import.meta.dirname, '../../templates')),
    dialect: engine.dialect,
    limits,
  });
  if (!result.plan) throw new Error(JSON.stringify(result.diagnostics));
  return result.plan;
}

export interface Apply {
  readonly processes?: number;
  readonly version?: Version;
  readonly mayCreate?: boolean;
  /** Another declaration than those of the shape, and what was decided for it. */
  readonly plan?: Plan;
  readonly decision?: Decision | undefined;
  /** Insert times that an append sends again. */
  readonly backfill?: Range | undefined;
  /** Not an apply: the sync is destroyed, and what it put into Mixpanel with it. */
  readonly destroys?: boolean;
  /** Not an apply: what Mixpanel shows of the sync is forgotten. */
  readonly resets?: boolean;
  /** What was sent is sent again, since it was forgotten. */
  readonly again?: boolean;
  /** The mark of a preview that is applied. */
  readonly previewed?: string | undefined;
  /** A process that pauses is left behind; the next apply that leaves none behind is its end. */
  readonly leave?: boolean;
}

/** One sync, its warehouse, Mixpanel and the processes that apply it. */
export class Story {
  readonly shape: Shape;
  readonly width: Width;
  readonly server = new Mixpanel();
  readonly scheduler: Scheduler;
  readonly engine: Engine;
  /** The columns of the source, as its engine writes them. */
  readonly columns: readonly Column[];
  /** Beside all processes. */
  readonly outside: Database;
  readonly truth: Truth;
  /** Counts of every run that was committed. */
  readonly committed: RunCounts[] = [];
  /** What Mixpanel was sent until the first run of the latest apply was committed. */
  received: readonly Received[] | undefined;
  runs = 0;
  /** Runs that another plan than theirs finished. */
  swapped = 0;
  readonly #timeout: number;
  readonly #finished = new Set<string>();
  readonly #flips = new Map<number, Version>();
  readonly #versions = new Map<string, Version>();
  /** Processes that send again what was sent. */
  readonly #fillers = new Set<string>();
  /** The sync as each process has it. */
  readonly #syncs = new Map<string, SyncPlan>();
  /** Runs that captured what their plan does not follow, and what each process captured last. */
  readonly #stopping = new Set<number>();
  readonly #captures = new Map<string, number>();

  private constructor(
    engine: Engine,
    shape: Shape,
    width: Width,
    rng: () => number,
    outside: Database,
    timeout: number,
  ) {
    this.engine = engine;
    this.#timeout = timeout;
    this.shape = shape;
    this.width = width;
    this.outside = outside;
    this.columns = columnsOf(shape, width).map(engine.column);
    this.scheduler = new Scheduler(rng, this.server, timeout);
    this.scheduler.locks = outside.server;
    this.truth = new Truth(shape);
    this.server.own = new Set(columnsOf(shape, width).map((c) => c.property ?? c.name));
    const { mode } = specOf(shape);
    const probes = new Map<string, number>();
    this.scheduler.watcher = {
      probed: async (actor) => {
        if (mode !== 'append') return;
        const [row] = await this.rows(
          `select epoch_ms(max(loaded)) as newest from src where epoch_ms(loaded) <= ${this.scheduler.now}`,
        );
        probes.set(actor.name, Number(row?.['newest'] ?? Number.NEGATIVE_INFINITY));
      },
      captured: async (actor, run) => {
        this.truth.captured(run, await this.lines(), probes.get(actor.name) ?? Number.NEGATIVE_INFINITY);
        this.#captures.set(actor.name, run);
        if (this.#versions.get(actor.name) === 'first' && (await this.#mustStop())) this.#stopping.add(run);
      },
      settled: (run) => {
        if (this.#stopping.has(run)) this.server.problem ??= `run ${run} did not stop`;
        this.truth.wentThrough(run, false);
      },
      flipped: async (actor, run) => {
        const version = this.#versions.get(actor.name)!;
        const { name, deliver } = this.#syncs.get(actor.name)!;
        this.#flips.set(run, version);
        if (this.#stopping.has(run)) this.server.problem ??= `run ${run} did not stop`;
        this.truth.wentThrough(run, true);
        if (version === 'changed') this.server.problem ??= 'a changed mapping was captured';
        const [changed] = await this.rows(
          `select count(distinct row_key) as n from mixpanel.${name}__outbox_${run} where change <> 'settled'`,
        );
        if (version === 'first' && mode === 'mirror' && Number(changed?.['n']) > mostOf(shape))
          this.server.problem ??= 'a run slipped past its guard';
        const rows = await this.rows(
          `select batch, payload, change from mixpanel.${name}__outbox_${run} where batch is not null order by ordinal`,
        );
        const batches: string[][] = [];
        for (const row of rows) (batches[Number(row['batch'])] ??= []).push(String(row['payload']));
        this.server.captures({
          run,
          batches: Array.from(batches, (lines: string[] | undefined) => lines ?? []),
          gone: rows
            .filter((r) => r['change'] === 'delete')
            .map((r) => String(r['payload']))
            .filter((line) => !isEvent(line)),
          once: mode === 'mirror' || this.#fillers.has(actor.name) ? [] : batches.flat().filter(isEvent),
          header: deliver.table?.header,
        });
      },
      reached: (run, next) => this.server.reaches(run, next),
    };
  }

  static async open(engine: Engine, shape: Shape, width: Width, rng: () => number, timeout = 4_000): Promise<Story> {
    const database = await engine.open(columnsOf(shape, width).map(engine.column));
    return new Story(engine, shape, width, rng, database, timeout);
  }

  close(): Promise<void> {
    return this.outside.close();
  }

  /** What the next apply of this plan would do, by the same database and clock; nothing is written. */
  async preview(of: Version | Plan, backfill?: Range): Promise<Preview> {
    const plan = typeof of === 'string' ? await planOf(this.engine, this.shape, this.width, of) : of;
    const session = await this.outside.connect();
    await session.setNow(this.scheduler.now);
    const warehouse: Warehouse = {
      name: 'story',
      connect: () => Promise.resolve(session),
      close: () => Promise.resolve(),
    };
    const runner = await Runner.open(plan, warehouse);
    return previewSync(runner, plan, plan.syncs[0]!, backfill).finally(() => runner.close());
  }

  /** Processes that apply at once, until all have ended or died. @returns `ok` or the message of each that ended */
  async apply(options: Apply = {}): Promise<string[]> {
    const { processes = 1, version = 'first', mayCreate = false, leave = false } = options;
    const s = this.scheduler;
    const plan = options.plan ?? (await planOf(this.engine, this.shape, this.width, version));
    const results: string[] = [];
    this.server.takeReceived();
    this.received = undefined;
    const actors = Array.from({ length: processes }, (_, i) => s.actor(`p${s.actors.length}-${i}`));
    for (const actor of actors) {
      this.runs++;
      this.#versions.set(actor.name, version);
      this.#syncs.set(actor.name, plan.syncs[0]!);
      if (options.backfill || options.again === true) this.#fillers.add(actor.name);
      const world = s.world(actor);
      const warehouse = s.warehouse(actor, this.outside);
      // Where `apply` makes no tables, `setup --execute` does.
      const ready = async (): Promise<void> => {
        if (mayCreate && !plan.embedded)
          await ensureState({ plan, sync: plan.syncs[0]!, warehouse, mayCreate, anew: true });
      };
      const run: SyncRun = {
        plan,
        sync: plan.syncs[0]!,
        world,
        warehouse,
        mixpanel: createMixpanel(world, {
          host: 'http://m',
          projectId: '1',
          serviceAccount: { username: 'a', secret: 'b' },
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
          if (e.type === 'committed') {
            this.committed.push(e.counts);
            this.received ??= this.server.takeReceived();
          }
        },
        stop: new AbortController().signal,
        decision: options.decision,
        backfill: options.backfill,
        previewed: options.previewed,
        mayCreate,
      };
      void ready()
        .then(() =>
          options.destroys === true
            ? destroySync(run, true)
            : options.resets === true
              ? resetSync(run, false)
              : applySync(run),
        )
        .then(
          () => results.push('ok'),
          (error: unknown) => {
            const text = error instanceof RunError ? `${error.code}: ${error.message}` : String(error);
            s.log(`${actor.name} fails: ${text.split('\n')[0] ?? ''}`);
            if (stopsFor(text) && !this.#mayStop(actor.name)) this.server.problem ??= `stopped without cause: ${text}`;
            results.push(text);
          },
        )
        .finally(() => this.#finished.add(actor.name));
    }
    await s.until(() => actors.every((a) => a.dead || this.#finished.has(a.name) || (leave && a.pausedUntil > s.now)));
    if (leave) return results;
    for (const a of s.actors) {
      if (!a.dead && !this.#finished.has(a.name)) await s.kill(a);
      a.dead = true;
    }
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

  /** True where the first plan must not go on: a row that Mixpanel shows is gone, or no row is left. */
  async #mustStop(): Promise<boolean> {
    const { onDelete, onEmpty, history } = specOf(this.shape);
    if (!onDelete && !onEmpty) return false;
    const [is] = await this.rows(
      `select count(*) > 0 as shows, not exists (select 1 from src) as empty,
         count(case when row_key not in (select cast(id as varchar) from src) then 1 end) > 0 as gone
       from mixpanel.s__ledger`,
    );
    // The ledger of a history is not one row for each of the table.
    const isGone = onDelete === 'fail' && is?.['gone'] === true && !history;
    return isGone || (onEmpty === 'fail' && is?.['shows'] === true && is['empty'] === true);
  }

  #mayStop(actor: string): boolean {
    const { onDelete, history } = specOf(this.shape);
    return (history && onDelete === 'fail') || this.#stopping.has(this.#captures.get(actor) ?? -1);
  }

  /** What is wrong at rest, if anything is. */
  async problem(): Promise<string | undefined> {
    const { server } = this;
    if (server.problem !== undefined) return server.problem;
    if (server.records > server.captured + server.resent)
      return `${server.records} records were sent, ${server.captured} captured and ${server.resent} sent again`;
    const wrong = this.committed.find((run) => !addsUp(run));
    if (wrong) return `the record of a run does not add up: ${JSON.stringify(wrong)}`;
    const { kind, mode, onDelete } = specOf(this.shape);
    const isProfile = kind === 'user_profiles' || kind === 'group_profiles';
    const lines = await this.lines();
    const now = new Set(lines.map((l) => String(l.id)));
    const isLoose = ({ id }: { readonly id: string }): boolean => server.refused.has(id) && this.truth.isLoose(id, now);
    // A profile without properties is none, unless rows that are gone take their profiles with them.
    const visible = ({ image }: { readonly image: string }): boolean =>
      !isProfile || onDelete === 'delete' || !image.endsWith(',[]]');
    const texts = (list: readonly { readonly id: string; readonly image: string }[]): string[] =>
      list
        .filter((x) => !isLoose(x) && visible(x))
        .map((x) => x.image)
        .sort();
    const all = server.shown();
    const [should, shown] = [texts(this.truth.wanted(lines)), texts(all)];
    if (JSON.stringify(should) !== JSON.stringify(shown))
      return `Mixpanel differs from the table\nlost:  ${minus(should, shown).join('\n       ')}\nextra: ${minus(shown, should).join('\n       ')}`;
    const loose = all.filter(isLoose);
    const strange = loose.find(({ id, image }) => !isMadeOf(image, this.truth.history.get(id), isProfile));
    if (strange) return `Mixpanel shows what no run read: ${strange.image}`;
    if (mode !== 'mirror' || [...server.refused].some((id) => isLoose({ id }))) return undefined;
    const profiles = this.truth.wanted(lines).filter((w) => w.isProfile);
    const ids = [...profiles.map((w) => w.id), ...server.insertIds()].sort();
    const column = isProfile ? "case when insert_id = 'set' then profile_id else insert_id end" : 'insert_id';
    const ledger = (await this.rows(`select ${column} as id from mixpanel.s__ledger`))
      .map((r) => String(r['id']))
      .sort();
    return JSON.stringify(ledger) === JSON.stringify(ids)
      ? undefined
      : `the ledger differs from Mixpanel\nmissing: ${minus(ids, ledger).join(' ')}\nextra: ${minus(ledger, ids).join(' ')}`;
  }

  /** Outboxes that are there, whether a state names them or not. */
  async outboxes(): Promise<string[]> {
    const sql = "select table_name as t from information_schema.tables where table_name like '%outbox%' order by 1";
    return (await this.rows(sql)).map((r) => String(r['t']));
  }

  lines(): Promise<Line[]> {
    return linesOf(this.engine, this.outside, this.shape, this.scheduler.now, this.columns);
  }

  rows(sql: string): Promise<Record<string, unknown>[]> {
    return this.outside.rows(sql);
  }
}

/** True where a run was stopped for what is missing in its source. */
export const stopsFor = (result: string): boolean =>
  result.startsWith('check-failed: Rows vanished') || result.startsWith('guard: The guard on_empty_source');

const isEvent = (payload: string): boolean => payload.startsWith('{"event":');

const minus = (a: readonly string[], b: readonly string[]): string[] => {
  const rest = [...b];
  return a.filter((x) => {
    const at = rest.indexOf(x);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
};

/** Refusals may leave a profile with properties of several rows, but of no other. */
function isMadeOf(image: string, history: ReadonlySet<string> = new Set(), isProfile: boolean): boolean {
  if (!isProfile) return history.has(image);
  const properties = (text: string): string[] =>
    (JSON.parse(text) as [string, unknown[]])[1].map((p) => JSON.stringify(p));
  const known = new Set([...history].flatMap(properties));
  return properties(image).every((p) => known.has(p));
}

/** What was captured of a change is invalid or attempted, and what was attempted accepted or refused; what is adopted is never attempted. */
function addsUp(run: RunCounts): boolean {
  const all = (part: 'captured' | 'attempted' | 'accepted'): readonly number[] => [
    run[`${part}_inserts`],
    run[`${part}_updates`],
    run[`${part}_deletes`],
  ];
  const [captured, attempted, accepted] = [all('captured'), all('attempted'), all('accepted')];
  const total = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0);
  const within = (small: readonly number[], large: readonly number[]): boolean =>
    small.every((n, i) => n <= (large[i] ?? 0));
  const adopted = total(captured) - total(attempted) - run.invalid;
  return (
    within(accepted, attempted) &&
    within(attempted, captured) &&
    total(attempted) - total(accepted) === run.refused &&
    (adopted === 0 || (total(attempted) === 0 && adopted > 0))
  );
}
