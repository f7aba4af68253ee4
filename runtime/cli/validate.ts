import type { CommonOptions } from './context.ts';
import { err, load } from './context.ts';
import { count } from './report.ts';

/** Checks the project without connecting. */
export async function validate(options: CommonOptions): Promise<number> {
  const { plan, project } = await load(options);
  const syncs = project.syncs.length;
  if (!options.quiet) err(`${count(syncs, 'sync')} ${syncs === 1 ? 'is' : 'are'} valid for target ${plan.target}.`);
  return 0;
}
