import type { SyncPlan } from '../../schemas/types.ts';
import type { Column, Dialect } from '../dialects/dialect.ts';
import type { ResolvedSync } from '../project/resolve.ts';
import type { Mapping } from './mapping.ts';
import type { Source } from './wire.ts';

/** How each column reaches Mixpanel: rows that did not change would differ when one of these texts does. */
export function mappingList(
  dialect: Dialect,
  sync: ResolvedSync,
  source: Source,
  mapping: Mapping,
): SyncPlan['mapping'] {
  const properties = new Map(source.properties.map((p) => [p.column.name, p]));
  const roles: readonly (readonly [string, string | null | undefined])[] = [
    ['time', sync.time],
    ['start_time', sync.history?.startTime],
    ['end_time', sync.history?.endTime],
    ['event', sync.event && 'column' in sync.event ? sync.event.column : null],
    ['user_id', sync.userId],
    ['device_id', sync.deviceId],
    ['group_id', sync.groupId],
    ['id', sync.id],
    ['insert_time', sync.insertTime],
    ['json_properties', sync.jsonProperties],
    ...(sync.key ?? []).map((name) => ['key', name] as const),
  ];
  const rolesByColumn = new Map<string, string[]>();
  for (const [role, name] of roles)
    if (name != null) rolesByColumn.set(name, [...(rolesByColumn.get(name) ?? []), role]);
  const rolesOf = (c: Column): readonly string[] => rolesByColumn.get(c.name) ?? [];
  const payloadOf = (c: Column): string => {
    const property = properties.get(c.name);
    const time = c.name === sync.time ? [dialect.epochMs(c)] : [];
    return [...rolesOf(c), ...time, ...(property === undefined ? [] : [property.value])].join(', ');
  };
  const meansOf = (c: Column): string => {
    const property = properties.get(c.name);
    const zone = c.type === 'timestamp' && sync.timezone !== null ? [`zone ${sync.timezone}`] : [];
    return [
      ...rolesOf(c),
      ...(property === undefined ? [] : [`property ${JSON.stringify(property.name)}`]),
      ...(c.sentAs == null ? [] : [`as ${c.sentAs}`]),
      ...zone,
      c.native,
    ].join(', ');
  };
  const constants: readonly (readonly [string, string | null])[] = [
    ['(key)', sync.kind === 'events' && sync.key ? sync.key.join(', ') : null],
    ['(event)', sync.event && 'literal' in sync.event ? sync.event.literal : null],
    ['(group_key)', sync.groupKey],
    ['(lookup_table_id)', sync.lookupTableId],
    ['(where)', sync.where],
    [
      '(distinct_id)',
      sync.deviceId === null ? null : mapping.image.payload.includes('$device:') ? 'simplified' : 'original',
    ],
  ];
  return [
    ...source.columns.map((c) => ({
      column: c.name,
      means: meansOf(c),
      checksum: dialect.keyText(c),
      payload: payloadOf(c),
    })),
    ...constants.flatMap(([column, means]) => (means === null ? [] : [{ column, means, checksum: '', payload: '' }])),
  ];
}
