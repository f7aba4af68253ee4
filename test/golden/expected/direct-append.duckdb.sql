-- purchases/columns.sql: as in mirror-keyed

-- purchases/check_columns.sql: as in mirror-keyed

-- purchases/probe.sql
-- rows whose insert time is not reached yet wait for a later run
select
  coalesce(
    (select cast(max("loaded_at") as varchar) from "main"."orders" as syncline_source where "loaded_at" <= now()),
    cast($watermark_from as varchar)
  ) as watermark_to,
  (select count(*) from "main"."orders" as syncline_source where "loaded_at" > now()) as waiting

-- purchases/read.sql
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select cast(null as varchar) as row_key, cast(null as varchar) as insert_id, cast(null as varchar) as row_checksum
  limit 0
),
source_rows as (
  select syncline_source.*, md5(regexp_replace(cast(json_array(cast("order_id" as varchar), cast("ordered_at" as varchar), cast("customer_id" as varchar), cast("amount" as varchar), cast("weight" as varchar), cast("gift" as varchar), cast("shipped" as varchar), cast(epoch_us("loaded_at") as varchar), cast(to_json("tags") as varchar), cast("raw" as varchar), cast("photo" as varchar), cast("device" as varchar), cast("note" as varchar)) as varchar), '(,null)+\]$', ']')) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, syncline_checksum || ':' || cast(row_number() over (partition by syncline_checksum) as varchar) as syncline_key
  from source_rows as syncline_row
  where syncline_row."loaded_at" is null
    or case when cast($backfill as bigint) = 1 then syncline_row."loaded_at" >= cast(cast($watermark_from as varchar) as timestamptz) and syncline_row."loaded_at" < cast(cast($watermark_to as varchar) as timestamptz) and syncline_row."loaded_at" <= cast(cast($position as varchar) as timestamptz) else (cast($watermark_from as varchar) is null or syncline_row."loaded_at" > cast(cast($watermark_from as varchar) as timestamptz)) and syncline_row."loaded_at" <= cast(cast($watermark_to as varchar) as timestamptz) end
),
changes as (
  select n.*,
    cast(null as varchar) as syncline_old_insert_id,
    case when k.row_key is null then 'insert' else 'known' end as syncline_row_change
  from newer as n
  left join known as k on k.row_key = n.syncline_key and k.row_checksum = n.syncline_checksum
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
    case when syncline_image."loaded_at" is null then 1 else 0 end as insert_time_missing,
    concat('{', '"event":', cast(to_json(coalesce(syncline_event, '')) as varchar), ',"properties":', concat('{', '"time":', coalesce(cast(syncline_time_ms as varchar), 'null'), ',"distinct_id":', cast(to_json(coalesce(syncline_user_id, '')) as varchar), ',"$insert_id":', cast(to_json(syncline_insert_id) as varchar), ',"$user_id":' || cast(to_json(syncline_user_id) as varchar), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"duckdb"', ',"order_id":' || cast("order_id" as varchar), ',"amount":' || cast("amount" as varchar), ',"weight":' || case when isfinite("weight") then cast(to_json("weight") as varchar) end, ',"gift":' || cast("gift" as varchar), ',"shipped":' || '"' || case when isfinite("shipped") and year("shipped") between 1 and 9999 then strftime("shipped", '%Y-%m-%d') end || '"', ',"tags":' || cast(to_json("tags") as varchar), ',"raw":' || nullif(trim(replace(cast("raw" as varchar), chr(10), ' ')), 'null'), ',"photo":' || '"' || base64("photo") || '"', ',"device":' || cast(to_json(cast("device" as varchar)) as varchar), ',"note":' || cast(to_json(cast("note" as varchar)) as varchar), '}'), '}') as payload
  from images as syncline_image
),
judged as (
  select r.*,
    case
      when r.insert_time_missing = 1 then 'insert-time-missing'
      when r.time_ms is null then 'time-missing'
      when r.time_ms < 31536000000 then 'time-before-1971'
      when r.time_ms > epoch_ms(now()) + 3600000 then 'time-in-future'
      when r.event is null or trim(r.event) = '' then 'event-missing'
      when lower(trim(r.user_id)) in ('00000000-0000-0000-0000-000000000000', 'anon', 'anonymous', 'nil', 'none', 'null', 'n/a', 'na', 'undefined', 'unknown', '<nil>', '0', '-1', 'true', 'false', '[]', '{}') then 'user-banned'
      when strlen(r.payload) > 1000000 then 'too-large'
      when not (json_valid(r.payload) and not regexp_matches(regexp_replace(r.payload, '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf|,\s*[\]}]')) then 'payload-not-json'
    end as reason
  from records as r
)

select 0 as also, row_key, change, reason, payload, 0 as companion
from judged

-- purchases/preview.sql
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select cast(null as varchar) as row_key, cast(null as varchar) as insert_id, cast(null as varchar) as row_checksum
  limit 0
),
source_rows as (
  select syncline_source.*, md5(regexp_replace(cast(json_array(cast("order_id" as varchar), cast("ordered_at" as varchar), cast("customer_id" as varchar), cast("amount" as varchar), cast("weight" as varchar), cast("gift" as varchar), cast("shipped" as varchar), cast(epoch_us("loaded_at") as varchar), cast(to_json("tags") as varchar), cast("raw" as varchar), cast("photo" as varchar), cast("device" as varchar), cast("note" as varchar)) as varchar), '(,null)+\]$', ']')) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, syncline_checksum || ':' || cast(row_number() over (partition by syncline_checksum) as varchar) as syncline_key
  from source_rows as syncline_row
  where syncline_row."loaded_at" is null
    or case when cast($backfill as bigint) = 1 then syncline_row."loaded_at" >= cast(cast($watermark_from as varchar) as timestamptz) and syncline_row."loaded_at" < cast(cast($watermark_to as varchar) as timestamptz) and syncline_row."loaded_at" <= cast(cast($position as varchar) as timestamptz) else (cast($watermark_from as varchar) is null or syncline_row."loaded_at" > cast(cast($watermark_from as varchar) as timestamptz)) and syncline_row."loaded_at" <= cast(cast($watermark_to as varchar) as timestamptz) end
),
changes as (
  select n.*,
    cast(null as varchar) as syncline_old_insert_id,
    case when k.row_key is null then 'insert' else 'known' end as syncline_row_change
  from newer as n
  left join known as k on k.row_key = n.syncline_key and k.row_checksum = n.syncline_checksum
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
    case when syncline_image."loaded_at" is null then 1 else 0 end as insert_time_missing,
    case when "order_id" >= 9007199254740992e0 or "order_id" <= -9007199254740992e0 or "amount" >= 9007199254740992e0 or "amount" <= -9007199254740992e0 then 1 else 0 end as inexact,
    concat('{', '"event":', cast(to_json(coalesce(syncline_event, '')) as varchar), ',"properties":', concat('{', '"time":', coalesce(cast(syncline_time_ms as varchar), 'null'), ',"distinct_id":', cast(to_json(coalesce(syncline_user_id, '')) as varchar), ',"$insert_id":', cast(to_json(syncline_insert_id) as varchar), ',"$user_id":' || cast(to_json(syncline_user_id) as varchar), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"duckdb"', ',"order_id":' || cast("order_id" as varchar), ',"amount":' || cast("amount" as varchar), ',"weight":' || case when isfinite("weight") then cast(to_json("weight") as varchar) end, ',"gift":' || cast("gift" as varchar), ',"shipped":' || '"' || case when isfinite("shipped") and year("shipped") between 1 and 9999 then strftime("shipped", '%Y-%m-%d') end || '"', ',"tags":' || cast(to_json("tags") as varchar), ',"raw":' || nullif(trim(replace(cast("raw" as varchar), chr(10), ' ')), 'null'), ',"photo":' || '"' || base64("photo") || '"', ',"device":' || cast(to_json(cast("device" as varchar)) as varchar), ',"note":' || cast(to_json(cast("note" as varchar)) as varchar), '}'), '}') as payload
  from images as syncline_image
),
judged as (
  select r.*,
    case
      when r.insert_time_missing = 1 then 'insert-time-missing'
      when r.time_ms is null then 'time-missing'
      when r.time_ms < 31536000000 then 'time-before-1971'
      when r.time_ms > epoch_ms(now()) + 3600000 then 'time-in-future'
      when r.event is null or trim(r.event) = '' then 'event-missing'
      when lower(trim(r.user_id)) in ('00000000-0000-0000-0000-000000000000', 'anon', 'anonymous', 'nil', 'none', 'null', 'n/a', 'na', 'undefined', 'unknown', '<nil>', '0', '-1', 'true', 'false', '[]', '{}') then 'user-banned'
      when strlen(r.payload) > 1000000 then 'too-large'
      when not (json_valid(r.payload) and not regexp_matches(regexp_replace(r.payload, '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf|,\s*[\]}]')) then 'payload-not-json'
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
order by row_change, change, reason

-- purchases/show.sql: made of the parts of capture
