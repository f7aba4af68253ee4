import type { Lock } from '../../schemas/types.ts';
import type { Diagnostic } from '../diagnostics.ts';
import { diagnostic } from '../diagnostics.ts';
import type { ResolvedProject, ResolvedSync } from './resolve.ts';

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
  '$ignore',
  '$source',
  '$partner_id',
  'bucket',
  '$bucket',
  'mp_original_distinct_id',
  'mp_original_event_name',
  '$import',
]);
const isControl = (text: string): boolean => Array.from(text).some((c) => c < ' ' || c === '\u007f');

/** Rules over one sync as declared, one entry a rule. */
const DECLARED: readonly ((s: ResolvedSync, report: Report) => void)[] = [
  (s, report) => {
    if (!/^[a-z][a-z0-9_]{0,39}$/.test(s.name) || s.name.includes('__'))
      report(diagnostic('bad-sync-name', { name: s.name }, s.locate(['name'])));
  },
  (s, report) => {
    if ('literal' in s.event && isControl(s.event.literal))
      report(diagnostic('control-character', { key: 'event' }, s.locate(['event'])));
    if (s.relation.some((p) => p.includes('\u0000')))
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

/** Joins a sync with its locked columns; mapped names take the lock's spelling. Undefined when something is wrong. */
export function joinLock(
  sync: ResolvedSync,
  target: string,
  lock: Lock,
  types: Types,
  report: Report,
): ResolvedSync | undefined {
  const source = sync.relation.join('.');
  const locked = lock.targets[target]?.sources[source]?.columns;
  if (!locked) return void report(diagnostic('source-not-locked', { source, target }, sync.locate(['source'])));
  let failures = 0;
  const fail = (d: Diagnostic): void => {
    failures++;
    report(d);
  };
  const known = locked.map((c) => c.name);
  const exact = (column: string, role: string): string => {
    const found = known.find((n) => n === column) ?? known.find((n) => n.toLowerCase() === column.toLowerCase());
    if (found === undefined) fail(diagnostic('column-not-found', { column, source, known }, sync.locate([role])));
    return found ?? column;
  };
  for (const [role, columnsOf, wants, allowed] of ROLES) {
    for (const column of columnsOf(sync)) {
      const name = exact(column, role);
      const found = locked.find((c) => c.name === name);
      const type = found && types(found.type);
      if (found && type !== undefined && !allowed.includes(type))
        fail(diagnostic('column-type', { column: found.name, role, native: found.type, wants }, sync.locate([role])));
    }
  }
  // A column that is not there was reported above; looking it up again would report it twice.
  if (failures > 0) return undefined;
  const joined: ResolvedSync = {
    ...sync,
    event: 'column' in sync.event ? { column: exact(sync.event.column, 'event') } : sync.event,
    time: exact(sync.time, 'time'),
    userId: sync.userId === null ? null : exact(sync.userId, 'user_id'),
    key: sync.key?.map((k) => exact(k, 'key')) ?? null,
    insertTime: sync.insertTime === null ? null : exact(sync.insertTime, 'insert_time'),
    columns: locked.map((c) => ({ name: c.name, native: c.type })),
  };
  const mapped = new Set([
    joined.time,
    joined.userId,
    joined.insertTime,
    'column' in joined.event ? joined.event.column : null,
  ]);
  for (const column of locked) {
    const span = sync.locate(['source']);
    if (column.name.toLowerCase().startsWith('syncline_'))
      fail(diagnostic('column-reserved', { column: column.name }, span));
    else if (!mapped.has(column.name) && RESERVED.has(column.name))
      fail(diagnostic('property-reserved', { column: column.name }, span));
    if (column.name.includes('\u0000')) fail(diagnostic('control-character', { key: 'a column name' }, span));
    if (types(column.type) === undefined)
      fail(diagnostic('column-type-unknown', { column: column.name, native: column.type }, span));
  }
  return failures === 0 ? joined : undefined;
}
