import { createHash } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import type { Plan, SyncPlan } from '../schemas/types.ts';
import { RunError } from './errors.ts';
import { isSameMapping, refuseAnother } from './mapping.ts';
import { retiredNames } from './names.ts';
import type { Values } from './values.ts';
import type { Row } from './warehouses/warehouse.ts';

/** Layout of the staging tables that this version reads and writes. */
const LAYOUT = 1;

/** The one row of a sync's state table. */
export interface State {
  readonly version: number;
  readonly holder: string | null;
  /** True while the holder's lease lasts by the warehouse's clock. */
  readonly held: boolean;
  readonly leaseUntil: number;
  readonly quietLeftMs: number;
  readonly phase: 'idle' | 'sending';
  readonly run: number | null;
  readonly baseline: string | null;
  readonly pending: string | null;
  readonly nextBatch: number;
  readonly idSpace: string;
  readonly epoch: number;
  readonly layout: number;
  readonly project: string;
  readonly target: string;
  readonly mixpanel: string;
  /** Run numbers whose objects may still exist. */
  readonly names: readonly number[];
}

/** What a committed run leaves for the next one; opaque to the warehouse. */
export interface Baseline {
  readonly watermark_to?: string | null;
  /** Digest of the lookup table that Mixpanel has. */
  readonly content?: string | null;
  /** With a late window: rows up to this insert time count as sent, whatever `seen` says. */
  readonly seen_from?: string | null;
  readonly late_window_ms?: number | null;
  /** The lookup table that the run replaces, and its header: a plan that finishes the run may have another one. */
  readonly table?: SyncPlan['deliver']['table'];
  /** 1 where the run sends nothing: its rows are in Mixpanel already. */
  readonly adopted?: number;
  /** The snapshot that the next run compares with, and when the warehouse drops it, by its clock. */
  readonly snapshot?: {
    readonly name: string;
    readonly untilMs: number;
    /** When the table had been written last, and when that was read: before the snapshot was made. */
    readonly modifiedMs: number | null;
    readonly readMs: number;
    /** How many rows it had then. */
    readonly rows: number | null;
  };
  /** The snapshot that was compared with, which goes once this baseline is on record. */
  readonly replaces?: string;
  /** 1 where the run takes back everything, for a sync that is being destroyed. */
  readonly purged?: number;
  readonly mapping: SyncPlan['mapping'];
  /** What the sync was; states of an earlier version do not say. */
  readonly kind?: SyncPlan['kind'];
  readonly mode?: SyncPlan['mode'];
  /** Names of properties under which profiles were sent earlier: see `retiredNames`. */
  readonly retired?: string;
  readonly retried?: string;
  /** How rows were named and compared: SQL that a later plan can compute again. */
  readonly expressions?: SyncPlan['expressions'];
}

/** What setup writes. */
const FRESH = { phase: 'idle', run: null, baseline: null, pending: null, nextBatch: 0, epoch: 0 } as const;

/**
 * Names what a preview was counted against: it changes when a run begins to send, when one ends and when a sync is
 * reset, and not when one is stopped before.
 * @param state undefined before the setup
 * @param lastRun the last run on record: the baseline of a mirror may be the same after it
 */
export function markOf(state: Pick<State, keyof typeof FRESH> | undefined, lastRun: number | null): string {
  const { phase, run, baseline, pending, nextBatch, epoch } = state ?? FRESH;
  return digestOf([lastRun, phase, run, baseline, pending, nextBatch, epoch]);
}

export const digestOf = (values: readonly unknown[]): string =>
  createHash('sha256').update(JSON.stringify(values)).digest('hex').slice(0, 16);

export function toState(row: Row): State {
  const text = (name: string): string => String(row[name] ?? '');
  const integer = (name: string): number => Number(row[name] ?? 0);
  return {
    version: integer('version'),
    holder: row['holder'] === null ? null : text('holder'),
    held: integer('held') === 1,
    leaseUntil: integer('lease_until'),
    quietLeftMs: integer('quiet_left_ms'),
    phase: text('phase') === 'sending' ? 'sending' : 'idle',
    run: row['run'] === null ? null : integer('run'),
    baseline: row['baseline'] === null ? null : unpacked(text('baseline')),
    pending: row['pending'] === null ? null : unpacked(text('pending')),
    nextBatch: integer('next_batch'),
    idSpace: text('id_space'),
    epoch: integer('epoch'),
    layout: integer('layout'),
    project: text('project'),
    target: text('target'),
    mixpanel: text('mixpanel'),
    names: text('names').split(' ').filter(Boolean).map(Number),
  };
}

const PACKED = 'gzip:';

/** A baseline as the state keeps it: one of a wide table is packed, since a text of some warehouses holds 64 KB. */
export const packed = (json: string): string =>
  Buffer.byteLength(json) <= 60_000 ? json : PACKED + gzipSync(json).toString('base64');

const unpacked = (text: string): string =>
  text.startsWith(PACKED) ? gunzipSync(Buffer.from(text.slice(PACKED.length), 'base64')).toString() : text;

/** Whether a newer syncline wrote it: what its columns mean is then not known here. */
export const isNewer = ({ layout }: Pick<State, 'layout'>): boolean => layout > LAYOUT;

/**
 * Refuses a state that belongs to someone else or to a newer syncline.
 * @param expected with a sync, also a state of one that was something else
 */
export function verifyState(
  sync: string,
  state: State,
  expected: {
    readonly project: string;
    readonly target: string;
    readonly mixpanel: string;
    readonly sync?: Pick<SyncPlan, 'name' | 'kind' | 'mode' | 'mapping'> | undefined;
  },
): void {
  const foreign = (what: string, has: string, wants: string): RunError =>
    new RunError(
      'state-foreign',
      `The state of ${sync} belongs to ${what} ${has}, this is ${wants}. Use another staging schema, or the ${what} it was made for.`,
      { retryable: false },
    );
  if (isNewer(state))
    throw new RunError(
      'state-newer',
      `The state of ${sync} was written by a newer syncline (layout ${state.layout}). Upgrade syncline.`,
      { retryable: false },
    );
  if (state.project !== expected.project) throw foreign('project', state.project, expected.project);
  if (state.target !== expected.target) throw foreign('target', state.target, expected.target);
  // Profiles and events may be of two Mixpanel projects: what the sync was comes first.
  const last = state.pending ?? state.baseline;
  if (expected.sync) refuseAnother(sync, expected.sync, last === null ? null : (JSON.parse(last) as Baseline));
  const isSandbox = (name: string): boolean => name.startsWith('http://sandbox-');
  if (isSandbox(state.mixpanel) && isSandbox(expected.mixpanel) && state.mixpanel !== expected.mixpanel)
    throw new RunError(
      'state-foreign',
      `The state of ${sync} is of another sandbox: sandbox.duckdb was deleted or replaced since. Restore it; or drop the staging schema, so that everything is sent to the new one.`,
      { retryable: false },
    );
  if (state.mixpanel !== '' && state.mixpanel !== expected.mixpanel)
    throw foreign('Mixpanel project', state.mixpanel, expected.mixpanel);
}

/**
 * What a run knows before it looks at the source. `again` is 1 when the sync ran before and does not know what
 * Mixpanel shows any more.
 */
export function valuesOf(plan: Plan, sync: SyncPlan, state: State | undefined, allowed: Values = {}): Values {
  const baseline = state?.baseline == null ? null : (JSON.parse(state.baseline) as Baseline);
  return {
    id_space: state?.idSpace ?? sync.name,
    epoch: state?.epoch ?? 0,
    watermark_from: baseline?.watermark_to ?? null,
    seen_from: seenFrom(sync, baseline),
    // Another way to write the table is another content.
    content_from: baseline && isSameMapping(sync, baseline) ? (baseline.content ?? null) : null,
    done: sync.mode === 'one_time' && baseline ? 1 : 0,
    resend: 0,
    remapped: baseline && !isSameMapping(sync, baseline) ? 1 : 0,
    backfill: 0,
    position: baseline?.watermark_to ?? null,
    ...snapshotValues(sync, baseline),
    adopted: 0,
    ...retiredNames(plan, sync, baseline),
    again: !baseline && (state?.version ?? 0) > 1 ? 1 : 0,
    allow_max_deletes: null,
    allow_max_changes: null,
    allow_max_rejects: null,
    allow_on_empty_source: null,
    ...allowed,
  };
}

/** The snapshot of the last run, and what was sent of it: SQL of that run's plan. */
function snapshotValues(sync: SyncPlan, baseline: Baseline | null): Values {
  const { snapshot, expressions } = baseline ?? {};
  if (sync.snapshot === null) return { snapshot_was: null };
  // Everything is read until it is proven that something need not be.
  const read: Values = { partitions: sync.snapshot.partitions?.everything ?? null, whole: 1 };
  if (!snapshot || !expressions) return { snapshot_was: null, ...read };
  const { checksum, key, identity = '', where = '' } = expressions;
  return {
    ...read,
    snapshot_from: snapshot.name,
    snapshot_was: snapshot.name,
    old_checksum: checksum,
    old_key: key,
    old_identity: identity,
    old_where: where,
  };
}

/** Between a sync's name and the number of a run, in the name of a snapshot. */
export const SNAPSHOT = '__snapshot_';

/** What the run will leave for the next one. */
export function baselineOf(sync: SyncPlan, values: Values): Baseline {
  return {
    kind: sync.kind,
    mode: sync.mode,
    mapping: sync.mapping,
    expressions: sync.expressions,
    watermark_to: text(values['watermark_to']),
    ...(sync.snapshot === null || values['purged'] === 1 ? {} : snapshotLeft(sync, sync.snapshot.days, values)),
    ...(sync.kind === 'lookup_table' ? { content: text(values['content']), table: sync.deliver.table } : {}),
    ...namesLeft(sync, values),
    ...(sync.lateWindowMs === null ? {} : { seen_from: text(values['seen_from']), late_window_ms: sync.lateWindowMs }),
  };
}

function snapshotLeft(sync: SyncPlan, days: number, values: Values): Pick<Baseline, 'snapshot' | 'replaces'> {
  const from = text(values['snapshot_from']);
  const number = (name: string): number | null => (values[name] == null ? null : Number(values[name]));
  return {
    snapshot: {
      name: `${sync.name}${SNAPSHOT}${String(values['run'])}`,
      untilMs: Number(values['probed_ms']) + days * 86_400_000,
      readMs: Number(values['probed_ms']),
      modifiedMs: number('source_modified'),
      rows: number('source_rows'),
    },
    ...(from === null ? {} : { replaces: from }),
  };
}

const text = (value: number | string | null | undefined): string | null => (value == null ? null : String(value));

/** A run that sends every profile takes away what it can; what is refused of that is tried again by name. */
function namesLeft(sync: SyncPlan, values: Values): Pick<Baseline, 'retired' | 'retried'> {
  const [retired, retried] = [values['retired'], values['retried']].map((v) => text(v) ?? '') as [string, string];
  if (retried === '') return {};
  return { retired: values['resend'] === 1 || sync.mode === 'full' ? '' : retired, retried };
}

/** `seen` knows the rows since the window was declared, or widened; older ones count as sent. */
function seenFrom(sync: SyncPlan, baseline: Baseline | null): string | null {
  if (sync.lateWindowMs === null || !baseline) return null;
  // Rows are known by their checksum: under another mapping `seen` would know none of them.
  const isKnown = (baseline.late_window_ms ?? 0) >= sync.lateWindowMs && isSameMapping(sync, baseline);
  return (isKnown ? baseline.seen_from : baseline.watermark_to) ?? null;
}
