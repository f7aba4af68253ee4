import type { Dialect, Json, Sql } from './dialect.ts';
import { sql } from './dialect.ts';

/** SQL of a JSON value's text, where a text holds whatever is put into it. */
export function jsonText(dialect: Pick<Dialect, 'jsonObject' | 'listed' | 'text'>, value: Json): Sql {
  if (typeof value === 'string') return value;
  if ('members' in value) return dialect.jsonObject(value.members, value.more);
  if ('list' in value) return sql(`'[' || ${dialect.listed(value.list)} || ']'`);
  const members = value.optional.map((m) => sql(`${dialect.text(JSON.stringify(m.name))} || ':' || ${m.value}`));
  return sql(`'{' || ${dialect.listed(members)} || '}'`);
}
