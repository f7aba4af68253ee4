import { STAND_IN } from '../../compiler/compile.ts';
import type { Plan, SyncPlan } from '../../schemas/types.ts';
import { destroySync } from '../destroy.ts';
import { writing } from '../disk.ts';
import { RunError } from '../errors.ts';
import { forgetSync } from '../manifest.ts';
import { Runner } from '../run.ts';
import { notRenamedYet } from '../setup.ts';
import { toState } from '../state.ts';
import type { Warehouse } from '../warehouses/warehouse.ts';
import { realWorld } from '../world.ts';
import { insisted } from './confirm.ts';
import type { CommonOptions, Loaded } from './context.ts';
import { connection, err, FoundBefore, load, manifestFile, noSync, openWarehouse, stagedSync } from './context.ts';
import { mixpanelOf, openMixpanel } from './mixpanel.ts';
import { reporter } from './report.ts';

export interface DestroyOptions extends CommonOptions {
  readonly data?: boolean;
  readonly yes?: boolean;
}

/** Drops a sync's staging tables, with --data also what it put into Mixpanel. It may be declared no more. */
export async function destroy(options: DestroyOptions, [name = '']: readonly string[]): Promise<number> {
  const declared = (await load(options)).project.syncs;
  const isDeclared = declared.some((s) => s.name === name);
  const heir = declared.find((s) => s.renamedFrom === name);
  if (heir && !isDeclared)
    throw new FoundBefore(`${name} goes on as ${heir.name}, which says \`renamed_from\`: destroy ${heir.name}.`);
  if (!isDeclared && !/^[a-z][a-z0-9_]*$/.test(name)) throw noSync(declared, name);
  const loaded = await load({ ...options, quiet: true }, name);
  const sync = stagedSync(loaded, name);
  const isStandIn = sync.source.endsWith(STAND_IN);
  if (isStandIn && options.data === true)
    throw new FoundBefore(
      isDeclared
        ? `${name} has no columns in the lock, and --data needs them. Run \`syncline lock\` with the sync enabled, then destroy it.`
        : `${name} is not declared, and --data needs its declaration. Declare it as it was, with \`enabled: false\`; or destroy it without --data.`,
    );
  const { plan, project, dir } = loaded;
  const what = options.data === true ? ', and what it put into Mixpanel' : '';
  // That there is nothing of that name is told before anything is asked.
  if (!isDeclared) await lookFor(loaded, sync, options);
  const question = `Destroy the staging tables of ${sync.name} in ${plan.staging} (${plan.target})${what}?`;
  if (options.yes !== true && !(await insisted('destroy', question))) {
    err('Nothing was changed.');
    return 1;
  }
  const settings = await connection(dir, project);
  const warehouse = await openWarehouse(dir, project, { ...options, readOnly: false });
  try {
    const remote = await openMixpanel(dir, project);
    try {
      const never = new AbortController().signal;
      const own = mixpanelOf(remote.mixpanel, sync);
      // Where nothing is sent, its state's Mixpanel project is taken as it is: nobody may know any more what the sync was.
      const former = await mixpanelOfState(plan, sync, { warehouse, isDeclared });
      const mixpanel = options.data === true ? own : { ...own, name: former };
      const run = {
        ...{ plan, sync, warehouse, mixpanel, concurrency: remote.concurrency },
        ...{ world: realWorld, leaseTtlMs: settings.leaseTtlMs, requestTimeoutMs: remote.requestTimeoutMs },
        ...{ prove: () => remote.check(never), emit: reporter(options.quiet === true), stop: never, mayCreate: false },
      };
      await destroySync(run, options.data === true);
      await writing('manifest.json', () => forgetSync(realWorld, manifestFile(dir, plan.target), sync.name));
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
    `${sync.name}: destroyed. ${rest} ${isDeclared ? 'Remove it from the project; declared' : 'Declared'} again it needs \`syncline setup --execute\`, and sends the whole table.`,
  );
  return 0;
}

async function lookFor({ dir, project, plan }: Loaded, sync: SyncPlan, options: CommonOptions): Promise<void> {
  const warehouse = await openWarehouse(dir, project, { ...options, readOnly: true });
  await mixpanelOfState(plan, sync, { warehouse, isDeclared: false }).finally(() => warehouse.close());
}

async function mixpanelOfState(
  plan: Plan,
  sync: SyncPlan,
  { warehouse, isDeclared }: { readonly warehouse: Warehouse; readonly isDeclared: boolean },
): Promise<string> {
  const runner = await Runner.open(plan, warehouse);
  try {
    const names = (await runner.rows(plan.states)).filter((r) => Number(r['has_state']) === 1).map((r) => r['name']);
    const [row] = names.includes(sync.name) ? await runner.rows(sync.state.read) : [];
    if (row) return toState(row).mixpanel;
    if (sync.rename && names.includes(sync.rename.from)) throw notRenamedYet(sync.name, sync.rename.from);
  } finally {
    await runner.close();
  }
  throw new RunError(
    'state-missing',
    `${sync.name} ${isDeclared ? 'has no' : 'is not declared and has no'} state in ${plan.staging}, so there is nothing to destroy.`,
    { retryable: false },
  );
}
