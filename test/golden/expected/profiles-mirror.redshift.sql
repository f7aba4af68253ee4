-- shared/create_schema.sql: as in mirror-keyed

-- shared/create_runs.sql: as in mirror-keyed

-- shared/privileges.sql: as in mirror-keyed

-- shared/cancel.sql: as in mirror-keyed

-- shared/runs.sql: as in mirror-keyed

-- shared/states.sql: as in mirror-keyed

-- customers/check_columns.sql
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

-- customers/check_null_key.sql: as on DuckDB, but for binds, types and the clock

-- customers/check_twin_keys.sql
-- a twin that equals the ledger is not captured, so keys that the source has more than once are looked up among the captured
select 'key ' || k.row_key || ' occurs ' || cast(k.occurrences as varchar(65535)) || ' times' as violation
from (
  select n.syncline_key as row_key, count(*) as occurrences
  from (select case when octet_length("customer_id") <= 255 then "customer_id" || '|' else md5("customer_id") end as syncline_key from "main"."orders" as syncline_source) as n
  where exists (select 1 from "mixpanel"."customers__outbox_${run}" as o where o.row_checksum is not null)
  group by n.syncline_key
  having count(*) > 1
) as k
where exists (select 1 from "mixpanel"."customers__outbox_${run}" as o where o.row_checksum is not null and o.row_key = k.row_key)
union all
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as varchar(65535)) || ' times' as violation
from "mixpanel"."customers__outbox_${run}" as o
where o.row_checksum is not null
  -- rows without an id are named by their content, and may all be equal
  and (o.reason is null or o.reason <> 'id-missing')
group by o.row_key
having count(*) > 1
limit 5

-- customers/check_max_deletes.sql: as on DuckDB, but for binds, types and the clock

-- customers/check_on_empty_source.sql: as on DuckDB, but for binds, types and the clock

-- customers/create_outbox.sql
create table "mixpanel"."customers__outbox_${run}" (
  batch bigint,
  ordinal bigint,
  row_change varchar(65535),
  change varchar(65535),
  row_key varchar(65535),
  row_checksum varchar(65535),
  profile_id varchar(65535),
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

-- customers/run_record.sql: as on DuckDB, but for binds, types and the clock

-- customers/columns.sql
select cast(c.column_name as varchar(65535)) as name, cast(c.data_type || case when c.data_type = 'numeric' then '(' || cast(c.numeric_precision as varchar(10)) || ',' || cast(c.numeric_scale as varchar(10)) || ')' else '' end as varchar(65535)) as native from svv_columns as c where c.table_name = 'orders' and c.table_schema = 'main' order by c.ordinal_position

-- customers/state_exists.sql
select
  case when exists (select 1 from pg_tables as t where t.schemaname = 'mixpanel' and t.tablename = 'customers__state') then 1 else 0 end as state_exists,
  case when exists (select 1 from pg_tables as t where t.schemaname = 'mixpanel' and t.tablename = 'customers__ledger') then 1 else 0 end as ledger_exists,
  case when exists (select 1 from pg_tables as t where t.schemaname = 'mixpanel' and t.tablename = 'runs') then 1 else 0 end as runs_exists

-- customers/state_owner.sql: as on DuckDB, but for binds, types and the clock

-- customers/state_read.sql: as on DuckDB, but for binds, types and the clock

-- customers/state_lease.sql
update "mixpanel"."customers__state"
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

-- customers/state_renew.sql: as on DuckDB, but for binds, types and the clock

-- customers/state_release.sql: as on DuckDB, but for binds, types and the clock

-- customers/state_unlock.sql: as on DuckDB, but for binds, types and the clock

-- customers/state_forget.sql: as on DuckDB, but for binds, types and the clock

-- customers/state_settle.sql: as on DuckDB, but for binds, types and the clock

-- customers/outboxes.sql
-- also those that a process made after it had been paused past its lease: no state names them
select o.name
from (select left(t.tablename, length(t.tablename) - 0) as name from pg_tables as t where t.schemaname = 'mixpanel' and right(t.tablename, 0) = '' order by 1) as o
where strpos(o.name, 'customers__outbox_') = 1

-- customers/create_state.sql: as on DuckDB, but for binds, types and the clock

-- customers/create_ledger.sql
create table "mixpanel"."customers__ledger" (
  row_key varchar(65535),
  row_checksum varchar(65535),
  profile_id varchar(65535),
  insert_id varchar(65535)
)
-- what a run joins by, and what it reads in order
distkey (row_key)
sortkey (row_key)

-- customers/create_rejects.sql: as on DuckDB, but for binds, types and the clock

-- customers/state_insert.sql: as on DuckDB, but for binds, types and the clock

-- customers/capture.sql
insert into "mixpanel"."customers__outbox_${run}" (batch, ordinal, row_change, change, row_key, row_checksum, profile_id, insert_id, old_insert_id, payload, reason, outcome, outcome_reason)
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."customers__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('') and cast($1 as bigint) = 0
),
source_rows as (
  select syncline_source.*, cast(cast(0 as decimal(38,0)) + case when "order_id" is null then 0 else cast(farmfingerprint64('1:' || cast(farmfingerprint64(cast("order_id" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "ordered_at" is null then 0 else cast(farmfingerprint64('2:' || cast(farmfingerprint64(cast("ordered_at" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "customer_id" is null then 0 else cast(farmfingerprint64('3:' || cast(farmfingerprint64("customer_id") as varchar(20))) as decimal(38,0)) end + case when "amount" is null then 0 else cast(farmfingerprint64('4:' || cast(farmfingerprint64(cast("amount" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "weight" is null then 0 else cast(farmfingerprint64('5:' || cast(farmfingerprint64(cast(cast("weight" as double precision) as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "gift" is null then 0 else cast(farmfingerprint64('6:' || cast(farmfingerprint64(case when "gift" then 'true' when not "gift" then 'false' end) as varchar(20))) as decimal(38,0)) end + case when "shipped" is null then 0 else cast(farmfingerprint64('7:' || cast(farmfingerprint64(cast("shipped" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "loaded_at" is null then 0 else cast(farmfingerprint64('8:' || cast(farmfingerprint64(cast("loaded_at" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "tags" is null then 0 else cast(farmfingerprint64('9:' || cast(farmfingerprint64(json_serialize_to_varbyte("tags")) as varchar(20))) as decimal(38,0)) end + case when "raw" is null then 0 else cast(farmfingerprint64('10:' || cast(farmfingerprint64(json_serialize_to_varbyte("raw")) as varchar(20))) as decimal(38,0)) end + case when "device" is null then 0 else cast(farmfingerprint64('11:' || cast(farmfingerprint64("device") as varchar(20))) as decimal(38,0)) end + case when "note" is null then 0 else cast(farmfingerprint64('12:' || cast(farmfingerprint64("note") as varchar(20))) as decimal(38,0)) end as varchar(65535)) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, case when octet_length("customer_id") <= 255 then "customer_id" || '|' else md5("customer_id") end as syncline_key
  from source_rows as syncline_row
),

older as (
  select row_key, row_checksum
  from "mixpanel"."customers__ledger"
),
differing as (
  select n.*, o.row_key as syncline_old_key
  from newer as n
  full outer join older as o on o.row_key = n.syncline_key
  where o.row_key is null or n.syncline_key is null or o.row_checksum is null or o.row_checksum <> n.syncline_checksum
    or cast($2 as bigint) = 1
),
shown as (
  select row_key, row_checksum, profile_id, insert_id
  from "mixpanel"."customers__ledger"
),
changes as (
  select d.*,
    o.profile_id as syncline_old_profile_id,
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
    "customer_id" as syncline_profile_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, cast('set' as varchar(65535)) as syncline_insert_id
  from identified as syncline_image
),
records as (
  select
    syncline_image.syncline_key as row_key,
    syncline_image.syncline_row_change as row_change,
    syncline_image.syncline_row_change as change,
    syncline_image.syncline_checksum as row_checksum,
    syncline_image.syncline_profile_id as profile_id,
    syncline_image.syncline_insert_id as insert_id,
    syncline_image.syncline_old_insert_id as old_insert_id,
    case when 37 + octet_length(case when coalesce(syncline_profile_id, '') is null then null when json_size(object('k', coalesce(syncline_profile_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_profile_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + coalesce(octet_length(cast("order_id" as varchar(65535))) + 12, 0) + coalesce(octet_length('"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"') + 14, 0) + coalesce(octet_length(cast("amount" as varchar(65535))) + 9, 0) + coalesce(octet_length(nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity')) + 10, 0) + coalesce(octet_length(case when "gift" then 'true' when not "gift" then 'false' end) + 8, 0) + coalesce(octet_length('"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"') + 11, 0) + coalesce(octet_length('"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"') + 13, 0) + coalesce(octet_length(case when json_size("tags") <= 65535 then nullif(json_serialize("tags"), 'null') when "tags" is not null then repeat('x', 65535) end) + 8, 0) + coalesce(octet_length(case when json_size("raw") <= 65535 then nullif(json_serialize("raw"), 'null') when "raw" is not null then repeat('x', 65535) end) + 7, 0) + coalesce(octet_length(case when "device" is null then null when json_size(object('k', "device")) <= 65535 then substring(rtrim(json_serialize(object('k', "device")), '}'), 6, 65535) else repeat('x', 65535) end) + 10, 0) + coalesce(octet_length(case when "note" is null then null when json_size(object('k', "note")) <= 65535 then substring(rtrim(json_serialize(object('k', "note")), '}'), 6, 65535) else repeat('x', 65535) end) + 8, 0) <= 65535 then '{"$distinct_id":' || case when coalesce(syncline_profile_id, '') is null then null when json_size(object('k', coalesce(syncline_profile_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_profile_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"$ip":"0","$set":{' || substring(coalesce(',"order_id":' || cast("order_id" as varchar(65535)), '') || coalesce(',"ordered_at":' || '"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"', '') || coalesce(',"$name":' || cast("amount" as varchar(65535)), '') || coalesce(',"weight":' || nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity'), '') || coalesce(',"gift":' || case when "gift" then 'true' when not "gift" then 'false' end, '') || coalesce(',"shipped":' || '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"', '') || coalesce(',"loaded_at":' || '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"', '') || coalesce(',"tags":' || case when json_size("tags") <= 65535 then nullif(json_serialize("tags"), 'null') when "tags" is not null then repeat('x', 65535) end, '') || coalesce(',"raw":' || case when json_size("raw") <= 65535 then nullif(json_serialize("raw"), 'null') when "raw" is not null then repeat('x', 65535) end, '') || coalesce(',"device":' || case when "device" is null then null when json_size(object('k', "device")) <= 65535 then substring(rtrim(json_serialize(object('k', "device")), '}'), 6, 65535) else repeat('x', 65535) end, '') || coalesce(',"note":' || case when "note" is null then null when json_size(object('k', "note")) <= 65535 then substring(rtrim(json_serialize(object('k', "note")), '}'), 6, 65535) else repeat('x', 65535) end, ''), 2, 65535) || '}}' end as payload
  from images as syncline_image
  union all
  -- the properties that have no value
  select syncline_image.syncline_key, syncline_image.syncline_row_change, syncline_image.syncline_row_change, null,
    syncline_image.syncline_profile_id,
    'unset', syncline_image.syncline_old_insert_id,
    case when 39 + octet_length(case when coalesce(syncline_profile_id, '') is null then null when json_size(object('k', coalesce(syncline_profile_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_profile_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + coalesce(octet_length(case when cast("order_id" as varchar(65535)) is null then '"order_id"' end) + 1, 0) + coalesce(octet_length(case when '"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"' is null then '"ordered_at"' end) + 1, 0) + coalesce(octet_length(case when cast("amount" as varchar(65535)) is null then '"$name"' end) + 1, 0) + coalesce(octet_length(case when nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity') is null then '"weight"' end) + 1, 0) + coalesce(octet_length(case when case when "gift" then 'true' when not "gift" then 'false' end is null then '"gift"' end) + 1, 0) + coalesce(octet_length(case when '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"' is null then '"shipped"' end) + 1, 0) + coalesce(octet_length(case when '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"' is null then '"loaded_at"' end) + 1, 0) + coalesce(octet_length(case when case when json_size("tags") <= 65535 then nullif(json_serialize("tags"), 'null') when "tags" is not null then repeat('x', 65535) end is null then '"tags"' end) + 1, 0) + coalesce(octet_length(case when case when json_size("raw") <= 65535 then nullif(json_serialize("raw"), 'null') when "raw" is not null then repeat('x', 65535) end is null then '"raw"' end) + 1, 0) + coalesce(octet_length(case when case when "device" is null then null when json_size(object('k', "device")) <= 65535 then substring(rtrim(json_serialize(object('k', "device")), '}'), 6, 65535) else repeat('x', 65535) end is null then '"device"' end) + 1, 0) + coalesce(octet_length(case when case when "note" is null then null when json_size(object('k', "note")) <= 65535 then substring(rtrim(json_serialize(object('k', "note")), '}'), 6, 65535) else repeat('x', 65535) end is null then '"note"' end) + 1, 0) + coalesce(octet_length(nullif(case when syncline_image.syncline_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as varchar(65535)) when cast($2 as bigint) = 0 then null else cast($4 as varchar(65535)) end, '')) + 1, 0) <= 65535 then '{"$distinct_id":' || case when coalesce(syncline_profile_id, '') is null then null when json_size(object('k', coalesce(syncline_profile_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_profile_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"$ip":"0","$unset":[' || substring(coalesce(',' || case when cast("order_id" as varchar(65535)) is null then '"order_id"' end, '') || coalesce(',' || case when '"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"' is null then '"ordered_at"' end, '') || coalesce(',' || case when cast("amount" as varchar(65535)) is null then '"$name"' end, '') || coalesce(',' || case when nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity') is null then '"weight"' end, '') || coalesce(',' || case when case when "gift" then 'true' when not "gift" then 'false' end is null then '"gift"' end, '') || coalesce(',' || case when '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"' is null then '"shipped"' end, '') || coalesce(',' || case when '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"' is null then '"loaded_at"' end, '') || coalesce(',' || case when case when json_size("tags") <= 65535 then nullif(json_serialize("tags"), 'null') when "tags" is not null then repeat('x', 65535) end is null then '"tags"' end, '') || coalesce(',' || case when case when json_size("raw") <= 65535 then nullif(json_serialize("raw"), 'null') when "raw" is not null then repeat('x', 65535) end is null then '"raw"' end, '') || coalesce(',' || case when case when "device" is null then null when json_size(object('k', "device")) <= 65535 then substring(rtrim(json_serialize(object('k', "device")), '}'), 6, 65535) else repeat('x', 65535) end is null then '"device"' end, '') || coalesce(',' || case when case when "note" is null then null when json_size(object('k', "note")) <= 65535 then substring(rtrim(json_serialize(object('k', "note")), '}'), 6, 65535) else repeat('x', 65535) end is null then '"note"' end, '') || coalesce(',' || nullif(case when syncline_image.syncline_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as varchar(65535)) when cast($2 as bigint) = 0 then null else cast($4 as varchar(65535)) end, ''), ''), 2, 65535) || ']}' end
  from images as syncline_image
  where substring(coalesce(',' || case when cast("order_id" as varchar(65535)) is null then '"order_id"' end, '') || coalesce(',' || case when '"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"' is null then '"ordered_at"' end, '') || coalesce(',' || case when cast("amount" as varchar(65535)) is null then '"$name"' end, '') || coalesce(',' || case when nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity') is null then '"weight"' end, '') || coalesce(',' || case when case when "gift" then 'true' when not "gift" then 'false' end is null then '"gift"' end, '') || coalesce(',' || case when '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"' is null then '"shipped"' end, '') || coalesce(',' || case when '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"' is null then '"loaded_at"' end, '') || coalesce(',' || case when case when json_size("tags") <= 65535 then nullif(json_serialize("tags"), 'null') when "tags" is not null then repeat('x', 65535) end is null then '"tags"' end, '') || coalesce(',' || case when case when json_size("raw") <= 65535 then nullif(json_serialize("raw"), 'null') when "raw" is not null then repeat('x', 65535) end is null then '"raw"' end, '') || coalesce(',' || case when case when "device" is null then null when json_size(object('k', "device")) <= 65535 then substring(rtrim(json_serialize(object('k', "device")), '}'), 6, 65535) else repeat('x', 65535) end is null then '"device"' end, '') || coalesce(',' || case when case when "note" is null then null when json_size(object('k', "note")) <= 65535 then substring(rtrim(json_serialize(object('k', "note")), '}'), 6, 65535) else repeat('x', 65535) end is null then '"note"' end, '') || coalesce(',' || nullif(case when syncline_image.syncline_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as varchar(65535)) when cast($2 as bigint) = 0 then null else cast($4 as varchar(65535)) end, ''), ''), 2, 65535) <> '' and (syncline_image.syncline_row_change = 'update' or cast($5 as bigint) = 1)
  union all
  -- what Mixpanel shows and the table no longer says
  select syncline_change.syncline_old_key, syncline_change.syncline_row_change, 'delete', null,
    syncline_change.syncline_old_profile_id,
    'delete', 'set',
    case when 39 + octet_length(case when coalesce(syncline_change.syncline_old_profile_id, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_profile_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_profile_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + coalesce(octet_length('"order_id","ordered_at","$name","weight","gift","shipped","loaded_at","tags","raw","device","note"') + 1, 0) + coalesce(octet_length(nullif(case when syncline_change.syncline_old_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as varchar(65535)) else cast($4 as varchar(65535)) end, '')) + 1, 0) <= 65535 then '{"$distinct_id":' || case when coalesce(syncline_change.syncline_old_profile_id, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_profile_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_profile_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"$ip":"0","$unset":[' || substring(coalesce(',' || '"order_id","ordered_at","$name","weight","gift","shipped","loaded_at","tags","raw","device","note"', '') || coalesce(',' || nullif(case when syncline_change.syncline_old_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as varchar(65535)) else cast($4 as varchar(65535)) end, ''), ''), 2, 65535) || ']}' end
  from changes as syncline_change
  left join images as syncline_image on syncline_image.syncline_key = syncline_change.syncline_old_key
  where syncline_change.syncline_row_change = 'delete'
),
judged as (
  select r.*,
    case
      when r.profile_id is null or trim(r.profile_id) = '' then 'id-missing'
      when (r.payload is null or octet_length(r.payload) > 1000000) then 'too-large'
      when not can_json_parse(r.payload) then 'payload-not-json'
    end as reason
  from records as r
)
,
settled as (
  -- rejects that have nothing to send any more; a source column named like an outer alias would hide it, so only ours are in scope
  select j.row_key, j.insert_id
  from "mixpanel"."customers__rejects" as j
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
  j.ordinal, j.row_change, j.change, j.row_key, j.row_checksum, profile_id, j.insert_id, j.old_insert_id, j.payload, j.reason, null, null
from numbered as j
union all
select null, null, 'settled', 'settled', t.row_key, null, null, t.insert_id, null, null, null, null, null
from settled as t

-- customers/capture_forward.sql: made of the parts of capture

-- customers/totals.sql: as on DuckDB, but for binds, types and the clock

-- customers/state_flip.sql: as on DuckDB, but for binds, types and the clock

-- customers/deliver_pages.sql
-- one record a row: a text holds no batch, and whoever sends it puts it together
select batch, 1 as records, payload as body
from "mixpanel"."customers__outbox_${run}"
where batch >= cast($1 as bigint) and batch < cast($2 as bigint)
order by batch, ordinal

-- customers/deliver_restart.sql: as on DuckDB, but for binds, types and the clock

-- customers/deliver_abandon.sql: as on DuckDB, but for binds, types and the clock

-- customers/deliver_outcome.sql
-- a refusal names the record's position in its batch; the batch was sent in the order of its ordinals
update "mixpanel"."customers__outbox_${run}"
set
  outcome = case when p.refusal is not null then cast($1 as varchar(65535)) when cast($2 as bigint) = 1 then outcome end,
  outcome_reason = case when p.refusal is not null then p.refusal when cast($2 as bigint) = 1 then outcome_reason end
from (
  select n.ordinal as place, nullif(json_extract_path_text(cast($3 as varchar(65535)), cast(n.position as varchar(65535))), '') as refusal
  from (
    select b.ordinal, row_number() over (order by b.ordinal) as position
    from "mixpanel"."customers__outbox_${run}" as b
    where b.batch = cast($4 as bigint)
  ) as n
) as p
where batch = cast($4 as bigint) and ordinal = p.place
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($5 as bigint) and f.holder = cast($6 as varchar(65535)))

-- customers/checkpoint.sql: as on DuckDB, but for binds, types and the clock

-- customers/deliver_hold.sql
-- locks the state until the transaction ends: whoever takes the lease comes before this, which then changes no row, or after what follows
update "mixpanel"."customers__state"
set version = version
where version = cast($1 as bigint) and holder = cast($2 as varchar(65535))

-- customers/lock_runs.sql
-- commits of several syncs write here: one after the other, since serializable ones would fail each other
lock table "mixpanel"."runs"

-- customers/check_accounts.sql: as on DuckDB, but for binds, types and the clock

-- customers/ledger_forward.sql: as on DuckDB, but for binds, types and the clock

-- customers/ledger_remove.sql: as on DuckDB, but for binds, types and the clock

-- customers/ledger_insert.sql: as on DuckDB, but for binds, types and the clock

-- customers/ledger_unknown.sql: as on DuckDB, but for binds, types and the clock

-- customers/rejects_remove.sql: as on DuckDB, but for binds, types and the clock

-- customers/rejects_insert.sql: as on DuckDB, but for binds, types and the clock

-- customers/state_commit.sql: as on DuckDB, but for binds, types and the clock

-- customers/drop_outbox.sql: as on DuckDB, but for binds, types and the clock

-- customers/run_read.sql: as on DuckDB, but for binds, types and the clock

-- customers/preview_initial.sql: made of the parts of capture

-- customers/preview.sql
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."customers__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('') and cast($1 as bigint) = 0
),
source_rows as (
  select syncline_source.*, cast(cast(0 as decimal(38,0)) + case when "order_id" is null then 0 else cast(farmfingerprint64('1:' || cast(farmfingerprint64(cast("order_id" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "ordered_at" is null then 0 else cast(farmfingerprint64('2:' || cast(farmfingerprint64(cast("ordered_at" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "customer_id" is null then 0 else cast(farmfingerprint64('3:' || cast(farmfingerprint64("customer_id") as varchar(20))) as decimal(38,0)) end + case when "amount" is null then 0 else cast(farmfingerprint64('4:' || cast(farmfingerprint64(cast("amount" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "weight" is null then 0 else cast(farmfingerprint64('5:' || cast(farmfingerprint64(cast(cast("weight" as double precision) as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "gift" is null then 0 else cast(farmfingerprint64('6:' || cast(farmfingerprint64(case when "gift" then 'true' when not "gift" then 'false' end) as varchar(20))) as decimal(38,0)) end + case when "shipped" is null then 0 else cast(farmfingerprint64('7:' || cast(farmfingerprint64(cast("shipped" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "loaded_at" is null then 0 else cast(farmfingerprint64('8:' || cast(farmfingerprint64(cast("loaded_at" as varchar(65535))) as varchar(20))) as decimal(38,0)) end + case when "tags" is null then 0 else cast(farmfingerprint64('9:' || cast(farmfingerprint64(json_serialize_to_varbyte("tags")) as varchar(20))) as decimal(38,0)) end + case when "raw" is null then 0 else cast(farmfingerprint64('10:' || cast(farmfingerprint64(json_serialize_to_varbyte("raw")) as varchar(20))) as decimal(38,0)) end + case when "device" is null then 0 else cast(farmfingerprint64('11:' || cast(farmfingerprint64("device") as varchar(20))) as decimal(38,0)) end + case when "note" is null then 0 else cast(farmfingerprint64('12:' || cast(farmfingerprint64("note") as varchar(20))) as decimal(38,0)) end as varchar(65535)) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, case when octet_length("customer_id") <= 255 then "customer_id" || '|' else md5("customer_id") end as syncline_key
  from source_rows as syncline_row
),

older as (
  select row_key, row_checksum
  from "mixpanel"."customers__ledger"
),
differing as (
  select n.*, o.row_key as syncline_old_key
  from newer as n
  full outer join older as o on o.row_key = n.syncline_key
  where o.row_key is null or n.syncline_key is null or o.row_checksum is null or o.row_checksum <> n.syncline_checksum
    or cast($2 as bigint) = 1
),
shown as (
  select row_key, row_checksum, profile_id, insert_id
  from "mixpanel"."customers__ledger"
),
changes as (
  select d.*,
    o.profile_id as syncline_old_profile_id,
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
    "customer_id" as syncline_profile_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, cast('set' as varchar(65535)) as syncline_insert_id
  from identified as syncline_image
),
records as (
  select
    syncline_image.syncline_key as row_key,
    syncline_image.syncline_row_change as row_change,
    syncline_image.syncline_row_change as change,
    syncline_image.syncline_checksum as row_checksum,
    syncline_image.syncline_profile_id as profile_id,
    syncline_image.syncline_insert_id as insert_id,
    syncline_image.syncline_old_insert_id as old_insert_id,
    case when "order_id" >= 9007199254740992e0 or "order_id" <= -9007199254740992e0 or "amount" >= 9007199254740992e0 or "amount" <= -9007199254740992e0 then 1 else 0 end as inexact,
    case when 37 + octet_length(case when coalesce(syncline_profile_id, '') is null then null when json_size(object('k', coalesce(syncline_profile_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_profile_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + coalesce(octet_length(cast("order_id" as varchar(65535))) + 12, 0) + coalesce(octet_length('"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"') + 14, 0) + coalesce(octet_length(cast("amount" as varchar(65535))) + 9, 0) + coalesce(octet_length(nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity')) + 10, 0) + coalesce(octet_length(case when "gift" then 'true' when not "gift" then 'false' end) + 8, 0) + coalesce(octet_length('"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"') + 11, 0) + coalesce(octet_length('"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"') + 13, 0) + coalesce(octet_length(case when json_size("tags") <= 65535 then nullif(json_serialize("tags"), 'null') when "tags" is not null then repeat('x', 65535) end) + 8, 0) + coalesce(octet_length(case when json_size("raw") <= 65535 then nullif(json_serialize("raw"), 'null') when "raw" is not null then repeat('x', 65535) end) + 7, 0) + coalesce(octet_length(case when "device" is null then null when json_size(object('k', "device")) <= 65535 then substring(rtrim(json_serialize(object('k', "device")), '}'), 6, 65535) else repeat('x', 65535) end) + 10, 0) + coalesce(octet_length(case when "note" is null then null when json_size(object('k', "note")) <= 65535 then substring(rtrim(json_serialize(object('k', "note")), '}'), 6, 65535) else repeat('x', 65535) end) + 8, 0) <= 65535 then '{"$distinct_id":' || case when coalesce(syncline_profile_id, '') is null then null when json_size(object('k', coalesce(syncline_profile_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_profile_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"$ip":"0","$set":{' || substring(coalesce(',"order_id":' || cast("order_id" as varchar(65535)), '') || coalesce(',"ordered_at":' || '"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"', '') || coalesce(',"$name":' || cast("amount" as varchar(65535)), '') || coalesce(',"weight":' || nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity'), '') || coalesce(',"gift":' || case when "gift" then 'true' when not "gift" then 'false' end, '') || coalesce(',"shipped":' || '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"', '') || coalesce(',"loaded_at":' || '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"', '') || coalesce(',"tags":' || case when json_size("tags") <= 65535 then nullif(json_serialize("tags"), 'null') when "tags" is not null then repeat('x', 65535) end, '') || coalesce(',"raw":' || case when json_size("raw") <= 65535 then nullif(json_serialize("raw"), 'null') when "raw" is not null then repeat('x', 65535) end, '') || coalesce(',"device":' || case when "device" is null then null when json_size(object('k', "device")) <= 65535 then substring(rtrim(json_serialize(object('k', "device")), '}'), 6, 65535) else repeat('x', 65535) end, '') || coalesce(',"note":' || case when "note" is null then null when json_size(object('k', "note")) <= 65535 then substring(rtrim(json_serialize(object('k', "note")), '}'), 6, 65535) else repeat('x', 65535) end, ''), 2, 65535) || '}}' end as payload
  from images as syncline_image
  union all
  -- the properties that have no value
  select syncline_image.syncline_key, syncline_image.syncline_row_change, syncline_image.syncline_row_change, null,
    syncline_image.syncline_profile_id,
    'unset', syncline_image.syncline_old_insert_id,
    case when "order_id" >= 9007199254740992e0 or "order_id" <= -9007199254740992e0 or "amount" >= 9007199254740992e0 or "amount" <= -9007199254740992e0 then 1 else 0 end,
    case when 39 + octet_length(case when coalesce(syncline_profile_id, '') is null then null when json_size(object('k', coalesce(syncline_profile_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_profile_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + coalesce(octet_length(case when cast("order_id" as varchar(65535)) is null then '"order_id"' end) + 1, 0) + coalesce(octet_length(case when '"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"' is null then '"ordered_at"' end) + 1, 0) + coalesce(octet_length(case when cast("amount" as varchar(65535)) is null then '"$name"' end) + 1, 0) + coalesce(octet_length(case when nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity') is null then '"weight"' end) + 1, 0) + coalesce(octet_length(case when case when "gift" then 'true' when not "gift" then 'false' end is null then '"gift"' end) + 1, 0) + coalesce(octet_length(case when '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"' is null then '"shipped"' end) + 1, 0) + coalesce(octet_length(case when '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"' is null then '"loaded_at"' end) + 1, 0) + coalesce(octet_length(case when case when json_size("tags") <= 65535 then nullif(json_serialize("tags"), 'null') when "tags" is not null then repeat('x', 65535) end is null then '"tags"' end) + 1, 0) + coalesce(octet_length(case when case when json_size("raw") <= 65535 then nullif(json_serialize("raw"), 'null') when "raw" is not null then repeat('x', 65535) end is null then '"raw"' end) + 1, 0) + coalesce(octet_length(case when case when "device" is null then null when json_size(object('k', "device")) <= 65535 then substring(rtrim(json_serialize(object('k', "device")), '}'), 6, 65535) else repeat('x', 65535) end is null then '"device"' end) + 1, 0) + coalesce(octet_length(case when case when "note" is null then null when json_size(object('k', "note")) <= 65535 then substring(rtrim(json_serialize(object('k', "note")), '}'), 6, 65535) else repeat('x', 65535) end is null then '"note"' end) + 1, 0) + coalesce(octet_length(nullif(case when syncline_image.syncline_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as varchar(65535)) when cast($2 as bigint) = 0 then null else cast($4 as varchar(65535)) end, '')) + 1, 0) <= 65535 then '{"$distinct_id":' || case when coalesce(syncline_profile_id, '') is null then null when json_size(object('k', coalesce(syncline_profile_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_profile_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"$ip":"0","$unset":[' || substring(coalesce(',' || case when cast("order_id" as varchar(65535)) is null then '"order_id"' end, '') || coalesce(',' || case when '"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"' is null then '"ordered_at"' end, '') || coalesce(',' || case when cast("amount" as varchar(65535)) is null then '"$name"' end, '') || coalesce(',' || case when nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity') is null then '"weight"' end, '') || coalesce(',' || case when case when "gift" then 'true' when not "gift" then 'false' end is null then '"gift"' end, '') || coalesce(',' || case when '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"' is null then '"shipped"' end, '') || coalesce(',' || case when '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"' is null then '"loaded_at"' end, '') || coalesce(',' || case when case when json_size("tags") <= 65535 then nullif(json_serialize("tags"), 'null') when "tags" is not null then repeat('x', 65535) end is null then '"tags"' end, '') || coalesce(',' || case when case when json_size("raw") <= 65535 then nullif(json_serialize("raw"), 'null') when "raw" is not null then repeat('x', 65535) end is null then '"raw"' end, '') || coalesce(',' || case when case when "device" is null then null when json_size(object('k', "device")) <= 65535 then substring(rtrim(json_serialize(object('k', "device")), '}'), 6, 65535) else repeat('x', 65535) end is null then '"device"' end, '') || coalesce(',' || case when case when "note" is null then null when json_size(object('k', "note")) <= 65535 then substring(rtrim(json_serialize(object('k', "note")), '}'), 6, 65535) else repeat('x', 65535) end is null then '"note"' end, '') || coalesce(',' || nullif(case when syncline_image.syncline_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as varchar(65535)) when cast($2 as bigint) = 0 then null else cast($4 as varchar(65535)) end, ''), ''), 2, 65535) || ']}' end
  from images as syncline_image
  where substring(coalesce(',' || case when cast("order_id" as varchar(65535)) is null then '"order_id"' end, '') || coalesce(',' || case when '"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', "ordered_at") = "ordered_at" then to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS') else to_char("ordered_at", 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"' is null then '"ordered_at"' end, '') || coalesce(',' || case when cast("amount" as varchar(65535)) is null then '"$name"' end, '') || coalesce(',' || case when nullif(nullif(nullif(cast(cast("weight" as double precision) as varchar(65535)), 'NaN'), 'Infinity'), '-Infinity') is null then '"weight"' end, '') || coalesce(',' || case when case when "gift" then 'true' when not "gift" then 'false' end is null then '"gift"' end, '') || coalesce(',' || case when '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"' is null then '"shipped"' end, '') || coalesce(',' || case when '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS') else to_char(("loaded_at" at time zone 'UTC'), 'YYYY-MM-DD"T"HH24:MI:SS.US') end end || '"' is null then '"loaded_at"' end, '') || coalesce(',' || case when case when json_size("tags") <= 65535 then nullif(json_serialize("tags"), 'null') when "tags" is not null then repeat('x', 65535) end is null then '"tags"' end, '') || coalesce(',' || case when case when json_size("raw") <= 65535 then nullif(json_serialize("raw"), 'null') when "raw" is not null then repeat('x', 65535) end is null then '"raw"' end, '') || coalesce(',' || case when case when "device" is null then null when json_size(object('k', "device")) <= 65535 then substring(rtrim(json_serialize(object('k', "device")), '}'), 6, 65535) else repeat('x', 65535) end is null then '"device"' end, '') || coalesce(',' || case when case when "note" is null then null when json_size(object('k', "note")) <= 65535 then substring(rtrim(json_serialize(object('k', "note")), '}'), 6, 65535) else repeat('x', 65535) end is null then '"note"' end, '') || coalesce(',' || nullif(case when syncline_image.syncline_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as varchar(65535)) when cast($2 as bigint) = 0 then null else cast($4 as varchar(65535)) end, ''), ''), 2, 65535) <> '' and (syncline_image.syncline_row_change = 'update' or cast($5 as bigint) = 1)
  union all
  -- what Mixpanel shows and the table no longer says
  select syncline_change.syncline_old_key, syncline_change.syncline_row_change, 'delete', null,
    syncline_change.syncline_old_profile_id,
    'delete', 'set',
    0,
    case when 39 + octet_length(case when coalesce(syncline_change.syncline_old_profile_id, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_profile_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_profile_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end) + coalesce(octet_length('"order_id","ordered_at","$name","weight","gift","shipped","loaded_at","tags","raw","device","note"') + 1, 0) + coalesce(octet_length(nullif(case when syncline_change.syncline_old_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as varchar(65535)) else cast($4 as varchar(65535)) end, '')) + 1, 0) <= 65535 then '{"$distinct_id":' || case when coalesce(syncline_change.syncline_old_profile_id, '') is null then null when json_size(object('k', coalesce(syncline_change.syncline_old_profile_id, ''))) <= 65535 then substring(rtrim(json_serialize(object('k', coalesce(syncline_change.syncline_old_profile_id, ''))), '}'), 6, 65535) else repeat('x', 65535) end || ',"$ip":"0","$unset":[' || substring(coalesce(',' || '"order_id","ordered_at","$name","weight","gift","shipped","loaded_at","tags","raw","device","note"', '') || coalesce(',' || nullif(case when syncline_change.syncline_old_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as varchar(65535)) else cast($4 as varchar(65535)) end, ''), ''), 2, 65535) || ']}' end
  from changes as syncline_change
  left join images as syncline_image on syncline_image.syncline_key = syncline_change.syncline_old_key
  where syncline_change.syncline_row_change = 'delete'
),
judged as (
  select r.*,
    case
      when r.profile_id is null or trim(r.profile_id) = '' then 'id-missing'
      when (r.payload is null or octet_length(r.payload) > 1000000) then 'too-large'
      when not can_json_parse(r.payload) then 'payload-not-json'
    end as reason
  from records as r
)
,
settled as (
  -- rejects that have nothing to send any more; a source column named like an outer alias would hide it, so only ours are in scope
  select j.row_key, j.insert_id
  from "mixpanel"."customers__rejects" as j
  where not exists (select 1 from records as r where r.row_key = j.row_key and r.insert_id = j.insert_id)
    and not exists (select 1 from (select syncline_row_change, syncline_key, syncline_checksum from changes) as c where c.syncline_row_change = 'known' and c.syncline_key = j.row_key and c.syncline_checksum = j.row_checksum)
)
,
measured as (
  select j.row_change, j.change, j.reason, j.row_key, j.row_checksum, j.insert_id, j.old_insert_id, octet_length(j.payload) as bytes, 0 as billable, j.inexact
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
  from (select case when octet_length("customer_id") <= 255 then "customer_id" || '|' else md5("customer_id") end as syncline_key from "main"."orders" as syncline_source) as n
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

-- customers/preview_forward.sql: made of the parts of capture

-- customers/preview_pending.sql: made of the parts of capture

-- customers/explain.sql
-- what a run reads, as the planner expects it; nothing is executed
explain
select *
from "main"."orders" as syncline_source

-- customers/preview_shown.sql: as on DuckDB, but for binds, types and the clock

-- customers/destroy.sql: made of the parts of capture

-- customers/drop_ledger.sql: as on DuckDB, but for binds, types and the clock

-- customers/drop_rejects.sql: as on DuckDB, but for binds, types and the clock

-- customers/drop_seen.sql: as on DuckDB, but for binds, types and the clock

-- customers/drop_state.sql: as on DuckDB, but for binds, types and the clock

-- customers/show.sql: made of the parts of capture

-- customers/rejects.sql: as on DuckDB, but for binds, types and the clock

-- customers/reset_ledger.sql: as on DuckDB, but for binds, types and the clock

-- customers/reset_rejects.sql: as on DuckDB, but for binds, types and the clock

-- customers/reset_state.sql: as on DuckDB, but for binds, types and the clock
