import path from 'node:path';
import { compiledFiles } from '../../compiler/plan.ts';
import { maskSecrets, RunError } from '../errors.ts';
import { Manifest } from '../manifest.ts';
import { applySync } from '../sync.ts';
import { realWorld } from '../world.ts';
import { readFolder } from './compile.ts';
import type { CommonOptions, Loaded } from './context.ts';
import { connection, err, load, openWarehouse } from './context.ts';
import { openMixpanel } from './mixpanel.ts';
import { plainReport } from './report.ts';

/** Finds what changed and sends it. */
export async function apply(options: CommonOptions): Promise<number> {
  const loaded = await load(options);
  await refuseUnreviewed(loaded);
  const { plan, project, dir, syncs } = loaded;
  const settings = connection(project);
  const stop = new AbortController();
  const interrupt = (): void => {
    err('Stopping: batches in flight end, none starts. Press again to end at once.');
    stop.abort();
  };
  process.once('SIGINT', interrupt);
  const warehouse = await openWarehouse(dir, project, { ...options, readOnly: false });
  let failed = 0;
  try {
    const remote = await openMixpanel(dir, project);
    const manifest = new Manifest(realWorld, path.join(dir, 'target', 'syncline', plan.target, 'manifest.json'), {
      project: plan.project,
      target: plan.target,
      planHash: plan.hash,
      syncs: syncs.map((s) => s.name),
    });
    const print = plainReport(options.quiet === true);
    manifest.write();
    try {
      for (const sync of syncs) {
        if (stop.signal.aborted) break;
        try {
          await applySync({
            plan,
            sync,
            warehouse,
            mixpanel: remote.mixpanel,
            concurrency: remote.concurrency,
            world: realWorld,
            leaseTtlMs: settings.leaseTtlMs,
            requestTimeoutMs: remote.requestTimeoutMs,
            stop: stop.signal,
            mayCreate: true,
            emit: (event) => {
              manifest.take(event);
              print(event);
            },
          });
        } catch (error) {
          failed++;
          const code = error instanceof RunError ? error.code : 'internal';
          const message = maskSecrets(error instanceof Error ? error.message : String(error), remote.secrets);
          manifest.fail(sync.name, code, message);
          err(`error[${code}]: ${sync.name}: ${message}`);
          if (error instanceof RunError && error.hint !== undefined) err(`  hint: ${error.hint}`);
        }
      }
    } finally {
      await remote.close();
      await manifest.finish().catch((error: unknown) => {
        failed++;
        err(
          `error[disk]: the manifest could not be written: ${String(error)}. What was sent is on record in the warehouse.`,
        );
      });
    }
  } finally {
    process.removeListener('SIGINT', interrupt);
    await warehouse.close();
  }
  return failed > 0 || stop.signal.aborted ? 1 : 0;
}

/** What you review is what runs: a compiled folder that differs is refused, and on a protected target a missing one. */
async function refuseUnreviewed({ dir, plan, project }: Loaded): Promise<void> {
  const reviewed = await readFolder(path.join(dir, 'compiled', plan.target));
  const isMissing = reviewed['plan.json'] === undefined;
  if (isMissing && !project.target.protected) return;
  const differing = Object.entries(compiledFiles(plan)).find(([file, text]) => reviewed[file] !== text)?.[0];
  if (differing === undefined) return;
  throw new RunError(
    'compiled-differs',
    isMissing
      ? `Target ${plan.target} is protected and compiled/${plan.target}/ is missing. Run \`syncline compile\` and have it reviewed.`
      : `compiled/${plan.target}/${differing} differs from what this project compiles to. Run \`syncline compile\` and have the change reviewed.`,
    { retryable: false },
  );
}
