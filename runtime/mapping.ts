import { createHash } from 'node:crypto';
import type { DirectPlan, SyncPlan } from '../schemas/types.ts';
import { RunError } from './errors.ts';
import type { Baseline } from './state.ts';
import type { Values } from './values.ts';

type Entry = Baseline['mapping'][number];
export type Decision = 'resend' | 'forward';

/** How a plan's mapping differs from the one that Mixpanel's records were made with. */
export interface MappingChange {
  /** Names exactly this change: a decision for it approves nothing else. */
  readonly hash: string;
  /** In words, for a person. */
  readonly what: string;
  /** Why nothing but a resend can be decided; undefined when the change can be forwarded. */
  readonly unforwardable?: string | undefined;
  /** False where rows only come and go: they are sent as such, and no row that stays. */
  readonly touchesAll: boolean;
}

/** What the current mapping means for the rows that did not change. */
export type Verdict =
  | { readonly kind: 'same' }
  /** Columns were added at the end: a row differs only where they have a value. */
  | { readonly kind: 'compatible' }
  /** The same declaration in other SQL (a newer compiler): checksums are rewritten, nothing is sent. */
  | { readonly kind: 'rebase' }
  | { readonly kind: 'changed'; readonly change: MappingChange };

type What = Pick<SyncPlan | DirectPlan, 'name' | 'kind' | 'mode' | 'mapping'>;

/** What a sync is, beside how its rows are mapped: records of one kind are no records of another. */
function natureOf({ kind, mode, mapping }: Pick<What, 'kind' | 'mode' | 'mapping'>): string {
  const hasHistory = mapping.some((m) => m.means.split(', ').includes('start_time'));
  const group = mapping.find((m) => m.column === '(group_key)')?.means;
  return `${kind}${group === undefined ? '' : ` of ${group}`}${hasHistory ? ' with history' : ''} in mode ${mode}`;
}

/**
 * Refuses a declaration that makes another sync of it under the same name: of what the former one sent it could
 * neither tell nor take back anything, and would send the table beside it.
 * @param name under which the state is
 * @param end how that one is ended
 */
export function refuseAnother(
  name: string,
  sync: What,
  was: Baseline | null,
  end = `\`syncline destroy ${name}\` ends the former, whose records then stay in Mixpanel`,
): void {
  if (was?.kind === undefined || was.mode === undefined) return;
  const [before, now] = [natureOf({ ...was, kind: was.kind, mode: was.mode }), natureOf(sync)];
  if (before === now) return;
  throw new RunError(
    'mapping-changed',
    `${name} was ${before} when it ran last, and is declared as ${now}. That is another sync, which cannot tell what Mixpanel shows of the former: give it another name, or declare it as it was; ${end}.`,
    { retryable: false },
  );
}

const IDENTITY = ['time', 'event', 'user_id', 'device_id', 'group_id', 'id', 'key', 'start_time', 'end_time'];
const IDENTITY_CONSTANTS = ['(event)', '(key)', '(group_key)', '(distinct_id)'];

/** Compares a plan's mapping with the baseline's. Only a mirror knows what is shown of each row. */
export function compareMapping(sync: SyncPlan | DirectPlan, baseline: Baseline | null): Verdict {
  if (!baseline || sync.mode !== 'mirror') return { kind: 'same' };
  const [before, after] = [baseline.mapping, sync.mapping];
  if (before.length === after.length && before.every((b, i) => equal(b, after[i]))) return { kind: 'same' };
  if (
    before.length === after.length &&
    before.every((b, i) => b.column === after[i]?.column && b.means === after[i].means)
  )
    return { kind: 'rebase' };
  const isConstant = (e: Entry): boolean => e.column.startsWith('(');
  const [oldColumns, newColumns] = [before, after].map((list) => list.filter((e) => !isConstant(e))) as [
    Entry[],
    Entry[],
  ];
  const [oldConstants, newConstants] = [before, after].map((list) => list.filter(isConstant)) as [Entry[], Entry[]];
  const sameConstants =
    oldConstants.length === newConstants.length && oldConstants.every((c, i) => equal(c, newConstants[i]));
  const isAppended = oldColumns.every((c, i) => equal(c, newColumns[i]));
  if (isAppended && sameConstants) return { kind: 'compatible' };
  const there = new Set([...sync.columns.map((c) => c.name), ...sync.excluded]);
  const lost = oldColumns.map((c) => c.column).filter((column) => !there.has(column));
  const change = describe(before, after);
  const needs = lost.length > 0 ? `the old form needs column ${lost.join(', ')}, which is gone` : undefined;
  const named =
    'capture' in sync && sync.capture.forward === null
      ? 'without a key a row of a snapshot has no other name than its content'
      : undefined;
  return { kind: 'changed', change: { ...change, unforwardable: change.unforwardable ?? needs ?? named } };
}

/** Decisions of a sync that has run which are for no change that is there now: they do nothing. */
export function staleDecisions(sync: SyncPlan, baseline: Baseline | null): string[] {
  if (!baseline) return [];
  const verdict = compareMapping(sync, baseline);
  return Object.keys(sync.decisions).filter((hash) => verdict.kind !== 'changed' || verdict.change.hash !== hash);
}

/** What plan and apply say of one of them. */
export const isStale = (hash: string): string =>
  `decision ${hash} is for no change that is there now; it can be removed`;

/** True when records are made exactly as the baseline's were. */
export const isSameMapping = (sync: SyncPlan | DirectPlan, baseline: Baseline): boolean =>
  JSON.stringify(sync.mapping) === JSON.stringify(baseline.mapping);

const equal = (a: Entry, b: Entry | undefined): boolean =>
  b !== undefined &&
  a.column === b.column &&
  a.means === b.means &&
  a.checksum === b.checksum &&
  a.payload === b.payload;

function describe(before: readonly Entry[], after: readonly Entry[]): MappingChange {
  const gone = before.filter((b) => !after.some((a) => equal(b, a)));
  const come = after.filter((a) => !before.some((b) => equal(b, a)));
  const names = [...new Set([...gone, ...come].map((e) => e.column))];
  const constants = names.filter((n) => n.startsWith('('));
  const columns = names.filter((n) => !n.startsWith('('));
  const what = [
    ...constants.map((n) => `its ${n.slice(1, -1)}`),
    ...(columns.length > 0 ? [`columns ${columns.join(', ')}`] : []),
    ...(names.length === 0 ? ['the order of its columns'] : []),
  ].join('; ');
  const roles = [...gone, ...come].flatMap((e) => e.means.split(', ')).filter((r) => IDENTITY.includes(r));
  const identity = [...constants.filter((n) => IDENTITY_CONSTANTS.includes(n)), ...roles];
  return {
    hash: lettered(
      createHash('sha256')
        .update(JSON.stringify([gone, come, names.length === 0 ? after : []]))
        .digest('hex'),
    ),
    what,
    unforwardable:
      identity.length > 0
        ? 'it changes what a record is, so the old records cannot stand for the new ones'
        : constants.includes('(where)')
          ? 'rows that the condition leaves out would stay in Mixpanel'
          : undefined,
    touchesAll: names.length === 0 || names.some((n) => n !== '(where)'),
  };
}

/** Seven digits, a letter first: YAML reads `12e4567` as a number. */
const lettered = (digest: string): string =>
  `${'abcdef'[parseInt(digest.slice(0, 1), 16) % 6] ?? 'a'}${digest.slice(1, 7)}`;

/** What a run does about its mapping. */
export interface Route {
  readonly forward: boolean;
  /** Late values of the capture. */
  readonly values: Values;
}

/**
 * Decides how a run takes a changed mapping.
 * @param flag what the command line says for this sync and run
 * @throws RunError `mapping-changed` as long as nobody decided
 */
export function routeOf(sync: SyncPlan, baseline: Baseline | null, flag?: Decision): Route {
  const verdict = compareMapping(sync, baseline);
  const plain: Route = { forward: false, values: { resend: flag === 'resend' ? 1 : 0 } };
  // Only where rows are written as they were does a partition that did not change hold nothing that differs.
  if (verdict.kind === 'same') return flag === 'resend' ? plain : { ...plain, values: { ...plain.values, whole: 0 } };
  if (verdict.kind === 'compatible') return plain;
  // Who asks for a resend gets it, also where nothing would have to be sent.
  if (verdict.kind === 'rebase') {
    if (flag !== 'resend' && sync.capture.forward === null)
      throw new RunError(
        'mapping-changed',
        `${sync.name} names its rows otherwise since its last run, because this version writes their checksums otherwise, and without a key snapshots cannot tell which row is which. Go on with the version that ran last, or send every row again: --resend ${sync.name}.`,
        { retryable: false },
      );
    return flag === 'resend' ? plain : (forwardRoute(baseline) ?? plain);
  }
  const { change } = verdict;
  const decision = flag ?? sync.decisions[change.hash];
  if (decision === undefined) throw undecided(sync.name, change, change.unforwardable === undefined);
  if (decision === 'resend') return { forward: false, values: { resend: change.touchesAll ? 1 : 0 } };
  const route = change.unforwardable === undefined ? forwardRoute(baseline) : undefined;
  if (route) return route;
  throw new RunError(
    'mapping-changed',
    `The change of ${sync.name} (${change.what}) cannot be forwarded: ${change.unforwardable ?? 'its last run was made by a version that did not keep what is needed'}. Decide \`${change.hash}: resend\`, or restore the mapping.`,
    { retryable: false },
  );
}

/** The old way to name and compare rows, from the state: what is as it was is known by it. */
export function forwardRoute(baseline: Baseline | null): Route | undefined {
  const old = baseline?.expressions;
  return old ? { forward: true, values: { resend: 0, old_checksum: old.checksum, old_key: old.key } } : undefined;
}

/** What apply says as long as nobody decided. */
export function undecided(sync: string, change: Pick<MappingChange, 'hash' | 'what'>, mayForward: boolean): RunError {
  const choices = ['resend', ...(mayForward ? ['forward'] : [])]
    .map((choice) => `\`decisions: { ${change.hash}: ${choice} }\``)
    .join(' or ');
  return new RunError(
    'mapping-changed',
    `The mapping of ${sync} changed since its last run (${change.what}), so rows that did not change would be sent again. Restore the mapping, or decide: ${choices} in the sync, or once --resend ${sync}${mayForward ? ` or --forward ${sync}` : ''}. \`syncline plan\` prices it.`,
    { retryable: false },
  );
}
