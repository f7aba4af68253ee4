import type { SyncPlan } from '../schemas/types.ts';
import { RunError } from './errors.ts';
import { isSameMapping } from './mapping.ts';
import type { Runner } from './run.ts';
import type { Baseline } from './state.ts';
import { SNAPSHOT } from './state.ts';
import type { Values } from './values.ts';

const DAY = 86_400_000;
/** What is not compared for so long is warned of, and always due: a third of a snapshot's life is left then. */
const OLD_DAYS = 14;
/**
 * What was streamed in is in snapshots an hour and a half later at the latest (documentation: Streaming data into
 * BigQuery), and nothing says that the table's time moves then: so a snapshot has all rows of a table that was left
 * alone for as long before.
 */
const SETTLED_MS = 2 * 3_600_000;

/** Until when the snapshot that a sync compares with is to be replaced or kept for longer; undefined where it has none. */
export function replaceUntilMs(sync: SyncPlan, baseline: Baseline | null): number | undefined {
  const until = baseline?.snapshot?.untilMs;
  return until === undefined || sync.snapshot === null ? undefined : until - (sync.snapshot.days - OLD_DAYS) * DAY;
}

/** When the warehouse drops the snapshot of a sync, as ISO text, once that is near; else null. */
export function nearEnd(sync: SyncPlan, baseline: Baseline | null, nowMs: number): string | null {
  const from = replaceUntilMs(sync, baseline);
  return from === undefined || from > nowMs ? null : new Date(baseline?.snapshot?.untilMs ?? 0).toISOString();
}

/** Whether nothing can differ: the table is as it was when its snapshot was made, and no reject is worth another try. */
export function isQuiet(sync: SyncPlan, baseline: Baseline | null, values: Values): boolean {
  const snapshot = baseline?.snapshot;
  if (sync.snapshot === null || !snapshot || !isSameMapping(sync, baseline)) return false;
  const { modifiedMs, readMs, rows } = snapshot;
  const isLeftAlone = modifiedMs !== null && readMs - modifiedMs >= SETTLED_MS;
  const isAsItWas = modifiedMs === values['source_modified'] && rows === values['source_rows'];
  return isLeftAlone && isAsItWas && values['retry'] === 0 && values['resend'] === 0;
}

/** The baseline of a run that found its table as it was: its snapshot is kept for as long again. */
export function prolonged(sync: SyncPlan, baseline: Baseline, values: Values): Baseline {
  const { snapshot } = baseline;
  if (!snapshot || sync.snapshot === null) return baseline;
  return { ...baseline, snapshot: { ...snapshot, untilMs: Number(values['probed_ms']) + sync.snapshot.days * DAY } };
}

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
  const probed = {
    ...values,
    ...(await runner.statement(sync.snapshot.probe, values)),
    ...(await modified(runner, sync.snapshot.modified, values)),
  };
  if (baseline?.snapshot !== undefined && probed['snapshot_there'] !== 1) throw await expired(runner, sync, probed);
  return probed;
}

/**
 * Work after the probe: where something is not found by then, it may be the snapshot, whose time ended in between.
 * @throws RunError which says so, or what the work threw
 */
export async function unlessGone<T>(
  runner: Runner,
  sync: SyncPlan,
  baseline: Baseline | null,
  values: Values,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof RunError && error.code === 'not-found') await probeSnapshot(runner, sync, baseline, values);
    throw error;
  }
}

/** Who may not read when the table was written has it compared in each run. */
async function modified(runner: Runner, file: string, values: Values): Promise<Values> {
  return runner.statement(file, values).catch((error: unknown) => {
    if (!(error instanceof RunError) || error.retryable || error.code !== 'warehouse-error') throw error;
    return { source_modified: null, source_rows: null };
  });
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

/** The snapshots that a run of that number may have left; those of a former name of the sync are known by the baseline. */
export function snapshotsOf(sync: SyncPlan, baseline: Baseline | null, run: number): readonly string[] {
  const known = [baseline?.snapshot?.name, baseline?.replaces].filter((n) => n?.endsWith(`${SNAPSHOT}${run}`) === true);
  return [...new Set([`${sync.name}${SNAPSHOT}${run}`, ...(known as string[])])];
}

/** Drops what a run of that number may have left, but for the snapshot that is kept. */
export async function dropRun(
  runner: Runner,
  sync: SyncPlan,
  baseline: Baseline | null,
  run: number,
  values: Values,
  onStatement?: (file: string) => void,
): Promise<void> {
  await runner.steps(sync.cleanup, { ...values, run }, onStatement);
  if (sync.snapshot === null) return;
  for (const name of snapshotsOf(sync, baseline, run))
    if (name !== values['kept']) await runner.statement(sync.snapshot.drop, { ...values, run, snapshot_name: name });
}
