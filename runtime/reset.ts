import type { SyncPlan } from '../schemas/types.ts';
import { RunError } from './errors.ts';
import { compareMapping } from './mapping.ts';
import type { SyncRun } from './sync.ts';
import { ensureState } from './setup.ts';
import type { Baseline, State } from './state.ts';
import { begin, interruptedRun } from './sync.ts';

/**
 * Forgets what Mixpanel shows of a sync, in one step, so that its next run sends the whole table.
 * @param newEpoch its events get new ids
 * @throws RunError while a run of it is interrupted, or a changed mapping would give its events other ids
 */
export async function resetSync(run: SyncRun, newEpoch: boolean): Promise<void> {
  await ensureState(run);
  const held = await begin(run, () => 0);
  try {
    if (held.state.phase === 'sending') throw interruptedRun(run.sync.name, held.state);
    if (!newEpoch && sendsEvents(run.sync)) refuseOtherIds(run.sync, held.state);
    const values = { ...held.values, new_epoch: newEpoch ? 1 : 0 };
    await held.lease.write(() => held.runner.steps(run.sync.reset, values));
  } finally {
    await held.release();
  }
}

/** Whether what it sends has ids: its records are events, or some of them. */
export const sendsEvents = ({ deliver }: SyncPlan): boolean => deliver.endpoint === 'import' || deliver.also !== null;

/** Once forgotten, nothing would take back what was sent under the ids that another mapping gave. */
function refuseOtherIds(sync: SyncPlan, { baseline }: State): void {
  const verdict = compareMapping(sync, baseline === null ? null : (JSON.parse(baseline) as Baseline));
  if (verdict.kind !== 'changed') return;
  throw new RunError(
    'mapping-changed',
    `The mapping of ${sync.name} changed since its last run (${verdict.change.what}), so the events of before could stay beside the new ones. Decide and apply that first: \`apply --resend ${sync.name}\` sends every row, too, and takes back what has another id now. Or restore the mapping.`,
    { retryable: false },
  );
}
