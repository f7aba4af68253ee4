import type { DirectPlan, SyncPlan } from '../../schemas/types.ts';
import type { Due } from '../due.ts';
import { Runner } from '../run.ts';
import { readStateFile } from '../state-file.ts';
import { toState } from '../state.ts';
import { realWorld } from '../world.ts';
import type { CommonOptions } from './context.ts';
import { dueOfDirect, dueOfStaged, timeOf } from './due.ts';
import { load, openWarehouse, out, stateFile, warnOfOrphans } from './context.ts';

/** State and last runs of the selected syncs. */
export async function status(options: CommonOptions & { readonly output?: string }): Promise<number> {
  const loaded = await load(options);
  const warehouse = await openWarehouse(loaded.dir, loaded.project, { ...options, readOnly: true });
  const result = [];
  try {
    const runner = await Runner.open(loaded.plan, warehouse);
    await warnOfOrphans(runner, loaded);
    for (const sync of loaded.syncs) {
      const [found] = await runner.rows(sync.state.exists);
      const [row] = Number(found?.['state_exists'] ?? 0) === 1 ? await runner.rows(sync.state.read) : [];
      const runs = Number(found?.['runs_exists'] ?? 0) === 1 ? await runner.rows(loaded.plan.runs) : [];
      const state = row ? toState(row) : null;
      result.push({
        sync: sync.name,
        phase: state?.phase ?? 'not set up',
        holder: state?.holder ?? null,
        version: state?.version ?? null,
        ...nextDue(sync, dueOfStaged(sync, state, runs)),
        filter: sync.kind === 'events' ? `syncline_sync = "${sync.name}"` : null,
        runs: runs.filter((r) => r['sync'] === sync.name).slice(0, 5),
      });
    }
    for (const sync of loaded.direct) {
      const { name, kind } = sync;
      const { project, target } = loaded.plan;
      const state = await readStateFile(realWorld, stateFile(loaded.dir, target, name), {
        project,
        target,
        mixpanel: null,
      });
      result.push({
        sync: name,
        phase: !state ? 'not set up' : state.pending ? 'sending' : 'idle',
        holder: null,
        version: state?.run ?? null,
        ...nextDue(sync, dueOfDirect(sync, state)),
        filter: kind === 'events' ? `syncline_sync = "${name}"` : null,
        runs: [],
      });
    }
    await runner.close();
  } finally {
    await warehouse.close();
  }
  if (options.output === 'json') out(JSON.stringify(result, null, 2));
  else
    for (const s of result) {
      out(
        `${s.sync}: ${s.phase === 'sending' ? 'interrupted while sending; the next apply finishes it' : s.phase}${s.holder === null ? '' : ' (its lease was not released)'}`,
      );
      if (s.frequency !== null)
        out(`  ${s.due ? 'due now' : `next due: ${s.nextDue ?? 'never by --due'}`} (frequency: ${s.frequency})`);
      if (s.filter !== null) out(`  in Mixpanel: filter by ${s.filter}`);
      for (const r of s.runs)
        out(
          `  run ${String(r['run'])} at ${new Date(Number(r['finished_ms'])).toISOString()}: ${String(r['accepted_inserts'])} inserts, ${String(r['accepted_updates'])} updates, ${String(r['accepted_deletes'])} deletes, ${String(r['refused'])} refused, ${String(r['invalid'])} invalid`,
        );
    }
  return 0;
}

/** What `apply --due` would do with a sync: run it, or wait until a time; without a time it must be asked for. */
const nextDue = ({ frequency }: SyncPlan | DirectPlan, due: Due) => ({
  frequency,
  due: due.isDue,
  nextDue: due.isDue || due.nextMs === null ? null : timeOf(due.nextMs),
});
