-- shared/create_schema.sql: as in mirror-keyed

-- shared/create_runs.sql: as in mirror-keyed

-- shared/privileges.sql: as in mirror-keyed

-- shared/cancel.sql: as in mirror-keyed

-- shared/runs.sql: as in mirror-keyed

-- shared/states.sql: as in mirror-keyed

-- items/check_columns.sql
with source_columns as (select cast(c.column_name as varchar(65535)) as name, cast(c.data_type || case when c.data_type = 'numeric' then '(' || cast(c.numeric_precision as varchar(10)) || ',' || cast(c.numeric_scale as varchar(10)) || ')' else '' end as varchar(65535)) as native from svv_columns as c where c.table_name = 'orders' and c.table_schema = 'main' order by c.ordinal_position)
select case when f.n = 0 then cast('main.orders does not exist, or may not be read: check `relation:`' as varchar(65535)) else 'column `' || w.name || case when c.name is null then '` is missing' else '` is now ' || c.native || ', the lock says ' || w.native end end as violation
from (
  select cast('order_id' as varchar(65535)) as name, cast('integer' as varchar(65535)) as native union all
  select cast('ordered_at' as varchar(65535)) as name, cast('timestamp without time zone' as varchar(65535)) as native union all
  select cast('customer_id' as varchar(65535)) as name, cast('character varying' as varchar(65535)) as native union all
  select cast('amount' as varchar(65535)) as name, cast('numeric(9,2)' as varchar(65535)) as native union all
  select cast('weight' as varchar(65535)) as name, cast('double precision' as varchar(65535)) as native union all
  select cast('gift' as varchar(65535)) as name, cast('boolean' as varchar(65535)) as native union all
  select cast('shipped' as varchar(65535)) as name, cast('date' as varchar(65535)) as native union all
  select cast('loaded_at' as varchar(65535)) as name, cast('timestamp with time zone' as varchar(65535)) as native union all
  select cast('device' as varchar(65535)) as name, cast('character varying' as varchar(65535)) as native union all
  select cast('note' as varchar(65535)) as name, cast('character varying' as varchar(65535)) as native
) as w
cross join (select count(*) as n from source_columns) as f
left join source_columns as c on c.name = w.name
where c.name is null or c.native <> w.native

-- items/check_null_key.sql: as on DuckDB, but for binds, types and the clock

-- items/check_twin_keys.sql: as on DuckDB, but for binds, types and the clock

-- items/check_lookup_size.sql
select case
    when count(*) > count(octet_length(payload)) then 'a row has more than 65,535 bytes, which no text of Redshift holds'
    else 'the table would have ' || cast(coalesce(sum(octet_length(payload) + 1), 0) as varchar(65535)) || ' bytes'
  end as violation
from "mixpanel"."items__outbox_${run}"
having coalesce(sum(octet_length(payload) + 1), 0) > 100000000 or count(*) > count(octet_length(payload))

-- items/check_on_empty_source.sql: as on DuckDB, but for binds, types and the clock

-- items/create_outbox.sql
create table "mixpanel"."items__outbox_${run}" (
  batch bigint,
  ordinal bigint,
  row_change varchar(65535),
  change varchar(65535),
  row_key varchar(65535),
  row_checksum varchar(65535),
  row_id varchar(65535),
  insert_id varchar(65535),
  old_insert_id varchar(65535),
  payload varchar(65535),
  reason varchar(65535),
  outcome varchar(65535),
  outcome_reason varchar(65535)
)
-- what a run joins by, and what it reads in order
distkey (row_key)
sortkey (batch, ordinal)

-- items/run_record.sql: as on DuckDB, but for binds, types and the clock

-- items/columns.sql
select cast(c.column_name as varchar(65535)) as name, cast(c.data_type || case when c.data_type = 'numeric' then '(' || cast(c.numeric_precision as varchar(10)) || ',' || cast(c.numeric_scale as varchar(10)) || ')' else '' end as varchar(65535)) as native from svv_columns as c where c.table_name = 'orders' and c.table_schema = 'main' order by c.ordinal_position

-- items/state_exists.sql
select
  case when exists (select 1 from pg_tables as t where t.schemaname = 'mixpanel' and t.tablename = 'items__state') then 1 else 0 end as state_exists,
  case when exists (select 1 from pg_tables as t where t.schemaname = 'mixpanel' and t.tablename = 'items__ledger') then 1 else 0 end as ledger_exists,
  case when exists (select 1 from pg_tables as t where t.schemaname = 'mixpanel' and t.tablename = 'runs') then 1 else 0 end as runs_exists

-- items/state_owner.sql: as on DuckDB, but for binds, types and the clock

-- items/state_read.sql: as on DuckDB, but for binds, types and the clock

-- items/state_lease.sql
update "mixpanel"."items__state"
set
  version = version + 1,
  holder = cast($1 as varchar(65535)),
  lease_until = cast(extract(epoch from getdate()) as bigint) * 1000 + cast($2 as bigint),
  quiet_until = case when holder is null then quiet_until else greatest(quiet_until, lease_until + cast($3 as bigint)) end,
  mixpanel = case when mixpanel = '' then cast($4 as varchar(65535)) else mixpanel end,
  source = case when source = '' then 'main.orders' else source end,
  names = names || cast(version + 1 as varchar(65535)) || ' '
where version = cast($5 as bigint)
  and coalesce(holder, '') = cast($6 as varchar(65535))
  and (holder is null or lease_until <= cast(extract(epoch from getdate()) as bigint) * 1000)

-- items/state_renew.sql: as on DuckDB, but for binds, types and the clock

-- items/state_release.sql: as on DuckDB, but for binds, types and the clock

-- items/state_unlock.sql: as on DuckDB, but for binds, types and the clock

-- items/state_forget.sql: as on DuckDB, but for binds, types and the clock

-- items/state_settle.sql: as on DuckDB, but for binds, types and the clock

-- items/outboxes.sql
-- also those that a process made after it had been paused past its lease: no state names them
select o.name
from (select left(t.tablename, length(t.tablename) - 0) as name from pg_tables as t where t.schemaname = 'mixpanel' and right(t.tablename, 0) = '' order by 1) as o
where strpos(o.name, 'items__outbox_') = 1

-- items/create_state.sql: as on DuckDB, but for binds, types and the clock

-- items/create_rejects.sql: as on DuckDB, but for binds, types and the clock

-- items/state_insert.sql: as on DuckDB, but for binds, types and the clock

-- items/probe.sql
select cast(count(*) as varchar(65535)) || ':' || cast(coalesce(sum(cast(farmfingerprint64(syncline_checksum) as decimal(38,0))), 0) as varchar(65535)) as content
from (
  select syncline_source.*, cast(cast(0 as decimal(38,0)) + case when "order_id" is null then 0 else cast(farmfingerprint64('1:' || cast(farmfingerprint64(cast("order_id" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "ordered_at" is null then 0 else cast(farmfingerprint64('2:' || cast(farmfingerprint64(cast("ordered_at" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "customer_id" is null then 0 else cast(farmfingerprint64('3:' || cast(farmfingerprint64("customer_id") as varchar(20))) as decimal(38,0)) end + case when "amount" is null then 0 else cast(farmfingerprint64('4:' || cast(farmfingerprint64(cast("amount" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "weight" is null then 0 else cast(farmfingerprint64('5:' || cast(farmfingerprint64(cast(cast("weight" as double precision) as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "gift" is null then 0 else cast(farmfingerprint64('6:' || cast(farmfingerprint64(case when "gift" then 'true' when not "gift" then 'false' end) as varchar(20))) as decimal(38,0)) end + case when "shipped" is null then 0 else cast(farmfingerprint64('7:' || cast(farmfingerprint64(cast("shipped" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "loaded_at" is null then 0 else cast(farmfingerprint64('8:' || cast(farmfingerprint64(cast("loaded_at" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "device" is null then 0 else cast(farmfingerprint64('9:' || cast(farmfingerprint64("device") as varchar(20))) as decimal(38,0)) end + case when "note" is null then 0 else cast(farmfingerprint64('10:' || cast(farmfingerprint64("note") as varchar(20))) as decimal(38,0)) end as varchar(65535)) as syncline_checksum, cast("order_id" as varchar(65535)) as syncline_key
  from "main"."orders" as syncline_source
) as syncline_row

-- items/capture.sql
insert into "mixpanel"."items__outbox_${run}" (batch, ordinal, row_change, change, row_key, row_checksum, row_id, insert_id, old_insert_id, payload, reason, outcome, outcome_reason)
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."items__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('') and cast($1 as bigint) = 0
),
source_rows as (
  select syncline_source.*, cast(cast(0 as decimal(38,0)) + case when "order_id" is null then 0 else cast(farmfingerprint64('1:' || cast(farmfingerprint64(cast("order_id" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "ordered_at" is null then 0 else cast(farmfingerprint64('2:' || cast(farmfingerprint64(cast("ordered_at" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "customer_id" is null then 0 else cast(farmfingerprint64('3:' || cast(farmfingerprint64("customer_id") as varchar(20))) as decimal(38,0)) end + case when "amount" is null then 0 else cast(farmfingerprint64('4:' || cast(farmfingerprint64(cast("amount" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "weight" is null then 0 else cast(farmfingerprint64('5:' || cast(farmfingerprint64(cast(cast("weight" as double precision) as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "gift" is null then 0 else cast(farmfingerprint64('6:' || cast(farmfingerprint64(case when "gift" then 'true' when not "gift" then 'false' end) as varchar(20))) as decimal(38,0)) end + case when "shipped" is null then 0 else cast(farmfingerprint64('7:' || cast(farmfingerprint64(cast("shipped" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "loaded_at" is null then 0 else cast(farmfingerprint64('8:' || cast(farmfingerprint64(cast("loaded_at" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "device" is null then 0 else cast(farmfingerprint64('9:' || cast(farmfingerprint64("device") as varchar(20))) as decimal(38,0)) end + case when "note" is null then 0 else cast(farmfingerprint64('10:' || cast(farmfingerprint64("note") as varchar(20))) as decimal(38,0)) end as varchar(65535)) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, cast("order_id" as varchar(65535)) as syncline_key
  from source_rows as syncline_row
),
changes as (
  select n.*,
    cast(null as varchar(65535)) as syncline_old_insert_id,
    case when k.row_key is null then 'insert' else 'known' end as syncline_row_change
  from newer as n
  left join known as k on k.row_key = n.syncline_key and k.row_checksum = n.syncline_checksum
  where cast($2 as varchar(65535)) <> coalesce(cast($3 as varchar(65535)), '') and cast($4 as bigint) = 0
)
,
identified as (
  select syncline_change.*,
    cast("order_id" as varchar(65535)) as syncline_row_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, cast('row' as varchar(65535)) as syncline_insert_id
  from identified as syncline_image
),
records as (
  select
    syncline_image.syncline_key as row_key,
    syncline_image.syncline_row_change as row_change,
    syncline_image.syncline_row_change as change,
    syncline_image.syncline_checksum as row_checksum,
    syncline_image.syncline_row_id as row_id,
    syncline_image.syncline_insert_id as insert_id,
    syncline_image.syncline_old_insert_id as old_insert_id,
    case when 9 + octet_length(coalesce(cast("order_id" as varchar(65535)), '')) + octet_length(case when case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end is null then '' when octet_length(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) + octet_length(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) - octet_length(replace(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '')) + 2 <= 65535 then '"' || replace(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '""') || '"' else repeat('x', 65535) end) + octet_length(case when "customer_id" is null then '' when octet_length("customer_id") + octet_length("customer_id") - octet_length(replace("customer_id", '"', '')) + 2 <= 65535 then '"' || replace("customer_id", '"', '""') || '"' else repeat('x', 65535) end) + octet_length(coalesce(cast("amount" as varchar(65535)), '')) + octet_length(coalesce(nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity'), '')) + octet_length(coalesce(case when "gift" then 'true' when not "gift" then 'false' end, '')) + octet_length(case when case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end is null then '' when octet_length(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end) + octet_length(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end) - octet_length(replace(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end, '"', '')) + 2 <= 65535 then '"' || replace(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end, '"', '""') || '"' else repeat('x', 65535) end) + octet_length(case when case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end is null then '' when octet_length(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) + octet_length(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) - octet_length(replace(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '')) + 2 <= 65535 then '"' || replace(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '""') || '"' else repeat('x', 65535) end) + octet_length(case when "device" is null then '' when octet_length("device") + octet_length("device") - octet_length(replace("device", '"', '')) + 2 <= 65535 then '"' || replace("device", '"', '""') || '"' else repeat('x', 65535) end) + octet_length(case when "note" is null then '' when octet_length("note") + octet_length("note") - octet_length(replace("note", '"', '')) + 2 <= 65535 then '"' || replace("note", '"', '""') || '"' else repeat('x', 65535) end) <= 65535 then coalesce(cast("order_id" as varchar(65535)), '') || ',' || case when case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end is null then '' when octet_length(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) + octet_length(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) - octet_length(replace(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '')) + 2 <= 65535 then '"' || replace(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '""') || '"' else repeat('x', 65535) end || ',' || case when "customer_id" is null then '' when octet_length("customer_id") + octet_length("customer_id") - octet_length(replace("customer_id", '"', '')) + 2 <= 65535 then '"' || replace("customer_id", '"', '""') || '"' else repeat('x', 65535) end || ',' || coalesce(cast("amount" as varchar(65535)), '') || ',' || coalesce(nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity'), '') || ',' || coalesce(case when "gift" then 'true' when not "gift" then 'false' end, '') || ',' || case when case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end is null then '' when octet_length(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end) + octet_length(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end) - octet_length(replace(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end, '"', '')) + 2 <= 65535 then '"' || replace(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end, '"', '""') || '"' else repeat('x', 65535) end || ',' || case when case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end is null then '' when octet_length(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) + octet_length(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) - octet_length(replace(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '')) + 2 <= 65535 then '"' || replace(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '""') || '"' else repeat('x', 65535) end || ',' || case when "device" is null then '' when octet_length("device") + octet_length("device") - octet_length(replace("device", '"', '')) + 2 <= 65535 then '"' || replace("device", '"', '""') || '"' else repeat('x', 65535) end || ',' || case when "note" is null then '' when octet_length("note") + octet_length("note") - octet_length(replace("note", '"', '')) + 2 <= 65535 then '"' || replace("note", '"', '""') || '"' else repeat('x', 65535) end end as payload
  from images as syncline_image
),
judged as (
  select r.*,
    cast(null as varchar(65535)) as reason
  from records as r
)
,
settled as (
  -- rejects that have nothing to send any more; a source column named like an outer alias would hide it, so only ours are in scope
  select j.row_key, j.insert_id
  from "mixpanel"."items__rejects" as j
  where not exists (select 1 from records as r where r.row_key = j.row_key and r.insert_id = j.insert_id)
    and not exists (select 1 from (select syncline_row_change, syncline_key, syncline_checksum from changes) as c where c.syncline_row_change = 'known' and c.syncline_key = j.row_key and c.syncline_checksum = j.row_checksum)
)
,
numbered as (
  select j.*,
    row_number() over () as ordinal,
    sum(case when j.reason is null then 1 else 0 end) over (order by j.row_key, j.insert_id rows unbounded preceding) as syncline_count,
    sum(case when j.reason is null then octet_length(j.payload) else 0 end) over (order by j.row_key, j.insert_id rows unbounded preceding) as syncline_bytes
  from judged as j
)
select
  -- both quotients only grow, so equal sums are equal pairs: at most 2000 records and 7000000 bytes before the last record
  case when j.reason is null then cast(floor((j.syncline_count - 1) / 2000.0) + floor((j.syncline_bytes - octet_length(j.payload)) / 7000000.0) as bigint) end,
  j.ordinal, j.row_change, j.change, j.row_key, j.row_checksum, row_id, j.insert_id, j.old_insert_id, j.payload, j.reason, null, null
from numbered as j
union all
select null, null, 'settled', 'settled', t.row_key, null, null, t.insert_id, null, null, null, null, null
from settled as t

-- items/capture_content.sql
-- what was captured may be newer than what was probed
select case when count(*) = 0 then cast($1 as varchar(65535)) else cast(count(*) as varchar(65535)) || ':' || cast(coalesce(sum(cast(farmfingerprint64(row_checksum) as decimal(38,0))), 0) as varchar(65535)) end as content
from "mixpanel"."items__outbox_${run}"

-- items/totals.sql: as on DuckDB, but for binds, types and the clock

-- items/state_flip.sql: as on DuckDB, but for binds, types and the clock

-- items/deliver_pages.sql
-- one record a row: a text holds no batch, and whoever sends it puts it together
select batch, 1 as records, payload as body
from "mixpanel"."items__outbox_${run}"
where batch >= cast($1 as bigint) and batch < cast($2 as bigint)
order by batch, ordinal

-- items/deliver_restart.sql: as on DuckDB, but for binds, types and the clock

-- items/deliver_abandon.sql: as on DuckDB, but for binds, types and the clock

-- items/deliver_outcome.sql
-- a refusal names the record's position in its batch; the batch was sent in the order of its ordinals
update "mixpanel"."items__outbox_${run}"
set
  outcome = case when p.refusal is not null then cast($1 as varchar(65535)) when cast($2 as bigint) = 1 then outcome end,
  outcome_reason = case when p.refusal is not null then p.refusal when cast($2 as bigint) = 1 then outcome_reason end
from (
  select n.ordinal as place, nullif(json_extract_path_text(cast($3 as varchar(65535)), cast(n.position as varchar(65535))), '') as refusal
  from (
    select b.ordinal, row_number() over (order by b.ordinal) as position
    from "mixpanel"."items__outbox_${run}" as b
    where b.batch = cast($4 as bigint)
  ) as n
) as p
where batch = cast($4 as bigint) and ordinal = p.place
  and exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($5 as bigint) and f.holder = cast($6 as varchar(65535)))

-- items/checkpoint.sql: as on DuckDB, but for binds, types and the clock

-- items/deliver_hold.sql
-- locks the state until the transaction ends: whoever takes the lease comes before this, which then changes no row, or after what follows
update "mixpanel"."items__state"
set version = version
where version = cast($1 as bigint) and holder = cast($2 as varchar(65535))

-- items/lock_runs.sql
-- commits of several syncs write here: one after the other, since serializable ones would fail each other
lock table "mixpanel"."runs"

-- items/check_accounts.sql: as on DuckDB, but for binds, types and the clock

-- items/rejects_remove.sql: as on DuckDB, but for binds, types and the clock

-- items/rejects_insert.sql: as on DuckDB, but for binds, types and the clock

-- items/state_commit.sql: as on DuckDB, but for binds, types and the clock

-- items/drop_outbox.sql: as on DuckDB, but for binds, types and the clock

-- items/run_read.sql: as on DuckDB, but for binds, types and the clock

-- items/preview_initial.sql: made of the parts of capture

-- items/preview.sql
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."items__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('') and cast($1 as bigint) = 0
),
source_rows as (
  select syncline_source.*, cast(cast(0 as decimal(38,0)) + case when "order_id" is null then 0 else cast(farmfingerprint64('1:' || cast(farmfingerprint64(cast("order_id" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "ordered_at" is null then 0 else cast(farmfingerprint64('2:' || cast(farmfingerprint64(cast("ordered_at" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "customer_id" is null then 0 else cast(farmfingerprint64('3:' || cast(farmfingerprint64("customer_id") as varchar(20))) as decimal(38,0)) end + case when "amount" is null then 0 else cast(farmfingerprint64('4:' || cast(farmfingerprint64(cast("amount" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "weight" is null then 0 else cast(farmfingerprint64('5:' || cast(farmfingerprint64(cast(cast("weight" as double precision) as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "gift" is null then 0 else cast(farmfingerprint64('6:' || cast(farmfingerprint64(case when "gift" then 'true' when not "gift" then 'false' end) as varchar(20))) as decimal(38,0)) end + case when "shipped" is null then 0 else cast(farmfingerprint64('7:' || cast(farmfingerprint64(cast("shipped" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "loaded_at" is null then 0 else cast(farmfingerprint64('8:' || cast(farmfingerprint64(cast("loaded_at" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "device" is null then 0 else cast(farmfingerprint64('9:' || cast(farmfingerprint64("device") as varchar(20))) as decimal(38,0)) end + case when "note" is null then 0 else cast(farmfingerprint64('10:' || cast(farmfingerprint64("note") as varchar(20))) as decimal(38,0)) end as varchar(65535)) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, cast("order_id" as varchar(65535)) as syncline_key
  from source_rows as syncline_row
),
changes as (
  select n.*,
    cast(null as varchar(65535)) as syncline_old_insert_id,
    case when k.row_key is null then 'insert' else 'known' end as syncline_row_change
  from newer as n
  left join known as k on k.row_key = n.syncline_key and k.row_checksum = n.syncline_checksum
  where cast($2 as varchar(65535)) <> coalesce(cast($3 as varchar(65535)), '') and cast($4 as bigint) = 0
)
,
identified as (
  select syncline_change.*,
    cast("order_id" as varchar(65535)) as syncline_row_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, cast('row' as varchar(65535)) as syncline_insert_id
  from identified as syncline_image
),
records as (
  select
    syncline_image.syncline_key as row_key,
    syncline_image.syncline_row_change as row_change,
    syncline_image.syncline_row_change as change,
    syncline_image.syncline_checksum as row_checksum,
    syncline_image.syncline_row_id as row_id,
    syncline_image.syncline_insert_id as insert_id,
    syncline_image.syncline_old_insert_id as old_insert_id,
    case when "order_id" >= 9007199254740992e0 or "order_id" <= -9007199254740992e0 or "amount" >= 9007199254740992e0 or "amount" <= -9007199254740992e0 then 1 else 0 end as inexact,
    case when 9 + octet_length(coalesce(cast("order_id" as varchar(65535)), '')) + octet_length(case when case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end is null then '' when octet_length(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) + octet_length(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) - octet_length(replace(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '')) + 2 <= 65535 then '"' || replace(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '""') || '"' else repeat('x', 65535) end) + octet_length(case when "customer_id" is null then '' when octet_length("customer_id") + octet_length("customer_id") - octet_length(replace("customer_id", '"', '')) + 2 <= 65535 then '"' || replace("customer_id", '"', '""') || '"' else repeat('x', 65535) end) + octet_length(coalesce(cast("amount" as varchar(65535)), '')) + octet_length(coalesce(nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity'), '')) + octet_length(coalesce(case when "gift" then 'true' when not "gift" then 'false' end, '')) + octet_length(case when case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end is null then '' when octet_length(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end) + octet_length(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end) - octet_length(replace(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end, '"', '')) + 2 <= 65535 then '"' || replace(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end, '"', '""') || '"' else repeat('x', 65535) end) + octet_length(case when case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end is null then '' when octet_length(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) + octet_length(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) - octet_length(replace(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '')) + 2 <= 65535 then '"' || replace(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '""') || '"' else repeat('x', 65535) end) + octet_length(case when "device" is null then '' when octet_length("device") + octet_length("device") - octet_length(replace("device", '"', '')) + 2 <= 65535 then '"' || replace("device", '"', '""') || '"' else repeat('x', 65535) end) + octet_length(case when "note" is null then '' when octet_length("note") + octet_length("note") - octet_length(replace("note", '"', '')) + 2 <= 65535 then '"' || replace("note", '"', '""') || '"' else repeat('x', 65535) end) <= 65535 then coalesce(cast("order_id" as varchar(65535)), '') || ',' || case when case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end is null then '' when octet_length(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) + octet_length(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) - octet_length(replace(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '')) + 2 <= 65535 then '"' || replace(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '""') || '"' else repeat('x', 65535) end || ',' || case when "customer_id" is null then '' when octet_length("customer_id") + octet_length("customer_id") - octet_length(replace("customer_id", '"', '')) + 2 <= 65535 then '"' || replace("customer_id", '"', '""') || '"' else repeat('x', 65535) end || ',' || coalesce(cast("amount" as varchar(65535)), '') || ',' || coalesce(nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity'), '') || ',' || coalesce(case when "gift" then 'true' when not "gift" then 'false' end, '') || ',' || case when case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end is null then '' when octet_length(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end) + octet_length(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end) - octet_length(replace(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end, '"', '')) + 2 <= 65535 then '"' || replace(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end, '"', '""') || '"' else repeat('x', 65535) end || ',' || case when case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end is null then '' when octet_length(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) + octet_length(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end) - octet_length(replace(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '')) + 2 <= 65535 then '"' || replace(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end, '"', '""') || '"' else repeat('x', 65535) end || ',' || case when "device" is null then '' when octet_length("device") + octet_length("device") - octet_length(replace("device", '"', '')) + 2 <= 65535 then '"' || replace("device", '"', '""') || '"' else repeat('x', 65535) end || ',' || case when "note" is null then '' when octet_length("note") + octet_length("note") - octet_length(replace("note", '"', '')) + 2 <= 65535 then '"' || replace("note", '"', '""') || '"' else repeat('x', 65535) end end as payload
  from images as syncline_image
),
judged as (
  select r.*,
    cast(null as varchar(65535)) as reason
  from records as r
)
,
settled as (
  -- rejects that have nothing to send any more; a source column named like an outer alias would hide it, so only ours are in scope
  select j.row_key, j.insert_id
  from "mixpanel"."items__rejects" as j
  where not exists (select 1 from records as r where r.row_key = j.row_key and r.insert_id = j.insert_id)
    and not exists (select 1 from (select syncline_row_change, syncline_key, syncline_checksum from changes) as c where c.syncline_row_change = 'known' and c.syncline_key = j.row_key and c.syncline_checksum = j.row_checksum)
)
,
measured as (
  select j.row_change, j.change, j.reason, j.row_key, j.row_checksum, j.insert_id, j.old_insert_id, j.row_id, octet_length(j.payload) as bytes, 0 as billable, j.inexact
  from judged as j
)
select row_change, change, reason, count(*) as records, count(distinct row_key) as row_count, sum(billable) as billable, coalesce(sum(bytes), 0) as bytes,
  count(distinct case when inexact = 1 then row_key end) as inexact
from measured
group by row_change, change, reason
union all
-- what a check of the capture will say, under its name
select null, 'check_null_key', v.violation, 0, 0, 0, 0, 0
from (
select 'a row has no value in its key' as violation
from measured
where row_key is null
  -- a join key must not be falsy
  or trim(row_id) in ('', '0') or lower(trim(row_id)) = 'false'
limit 1
) as v
union all
select null, 'check_twin_keys', v.violation, 0, 0, 0, 0, 0
from (
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as varchar(65535)) || ' times' as violation
from measured as o
where o.row_checksum is not null
  -- rows without an id are named by their content, and may all be equal
  and (o.reason is null or o.reason <> 'id-missing')
group by o.row_key
having count(*) > 1
limit 5
) as v
union all
select null, 'check_lookup_size', v.violation, 0, 0, 0, 0, 0
from (
select case
    when count(*) > count(bytes) then 'a row has more than 65,535 bytes, which no text of Redshift holds'
    else 'the table would have ' || cast(coalesce(sum(bytes + 1), 0) as varchar(65535)) || ' bytes'
  end as violation
from measured
having coalesce(sum(bytes + 1), 0) > 100000000 or count(*) > count(bytes)
) as v
union all
select null, 'check_on_empty_source', v.violation, 0, 0, 0, 0, 0
from (
-- a source that was empty before is no news
select 'no rows' as violation
from (select 1 as one) as o
where not exists (select 1 from "main"."orders" as syncline_source) and cast($2 as varchar(65535)) <> cast($3 as varchar(65535))
) as v
order by row_change, change, reason

-- items/preview_pending.sql: made of the parts of capture

-- items/explain.sql
-- what a run reads, as the planner expects it; nothing is executed
explain
select *
from "main"."orders" as syncline_source

-- items/drop_ledger.sql: as on DuckDB, but for binds, types and the clock

-- items/drop_rejects.sql: as on DuckDB, but for binds, types and the clock

-- items/drop_seen.sql: as on DuckDB, but for binds, types and the clock

-- items/drop_state.sql: as on DuckDB, but for binds, types and the clock

-- items/show.sql: made of the parts of capture

-- items/rejects.sql: as on DuckDB, but for binds, types and the clock

-- items/reset_rejects.sql: as on DuckDB, but for binds, types and the clock

-- items/reset_state.sql: as on DuckDB, but for binds, types and the clock
