import type { Plan, SyncPlan } from '../schemas/types.ts';
import type { Delivery, DeliverPort, Send } from './deliver.ts';
import { deliver, deliverTable } from './deliver.ts';
import { previewMoved, RunError } from './errors.ts';
import type { RunCounts, RunEvent } from './events.ts';
import { Lease } from './lease.ts';
import type { Decision } from './mapping.ts';
import { isStale, routeOf, staleDecisions } from './mapping.ts';
import type { Mixpanel } from './mixpanel/import.ts';
import { Readers, Runner } from './run.ts';
import { ensureState, recordOf } from './setup.ts';
import { dropRun, isQuiet, probeSnapshot, prolonged, snapshotsOf, unlessGone } from './snapshot.ts';
import type { Baseline, State } from './state.ts';
import { baselineOf, markOf, packed, toState, valuesOf, verifyState } from './state.ts';
import type { Values } from './values.ts';
import type { Warehouse } from './warehouses/warehouse.ts';
import type { World } from './world.ts';

export interface SyncRun {
  readonly plan: Plan;
  readonly sync: SyncPlan;
  readonly warehouse: Warehouse;
  readonly mixpanel: Mixpanel;
  readonly concurrency: number;
  readonly world: World;
  readonly leaseTtlMs: number;
  /** How long one request may take; after it none of its copies can land. Zero where requests die with the process. */
  readonly requestTimeoutMs: number;
  readonly emit: (event: RunEvent) => void;
  /** Proves that Mixpanel takes requests, before a run may send: a wrong setting then leaves nothing half done. */
  readonly prove?: (signal: AbortSignal) => Promise<void>;
  /** Aborted when the person asks to stop. */
  readonly stop: AbortSignal;
  /** Ceilings of guards for this run only, as late values. */
  readonly allowed?: Values;
  /** What was decided on the command line for a changed mapping. */
  readonly decision?: Decision | undefined;
  /** Takes everything back that the ledger knows, instead of capturing what changed. */
  readonly purge?: boolean;
  /** Gives up what an interrupted run has still to send: the next run compares those rows again. */
  readonly abandon?: boolean;
  /** Sends an append's rows of this range of insert times again, and moves no position. */
  readonly backfill?: Range | undefined;
  /** The mark of the state that was previewed: refused when it is another one by now. */
  readonly previewed?: string | undefined;
  /** Makes the sync's tables where nothing shows that it ever ran; otherwise a missing state is an error. */
  readonly mayCreate: boolean;
}

/** Insert times as the source writes them; the start belongs to the range, the end does not. */
export interface Range {
  readonly from: string;
  readonly to: string;
}

/** One apply of one sync: finishes an interrupted run, then runs anew, so that nothing stays pending. */
export async function applySync(run: SyncRun): Promise<void> {
  await ensureState(run);
  const first = await persistently(run);
  if (first === 'resumed' && !run.stop.aborted) await persistently({ ...run, previewed: undefined, abandon: false });
}

const ATTEMPTS = 3;

/**
 * Begins again where another transaction crossed ours: what was undone is not on record, so begin goes on from what
 * is, and finishes a run that is `sending` before it captures anew.
 */
async function persistently(run: SyncRun): Promise<'resumed' | 'done'> {
  let previewed = run.previewed;
  const emit = (event: RunEvent): void => {
    // The state was as it was previewed when the run began; by now the run has changed it.
    if (event.type === 'begin') previewed = undefined;
    run.emit(event);
  };
  for (let tries = 1; ; tries++)
    try {
      return await attempt({ ...run, previewed, emit });
    } catch (error) {
      const isConflict = error instanceof RunError && error.code === 'warehouse-conflict';
      if (!isConflict || tries === ATTEMPTS || run.stop.aborted) throw error;
      run.emit({ type: 'note', sync: run.sync.name, message: `${error.message}; it is begun again` });
    }
}

/** A preview is of one state. The record is read after the state: a run that ends in between is in it. */
async function refuseMoved({ plan, sync, previewed }: SyncRun, runner: Runner, state: State): Promise<void> {
  if (previewed === undefined) return;
  const { lastRun } = await recordOf(runner, plan, sync);
  if (markOf(state, lastRun) !== previewed) throw previewMoved(sync.name);
}

/**
 * Reads the state and proves that this plan may use it.
 * @param isEnd true where its tables are to go, whatever they were
 */
export async function readState(
  runner: Runner,
  plan: Plan,
  sync: SyncPlan,
  mixpanel: string,
  isEnd = false,
): Promise<State> {
  const [row] = await runner.rows(sync.state.read);
  if (!row)
    throw new RunError('state-missing', `${sync.name} has no row in its state table. Restore it.`, {
      retryable: false,
    });
  const state = toState(row);
  const { project, target } = plan;
  verifyState(sync.name, state, { project, target, mixpanel, sync: isEnd ? undefined : sync });
  return state;
}

/** The right to run a sync, with what a holder needs to use it. */
export interface Held {
  readonly runner: Runner;
  readonly lease: Lease;
  readonly state: State;
  readonly values: Values;
  readonly release: () => Promise<void>;
  /** Ends it where no state is left that could be released. */
  readonly end: () => Promise<void>;
}

/**
 * Wins the lease, or throws `lease-held`. What was read before the win is not used after it.
 * @param quiet milliseconds that nobody may send after this release
 * @param isEnd true where its tables are to go, whatever they were
 */
export async function begin(run: SyncRun, quiet: () => number, isEnd = false): Promise<Held> {
  const { plan, sync, world } = run;
  const runner = await Runner.open(plan, run.warehouse);
  const read = (): Promise<State> => readState(runner, plan, sync, run.mixpanel.name, isEnd);
  const renewals = await Runner.open(plan, run.warehouse);
  const close = async (): Promise<void> => {
    await renewals.close();
    await runner.close();
  };
  try {
    const seen = await read();
    // The lease writes down which project this state is of: a mistyped host must not get there.
    if (seen.mixpanel === '') await run.prove?.(run.stop);
    await refuseMoved(run, runner, seen);
    const holder = world.randomId();
    const sent = { wall: world.now(), monotonic: world.monotonic() };
    const fence = { version: seen.version + 1, run: seen.version + 1, holder, ttl_ms: run.leaseTtlMs };
    await runner
      .statement(sync.state.lease, {
        ...fence,
        state_version: seen.version,
        state_holder: seen.holder ?? '',
        quiet_ms: run.requestTimeoutMs,
        mixpanel: run.mixpanel.name,
      })
      .catch(async (error: unknown) => {
        // An unknown answer is settled by reading who holds it.
        const now = await read();
        if (now.holder === holder && now.version === fence.version) return;
        throw error instanceof RunError && error.code === 'lease-held' ? held(sync.name, now) : error;
      });
    const state = await read();
    if (state.version !== fence.version || state.holder !== holder) throw held(sync.name, state);
    const lease = new Lease(
      world,
      run.leaseTtlMs,
      () => renewals.statement(sync.state.renew, fence).then(() => undefined),
      sent,
    );
    lease.start();
    const release = async (): Promise<void> => {
      await lease.stop();
      await lease
        .write(() => runner.statement(sync.state.release, { ...fence, quiet_ms: quiet() }))
        .catch((error: unknown) => {
          if (!(error instanceof RunError && error.code === 'lease-lost')) throw error;
        })
        .finally(close);
    };
    const end = async (): Promise<void> => {
      await lease.stop();
      await close();
    };
    return { runner, lease, state, values: { ...fence, id_space: state.idSpace, epoch: state.epoch }, release, end };
  } catch (error) {
    await close();
    throw error;
  }
}

function held(sync: string, state: State): RunError {
  return new RunError(
    'lease-held',
    `${sync} is being applied by another process until ${new Date(state.leaseUntil).toISOString()}. Wait for it; if it is dead, run \`syncline force-unlock ${sync}\`.`,
    { retryable: true },
  );
}

async function attempt(run: SyncRun): Promise<'resumed' | 'done'> {
  const { sync, world, emit } = run;
  let unanswered = Number.NEGATIVE_INFINITY;
  const quiet = (): number => Math.max(0, Math.ceil(unanswered + run.requestTimeoutMs - world.now()));
  const me = await begin(run, quiet);
  const { runner, lease, state } = me;
  const story = {
    ...run,
    ...me,
    onUnanswered: (startedAt: number) => (unanswered = Math.max(unanswered, startedAt)),
    onStatement: (file: string) => emit({ type: 'step', sync: sync.name, step: file }),
  };
  const resumed = state.phase === 'sending' && state.run !== null;
  let release = true;
  try {
    // An earlier holder may have gone on until the lease was won.
    await refuseMoved(run, runner, state);
    // Only what an earlier destroy took back is finished by another one.
    if (resumed && run.purge === true && pendingOf(state).purged !== 1) throw interruptedRun(sync.name, state);
    emit({ type: 'begin', sync: sync.name, run: resumed ? state.run : state.version, resumed });
    if (resumed) {
      const { watermark_to, adopted } = pendingOf(state);
      const values = { ...me.values, run: state.run, watermark_to: watermark_to ?? null, adopted: adopted ?? 0 };
      await finish(story, values, state.nextBatch, true);
    }
    if (!resumed) {
      if (run.abandon === true)
        emit({ type: 'note', sync: sync.name, message: 'it has no interrupted run, so --abandon gives nothing up' });
      const names = await outboxesOf(runner, sync, state);
      await drop(story, { ...state, names }, (n) => n < state.version && n !== state.run);
      await fresh(story);
    }
    // Only what is below its own number, and its own only after its commit, is a holder's to drop.
    const after = await readState(runner, run.plan, sync, run.mixpanel.name);
    if (after.version === state.version && after.phase === 'idle') await drop(story, after, () => true);
  } catch (error) {
    // After an unknown answer to a flip the process ends and drops nothing: the next holder's lease fences it.
    if (error instanceof FlipUnknown) release = false;
    throw error instanceof FlipUnknown ? error.cause : error;
  } finally {
    if (release)
      await me.release().catch((error: unknown) =>
        emit({
          type: 'note',
          sync: sync.name,
          message: `the lease was not released: ${error instanceof Error ? error.message : String(error)}`,
        }),
      );
    else await lease.stop();
  }
  return resumed ? 'resumed' : 'done';
}

/** What an interrupted run leaves once it is finished. */
export const pendingOf = ({ pending }: Pick<State, 'pending'>): Partial<Baseline> =>
  JSON.parse(pending ?? '{}') as Partial<Baseline>;

/** Why a sync that is `sending` cannot be reset or destroyed. */
export const interruptedRun = (sync: string, state: Pick<State, 'pending'>): RunError =>
  new RunError(
    'check-failed',
    pendingOf(state).purged === 1
      ? `A \`destroy --data\` of ${sync} was interrupted. Run \`syncline destroy --data ${sync}\` again, so that it takes back the rest.`
      : `${sync} has an interrupted run. Run \`syncline apply -s ${sync}\` first, so that what it sent is known; with \`--abandon ${sync}\` it sends nothing more of that run.`,
    { retryable: false },
  );

class FlipUnknown extends Error {}

type Story = SyncRun &
  Held & { readonly onUnanswered: (startedAt: number) => void; readonly onStatement: (file: string) => void };

/**
 * Run numbers whose outboxes and snapshots may be there: those that the state names, and those of processes that made
 * one after they had been paused past their lease, or whose job ended that late, which no state names.
 */
export async function outboxesOf(runner: Runner, { state: { outboxes } }: SyncPlan, state: State): Promise<number[]> {
  const found = outboxes === '' ? [] : await runner.rows(outboxes);
  const strays = found
    .flatMap((row) => /__(?:outbox|snapshot)_(\d+)(?:_partitions)?$/.exec(String(row['name']))?.[1] ?? [])
    .map(Number);
  return [...new Set([...state.names, ...strays.filter((n) => n < state.version)])];
}

async function drop(story: Story, state: State, gone: (n: number) => boolean): Promise<void> {
  const { sync, runner, values } = story;
  const baseline = state.baseline === null ? null : (JSON.parse(state.baseline) as Baseline);
  // The snapshot that the next run compares with stays, and its number with it: it goes when another one replaces it.
  const kept = baseline?.snapshot?.name;
  const isKept = (n: number): boolean => kept !== undefined && snapshotsOf(sync, baseline, n).includes(kept);
  const dead = state.names.filter(gone);
  if (dead.every((n) => isKept(n) && n < state.version)) return;
  for (const run of dead)
    await dropRun(runner, sync, baseline, run, { ...values, kept: kept ?? null }, story.onStatement);
  const names = state.names
    .filter((n) => !gone(n) || isKept(n))
    .map((n) => `${n} `)
    .join('');
  await story.lease.write(() => story.runner.statement(story.sync.state.forget, { ...story.values, names }));
}

/** probe → capture → deliver → commit */
async function fresh(story: Story): Promise<void> {
  const { sync, runner, lease, state, emit } = story;
  const baseline = state.baseline === null ? null : (JSON.parse(state.baseline) as Baseline);
  const purge = story.purge === true ? sync.destroy.data : null;
  for (const hash of purge ? [] : staleDecisions(sync, baseline))
    emit({ type: 'note', sync: sync.name, message: isStale(hash) });
  const route = purge ? { forward: false, values: { resend: 0 } } : routeOf(sync, baseline, story.decision);
  if (route.forward)
    emit({
      type: 'note',
      sync: sync.name,
      message: 'the mapping changed: checksums are rewritten, and only rows that changed are sent',
    });
  const adopted = sync.adopts && baseline === null && !purge ? 1 : 0;
  if (story.decision === 'resend' && !purge && (adopted === 1 || route.values['resend'] !== 1))
    emit({
      type: 'note',
      sync: sync.name,
      message:
        adopted === 1
          ? 'it begins anew with `initial: skip`, which sends nothing: --resend sends every row once that is done'
          : '--resend decided the change of its condition, so rows that stay are not sent again: once more, it sends every row',
    });
  const known: Values = {
    ...valuesOf(story.plan, sync, state, story.allowed),
    ...route.values,
    ...story.values,
    adopted,
  };
  const { backfill } = story;
  // Where no snapshot of a last run is, the ledger alone tells what Mixpanel shows.
  const anew = sync.snapshot !== null && baseline?.snapshot === undefined ? sync.snapshot.anew : null;
  const forward = anew ? anew.forward : sync.capture.forward;
  const fill = purge
    ? (anew?.destroy ?? purge)
    : route.forward && forward
      ? forward
      : (anew?.fill ?? sync.capture.fill);
  const filled = await runner.stoppable(story.stop, async () => {
    // What is taken back is not read from the source, which may be gone in all but name.
    const seen = purge ? known : await runner.steps(sync.probe, known, story.onStatement);
    const probed = await probeSnapshot(runner, sync, baseline, seen);
    const isSame = !purge && !route.forward && isQuiet(sync, baseline, probed);
    const bounds = backfill ? { ...probed, ...backfillOf(sync, baseline, backfill) } : probed;
    const steps = isSame && sync.snapshot ? sync.snapshot.quiet : fill;
    const values = await unlessGone(runner, sync, baseline, seen, () => runner.steps(steps, bounds, story.onStatement));
    if (!purge && !isSame) await runner.steps(sync.capture.checks, values, story.onStatement);
    return { isSame, values };
  });
  let { values } = filled;
  const [totals] = await runner.rows(sync.capture.totals, { ...values, next_batch: 0 });
  const captured = Number(totals?.['captured'] ?? 0);
  const invalid = Number(totals?.['invalid'] ?? 0);
  // A backfill leaves the position where it was, and what `seen` keeps of the window before it.
  if (story.backfill) values = { ...values, watermark_to: baseline?.watermark_to ?? null };
  const manner = { ...(adopted === 1 ? { adopted } : {}), ...(purge ? { purged: 1 } : {}) };
  const left =
    filled.isSame && baseline ? prolonged(sync, baseline, values) : baselineOf(sync, { ...values, ...manner });
  const pending = packed(JSON.stringify({ ...left, ...manner }));
  const waiting = Number(values['waiting'] ?? 0);
  if (waiting > 0)
    emit({
      type: 'note',
      sync: sync.name,
      message: `${waiting.toLocaleString('en-US')} ${waiting === 1 ? 'row has' : 'rows have'} an insert time that is not reached yet: sent in a later run`,
    });
  emit({ type: 'captured', sync: sync.name, records: captured, invalid, batches: Number(totals?.['batches'] ?? 0) });
  if (captured === 0) {
    // Commits autocommit here, one statement each: the record is insert-only, and the position is idempotent.
    await lease.write(() => runner.statement(sync.record.write, values));
    await lease.write(() => runner.statement(sync.state.settle, { ...values, pending }));
    emit({ type: 'unchanged', sync: sync.name, run: state.version, done: values['done'] === 1 });
    return;
  }
  await story.prove?.(lease.signal);
  try {
    await lease.write(() => runner.statement(sync.capture.flip, { ...values, pending }));
  } catch (error) {
    if (error instanceof RunError && error.code === 'lease-lost') throw error;
    const now = await readState(runner, story.plan, sync, story.mixpanel.name).catch(() => undefined);
    if (!(now?.phase === 'sending' && now.run === state.version && now.version === state.version))
      throw new FlipUnknown('flip', { cause: error });
  }
  await finish(story, values, 0, false);
}

/** Late values of a capture that fills in a range. */
export function backfillOf(sync: SyncPlan, baseline: Baseline | null, { from, to }: Range): Values {
  if (baseline === null)
    throw new RunError(
      'check-failed',
      `${sync.name} has not run yet, so there is nothing to fill in: its first apply sends every row.`,
      { retryable: false },
    );
  return { backfill: 1, watermark_from: from, watermark_to: to };
}

/** Delivers and commits a run that is `sending`, whatever the current plan says about new ones. */
async function finish(story: Story, values: Values, nextBatch: number, resumed: boolean): Promise<void> {
  const { sync, runner, lease, emit, world } = story;
  const [totals] = await runner.rows(sync.capture.totals, { ...values, next_batch: nextBatch });
  const batches = Number(totals?.['batches'] ?? 0);
  const total = Number(totals?.['remaining'] ?? 0);
  let refused: string | undefined;
  const isAbandoned = resumed && story.abandon === true;
  /** Writes the outbox, which another holder may be reading by the time that a slow server gets to it. */
  const write = (file: string, own: Values): Promise<void> =>
    lease.write(async () => {
      const { hold } = sync.deliver;
      const all = { ...values, ...own };
      if (hold === null) await runner.statement(file, all);
      else
        await runner.atomic([
          [hold, all],
          [file, all],
        ]);
    });
  if (nextBatch < batches && (isAbandoned || values['adopted'] === 1)) {
    if (isAbandoned) {
      await write(sync.deliver.abandon, { next_batch: nextBatch });
      const message = `run ${Number(values['run'])} is abandoned: ${total} records were not sent, and their rows are compared again`;
      emit({ type: 'note', sync: sync.name, message });
    } else
      emit({ type: 'note', sync: sync.name, message: `${total} records are adopted as in Mixpanel: nothing is sent` });
    await lease.write(() => runner.statement(sync.deliver.checkpoint, { ...values, next_batch: batches }));
  } else if (nextBatch < batches) {
    if (story.state.quietLeftMs > 0) {
      emit({
        type: 'waiting',
        sync: sync.name,
        message: `waiting ${Math.ceil(story.state.quietLeftMs / 1000)} s, until no request of an earlier process can land`,
      });
      await world
        .sleep(story.state.quietLeftMs, AbortSignal.any([lease.signal, story.stop]))
        .catch((error: unknown) => {
          if (!story.stop.aborted) throw error;
        });
      if (story.stop.aborted) throw stopped();
    }
    if (resumed) await write(sync.deliver.restart, { next_batch: nextBatch });
    let sent = 0;
    const readers = await Readers.open(story.plan, story.warehouse);
    try {
      const port: DeliverPort = {
        readers: readers.count,
        pages: (batch_from, batch_to) => readers.rows(sync.deliver.pages, { ...values, batch_from, batch_to }),
        outcome: (batch, outcome, refusals, more) => write(sync.deliver.outcome, { batch, outcome, refusals, more }),
        checkpoint: async (next_batch) => {
          await runner.statement(sync.deliver.checkpoint, { ...values, next_batch });
        },
      };
      const delivery: Delivery = {
        batches,
        next: nextBatch,
        resumed,
        concurrency: story.concurrency,
        unanswered: (startedAt) => story.onUnanswered(startedAt),
        stop: story.stop,
        note: (message) => emit({ type: 'note', sync: sync.name, message }),
        progress: (records) => emit({ type: 'sent', sync: sync.name, records: (sent += records), total }),
      };
      // Its rows were written under the header of then.
      const table = (resumed ? pendingOf(story.state).table : undefined) ?? sync.deliver.table;
      if (table) refused = await deliverTable(port, story.mixpanel, lease, table, delivery);
      else await deliver(port, senderOf(sync, story.mixpanel), lease, delivery);
    } finally {
      await readers.close();
    }
    if (story.stop.aborted) throw stopped();
  }
  await lease.write(() => runner.steps(sync.commit, values, story.onStatement));
  const [counts] = await runner.rows(sync.record.read, values);
  emit({ type: 'committed', sync: sync.name, run: Number(values['run']), counts: counts as unknown as RunCounts });
  if (refused !== undefined)
    throw new RunError('mixpanel-rejected', `Mixpanel refused the lookup table: ${refused}. It is as it was.`, {
      retryable: false,
    });
}

const stopped = (): RunError =>
  new RunError('interrupted', 'Stopped. What was sent is recorded; the next apply finishes this run.', {
    retryable: true,
  });

function senderOf(sync: SyncPlan, mixpanel: Mixpanel): Send {
  const { endpoint, also } = sync.deliver;
  return (batch, watch, number) => {
    const to = also !== null && number % 2 === 0 ? also : endpoint;
    return to === 'engage' || to === 'groups'
      ? mixpanel.engageBatch(to, batch, watch)
      : mixpanel.importBatch(batch, watch);
  };
}
