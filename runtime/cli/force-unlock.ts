import { Runner } from '../run.ts';
import { ensureState } from '../setup.ts';
import { readState } from '../sync.ts';
import type { CommonOptions } from './context.ts';
import { err, load, openWarehouse, stagedSync } from './context.ts';
import { mixpanelOf, openMixpanel } from './mixpanel.ts';

/** Releases the lease of a dead process; nobody sends until its requests can no longer land. */
export async function forceUnlock(options: CommonOptions, [name]: readonly string[]): Promise<number> {
  const loaded = await load(options);
  const sync = stagedSync(loaded, name);
  const warehouse = await openWarehouse(loaded.dir, loaded.project, { ...options, readOnly: false });
  try {
    const remote = await openMixpanel(loaded.dir, loaded.project);
    await remote.close();
    await ensureState({ plan: loaded.plan, sync, warehouse, mayCreate: false });
    const runner = await Runner.open(loaded.plan, warehouse);
    const state = await readState(runner, loaded.plan, sync, mixpanelOf(remote.mixpanel, sync).name);
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
