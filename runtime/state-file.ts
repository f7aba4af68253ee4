import type { DirectPlan } from '../schemas/types.ts';
import { RunError } from './errors.ts';
import { refuseAnother } from './mapping.ts';
import type { Baseline } from './state.ts';
import type { World } from './world.ts';

/** What a sync without write access remembers, in a file instead of a table. */
export interface FileState {
  readonly layout: 1;
  readonly project: string;
  readonly target: string;
  readonly mixpanel: string;
  readonly run: number;
  /** When its last finished run ended, wall milliseconds; files of an older syncline do not say. */
  readonly finishedMs?: number;
  readonly baseline: Baseline | null;
  /** The bounds of a run that may have sent: the next apply sends within them again. */
  readonly pending: Baseline | null;
  /** Nobody sends before: wall milliseconds. */
  readonly quietUntil: number;
  /** Records that Mixpanel refused, as they were sent. */
  readonly rejects: readonly FileReject[];
}

export interface FileReject {
  readonly also: number;
  /** 1 for the second update of a row; files of an older syncline do not say. */
  readonly companion?: number;
  readonly row_key: string;
  readonly change: string;
  readonly reason: string;
  /** Null for a row that was never sent, because it is invalid. */
  readonly payload: string | null;
}

/** One process at a time: the lock file names it. */
interface Lock {
  readonly pid: number;
  readonly host: string;
}

/** Reads a sync's state file; a file that is not there is a sync that never ran. */
export async function readStateFile(
  world: World,
  file: string,
  expected: Pick<FileState, 'project' | 'target'> & {
    readonly mixpanel: string | null;
    readonly sync?: DirectPlan;
  },
): Promise<FileState | undefined> {
  const text = await world.readFile(file);
  if (text === undefined) return undefined;
  let state: Omit<FileState, 'layout'> & { readonly layout: number };
  try {
    state = JSON.parse(text) as FileState;
  } catch {
    throw refuse('state-missing', `The state file ${file} is not readable. Restore it from a backup.`);
  }
  if (state.layout !== 1)
    throw refuse('state-newer', `The state file ${file} was written by a newer syncline. Upgrade syncline.`);
  const { sync } = expected;
  if (sync) refuseAnother(sync.name, sync, state.pending ?? state.baseline, `removing ${file} ends the former`);
  for (const key of ['project', 'target', 'mixpanel'] as const) {
    const wanted = expected[key];
    if (wanted === null || state[key] === '' || state[key] === wanted) continue;
    throw refuse('state-foreign', `The state file ${file} belongs to ${key} ${state[key]}, this is ${wanted}.`);
  }
  return state as FileState;
}

const refuse = (code: 'state-missing' | 'state-newer' | 'state-foreign' | 'lease-held', message: string): RunError =>
  new RunError(code, message, { retryable: code === 'lease-held' });

/**
 * Takes the lock of a state file. A lock of a process of this machine that runs no more is taken over.
 * @returns what gives it back
 * @throws RunError `lease-held`
 */
export async function lockStateFile(world: World, file: string, me: Lock): Promise<() => Promise<void>> {
  const lock = `${file}.lock`;
  for (let tries = 0; tries < 2; tries++) {
    if (await world.createFile(lock, JSON.stringify(me))) return () => world.removeFile(lock);
    const holder = parseLock(await world.readFile(lock));
    const isDead = holder !== undefined && holder.host === me.host && !world.isRunning(holder.pid);
    if (!isDead)
      throw refuse(
        'lease-held',
        holder
          ? `${file} is in use by process ${holder.pid} on ${holder.host}. Wait for it; if it is dead, remove ${lock}.`
          : `${file} is in use. Wait; if no syncline runs, remove ${lock}.`,
      );
    await world.removeFile(lock);
  }
  throw refuse('lease-held', `${file} is in use by another process that just started. Try again.`);
}

function parseLock(text: string | undefined): Lock | undefined {
  try {
    const value = JSON.parse(text ?? '') as Partial<Lock>;
    return typeof value.pid === 'number' && typeof value.host === 'string' ? (value as Lock) : undefined;
  } catch {
    return undefined;
  }
}
