import type { ResolvedSync } from './resolve.ts';

/** How the sync runs, in the words of its declaration; what is not declared is left out, or said as its default. */
export function declaredOf(sync: ResolvedSync): Record<string, string> {
  const { maxDeletes, maxChanges, maxRejects, onEmptySource } = sync.guard;
  const deletes = !maxDeletes ? 'default' : 'rows' in maxDeletes ? maxDeletes.rows : `${maxDeletes.percent}%`;
  const hours = sync.lateWindowMs === null ? null : `${sync.lateWindowMs / 3_600_000}h`;
  const said: Readonly<Record<string, string | number | null>> = {
    on_delete: sync.mode === 'mirror' ? sync.onDelete : null,
    on_new_column: sync.onNewColumn,
    'guard.max_deletes': sync.mode === 'mirror' ? deletes : null,
    'guard.max_changes': maxChanges,
    'guard.max_rejects': maxRejects,
    'guard.on_empty_source': onEmptySource,
    insert_time: sync.insertTime,
    late_window: hours,
    initial: sync.initial,
    frequency: sync.frequency,
    tags: sync.tags.length === 0 ? null : [...sync.tags].sort().join(', '),
    lookup_table_id: sync.lookupTableId,
  };
  const declared: Record<string, string> = {};
  for (const [key, value] of Object.entries(said)) if (value !== null) declared[key] = String(value);
  return declared;
}
