import { resetSync } from '../reset.ts';
import { realWorld } from '../world.ts';
import type { CommonOptions } from './context.ts';
import { connection, err, load, openWarehouse, stagedSync } from './context.ts';
import { mixpanelOf, openMixpanel } from './mixpanel.ts';

/** Forgets what Mixpanel shows for a sync. Refused while a run is sending. */
export async function reset(
  options: CommonOptions & { readonly newEpoch?: boolean },
  [name]: readonly string[],
): Promise<number> {
  const loaded = await load(options);
  const sync = stagedSync(loaded, name);
  const warehouse = await openWarehouse(loaded.dir, loaded.project, { ...options, readOnly: false });
  try {
    const remote = await openMixpanel(loaded.dir, loaded.project);
    try {
      const run = {
        plan: loaded.plan,
        sync,
        warehouse,
        mixpanel: mixpanelOf(remote.mixpanel, sync),
        concurrency: 1,
        world: realWorld,
        leaseTtlMs: connection(loaded.project).leaseTtlMs,
        requestTimeoutMs: remote.requestTimeoutMs,
        emit: () => undefined,
        stop: new AbortController().signal,
        mayCreate: false,
      };
      await resetSync(run, options.newEpoch === true);
    } finally {
      await remote.close();
    }
  } finally {
    await warehouse.close();
  }
  const next = sync.adopts
    ? 'The next apply takes the table for what Mixpanel shows (initial: skip).'
    : 'The next apply sends the whole table.';
  const ids =
    sync.deliver.endpoint !== 'import' && sync.deliver.also === null
      ? ''
      : options.newEpoch === true
        ? ' Its events get new ids: Mixpanel shows those of before beside them, and counts both.'
        : ' Events with equal ids are the same events in Mixpanel.';
  err(
    `${sync.name}: forgotten. ${next}${ids} Rows that vanished since the last apply are forgotten too: what Mixpanel shows of them stays.`,
  );
  return 0;
}
