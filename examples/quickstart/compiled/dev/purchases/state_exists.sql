select
  case when exists (select 1 from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and table_name = 'purchases__state') then 1 else 0 end as state_exists,
  case when exists (select 1 from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and table_name = 'purchases__ledger') then 1 else 0 end as ledger_exists,
  case when exists (select 1 from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and table_name = 'runs') then 1 else 0 end as runs_exists
