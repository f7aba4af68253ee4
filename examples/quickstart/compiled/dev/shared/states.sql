-- every sync that has tables here, whether the project still declares it or not, and whether its state is one of them
select t.name, max(t.has_state) as has_state
from (
  select s.name, 1 as has_state from (select left(table_name, length(table_name) - 7) as name from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and ends_with(table_name, '__state') order by 1) as s
  union all
  select o.name, 0 from (select left(table_name, length(table_name) - 8) as name from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and ends_with(table_name, '__ledger') order by 1) as o
  union all
  select o.name, 0 from (select left(table_name, length(table_name) - 9) as name from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and ends_with(table_name, '__rejects') order by 1) as o
  union all
  select o.name, 0 from (select left(table_name, length(table_name) - 6) as name from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and ends_with(table_name, '__seen') order by 1) as o
  union all
  select left(o.name, greatest(strpos(o.name, '__outbox_') - 1, 0)), 0 from (select left(table_name, length(table_name) - 0) as name from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and ends_with(table_name, '') order by 1) as o where strpos(o.name, '__outbox_') > 1
) as t
group by t.name
order by t.name
