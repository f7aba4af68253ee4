import type { SyncPlan } from '../schemas/types.ts';
import { RunError } from './errors.ts';
import type { Runner } from './run.ts';
import type { Baseline } from './state.ts';
import type { Values } from './values.ts';

/** A baseline of that age is warned of: a third of its life is left. */
const OLD_DAYS = 14;

/**
 * Reads what the warehouse says of the table and of the snapshot of the last run.
 * @throws RunError where that snapshot is gone, or where this plan compares otherwise
 */
export async function probeSnapshot(
  runner: Runner,
  sync: SyncPlan,
  baseline: Baseline | null,
  values: Values,
): Promise<Values> {
  if (sync.snapshot === null) {
    if (sync.mode === 'mirror' && baseline?.snapshot !== undefined)
      throw new RunError(
        'check-failed',
        `${sync.name} was compared by snapshots until now, and what Mixpanel shows is written in none of its ledger. Set \`strategy: snapshot\` again; or \`syncline reset ${sync.name}\`, after which the next apply sends the whole table.`,
        { retryable: false },
      );
    return values;
  }
  const probed = { ...values, ...(await runner.statement(sync.snapshot.probe, values)) };
  if (baseline?.snapshot !== undefined && probed['snapshot_there'] !== 1) throw await expired(runner, sync, probed);
  return probed;
}

async function expired(runner: Runner, sync: SyncPlan, values: Values): Promise<RunError> {
  const { shown, explain } = sync.preview;
  const rows = shown === null ? 0 : Number((await runner.rows(shown))[0]?.['shown'] ?? 0);
  const bytes = explain === '' ? undefined : await runner.estimate(explain, values);
  const price = `${rows.toLocaleString('en-US')} rows${bytes === undefined ? '' : `, of which ${bytes.toLocaleString('en-US')} bytes are read`}`;
  return new RunError(
    'check-failed',
    `The snapshot that ${sync.name} compares with is gone: the warehouse keeps it for ${sync.snapshot?.days ?? 0} days, so what changed since the last apply cannot be told. \`syncline reset ${sync.name}\` lets the next apply send the whole table (${price}); rows that were deleted meanwhile stay in Mixpanel. Apply at least every ${OLD_DAYS} days, so that this does not happen again.`,
    { retryable: false },
  );
}
