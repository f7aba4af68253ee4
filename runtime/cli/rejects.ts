import { readStateFile } from '../state-file.ts';
import { realWorld } from '../world.ts';
import { Runner } from '../run.ts';
import type { CommonOptions } from './context.ts';
import { err, load, openWarehouse, out, stateFile } from './context.ts';

/** Records that were not sent (invalid) or not accepted (refused), with reasons. */
export async function rejects(
  options: CommonOptions & { readonly output?: string },
  names: readonly string[] = [],
): Promise<number> {
  const loaded = await load({ ...options, select: [...(options.select ?? []), ...names] });
  const warehouse = await openWarehouse(loaded.dir, loaded.project, { ...options, readOnly: true });
  const result = [];
  try {
    const runner = await Runner.open(loaded.plan, warehouse);
    for (const sync of loaded.syncs) {
      const [found] = await runner.rows(sync.state.exists);
      if (Number(found?.['state_exists'] ?? 0) !== 1) continue;
      for (const row of await runner.rows(sync.rejects)) result.push({ sync: sync.name, ...row });
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
  else
    for (const r of result as Record<string, unknown>[])
      out(
        `${String(r['sync'])}  key ${String(r['row_key'])}  ${String(r['change'])} ${String(r['kind'])}: ${String(r['reason'])}${r['shown'] === 1 ? ' (Mixpanel may still show it)' : ''}`,
      );
  return 0;
}
