-- every sync that has a state here, whether the project still declares it or not
select left(table_name, length(table_name) - 7) as name from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and ends_with(table_name, '__state') order by 1
