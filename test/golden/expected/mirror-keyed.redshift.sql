-- shared/create_schema.sql: as on DuckDB, but for binds, types and the clock

-- shared/create_runs.sql: as on DuckDB, but for binds, types and the clock

-- shared/privileges.sql
-- what the user may not do although a run needs it, and what it may do although none does
with sources as (
  -- by the catalogs: they have the name as it was folded, and can be read without a right to the schema
  select cast('"main"."orders"' as varchar(65535)) as name, n.nspname as schema_name, '"' || replace(n.nspname, '"', '""') || '"."' || replace(c.relname, '"', '""') || '"' as table_name
  from pg_class as c
  join pg_namespace as n on n.oid = c.relnamespace
  where c.relname = 'orders' and n.nspname = 'main'
)
select 'fail' as verdict, 'it may not use the schema of ' || w.name || ' (USAGE)' as text
from sources as w
where not has_schema_privilege(w.schema_name, 'usage')
union all
-- the right to a table cannot be asked for where its schema may not be used
select 'fail', 'it may not read ' || w.name || ' (SELECT)'
from sources as w
where case when has_schema_privilege(w.schema_name, 'usage') then not has_table_privilege(w.table_name, 'select') end
union all
select 'warn', 'it may write ' || w.name || ', and only reads it'
from sources as w
where case when has_schema_privilege(w.schema_name, 'usage') then has_table_privilege(w.table_name, 'insert') or has_table_privilege(w.table_name, 'update') or has_table_privilege(w.table_name, 'delete') end
union all
select 'fail', 'it may not create tables in the schema ' || n.nspname || ' (USAGE, CREATE)'
from pg_namespace as n
where n.nspname = 'mixpanel' and not (has_schema_privilege(n.nspname, 'create') and has_schema_privilege(n.nspname, 'usage'))
union all
select 'warn', 'it is a superuser'
from pg_user as u
where u.usename = current_user and u.usesuper
order by 1, 2

-- shared/cancel.sql
-- ends what another session of the same role runs
select pg_cancel_backend(cast(cast($1 as bigint) as integer))

-- shared/runs.sql: as on DuckDB, but for binds, types and the clock

-- shared/states.sql
-- every sync that has tables here, whether the project still declares it or not, and whether its state is one of them
select t.name, max(t.has_state) as has_state
from (
  select s.name, 1 as has_state from (select left(t.tablename, length(t.tablename) - 7) as name from pg_tables as t where t.schemaname = 'mixpanel' and right(t.tablename, 7) = '__state' order by 1) as s
  union all
  select o.name, 0 from (select left(t.tablename, length(t.tablename) - 8) as name from pg_tables as t where t.schemaname = 'mixpanel' and right(t.tablename, 8) = '__ledger' order by 1) as o
  union all
  select o.name, 0 from (select left(t.tablename, length(t.tablename) - 9) as name from pg_tables as t where t.schemaname = 'mixpanel' and right(t.tablename, 9) = '__rejects' order by 1) as o
  union all
  select o.name, 0 from (select left(t.tablename, length(t.tablename) - 6) as name from pg_tables as t where t.schemaname = 'mixpanel' and right(t.tablename, 6) = '__seen' order by 1) as o
  union all
  select left(o.name, greatest(strpos(o.name, '__outbox_') - 1, 0)), 0 from (select left(t.tablename, length(t.tablename) - 0) as name from pg_tables as t where t.schemaname = 'mixpanel' and right(t.tablename, 0) = '' order by 1) as o where strpos(o.name, '__outbox_') > 1
) as t
group by t.name
order by t.name

-- purchases/check_columns.sql
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
  select cast('tags' as varchar(65535)) as name, cast('super' as varchar(65535)) as native union all
  select cast('raw' as varchar(65535)) as name, cast('super' as varchar(65535)) as native union all
  select cast('device' as varchar(65535)) as name, cast('character varying' as varchar(65535)) as native union all
  select cast('note' as varchar(65535)) as name, cast('character varying' as varchar(65535)) as native
) as w
cross join (select count(*) as n from source_columns) as f
left join source_columns as c on c.name = w.name
where c.name is null or c.native <> w.native

-- purchases/check_null_key.sql: as on DuckDB, but for binds, types and the clock

-- purchases/check_twin_keys.sql
-- a twin that equals the ledger is not captured, so keys that the source has more than once are looked up among the captured
select 'key ' || k.row_key || ' occurs ' || cast(k.occurrences as varchar(65535)) || ' times' as violation
from (
  select n.syncline_key as row_key, count(*) as occurrences
  from (select cast("order_id" as varchar(65535)) as syncline_key from "main"."orders" as syncline_source) as n
  where exists (select 1 from "mixpanel"."purchases__outbox_${run}" as o where o.row_checksum is not null)
  group by n.syncline_key
  having count(*) > 1
) as k
where exists (select 1 from "mixpanel"."purchases__outbox_${run}" as o where o.row_checksum is not null and o.row_key = k.row_key)
union all
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as varchar(65535)) || ' times' as violation
from "mixpanel"."purchases__outbox_${run}" as o
where o.row_checksum is not null
  -- rows without an id are named by their content, and may all be equal
  and (o.reason is null or o.reason <> 'id-missing')
group by o.row_key
having count(*) > 1
limit 5

-- purchases/check_max_deletes.sql: as on DuckDB, but for binds, types and the clock

-- purchases/check_on_empty_source.sql: as on DuckDB, but for binds, types and the clock

-- purchases/create_outbox.sql
create table "mixpanel"."purchases__outbox_${run}" (
  batch bigint,
  ordinal bigint,
  row_change varchar(65535),
  change varchar(65535),
  row_key varchar(65535),
  row_checksum varchar(65535),
  time_ms bigint,
  event varchar(65535),
  user_id varchar(65535),
  device_id varchar(65535),
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

-- purchases/run_record.sql: as on DuckDB, but for binds, types and the clock

-- purchases/columns.sql
select cast(c.column_name as varchar(65535)) as name, cast(c.data_type || case when c.data_type = 'numeric' then '(' || cast(c.numeric_precision as varchar(10)) || ',' || cast(c.numeric_scale as varchar(10)) || ')' else '' end as varchar(65535)) as native from svv_columns as c where c.table_name = 'orders' and c.table_schema = 'main' order by c.ordinal_position

-- purchases/state_exists.sql
select
  case when exists (select 1 from pg_tables as t where t.schemaname = 'mixpanel' and t.tablename = 'purchases__state') then 1 else 0 end as state_exists,
  case when exists (select 1 from pg_tables as t where t.schemaname = 'mixpanel' and t.tablename = 'purchases__ledger') then 1 else 0 end as ledger_exists,
  case when exists (select 1 from pg_tables as t where t.schemaname = 'mixpanel' and t.tablename = 'runs') then 1 else 0 end as runs_exists

-- purchases/state_owner.sql: as on DuckDB, but for binds, types and the clock

-- purchases/state_read.sql: as on DuckDB, but for binds, types and the clock

-- purchases/state_lease.sql
update "mixpanel"."purchases__state"
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

-- purchases/state_renew.sql: as on DuckDB, but for binds, types and the clock

-- purchases/state_release.sql: as on DuckDB, but for binds, types and the clock

-- purchases/state_unlock.sql: as on DuckDB, but for binds, types and the clock

-- purchases/state_forget.sql: as on DuckDB, but for binds, types and the clock

-- purchases/state_settle.sql: as on DuckDB, but for binds, types and the clock

-- purchases/outboxes.sql
-- also those that a process made after it had been paused past its lease: no state names them
select o.name
from (select left(t.tablename, length(t.tablename) - 0) as name from pg_tables as t where t.schemaname = 'mixpanel' and right(t.tablename, 0) = '' order by 1) as o
where strpos(o.name, 'purchases__outbox_') = 1

-- purchases/create_state.sql: as on DuckDB, but for binds, types and the clock

-- purchases/create_ledger.sql
create table "mixpanel"."purchases__ledger" (
  row_key varchar(65535),
  row_checksum varchar(65535),
  time_ms bigint,
  event varchar(65535),
  user_id varchar(65535),
  device_id varchar(65535),
  insert_id varchar(65535)
)
-- what a run joins by, and what it reads in order
distkey (row_key)
sortkey (row_key)

-- purchases/create_rejects.sql: as on DuckDB, but for binds, types and the clock

-- purchases/state_insert.sql: as on DuckDB, but for binds, types and the clock

-- purchases/capture.sql
insert into "mixpanel"."purchases__outbox_${run}" (batch, ordinal, row_change, change, row_key, row_checksum, time_ms, event, user_id, device_id, insert_id, old_insert_id, payload, reason, outcome, outcome_reason)
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."purchases__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('time-in-future') and cast($1 as bigint) = 0
),
source_rows as (
  select syncline_source.*, cast(cast(0 as decimal(38,0)) + case when "order_id" is null then 0 else cast(farmfingerprint64('1:' || cast(farmfingerprint64(cast("order_id" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "ordered_at" is null then 0 else cast(farmfingerprint64('2:' || cast(farmfingerprint64(cast("ordered_at" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "customer_id" is null then 0 else cast(farmfingerprint64('3:' || cast(farmfingerprint64("customer_id") as varchar(20))) as decimal(38,0)) end + case when "amount" is null then 0 else cast(farmfingerprint64('4:' || cast(farmfingerprint64(cast("amount" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "weight" is null then 0 else cast(farmfingerprint64('5:' || cast(farmfingerprint64(cast(cast("weight" as double precision) as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "gift" is null then 0 else cast(farmfingerprint64('6:' || cast(farmfingerprint64(case when "gift" then 'true' when not "gift" then 'false' end) as varchar(20))) as decimal(38,0)) end + case when "shipped" is null then 0 else cast(farmfingerprint64('7:' || cast(farmfingerprint64(cast("shipped" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "loaded_at" is null then 0 else cast(farmfingerprint64('8:' || cast(farmfingerprint64(cast("loaded_at" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "tags" is null then 0 else cast(farmfingerprint64('9:' || cast(farmfingerprint64(json_serialize_to_varbyte("tags")) as varchar(20))) as decimal(38,0)) end + case when "raw" is null then 0 else cast(farmfingerprint64('10:' || cast(farmfingerprint64(json_serialize_to_varbyte("raw")) as varchar(20))) as decimal(38,0)) end + case when "device" is null then 0 else cast(farmfingerprint64('11:' || cast(farmfingerprint64("device") as varchar(20))) as decimal(38,0)) end + case when "note" is null then 0 else cast(farmfingerprint64('12:' || cast(farmfingerprint64("note") as varchar(20))) as decimal(38,0)) end as varchar(65535)) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, cast("order_id" as varchar(65535)) as syncline_key
  from source_rows as syncline_row
),

older as (
  select row_key, row_checksum
  from "mixpanel"."purchases__ledger"
),
differing as (
  select n.*, o.row_key as syncline_old_key
  from newer as n
  full outer join older as o on o.row_key = n.syncline_key
  where o.row_key is null or n.syncline_key is null or o.row_checksum is null or o.row_checksum <> n.syncline_checksum
    or cast($2 as bigint) = 1
),
shown as (
  select row_key, row_checksum, time_ms, event, user_id, device_id, insert_id
  from "mixpanel"."purchases__ledger"
),
changes as (
  select d.*,
    o.time_ms as syncline_old_time_ms,
    o.event as syncline_old_event,
    o.user_id as syncline_old_user_id,
    o.device_id as syncline_old_device_id,
    o.insert_id as syncline_old_insert_id,
    case
      when d.syncline_key is null and d.syncline_old_key is not null then 'delete'
      when k.row_key is not null and (d.syncline_old_key is null or o.insert_id = k.insert_id) then 'known'
      when d.syncline_old_key is null then 'insert'
      else 'update'
    end as syncline_row_change
  from differing as d
  left join shown as o on o.row_key = d.syncline_old_key
  left join known as k on k.row_key = d.syncline_key and k.row_checksum = d.syncline_checksum
)
,
identified as (
  select syncline_change.*,
    case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then cast(extract(epoch from date_trunc('second', "ordered_at")) as bigint) * 1000 + cast(left(to_char("ordered_at", 'US'), 3) as bigint) end as syncline_time_ms,
    cast('Purchase Completed' as varchar(65535)) as syncline_event,
    "customer_id" as syncline_user_id,
    cast(null as varchar(65535)) as syncline_device_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, md5(coalesce(cast(length(cast($3 as varchar(65535))) as varchar(65535)) || ':' || case when octet_length(cast($3 as varchar(65535))) <= 255 then cast($3 as varchar(65535)) || '|' else md5(cast($3 as varchar(65535))) end, '~') || coalesce(cast(length(cast(cast($4 as bigint) as varchar(65535))) as varchar(65535)) || ':' || case when octet_length(cast(cast($4 as bigint) as varchar(65535))) <= 255 then cast(cast($4 as bigint) as varchar(65535)) || '|' else md5(cast(cast($4 as bigint) as varchar(65535))) end, '~') || coalesce(cast(length(syncline_key) as varchar(65535)) || ':' || case when octet_length(syncline_key) <= 255 then syncline_key || '|' else md5(syncline_key) end, '~') || coalesce(cast(length(syncline_event) as varchar(65535)) || ':' || case when octet_length(syncline_event) <= 255 then syncline_event || '|' else md5(syncline_event) end, '~') || coalesce(cast(length(cast(syncline_time_ms as varchar(65535))) as varchar(65535)) || ':' || case when octet_length(cast(syncline_time_ms as varchar(65535))) <= 255 then cast(syncline_time_ms as varchar(65535)) || '|' else md5(cast(syncline_time_ms as varchar(65535))) end, '~') || coalesce(cast(length(syncline_user_id) as varchar(65535)) || ':' || case when octet_length(syncline_user_id) <= 255 then syncline_user_id || '|' else md5(syncline_user_id) end, '~') || coalesce(cast(length(syncline_device_id) as varchar(65535)) || ':' || case when octet_length(syncline_device_id) <= 255 then syncline_device_id || '|' else md5(syncline_device_id) end, '~')) as syncline_insert_id
  from identified as syncline_image
),
records as (
  select
    syncline_image.syncline_key as row_key,
    syncline_image.syncline_row_change as row_change,
    case when syncline_image.syncline_old_insert_id <> syncline_image.syncline_insert_id then 'insert' else syncline_image.syncline_row_change end as change,
    syncline_image.syncline_checksum as row_checksum,
    syncline_image.syncline_time_ms as time_ms,
    syncline_image.syncline_event as event,
    syncline_image.syncline_user_id as user_id,
    syncline_image.syncline_device_id as device_id,
    syncline_image.syncline_insert_id as insert_id,
    syncline_image.syncline_old_insert_id as old_insert_id,
    case when 129 + octet_length(case when coalesce(syncline_event, '') is null then null when json_size(object('k', coalesce(syncline_event, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_event, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + octet_length(coalesce(cast(syncline_time_ms as varchar(65535)), 'null')) + octet_length(case when coalesce(syncline_user_id, '') is null then null when json_size(object('k', coalesce(syncline_user_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_user_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + octet_length(case when syncline_insert_id is null then null when json_size(object('k', syncline_insert_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_insert_id)), '}'), 6, 65535) else repeat('x', 65535) end) + coalesce(octet_length(case when syncline_user_id is null then null when json_size(object('k', syncline_user_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_user_id)), '}'), 6, 65535) else repeat('x', 65535) end) + 12, 0) + coalesce(octet_length(cast("order_id" as varchar(65535))) + 12, 0) + coalesce(octet_length(cast("amount" as varchar(65535))) + 10, 0) + coalesce(octet_length(nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity')) + 10, 0) + coalesce(octet_length(case when "gift" then 'true' when not "gift" then 'false' end) + 8, 0) + coalesce(octet_length('"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"') + 11, 0) + coalesce(octet_length('"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"') + 13, 0) + coalesce(octet_length(case when json_size("tags") <= 65535 then nullif(json_serialize("tags"), 'null') when "tags" is not null then repeat('x', 65535) end) + 8, 0) + coalesce(octet_length(case when json_size("raw") <= 65535 then nullif(json_serialize("raw"), 'null') when "raw" is not null then repeat('x', 65535) end) + 7, 0) + coalesce(octet_length(case when "device" is null then null when json_size(object('k', "device")) <= 65535 then substring(rtrim(json_serialize(object('k', "device")), '}'), 6, 65535) else repeat('x', 65535) end) + 10, 0) + coalesce(octet_length(case when "note" is null then null when json_size(object('k', "note")) <= 65535 then substring(rtrim(json_serialize(object('k', "note")), '}'), 6, 65535) else repeat('x', 65535) end) + 8, 0) <= 65535 then '{"event":' || case when coalesce(syncline_event, '') is null then null when json_size(object('k', coalesce(syncline_event, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_event, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"properties":{"time":' || coalesce(cast(syncline_time_ms as varchar(65535)), 'null') || ',"distinct_id":' || case when coalesce(syncline_user_id, '') is null then null when json_size(object('k', coalesce(syncline_user_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_user_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"$insert_id":' || case when syncline_insert_id is null then null when json_size(object('k', syncline_insert_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_insert_id)), '}'), 6, 65535) else repeat('x', 65535) end || coalesce(',"$user_id":' || case when syncline_user_id is null then null when json_size(object('k', syncline_user_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_user_id)), '}'), 6, 65535) else repeat('x', 65535) end, '') || ',"ip":0,"syncline_sync":"purchases","syncline_warehouse":"redshift"' || coalesce(',"order_id":' || cast("order_id" as varchar(65535)), '') || coalesce(',"amount":' || cast("amount" as varchar(65535)), '') || coalesce(',"weight":' || nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity'), '') || coalesce(',"gift":' || case when "gift" then 'true' when not "gift" then 'false' end, '') || coalesce(',"shipped":' || '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"', '') || coalesce(',"loaded_at":' || '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"', '') || coalesce(',"tags":' || case when json_size("tags") <= 65535 then nullif(json_serialize("tags"), 'null') when "tags" is not null then repeat('x', 65535) end, '') || coalesce(',"raw":' || case when json_size("raw") <= 65535 then nullif(json_serialize("raw"), 'null') when "raw" is not null then repeat('x', 65535) end, '') || coalesce(',"device":' || case when "device" is null then null when json_size(object('k', "device")) <= 65535 then substring(rtrim(json_serialize(object('k', "device")), '}'), 6, 65535) else repeat('x', 65535) end, '') || coalesce(',"note":' || case when "note" is null then null when json_size(object('k', "note")) <= 65535 then substring(rtrim(json_serialize(object('k', "note")), '}'), 6, 65535) else repeat('x', 65535) end, '') || '}}' end as payload
  from images as syncline_image
  union all
  -- what Mixpanel shows and the table no longer says
  select syncline_change.syncline_old_key, syncline_change.syncline_row_change, 'delete', null,
    syncline_change.syncline_old_time_ms,
    syncline_change.syncline_old_event,
    syncline_change.syncline_old_user_id,
    syncline_change.syncline_old_device_id,
    syncline_change.syncline_old_insert_id, syncline_change.syncline_old_insert_id,
    case when 153 + octet_length(case when coalesce(syncline_change.syncline_old_event, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_event, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_event, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + octet_length(coalesce(cast(syncline_change.syncline_old_time_ms as varchar(65535)), 'null')) + octet_length(case when coalesce(syncline_change.syncline_old_user_id, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_user_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_user_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + octet_length(case when syncline_change.syncline_old_insert_id is null then null when json_size(object('k', syncline_change.syncline_old_insert_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_insert_id)), '}'), 6, 65535) else repeat('x', 65535) end) + coalesce(octet_length(case when syncline_change.syncline_old_user_id is null then null when json_size(object('k', syncline_change.syncline_old_user_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_user_id)), '}'), 6, 65535) else repeat('x', 65535) end) + 12, 0) <= 65535 then '{"event":' || case when coalesce(syncline_change.syncline_old_event, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_event, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_event, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"properties":{"time":' || coalesce(cast(syncline_change.syncline_old_time_ms as varchar(65535)), 'null') || ',"distinct_id":' || case when coalesce(syncline_change.syncline_old_user_id, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_user_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_user_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"$insert_id":' || case when syncline_change.syncline_old_insert_id is null then null when json_size(object('k', syncline_change.syncline_old_insert_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_insert_id)), '}'), 6, 65535) else repeat('x', 65535) end || coalesce(',"$user_id":' || case when syncline_change.syncline_old_user_id is null then null when json_size(object('k', syncline_change.syncline_old_user_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_user_id)), '}'), 6, 65535) else repeat('x', 65535) end, '') || ',"ip":0,"syncline_sync":"purchases","syncline_warehouse":"redshift","syncline_deleted":true}}' end
  from changes as syncline_change
  left join images as syncline_image on syncline_image.syncline_key = syncline_change.syncline_old_key
  where syncline_change.syncline_row_change = 'delete' or (syncline_change.syncline_row_change = 'update' and syncline_image.syncline_insert_id <> syncline_change.syncline_old_insert_id)
  union all
  -- identities that a refusal left behind, and that neither the ledger nor this run's image claims
  select syncline_change.syncline_old_key, 'delete', 'delete', null,
    syncline_change.syncline_old_time_ms,
    syncline_change.syncline_old_event,
    syncline_change.syncline_old_user_id,
    syncline_change.syncline_old_device_id,
    syncline_change.syncline_old_insert_id, null,
    case when 153 + octet_length(case when coalesce(syncline_change.syncline_old_event, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_event, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_event, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + octet_length(coalesce(cast(syncline_change.syncline_old_time_ms as varchar(65535)), 'null')) + octet_length(case when coalesce(syncline_change.syncline_old_user_id, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_user_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_user_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + octet_length(case when syncline_change.syncline_old_insert_id is null then null when json_size(object('k', syncline_change.syncline_old_insert_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_insert_id)), '}'), 6, 65535) else repeat('x', 65535) end) + coalesce(octet_length(case when syncline_change.syncline_old_user_id is null then null when json_size(object('k', syncline_change.syncline_old_user_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_user_id)), '}'), 6, 65535) else repeat('x', 65535) end) + 12, 0) <= 65535 then '{"event":' || case when coalesce(syncline_change.syncline_old_event, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_event, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_event, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"properties":{"time":' || coalesce(cast(syncline_change.syncline_old_time_ms as varchar(65535)), 'null') || ',"distinct_id":' || case when coalesce(syncline_change.syncline_old_user_id, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_user_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_user_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"$insert_id":' || case when syncline_change.syncline_old_insert_id is null then null when json_size(object('k', syncline_change.syncline_old_insert_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_insert_id)), '}'), 6, 65535) else repeat('x', 65535) end || coalesce(',"$user_id":' || case when syncline_change.syncline_old_user_id is null then null when json_size(object('k', syncline_change.syncline_old_user_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_user_id)), '}'), 6, 65535) else repeat('x', 65535) end, '') || ',"ip":0,"syncline_sync":"purchases","syncline_warehouse":"redshift","syncline_deleted":true}}' end
  from (
    select j.row_key as syncline_old_key,
      j.time_ms as syncline_old_time_ms,
      j.event as syncline_old_event,
      j.user_id as syncline_old_user_id,
      j.device_id as syncline_old_device_id,
      j.insert_id as syncline_old_insert_id
    from "mixpanel"."purchases__rejects" as j
    where j.shown = 1
  ) as syncline_change
  where not exists (select 1 from "mixpanel"."purchases__ledger" as o where o.row_key = syncline_change.syncline_old_key and o.insert_id = syncline_change.syncline_old_insert_id)
    and not exists (select 1 from (select syncline_key, syncline_insert_id from images) as syncline_image where syncline_image.syncline_key = syncline_change.syncline_old_key and syncline_image.syncline_insert_id = syncline_change.syncline_old_insert_id)
),
judged as (
  select r.*,
    case
      when r.time_ms is null then 'time-missing'
      when r.time_ms < 31536000000 then 'time-before-1971'
      when r.time_ms > cast(extract(epoch from getdate()) as bigint) * 1000 + 3600000 then 'time-in-future'
      when r.event is null or trim(r.event) = '' then 'event-missing'
      when lower(trim(r.user_id)) in ('00000000-0000-0000-0000-000000000000', 'anon', 'anonymous', 'nil', 'none', 'null', 'n/a', 'na', 'undefined', 'unknown', '<nil>', '0', '-1', 'true', 'false', '[]', '{}') then 'user-banned'
      when (r.payload is null or octet_length(r.payload) > 1000000) then 'too-large'
      when not can_json_parse(r.payload) then 'payload-not-json'
    end as reason
  from records as r
)
,
settled as (
  -- rejects that have nothing to send any more; a source column named like an outer alias would hide it, so only ours are in scope
  select j.row_key, j.insert_id
  from "mixpanel"."purchases__rejects" as j
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
  j.ordinal, j.row_change, j.change, j.row_key, j.row_checksum, time_ms, event, user_id, device_id, j.insert_id, j.old_insert_id, j.payload, j.reason, null, null
from numbered as j
union all
select null, null, 'settled', 'settled', t.row_key, null, null, null, null, null, t.insert_id, null, null, null, null, null
from settled as t

-- purchases/capture_forward.sql: made of the parts of capture

-- purchases/totals.sql: as on DuckDB, but for binds, types and the clock

-- purchases/state_flip.sql: as on DuckDB, but for binds, types and the clock

-- purchases/deliver_pages.sql
-- one record a row: a text holds no batch, and whoever sends it puts it together
select batch, 1 as records, payload as body
from "mixpanel"."purchases__outbox_${run}"
where batch >= cast($1 as bigint) and batch < cast($2 as bigint)
order by batch, ordinal

-- purchases/deliver_restart.sql: as on DuckDB, but for binds, types and the clock

-- purchases/deliver_abandon.sql: as on DuckDB, but for binds, types and the clock

-- purchases/deliver_outcome.sql
-- a refusal names the record's position in its batch; the batch was sent in the order of its ordinals
update "mixpanel"."purchases__outbox_${run}"
set
  outcome = case when p.refusal is not null then cast($1 as varchar(65535)) when cast($2 as bigint) = 1 then outcome end,
  outcome_reason = case when p.refusal is not null then p.refusal when cast($2 as bigint) = 1 then outcome_reason end
from (
  select n.ordinal as place, nullif(json_extract_path_text(cast($3 as varchar(65535)), cast(n.position as varchar(65535))), '') as refusal
  from (
    select b.ordinal, row_number() over (order by b.ordinal) as position
    from "mixpanel"."purchases__outbox_${run}" as b
    where b.batch = cast($4 as bigint)
  ) as n
) as p
where batch = cast($4 as bigint) and ordinal = p.place
  and exists (select 1 from "mixpanel"."purchases__state" as f where f.version = cast($5 as bigint) and f.holder = cast($6 as varchar(65535)))

-- purchases/checkpoint.sql: as on DuckDB, but for binds, types and the clock

-- purchases/deliver_hold.sql
-- locks the state until the transaction ends: whoever takes the lease comes before this, which then changes no row, or after what follows
update "mixpanel"."purchases__state"
set version = version
where version = cast($1 as bigint) and holder = cast($2 as varchar(65535))

-- purchases/lock_runs.sql
-- commits of several syncs write here: one after the other, since serializable ones would fail each other
lock table "mixpanel"."runs"

-- purchases/check_accounts.sql: as on DuckDB, but for binds, types and the clock

-- purchases/ledger_forward.sql: as on DuckDB, but for binds, types and the clock

-- purchases/ledger_remove.sql: as on DuckDB, but for binds, types and the clock

-- purchases/ledger_insert.sql: as on DuckDB, but for binds, types and the clock

-- purchases/ledger_unknown.sql: as on DuckDB, but for binds, types and the clock

-- purchases/rejects_remove.sql: as on DuckDB, but for binds, types and the clock

-- purchases/rejects_insert.sql: as on DuckDB, but for binds, types and the clock

-- purchases/state_commit.sql: as on DuckDB, but for binds, types and the clock

-- purchases/drop_outbox.sql: as on DuckDB, but for binds, types and the clock

-- purchases/run_read.sql: as on DuckDB, but for binds, types and the clock

-- purchases/preview_initial.sql: made of the parts of capture

-- purchases/preview.sql
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."purchases__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('time-in-future') and cast($1 as bigint) = 0
),
source_rows as (
  select syncline_source.*, cast(cast(0 as decimal(38,0)) + case when "order_id" is null then 0 else cast(farmfingerprint64('1:' || cast(farmfingerprint64(cast("order_id" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "ordered_at" is null then 0 else cast(farmfingerprint64('2:' || cast(farmfingerprint64(cast("ordered_at" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "customer_id" is null then 0 else cast(farmfingerprint64('3:' || cast(farmfingerprint64("customer_id") as varchar(20))) as decimal(38,0)) end + case when "amount" is null then 0 else cast(farmfingerprint64('4:' || cast(farmfingerprint64(cast("amount" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "weight" is null then 0 else cast(farmfingerprint64('5:' || cast(farmfingerprint64(cast(cast("weight" as double precision) as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "gift" is null then 0 else cast(farmfingerprint64('6:' || cast(farmfingerprint64(case when "gift" then 'true' when not "gift" then 'false' end) as varchar(20))) as decimal(38,0)) end + case when "shipped" is null then 0 else cast(farmfingerprint64('7:' || cast(farmfingerprint64(cast("shipped" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "loaded_at" is null then 0 else cast(farmfingerprint64('8:' || cast(farmfingerprint64(cast("loaded_at" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "tags" is null then 0 else cast(farmfingerprint64('9:' || cast(farmfingerprint64(json_serialize_to_varbyte("tags")) as varchar(20))) as decimal(38,0)) end + case when "raw" is null then 0 else cast(farmfingerprint64('10:' || cast(farmfingerprint64(json_serialize_to_varbyte("raw")) as varchar(20))) as decimal(38,0)) end + case when "device" is null then 0 else cast(farmfingerprint64('11:' || cast(farmfingerprint64("device") as varchar(20))) as decimal(38,0)) end + case when "note" is null then 0 else cast(farmfingerprint64('12:' || cast(farmfingerprint64("note") as varchar(20))) as decimal(38,0)) end as varchar(65535)) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, cast("order_id" as varchar(65535)) as syncline_key
  from source_rows as syncline_row
),

older as (
  select row_key, row_checksum
  from "mixpanel"."purchases__ledger"
),
differing as (
  select n.*, o.row_key as syncline_old_key
  from newer as n
  full outer join older as o on o.row_key = n.syncline_key
  where o.row_key is null or n.syncline_key is null or o.row_checksum is null or o.row_checksum <> n.syncline_checksum
    or cast($2 as bigint) = 1
),
shown as (
  select row_key, row_checksum, time_ms, event, user_id, device_id, insert_id
  from "mixpanel"."purchases__ledger"
),
changes as (
  select d.*,
    o.time_ms as syncline_old_time_ms,
    o.event as syncline_old_event,
    o.user_id as syncline_old_user_id,
    o.device_id as syncline_old_device_id,
    o.insert_id as syncline_old_insert_id,
    case
      when d.syncline_key is null and d.syncline_old_key is not null then 'delete'
      when k.row_key is not null and (d.syncline_old_key is null or o.insert_id = k.insert_id) then 'known'
      when d.syncline_old_key is null then 'insert'
      else 'update'
    end as syncline_row_change
  from differing as d
  left join shown as o on o.row_key = d.syncline_old_key
  left join known as k on k.row_key = d.syncline_key and k.row_checksum = d.syncline_checksum
)
,
identified as (
  select syncline_change.*,
    case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then cast(extract(epoch from date_trunc('second', "ordered_at")) as bigint) * 1000 + cast(left(to_char("ordered_at", 'US'), 3) as bigint) end as syncline_time_ms,
    cast('Purchase Completed' as varchar(65535)) as syncline_event,
    "customer_id" as syncline_user_id,
    cast(null as varchar(65535)) as syncline_device_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, md5(coalesce(cast(length(cast($3 as varchar(65535))) as varchar(65535)) || ':' || case when octet_length(cast($3 as varchar(65535))) <= 255 then cast($3 as varchar(65535)) || '|' else md5(cast($3 as varchar(65535))) end, '~') || coalesce(cast(length(cast(cast($4 as bigint) as varchar(65535))) as varchar(65535)) || ':' || case when octet_length(cast(cast($4 as bigint) as varchar(65535))) <= 255 then cast(cast($4 as bigint) as varchar(65535)) || '|' else md5(cast(cast($4 as bigint) as varchar(65535))) end, '~') || coalesce(cast(length(syncline_key) as varchar(65535)) || ':' || case when octet_length(syncline_key) <= 255 then syncline_key || '|' else md5(syncline_key) end, '~') || coalesce(cast(length(syncline_event) as varchar(65535)) || ':' || case when octet_length(syncline_event) <= 255 then syncline_event || '|' else md5(syncline_event) end, '~') || coalesce(cast(length(cast(syncline_time_ms as varchar(65535))) as varchar(65535)) || ':' || case when octet_length(cast(syncline_time_ms as varchar(65535))) <= 255 then cast(syncline_time_ms as varchar(65535)) || '|' else md5(cast(syncline_time_ms as varchar(65535))) end, '~') || coalesce(cast(length(syncline_user_id) as varchar(65535)) || ':' || case when octet_length(syncline_user_id) <= 255 then syncline_user_id || '|' else md5(syncline_user_id) end, '~') || coalesce(cast(length(syncline_device_id) as varchar(65535)) || ':' || case when octet_length(syncline_device_id) <= 255 then syncline_device_id || '|' else md5(syncline_device_id) end, '~')) as syncline_insert_id
  from identified as syncline_image
),
records as (
  select
    syncline_image.syncline_key as row_key,
    syncline_image.syncline_row_change as row_change,
    case when syncline_image.syncline_old_insert_id <> syncline_image.syncline_insert_id then 'insert' else syncline_image.syncline_row_change end as change,
    syncline_image.syncline_checksum as row_checksum,
    syncline_image.syncline_time_ms as time_ms,
    syncline_image.syncline_event as event,
    syncline_image.syncline_user_id as user_id,
    syncline_image.syncline_device_id as device_id,
    syncline_image.syncline_insert_id as insert_id,
    syncline_image.syncline_old_insert_id as old_insert_id,
    case when "order_id" >= 9007199254740992e0 or "order_id" <= -9007199254740992e0 or "amount" >= 9007199254740992e0 or "amount" <= -9007199254740992e0 then 1 else 0 end as inexact,
    case when 129 + octet_length(case when coalesce(syncline_event, '') is null then null when json_size(object('k', coalesce(syncline_event, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_event, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + octet_length(coalesce(cast(syncline_time_ms as varchar(65535)), 'null')) + octet_length(case when coalesce(syncline_user_id, '') is null then null when json_size(object('k', coalesce(syncline_user_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_user_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + octet_length(case when syncline_insert_id is null then null when json_size(object('k', syncline_insert_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_insert_id)), '}'), 6, 65535) else repeat('x', 65535) end) + coalesce(octet_length(case when syncline_user_id is null then null when json_size(object('k', syncline_user_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_user_id)), '}'), 6, 65535) else repeat('x', 65535) end) + 12, 0) + coalesce(octet_length(cast("order_id" as varchar(65535))) + 12, 0) + coalesce(octet_length(cast("amount" as varchar(65535))) + 10, 0) + coalesce(octet_length(nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity')) + 10, 0) + coalesce(octet_length(case when "gift" then 'true' when not "gift" then 'false' end) + 8, 0) + coalesce(octet_length('"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"') + 11, 0) + coalesce(octet_length('"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"') + 13, 0) + coalesce(octet_length(case when json_size("tags") <= 65535 then nullif(json_serialize("tags"), 'null') when "tags" is not null then repeat('x', 65535) end) + 8, 0) + coalesce(octet_length(case when json_size("raw") <= 65535 then nullif(json_serialize("raw"), 'null') when "raw" is not null then repeat('x', 65535) end) + 7, 0) + coalesce(octet_length(case when "device" is null then null when json_size(object('k', "device")) <= 65535 then substring(rtrim(json_serialize(object('k', "device")), '}'), 6, 65535) else repeat('x', 65535) end) + 10, 0) + coalesce(octet_length(case when "note" is null then null when json_size(object('k', "note")) <= 65535 then substring(rtrim(json_serialize(object('k', "note")), '}'), 6, 65535) else repeat('x', 65535) end) + 8, 0) <= 65535 then '{"event":' || case when coalesce(syncline_event, '') is null then null when json_size(object('k', coalesce(syncline_event, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_event, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"properties":{"time":' || coalesce(cast(syncline_time_ms as varchar(65535)), 'null') || ',"distinct_id":' || case when coalesce(syncline_user_id, '') is null then null when json_size(object('k', coalesce(syncline_user_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_user_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"$insert_id":' || case when syncline_insert_id is null then null when json_size(object('k', syncline_insert_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_insert_id)), '}'), 6, 65535) else repeat('x', 65535) end || coalesce(',"$user_id":' || case when syncline_user_id is null then null when json_size(object('k', syncline_user_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_user_id)), '}'), 6, 65535) else repeat('x', 65535) end, '') || ',"ip":0,"syncline_sync":"purchases","syncline_warehouse":"redshift"' || coalesce(',"order_id":' || cast("order_id" as varchar(65535)), '') || coalesce(',"amount":' || cast("amount" as varchar(65535)), '') || coalesce(',"weight":' || nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity'), '') || coalesce(',"gift":' || case when "gift" then 'true' when not "gift" then 'false' end, '') || coalesce(',"shipped":' || '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"', '') || coalesce(',"loaded_at":' || '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"', '') || coalesce(',"tags":' || case when json_size("tags") <= 65535 then nullif(json_serialize("tags"), 'null') when "tags" is not null then repeat('x', 65535) end, '') || coalesce(',"raw":' || case when json_size("raw") <= 65535 then nullif(json_serialize("raw"), 'null') when "raw" is not null then repeat('x', 65535) end, '') || coalesce(',"device":' || case when "device" is null then null when json_size(object('k', "device")) <= 65535 then substring(rtrim(json_serialize(object('k', "device")), '}'), 6, 65535) else repeat('x', 65535) end, '') || coalesce(',"note":' || case when "note" is null then null when json_size(object('k', "note")) <= 65535 then substring(rtrim(json_serialize(object('k', "note")), '}'), 6, 65535) else repeat('x', 65535) end, '') || '}}' end as payload
  from images as syncline_image
  union all
  -- what Mixpanel shows and the table no longer says
  select syncline_change.syncline_old_key, syncline_change.syncline_row_change, 'delete', null,
    syncline_change.syncline_old_time_ms,
    syncline_change.syncline_old_event,
    syncline_change.syncline_old_user_id,
    syncline_change.syncline_old_device_id,
    syncline_change.syncline_old_insert_id, syncline_change.syncline_old_insert_id,
    0,
    case when 153 + octet_length(case when coalesce(syncline_change.syncline_old_event, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_event, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_event, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + octet_length(coalesce(cast(syncline_change.syncline_old_time_ms as varchar(65535)), 'null')) + octet_length(case when coalesce(syncline_change.syncline_old_user_id, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_user_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_user_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + octet_length(case when syncline_change.syncline_old_insert_id is null then null when json_size(object('k', syncline_change.syncline_old_insert_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_insert_id)), '}'), 6, 65535) else repeat('x', 65535) end) + coalesce(octet_length(case when syncline_change.syncline_old_user_id is null then null when json_size(object('k', syncline_change.syncline_old_user_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_user_id)), '}'), 6, 65535) else repeat('x', 65535) end) + 12, 0) <= 65535 then '{"event":' || case when coalesce(syncline_change.syncline_old_event, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_event, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_event, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"properties":{"time":' || coalesce(cast(syncline_change.syncline_old_time_ms as varchar(65535)), 'null') || ',"distinct_id":' || case when coalesce(syncline_change.syncline_old_user_id, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_user_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_user_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"$insert_id":' || case when syncline_change.syncline_old_insert_id is null then null when json_size(object('k', syncline_change.syncline_old_insert_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_insert_id)), '}'), 6, 65535) else repeat('x', 65535) end || coalesce(',"$user_id":' || case when syncline_change.syncline_old_user_id is null then null when json_size(object('k', syncline_change.syncline_old_user_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_user_id)), '}'), 6, 65535) else repeat('x', 65535) end, '') || ',"ip":0,"syncline_sync":"purchases","syncline_warehouse":"redshift","syncline_deleted":true}}' end
  from changes as syncline_change
  left join images as syncline_image on syncline_image.syncline_key = syncline_change.syncline_old_key
  where syncline_change.syncline_row_change = 'delete' or (syncline_change.syncline_row_change = 'update' and syncline_image.syncline_insert_id <> syncline_change.syncline_old_insert_id)
  union all
  -- identities that a refusal left behind, and that neither the ledger nor this run's image claims
  select syncline_change.syncline_old_key, 'delete', 'delete', null,
    syncline_change.syncline_old_time_ms,
    syncline_change.syncline_old_event,
    syncline_change.syncline_old_user_id,
    syncline_change.syncline_old_device_id,
    syncline_change.syncline_old_insert_id, null,
    0,
    case when 153 + octet_length(case when coalesce(syncline_change.syncline_old_event, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_event, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_event, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + octet_length(coalesce(cast(syncline_change.syncline_old_time_ms as varchar(65535)), 'null')) + octet_length(case when coalesce(syncline_change.syncline_old_user_id, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_user_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_user_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + octet_length(case when syncline_change.syncline_old_insert_id is null then null when json_size(object('k', syncline_change.syncline_old_insert_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_insert_id)), '}'), 6, 65535) else repeat('x', 65535) end) + coalesce(octet_length(case when syncline_change.syncline_old_user_id is null then null when json_size(object('k', syncline_change.syncline_old_user_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_user_id)), '}'), 6, 65535) else repeat('x', 65535) end) + 12, 0) <= 65535 then '{"event":' || case when coalesce(syncline_change.syncline_old_event, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_event, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_event, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"properties":{"time":' || coalesce(cast(syncline_change.syncline_old_time_ms as varchar(65535)), 'null') || ',"distinct_id":' || case when coalesce(syncline_change.syncline_old_user_id, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_user_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_user_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"$insert_id":' || case when syncline_change.syncline_old_insert_id is null then null when json_size(object('k', syncline_change.syncline_old_insert_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_insert_id)), '}'), 6, 65535) else repeat('x', 65535) end || coalesce(',"$user_id":' || case when syncline_change.syncline_old_user_id is null then null when json_size(object('k', syncline_change.syncline_old_user_id)) <= 65535 then substring(rtrim(json_serialize(object('k', syncline_change.syncline_old_user_id)), '}'), 6, 65535) else repeat('x', 65535) end, '') || ',"ip":0,"syncline_sync":"purchases","syncline_warehouse":"redshift","syncline_deleted":true}}' end
  from (
    select j.row_key as syncline_old_key,
      j.time_ms as syncline_old_time_ms,
      j.event as syncline_old_event,
      j.user_id as syncline_old_user_id,
      j.device_id as syncline_old_device_id,
      j.insert_id as syncline_old_insert_id
    from "mixpanel"."purchases__rejects" as j
    where j.shown = 1
  ) as syncline_change
  where not exists (select 1 from "mixpanel"."purchases__ledger" as o where o.row_key = syncline_change.syncline_old_key and o.insert_id = syncline_change.syncline_old_insert_id)
    and not exists (select 1 from (select syncline_key, syncline_insert_id from images) as syncline_image where syncline_image.syncline_key = syncline_change.syncline_old_key and syncline_image.syncline_insert_id = syncline_change.syncline_old_insert_id)
),
judged as (
  select r.*,
    case
      when r.time_ms is null then 'time-missing'
      when r.time_ms < 31536000000 then 'time-before-1971'
      when r.time_ms > cast(extract(epoch from getdate()) as bigint) * 1000 + 3600000 then 'time-in-future'
      when r.event is null or trim(r.event) = '' then 'event-missing'
      when lower(trim(r.user_id)) in ('00000000-0000-0000-0000-000000000000', 'anon', 'anonymous', 'nil', 'none', 'null', 'n/a', 'na', 'undefined', 'unknown', '<nil>', '0', '-1', 'true', 'false', '[]', '{}') then 'user-banned'
      when (r.payload is null or octet_length(r.payload) > 1000000) then 'too-large'
      when not can_json_parse(r.payload) then 'payload-not-json'
    end as reason
  from records as r
)
,
settled as (
  -- rejects that have nothing to send any more; a source column named like an outer alias would hide it, so only ours are in scope
  select j.row_key, j.insert_id
  from "mixpanel"."purchases__rejects" as j
  where not exists (select 1 from records as r where r.row_key = j.row_key and r.insert_id = j.insert_id)
    and not exists (select 1 from (select syncline_row_change, syncline_key, syncline_checksum from changes) as c where c.syncline_row_change = 'known' and c.syncline_key = j.row_key and c.syncline_checksum = j.row_checksum)
)
,
measured as (
  select j.row_change, j.change, j.reason, j.row_key, j.row_checksum, j.insert_id, j.old_insert_id, octet_length(j.payload) as bytes, 1 as billable, j.inexact
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
limit 1
) as v
union all
select null, 'check_twin_keys', v.violation, 0, 0, 0, 0, 0
from (
-- a twin that equals the ledger is not captured, so keys that the source has more than once are looked up among the captured
select 'key ' || k.row_key || ' occurs ' || cast(k.occurrences as varchar(65535)) || ' times' as violation
from (
  select n.syncline_key as row_key, count(*) as occurrences
  from (select cast("order_id" as varchar(65535)) as syncline_key from "main"."orders" as syncline_source) as n
  where exists (select 1 from measured as o where o.row_checksum is not null)
  group by n.syncline_key
  having count(*) > 1
) as k
where exists (select 1 from measured as o where o.row_checksum is not null and o.row_key = k.row_key)
union all
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as varchar(65535)) || ' times' as violation
from measured as o
where o.row_checksum is not null
  -- rows without an id are named by their content, and may all be equal
  and (o.reason is null or o.reason <> 'id-missing')
group by o.row_key
having count(*) > 1
limit 5
) as v
order by row_change, change, reason

-- purchases/preview_forward.sql: made of the parts of capture

-- purchases/preview_pending.sql: made of the parts of capture

-- purchases/explain.sql
-- what a run reads, as the planner expects it; nothing is executed
explain
select *
from "main"."orders" as syncline_source

-- purchases/preview_shown.sql: as on DuckDB, but for binds, types and the clock

-- purchases/destroy.sql: made of the parts of capture

-- purchases/drop_ledger.sql: as on DuckDB, but for binds, types and the clock

-- purchases/drop_rejects.sql: as on DuckDB, but for binds, types and the clock

-- purchases/drop_seen.sql: as on DuckDB, but for binds, types and the clock

-- purchases/drop_state.sql: as on DuckDB, but for binds, types and the clock

-- purchases/show.sql: made of the parts of capture

-- purchases/rejects.sql: as on DuckDB, but for binds, types and the clock

-- purchases/reset_ledger.sql: as on DuckDB, but for binds, types and the clock

-- purchases/reset_rejects.sql: as on DuckDB, but for binds, types and the clock

-- purchases/reset_state.sql: as on DuckDB, but for binds, types and the clock
