import type { Dialect, Json, Sql } from '../dialects/dialect.ts';
import { sql } from '../dialects/dialect.ts';
import type { ResolvedSync } from '../project/resolve.ts';
import { mayBreak } from './events.ts';
import type { Mapping } from './mapping.ts';
import { inexactNumbers, rulesOf } from './mapping.ts';
import type { Source } from './wire.ts';

/** One update must stay below 1 MB (documentation: User Profiles). */
const MAX_UPDATE_BYTES = 1_000_000;

/** What a run knows of the profiles besides their rows: SQL that gives late values. */
export interface Earlier {
  /** 1 where the sync ran before and does not know any more what Mixpanel shows. */
  readonly again: Sql;
  /** Names that profiles were sent under earlier and that nothing maps any more; null where none can be known. */
  readonly names: {
    /** Those that no resend has taken away yet, as members of a JSON list. */
    readonly retired: Sql;
    /** The same, and those of a `$unset` that was refused. */
    readonly retried: Sql;
    readonly resend: Sql;
    /** The table of rejects, where there is one. */
    readonly rejects: Sql | null;
  } | null;
}

/**
 * User and group profiles: `$set` of what has a value, `$unset` of what has none. The two touch different
 * properties, so their order does not matter (documentation: User Profiles, Group Profiles).
 */
export function mapProfiles(dialect: Dialect, sync: ResolvedSync, source: Source, { again, names }: Earlier): Mapping {
  const isGroup = sync.kind === 'group_profiles';
  const update = (id: string, operation: string, value: Json): Sql =>
    dialect.jsonObject([
      ...(isGroup
        ? [
            { name: '$group_key', value: dialect.text(JSON.stringify(sync.groupKey)), optional: false },
            { name: '$group_id', value: dialect.jsonString(sql(`coalesce(${id}, '')`)), optional: false },
          ]
        : [
            { name: '$distinct_id', value: dialect.jsonString(sql(`coalesce(${id}, '')`)), optional: false },
            { name: '$ip', value: dialect.text('"0"'), optional: false },
          ]),
      { name: operation, value, optional: false },
    ]);
  const values = source.properties.map((p) => ({
    name: p.name,
    value: p.value,
    quoted: dialect.text(JSON.stringify(p.name)),
  }));
  // Names of earlier, also where taking them away was refused before, by whichever operation.
  const earlier = (key: string, kept: string): Sql[] => {
    if (names === null) return [];
    const retried = `when ${key} in (select j.row_key from ${names.rejects ?? ''} as j) then ${names.retried}`;
    const cases = [...(names.rejects === null ? [] : [retried]), ...(kept === '' ? [] : [kept])];
    const list = cases.length === 0 ? names.retired : `case ${cases.join(' ')} else ${names.retired} end`;
    return [sql(`nullif(${list}, '')`)];
  };
  // What a forward left on profiles stays there until a resend: somebody else may own the name by then.
  const kept = sync.mode === 'full' ? '' : `when ${names?.resend ?? ''} = 0 then null`;
  const retired = earlier('syncline_image.syncline_key', kept);
  const missing = [...values.map((v) => sql(`case when ${v.value} is null then ${v.quoted} end`)), ...retired];
  const isMissing = `${dialect.listed(missing)} <> ''`;
  const own = dialect.text(values.map((v) => JSON.stringify(v.name)).join(','));
  const all = [own, ...earlier('syncline_change.syncline_old_key', '')];
  const isDeleted = sync.onDelete === 'delete';
  const marks =
    sync.insertTime === null
      ? []
      : [
          {
            name: 'insert_time_missing',
            sql: sql(`case when syncline_image.${dialect.ident(sync.insertTime)} is null then 1 else 0 end`),
          },
        ];
  const rules: [string, string][] = [
    ...(marks.length === 0 ? [] : [['r.insert_time_missing = 1', 'insert-time-missing'] as [string, string]]),
    ["r.profile_id is null or trim(r.profile_id) = ''", 'id-missing'],
    [dialect.oversized(sql('r.payload'), MAX_UPDATE_BYTES), 'too-large'],
    ...(source.properties.some((p) => mayBreak(p.column))
      ? [[`not ${dialect.jsonValid(sql('r.payload'))}`, 'payload-not-json'] as [string, string]]
      : []),
  ];
  return {
    identity: [
      {
        name: 'profile_id',
        type: 'text',
        sql: dialect.keyText(source.column(isGroup ? sync.groupId : sync.userId)),
      },
    ],
    image: {
      insertId: dialect.typed(sql("'set'")),
      payload: update('syncline_profile_id', '$set', { optional: values }),
      change: sql('syncline_image.syncline_row_change'),
    },
    partial:
      values.length === 0
        ? null
        : {
            // A row that Mixpanel never showed has nothing to unset, unless the ledger was forgotten.
            when: sql(
              sync.mode === 'mirror'
                ? `${isMissing} and (syncline_image.syncline_row_change = 'update' or ${again} = 1)`
                : isMissing,
            ),
            insertId: sql("'unset'"),
            payload: update('syncline_profile_id', '$unset', { list: missing }),
          },
    vanished:
      sync.onDelete === 'ignore'
        ? null
        : {
            when: sql(`syncline_change.syncline_row_change = 'delete'`),
            insertId: sql("'delete'"),
            oldInsertId: sql("'set'"),
            payload: isDeleted
              ? update('syncline_change.syncline_old_profile_id', '$delete', sql(`'""'`))
              : update('syncline_change.syncline_old_profile_id', '$unset', { list: all }),
          },
    leftovers: null,
    billable: false,
    rules: rulesOf(dialect, rules),
    clockReasons: dialect.text(''),
    marks,
    tallies: inexactNumbers(
      source.properties.map((p) => p.column),
      (c) => dialect.ident(c.name),
    ),
    commit: {
      companion: sql(`d.insert_id = 'unset'`),
      shown: sql(
        `i.insert_id = 'set' and i.change in ('insert', 'update') and i.reason is null and (i.outcome is null or i.outcome = 'maybe')`,
      ),
      removed: sql(`d.insert_id = 'delete' and d.outcome is null and d.reason is null`),
      // One operation of a profile that failed leaves it in part as it was.
      unknown: sql(`d.outcome is not null`),
    },
  };
}
