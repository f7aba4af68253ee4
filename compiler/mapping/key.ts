import type { Column, Dialect, Sql } from '../dialects/dialect.ts';
import { sql } from '../dialects/dialect.ts';
import type { ResolvedSync } from '../project/resolve.ts';
import { historyKey } from './history.ts';
import { joined } from './mapping.ts';
import type { Source } from './wire.ts';

/** What names a row among the sync's rows; null where it has no name. */
export function keyOf(
  dialect: Dialect,
  sync: ResolvedSync,
  source: Source,
  checksum: Sql = sql('syncline_checksum'),
): Sql {
  const text = (name: string | null): Sql => dialect.keyText(source.column(name));
  const single = (column: Column): Sql =>
    column.type === 'text' ? dialect.exact(dialect.bytewise(dialect.keyText(column))) : dialect.keyText(column);
  const twins = sql(
    `${checksum} || ':' || cast(row_number() over (partition by ${checksum}) as ${dialect.types.text})`,
  );
  switch (sync.kind) {
    case 'events': {
      if (!sync.key) return twins;
      const [only] = sync.key;
      if (sync.key.length === 1 && only !== undefined) return single(source.column(only));
      const parts = sync.key.map(text);
      // A list with a null in it is no key: the check for null keys must see it.
      const anyNull = parts.map((p) => `${p} is null`).join(' or ');
      return sql(`case when ${anyNull} then null else ${joined(dialect, parts)} end`);
    }
    case 'user_profiles':
    case 'group_profiles': {
      if (sync.history) return historyKey(dialect, sync, source);
      const column = source.column(sync.kind === 'user_profiles' ? sync.userId : sync.groupId);
      const id = single(column);
      // Where no check looks at keys, a row without id is an invalid row, which needs a name all the same.
      return sync.mode === 'mirror'
        ? id
        : sql(`coalesce(case when trim(${dialect.keyText(column)}) <> '' then ${id} end, '~' || syncline_checksum)`);
    }
    case 'lookup_table':
      return single(source.column(sync.id));
  }
}
