/** Names with a meaning of their own in an event (Mixpanel documentation: Reserved Properties). */
export const RESERVED_EVENT: readonly string[] = [
  'token',
  'ip',
  'time',
  '$time',
  'distinct_id',
  '$distinct_id',
  '$device_id',
  '$user_id',
  '$insert_id',
  '$event_name',
  '$identified_id',
  '$anon_id',
  'alias',
  '$distinct_ids',
  '$distinct_id_before_identity',
  '$is_reshuffled',
  '$preshuffle_distinct_id',
  '$failure_description',
  '$failure_reason',
  '$identity_failure_reason',
  '$ignore',
  '$source',
  '$partner_id',
  'bucket',
  '$bucket',
  '$import',
  '$duration_s',
  '$event_count',
  '$origin_start',
  '$origin_end',
];

/** `mp_` and `$warehouse_` names are Mixpanel's own: it overwrites or hides them. */
export const RESERVED_PREFIXES: readonly string[] = ['mp_', '$warehouse_'];

const NAMES = new Set(RESERVED_EVENT);

export const isReservedEvent = (name: string): boolean =>
  NAMES.has(name) || RESERVED_PREFIXES.some((prefix) => name.startsWith(prefix));
