import { destroySync } from '../destroy.ts';
import { realWorld } from '../world.ts';
import { confirmed } from './confirm.ts';
import type { CommonOptions } from './context.ts';
import { connection, err, FoundBefore, load, openWarehouse, stagedSync } from './context.ts';
import { mixpanelOf, openMixpanel } from './mixpanel.ts';
import { reporter } from './report.ts';

export interface DestroyOptions extends CommonOptions {
  readonly data?: boolean;
  readonly yes?: boolean;
}

/** Drops a sync's staging tables, with --data also what it put into Mixpanel. */
export async function destroy(options: DestroyOptions, [name]: readonly string[]): Promise<number> {
  const loaded = await load(options);
  const sync = stagedSync(loaded, name);
  const { plan, project, dir } = loaded;
  const what = options.data === true ? ', and what it put into Mixpanel' : '';
  if (options.yes !== true) {
    if (!process.stdin.isTTY || !process.stderr.isTTY)
      throw new FoundBefore('destroy asks before it drops anything, and nobody can be asked here: say --yes.');
    if (!(await confirmed(`Destroy the staging tables of ${sync.name} in ${plan.staging} (${plan.target})${what}?`))) {
      err('Nothing was changed.');
      return 1;
    }
  }
  const settings = connection(project);
  const warehouse = await openWarehouse(dir, project, { ...options, readOnly: false });
  try {
    const remote = await openMixpanel(dir, project);
    try {
      const never = new AbortController().signal;
      const run = {
        ...{ plan, sync, warehouse, mixpanel: mixpanelOf(remote.mixpanel, sync), concurrency: remote.concurrency },
        ...{ world: realWorld, leaseTtlMs: settings.leaseTtlMs, requestTimeoutMs: remote.requestTimeoutMs },
        ...{ prove: () => remote.check(never), emit: reporter(options.quiet === true), stop: never, mayCreate: false },
      };
      await destroySync(run, options.data === true);
    } finally {
      await remote.close();
    }
  } finally {
    await warehouse.close();
  }
  const rest =
    options.data !== true
      ? 'What it sent stays in Mixpanel.'
      : sync.kind === 'events' || sync.deliver.also !== null
        ? 'Its events have tombstones: filter by syncline_deleted.'
        : 'Its profiles are taken back.';
  err(
    `${sync.name}: destroyed. ${rest} Remove it from the project; declared again it needs \`syncline setup --execute\`, and sends the whole table.`,
  );
  return 0;
}
