import type { SyncPlan } from '../../schemas/types.ts';
import { resetSync, sendsEvents } from '../reset.ts';
import { realWorld } from '../world.ts';
import { insisted } from './confirm.ts';
import type { CommonOptions } from './context.ts';
import { connection, err, FoundBefore, load, openWarehouse, stagedSync } from './context.ts';
import { mixpanelOf, openMixpanel } from './mixpanel.ts';

/** Forgets what Mixpanel shows for a sync. Refused while a run is sending. */
export async function reset(
  options: CommonOptions & { readonly newEpoch?: boolean; readonly yes?: boolean },
  [name]: readonly string[],
): Promise<number> {
  const loaded = await load(options);
  const sync = stagedSync(loaded, name);
  if (options.newEpoch === true && !sendsEvents(sync))
    throw new FoundBefore(
      `${sync.name} sends no events, and --new-epoch gives new ids to events only: reset it without.`,
    );
  const question = `Forget what Mixpanel shows for ${sync.name} (${loaded.plan.target})? ${nextOf(sync)}`;
  if (
    loaded.project.target.protected &&
    options.yes !== true &&
    !(await insisted('reset of a protected target', question))
  ) {
    err('Nothing was changed.');
    return 1;
  }
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
        leaseTtlMs: (await connection(loaded.dir, loaded.project)).leaseTtlMs,
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
  const ids = !sendsEvents(sync)
    ? ''
    : options.newEpoch === true
      ? ' Its events get new ids: Mixpanel shows those of before beside them, and counts both.'
      : ' Events with equal ids are the same events in Mixpanel.';
  err(
    `${sync.name}: forgotten. ${nextOf(sync)}${ids} Rows that vanished since the last apply are forgotten too: what Mixpanel shows of them stays.`,
  );
  return 0;
}

/** What follows once what Mixpanel shows is forgotten. */
export const nextOf = ({ adopts }: Pick<SyncPlan, 'adopts'>): string =>
  adopts
    ? 'The next apply takes the table for what Mixpanel shows (initial: skip).'
    : 'The next apply sends the whole table.';
