import { profiles, sync } from './project.ts';

/** Each case is one file with every statement in order; the commit that accepts one says what was checked in it. */
export const CASES = {
  'mirror-keyed': sync('    key: order_id\n'),
  'mirror-key-list': sync('    key: [customer_id, order_id]\n'),
  'mirror-unkeyed': sync(),
  'mirror-renamed': sync('    key: order_id\n    renamed_from: orders_paid\n    initial: skip\n'),
  'mirror-guards': sync(
    '    key: order_id\n    guard: { max_deletes: 10%, max_changes: 1000, on_empty_source: fail }\n',
  ),
  append: sync('    insert_time: loaded_at\n').replace('mirror', 'append'),
  'append-late-window': sync('    insert_time: loaded_at\n    late_window: 6h\n').replace('mirror', 'append'),
  'one-time': sync().replace('mirror', 'one_time'),
  'event-options': sync(`    key: order_id
    device_id: device
    json_properties: raw
    timezone: Europe/Berlin
    where: "amount > 0 or note = 'it''s'"
    properties: { exclude: [photo], rename: { weight: Weight in kg }, types: { gift: string, note: json }, case: upper }
    on_delete: ignore
    on_new_column: fail
    guard: { max_rejects: 5 }
`),
  'profiles-mirror': profiles('    properties: { rename: { amount: $name } }\n    guard: { max_deletes: 5 }\n'),
  'profiles-append': profiles('    insert_time: loaded_at\n').replace('mirror', 'append'),
  'groups-mirror': profiles('    on_delete: delete\n')
    .replace('user_profiles', 'group_profiles')
    .replace('user_id: customer_id', 'group_key: company\n    group_id: customer_id'),
  'history-mirror': profiles('    history: { start_time: ordered_at, end_time: shipped }\n'),
  'history-groups-append': profiles('    insert_time: loaded_at\n    history: { start_time: ordered_at }\n')
    .replace('mirror', 'append')
    .replace('user_profiles', 'group_profiles')
    .replace('user_id: customer_id', 'group_key: company\n    group_id: customer_id'),
  'profiles-full': profiles().replace('mirror', 'full'),
  'direct-append': sync('    insert_time: loaded_at\n').replace('mirror', 'append'),
  lookup: `syncs:
  - { name: items, kind: lookup_table, mode: full, source: { relation: main.orders }, id: order_id, lookup_table_id: abc-1, properties: { exclude: [tags, raw, photo] } }
`,
};
