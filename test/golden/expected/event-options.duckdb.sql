-- shared/create_schema.sql: as in mirror-keyed

-- shared/create_runs.sql: as in mirror-keyed

-- shared/runs.sql: as in mirror-keyed

-- shared/states.sql: as in mirror-keyed

-- purchases/check_columns.sql
with source_columns as (select column_name as name, data_type as native from duckdb_columns() where lower(table_name) = lower('orders') and lower(schema_name) = lower('main') and database_name = current_database() order by column_index)
select case when f.n = 0 then 'main.orders does not exist, or may not be read: check `relation:`' else 'column `' || w.name || case when c.name is null then '` is missing' else '` is now ' || c.native || ', the lock says ' || w.native end end as violation
from (
  select 'order_id' as name, 'INTEGER' as native union all
  select 'ordered_at' as name, 'TIMESTAMP' as native union all
  select 'customer_id' as name, 'VARCHAR' as native union all
  select 'amount' as name, 'DECIMAL(9,2)' as native union all
  select 'weight' as name, 'DOUBLE' as native union all
  select 'gift' as name, 'BOOLEAN' as native union all
  select 'shipped' as name, 'DATE' as native union all
  select 'loaded_at' as name, 'TIMESTAMP WITH TIME ZONE' as native union all
  select 'tags' as name, 'VARCHAR[]' as native union all
  select 'raw' as name, 'JSON' as native union all
  select 'device' as name, 'VARCHAR' as native union all
  select 'note' as name, 'VARCHAR' as native
) as w
cross join (select count(*) as n from source_columns) as f
left join source_columns as c on c.name = w.name
where c.name is null or c.native <> w.native

-- purchases/check_where.sql
select 'never' as violation
from (select * from "main"."orders" where (amount > 0 or note = 'it''s')) as syncline_source
where 1 = 0

-- purchases/check_new_columns.sql
select 'column `' || c.name || '` is new' as violation
from (select column_name as name, data_type as native from duckdb_columns() where lower(table_name) = lower('orders') and lower(schema_name) = lower('main') and database_name = current_database() order by column_index) as c
where c.name not in ('order_id', 'ordered_at', 'customer_id', 'amount', 'weight', 'gift', 'shipped', 'loaded_at', 'tags', 'raw', 'photo', 'device', 'note')

-- purchases/check_null_key.sql: as in mirror-keyed

-- purchases/check_twin_keys.sql
-- a twin that equals the ledger is not captured, so keys that the source has more than once are looked up among the captured
select 'key ' || k.row_key || ' occurs ' || cast(k.occurrences as varchar) || ' times' as violation
from (
  select n.syncline_key as row_key, count(*) as occurrences
  from (select cast("order_id" as varchar) as syncline_key from (select * from "main"."orders" where (amount > 0 or note = 'it''s')) as syncline_source) as n
  where exists (select 1 from "mixpanel"."purchases__outbox_${run}" as o where o.row_checksum is not null)
  group by n.syncline_key
  having count(*) > 1
) as k
where exists (select 1 from "mixpanel"."purchases__outbox_${run}" as o where o.row_checksum is not null and o.row_key = k.row_key)
union all
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as varchar) || ' times' as violation
from "mixpanel"."purchases__outbox_${run}" as o
where o.row_checksum is not null
  -- rows without an id are named by their content, and may all be equal
  and (o.reason is null or o.reason <> 'id-missing')
group by o.row_key
having count(*) > 1
limit 5

-- purchases/check_max_rejects.sql
-- rejects that are on record already are no news
select 'new invalid rows: ' || cast(count(distinct o.row_key) as varchar) as violation
from "mixpanel"."purchases__outbox_${run}" as o
where o.reason is not null
  and not exists (select 1 from "mixpanel"."purchases__rejects" as j where j.row_key = o.row_key and j.insert_id = o.insert_id)
having count(distinct o.row_key) > coalesce(cast($allow_max_rejects as bigint), 5)

-- purchases/create_outbox.sql: as in mirror-keyed

-- purchases/run_record.sql: as in mirror-keyed

-- purchases/columns.sql: as in mirror-keyed

-- purchases/state_exists.sql: as in mirror-keyed

-- purchases/state_owner.sql: as in mirror-keyed

-- purchases/state_read.sql: as in mirror-keyed

-- purchases/state_lease.sql: as in mirror-keyed

-- purchases/state_renew.sql: as in mirror-keyed

-- purchases/state_release.sql: as in mirror-keyed

-- purchases/state_unlock.sql: as in mirror-keyed

-- purchases/state_forget.sql: as in mirror-keyed

-- purchases/state_settle.sql: as in mirror-keyed

-- purchases/create_state.sql: as in mirror-keyed

-- purchases/create_ledger.sql: as in mirror-keyed

-- purchases/create_rejects.sql: as in mirror-keyed

-- purchases/state_insert.sql: as in mirror-keyed

-- purchases/capture.sql
insert into "mixpanel"."purchases__outbox_${run}" (batch, ordinal, row_change, change, row_key, row_checksum, time_ms, event, user_id, device_id, insert_id, old_insert_id, payload, reason, outcome, outcome_reason)
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."purchases__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('time-in-future') and cast($remapped as bigint) = 0
),
source_rows as (
  select syncline_source.*, md5(regexp_replace(cast(json_array(cast("order_id" as varchar), cast("ordered_at" as varchar), cast("customer_id" as varchar), cast("amount" as varchar), cast("weight" as varchar), cast("gift" as varchar), cast("shipped" as varchar), cast(epoch_us("loaded_at") as varchar), cast(to_json("tags") as varchar), cast("raw" as varchar), cast("device" as varchar), cast("note" as varchar)) as varchar), '(,null)+\]$', ']')) as syncline_checksum
  from (select * from "main"."orders" where (amount > 0 or note = 'it''s')) as syncline_source
),
newer as (
  select syncline_row.*, cast("order_id" as varchar) as syncline_key
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
    or cast($resend as bigint) = 1
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
    case when isfinite("ordered_at") then cast(floor(epoch_us(((cast("ordered_at" as timestamp) at time zone 'Europe/Berlin') at time zone 'UTC')) / 1000.0) as bigint) end as syncline_time_ms,
    'Purchase Completed' as syncline_event,
    cast("customer_id" as varchar) as syncline_user_id,
    cast("device" as varchar) as syncline_device_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, md5(coalesce(cast(length(cast($id_space as varchar)) as varchar) || ':' || cast($id_space as varchar), '~') || coalesce(cast(length(cast(cast($epoch as bigint) as varchar)) as varchar) || ':' || cast(cast($epoch as bigint) as varchar), '~') || coalesce(cast(length(syncline_key) as varchar) || ':' || syncline_key, '~') || coalesce(cast(length(syncline_event) as varchar) || ':' || syncline_event, '~') || coalesce(cast(length(cast(syncline_time_ms as varchar)) as varchar) || ':' || cast(syncline_time_ms as varchar), '~') || coalesce(cast(length(syncline_user_id) as varchar) || ':' || syncline_user_id, '~') || coalesce(cast(length(syncline_device_id) as varchar) || ':' || syncline_device_id, '~')) as syncline_insert_id
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
    case when ("raw" is not null and coalesce(json_type(try_cast(cast("raw" as varchar) as json)), 'NONE') not in ('OBJECT', 'NULL')) then 1 else 0 end as json_not_object,
    case when 6 + case when syncline_user_id is null then 0 else 1 end + case when syncline_device_id is null then 0 else 1 end + case when "order_id" is null then 0 else 1 end + case when cast("amount" as varchar) is null then 0 else 1 end + case when case when isfinite("weight") then cast(to_json("weight") as varchar) end is null then 0 else 1 end + case when "gift" is null then 0 else 1 end + case when '"' || case when isfinite("shipped") and year("shipped") between 1 and 9999 then strftime("shipped", '%Y-%m-%d') end || '"' is null then 0 else 1 end + case when '"' || case when isfinite(("loaded_at" at time zone 'UTC')) and year(("loaded_at" at time zone 'UTC')) between 1 and 9999 then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S') else strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S.%f') end end || '"' is null then 0 else 1 end + case when cast(to_json("tags") as varchar) is null then 0 else 1 end + case when case when not (json_valid(nullif(trim(replace(cast("note" as varchar), chr(10), ' ')), 'null')) and not regexp_matches(regexp_replace(nullif(trim(replace(cast("note" as varchar), chr(10), ' ')), 'null'), '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf|,\s*[\]}]')) then 'no JSON' else nullif(trim(replace(cast("note" as varchar), chr(10), ' ')), 'null') end is null then 0 else 1 end + coalesce(list_unique(list_transform(list_filter(map_entries(cast(case when json_type(try_cast(cast("raw" as varchar) as json)) = 'OBJECT' then try_cast(cast("raw" as varchar) as json) end as map(varchar, json))), lambda e: e.value is not null and cast(e.value as varchar) <> 'null' and e.key not in ('token', 'ip', 'time', '$time', 'distinct_id', '$distinct_id', '$device_id', '$user_id', '$insert_id', '$event_name', '$identified_id', '$anon_id', 'alias', '$distinct_ids', '$distinct_id_before_identity', '$is_reshuffled', '$preshuffle_distinct_id', '$failure_description', '$failure_reason', '$identity_failure_reason', '$ignore', '$source', '$partner_id', 'bucket', '$bucket', '$import', '$duration_s', '$event_count', '$origin_start', '$origin_end', 'ORDER_ID', 'AMOUNT', 'Weight in kg', 'GIFT', 'SHIPPED', 'LOADED_AT', 'TAGS', 'NOTE') and not starts_with(e.key, 'mp_') and not starts_with(e.key, '$warehouse_') and not starts_with(e.key, 'syncline_')), lambda e: e.key)), 0) > 254 then 1 else 0 end as too_many,
    concat('{', '"event":', cast(to_json(coalesce(syncline_event, '')) as varchar), ',"properties":', concat('{', '"time":', coalesce(cast(syncline_time_ms as varchar), 'null'), ',"distinct_id":', cast(to_json(coalesce(syncline_user_id, '$device:' || syncline_device_id, '')) as varchar), ',"$insert_id":', cast(to_json(syncline_insert_id) as varchar), ',"$user_id":' || cast(to_json(syncline_user_id) as varchar), ',"$device_id":' || cast(to_json(syncline_device_id) as varchar), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"duckdb"', ',"ORDER_ID":' || cast("order_id" as varchar), ',"AMOUNT":' || cast("amount" as varchar), ',"Weight in kg":' || case when isfinite("weight") then cast(to_json("weight") as varchar) end, ',"GIFT":' || cast(to_json(cast("gift" as varchar)) as varchar), ',"SHIPPED":' || '"' || case when isfinite("shipped") and year("shipped") between 1 and 9999 then strftime("shipped", '%Y-%m-%d') end || '"', ',"LOADED_AT":' || '"' || case when isfinite(("loaded_at" at time zone 'UTC')) and year(("loaded_at" at time zone 'UTC')) between 1 and 9999 then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S') else strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S.%f') end end || '"', ',"TAGS":' || cast(to_json("tags") as varchar), ',"NOTE":' || case when not (json_valid(nullif(trim(replace(cast("note" as varchar), chr(10), ' ')), 'null')) and not regexp_matches(regexp_replace(nullif(trim(replace(cast("note" as varchar), chr(10), ' ')), 'null'), '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf|,\s*[\]}]')) then 'no JSON' else nullif(trim(replace(cast("note" as varchar), chr(10), ' ')), 'null') end, coalesce(list_aggregate(list_transform(list_filter(map_entries(cast(case when json_type(try_cast(cast("raw" as varchar) as json)) = 'OBJECT' then try_cast(cast("raw" as varchar) as json) end as map(varchar, json))), lambda e: e.value is not null and cast(e.value as varchar) <> 'null' and e.key not in ('token', 'ip', 'time', '$time', 'distinct_id', '$distinct_id', '$device_id', '$user_id', '$insert_id', '$event_name', '$identified_id', '$anon_id', 'alias', '$distinct_ids', '$distinct_id_before_identity', '$is_reshuffled', '$preshuffle_distinct_id', '$failure_description', '$failure_reason', '$identity_failure_reason', '$ignore', '$source', '$partner_id', 'bucket', '$bucket', '$import', '$duration_s', '$event_count', '$origin_start', '$origin_end', 'ORDER_ID', 'AMOUNT', 'Weight in kg', 'GIFT', 'SHIPPED', 'LOADED_AT', 'TAGS', 'NOTE') and not starts_with(e.key, 'mp_') and not starts_with(e.key, '$warehouse_') and not starts_with(e.key, 'syncline_')), lambda e: ',' || to_json(e.key) || ':' || e.value), 'string_agg', ''), ''), '}'), '}') as payload
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
    0,
    concat('{', '"event":', cast(to_json(coalesce(syncline_change.syncline_old_event, '')) as varchar), ',"properties":', concat('{', '"time":', coalesce(cast(syncline_change.syncline_old_time_ms as varchar), 'null'), ',"distinct_id":', cast(to_json(coalesce(syncline_change.syncline_old_user_id, '$device:' || syncline_change.syncline_old_device_id, '')) as varchar), ',"$insert_id":', cast(to_json(syncline_change.syncline_old_insert_id) as varchar), ',"$user_id":' || cast(to_json(syncline_change.syncline_old_user_id) as varchar), ',"$device_id":' || cast(to_json(syncline_change.syncline_old_device_id) as varchar), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"duckdb"', ',"syncline_deleted":', 'true', '}'), '}')
  from changes as syncline_change
  left join images as syncline_image on syncline_image.syncline_key = syncline_change.syncline_old_key
  where (syncline_change.syncline_row_change = 'update' and syncline_image.syncline_insert_id <> syncline_change.syncline_old_insert_id)
  union all
  -- identities that a refusal left behind, and that neither the ledger nor this run's image claims
  select syncline_change.syncline_old_key, 'delete', 'delete', null,
    syncline_change.syncline_old_time_ms,
    syncline_change.syncline_old_event,
    syncline_change.syncline_old_user_id,
    syncline_change.syncline_old_device_id,
    syncline_change.syncline_old_insert_id, null,
    0,
    0,
    concat('{', '"event":', cast(to_json(coalesce(syncline_change.syncline_old_event, '')) as varchar), ',"properties":', concat('{', '"time":', coalesce(cast(syncline_change.syncline_old_time_ms as varchar), 'null'), ',"distinct_id":', cast(to_json(coalesce(syncline_change.syncline_old_user_id, '$device:' || syncline_change.syncline_old_device_id, '')) as varchar), ',"$insert_id":', cast(to_json(syncline_change.syncline_old_insert_id) as varchar), ',"$user_id":' || cast(to_json(syncline_change.syncline_old_user_id) as varchar), ',"$device_id":' || cast(to_json(syncline_change.syncline_old_device_id) as varchar), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"duckdb"', ',"syncline_deleted":', 'true', '}'), '}')
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
      when r.time_ms > epoch_ms(now()) + 3600000 then 'time-in-future'
      when r.event is null or trim(r.event) = '' then 'event-missing'
      when lower(trim(r.user_id)) in ('00000000-0000-0000-0000-000000000000', 'anon', 'anonymous', 'nil', 'none', 'null', 'n/a', 'na', 'undefined', 'unknown', '<nil>', '0', '-1', 'true', 'false', '[]', '{}') then 'user-banned'
      when lower(trim(r.device_id)) in ('00000000-0000-0000-0000-000000000000', 'anon', 'anonymous', 'nil', 'none', 'null', 'n/a', 'na', 'undefined', 'unknown', '<nil>', '0', '-1', 'true', 'false', '[]', '{}') then 'device-banned'
      when strlen(r.payload) > 1000000 then 'too-large'
      when r.json_not_object = 1 then 'json-not-object'
      when r.too_many = 1 then 'too-many-properties'
      when not (json_valid(r.payload) and not regexp_matches(regexp_replace(r.payload, '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf|,\s*[\]}]')) then 'payload-not-json'
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
    sum(case when j.reason is null then 1 else 0 end) over (rows unbounded preceding) as syncline_count,
    sum(case when j.reason is null then strlen(j.payload) else 0 end) over (rows unbounded preceding) as syncline_bytes
  from judged as j
)
select
  -- both quotients only grow, so equal sums are equal pairs: at most 2000 records and 7000000 bytes before the last record
  case when j.reason is null then cast(floor((j.syncline_count - 1) / 2000.0) + floor((j.syncline_bytes - strlen(j.payload)) / 7000000.0) as bigint) end,
  j.ordinal, j.row_change, j.change, j.row_key, j.row_checksum, time_ms, event, user_id, device_id, j.insert_id, j.old_insert_id, j.payload, j.reason, null, null
from numbered as j
union all
select null, null, 'settled', 'settled', t.row_key, null, null, null, null, null, t.insert_id, null, null, null, null, null
from settled as t

-- purchases/capture_forward.sql: made of the parts of capture

-- purchases/totals.sql: as in mirror-keyed

-- purchases/state_flip.sql: as in mirror-keyed

-- purchases/deliver_pages.sql: as in mirror-keyed

-- purchases/deliver_restart.sql: as in mirror-keyed

-- purchases/deliver_abandon.sql: as in mirror-keyed

-- purchases/deliver_outcome.sql: as in mirror-keyed

-- purchases/checkpoint.sql: as in mirror-keyed

-- purchases/check_accounts.sql: as in mirror-keyed

-- purchases/ledger_forward.sql: as in mirror-keyed

-- purchases/ledger_remove.sql: as in mirror-keyed

-- purchases/ledger_insert.sql: as in mirror-keyed

-- purchases/ledger_unknown.sql: as in mirror-keyed

-- purchases/rejects_remove.sql: as in mirror-keyed

-- purchases/rejects_insert.sql: as in mirror-keyed

-- purchases/state_commit.sql: as in mirror-keyed

-- purchases/drop_outbox.sql: as in mirror-keyed

-- purchases/run_read.sql: as in mirror-keyed

-- purchases/preview_initial.sql: made of the parts of capture

-- purchases/preview.sql
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."purchases__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('time-in-future') and cast($remapped as bigint) = 0
),
source_rows as (
  select syncline_source.*, md5(regexp_replace(cast(json_array(cast("order_id" as varchar), cast("ordered_at" as varchar), cast("customer_id" as varchar), cast("amount" as varchar), cast("weight" as varchar), cast("gift" as varchar), cast("shipped" as varchar), cast(epoch_us("loaded_at") as varchar), cast(to_json("tags") as varchar), cast("raw" as varchar), cast("device" as varchar), cast("note" as varchar)) as varchar), '(,null)+\]$', ']')) as syncline_checksum
  from (select * from "main"."orders" where (amount > 0 or note = 'it''s')) as syncline_source
),
newer as (
  select syncline_row.*, cast("order_id" as varchar) as syncline_key
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
    or cast($resend as bigint) = 1
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
    case when isfinite("ordered_at") then cast(floor(epoch_us(((cast("ordered_at" as timestamp) at time zone 'Europe/Berlin') at time zone 'UTC')) / 1000.0) as bigint) end as syncline_time_ms,
    'Purchase Completed' as syncline_event,
    cast("customer_id" as varchar) as syncline_user_id,
    cast("device" as varchar) as syncline_device_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, md5(coalesce(cast(length(cast($id_space as varchar)) as varchar) || ':' || cast($id_space as varchar), '~') || coalesce(cast(length(cast(cast($epoch as bigint) as varchar)) as varchar) || ':' || cast(cast($epoch as bigint) as varchar), '~') || coalesce(cast(length(syncline_key) as varchar) || ':' || syncline_key, '~') || coalesce(cast(length(syncline_event) as varchar) || ':' || syncline_event, '~') || coalesce(cast(length(cast(syncline_time_ms as varchar)) as varchar) || ':' || cast(syncline_time_ms as varchar), '~') || coalesce(cast(length(syncline_user_id) as varchar) || ':' || syncline_user_id, '~') || coalesce(cast(length(syncline_device_id) as varchar) || ':' || syncline_device_id, '~')) as syncline_insert_id
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
    case when ("raw" is not null and coalesce(json_type(try_cast(cast("raw" as varchar) as json)), 'NONE') not in ('OBJECT', 'NULL')) then 1 else 0 end as json_not_object,
    case when 6 + case when syncline_user_id is null then 0 else 1 end + case when syncline_device_id is null then 0 else 1 end + case when "order_id" is null then 0 else 1 end + case when cast("amount" as varchar) is null then 0 else 1 end + case when case when isfinite("weight") then cast(to_json("weight") as varchar) end is null then 0 else 1 end + case when "gift" is null then 0 else 1 end + case when '"' || case when isfinite("shipped") and year("shipped") between 1 and 9999 then strftime("shipped", '%Y-%m-%d') end || '"' is null then 0 else 1 end + case when '"' || case when isfinite(("loaded_at" at time zone 'UTC')) and year(("loaded_at" at time zone 'UTC')) between 1 and 9999 then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S') else strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S.%f') end end || '"' is null then 0 else 1 end + case when cast(to_json("tags") as varchar) is null then 0 else 1 end + case when case when not (json_valid(nullif(trim(replace(cast("note" as varchar), chr(10), ' ')), 'null')) and not regexp_matches(regexp_replace(nullif(trim(replace(cast("note" as varchar), chr(10), ' ')), 'null'), '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf|,\s*[\]}]')) then 'no JSON' else nullif(trim(replace(cast("note" as varchar), chr(10), ' ')), 'null') end is null then 0 else 1 end + coalesce(list_unique(list_transform(list_filter(map_entries(cast(case when json_type(try_cast(cast("raw" as varchar) as json)) = 'OBJECT' then try_cast(cast("raw" as varchar) as json) end as map(varchar, json))), lambda e: e.value is not null and cast(e.value as varchar) <> 'null' and e.key not in ('token', 'ip', 'time', '$time', 'distinct_id', '$distinct_id', '$device_id', '$user_id', '$insert_id', '$event_name', '$identified_id', '$anon_id', 'alias', '$distinct_ids', '$distinct_id_before_identity', '$is_reshuffled', '$preshuffle_distinct_id', '$failure_description', '$failure_reason', '$identity_failure_reason', '$ignore', '$source', '$partner_id', 'bucket', '$bucket', '$import', '$duration_s', '$event_count', '$origin_start', '$origin_end', 'ORDER_ID', 'AMOUNT', 'Weight in kg', 'GIFT', 'SHIPPED', 'LOADED_AT', 'TAGS', 'NOTE') and not starts_with(e.key, 'mp_') and not starts_with(e.key, '$warehouse_') and not starts_with(e.key, 'syncline_')), lambda e: e.key)), 0) > 254 then 1 else 0 end as too_many,
    case when "order_id" >= 9007199254740992e0 or "order_id" <= -9007199254740992e0 or "amount" >= 9007199254740992e0 or "amount" <= -9007199254740992e0 then 1 else 0 end as inexact,
    case when coalesce(list_aggregate(list_transform(list_filter(map_entries(cast(case when json_type(try_cast(cast("raw" as varchar) as json)) = 'OBJECT' then try_cast(cast("raw" as varchar) as json) end as map(varchar, json))), lambda e: e.value is not null and cast(e.value as varchar) <> 'null' and e.key not in ('token', 'ip', 'time', '$time', 'distinct_id', '$distinct_id', '$device_id', '$user_id', '$insert_id', '$event_name', '$identified_id', '$anon_id', 'alias', '$distinct_ids', '$distinct_id_before_identity', '$is_reshuffled', '$preshuffle_distinct_id', '$failure_description', '$failure_reason', '$identity_failure_reason', '$ignore', '$source', '$partner_id', 'bucket', '$bucket', '$import', '$duration_s', '$event_count', '$origin_start', '$origin_end', 'ORDER_ID', 'AMOUNT', 'Weight in kg', 'GIFT', 'SHIPPED', 'LOADED_AT', 'TAGS', 'NOTE') and not starts_with(e.key, 'mp_') and not starts_with(e.key, '$warehouse_') and not starts_with(e.key, 'syncline_')), lambda e: ',' || to_json(e.key) || ':' || e.value), 'string_agg', ''), '') <> coalesce(list_aggregate(list_transform(list_filter(map_entries(cast(case when json_type(try_cast(cast("raw" as varchar) as json)) = 'OBJECT' then try_cast(cast("raw" as varchar) as json) end as map(varchar, json))), lambda e: e.value is not null and cast(e.value as varchar) <> 'null' and e.key not in ('ORDER_ID', 'AMOUNT', 'Weight in kg', 'GIFT', 'SHIPPED', 'LOADED_AT', 'TAGS', 'NOTE')), lambda e: ',' || to_json(e.key) || ':' || e.value), 'string_agg', ''), '') then 1 else 0 end as left_out,
    concat('{', '"event":', cast(to_json(coalesce(syncline_event, '')) as varchar), ',"properties":', concat('{', '"time":', coalesce(cast(syncline_time_ms as varchar), 'null'), ',"distinct_id":', cast(to_json(coalesce(syncline_user_id, '$device:' || syncline_device_id, '')) as varchar), ',"$insert_id":', cast(to_json(syncline_insert_id) as varchar), ',"$user_id":' || cast(to_json(syncline_user_id) as varchar), ',"$device_id":' || cast(to_json(syncline_device_id) as varchar), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"duckdb"', ',"ORDER_ID":' || cast("order_id" as varchar), ',"AMOUNT":' || cast("amount" as varchar), ',"Weight in kg":' || case when isfinite("weight") then cast(to_json("weight") as varchar) end, ',"GIFT":' || cast(to_json(cast("gift" as varchar)) as varchar), ',"SHIPPED":' || '"' || case when isfinite("shipped") and year("shipped") between 1 and 9999 then strftime("shipped", '%Y-%m-%d') end || '"', ',"LOADED_AT":' || '"' || case when isfinite(("loaded_at" at time zone 'UTC')) and year(("loaded_at" at time zone 'UTC')) between 1 and 9999 then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S') else strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S.%f') end end || '"', ',"TAGS":' || cast(to_json("tags") as varchar), ',"NOTE":' || case when not (json_valid(nullif(trim(replace(cast("note" as varchar), chr(10), ' ')), 'null')) and not regexp_matches(regexp_replace(nullif(trim(replace(cast("note" as varchar), chr(10), ' ')), 'null'), '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf|,\s*[\]}]')) then 'no JSON' else nullif(trim(replace(cast("note" as varchar), chr(10), ' ')), 'null') end, coalesce(list_aggregate(list_transform(list_filter(map_entries(cast(case when json_type(try_cast(cast("raw" as varchar) as json)) = 'OBJECT' then try_cast(cast("raw" as varchar) as json) end as map(varchar, json))), lambda e: e.value is not null and cast(e.value as varchar) <> 'null' and e.key not in ('token', 'ip', 'time', '$time', 'distinct_id', '$distinct_id', '$device_id', '$user_id', '$insert_id', '$event_name', '$identified_id', '$anon_id', 'alias', '$distinct_ids', '$distinct_id_before_identity', '$is_reshuffled', '$preshuffle_distinct_id', '$failure_description', '$failure_reason', '$identity_failure_reason', '$ignore', '$source', '$partner_id', 'bucket', '$bucket', '$import', '$duration_s', '$event_count', '$origin_start', '$origin_end', 'ORDER_ID', 'AMOUNT', 'Weight in kg', 'GIFT', 'SHIPPED', 'LOADED_AT', 'TAGS', 'NOTE') and not starts_with(e.key, 'mp_') and not starts_with(e.key, '$warehouse_') and not starts_with(e.key, 'syncline_')), lambda e: ',' || to_json(e.key) || ':' || e.value), 'string_agg', ''), ''), '}'), '}') as payload
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
    0,
    0,
    0,
    concat('{', '"event":', cast(to_json(coalesce(syncline_change.syncline_old_event, '')) as varchar), ',"properties":', concat('{', '"time":', coalesce(cast(syncline_change.syncline_old_time_ms as varchar), 'null'), ',"distinct_id":', cast(to_json(coalesce(syncline_change.syncline_old_user_id, '$device:' || syncline_change.syncline_old_device_id, '')) as varchar), ',"$insert_id":', cast(to_json(syncline_change.syncline_old_insert_id) as varchar), ',"$user_id":' || cast(to_json(syncline_change.syncline_old_user_id) as varchar), ',"$device_id":' || cast(to_json(syncline_change.syncline_old_device_id) as varchar), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"duckdb"', ',"syncline_deleted":', 'true', '}'), '}')
  from changes as syncline_change
  left join images as syncline_image on syncline_image.syncline_key = syncline_change.syncline_old_key
  where (syncline_change.syncline_row_change = 'update' and syncline_image.syncline_insert_id <> syncline_change.syncline_old_insert_id)
  union all
  -- identities that a refusal left behind, and that neither the ledger nor this run's image claims
  select syncline_change.syncline_old_key, 'delete', 'delete', null,
    syncline_change.syncline_old_time_ms,
    syncline_change.syncline_old_event,
    syncline_change.syncline_old_user_id,
    syncline_change.syncline_old_device_id,
    syncline_change.syncline_old_insert_id, null,
    0,
    0,
    0,
    0,
    concat('{', '"event":', cast(to_json(coalesce(syncline_change.syncline_old_event, '')) as varchar), ',"properties":', concat('{', '"time":', coalesce(cast(syncline_change.syncline_old_time_ms as varchar), 'null'), ',"distinct_id":', cast(to_json(coalesce(syncline_change.syncline_old_user_id, '$device:' || syncline_change.syncline_old_device_id, '')) as varchar), ',"$insert_id":', cast(to_json(syncline_change.syncline_old_insert_id) as varchar), ',"$user_id":' || cast(to_json(syncline_change.syncline_old_user_id) as varchar), ',"$device_id":' || cast(to_json(syncline_change.syncline_old_device_id) as varchar), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"duckdb"', ',"syncline_deleted":', 'true', '}'), '}')
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
      when r.time_ms > epoch_ms(now()) + 3600000 then 'time-in-future'
      when r.event is null or trim(r.event) = '' then 'event-missing'
      when lower(trim(r.user_id)) in ('00000000-0000-0000-0000-000000000000', 'anon', 'anonymous', 'nil', 'none', 'null', 'n/a', 'na', 'undefined', 'unknown', '<nil>', '0', '-1', 'true', 'false', '[]', '{}') then 'user-banned'
      when lower(trim(r.device_id)) in ('00000000-0000-0000-0000-000000000000', 'anon', 'anonymous', 'nil', 'none', 'null', 'n/a', 'na', 'undefined', 'unknown', '<nil>', '0', '-1', 'true', 'false', '[]', '{}') then 'device-banned'
      when strlen(r.payload) > 1000000 then 'too-large'
      when r.json_not_object = 1 then 'json-not-object'
      when r.too_many = 1 then 'too-many-properties'
      when not (json_valid(r.payload) and not regexp_matches(regexp_replace(r.payload, '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf|,\s*[\]}]')) then 'payload-not-json'
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
  select j.row_change, j.change, j.reason, j.row_key, j.row_checksum, j.insert_id, j.old_insert_id, strlen(j.payload) as bytes, 1 as billable, j.inexact, j.left_out
  from judged as j
)
select row_change, change, reason, count(*) as records, count(distinct row_key) as row_count, sum(billable) as billable, coalesce(sum(bytes), 0) as bytes,
  count(distinct case when inexact = 1 then row_key end) as inexact,
  count(distinct case when left_out = 1 then row_key end) as left_out
from measured
group by row_change, change, reason
union all
-- what a check of the capture will say, under its name
select null, 'check_null_key', v.violation, 0, 0, 0, 0, 0, 0
from (
select 'a row has no value in its key' as violation
from measured
where row_key is null
limit 1
) as v
union all
select null, 'check_twin_keys', v.violation, 0, 0, 0, 0, 0, 0
from (
-- a twin that equals the ledger is not captured, so keys that the source has more than once are looked up among the captured
select 'key ' || k.row_key || ' occurs ' || cast(k.occurrences as varchar) || ' times' as violation
from (
  select n.syncline_key as row_key, count(*) as occurrences
  from (select cast("order_id" as varchar) as syncline_key from (select * from "main"."orders" where (amount > 0 or note = 'it''s')) as syncline_source) as n
  where exists (select 1 from measured as o where o.row_checksum is not null)
  group by n.syncline_key
  having count(*) > 1
) as k
where exists (select 1 from measured as o where o.row_checksum is not null and o.row_key = k.row_key)
union all
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as varchar) || ' times' as violation
from measured as o
where o.row_checksum is not null
  -- rows without an id are named by their content, and may all be equal
  and (o.reason is null or o.reason <> 'id-missing')
group by o.row_key
having count(*) > 1
limit 5
) as v
union all
select null, 'check_max_rejects', v.violation, 0, 0, 0, 0, 0, 0
from (
-- rejects that are on record already are no news
select 'new invalid rows: ' || cast(count(distinct o.row_key) as varchar) as violation
from measured as o
where o.reason is not null
  and not exists (select 1 from "mixpanel"."purchases__rejects" as j where j.row_key = o.row_key and j.insert_id = o.insert_id)
having count(distinct o.row_key) > coalesce(cast($allow_max_rejects as bigint), 5)
) as v
order by row_change, change, reason

-- purchases/preview_forward.sql: made of the parts of capture

-- purchases/preview_pending.sql: as in mirror-keyed

-- purchases/preview_shown.sql: as in mirror-keyed

-- purchases/drop_ledger.sql: as in mirror-keyed

-- purchases/drop_rejects.sql: as in mirror-keyed

-- purchases/drop_seen.sql: as in mirror-keyed

-- purchases/drop_state.sql: as in mirror-keyed

-- purchases/show.sql: made of the parts of capture

-- purchases/rejects.sql: as in mirror-keyed

-- purchases/reset_ledger.sql: as in mirror-keyed

-- purchases/reset_rejects.sql: as in mirror-keyed

-- purchases/reset_state.sql: as in mirror-keyed
