import type { Dialect } from '../dialects/dialect.ts';
import { sql } from '../dialects/dialect.ts';
import type { ResolvedSync } from '../project/resolve.ts';
import type { Mapping } from './mapping.ts';
import { inexactNumbers } from './mapping.ts';
import type { Source } from './wire.ts';

/**
 * Lookup tables: one line of CSV a row, the join key first (documentation: Lookup Tables). What Mixpanel would
 * refuse is a check, not a rule: the table is taken or refused as a whole.
 */
export function mapLookup(dialect: Dialect, sync: ResolvedSync, source: Source): Mapping {
  const id = source.column(sync.id);
  const fields = [id, ...source.properties.map((p) => p.column)].map((c) => dialect.csvField(c));
  return {
    identity: [{ name: 'row_id', type: 'text', sql: dialect.keyText(id) }],
    image: {
      insertId: dialect.typed(sql("'row'")),
      payload: dialect.concat(fields.flatMap((field, i) => (i === 0 ? [field] : [sql("','"), field]))),
      change: sql('syncline_image.syncline_row_change'),
    },
    partial: null,
    vanished: null,
    leftovers: null,
    billable: false,
    rules: [],
    clockReasons: dialect.text(''),
    marks: [],
    tallies: inexactNumbers([id, ...source.properties.map((p) => p.column)], (c) => dialect.ident(c.name)),
    commit: { companion: sql('1 = 0'), shown: sql('1 = 0'), removed: sql('1 = 0'), unknown: sql('1 = 0') },
  };
}

/** The first line of the CSV. */
export function lookupHeader(sync: ResolvedSync, source: Source): string {
  const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;
  return [sync.id ?? '', ...source.properties.map((p) => p.name)].map(quoted).join(',');
}
