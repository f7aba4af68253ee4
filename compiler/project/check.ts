import type { Lock } from '../../schemas/types.ts';
import { canonicalRelation, lockedColumns } from '../lock.ts';
import type { Diagnostic, Span } from '../diagnostics.ts';
import { diagnostic } from '../diagnostics.ts';
import type { ResolvedProject, ResolvedSync } from './resolve.ts';
import { isControl } from './text.ts';

type Report = (d: Diagnostic) => void;
type Types = (native: string) => string | undefined;

/** Names with a meaning of their own in an event (Mixpanel documentation: Reserved Properties). */
const RESERVED = new Set([
  'token',
  'ip',
  'time',
  '$time',
  'distinct_id',
  '$distinct_id',
  '$device_id',
  '$user_id',
  '$insert_id',
  '$event_name',
  '$identified_id',
  '$anon_id',
  'alias',
  '$distinct_ids',
  '$distinct_id_before_identity',
  '$is_reshuffled',
  '$preshuffle_distinct_id',
  '$failure_description',
  '$failure_reason',
  '$identity_failure_reason',
  '$ignore',
  '$source',
  '$partner_id',
  'bucket',
  '$bucket',
  '$import',
  '$duration_s',
  '$event_count',
  '$origin_start',
  '$origin_end',
]);
/** `mp_` and `$warehouse_` names are Mixpanel's own: it overwrites or hides them. */
const isReserved = (name: string): boolean =>
  RESERVED.has(name) || name.startsWith('mp_') || name.startsWith('$warehouse_');

/** Rules over one sync as declared, one entry a rule. */
const DECLARED: readonly ((s: ResolvedSync, report: Report) => void)[] = [
  (s, report) => {
    if (!/^[a-z][a-z0-9_]{0,39}$/.test(s.name) || s.name.includes('__'))
      report(diagnostic('bad-sync-name', { name: s.name }, s.locate(['name'])));
  },
  (s, report) => {
    if ('literal' in s.event && isControl(s.event.literal))
      report(diagnostic('control-character', { key: 'event' }, s.locate(['event'])));
    if (s.relation.some(isControl))
      report(diagnostic('control-character', { key: 'relation' }, s.locate(['source', 'relation'])));
  },
  (s, report) => {
    if (s.mode === 'append' && s.insertTime === null)
      report(diagnostic('mode-needs', { mode: 'append', key: 'insert_time' }, s.locate(['mode'])));
    if (s.mode === 'mirror' && s.insertTime !== null)
      report(
        diagnostic(
          'mode-refuses',
          { mode: 'mirror', key: 'insert_time', use: 'remove it, or use mode: append' },
          s.locate(['insert_time'], 'key'),
        ),
      );
  },
  (s, report) => {
    const fits = s.mode === 'mirror' ? 'checksum' : 'watermark';
    if (s.strategy !== fits)
      report(
        diagnostic(
          'wrong-value',
          { text: `\`strategy: ${s.strategy}\` does not fit mode ${s.mode}: use ${fits} or auto` },
          s.locate(['strategy']),
        ),
      );
  },
  (s, report) => {
    const twin = s.key?.findIndex((k, i, all) => all.findIndex((o) => o.toLowerCase() === k.toLowerCase()) < i) ?? -1;
    if (twin >= 0) report(diagnostic('wrong-value', { text: '`key` names a column twice' }, s.locate(['key', twin])));
  },
  (s, report) => {
    if (s.mode === 'mirror' && s.key === null) report(diagnostic('mirror-without-key', {}, s.locate(['mode'])));
    if (s.insertTime !== null && s.insertTime === s.time)
      report(diagnostic('insert-time-is-time', {}, s.locate(['insert_time'])));
  },
];

/** Roles that a column can have, with the types that make sense for them. */
const ROLES: readonly (readonly [string, (s: ResolvedSync) => readonly string[], string, readonly string[]])[] = [
  ['time', (s) => [s.time], 'a timestamp or a date', ['timestamp', 'timestamp_utc', 'date']],
  [
    'insert_time',
    (s) => (s.insertTime === null ? [] : [s.insertTime]),
    'a timestamp or a date',
    ['timestamp', 'timestamp_utc', 'date'],
  ],
  ['user_id', (s) => (s.userId === null ? [] : [s.userId]), 'text or an integer', ['text', 'integer']],
  ['event', (s) => ('column' in s.event ? [s.event.column] : []), 'text', ['text']],
  [
    'key',
    (s) => s.key ?? [],
    'a type that can be compared',
    ['text', 'integer', 'decimal', 'boolean', 'date', 'time', 'timestamp', 'timestamp_utc', 'binary'],
  ],
];

/** Semantic rules over the declared project. */
export function checkDeclared(project: ResolvedProject, report: Report): void {
  const seen = new Map<string, ResolvedSync>();
  for (const sync of project.syncs) {
    const other = seen.get(sync.name);
    if (other) report(diagnostic('duplicate-sync-name', { name: sync.name, other: other.file }, sync.locate(['name'])));
    else seen.set(sync.name, sync);
    for (const rule of DECLARED) rule(sync, report);
  }
}

/** Rules over one locked column, one entry a rule. */
const LOCKED: readonly ((c: LockedColumn) => Diagnostic | undefined)[] = [
  ({ name, span }) =>
    name.toLowerCase().startsWith('syncline_') ? diagnostic('column-reserved', { column: name }, span) : undefined,
  ({ name, isMapped, span }) =>
    !isMapped && isReserved(name) ? diagnostic('property-reserved', { column: name }, span) : undefined,
  ({ name, span }) => (isControl(name) ? diagnostic('control-character', { key: 'a column name' }, span) : undefined),
  ({ name, native, type, span }) =>
    type === undefined ? diagnostic('column-type-unknown', { column: name, native }, span) : undefined,
];

interface LockedColumn {
  readonly name: string;
  readonly native: string;
  readonly type: string | undefined;
  /** True for a column with a role of its own: it does not become a property. */
  readonly isMapped: boolean;
  readonly span: Span;
}

/** Joins a sync with its locked columns; mapped names take the lock's spelling. Undefined when something is wrong. */
export function joinLock(
  sync: ResolvedSync,
  target: string,
  lock: Lock,
  types: Types,
  report: Report,
): ResolvedSync | undefined {
  const source = canonicalRelation(sync.relation);
  const locked = lockedColumns(lock, target, sync.relation);
  if (!locked) return void report(diagnostic('source-not-locked', { source, target }, sync.locate(['source'])));
  const spellings = new Map<string, (typeof locked)[number]>();
  for (const column of locked.toReversed()) spellings.set(column.name.toLowerCase(), column);
  for (const column of locked) spellings.set(`=${column.name}`, column);
  const find = (column: string) => spellings.get(`=${column}`) ?? spellings.get(column.toLowerCase());
  let failures = 0;
  const fail = (d: Diagnostic | undefined): void => {
    if (!d) return;
    failures++;
    report(d);
  };

  for (const [role, columnsOf, wants, allowed] of ROLES) {
    const names = columnsOf(sync);
    for (const [i, column] of names.entries()) {
      const span = sync.locate(names.length > 1 ? [role, i] : [role]);
      const found = find(column);
      if (!found) {
        fail(diagnostic('column-not-found', { column, source, known: locked.map((c) => c.name) }, span));
        continue;
      }
      const type = types(found.type);
      if (type !== undefined && !allowed.includes(type))
        fail(diagnostic('column-type', { column: found.name, role, native: found.type, wants }, span));
    }
  }

  const exact = (column: string): string => find(column)?.name ?? column;
  const joined: ResolvedSync = {
    ...sync,
    event: 'column' in sync.event ? { column: exact(sync.event.column) } : sync.event,
    time: exact(sync.time),
    userId: sync.userId === null ? null : exact(sync.userId),
    key: sync.key?.map(exact) ?? null,
    insertTime: sync.insertTime === null ? null : exact(sync.insertTime),
    columns: locked.map((c) => ({ name: c.name, native: c.type })),
  };
  // While a role's column is not found, its twin here would be taken for a property.
  if (failures > 0) return undefined;
  const mapped = new Set([
    joined.time,
    joined.userId,
    joined.insertTime,
    'column' in joined.event ? joined.event.column : null,
  ]);
  const span = sync.locate(['source']);
  for (const { name, type: native } of locked)
    for (const rule of LOCKED) fail(rule({ name, native, type: types(native), isMapped: mapped.has(name), span }));
  return failures === 0 ? joined : undefined;
}
