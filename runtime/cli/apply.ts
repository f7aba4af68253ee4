import { hostname } from 'node:os';
import type { DirectPlan, Plan, PreviewFile, SyncPlan } from '../../schemas/types.ts';
import { applyDirect } from '../direct.ts';
import { maskSecrets, RunError } from '../errors.ts';
import type { RunEvent } from '../events.ts';
import { Manifest, readManifest } from '../manifest.ts';
import { applySync } from '../sync.ts';
import { realWorld } from '../world.ts';
import { differsFromReviewed } from './compile.ts';
import type { CommonOptions, Loaded } from './context.ts';
import {
  connection,
  err,
  FoundBefore,
  load,
  manifestFile,
  openWarehouse,
  refuseStateFiles,
  stateFile,
  warnOfDisabled,
} from './context.ts';
import { confirmed } from './confirm.ts';
import { dueSyncs } from './due.ts';
import { diskReason } from '../disk.ts';
import { printError } from './log.ts';
import { mixpanelOf, openMixpanel } from './mixpanel.ts';
import { parseAllowed } from './allow.ts';
import { follow } from './live.ts';
import { readPreview } from './preview-file.ts';
import { parseRange } from './range.ts';
import { count, some } from './report.ts';
import { writeSummary } from './summary.ts';

export interface ApplyOptions extends CommonOptions {
  readonly threads?: string;
  readonly failFast?: boolean;
  /** Only what is due by its `frequency:`. */
  readonly due?: boolean;
  readonly allow?: readonly string[];
  /** Names of syncs. */
  readonly resend?: readonly string[];
  readonly forward?: readonly string[];
  readonly abandon?: readonly string[];
  /** FROM..TO, insert times of the one selected append. */
  readonly backfill?: string;
  readonly yes?: boolean;
}

/** Syncs at a time, as dbt's profiles have it. */
const THREADS = 4;

/** Finds what changed and sends it. */
export async function apply(options: ApplyOptions, [given]: readonly string[] = []): Promise<number> {
  const loaded = await load(options);
  warnOfDisabled(loaded);
  const threads = Number(options.threads ?? THREADS);
  if (!Number.isInteger(threads) || threads < 1) throw new FoundBefore('--threads must be a number of at least 1.');
  refuseUnknown(options, loaded);
  const backfill = options.backfill === undefined ? undefined : parseRange(options.backfill, loaded);
  const allowed = parseAllowed(options.allow ?? [], [...loaded.syncs, ...loaded.direct]);
  await refuseUnreviewed(loaded);
  await refuseStateFiles(loaded);
  const { plan, project, dir } = loaded;
  const preview = given === undefined ? undefined : await previewFor(given, loaded, options);
  const marks = new Map(preview?.syncs.map((p) => [p.sync, p.state]));
  const filled = new Map(preview?.syncs.map((p) => [p.sync, p.backfill]));
  const isPreviewed = (s: { readonly name: string }): boolean => !preview || marks.has(s.name);
  const syncs = loaded.syncs.filter(isPreviewed);
  const direct = loaded.direct.filter(isPreviewed);
  if (project.target.protected && !options.yes && !(await confirmed(questionOf(plan, [...syncs, ...direct])))) {
    err('Nothing was sent.');
    return 1;
  }
  const settings = await connection(dir, project);
  const stop = new AbortController();
  const interrupt = (): void => {
    err('Stopping: batches in flight end, none starts. Press again to end at once.');
    stop.abort();
  };
  process.once('SIGINT', interrupt);
  const warehouse = await openWarehouse(dir, project, { ...options, readOnly: syncs.length === 0 });
  let failed = 0;
  try {
    const asked = [...(options.resend ?? []), ...(options.forward ?? [])];
    const chosen = options.due
      ? await dueSyncs(loaded, warehouse, { asked, quiet: options.quiet === true })
      : [...syncs, ...direct];
    if (options.due && chosen.length === 0) return 0;
    const remote = await openMixpanel(dir, project);
    try {
      const file = manifestFile(dir, plan.target);
      const manifest = new Manifest(realWorld, file, {
        before: await readManifest(realWorld, file),
        project: plan.project,
        target: plan.target,
        planHash: plan.hash,
        syncs: chosen.map((s) => s.name),
        allowed: [...(options.allow ?? [])],
      });
      const follower = await follow(options.quiet === true);
      await manifest.write();
      let proof: Promise<void> | undefined;
      const queue = [...chosen];
      const one = (sync: SyncPlan | DirectPlan): Promise<void> => {
        const common = {
          plan,
          warehouse,
          mixpanel: mixpanelOf(remote.mixpanel, sync),
          concurrency: remote.concurrency,
          world: realWorld,
          requestTimeoutMs: remote.requestTimeoutMs,
          stop: stop.signal,
          allowed: allowed.get(sync.name) ?? {},
          prove: () =>
            (proof ??= remote.check(stop.signal).catch((error: unknown) => {
              if (!stop.signal.aborted) throw error;
              throw new RunError('interrupted', 'Stopped before anything was sent.', { retryable: true });
            })),
          emit: (event: RunEvent) => {
            manifest.take(event);
            follower.take(event);
          },
        };
        if ('state' in sync)
          return applySync({
            ...common,
            sync,
            decision: decisionOf(options, sync.name),
            leaseTtlMs: settings.leaseTtlMs,
            previewed: marks.get(sync.name),
            abandon: options.abandon?.includes(sync.name) === true,
            backfill: backfill ?? filled.get(sync.name) ?? undefined,
            mayCreate: true,
          });
        const stateOf = stateFile(dir, plan.target, sync.name);
        return applyDirect({
          ...common,
          previewed: marks.get(sync.name),
          sync,
          file: stateOf,
          process: { pid: process.pid, host: hostname() },
        });
      };
      const worker = async (): Promise<void> => {
        while (!stop.signal.aborted && !(options.failFast && failed > 0)) {
          const sync = queue.shift();
          if (!sync) return;
          const { name } = sync;
          await one(sync).catch((error: unknown) => {
            failed++;
            follower.drop(name);
            const code = error instanceof RunError ? error.code : 'internal';
            const message = maskSecrets(error instanceof Error ? error.message : String(error), remote.secrets);
            manifest.fail(name, code, message);
            printError({ code, sync: name, message, hint: error instanceof RunError ? error.hint : undefined });
          });
        }
      };
      try {
        await Promise.all(Array.from({ length: Math.min(threads, queue.length) }, worker)).finally(follower.close);
        if (queue.length > 0)
          err(
            `${stop.signal.aborted ? 'Stopped' : '--fail-fast'}: ${count(queue.length, 'sync')} ${queue.length === 1 ? 'was' : 'were'} not started.`,
          );
      } finally {
        await manifest.finish().catch((error: unknown) => {
          failed++;
          printError({
            code: 'disk',
            message: `The manifest in target/syncline/${plan.target}/ cannot be written: ${diskReason(error) ?? String(error)}. What was sent is on record in the warehouse. Make room or give the right to write.`,
          });
        });
        await writeSummary(manifest.content).catch((error: unknown) =>
          err(`The job summary cannot be written: ${diskReason(error) ?? String(error)}.`),
        );
      }
    } finally {
      await remote.close();
    }
  } finally {
    process.removeListener('SIGINT', interrupt);
    await warehouse.close();
  }
  return failed > 0 || stop.signal.aborted ? 1 : 0;
}

/** A flag that names a sync is never without effect. */
function refuseUnknown({ resend = [], forward = [], abandon = [] }: ApplyOptions, { syncs }: Loaded): void {
  for (const name of [...resend, ...forward, ...abandon])
    if (!syncs.some((s) => s.name === name))
      throw new FoundBefore(`--resend, --forward and --abandon take names of selected syncs, and ${name} is none.`);
  for (const name of resend) {
    const { mode } = syncs.find((s) => s.name === name) ?? { mode: 'mirror' };
    if (mode !== 'mirror')
      throw new FoundBefore(
        `--resend sends every row of a mirror again, and ${name} is mode ${mode}: ${mode === 'full' ? 'its next run sends what there is' : mode === 'append' ? `--backfill FROM..TO sends its rows again` : `\`syncline reset ${name}\` lets it send everything again`}.`,
      );
    if (forward.includes(name)) throw new FoundBefore(`--resend and --forward both name ${name}: take one of them.`);
  }
}

/** A preview is applied as it is: what it does not say cannot be asked for beside it. */
async function previewFor(file: string, loaded: Loaded, options: ApplyOptions): Promise<PreviewFile> {
  if (
    [
      options.due,
      options.resend,
      options.forward,
      options.abandon,
      options.backfill,
      options.select,
      options.exclude,
    ].some((o) => o !== undefined)
  )
    throw new FoundBefore(
      'A preview says which syncs are applied and how: leave -s, --exclude, --due, --resend, --forward, --abandon and --backfill out.',
    );
  return readPreview(file, loaded);
}

/** What is about to happen, so that a yes is no yes to something else. */
function questionOf({ target }: Plan, syncs: readonly { readonly name: string }[]): string {
  const names = syncs.map((s) => s.name);
  return `Apply ${count(names.length, 'sync')} to ${target} (${some(names, 10)})?`;
}

function decisionOf({ resend, forward }: ApplyOptions, name: string): 'resend' | 'forward' | undefined {
  if (resend?.includes(name)) return 'resend';
  return forward?.includes(name) ? 'forward' : undefined;
}

/** What you review is what runs: a compiled folder that differs is refused, and on a protected target a missing one. */
async function refuseUnreviewed(loaded: Loaded): Promise<void> {
  const differing = await differsFromReviewed(loaded);
  if (differing !== undefined) throw new RunError('compiled-differs', differing, { retryable: false });
}
