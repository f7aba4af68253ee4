import { readStateFile } from '../state-file.ts';
import { toState, verifyState } from '../state.ts';
import { realWorld } from '../world.ts';
import { spokenKey } from '../keys.ts';
import { Runner } from '../run.ts';
import type { CommonOptions } from './context.ts';
import { explained } from './reasons.ts';
import { err, load, openWarehouse, out, stateFile } from './context.ts';

/** As many records of a sync as its statement reads. */
export const REJECTS = 200;

/** Records that were not sent (invalid) or not accepted (refused), with reasons. */
export async function rejects(
  options: CommonOptions & { readonly output?: string },
  names: readonly string[] = [],
): Promise<number> {
  const loaded = await load({ ...options, select: [...(options.select ?? []), ...names] });
  const warehouse = await openWarehouse(loaded.dir, loaded.project, { ...options, readOnly: true });
  const result = [];
  const cut: string[] = [];
  try {
    const runner = await Runner.open(loaded.plan, warehouse);
    for (const sync of loaded.syncs) {
      const [found] = await runner.rows(sync.state.exists);
      if (Number(found?.['state_exists'] ?? 0) !== 1) continue;
      const [row] = await runner.rows(sync.state.read);
      const state = row && toState(row);
      const { project, target } = loaded.plan;
      if (state) verifyState(sync.name, state, { project, target, mixpanel: state.mixpanel });
      const rows = await runner.rows(sync.rejects);
      if (rows.length >= REJECTS) cut.push(sync.name);
      for (const row of rows) result.push({ sync: sync.name, ...row });
    }
    for (const { name } of loaded.direct) {
      const { project, target } = loaded.plan;
      const state = await readStateFile(realWorld, stateFile(loaded.dir, target, name), {
        project,
        target,
        mixpanel: null,
      });
      for (const { row_key, change, reason, payload } of state?.rejects ?? [])
        result.push({ sync: name, row_key, kind: payload === null ? 'invalid' : 'refused', change, reason, shown: 0 });
    }
    await runner.close();
  } finally {
    await warehouse.close();
  }
  if (options.output === 'json') out(JSON.stringify(result, null, 2));
  else if (result.length === 0 && !options.quiet) err('Nothing is rejected.');
  else for (const r of result) out(line(r));
  if (!options.quiet)
    for (const name of cut)
      err(`${name}: the first ${REJECTS} records are shown, those of the newest run first; there may be more.`);
  return 0;
}

function line(r: Readonly<Record<string, unknown>>): string {
  const [change, kind] = [String(r['change']), String(r['kind'])];
  const why = kind === 'invalid' ? explained(String(r['reason'])) : String(r['reason']);
  return `${String(r['sync'])}  ${nameOf(r)}  ${change} ${kind}: ${why}${r['shown'] === 1 ? ' (Mixpanel may still show it)' : ''}`;
}

/** What finds the row in its source: its key, and without one what its record says of when and whom. */
function nameOf(r: Readonly<Record<string, unknown>>): string {
  const key = String(r['row_key']);
  const isChecksum = /^~?[0-9a-f]{32}(:\d+)?$/.test(key);
  const identity = Object.entries(r)
    .filter(([name, value]) => value !== null && !KNOWN.has(name))
    .map(([name, value]) =>
      name === 'time_ms' ? `time ${timeOf(Number(value))}` : `${spaced(name)} ${String(value)}`,
    );
  const named = identity.length === 0 ? '' : ` (${identity.join(', ')})`;
  const spoken = spokenKey(key);
  return isChecksum
    ? `without key${named === '' ? `, checksum ${key}` : named}`
    : `${spoken === key ? `key ${key}` : spoken}${named}`;
}

const KNOWN = new Set(['sync', 'row_key', 'kind', 'change', 'reason', 'shown', 'run']);
const spaced = (name: string): string => name.replaceAll('_', ' ');
const timeOf = (ms: number): string => (Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : String(ms));
