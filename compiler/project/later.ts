/** What later versions know: named as such instead of as a typo. */
const KEYS = new Set([
  'device_id',
  'json_properties',
  'properties',
  'where',
  'timezone',
  'late_window',
  'history',
  'group_key',
  'group_id',
  'id',
  'lookup_table_id',
  'exports',
  'defaults',
  'dbt',
  'renamed_from',
  'decisions',
  'initial',
  'enabled',
  'dbt_profile',
  'dbt_target',
  'grantee',
  'grant_scope',
  'on_new_column',
  'max_rejects',
  'egress_price',
  'attach',
]);
const VALUES: Readonly<Record<string, readonly string[]>> = {
  kind: ['user_profiles', 'group_profiles', 'lookup_table'],
  mode: ['full', 'one_time'],
  strategy: ['snapshot', 'stream', 'change_feed', 'all'],
  on_delete: ['ignore', 'fail', 'unset', 'delete'],
  type: ['bigquery', 'snowflake', 'databricks', 'redshift', 'postgres'],
};

export const isLater = (key: string): boolean => KEYS.has(key);
export const isLaterValue = (key: string, value: unknown): boolean => (VALUES[key] ?? []).some((v) => v === value);
