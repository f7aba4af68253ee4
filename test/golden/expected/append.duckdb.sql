-- shared/create_schema.sql: as in mirror-keyed

-- shared/create_runs.sql: as in mirror-keyed

-- shared/runs.sql: as in mirror-keyed

-- shared/states.sql: as in mirror-keyed

-- purchases/check_columns.sql: as in mirror-keyed

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

-- purchases/create_rejects.sql: as in mirror-keyed

-- purchases/create_seen.sql
create table "mixpanel"."purchases__seen" (
  row_key varchar,
  position varchar
)

-- purchases/state_insert.sql: as in mirror-keyed

-- purchases/probe.sql
-- rows whose insert time is not reached yet wait for a later run
select
  coalesce(
    (select cast(max("loaded_at") as varchar) from "main"."orders" as syncline_source where "loaded_at" <= now()),
    cast($watermark_from as varchar)
  ) as watermark_to,
  (select count(*) from "main"."orders" as syncline_source where "loaded_at" > now()) as waiting

-- purchases/capture.sql
insert into "mixpanel"."purchases__outbox_${run}" (batch, ordinal, row_change, change, row_key, row_checksum, time_ms, event, user_id, device_id, insert_id, old_insert_id, payload, reason, outcome, outcome_reason)
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."purchases__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('time-in-future') and cast($remapped as bigint) = 0
),
source_rows as (
  select syncline_source.*, md5(regexp_replace(cast(json_array(cast("order_id" as varchar), cast("ordered_at" as varchar), cast("customer_id" as varchar), cast("amount" as varchar), cast("weight" as varchar), cast("gift" as varchar), cast("shipped" as varchar), cast(epoch_us("loaded_at") as varchar), cast(to_json("tags") as varchar), cast("raw" as varchar), cast("photo" as varchar), cast("device" as varchar), cast("note" as varchar)) as varchar), '(,null)+\]$', ']')) as syncline_checksum
  from "main"."orders" as syncline_source
  where syncline_source."loaded_at" is null or case when cast($backfill as bigint) = 1 then syncline_source."loaded_at" >= cast(cast($watermark_from as varchar) as timestamptz) and syncline_source."loaded_at" < cast(cast($watermark_to as varchar) as timestamptz) and syncline_source."loaded_at" <= cast(cast($position as varchar) as timestamptz) else (cast($watermark_from as varchar) is null or syncline_source."loaded_at" > cast(cast($watermark_from as varchar) as timestamptz)) and syncline_source."loaded_at" <= cast(cast($watermark_to as varchar) as timestamptz) end
  union all
  -- older rows are read only while one of them may be tried again
  select syncline_source.*, md5(regexp_replace(cast(json_array(cast("order_id" as varchar), cast("ordered_at" as varchar), cast("customer_id" as varchar), cast("amount" as varchar), cast("weight" as varchar), cast("gift" as varchar), cast("shipped" as varchar), cast(epoch_us("loaded_at") as varchar), cast(to_json("tags") as varchar), cast("raw" as varchar), cast("photo" as varchar), cast("device" as varchar), cast("note" as varchar)) as varchar), '(,null)+\]$', ']')) as syncline_checksum
  from "main"."orders" as syncline_source
  where exists (select 1 from "mixpanel"."purchases__rejects" as j where j.row_checksum is not null)
    and syncline_source."loaded_at" is not null and case when case when cast($backfill as bigint) = 1 then syncline_source."loaded_at" >= cast(cast($watermark_from as varchar) as timestamptz) and syncline_source."loaded_at" < cast(cast($watermark_to as varchar) as timestamptz) and syncline_source."loaded_at" <= cast(cast($position as varchar) as timestamptz) else (cast($watermark_from as varchar) is null or syncline_source."loaded_at" > cast(cast($watermark_from as varchar) as timestamptz)) and syncline_source."loaded_at" <= cast(cast($watermark_to as varchar) as timestamptz) end then 0 else 1 end = 1
),
newer as (
  select syncline_row.*, syncline_checksum || ':' || cast(row_number() over (partition by syncline_checksum) as varchar) as syncline_key
  from source_rows as syncline_row
  where syncline_row."loaded_at" is null
    or case when cast($backfill as bigint) = 1 then syncline_row."loaded_at" >= cast(cast($watermark_from as varchar) as timestamptz) and syncline_row."loaded_at" < cast(cast($watermark_to as varchar) as timestamptz) and syncline_row."loaded_at" <= cast(cast($position as varchar) as timestamptz) else (cast($watermark_from as varchar) is null or syncline_row."loaded_at" > cast(cast($watermark_from as varchar) as timestamptz)) and syncline_row."loaded_at" <= cast(cast($watermark_to as varchar) as timestamptz) end
    or syncline_row.syncline_checksum in (select j.row_checksum from "mixpanel"."purchases__rejects" as j where j.row_checksum is not null)
),
changes as (
  select n.*,
    cast(null as varchar) as syncline_old_insert_id,
    case when k.row_key is null then 'insert' else 'known' end as syncline_row_change
  from newer as n
  left join known as k on k.row_key = n.syncline_key and k.row_checksum = n.syncline_checksum
  where (case when cast($backfill as bigint) = 1 then n."loaded_at" >= cast(cast($watermark_from as varchar) as timestamptz) and n."loaded_at" < cast(cast($watermark_to as varchar) as timestamptz) and n."loaded_at" <= cast(cast($position as varchar) as timestamptz) else (cast($watermark_from as varchar) is null or n."loaded_at" > cast(cast($watermark_from as varchar) as timestamptz)) and n."loaded_at" <= cast(cast($watermark_to as varchar) as timestamptz) end
    or n."loaded_at" is null
    or n.syncline_key in (select j.row_key from "mixpanel"."purchases__rejects" as j))
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

-- purchases/totals.sql: as in mirror-keyed

-- purchases/state_flip.sql: as in mirror-keyed

-- purchases/deliver_pages.sql: as in mirror-keyed

-- purchases/deliver_restart.sql: as in mirror-keyed

-- purchases/deliver_abandon.sql: as in mirror-keyed

-- purchases/deliver_outcome.sql: as in mirror-keyed

-- purchases/checkpoint.sql: as in mirror-keyed

-- purchases/check_accounts.sql: as in mirror-keyed

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
  select syncline_source.*, md5(regexp_replace(cast(json_array(cast("order_id" as varchar), cast("ordered_at" as varchar), cast("customer_id" as varchar), cast("amount" as varchar), cast("weight" as varchar), cast("gift" as varchar), cast("shipped" as varchar), cast(epoch_us("loaded_at") as varchar), cast(to_json("tags") as varchar), cast("raw" as varchar), cast("photo" as varchar), cast("device" as varchar), cast("note" as varchar)) as varchar), '(,null)+\]$', ']')) as syncline_checksum
  from "main"."orders" as syncline_source
  where syncline_source."loaded_at" is null or case when cast($backfill as bigint) = 1 then syncline_source."loaded_at" >= cast(cast($watermark_from as varchar) as timestamptz) and syncline_source."loaded_at" < cast(cast($watermark_to as varchar) as timestamptz) and syncline_source."loaded_at" <= cast(cast($position as varchar) as timestamptz) else (cast($watermark_from as varchar) is null or syncline_source."loaded_at" > cast(cast($watermark_from as varchar) as timestamptz)) and syncline_source."loaded_at" <= cast(cast($watermark_to as varchar) as timestamptz) end
  union all
  -- older rows are read only while one of them may be tried again
  select syncline_source.*, md5(regexp_replace(cast(json_array(cast("order_id" as varchar), cast("ordered_at" as varchar), cast("customer_id" as varchar), cast("amount" as varchar), cast("weight" as varchar), cast("gift" as varchar), cast("shipped" as varchar), cast(epoch_us("loaded_at") as varchar), cast(to_json("tags") as varchar), cast("raw" as varchar), cast("photo" as varchar), cast("device" as varchar), cast("note" as varchar)) as varchar), '(,null)+\]$', ']')) as syncline_checksum
  from "main"."orders" as syncline_source
  where exists (select 1 from "mixpanel"."purchases__rejects" as j where j.row_checksum is not null)
    and syncline_source."loaded_at" is not null and case when case when cast($backfill as bigint) = 1 then syncline_source."loaded_at" >= cast(cast($watermark_from as varchar) as timestamptz) and syncline_source."loaded_at" < cast(cast($watermark_to as varchar) as timestamptz) and syncline_source."loaded_at" <= cast(cast($position as varchar) as timestamptz) else (cast($watermark_from as varchar) is null or syncline_source."loaded_at" > cast(cast($watermark_from as varchar) as timestamptz)) and syncline_source."loaded_at" <= cast(cast($watermark_to as varchar) as timestamptz) end then 0 else 1 end = 1
),
newer as (
  select syncline_row.*, syncline_checksum || ':' || cast(row_number() over (partition by syncline_checksum) as varchar) as syncline_key
  from source_rows as syncline_row
  where syncline_row."loaded_at" is null
    or case when cast($backfill as bigint) = 1 then syncline_row."loaded_at" >= cast(cast($watermark_from as varchar) as timestamptz) and syncline_row."loaded_at" < cast(cast($watermark_to as varchar) as timestamptz) and syncline_row."loaded_at" <= cast(cast($position as varchar) as timestamptz) else (cast($watermark_from as varchar) is null or syncline_row."loaded_at" > cast(cast($watermark_from as varchar) as timestamptz)) and syncline_row."loaded_at" <= cast(cast($watermark_to as varchar) as timestamptz) end
    or syncline_row.syncline_checksum in (select j.row_checksum from "mixpanel"."purchases__rejects" as j where j.row_checksum is not null)
),
changes as (
  select n.*,
    cast(null as varchar) as syncline_old_insert_id,
    case when k.row_key is null then 'insert' else 'known' end as syncline_row_change
  from newer as n
  left join known as k on k.row_key = n.syncline_key and k.row_checksum = n.syncline_checksum
  where (case when cast($backfill as bigint) = 1 then n."loaded_at" >= cast(cast($watermark_from as varchar) as timestamptz) and n."loaded_at" < cast(cast($watermark_to as varchar) as timestamptz) and n."loaded_at" <= cast(cast($position as varchar) as timestamptz) else (cast($watermark_from as varchar) is null or n."loaded_at" > cast(cast($watermark_from as varchar) as timestamptz)) and n."loaded_at" <= cast(cast($watermark_to as varchar) as timestamptz) end
    or n."loaded_at" is null
    or n.syncline_key in (select j.row_key from "mixpanel"."purchases__rejects" as j))
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
settled as (
  -- rejects that have nothing to send any more; a source column named like an outer alias would hide it, so only ours are in scope
  select j.row_key, j.insert_id
  from "mixpanel"."purchases__rejects" as j
  where not exists (select 1 from records as r where r.row_key = j.row_key and r.insert_id = j.insert_id)
    and not exists (select 1 from (select syncline_row_change, syncline_key, syncline_checksum from changes) as c where c.syncline_row_change = 'known' and c.syncline_key = j.row_key and c.syncline_checksum = j.row_checksum)
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

-- purchases/preview_pending.sql: as in mirror-keyed

-- purchases/drop_ledger.sql: as in mirror-keyed

-- purchases/drop_rejects.sql: as in mirror-keyed

-- purchases/drop_seen.sql: as in mirror-keyed

-- purchases/drop_state.sql: as in mirror-keyed

-- purchases/show.sql: made of the parts of capture

-- purchases/rejects.sql: as in mirror-keyed

-- purchases/reset_rejects.sql: as in mirror-keyed

-- purchases/reset_seen.sql
delete from "mixpanel"."purchases__seen"
where exists (select 1 from "mixpanel"."purchases__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- purchases/reset_state.sql: as in mirror-keyed
