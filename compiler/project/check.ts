import type { Lock } from '../../schemas/types.ts';
import { canonicalRelation, lockedSource } from '../lock.ts';
import type { Dialect } from '../dialects/dialect.ts';
import type { Diagnostic, Span } from '../diagnostics.ts';
import { diagnostic } from '../diagnostics.ts';
import { isReservedEvent } from '../mapping/reserved.ts';
import { mappedColumns, propertyNames } from '../mapping/wire.ts';
import type { Key } from './kinds.ts';
import { COMMON, KINDS, ON_DELETE } from './kinds.ts';
import { isRecord } from './parse.ts';
import type { ResolvedProject, ResolvedSync, ResolvedTarget } from './resolve.ts';
import { STRATEGIES } from './resolve.ts';
import { chosen, snapshotProblem } from './strategy.ts';
import { isControl } from './text.ts';

type Report = (d: Diagnostic) => void;
type Columns = Pick<
  Dialect,
  'logicalType' | 'isList' | 'readsText' | 'flattens' | 'readsPartitions' | 'name' | 'snapshots'
>;

/** Names that address a profile instead of being part of it (Mixpanel documentation: User Profiles). */
const isReservedProfile = (name: string): boolean =>
  ['$distinct_id', '$token', '$group_key', '$group_id', '$mp_first_event_time'].includes(name);

/** Rules over one sync as declared, one entry a rule. */
const DECLARED: readonly ((s: ResolvedSync, report: Report, target: ResolvedTarget) => void)[] = [
  (s, report) => {
    for (const [key, name] of [
      ['name', s.name],
      ['renamed_from', s.renamedFrom ?? s.name],
    ] as const)
      if ((key === 'name' || s.renamedFrom !== null) && (!/^[a-z][a-z0-9_]{0,39}$/.test(name) || name.includes('__')))
        report(diagnostic('bad-sync-name', { name }, s.locate([key])));
  },
  (s, report) => {
    const texts: readonly (readonly [Key, string | null])[] = [
      ['event', s.event && 'literal' in s.event ? s.event.literal : null],
      ['where', s.where?.replace(/[\t\r\n]/g, ' ') ?? null],
      ['group_key', s.groupKey],
      ['lookup_table_id', s.lookupTableId],
    ];
    for (const [key, text] of texts)
      if (text !== null && isControl(text)) report(diagnostic('control-character', { key }, s.locate([key])));
    if (s.relation.some(isControl))
      report(diagnostic('control-character', { key: 'relation' }, s.locate(['source', 'relation'])));
  },
  (s, report) => {
    const { needs, takes } = KINDS[s.kind];
    for (const key of needs)
      if (!s.given.has(key)) report(diagnostic('kind-needs', { kind: s.kind, key }, s.locate(['kind'])));
    for (const key of s.given)
      if (![...COMMON, ...needs, ...takes].includes(key as Key))
        report(diagnostic('kind-refuses', { kind: s.kind, key }, s.locate([key], 'key')));
    if (s.event && s.kind !== 'events' && (!s.history || 'column' in s.event) && takes.includes('event'))
      report(diagnostic('kind-refuses', { kind: s.kind, key: 'event' }, s.locate(['event'], 'key')));
  },
  (s, report) => {
    const use =
      KINDS[s.kind].without[s.mode] ??
      (s.history && s.mode === 'full' ? 'versions are sent once each: use mirror, append or one_time' : undefined);
    if (use !== undefined)
      report(diagnostic('mode-unavailable', { kind: s.kind, mode: s.mode, use }, s.locate(['mode'])));
  },
  (s, report) => {
    const refuse = (key: Key, use: string): void => {
      if (s.given.has(key)) report(diagnostic('mode-refuses', { mode: s.mode, key, use }, s.locate([key], 'key')));
    };
    if (s.mode === 'append') {
      if (s.insertTime === null)
        report(diagnostic('mode-needs', { mode: 'append', key: 'insert_time' }, s.locate(['mode'])));
    } else {
      refuse('insert_time', 'remove it, or use mode: append');
      refuse('late_window', 'remove it, or use mode: append');
    }
    if (s.initial === 'skip' && s.mode === 'full') refuse('initial', 'every run sends every row: remove it');
    if (s.mode !== 'mirror') refuse('on_delete', 'only a mirror knows which rows are gone: remove it');
    if (s.mode !== 'mirror' && s.guard.maxDeletes)
      report(
        diagnostic(
          'mode-refuses',
          { mode: s.mode, key: 'max_deletes', use: 'only a mirror deletes: remove it' },
          s.locate(['guard', 'max_deletes'], 'key'),
        ),
      );
  },
  (s, report) => {
    if (!s.given.has('on_delete') || !KINDS[s.kind].takes.includes('on_delete')) return;
    const allowed = ON_DELETE[s.kind];
    if (!allowed.includes(s.onDelete))
      report(
        diagnostic(
          'wrong-value',
          { text: `\`on_delete\` of kind ${s.kind} must be ${allowed.join(' or ')}`, given: s.onDelete, allowed },
          s.locate(['on_delete']),
        ),
      );
    else if (s.kind === 'events' && s.onDelete !== 'tombstone' && s.key === null)
      report(
        diagnostic('mode-needs', { mode: `mirror with on_delete: ${s.onDelete}`, key: 'key' }, s.locate(['on_delete'])),
      );
  },
  (s, report) => {
    const fits = STRATEGIES[s.mode];
    if (s.strategy !== fits && !(s.strategy === 'snapshot' && s.mode === 'mirror'))
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
  (s, report, { warehouse }) => {
    if (warehouse.staging !== 'none') return;
    if (s.mode === 'mirror') report(diagnostic('staging-needed', { what: 'mode mirror' }, s.locate(['mode'])));
    if (s.renamedFrom !== null)
      report(diagnostic('staging-needed', { what: '`renamed_from`' }, s.locate(['renamed_from'], 'key')));
    if (s.initial === 'skip')
      report(diagnostic('staging-needed', { what: '`initial: skip`' }, s.locate(['initial'], 'key')));
    if (s.lateWindowMs !== null)
      report(diagnostic('staging-needed', { what: '`late_window`' }, s.locate(['late_window'], 'key')));
  },
  (s, report) => {
    if (s.timezone !== null && !isZone(s.timezone))
      report(
        diagnostic(
          'wrong-value',
          { text: `\`timezone\` ${s.timezone} is not in the IANA database` },
          s.locate(['timezone']),
        ),
      );
  },
  (s, report) => {
    const problem = s.where === null ? undefined : predicateProblem(s.where);
    if (problem !== undefined) report(diagnostic('where-invalid', { text: problem }, s.locate(['where'])));
  },
  (s, report, { name, mixpanel }) => {
    if (mixpanel === 'sandbox' || s.kind === 'events') return;
    const key = s.kind === 'lookup_table' ? 'service_account' : 'token';
    if (mixpanel[key] === undefined)
      report(diagnostic('credential-missing', { kind: s.kind, key, target: name }, s.locate(['kind'])));
  },
  (s, report) => {
    if (s.kind === 'events' && s.mode === 'mirror' && s.key === null)
      report(diagnostic('mirror-without-key', {}, s.locate(['mode'])));
    if (s.insertTime !== null && s.insertTime === s.time)
      report(diagnostic('insert-time-is-time', {}, s.locate(['insert_time'])));
  },
];

function isZone(name: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).format(0) !== '';
  } catch {
    return false;
  }
}

/** What keeps a text from being one condition: it must not end the parenthesis that it is put in. */
function predicateProblem(text: string): string | undefined {
  let depth = 0;
  const token = /'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|--|\/\*|[\s\S]/g;
  for (const [found] of text.matchAll(token)) {
    if (found === ';') return 'contains a semicolon';
    if (found === '--' || found === '/*') return 'contains a comment';
    if (found === "'" || found === '"' || found === '`') return `has a ${found} without its end`;
    if (found === '\\' || found === '$') return `contains ${found}, which reads differently in each warehouse`;
    if (found === '(') depth++;
    if (found === ')' && --depth < 0) return 'closes a parenthesis that it did not open';
  }
  return depth > 0 ? 'has a parenthesis without its end' : undefined;
}

const STAMP = ['timestamp', 'timestamp_utc', 'date'];
const ID = ['text', 'integer'];
const one = (column: string | null | undefined): readonly string[] => (column == null ? [] : [column]);

/** Roles that a column can have, with the types that make sense for them. */
const ROLES: readonly {
  readonly at: readonly (string | number)[];
  readonly columns: (s: ResolvedSync) => readonly string[];
  readonly wants: string;
  readonly types: readonly string[];
}[] = [
  { at: ['time'], columns: (s) => one(s.time), wants: 'a timestamp or a date', types: STAMP },
  { at: ['insert_time'], columns: (s) => one(s.insertTime), wants: 'a timestamp or a date', types: STAMP },
  {
    at: ['history', 'start_time'],
    columns: (s) => one(s.history?.startTime),
    wants: 'a timestamp or a date',
    types: STAMP,
  },
  {
    at: ['history', 'end_time'],
    columns: (s) => one(s.history?.endTime),
    wants: 'a timestamp or a date',
    types: STAMP,
  },
  { at: ['user_id'], columns: (s) => one(s.userId), wants: 'text or an integer', types: ID },
  { at: ['device_id'], columns: (s) => one(s.deviceId), wants: 'text or an integer', types: ID },
  { at: ['group_id'], columns: (s) => one(s.groupId), wants: 'text or an integer', types: ID },
  { at: ['id'], columns: (s) => one(s.id), wants: 'text or an integer', types: ID },
  {
    at: ['event'],
    columns: (s) => (s.event && 'column' in s.event ? [s.event.column] : []),
    wants: 'text',
    types: ['text'],
  },
  {
    at: ['json_properties'],
    columns: (s) => one(s.jsonProperties),
    wants: 'JSON, a struct or text with JSON',
    types: ['json', 'nested', 'text'],
  },
  {
    at: ['key'],
    columns: (s) => s.key ?? [],
    wants: 'a type that can be compared',
    types: ['text', 'integer', 'decimal', 'boolean', 'date', 'time', 'timestamp', 'timestamp_utc', 'binary'],
  },
  { at: ['properties', 'exclude'], columns: (s) => s.properties.exclude, wants: '', types: [] },
  { at: ['properties', 'rename'], columns: (s) => Object.keys(s.properties.rename), wants: '', types: [] },
  { at: ['properties', 'types'], columns: (s) => Object.keys(s.properties.types), wants: '', types: [] },
];

/** Semantic rules over the declared project. */
export function checkDeclared(project: ResolvedProject, report: Report): void {
  const seen = new Map<string, ResolvedSync>();
  for (const sync of project.syncs) {
    const other = seen.get(sync.name);
    if (other) report(diagnostic('duplicate-sync-name', { name: sync.name, other: other.file }, sync.locate(['name'])));
    else seen.set(sync.name, sync);
    const from = sync.renamedFrom;
    if (from !== null && project.syncs.some((o) => o.name === from || (o !== sync && o.renamedFrom === from)))
      report(diagnostic('renamed-from-living', { name: sync.name, from }, sync.locate(['renamed_from'])));
    const tell = naming(sync, report);
    for (const rule of DECLARED) rule(sync, tell, project.target);
  }
}

/** What is wrong with a default is told of a sync that it reaches. */
const naming =
  ({ name, file }: ResolvedSync, report: Report): Report =>
  (d) =>
    report(d.span === undefined || d.span.file === file ? d : { ...d, message: `${d.message} (for sync ${name})` });

/** Rules over one locked column, one entry a rule. */
const LOCKED: readonly ((c: LockedColumn) => Diagnostic | undefined)[] = [
  ({ name, span }) =>
    name.toLowerCase().startsWith('syncline_') ? diagnostic('column-reserved', { column: name }, span()) : undefined,
  ({ name, isReserved, span }) => (isReserved ? diagnostic('property-reserved', { column: name }, span()) : undefined),
  ({ name, property, span }) =>
    isControl(name)
      ? diagnostic('control-character', { key: `column \`${name}\``, hint: 'rename it in a view' }, span())
      : isControl(property ?? '')
        ? diagnostic('control-character', { key: `property \`${property ?? ''}\`` }, span())
        : undefined,
  ({ name, native, type, isRead, span }) =>
    isRead && type === undefined ? diagnostic('column-type-unknown', { column: name, native }, span()) : undefined,
];

interface LockedColumn {
  readonly name: string;
  readonly native: string;
  readonly type: string | undefined;
  /** The property that it becomes; null for a mapped or excluded column. */
  readonly property: string | null;
  readonly isReserved: boolean;
  /** False for what is excluded: no statement names it. */
  readonly isRead: boolean;
  /** Where the source is declared. */
  readonly span: () => Span;
}

/**
 * Joins a sync with its locked columns; mapped names take the lock's spelling. Undefined when something is wrong. A sync
 * that is not enabled may be without columns: `lock` does not read its source.
 */
export function joinLock(
  sync: ResolvedSync,
  target: string,
  lock: Lock,
  dialect: Columns,
  into: Report,
): ResolvedSync | undefined {
  const report = naming(sync, into);
  const source = canonicalRelation(sync.relation);
  const entry = lockedSource(lock, target, sync.relation);
  const locked = entry?.columns;
  if (!locked && !sync.enabled) return sync;
  if (!locked) return void report(diagnostic('source-not-locked', { source, target }, sync.locate(['source'])));
  const find = (column: string) =>
    locked.find((c) => c.name === column) ?? locked.find((c) => c.name.toLowerCase() === column.toLowerCase());
  let failures = 0;
  const fail = (d: Diagnostic | undefined): void => {
    if (!d) return;
    failures++;
    report(d);
  };

  for (const { at, columns, wants, types: allowed } of ROLES) {
    const names = columns(sync);
    const role = at.join('.');
    for (const [i, column] of names.entries()) {
      const isMap = isRecord(sync.properties[at[1] as keyof typeof sync.properties]);
      const span = (): Span =>
        isMap ? sync.locate([...at, column], 'key') : sync.locate(names.length > 1 ? [...at, i] : at);
      const found = find(column);
      if (!found) {
        // Of the sources that a default reaches, not every one has the column.
        if (sync.isDefault([...at, isMap ? column : i])) continue;
        fail(diagnostic('column-not-found', { column, source, known: locked.map((c) => c.name) }, span()));
        continue;
      }
      const type = dialect.logicalType(found.type);
      if (role === 'json_properties' && !dialect.flattens) {
        const wants = `another warehouse: the SQL of ${dialect.name} cannot list the keys of an object. Select them as columns in a view, or send the object as one property`;
        fail(diagnostic('column-type', { column: found.name, role, native: found.type, wants }, span()));
        continue;
      }
      const isText = type === 'text' && !dialect.readsText;
      if (isText && (role === 'json_properties' || sync.properties.types[column] === 'json')) {
        const wants = `a JSON type: ${dialect.name} cannot tell whether a text is JSON before it reads it`;
        fail(diagnostic('column-type', { column: found.name, role, native: found.type, wants }, span()));
      } else if (
        type !== undefined &&
        allowed.length > 0 &&
        (!allowed.includes(type) || (role === 'json_properties' && dialect.isList(found.type)))
      )
        fail(diagnostic('column-type', { column: found.name, role, native: found.type, wants }, span()));
    }
  }

  const exact = (column: string): string => find(column)?.name ?? column;
  const maybe = (column: string | null): string | null => (column === null ? null : exact(column));
  // A column that a default spells otherwise is the same one: the sync's own entry stands first.
  const keys = <T>(map: Readonly<Record<string, T>>): Readonly<Record<string, T>> => {
    const found = new Map<string, T>();
    for (const [column, value] of Object.entries(map))
      if (find(column) && !found.has(exact(column))) found.set(exact(column), value);
    return Object.fromEntries(found);
  };
  const joined: ResolvedSync = {
    ...sync,
    event: sync.event && 'column' in sync.event ? { column: exact(sync.event.column) } : sync.event,
    time: maybe(sync.time),
    userId: maybe(sync.userId),
    deviceId: maybe(sync.deviceId),
    groupId: maybe(sync.groupId),
    id: maybe(sync.id),
    key: sync.key?.map(exact) ?? null,
    insertTime: maybe(sync.insertTime),
    history: sync.history && {
      startTime: exact(sync.history.startTime),
      endTime: maybe(sync.history.endTime),
    },
    jsonProperties: maybe(sync.jsonProperties),
    properties: {
      ...sync.properties,
      exclude: sync.properties.exclude.filter(find).map(exact),
      rename: keys(sync.properties.rename),
      types: keys(sync.properties.types),
    },
    type: entry.type ?? null,
    partitioning: entry.partitioning ?? null,
    columns: locked.map((c) => ({ name: c.name, native: c.type })),
  };
  if (joined.strategy === 'snapshot') {
    const problem = snapshotProblem(joined, dialect);
    if (problem !== undefined) fail(diagnostic('snapshot-unfit', { problem }, sync.locate(['strategy'])));
  }
  const insertTime = joined.insertTime === null ? undefined : find(joined.insertTime);
  if (dialect.readsPartitions && insertTime && insertTime.partition !== true)
    report(diagnostic('insert-time-not-partition', { column: insertTime.name, source }, sync.locate(['insert_time'])));
  // While a role's column is not found, its twin here would be taken for a property.
  if (failures > 0) return undefined;
  const span = (): Span => sync.locate(['source']);
  const names = propertyNames(joined);
  const roles = new Set([...mappedColumns(joined), ...(joined.key ?? [])]);
  const owners = new Map<string, string>();
  for (const { name, type: native } of locked) {
    const property = names.get(name) ?? null;
    const type = dialect.logicalType(native);
    const isReserved = property !== null && (sync.kind === 'events' ? isReservedEvent : isReservedProfile)(property);
    const column = { name, native, type, property, isReserved, isRead: property !== null || roles.has(name), span };
    for (const rule of LOCKED) fail(rule(column));
    if (property === null) continue;
    const isNested =
      ['nested', 'json', 'binary', 'geo'].includes(type ?? '') && sync.properties.types[name] === undefined;
    if (sync.kind === 'lookup_table' && isNested)
      fail(
        diagnostic(
          'column-type',
          {
            column: name,
            role: 'a lookup table',
            native,
            wants: 'plain values: exclude it, or set `types:` to string',
          },
          span(),
        ),
      );
    const other = owners.get(property);
    if (other !== undefined) fail(diagnostic('property-twice', { name: property, columns: [other, name] }, span()));
    owners.set(property, name);
  }
  if (sync.kind === 'lookup_table' && names.size === 0)
    fail(
      diagnostic(
        'wrong-value',
        { text: `a lookup table needs a second column, and ${source} has only its id` },
        span(),
      ),
    );
  if ((sync.kind === 'user_profiles' || sync.kind === 'group_profiles') && names.size === 0)
    fail(
      diagnostic(
        'wrong-value',
        { text: `a profile needs a property, and none of ${source} is left besides what names it` },
        span(),
      ),
    );
  return failures === 0 ? { ...joined, strategy: chosen(joined, dialect) } : undefined;
}
