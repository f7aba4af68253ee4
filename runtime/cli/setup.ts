import { compiledFiles } from '../../compiler/plan.ts';
import { Runner } from '../run.ts';
import { ensureState } from '../setup.ts';
import type { CommonOptions } from './context.ts';
import { err, load, openWarehouse, out } from './context.ts';
import { count } from './report.ts';

/** Prints the admin SQL, or runs it. */
export async function setup(options: CommonOptions & { readonly execute?: boolean }): Promise<number> {
  const loaded = await load(options);
  const { plan, syncs } = loaded;
  if (plan.staging === 'none' && plan.setup.length === 0) {
    if (!options.quiet) err('The target says `staging: none`: there is nothing to set up.');
    return 0;
  }
  const files = [
    ...[...plan.setup, ...syncs.flatMap((s) => s.setup)].flatMap((s) => s.run),
    ...(plan.jobs === '' ? [] : [plan.jobs]),
  ];
  if (!options.execute) {
    const compiled = compiledFiles(plan);
    for (const file of files) out(`-- ${file}\n${compiled[file]?.trimEnd() ?? ''};\n`);
    return 0;
  }
  const warehouse = await openWarehouse(loaded.dir, loaded.project, { ...options, readOnly: false });
  try {
    const runner = await Runner.open(plan, warehouse);
    await runner.steps(plan.setup, {}).finally(() => runner.close());
    for (const sync of syncs) await ensureState({ plan, sync, warehouse, mayCreate: true, anew: true });
    // Last: whoever may not give it has done all the rest.
    if (plan.jobs !== '') {
      const last = await Runner.open(plan, warehouse);
      await last.statement(plan.jobs).finally(() => last.close());
    }
  } finally {
    await warehouse.close();
  }
  err(`Set up ${count(syncs.length, 'sync')} in ${plan.staging}.`);
  return 0;
}
