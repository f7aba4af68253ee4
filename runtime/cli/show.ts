import type { DirectPlan } from '../../schemas/types.ts';
import { directValues } from '../direct.ts';
import { Runner } from '../run.ts';
import { valuesOf } from '../state.ts';
import type { CommonOptions } from './context.ts';
import { load, noSync, openWarehouse, out } from './context.ts';

/** Prints the first payloads of a sync exactly as an initial load would send them. */
export async function show(options: CommonOptions, [name]: readonly string[]): Promise<number> {
  const loaded = await load(options);
  const staged = loaded.plan.syncs.find((s) => s.name === name);
  const sync = staged ?? loaded.plan.direct.find((s) => s.name === name);
  if (!sync) throw noSync(loaded.project.syncs, name);
  const warehouse = await openWarehouse(loaded.dir, loaded.project, { ...options, readOnly: true });
  try {
    const runner = await Runner.open(loaded.plan, warehouse);
    const values = await runner.steps(
      sync.probe,
      staged ? valuesOf(loaded.plan, staged, undefined) : directValues(loaded.plan, sync as DirectPlan, undefined),
    );
    if (sync.deliver.table) out(sync.deliver.table.header);
    for (const row of await runner.rows(sync.show, values)) out(String(row['payload']));
    await runner.close();
  } finally {
    await warehouse.close();
  }
  return 0;
}
