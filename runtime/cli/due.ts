import type { DirectPlan, SyncPlan } from '../../schemas/types.ts';
import type { Due } from '../due.ts';
import { dueOf } from '../due.ts';
import { RunError } from '../errors.ts';
import { Runner } from '../run.ts';
import type { FileState } from '../state-file.ts';
import { readStateFile } from '../state-file.ts';
import { replaceUntilMs } from '../snapshot.ts';
import type { Baseline, State } from '../state.ts';
import { isNewer, toState } from '../state.ts';
import type { Row, Warehouse } from '../warehouses/warehouse.ts';
import { realWorld } from '../world.ts';
import type { Loaded } from './context.ts';
import { err, stateFile } from './context.ts';

/** When a sync with staging tables is due, by its state and the runs on record. */
export function dueOfStaged(sync: SyncPlan, state: State | null, runs: readonly Row[]): Due {
  const finished = runs.filter((r) => r['sync'] === sync.name).map((r) => Number(r['finished_ms']));
  const last = {
    isKnown: state !== null && state.baseline !== null,
    isPending: state?.phase === 'sending',
    finishedMs: finished.length === 0 ? undefined : Math.max(...finished),
    replaceUntilMs: replaceUntilMs(sync, state?.baseline == null ? null : (JSON.parse(state.baseline) as Baseline)),
  };
  return dueOf(sync.frequency, last, realWorld.now());
}

/** The same for a sync whose state is a file. */
export function dueOfDirect(sync: DirectPlan, state: FileState | undefined): Due {
  const last = {
    isKnown: state !== undefined && state.baseline !== null,
    isPending: state !== undefined && state.pending !== null,
    finishedMs: state?.finishedMs,
  };
  return dueOf(sync.frequency, last, realWorld.now());
}

/** The selected syncs that are due; says of the others when they are. */
export async function dueSyncs(
  { plan, dir, syncs, direct }: Loaded,
  warehouse: Warehouse,
  options: { readonly asked: readonly string[]; readonly quiet: boolean },
): Promise<readonly (SyncPlan | DirectPlan)[]> {
  const chosen: (SyncPlan | DirectPlan)[] = [];
  const take = (sync: SyncPlan | DirectPlan, due: Due): void => {
    if (due.isDue || options.asked.includes(sync.name)) chosen.push(sync);
    else if (!options.quiet) err(`${sync.name}: not due ${whenDue(due)} (frequency: ${String(sync.frequency)})`);
  };
  const runner = await Runner.open(plan, warehouse);
  try {
    let runs: readonly Row[] | undefined;
    for (const sync of syncs) {
      const [found] = await runner.rowsIfThere(sync.state.exists);
      const has = (name: string): boolean => Number(found?.[name] ?? 0) === 1;
      const [row] = has('state_exists') ? await runner.rows(sync.state.read) : [];
      if (has('runs_exists')) runs ??= await runner.rows(plan.runs);
      const state = row ? toState(row) : null;
      // What this version cannot read is for the run to refuse.
      take(sync, state && isNewer(state) ? { isDue: true } : dueOfStaged(sync, state, runs ?? []));
    }
    for (const sync of direct) {
      const expected = { project: plan.project, target: plan.target, mixpanel: null };
      // A file that cannot be read is for the run to refuse.
      const due = await readStateFile(realWorld, stateFile(dir, plan.target, sync.name), expected).then(
        (state) => dueOfDirect(sync, state),
        (error: unknown): Due => {
          if (!(error instanceof RunError)) throw error;
          return { isDue: true };
        },
      );
      take(sync, due);
    }
  } finally {
    await runner.close();
  }
  if (chosen.length === 0 && !options.quiet) err('Nothing is due.');
  return chosen;
}

/** Until when a sync that is not due waits. */
export const whenDue = (due: Exclude<Due, { isDue: true }>): string =>
  due.nextMs === null ? 'by --due' : `until ${timeOf(due.nextMs)}`;

/** A time as people and machines read it. */
export const timeOf = (ms: number): string => new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z');
