with source_columns as (select column_name as name, data_type as native from duckdb_columns() where lower(table_name) = lower('orders') and lower(schema_name) = lower('main') and database_name = current_database() order by column_index)
select case when f.n = 0 then 'main.orders does not exist, or may not be read: check `relation:`' else 'column `' || w.name || case when c.name is null then '` is missing' else '` is now ' || c.native || ', the lock says ' || w.native end end as violation
from (
  select 'order_id' as name, 'INTEGER' as native union all
  select 'ordered_at' as name, 'TIMESTAMP' as native union all
  select 'customer_id' as name, 'VARCHAR' as native union all
  select 'item' as name, 'VARCHAR' as native union all
  select 'amount' as name, 'DECIMAL(9,2)' as native union all
  select 'note' as name, 'VARCHAR' as native
) as w
cross join (select count(*) as n from source_columns) as f
left join source_columns as c on c.name = w.name
where c.name is null or c.native <> w.native
