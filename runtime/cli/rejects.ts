import { Runner } from '../run.ts';
import type { CommonOptions } from './context.ts';
import { load, openWarehouse, out } from './context.ts';

/** Records that were not sent (invalid) or not accepted (refused), with reasons. */
export async function rejects(options: CommonOptions & { readonly output?: string }): Promise<number> {
  const loaded = await load(options);
  const warehouse = await openWarehouse(loaded.dir, loaded.project, { ...options, readOnly: true });
  const result = [];
  try {
    const runner = await Runner.open(loaded.plan, warehouse);
    for (const sync of loaded.syncs) {
      const [found] = await runner.rows(sync.state.exists);
      if (Number(found?.['state_exists'] ?? 0) !== 1) continue;
      for (const row of await runner.rows(sync.rejects)) result.push({ sync: sync.name, ...row });
    }
    await runner.close();
  } finally {
    await warehouse.close();
  }
  if (options.output === 'json') out(JSON.stringify(result, null, 2));
  else
    for (const r of result as Record<string, unknown>[])
      out(
        `${String(r['sync'])}  key ${String(r['row_key'])}  ${String(r['change'])} ${String(r['kind'])}: ${String(r['reason'])}${r['shown'] === 1 ? ' (Mixpanel may still show it)' : ''}`,
      );
  return 0;
}
