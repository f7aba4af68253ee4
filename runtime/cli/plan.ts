import type { DirectPlan, SyncPlan } from '../../schemas/types.ts';
import { directValues } from '../direct.ts';
import { readStateFile } from '../state-file.ts';
import { realWorld } from '../world.ts';
import { RunError } from '../errors.ts';
import { Runner } from '../run.ts';
import type { Baseline } from '../state.ts';
import { toState, valuesOf, verifyState } from '../state.ts';
import { refuseForeignStaging } from '../sync.ts';
import type { Route } from '../mapping.ts';
import { compareMapping, forwardRoute, routeOf } from '../mapping.ts';
import type { Values } from '../values.ts';
import type { Row } from '../warehouses/warehouse.ts';
import { differsFromReviewed } from './compile.ts';
import type { CommonOptions, Loaded } from './context.ts';
import { err, load, openWarehouse, out, stateFile, warnOfDisabled, warnOfOrphans } from './context.ts';
import { printError } from './log.ts';
import { count } from './report.ts';

interface Preview {
  readonly sync: string;
  readonly route: 'initial' | 'changes' | 'sending';
  readonly kind: SyncPlan['kind'];
  readonly inserts: number;
  readonly updates: number;
  readonly deletes: number;
  readonly invalid: Readonly<Record<string, number>>;
  /** Event records that Mixpanel will count. */
  readonly billable: number;
  /** Columns of the source that the lock does not have: not sent. */
  readonly newColumns: readonly string[];
  /** Statements that templates of the project took part in. */
  readonly overridden: readonly string[];
}

/** Shows what apply would do, or why it would refuse: counts from the same SQL, and nothing written. */
export async function planCommand(
  options: CommonOptions & { readonly output?: string; readonly detailedExitcode?: boolean },
): Promise<number> {
  const loaded = await load(options);
  warnOfDisabled(loaded);
  const warehouse = await openWarehouse(loaded.dir, loaded.project, { ...options, readOnly: true });
  const previews: Preview[] = [];
  let refused = 0;
  try {
    const runner = await Runner.open(loaded.plan, warehouse);
    await warnOfOrphans(runner, loaded);
    const differing = await differsFromReviewed(loaded);
    if (differing !== undefined) err(`warning: apply will refuse: ${differing}`);
    for (const sync of [...loaded.syncs, ...loaded.direct])
      try {
        previews.push(await ('state' in sync ? preview(runner, loaded, sync) : previewDirect(runner, loaded, sync)));
      } catch (error) {
        if (!(error instanceof RunError)) throw error;
        refused++;
        printError({ code: error.code, sync: sync.name, message: error.message, hint: error.hint });
      }
    await runner.close();
  } finally {
    await warehouse.close();
  }
  if (options.output === 'json') out(JSON.stringify({ planHash: loaded.plan.hash, syncs: previews }, null, 2));
  else
    for (const p of previews)
      out(
        text(
          p,
          loaded.syncs.find((s) => s.name === p.sync),
        ),
      );
  if (refused > 0) return 1;
  const changes = previews.some((p) => p.inserts + p.updates + p.deletes > 0 || p.route === 'sending');
  return options.detailedExitcode && changes ? 3 : 0;
}

/** The same for a sync without write access: its state is a file. */
async function previewDirect(runner: Runner, { plan, dir }: Loaded, sync: DirectPlan): Promise<Preview> {
  const state = await readStateFile(realWorld, stateFile(dir, plan.target, sync.name), {
    project: plan.project,
    target: plan.target,
    mixpanel: null,
  });
  const values = await runner.steps(sync.probe, directValues(sync, state));
  const isDone = values['done'] === 1 && !state?.pending;
  const counts = tally(sync, isDone ? [] : await runner.rows(sync.preview, values));
  const route = state?.pending ? 'sending' : state?.baseline ? 'changes' : 'initial';
  return { sync: sync.name, route, ...counts, newColumns: await newColumns(runner, sync) };
}

/** How apply would take the mapping; where nobody decided yet, both prices are printed before the refusal. */
async function decided(runner: Runner, sync: SyncPlan, baseline: Baseline | null, values: Values): Promise<Route> {
  const verdict = compareMapping(sync, baseline);
  if (verdict.kind !== 'changed') {
    for (const hash of Object.keys(sync.decisions))
      err(`${sync.name}: decision ${hash} is for no change that is there now; it can be removed.`);
    return routeOf(sync, baseline);
  }
  const { change } = verdict;
  if (sync.decisions[change.hash] !== undefined) return routeOf(sync, baseline);
  const probed = await runner.steps(sync.probe, values);
  const price = async (file: string, more: Values): Promise<string> => {
    const t = tally(sync, await runner.rows(file, { ...probed, ...more }));
    return `${count(t.inserts, 'insert')}, ${count(t.updates, 'update')}, ${count(t.deletes, 'delete')}; ${count(t.billable, 'billable event')}`;
  };
  out(`${sync.name}: the mapping changed (${change.what})`);
  out(
    `  decisions: { ${change.hash}: resend }   # ${await price(sync.preview.changes, { resend: change.touchesAll ? 1 : 0 })}`,
  );
  const old = change.unforwardable === undefined ? forwardRoute(baseline) : undefined;
  if (old && sync.preview.forward !== null)
    out(`  decisions: { ${change.hash}: forward }  # ${await price(sync.preview.forward, old.values)}`);
  return routeOf(sync, baseline);
}

async function newColumns(runner: Runner, sync: SyncPlan | DirectPlan): Promise<readonly string[]> {
  const known = new Set([...sync.columns.map((c) => c.name), ...sync.excluded]);
  return (await runner.rows(sync.discover)).map((c) => String(c['name'])).filter((name) => !known.has(name));
}

async function preview(runner: Runner, { plan }: Loaded, sync: SyncPlan): Promise<Preview> {
  const [found] = await runner.rows(sync.state.exists);
  if (Number(found?.['runs_exists'] ?? 0) === 1) await refuseForeignStaging(runner, plan, sync);
  let values: Values = valuesOf(sync, undefined);
  let file = sync.preview.initial;
  let route: Preview['route'] = 'initial';
  if (Number(found?.['state_exists'] ?? 0) === 1) {
    const [row] = await runner.rows(sync.state.read);
    if (!row)
      throw new RunError(
        'state-missing',
        `${sync.name} has no row in its state table in ${plan.staging}. Restore it.`,
        { retryable: false },
      );
    const state = toState(row);
    verifyState(sync.name, state, { project: plan.project, target: plan.target, mixpanel: state.mixpanel });
    if (state.phase === 'sending') route = 'sending';
    else if (state.baseline !== null) route = 'changes';
    const baseline = state.baseline === null ? null : (JSON.parse(state.baseline) as Baseline);
    values = valuesOf(sync, state);
    file = sync.preview.changes;
    if (route === 'changes') {
      const way = await decided(runner, sync, baseline, values);
      values = { ...values, ...way.values };
      if (way.forward && sync.preview.forward !== null) file = sync.preview.forward;
    }
  }
  values = await runner.steps(sync.probe, values);
  const counts = tally(sync, await runner.rows(file, values));
  return { sync: sync.name, route, ...counts, newColumns: await newColumns(runner, sync) };
}

function tally(sync: SyncPlan | DirectPlan, rows: readonly Row[]): Omit<Preview, 'sync' | 'route' | 'newColumns'> {
  const billable = rows.filter((r) => r['reason'] === null).reduce((n, r) => n + Number(r['billable']), 0);
  // The two updates of a profile are one change of its row.
  const what = sync.kind === 'events' ? 'records' : 'row_count';
  const sum = (change: string): number =>
    rows.filter((r) => r['change'] === change && r['reason'] === null).reduce((n, r) => n + Number(r[what]), 0);
  const invalid: Record<string, number> = {};
  for (const r of rows) {
    if (r['reason'] === null || r['reason'] === undefined) continue;
    const reason = String(r['reason']);
    invalid[reason] = (invalid[reason] ?? 0) + Number(r[what]);
  }
  const [inserts, updates, deletes] = [sum('insert'), sum('update'), sum('delete')];
  return {
    kind: sync.kind,
    inserts,
    updates,
    deletes,
    invalid,
    billable,
    overridden: sync.overridden,
  };
}

/** What an append cannot see: it reads rows by their insert time. */
function missed({ mode, lateWindowMs }: SyncPlan): string[] {
  if (mode !== 'append') return [];
  if (lateWindowMs === null) return ['  missed: rows that arrive later with an older or equal insert time'];
  const [unit, ms] = UNITS.find(([, size]) => lateWindowMs % size === 0) ?? ['ms', 1];
  return [
    `  missed: rows that arrive with an insert time ${lateWindowMs / ms}${unit} or more older than the newest one sent`,
  ];
}

const UNITS: readonly (readonly [string, number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
];

function text(p: Preview, sync: SyncPlan | undefined): string {
  const route = { initial: 'initial load', changes: 'changes', sending: 'finishes an interrupted run first, then' }[
    p.route
  ];
  const lines = [
    `${p.sync} (${route}): ${count(p.inserts, 'insert')}, ${count(p.updates, 'update')}, ${count(p.deletes, 'delete')}${p.billable > 0 || p.kind === 'events' ? `; ${count(p.billable, 'billable event')}` : ''}`,
  ];
  for (const [reason, n] of Object.entries(p.invalid)) lines.push(`  ${count(n, 'invalid row')}: ${reason}`);
  if (sync) lines.push(...missed(sync));
  if (p.newColumns.length > 0)
    lines.push(`  new in the source and not sent until \`syncline lock\`: ${p.newColumns.join(', ')}`);
  if (p.overridden.length > 0) lines.push(`  made by templates of this project: ${p.overridden.join(', ')}`);
  if (p.kind === 'events' && p.updates + p.deletes > 0)
    lines.push(
      '  Mixpanel has no per-event delete and does not guarantee that the newest copy wins: updates and tombstones (syncline_deleted) are best effort; only its own connector truly deletes events.',
    );
  return lines.join('\n');
}
