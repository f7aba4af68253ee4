import { RunError } from '../errors.ts';
import type { Reply, Watch } from './http.ts';

export interface Refused {
  /** Position in the batch, from zero. */
  readonly index: number;
  readonly reason: string;
}

export interface BatchResult {
  /** In the batch's order, each record once. All others were accepted. */
  readonly refused: readonly Refused[];
  /** An earlier attempt of this batch had no answer: what is refused may be shown all the same. */
  readonly maybe: boolean;
  readonly notes: readonly string[];
}

/** JSON objects, one a line: as lines, or joined by newlines as the warehouse aggregates them. */
export type Batch = readonly string[] | { readonly body: string; readonly records: number };

/** Documentation: Import Events, User Profile Limits and Group Profile Limits state the same number. */
export const RECORDS_PER_REQUEST = 2000;

/** What one request says about its records. */
export type Verdict =
  | {
      readonly settled: BatchResult;
      /** True when the records that are not refused were not stored either. */
      readonly othersUnsent?: boolean;
    }
  | { readonly refusal: 'unnamed' | 'too-large'; readonly reason: string; readonly maybe: boolean };

interface Narrowed extends BatchResult {
  /** Set when each single record was refused with this same reason, without being named. */
  readonly unnamed: string | undefined;
}

/**
 * Sends batches until each record is accepted or refused: a refusal that names no record, and a request that is too
 * large, is narrowed down to the rows that cause it. When that refuses a whole batch for one and the same reason,
 * and nothing was accepted before, a setting is wrong and not the rows.
 * @param check what a person is told to check in that case
 * @throws RunError `mixpanel-rejected` when Mixpanel refuses every record
 */
export function createNarrowing(
  ask: (batch: Batch, watch: Watch) => Promise<Verdict>,
  check: string,
): (batch: Batch, watch: Watch) => Promise<BatchResult> {
  let accepted = false;
  let stopped: RunError | undefined;

  const send = async (batch: Batch, watch: Watch): Promise<Narrowed> => {
    // Another batch has shown meanwhile that nothing gets through.
    if (stopped) throw stopped;
    const records = countOf(batch);
    if (records === 0) return NOTHING;
    if (records > RECORDS_PER_REQUEST) return parts(linesOf(batch), RECORDS_PER_REQUEST, watch);
    const verdict = await ask(batch, watch);
    if ('settled' in verdict) {
      const { settled } = verdict;
      if (settled.refused.length === records) return { ...settled, unnamed: undefined };
      if (verdict.othersUnsent === true) return again(linesOf(batch), settled, watch);
      accepted = true;
      return { ...settled, unnamed: undefined };
    }
    const { reason, maybe } = verdict;
    const lines = linesOf(batch);
    if (lines.length <= 1) {
      const unnamed = verdict.refusal === 'unnamed' ? reason : undefined;
      return { refused: [{ index: 0, reason }], maybe, notes: [], unnamed };
    }
    const result = await parts(lines, Math.ceil(lines.length / 2), watch);
    return { ...result, maybe: maybe || result.maybe };
  };

  /** One after the other, so that the records arrive in their order. */
  const parts = async (lines: readonly string[], size: number, watch: Watch): Promise<Narrowed> => {
    let whole: Narrowed | undefined;
    for (let from = 0; from < lines.length; from += size) {
      const part = await send(lines.slice(from, from + size), watch);
      const refused = part.refused.map((r) => ({ ...r, index: r.index + from }));
      whole = whole
        ? {
            refused: [...whole.refused, ...refused],
            maybe: whole.maybe || part.maybe,
            notes: [...whole.notes, ...part.notes],
            unnamed: whole.unnamed === part.unnamed ? part.unnamed : undefined,
          }
        : { ...part, refused };
    }
    return whole ?? NOTHING;
  };

  const again = async (lines: readonly string[], first: BatchResult, watch: Watch): Promise<Narrowed> => {
    const known = new Set(first.refused.map((r) => r.index));
    const left = lines.flatMap((line, index) => (known.has(index) ? [] : [{ line, index }]));
    const rest = await send(
      left.map((l) => l.line),
      watch,
    );
    const refused = rest.refused.map((r) => ({ ...r, index: left[r.index]?.index ?? r.index }));
    return {
      refused: [...first.refused, ...refused].sort((a, b) => a.index - b.index),
      maybe: first.maybe || rest.maybe,
      notes: rest.notes,
      unnamed: undefined,
    };
  };

  return async (batch, watch) => {
    const { unnamed, ...result } = await send(batch, watch);
    // A batch of one record was never narrowed down: it says nothing about others.
    if (unnamed === undefined || accepted || result.refused.length <= 1) return result;
    stopped = new RunError('mixpanel-rejected', `Mixpanel refuses every record: ${sentence(unnamed)} ${check}`, {
      retryable: false,
    });
    throw stopped;
  };
}

const NOTHING: Narrowed = { refused: [], maybe: false, notes: [], unnamed: undefined };

export const countOf = (batch: Batch): number => ('body' in batch ? batch.records : batch.length);

/** JSON text holds no raw newline, so taking lines apart needs no parsing. */
export const linesOf = (batch: Batch): readonly string[] => ('body' in batch ? batch.body.split('\n') : batch);

export interface Failure {
  readonly code?: unknown;
  readonly status?: unknown;
  readonly error?: unknown;
  readonly failed_records?: unknown;
  readonly num_records_imported?: unknown;
  readonly num_good_events?: unknown;
}

/** Undefined when it is no JSON object: gateways answer HTML (mixpanel-node issue 136). */
export function parse(body: string): Failure | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The records that a refusal names; the others of the batch were stored (documentation: Import Events). Entries key
 * on `index` (`insert_id` is also spelled `$insert_id`) but can be plain texts that name nothing (mixpanel-import,
 * probe findings): undefined as soon as one entry names no record of the batch.
 */
export function namedRecords(body: string, records: number): Refused[] | undefined {
  const failed = parse(body)?.failed_records;
  if (!Array.isArray(failed) || failed.length === 0) return undefined;
  const reasons = new Map<number, string>();
  for (const entry of failed as readonly unknown[]) {
    if (typeof entry !== 'object' || entry === null) return undefined;
    const { index, message, field } = entry as { index?: unknown; message?: unknown; field?: unknown };
    if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= records) return undefined;
    const reason = text(message) ?? `${text(field) ?? 'the record'} is invalid`;
    const known = reasons.get(index);
    reasons.set(index, known === undefined ? reason : `${known}; ${reason}`);
  }
  return [...reasons].sort(([a], [b]) => a - b).map(([index, reason]) => ({ index, reason }));
}

/** Why a whole request was refused, as text for a person. */
export function errorOf({ status, body }: Reply): string {
  const failure = parse(body);
  const failed: unknown = Array.isArray(failure?.failed_records) ? failure.failed_records[0] : undefined;
  const said =
    text(failed) ??
    (typeof failed === 'object' && failed !== null && 'message' in failed ? text(failed.message) : undefined) ??
    text(failure?.error);
  if (said !== undefined) return said;
  const plain = body
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, 200);
  return plain === '' || failure ? `refused with status ${status} and no reason` : plain;
}

export const text = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : undefined;

const sentence = (reason: string): string => (/[.!?]$/.test(reason) ? reason : `${reason}.`);

/**
 * What no further attempt and no smaller batch can change.
 * @param path the endpoint, like `/import`
 * @param what how the message names the credentials
 */
export function fatal(reply: Reply, host: string, path: string, what: string): RunError {
  const { status } = reply;
  if (status === 401 || status === 403)
    return new RunError(
      'mixpanel-unauthorized',
      `Mixpanel refused the credentials (status ${status}). Check ${what}, and that the project is in the region of ${host}.`,
      { retryable: false },
    );
  const message =
    status >= 300 && status < 400
      ? `${host} answers with a redirect (status ${status}${whereTo(reply.location)}). Set the host of the target to Mixpanel's ingestion host.`
      : status === 404
        ? `${host} has no ${path} (status 404). Check the host and the region of the target.`
        : `${host} answered ${path} with status ${status} (${errorOf(reply)}). Check that the host of the target is Mixpanel's ingestion host.`;
  return new RunError('mixpanel-rejected', message, { retryable: false });
}

/** Only the origin: a query may hold anything. */
function whereTo(location: string | null): string {
  return location !== null && URL.canParse(location) ? ` to ${new URL(location).origin}` : '';
}
