import type { Plan, SyncPlan } from '../schemas/types.ts';
import { RunError } from './errors.ts';
import { Runner } from './run.ts';
import { toState, verifyState } from './state.ts';
import type { SyncRun } from './sync.ts';
import type { Row, Warehouse } from './warehouses/warehouse.ts';

const settingUp = new WeakMap<Warehouse, Promise<unknown>>();

/**
 * Creates the sync's tables if they may be created; a state that is missing otherwise would resend the table.
 * `anew` says that a person asked for it: then a run on record does not stand against it, a ledger still does.
 */
export async function ensureState(
  run: Pick<SyncRun, 'plan' | 'sync' | 'warehouse' | 'mayCreate'> &
    Partial<Pick<SyncRun, 'prove' | 'stop' | 'emit'>> & { readonly anew?: boolean },
): Promise<void> {
  const { plan, sync } = run;
  const runner = await Runner.open(plan, run.warehouse);
  try {
    const [found] = await runner.rowsIfThere(sync.state.exists);
    const has = (name: string): boolean => Number(found?.[name] ?? 0) === 1;
    const recorded = has('runs_exists') && (await recordOf(runner, plan, sync)).recorded;
    if (sync.rename && (await takesName(runner, run, sync.rename, has('state_exists')))) return;
    if (has('state_exists')) {
      if (run.anew === true) await completeSetup(runner, plan, sync);
      else await refuseLost(runner, plan, sync, found);
      return;
    }
    const isAsked = run.anew === true;
    const mayCreate = run.mayCreate && (plan.embedded || isAsked);
    if (!mayCreate || has('ledger_exists') || (recorded && !isAsked)) throw stateMissing(plan, sync);
    if (recorded) await refuseTaken(runner, plan, sync);
    if (run.stop) await run.prove?.(run.stop);
    // Syncs that start at once would create the same schema at once.
    const last = settingUp.get(run.warehouse) ?? Promise.resolve();
    const mine = last.then(async () => {
      await runner.steps(plan.setup, {});
      await runner.steps(sync.setup, {});
    });
    settingUp.set(
      run.warehouse,
      mine.catch(() => undefined),
    );
    await mine;
  } finally {
    await runner.close();
  }
}

/** A sync that was renamed goes on with the ids of its first name: another one of that name would give the same ones. */
async function refuseTaken(runner: Runner, plan: Plan, sync: SyncPlan): Promise<void> {
  for (const other of plan.syncs) {
    const [found] = other === sync ? [] : await runner.rowsIfThere(other.state.exists);
    const [row] = Number(found?.['state_exists'] ?? 0) === 1 ? await runner.rows(other.state.read) : [];
    if (row && toState(row).idSpace === sync.name)
      throw new RunError(
        'check-failed',
        `${other.name} was called ${sync.name} before, and its events keep the ids of that name: those of both could be taken for one another. Give this sync a name of its own.`,
        { retryable: false },
      );
  }
}

/** Nothing starts anew by itself where a run or a ledger shows that it ran. */
export const stateMissing = ({ staging }: Pick<Plan, 'staging'>, { name }: Pick<SyncPlan, 'name'>): RunError =>
  new RunError(
    'state-missing',
    `${name} has no state in ${staging}. Run \`syncline setup --execute\` if it never ran or was destroyed, or remove its declaration; if its state is lost, restore it, because starting anew would resend the table.`,
    { retryable: false },
  );

/** A mirror without its ledger knows nothing: an empty one would send the table again. */
export async function refuseLost(runner: Runner, plan: Plan, sync: SyncPlan, found: Row | undefined): Promise<void> {
  if (sync.mode !== 'mirror' || Number(found?.['ledger_exists'] ?? 0) === 1) return;
  // What was no mirror never had one.
  const [row] = await runner.rows(sync.state.read);
  const state = row && toState(row);
  if (state) verifyState(sync.name, state, { ...plan, mixpanel: state.mixpanel, sync });
  throw new RunError(
    'state-missing',
    `${sync.name} has a state in ${plan.staging} and no ledger. Where its setup was cut, \`syncline setup --execute\` completes it; where the ledger is lost, restore it from a backup.`,
    { retryable: false },
  );
}

/**
 * Without transactions a setup that was cut leaves a state without the other tables. They are made as long as the
 * state says that nothing is shown: afterwards an empty ledger would resend the table.
 */
async function completeSetup(runner: Runner, plan: Plan, sync: SyncPlan): Promise<void> {
  const [row] = await runner.rows(sync.state.read);
  const state = row && toState(row);
  if (state) verifyState(sync.name, state, { ...plan, mixpanel: state.mixpanel, sync });
  if (plan.transaction === null && state?.baseline === null && state.phase === 'idle')
    await runner.steps(sync.setup, {});
}

/** Only a run gives a state its new name: nothing else may go by it before. */
export const notRenamedYet = (sync: string, from: string): RunError =>
  new RunError(
    'state-missing',
    `${sync} goes on from ${from}, whose state still has that name: \`syncline apply -s ${sync}\` gives it the new one. Or take \`renamed_from\` out again.`,
    { retryable: false },
  );

/** Gives a sync the tables of its former name: state, ledger and ids go on. @returns whether it did */
async function takesName(
  runner: Runner,
  run: Pick<SyncRun, 'plan' | 'sync' | 'mayCreate'> & Partial<Pick<SyncRun, 'emit'>>,
  rename: NonNullable<SyncPlan['rename']>,
  isThere: boolean,
): Promise<boolean> {
  const { plan, sync } = run;
  const [found] = await runner.rowsIfThere(rename.exists);
  if (Number(found?.['state_exists'] ?? 0) === 0) return false;
  if (isThere)
    throw new RunError(
      'check-failed',
      `${sync.name} and ${rename.from} both have a state in ${plan.staging}, so one cannot become the other. Remove \`renamed_from\`, or destroy one of them.`,
      { retryable: false },
    );
  if (!run.mayCreate) throw notRenamedYet(sync.name, rename.from);
  const [row] = await runner.rows(rename.read);
  if (!row) return false;
  const state = toState(row);
  verifyState(rename.from, state, { project: plan.project, target: plan.target, mixpanel: state.mixpanel, sync });
  await runner.atomic([
    ...state.names.flatMap((n) => rename.outbox.map((file) => [file, { run: n }] as const)),
    ...rename.steps.map((file) => [file, {}] as const),
  ]);
  run.emit?.({
    type: 'note',
    sync: sync.name,
    message: `renamed from ${rename.from}: its state, its ledger and the ids of its events go on`,
  });
  return true;
}

/**
 * What is on record of a sync: whether it ran under this name, and its last run, under a former name too.
 * @throws RunError where the staging schema is of another project or target
 */
export async function recordOf(
  runner: Runner,
  plan: Plan,
  sync: SyncPlan,
): Promise<{ readonly recorded: boolean; readonly lastRun: number | null }> {
  const [owner] = await runner.rows(sync.state.owner);
  const foreign = owner?.['foreign_owner'] ?? null;
  if (foreign !== null)
    throw new RunError(
      'state-foreign',
      `The staging schema ${plan.staging} is used by ${foreign}, this is ${plan.project} / ${plan.target}. Give this target a staging schema of its own.`,
      { retryable: false },
    );
  const last = owner?.['last_run'] ?? null;
  return { recorded: Number(owner?.['recorded'] ?? 0) === 1, lastRun: last === null ? null : Number(last) };
}
