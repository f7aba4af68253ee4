import type { Lock } from '../schemas/types.ts';
import type { Diagnostic } from './diagnostics.ts';
import { diagnostic } from './diagnostics.ts';
import { stableJson } from './plan.ts';

const EMPTY: Lock = { lockVersion: 1, targets: {} };

/** Reads the lock's text; a missing file is an empty lock. */
export function parseLock(text: string | undefined): {
  readonly lock: Lock;
  readonly diagnostics: readonly Diagnostic[];
} {
  if (text === undefined) return { lock: EMPTY, diagnostics: [] };
  const bad = (why: string) => ({
    lock: EMPTY,
    diagnostics: [diagnostic('lock-invalid', { text: why }, { file: 'syncline.lock.json', line: 1, col: 1 })],
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return bad('it is not JSON');
  }
  const lock = value as Partial<Lock> | null;
  if (lock?.lockVersion !== 1) return bad('its lockVersion is not 1');
  if (typeof lock.targets !== 'object') return bad('it has no targets');
  return { lock: lock as Lock, diagnostics: [] };
}

/** The lock's text: same lock, same bytes. */
export const writeLock = (lock: Lock): string => stableJson(lock, 2) + '\n';
