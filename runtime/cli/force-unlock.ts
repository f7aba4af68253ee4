import { RunError } from '../errors.ts';
import { Runner } from '../run.ts';
import { toState } from '../state.ts';
import { ensureState } from '../sync.ts';
import type { CommonOptions } from './context.ts';
import { err, FoundBefore, load, openWarehouse } from './context.ts';
import { openMixpanel } from './mixpanel.ts';

/** Releases the lease of a dead process; nobody sends until its requests can no longer land. */
export async function forceUnlock(options: CommonOptions, [name]: readonly string[]): Promise<number> {
  const loaded = await load(options);
  const sync = loaded.plan.syncs.find((s) => s.name === name);
  if (!sync) throw new FoundBefore(`There is no sync ${String(name)}. \`syncline ls\` lists them.`);
  const warehouse = await openWarehouse(loaded.dir, loaded.project, { ...options, readOnly: false });
  try {
    const remote = await openMixpanel(loaded.dir, loaded.project);
    await remote.close();
    await ensureState({ plan: loaded.plan, sync, warehouse, mayCreate: false });
    const runner = await Runner.open(loaded.plan, warehouse);
    const [row] = await runner.rows(sync.state.read);
    if (!row) throw new RunError('state-missing', `${sync.name} has no state to unlock.`, { retryable: false });
    const state = toState(row);
    if (state.holder === null) err(`${sync.name} is not held.`);
    else {
      await runner.statement(sync.state.unlock, { state_version: state.version, quiet_ms: remote.requestTimeoutMs });
      err(`${sync.name}: lease released.`);
    }
    await runner.close();
  } finally {
    await warehouse.close();
  }
  return 0;
}
