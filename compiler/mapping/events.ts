import type { Column, Dialect, Member, Sql } from '../dialects/dialect.ts';
import { sql } from '../dialects/dialect.ts';
import type { ResolvedSync } from '../project/resolve.ts';
import type { Mapping } from './mapping.ts';
import { inexactNumbers, joined, rulesOf } from './mapping.ts';
import { RESERVED_EVENT, RESERVED_PREFIXES } from './reserved.ts';
import type { Source } from './wire.ts';

/** Values that Mixpanel refuses as distinct_id (documentation: Import Events). */
const BANNED = [
  '00000000-0000-0000-0000-000000000000',
  'anon',
  'anonymous',
  'nil',
  'none',
  'null',
  'n/a',
  'na',
  'undefined',
  'unknown',
  '<nil>',
  '0',
  '-1',
  'true',
  'false',
  '[]',
  '{}',
];
/** One event must stay below 1 MB uncompressed (documentation: Import Events). */
const MAX_EVENT_BYTES = 1_000_000;
/** An event must have fewer than 255 properties (documentation: Import Events); its own are counted too. */
const MAX_PROPERTIES = 254;
/** time, distinct_id, $insert_id, ip, syncline_sync and syncline_warehouse, which every event has. */
const OWN_PROPERTIES = 6;

export interface EventSpace {
  readonly idSpace: Sql;
  readonly epoch: Sql;
  readonly idManagement: 'simplified' | 'original';
}

/** The id of an event (documentation: Event Deduplication), and all that knows the space of ids. */
export function eventId(dialect: Dialect, { idSpace, epoch }: Pick<EventSpace, 'idSpace' | 'epoch'>): Sql {
  const text = (value: Sql): Sql => sql(`cast(${value} as ${dialect.types.text})`);
  return dialect.md5(
    joined(dialect, [
      idSpace,
      text(epoch),
      sql('syncline_key'),
      sql('syncline_event'),
      text(sql('syncline_time_ms')),
      sql('syncline_user_id'),
      sql('syncline_device_id'),
    ]),
  );
}

/**
 * Events: an image for a row that is there, a tombstone for one that is not (Mixpanel has no per-event delete).
 * Names and limits: Mixpanel documentation, Import Events, Event Deduplication and Identifying Users.
 */
export function mapEvents(dialect: Dialect, sync: ResolvedSync, source: Source, space: EventSpace): Mapping {
  const text = (value: Sql): Sql => sql(`cast(${value} as ${dialect.types.text})`);
  const id = (name: string | null): Sql => (name === null ? text(sql('null')) : dialect.keyText(source.column(name)));
  const { event } = sync;
  const identity = [
    { name: 'time_ms', type: 'integer', sql: dialect.epochMs(source.column(sync.time)) },
    {
      name: 'event',
      type: 'text',
      sql:
        event && 'column' in event
          ? dialect.keyText(source.column(event.column))
          : dialect.typed(dialect.text(event?.literal ?? '')),
    },
    { name: 'user_id', type: 'text', sql: id(sync.userId) },
    { name: 'device_id', type: 'text', sql: id(sync.deviceId) },
  ] as const;

  const payload = (prefix: string, insert: string, rest: readonly Member[], more?: Sql): Sql => {
    const [user, device] = [`${prefix}user_id`, `${prefix}device_id`];
    const devices = sync.deviceId !== null;
    // Simplified: distinct_id is the user, else the device with its prefix. Original links neither by itself.
    const other = space.idManagement === 'simplified' ? dialect.concat([sql("'$device:'"), sql(device)]) : device;
    const distinct = devices ? `coalesce(${user}, ${other}, '')` : `coalesce(${user}, '')`;
    return dialect.jsonObject([
      { name: 'event', value: dialect.jsonString(sql(`coalesce(${prefix}event, '')`)), optional: false },
      {
        name: 'properties',
        optional: false,
        value: {
          members: [
            { name: 'time', value: sql(`coalesce(${text(sql(`${prefix}time_ms`))}, 'null')`), optional: false },
            { name: 'distinct_id', value: dialect.jsonString(sql(distinct)), optional: false },
            { name: '$insert_id', value: dialect.jsonString(sql(insert)), optional: false },
            { name: '$user_id', value: dialect.jsonString(sql(user)), optional: true },
            ...(devices ? [{ name: '$device_id', value: dialect.jsonString(sql(device)), optional: true }] : []),
            { name: 'ip', value: sql("'0'"), optional: false },
            { name: 'syncline_sync', value: dialect.text(JSON.stringify(sync.name)), optional: false },
            { name: 'syncline_warehouse', value: dialect.text(JSON.stringify(dialect.name)), optional: false },
            ...rest,
          ],
          more,
        },
      },
    ]);
  };

  const json = sync.jsonProperties === null ? null : source.column(sync.jsonProperties);
  const columns = json === null ? [] : source.properties.map((p) => p.name);
  const kept = json && { names: [...RESERVED_EVENT, ...columns], prefixes: [...RESERVED_PREFIXES, 'syncline_'] };
  const flattened = kept && dialect.flattened(json, kept);
  const whole = json && dialect.flattened(json, { names: columns, prefixes: [] });
  const vanished = [
    ...(sync.onDelete === 'ignore' ? [] : [`syncline_change.syncline_row_change = 'delete'`]),
    `(syncline_change.syncline_row_change = 'update' and syncline_image.syncline_insert_id <> syncline_change.syncline_old_insert_id)`,
  ];
  return {
    identity,
    image: {
      insertId: eventId(dialect, space),
      payload: payload(
        'syncline_',
        'syncline_insert_id',
        source.properties.map(({ name, value }) => ({ name, value, optional: true })),
        flattened ?? undefined,
      ),
      // A changed identity is a new event, and a tombstone for the old one.
      change: sql(
        `case when syncline_image.syncline_old_insert_id <> syncline_image.syncline_insert_id then 'insert' else syncline_image.syncline_row_change end`,
      ),
    },
    partial: null,
    vanished: {
      when: sql(vanished.join(' or ')),
      insertId: sql('syncline_change.syncline_old_insert_id'),
      oldInsertId: sql('syncline_change.syncline_old_insert_id'),
      payload: payload('syncline_change.syncline_old_', 'syncline_change.syncline_old_insert_id', [
        { name: 'syncline_deleted', value: sql("'true'"), optional: false },
      ]),
    },
    leftovers: sql('j.shown = 1'),
    billable: true,
    ...rules(dialect, sync, source, kept && dialect.members(json, kept)),
    tallies: [
      ...inexactNumbers(
        source.properties.map((p) => p.column),
        (c) => dialect.ident(c.name),
      ),
      ...(flattened && whole ? [{ name: 'left_out' as const, sql: flag(`${flattened} <> ${whole}`) }] : []),
    ],
    commit: {
      companion: sql(`d.change = 'delete' and d.old_insert_id is not null`),
      shown: sql(
        `i.change in ('insert', 'update') and i.reason is null and (i.outcome is null or (i.outcome = 'maybe' and (i.old_insert_id is null or i.old_insert_id = i.insert_id or (d.row_key is not null and d.outcome is null))))`,
      ),
      removed: sql(`d.change = 'delete' and d.old_insert_id is not null and d.outcome is null and d.reason is null`),
      unknown: sql(`d.change = 'delete' and d.outcome = 'maybe' and d.insert_id = l.insert_id`),
    },
  };
}

/** Events that Mixpanel would refuse, found before they are sent (documentation: Import Events). */
function rules(
  dialect: Dialect,
  sync: ResolvedSync,
  source: Source,
  members: Sql | null,
): Pick<Mapping, 'rules' | 'clockReasons' | 'marks'> {
  const json = sync.jsonProperties === null ? null : source.column(sync.jsonProperties);
  // A narrow table without JSON cannot have too many, so nothing is counted there.
  const mayBeTooMany = members !== null || source.properties.length + OWN_PROPERTIES + 2 > MAX_PROPERTIES;
  const marks = [
    ...(sync.insertTime === null
      ? []
      : [{ name: 'insert_time_missing', sql: flag(`syncline_image.${dialect.ident(sync.insertTime)} is null`) }]),
    ...(json ? [{ name: 'json_not_object', sql: flag(dialect.notObject(json)) }] : []),
    ...(mayBeTooMany
      ? [{ name: 'too_many', sql: flag(`${propertyCount(dialect, sync, source, members)} > ${MAX_PROPERTIES}`) }]
      : []),
  ];
  const banned = BANNED.map((v) => dialect.text(v)).join(', ');
  const list: [string, string][] = [
    ['r.time_ms is null', 'time-missing'],
    ['r.time_ms < 31536000000', 'time-before-1971'],
    [`r.time_ms > ${dialect.nowMs()} + 3600000`, 'time-in-future'],
    ["r.event is null or trim(r.event) = ''", 'event-missing'],
    [`lower(trim(r.user_id)) in (${banned})`, 'user-banned'],
    ...(sync.deviceId === null
      ? []
      : [[`lower(trim(r.device_id)) in (${banned})`, 'device-banned'] as [string, string]]),
    [dialect.oversized(sql('r.payload'), MAX_EVENT_BYTES), 'too-large'],
  ];
  if (sync.insertTime !== null) list.unshift(['r.insert_time_missing = 1', 'insert-time-missing']);
  if (json) list.push(['r.json_not_object = 1', 'json-not-object']);
  if (mayBeTooMany) list.push(['r.too_many = 1', 'too-many-properties']);
  // Only JSON from outside and nested floats can make a payload that is no JSON.
  if (json || source.properties.some((p) => mayBreak(p.column)))
    list.push([`not ${dialect.jsonValid(sql('r.payload'))}`, 'payload-not-json']);
  return { rules: rulesOf(dialect, list), clockReasons: dialect.text('time-in-future'), marks };
}

/** How many properties a row's event has: what is NULL or left out is none. */
function propertyCount(dialect: Dialect, sync: ResolvedSync, source: Source, members: Sql | null): string {
  const values = [
    'syncline_user_id',
    ...(sync.deviceId === null ? [] : ['syncline_device_id']),
    ...source.properties.map(({ column, value }) => (isSentWheneverThere(column) ? dialect.ident(column.name) : value)),
  ].map((value) => `case when ${value} is null then 0 else 1 end`);
  return [String(OWN_PROPERTIES), ...values, ...(members === null ? [] : [members])].join(' + ');
}

/** True for a column of which only NULL is left out. */
const isSentWheneverThere = ({ type, sentAs }: Column): boolean =>
  sentAs !== 'json' && ['text', 'integer', 'boolean'].includes(type);

const flag = (condition: string): Sql => sql(`case when ${condition} then 1 else 0 end`);

/** True for a column whose value goes into a payload as it is. */
export const mayBreak = (column: Column): boolean =>
  column.sentAs === 'json' || (column.sentAs !== 'string' && (column.type === 'json' || column.type === 'nested'));
