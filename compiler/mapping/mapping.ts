import type { Column, Dialect, Sql } from '../dialects/dialect.ts';
import { sql } from '../dialects/dialect.ts';

/** A record of the outbox, besides what every record has: SQL over the row, and over what Mixpanel shows for it. */
export interface RecordOf {
  readonly when: Sql;
  /** Id of the record: equal ids are one thing to Mixpanel. Events: the insert id; profiles: the operation. */
  readonly insertId: Sql;
  readonly payload: Sql;
}

/** What a kind sends for a change of a row: the only place that knows what an event, a profile or a table is. */
export interface Mapping {
  /** Columns that the ledger, the outbox and the rejects keep to find what was sent again. */
  readonly identity: readonly { readonly name: string; readonly type: 'text' | 'integer'; readonly sql: Sql }[];
  /** The record that shows a row. `change` is what happens to the record, where a row changes its identity. */
  readonly image: { readonly insertId: Sql; readonly payload: Sql; readonly change: Sql };
  /** A second record of a row that is there, of the same change. */
  readonly partial: RecordOf | null;
  /** The record for what Mixpanel shows and the table no longer says. */
  readonly vanished: (RecordOf & { readonly oldInsertId: Sql }) | null;
  /** Which rejects `j` hold an identity that may still be shown: they get a record as `vanished` does. */
  readonly leftovers: Sql | null;
  /** Records that are never sent, first match wins. Rules read only columns of `records`. */
  readonly rules: readonly { readonly when: Sql; readonly reason: Sql }[];
  /** Reasons that time alone can lift. */
  readonly clockReasons: Sql;
  /** Which records Mixpanel counts for the bill: all, none, or those of a condition. */
  readonly billable: boolean | Sql;
  /** More columns of `records` that only rules read; 0 for records that are no image. */
  readonly marks: readonly { readonly name: string; readonly sql: Sql }[];
  /** What a preview counts besides: 1 for a row that will be in Mixpanel otherwise than its table says it. */
  readonly tallies: readonly { readonly name: 'inexact' | 'left_out'; readonly sql: Sql }[];
  /** Conditions over outbox rows at commit: `i` is a row's image, `d` its companion, which may be missing. */
  readonly commit: {
    readonly companion: Sql;
    /** The image is shown, or may be. */
    readonly shown: Sql;
    /** `d` took a row out of what Mixpanel shows. */
    readonly removed: Sql;
    /** `d` leaves it open what Mixpanel shows for the ledger's row `l`. */
    readonly unknown: Sql;
  };
}

/** Length-prefixed, so that no two lists of parts give one text; null differs from the empty text. */
const prefixed = (dialect: Dialect, part: Sql): string =>
  `coalesce(cast(length(${part}) as ${dialect.types.text}) || ':' || ${dialect.exact(part)}, '~')`;

/** Joins parts so that different lists never give equal text. */
export function joined(dialect: Dialect, parts: readonly Sql[]): Sql {
  return sql(parts.map((part) => prefixed(dialect, part)).join(' || '));
}

/**
 * Rows with an integer or decimal that a double does not hold: Mixpanel keeps the nearest one. Compared as doubles,
 * because not every decimal type has room for the bound itself.
 */
export function inexactNumbers(columns: readonly Column[], name: (column: Column) => Sql): Mapping['tallies'] {
  const sent = columns.filter((c) => (c.type === 'integer' || c.type === 'decimal') && c.sentAs == null).map(name);
  const beyond = sent.flatMap((c) => [`${c} >= ${TWO_TO_53}`, `${c} <= -${TWO_TO_53}`]).join(' or ');
  return sent.length === 0 ? [] : [{ name: 'inexact', sql: sql(`case when ${beyond} then 1 else 0 end`) }];
}

const TWO_TO_53 = '9007199254740992e0';

/** Rules as pairs of a condition and a reason's name. */
export const rulesOf = (dialect: Dialect, rules: readonly (readonly [string, string])[]): Mapping['rules'] =>
  rules.map(([when, reason]) => ({ when: sql(when), reason: dialect.text(reason) }));
