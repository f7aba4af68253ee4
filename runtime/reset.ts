import type { SyncRun } from './sync.ts';
import { ensureState } from './setup.ts';
import { begin, interruptedRun } from './sync.ts';

/**
 * Forgets what Mixpanel shows of a sync, in one step, so that its next run sends the whole table.
 * @param newEpoch its events get new ids
 * @throws RunError while a run of it is interrupted
 */
export async function resetSync(run: SyncRun, newEpoch: boolean): Promise<void> {
  await ensureState(run);
  const held = await begin(run, () => 0);
  try {
    if (held.state.phase === 'sending') throw interruptedRun(run.sync.name, held.state);
    const values = { ...held.values, new_epoch: newEpoch ? 1 : 0 };
    await held.lease.write(() => held.runner.steps(run.sync.reset, values));
  } finally {
    await held.release();
  }
}
