import { RunError } from './errors.ts';
import type { SyncRun } from './sync.ts';
import type { Baseline } from './state.ts';
import { dropRun } from './snapshot.ts';
import { Runner } from './run.ts';
import { ensureState } from './setup.ts';
import { applySync, begin, interruptedRun, outboxesOf, readState } from './sync.ts';

/**
 * Drops a sync's staging tables; with `data`, first takes everything back that its ledger knows: tombstones for
 * events, `$unset` or `$delete` for profiles. Killed in between it can be run again: the tables go at the end, at once.
 */
export async function destroySync(run: SyncRun, data: boolean): Promise<void> {
  const { plan, sync } = run;
  if (data) {
    await ensureState({ plan, sync, warehouse: run.warehouse, mayCreate: false });
    if (sync.destroy.keeps !== null) await refuseKept(run, sync.destroy.keeps);
  }
  if (data) await applySync({ ...run, mayCreate: false, purge: true });
  const held = await begin(run, () => 0, !data);
  let isGone = false;
  try {
    const { state, runner, lease, values } = held;
    if (state.phase === 'sending') throw interruptedRun(sync.name, state);
    const refused = data ? (await runner.rows(sync.rejects)).filter((r) => Number(r['shown']) === 1).length : 0;
    if (refused > 0)
      throw new RunError(
        'check-failed',
        `Mixpanel did not take back everything of ${sync.name}: \`syncline rejects ${sync.name}\` lists what is left. Its tables are kept; run destroy --data again, or without --data.`,
        { retryable: true },
      );
    const baseline = state.baseline === null ? null : (JSON.parse(state.baseline) as Baseline);
    for (const n of await outboxesOf(runner, sync, state)) await dropRun(runner, sync, baseline, n, values);
    await lease.write(() => runner.steps(sync.destroy.drop, values));
    isGone = true;
  } finally {
    await (isGone ? held.end() : held.release());
  }
}

/** Says why nothing can be taken back; of what was another sync that is not for this declaration to say. */
async function refuseKept({ plan, sync, warehouse, mixpanel }: SyncRun, why: string): Promise<never> {
  const runner = await Runner.open(plan, warehouse);
  try {
    await readState(runner, plan, sync, mixpanel.name);
  } finally {
    await runner.close();
  }
  throw new RunError('check-failed', `${sync.name} cannot take back what it sent: ${why}. Destroy it without --data.`, {
    retryable: false,
  });
}
