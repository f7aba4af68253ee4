import type { Column, Dialect, Sql } from '../dialects/dialect.ts';
import { sql } from '../dialects/dialect.ts';
import type { ResolvedSync } from '../project/resolve.ts';
import type { EventSpace } from './events.ts';
import { mapEvents } from './events.ts';
import type { Mapping } from './mapping.ts';
import { joined, rulesOf } from './mapping.ts';
import type { Earlier } from './profiles.ts';
import { mapProfiles } from './profiles.ts';
import type { Source } from './wire.ts';
import { propertyOf } from './wire.ts';

/*
 * A table of versions (slowly changing dimension, type 2) as rows of three kinds, which the one change algorithm then
 * treats like any others: `version`, an event at the start of each version; `closing`, an event where a version ends
 * without a successor; `profile`, the newest version of an id, or nothing once it is closed. A version without start
 * or id is invalid: it closes nothing and is no profile. This is syncline's own mapping of history onto events, not
 * Mixpanel's profile history.
 */

/** The operations of a profile; every other id of a record is an event's. */
const OPERATIONS = `('set', 'unset', 'delete')`;

/**
 * The rows of the three kinds.
 * @param carried columns that they have besides id and times: the properties, or all where an earlier mapping is read
 */
export function historyRows(
  dialect: Dialect,
  sync: ResolvedSync,
  source: Source,
  relation: Sql,
  carried: readonly string[],
): Sql {
  const { history } = sync;
  if (!history) return relation;
  const [id, start] = [dialect.ident(idOf(sync)), dialect.ident(history.startTime)];
  const column = source.column(idOf(sync));
  const who = column.type === 'text' ? dialect.exact(dialect.bytewise(dialect.keyText(column))) : id;
  const end = history.endTime === null ? null : dialect.ident(history.endTime);
  const nowOf = (name: string): Sql => dialect.watermark(source.column(name)).now;
  const ended = end && `(v.${end} is not null and v.${end} <= ${nowOf(history.endTime ?? '')})`;
  const inserted = sync.insertTime === null ? null : dialect.ident(sync.insertTime);
  const names = carried.map((name) => dialect.ident(name));
  const row = (kind: string, time: string, stamp: string, value: (name: Sql) => string): string =>
    [
      `select ${dialect.typed(sql(`'${kind}'`))} as syncline_kind`,
      `${time} as syncline_time`,
      `v.${id} as ${id}`,
      ...(inserted === null ? [] : [`${stamp} as ${inserted}`]),
      ...names.map((name) => `${value(name)} as ${name}`),
    ].join(', ');
  const own = `v.${inserted ?? ''}`;
  // A version that an append does not send yet, or never, neither shows nor holds back its profile.
  const isIn = inserted === null ? '' : ` and ${inserted} <= ${nowOf(sync.insertTime ?? '')}`;
  return sql(
    `(with versions as (select syncline_source.*, lead(${start}) over (partition by ${who} order by ${start}) as syncline_next from ${relation} as syncline_source)` +
      ` ${row('version', `v.${start}`, own, (name) => `v.${name}`)} from versions as v` +
      (end === null
        ? ''
        : ` union all ${row('closing', `v.${end}`, own, () => 'null')} from versions as v where v.${start} is not null and ${ended} and (v.syncline_next is null or v.syncline_next > v.${end})`) +
      ` union all ${row('profile', 'null', 'v.syncline_inserted', (name) => (ended ? `case when not ${ended} then v.${name} end` : `v.${name}`))}` +
      ` from (select syncline_version.*, row_number() over (partition by ${who} order by ${start} desc) as syncline_rank${inserted === null ? '' : `, max(${inserted}) over (partition by ${who}) as syncline_inserted`} from versions as syncline_version where ${start} <= ${nowOf(history.startTime)}${isIn}) as v where v.syncline_rank = 1)`,
  );
}

const idOf = (sync: ResolvedSync): string => (sync.kind === 'user_profiles' ? sync.userId : sync.groupId) ?? '';

/** What names a row of history: its kind, its id and its time. */
export function historyKey(dialect: Dialect, sync: ResolvedSync, source: Source): Sql {
  const id = dialect.keyText(source.column(idOf(sync)));
  const time = dialect.keyText(timeColumn(sync, source));
  const name = joined(dialect, [sql('syncline_kind'), id, time]);
  if (sync.mode === 'mirror') return sql(`case when ${id} is not null then ${name} end`);
  // Where no check looks for ids, rows without one are invalid rows, which need a name each: they may all be equal.
  const unnamed = joined(dialect, [sql('syncline_kind'), sql('syncline_checksum')]);
  const count = `cast(row_number() over (partition by ${id}, syncline_kind, syncline_checksum) as ${dialect.types.text})`;
  return sql(`case when ${id} is null then '~' || ${unnamed} || ':' || ${count} else ${name} end`);
}

/** Which names of rows are those of closings. */
export const closings = (name: Sql): Sql => sql(`${name} like '7:closing%'`);

/** The columns that the rows of history have besides their kind. */
export function historyColumns(sync: ResolvedSync, source: Source): readonly Column[] {
  const times: readonly (string | null | undefined)[] = [sync.history?.startTime, sync.history?.endTime];
  return source.columns.filter((c) => !times.includes(c.name));
}

const timeColumn = (sync: ResolvedSync, source: Source): Column => ({
  ...source.column(sync.history?.startTime ?? null),
  name: 'syncline_time',
});

/** Versions as events, and the newest version as the profile. */
export function mapHistory(
  dialect: Dialect,
  sync: ResolvedSync,
  source: Source,
  space: EventSpace & { readonly earlier: Earlier },
): Mapping {
  const time = timeColumn(sync, source);
  const isGroup = sync.kind === 'group_profiles';
  const id = source.column(idOf(sync));
  const events = mapEvents(
    dialect,
    {
      ...sync,
      // Mixpanel ties an event to a group by a property that is named like its key.
      userId: isGroup ? null : sync.userId,
      time: 'syncline_time',
      event: sync.event ?? { literal: sync.name },
      onDelete: 'tombstone',
    },
    {
      ...source,
      properties: isGroup
        ? [propertyOf(dialect, sync.groupKey ?? '', { ...id, sentAs: 'string' }), ...source.properties]
        : source.properties,
      column: (name) => (name === 'syncline_time' ? time : source.column(name)),
    },
    space,
  );
  const profiles = mapProfiles(dialect, sync, source, space.earlier);
  const ofProfile = (row: string): string => `${row}.syncline_kind = 'profile'`;
  const wasProfile = `syncline_change.syncline_old_insert_id = 'set'`;
  const isOperation = (row: string): string => `${row}.insert_id in ${OPERATIONS}`;
  const either = (condition: string, profile: Sql, event: Sql): Sql =>
    sql(`case when ${condition} then ${profile} else ${event} end`);
  const both = (row: string, profile: Sql, event: Sql): Sql =>
    sql(`((${isOperation(row)} and (${profile})) or (not ${isOperation(row)} and (${event})))`);
  const { partial, vanished } = profiles;
  const gone = events.vanished;
  return {
    identity: [
      ...events.identity.map((c) =>
        c.name === 'event' ? { ...c, sql: sql(`case when not ${ofProfile('syncline_change')} then ${c.sql} end`) } : c,
      ),
      ...profiles.identity,
    ],
    image: {
      insertId: either(ofProfile('syncline_image'), profiles.image.insertId, events.image.insertId),
      payload: either(ofProfile('syncline_image'), profiles.image.payload, events.image.payload),
      change: either(ofProfile('syncline_image'), profiles.image.change, events.image.change),
    },
    partial: partial && { ...partial, when: sql(`${ofProfile('syncline_image')} and (${partial.when})`) },
    vanished:
      vanished && gone
        ? {
            when: sql(`(${wasProfile} and (${vanished.when})) or (not ${wasProfile} and (${gone.when}))`),
            insertId: either(wasProfile, vanished.insertId, gone.insertId),
            oldInsertId: either(wasProfile, vanished.oldInsertId, gone.oldInsertId),
            payload: either(wasProfile, vanished.payload, gone.payload),
          }
        : null,
    leftovers: vanished ? sql(`j.shown = 1 and j.insert_id not in ${OPERATIONS}`) : null,
    rules: [
      ...rulesOf(dialect, [
        // An event that names nobody is no version of anybody.
        [`r.change <> 'delete' and (r.profile_id is null or trim(r.profile_id) = '')`, 'id-missing'],
      ]),
      ...profiles.rules.map((rule) => ({ ...rule, when: sql(`r.insert_id in ${OPERATIONS} and (${rule.when})`) })),
      ...events.rules.map((rule) => ({ ...rule, when: sql(`r.insert_id not in ${OPERATIONS} and (${rule.when})`) })),
    ],
    clockReasons: events.clockReasons,
    marks: events.marks,
    tallies: profiles.tallies,
    billable: sql(`insert_id not in ${OPERATIONS}`),
    commit: {
      companion: both('d', profiles.commit.companion, events.commit.companion),
      shown: both('i', profiles.commit.shown, events.commit.shown),
      removed: both('d', profiles.commit.removed, events.commit.removed),
      unknown: both('d', profiles.commit.unknown, events.commit.unknown),
    },
  };
}
