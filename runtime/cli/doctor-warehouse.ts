import type { ResolvedProject } from '../../compiler/project/resolve.ts';
import type { DirectPlan, SyncPlan } from '../../schemas/types.ts';
import { RunError } from '../errors.ts';
import { Runner } from '../run.ts';
import { recordOf, refuseLost } from '../setup.ts';
import { toState, verifyState } from '../state.ts';
import type { Warehouse } from '../warehouses/warehouse.ts';
import type { CommonOptions, Loaded } from './context.ts';
import { openWarehouse } from './context.ts';
import type { Find } from './doctor.ts';
import { count, some } from './report.ts';

/** Whether the warehouse opens, its sources have the columns of the lock, and the staging tables can be written. */
export async function checkWarehouse(loaded: Loaded, options: CommonOptions, find: Find): Promise<void> {
  // What Mixpanel needs is checked apart, and may be missing.
  const project: ResolvedProject = { ...loaded.project, target: { ...loaded.project.target, mixpanel: 'sandbox' } };
  try {
    const warehouse = await openWarehouse(loaded.dir, project, { ...options, readOnly: true });
    try {
      find('ok', 'warehouse', `${warehouse.name} opens.`);
      const runner = await Runner.open(loaded.plan, warehouse);
      await checkSources(runner, [...loaded.syncs, ...loaded.direct], find);
      if (loaded.plan.privileges !== '') await checkPrivileges(runner, loaded, find);
      await checkEstimated(runner, loaded, find);
      if (await checkRights(warehouse, loaded, find)) await checkStaging(runner, loaded, find);
      await runner.close();
    } finally {
      await warehouse.close();
    }
  } catch (error) {
    find('fail', 'warehouse', messageOf(error));
  }
}

function messageOf(error: unknown): string {
  if (error instanceof RunError) return error.message;
  throw error;
}

async function checkSources(runner: Runner, syncs: readonly (SyncPlan | DirectPlan)[], find: Find): Promise<void> {
  let failed = 0;
  for (const sync of syncs) {
    const problem = await sourceProblem(runner, sync).catch(messageOf);
    if (problem === undefined) continue;
    failed++;
    find('fail', 'source', `${sync.name}: ${problem}`);
  }
  if (failed === 0) find('ok', 'sources', `${count(syncs.length, 'sync')} can read what the lock says.`);
}

async function sourceProblem(runner: Runner, sync: SyncPlan | DirectPlan): Promise<string | undefined> {
  const types = new Map((await runner.rows(sync.discover)).map((c) => [String(c['name']), String(c['native'])]));
  if (types.size === 0) return `${sync.source} does not exist or may not be read. Check \`relation:\`.`;
  const gone = sync.columns.filter((c) => types.get(c.name) !== c.native).map((c) => c.name);
  if (gone.length === 0) {
    // A condition that cannot run fails its statement, which throws; it reads no row.
    const where = sync.probe.flatMap((step) => step.run).find((f) => f === `${sync.name}/check_where.sql`);
    if (where !== undefined) await runner.statement(where);
    return undefined;
  }
  const what = gone.length === 1 ? 'is not as' : 'are not as';
  return `${some(gone, 5)} of ${sync.source} ${what} the lock says. Run \`syncline lock\` and compile again.`;
}

async function checkRights(warehouse: Warehouse, { plan }: Loaded, find: Find): Promise<boolean> {
  if (plan.staging === 'none') {
    find('ok', 'rights', 'The target says `staging: none`: the warehouse is only read.');
    return false;
  }
  const obstacle = await warehouse.obstacle?.();
  if (obstacle !== undefined) find('fail', 'rights', obstacle);
  else if (warehouse.obstacle) find('ok', 'rights', `${warehouse.name} may be written.`);
  return true;
}

/** Rights that a run lacks, and those that it never needs. */
async function checkPrivileges(runner: Runner, { plan }: Loaded, find: Find): Promise<void> {
  const rows = await runner.rows(plan.privileges);
  for (const row of rows) {
    const isMissing = row['verdict'] === 'fail';
    const what = isMissing ? '`syncline setup` prints the SQL that gives it.' : 'Take that right away.';
    find(
      isMissing ? 'fail' : 'warn',
      'privileges',
      `The role that syncline connects as: ${String(row['text'])}. ${what}`,
    );
  }
  if (rows.length === 0)
    find('ok', 'privileges', 'The role may do what a run needs, and no more of what was looked at.');
}

/**
 * Rights that only show when a statement is estimated: the service checks them as if it ran, and nothing runs
 * (documentation of BigQuery: Dry run).
 */
async function checkEstimated(runner: Runner, { plan, syncs }: Loaded, find: Find): Promise<void> {
  const asked = syncs.filter((sync) => sync.excess !== '');
  if (asked.length === 0) return;
  let found = 0;
  const tell = (verdict: 'fail' | 'warn', text: string): void => {
    found++;
    find(verdict, 'privileges', text);
  };
  for (const sync of asked) {
    const everything = sync.snapshot?.partitions?.everything ?? null;
    const problem = await runner
      .estimate(sync.preview.explain, { ...NOTHING_YET, partitions: everything })
      .then(() => undefined, messageOf);
    if (problem !== undefined)
      tell('fail', `${sync.name} may not be read: ${problem}. \`syncline setup\` prints the SQL that gives the right.`);
    else if (await runner.estimate(sync.excess, {}).then(() => true, isRefused))
      tell(
        'warn',
        `The account that syncline connects as may write ${sync.source}, and only reads it. Take that right away.`,
      );
  }
  // Before `setup` there is no dataset to write in, and nothing to say about it.
  const create = asked[0]?.capture.fill[0]?.run[0] ?? '';
  const isWritable = await runner.estimate(create, { run: 0 }).then(
    () => true,
    (error: unknown) => isRefused(error) || (error as RunError).code === 'not-found',
  );
  if (!isWritable)
    tell(
      'fail',
      `It may not create tables in ${plan.staging}. \`syncline setup\` prints the SQL that gives the right.`,
    );
  // A snapshot that expires takes the right to delete snapshots, which is only in that role (documentation: Table snapshots).
  for (const sync of isWritable ? asked : []) {
    const snapshot = sync.capture.fill
      .flatMap((step) => step.run)
      .find((f) => f === `${sync.name}/create_snapshot.sql`);
    const refused =
      snapshot === undefined ? false : await runner.estimate(snapshot, { run: 0 }).then(() => false, isDenied);
    if (!refused) continue;
    tell(
      'fail',
      `${sync.name} compares table snapshots, and the account may make none in ${plan.staging}: it needs roles/bigquery.dataOwner on that dataset, and dataViewer on ${sync.source}. \`syncline setup\` prints the SQL that gives both; with \`strategy: checksum\` no snapshot is made.`,
    );
  }
  // Only whoever makes snapshots owns the dataset; all else is written by an editor.
  if (asked.every((sync) => sync.snapshot === null) && (await runner.mayGrant('runs')))
    tell(
      'warn',
      `The account that syncline connects as may give others rights on the tables of ${plan.staging}, and no run needs that: without table snapshots roles/bigquery.dataEditor on that dataset is enough. Give it that role in place of the one it has.`,
    );
  if (found === 0) find('ok', 'privileges', 'The account may do what a run needs, and no more of what was looked at.');
}

/** False for a statement that may not run; what else is wrong with it is no answer. */
function isRefused(error: unknown): boolean {
  if (error instanceof RunError) return false;
  throw error;
}

/** True where the service says that a right is missing. */
const isDenied = (error: unknown): boolean => !isRefused(error) && /access denied/i.test((error as RunError).message);

/** An append that has not run yet. */
const NOTHING_YET = {
  backfill: 0,
  older: 0,
  watermark_from: null,
  watermark_to: null,
  seen_from: null,
  position: null,
};

async function checkStaging(runner: Runner, { plan, syncs }: Loaded, find: Find): Promise<void> {
  let isSetUp = 0;
  for (const sync of syncs)
    try {
      const [found] = await runner.rowsIfThere(sync.state.exists);
      if (Number(found?.['runs_exists'] ?? 0) === 1) await recordOf(runner, plan, sync);
      if (Number(found?.['state_exists'] ?? 0) !== 1) continue;
      await refuseLost(runner, plan, sync, found);
      const [row] = await runner.rows(sync.state.read);
      const state = row && toState(row);
      if (state) verifyState(sync.name, state, { ...plan, mixpanel: state.mixpanel, sync });
      isSetUp++;
    } catch (error) {
      return find('fail', 'staging', messageOf(error));
    }
  const rest = syncs.length - isSetUp;
  find(
    'ok',
    'staging',
    `${plan.staging} has the tables of ${count(isSetUp, 'sync')}${rest === 0 ? '' : `; \`apply\` makes those of ${rest} more`}.`,
  );
}
