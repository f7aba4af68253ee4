import type { DirectPlan, Plan } from '../schemas/types.ts';
import { previewMoved, RunError } from './errors.ts';
import type { RunCounts, RunEvent } from './events.ts';
import type { Send } from './deliver.ts';
import type { Watch } from './mixpanel/http.ts';
import type { Mixpanel } from './mixpanel/import.ts';
import { isSameMapping } from './mapping.ts';
import { retiredNames } from './names.ts';
import { Runner, violated } from './run.ts';
import type { Baseline } from './state.ts';
import { digestOf } from './state.ts';
import type { FileReject, FileState } from './state-file.ts';
import { lockStateFile, readStateFile } from './state-file.ts';
import type { Values } from './values.ts';
import type { Row, Warehouse } from './warehouses/warehouse.ts';
import type { World } from './world.ts';

export interface DirectRun {
  readonly plan: Plan;
  readonly sync: DirectPlan;
  /** The state file of this sync. */
  readonly file: string;
  readonly process: { readonly pid: number; readonly host: string };
  readonly warehouse: Warehouse;
  readonly mixpanel: Mixpanel;
  readonly concurrency: number;
  readonly world: World;
  readonly requestTimeoutMs: number;
  readonly allowed?: Values;
  /** The mark of the state that was previewed: refused when it is another one by now. */
  readonly previewed?: string | undefined;
  readonly prove?: (signal: AbortSignal) => Promise<void>;
  readonly emit: (event: RunEvent) => void;
  readonly stop: AbortSignal;
}

/**
 * One apply of a sync of a target without write access. The query is delivered as it is read; there is no outbox and
 * no checkpoint, so a run that was interrupted is sent again as a whole within the same bounds: events have ids that
 * make that harmless, profiles and lookup tables are set to the same values.
 */
export async function applyDirect(run: DirectRun): Promise<void> {
  const { world, file } = run;
  const release = await lockStateFile(world, file, run.process);
  try {
    const found = await readStateFile(world, file, {
      project: run.plan.project,
      target: run.plan.target,
      mixpanel: run.mixpanel.name,
      sync: run.sync,
    });
    if (run.previewed !== undefined && markOfFile(found) !== run.previewed) throw previewMoved(run.sync.name);
    if (!found) await run.prove?.(run.stop);
    const state: FileState = found ?? {
      layout: 1,
      project: run.plan.project,
      target: run.plan.target,
      mixpanel: run.mixpanel.name,
      run: 0,
      baseline: null,
      pending: null,
      quietUntil: 0,
      rejects: [],
    };
    const runner = await Runner.open(run.plan, run.warehouse);
    try {
      const after = state.pending ? await attempt(run, runner, state) : state;
      // One apply leaves nothing pending: what came since the interrupted run is another run.
      if (!run.stop.aborted) await attempt(run, runner, after);
    } finally {
      await runner.close();
    }
  } finally {
    await release();
  }
}

/** Names what a preview was counted against; it changes with what a run leaves behind. */
export const markOfFile = (state: FileState | undefined): string =>
  digestOf([state?.run ?? 0, state?.baseline ?? null, state?.pending ?? null, state?.rejects ?? []]);

/** What a run knows before it reads rows. */
export function directValues(plan: Plan, sync: DirectPlan, state: FileState | undefined): Values {
  const baseline = state?.baseline ?? null;
  return {
    watermark_from: baseline?.watermark_to ?? null,
    content_from: baseline && isSameMapping(sync, baseline) ? (baseline.content ?? null) : null,
    resend: 0,
    backfill: 0,
    position: null,
    done: sync.mode === 'one_time' && baseline ? 1 : 0,
    seen_from: null,
    ...retiredNames(plan, sync, baseline),
    again: 0,
  };
}

async function attempt(run: DirectRun, runner: Runner, state: FileState): Promise<FileState> {
  const { sync, world, emit } = run;
  const resumed = state.pending !== null;
  const number = state.run + 1;
  emit({ type: 'begin', sync: sync.name, run: number, resumed });
  const onStatement = (step: string): void => emit({ type: 'step', sync: sync.name, step });
  let values = await runner.steps(sync.probe, directValues(run.plan, sync, state), onStatement);
  // An interrupted run is read again up to where it was read before.
  if (state.pending) values = { ...values, watermark_to: state.pending.watermark_to ?? null };
  const pending: Baseline = {
    kind: sync.kind,
    mode: sync.mode,
    mapping: sync.mapping,
    watermark_to: textOf(values['watermark_to']),
    content: textOf(values['content']),
  };
  const save = async (next: FileState): Promise<FileState> => {
    await world.writeFileAtomic(run.file, JSON.stringify(next, null, 1) + '\n');
    return next;
  };
  // Its table is sent; what Mixpanel refused of it is all that is left.
  const isDone = !resumed && values['done'] === 1;
  const counted = isDone ? [] : await runner.rows(sync.preview, values);
  const [unfit] = unfitRows(sync, counted);
  if (unfit) throw unfit;
  const expected = tally(counted);
  const earlier = sync.mode === 'full' ? [] : state.rejects;
  const retried = earlier.filter((r) => r.payload !== null);
  emit({
    type: 'captured',
    sync: sync.name,
    records: expected.sent + expected.invalid + retried.length,
    invalid: expected.invalid,
    batches: Math.ceil(expected.sent / sync.deliver.limits.records),
  });
  if (expected.sent + expected.invalid + retried.length === 0) {
    const next = await save({ ...state, finishedMs: world.now(), pending: null, baseline: pending });
    emit({ type: 'unchanged', sync: sync.name, run: number, done: values['done'] === 1 });
    return next;
  }
  const [stopped] = stoppedBy(sync, { ...expected, resumed }, run.allowed);
  if (stopped) throw stopped;
  await run.prove?.(run.stop);
  const begun = await save({ ...state, pending, quietUntil: world.now() + run.requestTimeoutMs });
  if (resumed && state.quietUntil > world.now()) await world.sleep(state.quietUntil - world.now(), run.stop);

  const result = await deliverRows(
    run,
    isDone ? nothing() : runner.stream(sync.deliver.read, values),
    earlier,
    expected.sent + retried.length,
  );
  if (run.stop.aborted)
    throw new RunError('interrupted', 'Stopped. The next apply sends this run again within the same bounds.', {
      retryable: true,
    });
  const { refused } = result;
  // Every profile is sent again, so what was refused of it is, too.
  const namesLeft = refused > 0 && values['retired'] !== '' ? { retired: textOf(values['retired']) ?? '' } : {};
  const isLookupRefused = sync.deliver.table !== null && refused > 0;
  const next = await save({
    ...begun,
    ...(isLookupRefused ? {} : { finishedMs: world.now() }),
    run: number,
    pending: null,
    baseline: isLookupRefused ? state.baseline : { ...pending, ...namesLeft },
    rejects: result.rejects,
  });
  emit({ type: 'committed', sync: sync.name, run: number, counts: counts(result) });
  if (isLookupRefused)
    throw new RunError(
      'mixpanel-rejected',
      `Mixpanel refused the lookup table: ${(result.rejects[0]?.reason ?? '').replace(/\.+$/, '')}.`,
      { retryable: false },
    );
  return next;
}

async function* nothing(): AsyncGenerator<readonly Row[]> {
  // A table that was sent once is not read again.
}

const textOf = (value: number | string | null | undefined): string | null => (value == null ? null : String(value));

/** Records that are sent and that are not, and the rows that they are of, as a preview's statement counted them. */
export function tally(counted: readonly Row[]) {
  const [valid, invalid] = [true, false].map((is) => counted.filter((r) => (r['reason'] === null) === is)) as [
    Row[],
    Row[],
  ];
  const sum = (some: readonly Row[], column: string): number => some.reduce((n, r) => n + Number(r[column]), 0);
  return {
    sent: sum(valid, 'records'),
    rows: sum(valid, 'row_count'),
    invalid: sum(invalid, 'records'),
    invalidRows: sum(invalid, 'row_count'),
  };
}

/** What the rows are refused for: the statement that counted them found it under the names of the plan's checks. */
export function unfitRows(sync: DirectPlan, counted: readonly Row[]): readonly RunError[] {
  return sync.checks.flatMap(({ name, message }) => {
    const found = counted
      .filter((r) => r['row_change'] === null && r['change'] === name)
      .map((r) => String(r['reason']));
    return found.length === 0 ? [] : [violated({ otherwise: 'check-failed', message }, found)];
  });
}

/** The guards that stop a run with rows of these counts. */
export function stoppedBy(
  sync: DirectPlan,
  { sent, rows, invalidRows, resumed }: ReturnType<typeof tally> & { readonly resumed: boolean },
  allowed: Values = {},
): readonly RunError[] {
  const stopped: RunError[] = [];
  const stop = (message: string): number => stopped.push(new RunError('guard', message, { retryable: false }));
  const measure = (name: 'max_changes' | 'max_rejects', limit: number | null, count: number): void => {
    const ceiling = allowed[`allow_${name}`] ?? limit;
    if (ceiling !== null && count > Number(ceiling))
      stop(
        `The guard ${name} stopped this run before anything was sent (${count} rows). Check the source; if the change is meant, raise the guard, or once: --allow ${sync.name}.${name}=N.`,
      );
  };
  if (!resumed) measure('max_changes', sync.maxChanges, rows);
  if (!resumed) measure('max_rejects', sync.maxRejects, invalidRows);
  if (sync.deliver.table && sent === 0)
    stop('The source of the lookup table is empty, and Mixpanel takes no empty table.');
  return stopped;
}

/** Counts of rows: the two updates of a profile are one change of its row. */
interface Delivered {
  readonly accepted: number;
  readonly refused: number;
  readonly invalid: number;
  readonly billable: number;
  readonly rejects: readonly FileReject[];
}

/** Sends rows as they come, in batches; of the earlier records those that can be sent go first. */
async function deliverRows(
  run: DirectRun,
  pieces: AsyncIterable<readonly Row[]>,
  earlier: readonly FileReject[],
  total: number,
): Promise<Delivered> {
  const { sync, mixpanel, emit, stop } = run;
  const rejects: FileReject[] = [];
  const tallied = { rows: 0, billable: 0, sent: 0 };
  const isProfile = sync.kind === 'user_profiles' || sync.kind === 'group_profiles';
  const [invalid, refused] = [new Set<string>(), new Set<string>()];
  // Records of a profile with one name are one row; every other record is a row of its own.
  const rowOf = (record: FileReject, others: ReadonlySet<string>): string =>
    isProfile ? record.row_key : String(others.size);
  const watch: Watch = {
    // Batches in flight end also when the person asks to stop.
    signal: new AbortController().signal,
    beforeRequest: () => undefined,
    unanswered: () => undefined,
  };
  if (sync.deliver.table) {
    const rows: FileReject[] = [];
    const result = await mixpanel.replaceLookup(sync.deliver.table.id, csv(sync.deliver.table.header, pieces), watch);
    if (!result.accepted) rows.push({ also: 0, row_key: '*', change: 'insert', reason: result.reason, payload: '' });
    return { accepted: result.accepted ? total : 0, refused: rows.length, invalid: 0, billable: 0, rejects: rows };
  }
  const { endpoint, also, limits } = sync.deliver;
  const send: Send = (batch, w, to) => {
    if (to === 1 && also !== null) return mixpanel.importBatch(batch, w);
    return endpoint === 'engage' || endpoint === 'groups'
      ? mixpanel.engageBatch(endpoint, batch, w)
      : mixpanel.importBatch(batch, w);
  };
  const flying = new Set<Promise<void>>();
  let failure: unknown;
  const post = async (batch: readonly FileReject[], to: number): Promise<void> => {
    const result = await send(
      batch.map((r) => r.payload ?? ''),
      watch,
      to,
    );
    result.notes.forEach((message) => emit({ type: 'note', sync: sync.name, message }));
    for (const { index, reason } of result.refused) {
      const record = batch[index];
      if (!record) continue;
      rejects.push({ ...record, reason });
      refused.add(rowOf(record, refused));
    }
    if (to === 1 || endpoint === 'import') tallied.billable += batch.length - result.refused.length;
    emit({ type: 'sent', sync: sync.name, records: (tallied.sent += batch.length), total });
  };
  const queues: [FileReject[], FileReject[]] = [[], []];
  const bytes = [0, 0];
  const flush = async (to: 0 | 1): Promise<void> => {
    const batch = queues[to];
    if (batch.length === 0) return;
    queues[to] = [];
    bytes[to] = 0;
    while (flying.size >= run.concurrency) await Promise.race(flying);
    const flight: Promise<void> = post(batch, to)
      .catch((error: unknown) => void (failure ??= error))
      .finally(() => flying.delete(flight));
    flying.add(flight);
  };
  const add = async (record: FileReject): Promise<void> => {
    const to = record.also === 1 ? 1 : 0;
    queues[to].push(record);
    bytes[to] = (bytes[to] ?? 0) + Buffer.byteLength(record.payload ?? '');
    if (queues[to].length >= limits.records || bytes[to] >= limits.bytes) await flush(to);
  };
  // An invalid row that is not read again is still not in Mixpanel; one that is read again is judged again.
  const unread = new Map(earlier.filter((r) => r.payload === null).map((r) => [nameOf(r), r]));
  const again = new Set<string>();
  for (const record of earlier) {
    if (record.payload === null) continue;
    again.add(rowOf(record, again));
    await add(record);
  }
  tallied.rows = again.size;
  for await (const rows of pieces) {
    if (failure !== undefined || stop.aborted) break;
    for (const row of rows) {
      const record = recordOf(row);
      unread.delete(nameOf(record));
      if (row['reason'] === null) {
        if (record.companion !== 1) tallied.rows++;
        await add(record);
      } else {
        invalid.add(rowOf(record, invalid));
        // One that is only too early is tried again: nobody reads its row again.
        rejects.push({ ...record, payload: row['reason'] === 'time-in-future' ? record.payload : null });
      }
    }
  }
  if (!stop.aborted) for (const to of [0, 1] as const) await flush(to);
  await Promise.all(flying);
  if (failure !== undefined) throw failure instanceof Error ? failure : new Error(JSON.stringify(failure));
  const lost = [...refused].filter((row) => !isProfile || !invalid.has(row)).length;
  return {
    accepted: tallied.rows - lost,
    refused: lost,
    invalid: invalid.size,
    billable: tallied.billable,
    rejects: [...unread.values(), ...rejects],
  };
}

const nameOf = (record: FileReject): string => `${record.change} ${record.row_key}`;

const recordOf = (row: Row): FileReject => ({
  also: Number(row['also'] ?? 0),
  ...(Number(row['companion'] ?? 0) === 1 ? { companion: 1 } : {}),
  row_key: String(row['row_key']),
  change: String(row['change']),
  reason: String(row['reason'] ?? ''),
  payload: textOf(row['payload']),
});

async function* csv(header: string, pieces: AsyncIterable<readonly Row[]>): AsyncGenerator<string> {
  yield `${header}\n`;
  for await (const rows of pieces) {
    if (rows.some((row) => row['payload'] === null))
      throw new RunError('check-failed', 'A row is longer than a text of the warehouse. Send fewer columns of it.', {
        retryable: false,
      });
    yield rows.map((row) => `${String(row['payload'])}\n`).join('');
  }
}

function counts(result: Delivered): RunCounts {
  return {
    captured_inserts: result.accepted + result.refused + result.invalid,
    captured_updates: 0,
    captured_deletes: 0,
    attempted_inserts: result.accepted + result.refused,
    attempted_updates: 0,
    attempted_deletes: 0,
    accepted_inserts: result.accepted,
    accepted_updates: 0,
    accepted_deletes: 0,
    refused: result.refused,
    invalid: result.invalid,
    billable: result.billable,
  };
}
