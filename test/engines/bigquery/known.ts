/** What BigQuery has besides GoogleSQL, as documented: options by what they belong to, and views of metadata. */

type Types = Readonly<Record<string, string>>;

const LABELS = 'ARRAY<STRUCT<STRING, STRING>>';
const COMMON: Types = { description: 'STRING', friendly_name: 'STRING', labels: LABELS, tags: LABELS };
/** Of columns, within the statement of their table. */
const COLUMN: Types = { rounding_mode: 'STRING', data_policies: 'ARRAY<STRING>' };

const OPTIONS: Readonly<Record<string, Types>> = {
  schema: {
    ...COMMON,
    default_kms_key_name: 'STRING',
    default_partition_expiration_days: 'FLOAT64',
    default_rounding_mode: 'STRING',
    default_table_expiration_days: 'FLOAT64',
    failover_reservation: 'STRING',
    is_case_insensitive: 'BOOL',
    is_primary: 'BOOL',
    location: 'STRING',
    max_time_travel_hours: 'INT64',
    primary_replica: 'STRING',
    storage_billing_model: 'STRING',
  },
  table: {
    ...COMMON,
    ...COLUMN,
    default_rounding_mode: 'STRING',
    enable_change_history: 'BOOL',
    enable_fine_grained_mutations: 'BOOL',
    expiration_timestamp: 'TIMESTAMP',
    kms_key_name: 'STRING',
    max_staleness: 'INTERVAL',
    partition_expiration_days: 'FLOAT64',
    require_partition_filter: 'BOOL',
  },
  'snapshot table': { ...COMMON, expiration_timestamp: 'TIMESTAMP' },
  view: { ...COMMON, expiration_timestamp: 'TIMESTAMP', privacy_policy: 'STRING' },
};

/** Names and types of the options that a statement on a `schema`, `table`, `snapshot table` or `view` may have. */
export const optionsOf = (target: string | undefined): Types => OPTIONS[target ?? ''] ?? {};

const TABLE: Types = { table_catalog: 'STRING', table_schema: 'STRING', table_name: 'STRING' };

const OF_DATASET: Readonly<Record<string, Types>> = {
  'INFORMATION_SCHEMA.PARTITIONS': {
    ...TABLE,
    partition_id: 'STRING',
    total_rows: 'INT64',
    total_logical_bytes: 'INT64',
    last_modified_time: 'TIMESTAMP',
    storage_tier: 'STRING',
  },
  'INFORMATION_SCHEMA.COLUMNS': {
    ...TABLE,
    column_name: 'STRING',
    ordinal_position: 'INT64',
    is_nullable: 'STRING',
    data_type: 'STRING',
    is_generated: 'STRING',
    generation_expression: 'STRING',
    is_stored: 'STRING',
    is_hidden: 'STRING',
    is_updatable: 'STRING',
    is_system_defined: 'STRING',
    is_partitioning_column: 'STRING',
    clustering_ordinal_position: 'INT64',
    collation_name: 'STRING',
    column_default: 'STRING',
    rounding_mode: 'STRING',
  },
  'INFORMATION_SCHEMA.COLUMN_FIELD_PATHS': {
    ...TABLE,
    column_name: 'STRING',
    field_path: 'STRING',
    data_type: 'STRING',
    description: 'STRING',
    collation_name: 'STRING',
    rounding_mode: 'STRING',
  },
  'INFORMATION_SCHEMA.TABLES': {
    ...TABLE,
    table_type: 'STRING',
    managed_table_type: 'STRING',
    is_insertable_into: 'STRING',
    is_fine_grained_mutations_enabled: 'STRING',
    is_typed: 'STRING',
    is_change_history_enabled: 'STRING',
    creation_time: 'TIMESTAMP',
    base_table_catalog: 'STRING',
    base_table_schema: 'STRING',
    base_table_name: 'STRING',
    snapshot_time_ms: 'TIMESTAMP',
    ddl: 'STRING',
    default_collation_name: 'STRING',
    upsert_stream_apply_watermark: 'TIMESTAMP',
  },
  'INFORMATION_SCHEMA.TABLE_OPTIONS': {
    ...TABLE,
    option_name: 'STRING',
    option_type: 'STRING',
    option_value: 'STRING',
  },
  'INFORMATION_SCHEMA.TABLE_SNAPSHOTS': {
    ...TABLE,
    base_table_catalog: 'STRING',
    base_table_schema: 'STRING',
    base_table_name: 'STRING',
    snapshot_time: 'TIMESTAMP',
  },
  __TABLES__: {
    project_id: 'STRING',
    dataset_id: 'STRING',
    table_id: 'STRING',
    creation_time: 'INT64',
    last_modified_time: 'INT64',
    row_count: 'INT64',
    size_bytes: 'INT64',
    type: 'INT64',
  },
};

const OF_REGION: Readonly<Record<string, Types>> = {
  ...Object.fromEntries(
    ['COLUMNS', 'COLUMN_FIELD_PATHS', 'TABLES', 'TABLE_OPTIONS', 'TABLE_SNAPSHOTS'].map((view) => [
      `INFORMATION_SCHEMA.${view}`,
      OF_DATASET[`INFORMATION_SCHEMA.${view}`] ?? {},
    ]),
  ),
  'INFORMATION_SCHEMA.SCHEMATA': {
    catalog_name: 'STRING',
    schema_name: 'STRING',
    schema_owner: 'STRING',
    creation_time: 'TIMESTAMP',
    last_modified_time: 'TIMESTAMP',
    location: 'STRING',
    ddl: 'STRING',
    default_collation_name: 'STRING',
  },
  'INFORMATION_SCHEMA.OBJECT_PRIVILEGES': {
    object_catalog: 'STRING',
    object_schema: 'STRING',
    object_name: 'STRING',
    object_type: 'STRING',
    privilege_type: 'STRING',
    grantee: 'STRING',
  },
  'INFORMATION_SCHEMA.TABLE_STORAGE': {
    project_id: 'STRING',
    project_number: 'INT64',
    ...TABLE,
    creation_time: 'TIMESTAMP',
    total_rows: 'INT64',
    total_partitions: 'INT64',
    total_logical_bytes: 'INT64',
    active_logical_bytes: 'INT64',
    long_term_logical_bytes: 'INT64',
    current_physical_bytes: 'INT64',
    total_physical_bytes: 'INT64',
    active_physical_bytes: 'INT64',
    long_term_physical_bytes: 'INT64',
    time_travel_physical_bytes: 'INT64',
    fail_safe_physical_bytes: 'INT64',
    storage_last_modified_time: 'TIMESTAMP',
    deleted: 'BOOL',
    table_type: 'STRING',
    managed_table_type: 'STRING',
  },
};

/** Columns of the metadata that `project.dataset` or `project.region-eu` has. TABLE_STORAGE is known by region only. */
export const informationSchema = (dataset: string): Readonly<Record<string, Types>> =>
  (dataset.split('.')[1] ?? '').startsWith('region-') ? OF_REGION : OF_DATASET;
