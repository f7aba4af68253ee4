import type { Column, Dialect, Sql } from '../dialects/dialect.ts';
import { sql } from '../dialects/dialect.ts';
import type { ResolvedSync } from '../project/resolve.ts';
import { invalidEvent } from './rules.ts';

/** What a kind sends for a change of a row, as SQL over the row and over what Mixpanel shows for it. */
export interface Mapping {
  /** Columns that the ledger, the outbox and the rejects keep to find what was sent again. */
  readonly identity: readonly { readonly name: string; readonly type: 'text' | 'integer'; readonly sql: Sql }[];
  /** Id of the record that shows a row. Equal ids are one event in Mixpanel. */
  readonly insertId: Sql;
  readonly imagePayload: Sql;
  readonly tombstonePayload: Sql;
  /** Records that are never sent, first match wins. Rules read only outbox columns. */
  readonly rules: readonly { readonly when: Sql; readonly reason: Sql }[];
  readonly clockReasons: Sql;
}

/** Length-prefixed, so that no two lists of parts give one text; null differs from the empty text. */
const prefixed = (dialect: Dialect, part: Sql): string =>
  `coalesce(cast(length(${part}) as ${dialect.types.text}) || ':' || ${part}, '~')`;

/** Joins parts so that different lists never give equal text. */
export function joined(dialect: Dialect, parts: readonly Sql[]): Sql {
  return sql(parts.map((part) => prefixed(dialect, part)).join(' || '));
}

/**
 * Events: an image for a row that is there, a tombstone for one that is not (Mixpanel has no per-event delete).
 * Names and limits: Mixpanel documentation, Import Events and Event Deduplication.
 */
export function mapEvents(
  dialect: Dialect,
  sync: ResolvedSync,
  columns: readonly Column[],
  properties: readonly Column[],
  space: { readonly idSpace: Sql; readonly epoch: Sql },
): Mapping {
  const column = (name: string): Column => {
    const found = columns.find((c) => c.name === name);
    if (!found) throw new Error(`column ${name} was not checked against the lock`);
    return found;
  };
  const text = (value: Sql): Sql => sql(`cast(${value} as ${dialect.types.text})`);
  const event = 'literal' in sync.event ? dialect.text(sync.event.literal) : text(dialect.ident(sync.event.column));
  const identity = [
    { name: 'time_ms', type: 'integer', sql: dialect.epochMs(column(sync.time)) },
    { name: 'event', type: 'text', sql: event },
    {
      name: 'user_id',
      type: 'text',
      sql: sync.userId === null ? text(sql('null')) : dialect.keyText(column(sync.userId)),
    },
    { name: 'device_id', type: 'text', sql: text(sql('null')) },
  ] as const;

  const insertId = dialect.md5(
    joined(dialect, [
      space.idSpace,
      text(space.epoch),
      sql('syncline_key'),
      sql('syncline_event'),
      text(sql('syncline_time_ms')),
      sql('syncline_user_id'),
      sql('syncline_device_id'),
    ]),
  );

  const payload = (prefix: string, id: string, rest: readonly { name: string; value: Sql; optional: boolean }[]): Sql =>
    dialect.jsonObject([
      { name: 'event', value: dialect.jsonString(sql(`coalesce(${prefix}event, '')`)), optional: false },
      {
        name: 'properties',
        optional: false,
        value: dialect.jsonObject([
          { name: 'time', value: sql(`coalesce(${text(sql(`${prefix}time_ms`))}, 'null')`), optional: false },
          { name: 'distinct_id', value: dialect.jsonString(sql(`coalesce(${prefix}user_id, '')`)), optional: false },
          { name: '$insert_id', value: dialect.jsonString(sql(id)), optional: false },
          { name: '$user_id', value: dialect.jsonString(sql(`${prefix}user_id`)), optional: true },
          { name: 'ip', value: sql("'0'"), optional: false },
          { name: 'syncline_sync', value: dialect.text(JSON.stringify(sync.name)), optional: false },
          { name: 'syncline_warehouse', value: dialect.text(JSON.stringify(dialect.name)), optional: false },
          ...rest,
        ]),
      },
    ]);

  return {
    identity,
    insertId,
    imagePayload: payload(
      'syncline_',
      'syncline_insert_id',
      properties.map((c) => ({ name: c.name, value: dialect.jsonValue(c), optional: true })),
    ),
    tombstonePayload: payload('c.syncline_old_', 'c.syncline_old_insert_id', [
      { name: 'syncline_deleted', value: sql("'true'"), optional: false },
    ]),
    ...invalidEvent(dialect, properties, sync.insertTime === null ? null : dialect.ident(sync.insertTime)),
  };
}
