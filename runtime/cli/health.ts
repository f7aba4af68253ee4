import type { Failure, RunManifest, SyncRecord } from '../../schemas/types.ts';
import { failuresOf } from '../manifest.ts';

/** What is known of a sync, whether or not something runs. */
export interface Known {
  readonly sync: string;
  /** Whether a run of it was ever committed, as its state says. */
  readonly ran: boolean;
  /** Whether a run has begun to send and is not committed. */
  readonly sending: boolean;
  /** Whether somebody holds its lease. */
  readonly held: boolean;
  /** Until when the lease of a process that may go on lasts; null where none does. */
  readonly runsUntilMs: number | null;
  /** Milliseconds of its last committed run; null when none is on record. */
  readonly finishedMs: number | null;
  readonly rejects: number;
  /** Whether its tables are there. */
  readonly isSetUp: boolean;
  /** Whether it ran, and was reset or set up anew since. */
  readonly forgotten: boolean;
  /** What says that its state is gone though it ran, and the command that helps; undefined otherwise. */
  readonly lost?: { readonly code: string; readonly message: string; readonly remedy: string } | undefined;
}

export interface Health {
  readonly status: 'ok' | 'running' | 'failed' | 'interrupted' | 'never run';
  /** ISO time since when, or of the last run; null when nobody wrote it down. */
  readonly since: string | null;
  readonly error: { readonly code: string; readonly message: string } | null;
  /** A command to paste; null when there is nothing to do. */
  readonly next: string | null;
}

/** What helps after a failure that another `apply` would only repeat. */
const REMEDIES: Readonly<Record<string, string>> = {
  guard: 'plan',
  'mapping-changed': 'plan',
  'check-failed': 'plan',
  'accounts-differ': 'plan',
  'value-invalid': 'plan',
  'state-missing': 'plan',
  'state-foreign': 'plan',
  'state-newer': 'plan',
  'columns-drifted': 'lock',
  'source-unreadable': 'doctor',
  'warehouse-unavailable': 'doctor',
  'warehouse-error': 'doctor',
  'mixpanel-unauthorized': 'doctor',
  'mixpanel-unreachable': 'doctor',
  'mixpanel-rejected': 'rejects',
};

/**
 * Judges a sync by its state and by what the latest manifest says of it.
 * @param command makes a command for the same project and target
 */
export function healthOf(
  known: Known,
  manifest: RunManifest | undefined,
  command: (verb: string, sync: string) => string,
): Health {
  const { sync, finishedMs } = known;
  const failure = failuresOf(manifest)[sync];
  const record = manifest?.syncs[sync];
  const isPast =
    (finishedMs !== null && failure && finishedMs > Date.parse(failure.at)) ||
    (known.isSetUp && failure?.code === 'state-missing');
  const failed = isPast ? undefined : failure;
  const error = failed ? { code: failed.code, message: failed.message } : null;
  const again = command('apply', sync);
  // Its own record is not made yet, and what the manifest says may be of an earlier run, or of another machine.
  if (known.runsUntilMs !== null) return { status: 'running', since: null, error: null, next: null };
  if (known.sending || isBroken(known, record))
    return { status: 'interrupted', since: brokenAt(failed, manifest, record), error, next: again };
  if (known.lost) {
    const { code, message, remedy } = known.lost;
    return { status: 'failed', since: failed?.at ?? null, error: { code, message }, next: command(remedy, sync) };
  }
  if (failed)
    return { status: 'failed', since: failed.at, error, next: command(REMEDIES[failed.code] ?? 'apply', sync) };
  const ended = record?.status === 'failed' ? null : (record?.endedAt ?? null);
  const at = finishedMs === null ? ended : new Date(finishedMs).toISOString();
  if (!known.ran && at === null) return { status: 'never run', since: null, error, next: again };
  const next = known.forgotten ? again : known.rejects > 0 ? command('rejects', sync) : null;
  return { status: 'ok', since: at, error, next };
}

/** Died before it sent anything: the lease is still there, or the manifest has no end. */
function isBroken({ held }: Known, record: SyncRecord | undefined): boolean {
  if (record?.status === 'running') return true;
  return held && record?.endedAt === undefined;
}

function brokenAt(
  failed: Failure | undefined,
  manifest: RunManifest | undefined,
  record: SyncRecord | undefined,
): string | null {
  return failed?.at ?? (record?.status === 'running' ? (manifest?.startedAt ?? null) : null);
}
