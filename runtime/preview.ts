import type { DirectPlan, GuardPreview, Plan, Preview, SyncPlan, Undecided } from '../schemas/types.ts';
import { directValues, markOfFile, stoppedBy, tally as tallyDirect, unfitRows } from './direct.ts';
import { RunError } from './errors.ts';
import type { Decision } from './mapping.ts';
import { compareMapping, forwardRoute, routeOf, staleDecisions } from './mapping.ts';
import type { Runner } from './run.ts';
import { isQuiet, nearEnd, probeSnapshot } from './snapshot.ts';
import type { Baseline } from './state.ts';
import { markOf, toState, valuesOf, verifyState } from './state.ts';
import type { FileState } from './state-file.ts';
import type { Range } from './sync.ts';
import { recordOf, refuseLost, stateMissing } from './setup.ts';
import { backfillOf, pendingOf } from './sync.ts';
import type { Values } from './values.ts';
import type { Row } from './warehouses/warehouse.ts';

export type { Preview };

type Counts = Pick<
  Preview,
  'inserts' | 'updates' | 'deletes' | 'invalid' | 'billable' | 'adopted' | 'inexact' | 'leftOut' | 'records' | 'bytes'
>;

/**
 * What an apply of this sync would do now: counts from the SQL that captures, and nothing written.
 * @throws RunError where apply would refuse the sync whatever its rows say
 */
export async function previewSync(runner: Runner, plan: Plan, sync: SyncPlan, backfill?: Range): Promise<Preview> {
  const [found] = await runner.rowsIfThere(sync.state.exists);
  // Before the state: a run that ends in between makes the preview one that is refused.
  const record = Number(found?.['runs_exists'] ?? 0) === 1 ? await recordOf(runner, plan, sync) : undefined;
  const lastRun = record?.lastRun ?? null;
  if (Number(found?.['state_exists'] ?? 0) === 1) await refuseLost(runner, plan, sync, found);
  const is = await statementsOf(runner, sync, Number(found?.['state_exists'] ?? 0) === 1);
  const renamedFrom = is?.renamedFrom ?? null;
  const common = {
    ...describe(sync),
    newColumns: await newColumns(runner, sync),
    renamedFrom,
    backfill: backfill ?? null,
  };
  if (!is) {
    if (record?.recorded === true || Number(found?.['ledger_exists'] ?? 0) === 1) throw stateMissing(plan, sync);
    if (backfill) backfillOf(sync, null, backfill);
    const values = await runner.steps(sync.probe, valuesOf(plan, sync, undefined));
    const rows = await runner.rows(sync.preview.initial, values);
    const guards = guardsOf(sync, rows, 0);
    const refusals = refusalsOf(runner, sync, rows);
    const counts = (sync.adopts ? adopted : tally)(sync, rows);
    const reads = await readsOf(runner, sync, { ...values, older: 0 });
    return { ...common, ...counts, reads, route: 'initial', state: markOf(undefined, lastRun), guards, refusals };
  }
  const [row] = await runner.rows(is.read);
  if (!row)
    throw new RunError('state-missing', `${sync.name} has no row in its state table in ${plan.staging}. Restore it.`, {
      retryable: false,
    });
  const state = toState(row);
  const mark = markOf(state, lastRun);
  verifyState(renamedFrom ?? sync.name, state, {
    project: plan.project,
    target: plan.target,
    mixpanel: state.mixpanel,
    sync,
  });
  if (state.phase === 'sending') {
    const rows = await runner.rows(is.pending, { run: state.run, next_batch: state.nextBatch });
    const isAdopted = pendingOf(state).adopted === 1;
    return { ...common, ...(isAdopted ? adopted : tally)(sync, rows), route: 'sending', state: mark };
  }

  const baseline = state.baseline === null ? null : (JSON.parse(state.baseline) as Baseline);
  const unreleased = state.holder !== null;
  const columns = await runner.steps(sync.probe, valuesOf(plan, sync, state));
  const probed = renamedFrom === null ? await probeSnapshot(runner, sync, baseline, columns) : columns;
  const expires = nearEnd(sync, baseline, Number(probed['probed_ms']));
  // Under a former name nobody asks.
  const isAsked = sync.preview.older !== '' && renamedFrom === null;
  const { older = 1 } = isAsked ? await runner.statement(sync.preview.older) : {};
  const values: Values = { ...probed, older, ...(backfill ? backfillOf(sync, baseline, backfill) : {}) };
  const anew = sync.snapshot !== null && baseline?.snapshot === undefined ? sync.snapshot.anew : null;
  const from = (anew && (renamedFrom === null ? anew.preview : anew.renamed)) ?? is;
  const read = async (forward: boolean, more: Values): Promise<readonly Row[]> =>
    runner.rows((forward ? from.forward : null) ?? from.changes, { ...values, ...more });
  const verdict = compareMapping(sync, baseline);
  const stale = staleDecisions(sync, baseline);
  const route = baseline === null ? ('initial' as const) : ('changes' as const);
  const decision: Decision | null = verdict.kind === 'changed' ? (sync.decisions[verdict.change.hash] ?? null) : null;
  if (verdict.kind === 'changed' && decision === null) {
    const { hash, what, touchesAll, unforwardable } = verdict.change;
    const priced = async (choice: Decision, rows: Promise<readonly Row[]>): Promise<Undecided['choices'][number]> => {
      const { inserts, updates, deletes, billable } = tally(sync, await rows);
      return { decision: choice, inserts, updates, deletes, billable };
    };
    const choices = [await priced('resend', read(false, { resend: touchesAll ? 1 : 0 }))];
    const old = unforwardable === undefined ? forwardRoute(baseline) : undefined;
    if (old && from.forward !== null) choices.push(await priced('forward', read(true, old.values)));
    return {
      ...common,
      ...tally(sync, []),
      unreleased,
      expires,
      route,
      state: mark,
      staleDecisions: stale,
      undecided: { hash, what, choices },
    };
  }
  const way = routeOf(sync, baseline);
  const isSame = !way.forward && isQuiet(sync, baseline, { ...values, ...way.values });
  // A former name's tables have other names.
  const parts = isSame || anew !== null || renamedFrom !== null ? null : (sync.snapshot?.partitions ?? null);
  const { partitions = null } = parts ? await runner.steps(parts.changed, { ...values, ...way.values }) : values;
  const rows = isSame ? [] : await read(way.forward, { ...way.values, partitions });
  const counted = is.shown === null ? 0 : Number((await runner.rows(is.shown))[0]?.['shown'] ?? 0);
  const shown = sync.snapshot === null ? counted : shownBefore(counted, rows);
  return {
    ...common,
    ...(sync.adopts && baseline === null ? adopted : tally)(sync, rows),
    unreleased,
    expires,
    route,
    state: mark,
    decision,
    staleDecisions: stale,
    reads: await readsOf(runner, sync, { ...values, partitions }),
    guards: guardsOf(sync, rows, shown),
    refusals: refusalsOf(runner, sync, rows),
  };
}

/** What has all of a table read, where less of it is: other partitions than those that changed, or those outside the window of an append. */
function widerThan(values: Values, everything: string | undefined, isWindow: boolean): Values | undefined {
  if (everything !== undefined && values['partitions'] !== everything) return { partitions: everything };
  const isInWindow = isWindow && values['watermark_from'] != null && values['older'] !== 1;
  return isInWindow ? { older: 1 } : undefined;
}

/** What the planner expects, as the first line of its plan ends (documentation of PostgreSQL and Redshift: EXPLAIN). */
async function readsOf(runner: Runner, { preview, snapshot }: SyncPlan, values: Values): Promise<Preview['reads']> {
  if (preview.explain === '') return null;
  const estimated = await runner.estimate(preview.explain, values);
  if (estimated !== undefined) {
    const wider = widerThan(values, snapshot?.partitions?.everything, preview.older !== '');
    const whole = wider && (await runner.estimate(preview.explain, { ...values, ...wider }));
    return { rows: null, bytes: estimated, whole: whole ?? null };
  }
  const [first] = await runner.rows(preview.explain, values);
  const [, rows, width] = /rows=(\d+) width=(\d+)\)$/.exec(String(Object.values(first ?? {})[0])) ?? [];
  return rows === undefined ? null : { rows: Number(rows), bytes: Number(rows) * Number(width), whole: null };
}

/** Where a sync's state is: under its own name, under its former one, or nowhere yet. */
async function statementsOf(runner: Runner, sync: SyncPlan, isThere: boolean) {
  if (isThere) return { read: sync.state.read, ...sync.preview, renamedFrom: null };
  const { rename } = sync;
  if (!rename) return undefined;
  const [former] = await runner.rowsIfThere(rename.exists);
  return Number(former?.['state_exists'] ?? 0) === 1
    ? { read: rename.read, ...rename.preview, renamedFrom: rename.from }
    : undefined;
}

/** The same for a sync without write access, whose state is a file. */
export async function previewDirect(
  runner: Runner,
  plan: Plan,
  sync: DirectPlan,
  state: FileState | undefined,
): Promise<Preview> {
  const values = await runner.steps(sync.probe, directValues(plan, sync, state));
  const resumed = Boolean(state?.pending);
  const rows = values['done'] === 1 && !resumed ? [] : await runner.rows(sync.preview, values);
  const stopped = rows.length === 0 ? [] : stoppedBy(sync, { ...tallyDirect(rows), resumed });
  return {
    ...describe(sync),
    ...tally(sync, rows),
    refusals: [
      ...unfitRows(sync, rows).map(({ message }) => ({ code: 'check-failed' as const, message })),
      ...stopped.map(({ message }) => ({ code: 'guard' as const, message })),
    ],
    route: resumed ? 'sending' : state?.baseline ? 'changes' : 'initial',
    state: markOfFile(state),
    newColumns: await newColumns(runner, sync),
  };
}

function describe(sync: SyncPlan | DirectPlan) {
  const { name, kind, mode, strategy, why } = sync;
  return {
    ...{ sync: name, kind, mode, strategy, why },
    renamedFrom: null,
    backfill: null,
    unreleased: false,
    expires: null,
    decision: null,
    reads: null,
    guards: [],
    refusals: [],
    undecided: null,
    staleDecisions: [],
  };
}

async function newColumns(runner: Runner, sync: SyncPlan | DirectPlan): Promise<string[]> {
  const known = new Set([...sync.columns.map((c) => c.name), ...sync.excluded]);
  return (await runner.rows(sync.discover)).map((c) => String(c['name'])).filter((name) => !known.has(name));
}

function tally(sync: SyncPlan | DirectPlan, found: readonly Row[]): Counts {
  const rows = found.filter((r) => r['row_change'] !== null);
  const valid = rows.filter((r) => r['reason'] === null);
  // The two updates of a profile are one change of its row.
  const what = sync.kind === 'events' ? 'records' : 'row_count';
  const total = (some: readonly Row[], column: string): number => some.reduce((n, r) => n + Number(r[column] ?? 0), 0);
  const changed = (change: string): number =>
    total(
      valid.filter((r) => r['change'] === change),
      what,
    );
  const invalid: Record<string, number> = {};
  for (const r of rows)
    // Rows without a key are none that can be counted: a check refuses them, and says so.
    if (r['reason'] != null && Number(r[what]) > 0) {
      const reason = String(r['reason']);
      invalid[reason] = (invalid[reason] ?? 0) + Number(r[what]);
    }
  return {
    inserts: changed('insert'),
    updates: changed('update'),
    deletes: changed('delete'),
    invalid,
    billable: total(valid, 'billable'),
    adopted: 0,
    inexact: total(valid, 'inexact'),
    leftOut: total(valid, 'left_out'),
    records: total(valid, 'records'),
    bytes: total(valid, 'bytes'),
  };
}

/** Rows that are taken for what Mixpanel shows: nothing is sent. */
function adopted(sync: SyncPlan, rows: readonly Row[]): Counts {
  const { inserts, invalid } = tally(sync, rows);
  return { ...tally(sync, []), invalid, adopted: inserts };
}

/** What the other checks of the capture will say, in their order: the statement names the check of each violation. */
function refusalsOf(runner: Runner, sync: SyncPlan, rows: readonly Row[]): Preview['refusals'] {
  const violations = rows.filter((r) => r['row_change'] === null);
  return sync.capture.checks
    .flatMap((step) => step.run)
    .flatMap((file) => {
      const own = violations.filter((r) => file === `${sync.name}/${String(r['change'])}.sql`);
      if (own.length === 0) return [];
      const { code, message } = runner.violation(
        file,
        own.map((r) => String(r['reason'])),
      );
      return [{ code: code === 'guard' ? code : 'check-failed', message }];
    });
}

/** With snapshots the rows that Mixpanel shows are told by those that the table has, and by what changed. */
function shownBefore(count: number, rows: readonly Row[]): number {
  const rowsOf = (change: string): number =>
    rows.filter((r) => r['row_change'] === change).reduce((n, r) => n + Number(r['row_count']), 0);
  return count - rowsOf('insert') + rowsOf('delete');
}

/** What the guards of the capture will say to these counts. */
function guardsOf({ guards }: SyncPlan, rows: readonly Row[], shown: number): GuardPreview[] {
  const count = (some: (r: Row) => boolean): number =>
    rows.filter(some).reduce((n, r) => n + Number(r['row_count']), 0);
  const deletes = count((r) => r['row_change'] === 'delete');
  const others = count((r) => r['change'] === 'insert' || r['change'] === 'update');
  const found: GuardPreview[] = [];
  const add = (name: GuardPreview['name'], value: number, limit: number, stops: boolean): void => {
    found.push({ name, value, limit, stops });
  };
  if (guards.maxDeletes) {
    const limit = Math.max(guards.maxDeletes.rows, (shown * guards.maxDeletes.percent) / 100);
    add('max_deletes', deletes, limit, deletes > limit);
  }
  if (guards.maxChanges !== null) {
    const changes = deletes + others;
    add('max_changes', changes, guards.maxChanges, changes > guards.maxChanges);
  }
  if (guards.onEmptySource && deletes > 0 && others === 0 && deletes === shown)
    add('on_empty_source', deletes, 0, true);
  return found;
}
