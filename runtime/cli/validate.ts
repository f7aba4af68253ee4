import type { CommonOptions } from './context.ts';
import { err, load } from './context.ts';

/** Checks the project without connecting. */
export async function validate(options: CommonOptions): Promise<number> {
  const { plan, project } = await load(options);
  if (!options.quiet) err(`${project.syncs.length} syncs are valid for target ${plan.target}.`);
  return 0;
}
