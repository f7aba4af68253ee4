import { stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import type { DirectPlan, Preview, PreviewFile, SyncPlan } from '../../schemas/types.ts';
import { RunError } from '../errors.ts';
import { isStale, undecided } from '../mapping.ts';
import { previewDirect, previewSync } from '../preview.ts';
import { Runner } from '../run.ts';
import { readStateFile } from '../state-file.ts';
import type { Range } from '../sync.ts';
import { realWorld } from '../world.ts';
import { differsFromReviewed } from './compile.ts';
import type { CommonOptions, Loaded } from './context.ts';
import type { Orphan } from './context.ts';
import {
  err,
  FoundBefore,
  load,
  openWarehouse,
  orphansOf,
  out,
  refuseStateFiles,
  stateFile,
  warnOfDisabled,
  warnOfOrphans,
} from './context.ts';
import { writing } from '../disk.ts';
import { printError } from './log.ts';
import type { Told } from './preview-text.ts';
import { comment, isMoving, markdown, text } from './preview-text.ts';
import { parseRange } from './range.ts';
import { reviewed } from './reviewed.ts';

export interface PlanOptions extends CommonOptions {
  readonly output?: string;
  readonly detailedExitcode?: boolean;
  /** File of the preview that `apply` takes. */
  readonly out?: string;
  readonly markdown?: boolean;
  /** FROM..TO, insert times of the one selected append. */
  readonly backfill?: string;
  /** False: only what the declarations mean, without a connection. */
  readonly scan?: boolean;
}

/** Shows what apply would do, or why it would refuse: counts from the same SQL, and nothing written. */
export async function planCommand(options: PlanOptions): Promise<number> {
  if (options.markdown === true && options.output === 'json')
    throw new FoundBefore('--markdown and --output json are two forms of one output: take one of them.');
  if (options.out !== undefined) await refuseNowhere(options.out);
  const loaded = await load(options);
  warnOfDisabled(loaded);
  const backfill = options.backfill === undefined ? undefined : parseRange(options.backfill, loaded);
  if (options.scan === false) return withoutScan(loaded, options);
  await refuseStateFiles(loaded);
  const warehouse = await openWarehouse(loaded.dir, loaded.project, { ...options, readOnly: true });
  const all: Told[] = [];
  let orphans: readonly Orphan[];
  const unseen: PreviewFile['refused'] = [];
  try {
    const runner = await Runner.open(loaded.plan, warehouse);
    const before = await reviewed(loaded);
    orphans = await orphansOf(runner, loaded);
    warnOfOrphans(loaded.plan, orphans);
    const differing = await differsFromReviewed(loaded);
    if (differing !== undefined) err(`warning: apply will refuse: ${differing}`);
    for (const sync of [...loaded.syncs, ...loaded.direct])
      try {
        const preview = await previewOf(runner, loaded, sync, backfill);
        all.push({
          preview,
          sync: 'state' in sync ? sync : undefined,
          overridden: sync.overridden,
          differing: before.differing(sync.name),
          compressed: await compressed(runner, sync, preview),
          egressPrice: loaded.project.target.warehouse.egressPrice,
        });
      } catch (error) {
        if (!(error instanceof RunError)) throw error;
        unseen.push({ sync: sync.name, code: error.code, message: error.message });
        printError({ code: error.code, sync: sync.name, message: error.message, hint: error.hint });
      }
    await runner.close();
  } finally {
    await warehouse.close();
  }
  const { plan } = loaded;
  const previews = all.map((t) => t.preview);
  const file: PreviewFile = {
    ...{ previewVersion: 1, project: plan.project, target: plan.target, planHash: plan.hash },
    ...{ syncs: previews, refused: unseen, orphans: [...orphans] },
  };
  let refused = unseen.length;
  if (options.output === 'json') out(JSON.stringify(file, null, 2));
  else if (options.markdown === true) out(markdown(plan, all, file));
  else all.forEach((t) => out(text(t)));
  for (const p of previews) {
    for (const hash of p.staleDecisions) err(`${p.sync}: ${isStale(hash)}.`);
    if (p.undecided) {
      refused++;
      const { code, message, hint } = undecided(
        p.sync,
        p.undecided,
        p.undecided.choices.some((c) => c.decision === 'forward'),
      );
      printError({ code, sync: p.sync, message, hint });
    }
    for (const { code, message } of p.refusals.filter((r) => r.code !== 'guard')) {
      refused++;
      printError({ code, sync: p.sync, message });
    }
  }
  // What cannot be applied as it was previewed is not written.
  if (options.out !== undefined && refused === 0) {
    const target = path.resolve(options.out);
    await writing(target, () => writeFile(target, `${JSON.stringify(file, null, 2)}\n`));
    err(`${options.out} is written: \`syncline apply ${options.out}\` does what it says, or refuses.`);
  }
  if (refused > 0) return 1;
  const changes = all.some(isMoving);
  return options.detailedExitcode === true && changes ? 3 : 0;
}

/** A scan may take long: that its result has no place is said before it. */
async function refuseNowhere(file: string): Promise<void> {
  const folder = path.dirname(path.resolve(file));
  const isFolder = await stat(folder).then(
    (s) => s.isDirectory(),
    () => false,
  );
  if (!isFolder) throw new FoundBefore(`--out ${file}: there is no folder ${folder}. Make it, or write elsewhere.`);
  const isTaken = await stat(path.resolve(file)).then(
    (s) => s.isDirectory(),
    () => false,
  );
  if (isTaken) throw new FoundBefore(`--out ${file} is a folder. Name a file.`);
}

async function previewOf(
  runner: Runner,
  { plan, dir }: Loaded,
  sync: SyncPlan | DirectPlan,
  backfill: Range | undefined,
): Promise<Preview> {
  if ('state' in sync) return previewSync(runner, plan, sync, backfill);
  const owner = { project: plan.project, target: plan.target, mixpanel: null, sync };
  return previewDirect(
    runner,
    plan,
    sync,
    await readStateFile(realWorld, stateFile(dir, plan.target, sync.name), owner),
  );
}

/** Bytes on the wire, as a sample of payloads compresses; profiles are sent as they are. */
async function compressed(
  runner: Runner,
  sync: SyncPlan | DirectPlan,
  { records, bytes }: Preview,
): Promise<number | null> {
  if (records === 0 || sync.deliver.endpoint === 'engage' || sync.deliver.endpoint === 'groups') return null;
  const values = { id_space: sync.name, epoch: 0, again: 0, watermark_from: null, watermark_to: null };
  const rows = await runner.rows(sync.show, values).catch(() => []);
  const sample = rows.map((r) => String(r['payload'])).join('\n');
  return sample === '' ? null : Math.round(bytes * Math.min(1, gzipSync(sample).length / Buffer.byteLength(sample)));
}

/** The difference in meaning to what was reviewed: no connection, no credentials. */
async function withoutScan(loaded: Loaded, options: PlanOptions): Promise<number> {
  if (options.backfill !== undefined) throw new FoundBefore('--backfill needs a scan: leave --no-scan out.');
  if (options.out !== undefined) throw new FoundBefore('--out needs the counts of a scan: leave --no-scan out.');
  const { lines } = await reviewed(loaded);
  const { project, target, hash } = loaded.plan;
  const none = 'No difference to what was reviewed.';
  if (options.output === 'json') out(JSON.stringify({ project, target, planHash: hash, differences: lines }, null, 2));
  else if (options.markdown === true) out(comment(`syncline plan --no-scan: ${project} / ${target}`, lines, none));
  else if (lines.length === 0) out(none);
  else lines.forEach((line) => out(line));
  return options.detailedExitcode === true && lines.length > 0 ? 3 : 0;
}
