with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select cast(null as varchar) as row_key, cast(null as varchar) as insert_id, cast(null as varchar) as row_checksum
  limit 0
),
source_rows as (
  select syncline_source.*, md5(regexp_replace(cast(json_array(cast("order_id" as varchar), cast("ordered_at" as varchar), cast("customer_id" as varchar), cast("item" as varchar), cast("amount" as varchar), cast("note" as varchar)) as varchar), '(,null)+\]$', ']')) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, cast("order_id" as varchar) as syncline_key
  from source_rows as syncline_row
),

older as (
  select cast(null as varchar) as row_key, cast(null as varchar) as row_checksum
  limit 0
),
differing as (
  select n.*, o.row_key as syncline_old_key
  from newer as n
  full outer join older as o on o.row_key = n.syncline_key
  where o.row_key is null or n.syncline_key is null or o.row_checksum is null or o.row_checksum <> n.syncline_checksum
),
shown as (
  select cast(null as varchar) as row_key, cast(null as varchar) as row_checksum, cast(null as bigint) as time_ms, cast(null as varchar) as event, cast(null as varchar) as user_id, cast(null as varchar) as device_id, cast(null as varchar) as insert_id
  limit 0
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
    case when isfinite("ordered_at") then cast(floor(epoch_us(cast("ordered_at" as timestamp)) / 1000.0) as bigint) end as syncline_time_ms,
    'Purchase Completed' as syncline_event,
    cast("customer_id" as varchar) as syncline_user_id,
    cast(null as varchar) as syncline_device_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, md5(coalesce(cast(length('purchases') as varchar) || ':' || 'purchases', '~') || coalesce(cast(length(cast(0 as varchar)) as varchar) || ':' || cast(0 as varchar), '~') || coalesce(cast(length(syncline_key) as varchar) || ':' || syncline_key, '~') || coalesce(cast(length(syncline_event) as varchar) || ':' || syncline_event, '~') || coalesce(cast(length(cast(syncline_time_ms as varchar)) as varchar) || ':' || cast(syncline_time_ms as varchar), '~') || coalesce(cast(length(syncline_user_id) as varchar) || ':' || syncline_user_id, '~') || coalesce(cast(length(syncline_device_id) as varchar) || ':' || syncline_device_id, '~')) as syncline_insert_id
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
    concat('{', '"event":', cast(to_json(coalesce(syncline_event, '')) as varchar), ',"properties":', concat('{', '"time":', coalesce(cast(syncline_time_ms as varchar), 'null'), ',"distinct_id":', cast(to_json(coalesce(syncline_user_id, '')) as varchar), ',"$insert_id":', cast(to_json(syncline_insert_id) as varchar), ',"$user_id":' || cast(to_json(syncline_user_id) as varchar), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"duckdb"', ',"order_id":' || cast("order_id" as varchar), ',"item":' || cast(to_json(cast("item" as varchar)) as varchar), ',"amount":' || cast("amount" as varchar), ',"note":' || cast(to_json(cast("note" as varchar)) as varchar), '}'), '}') as payload
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
    concat('{', '"event":', cast(to_json(coalesce(syncline_change.syncline_old_event, '')) as varchar), ',"properties":', concat('{', '"time":', coalesce(cast(syncline_change.syncline_old_time_ms as varchar), 'null'), ',"distinct_id":', cast(to_json(coalesce(syncline_change.syncline_old_user_id, '')) as varchar), ',"$insert_id":', cast(to_json(syncline_change.syncline_old_insert_id) as varchar), ',"$user_id":' || cast(to_json(syncline_change.syncline_old_user_id) as varchar), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"duckdb"', ',"syncline_deleted":', 'true', '}'), '}')
  from changes as syncline_change
  left join images as syncline_image on syncline_image.syncline_key = syncline_change.syncline_old_key
  where syncline_change.syncline_row_change = 'delete' or (syncline_change.syncline_row_change = 'update' and syncline_image.syncline_insert_id <> syncline_change.syncline_old_insert_id)
),
judged as (
  select r.*,
    case
      when r.time_ms is null then 'time-missing'
      when r.time_ms < 31536000000 then 'time-before-1971'
      when r.time_ms > epoch_ms(now()) + 3600000 then 'time-in-future'
      when r.event is null or trim(r.event) = '' then 'event-missing'
      when lower(trim(r.user_id)) in ('00000000-0000-0000-0000-000000000000', 'anon', 'anonymous', 'nil', 'none', 'null', 'n/a', 'na', 'undefined', 'unknown', '<nil>', '0', '-1', 'true', 'false', '[]', '{}') then 'user-banned'
      when strlen(r.payload) > 1000000 then 'too-large'
    end as reason
  from records as r
)
,
measured as (
  select j.row_change, j.change, j.reason, j.row_key, j.row_checksum, j.insert_id, j.old_insert_id, strlen(j.payload) as bytes, 1 as billable, j.inexact
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
select 'key ' || k.row_key || ' occurs ' || cast(k.occurrences as varchar) || ' times' as violation
from (
  select n.syncline_key as row_key, count(*) as occurrences
  from (select cast("order_id" as varchar) as syncline_key from "main"."orders" as syncline_source) as n
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
order by row_change, change, reason
