import { RunError } from './errors.ts';
import type { SyncRun } from './sync.ts';
import type { Baseline } from './state.ts';
import { dropRun } from './snapshot.ts';
import { applySync, begin, ensureState, interruptedRun, outboxesOf } from './sync.ts';

/**
 * Drops a sync's staging tables; with `data`, first takes everything back that its ledger knows: tombstones for
 * events, `$unset` or `$delete` for profiles. Killed in between it can be run again: the tables go at the end, at once.
 */
export async function destroySync(run: SyncRun, data: boolean): Promise<void> {
  const { plan, sync } = run;
  await ensureState({ plan, sync, warehouse: run.warehouse, mayCreate: false });
  if (data && sync.destroy.keeps !== null)
    throw new RunError(
      'check-failed',
      `${sync.name} cannot take back what it sent: ${sync.destroy.keeps}. Destroy it without --data.`,
      {
        retryable: false,
      },
    );
  if (data) await applySync({ ...run, mayCreate: false, purge: true });
  const held = await begin(run, () => 0);
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
