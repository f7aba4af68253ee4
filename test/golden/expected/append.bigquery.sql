-- shared/create_schema.sql: as in mirror-keyed

-- shared/create_runs.sql: as in mirror-keyed

-- shared/runs.sql: as in mirror-keyed

-- shared/states.sql: as in mirror-keyed

-- purchases/check_columns.sql: as in mirror-keyed

-- purchases/create_outbox.sql: as in mirror-keyed

-- purchases/older_rows.sql
-- asked before the capture: partitions stay unread only where what the rows are compared with is known by then
select case when exists (select 1 from `mixpanel.purchases__rejects` as j where j.row_checksum is not null) then 1 else 0 end as older

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

-- purchases/outboxes.sql: as in mirror-keyed

-- purchases/create_state.sql: as in mirror-keyed

-- purchases/create_rejects.sql: as in mirror-keyed

-- purchases/create_seen.sql
create table if not exists `mixpanel.purchases__seen` (
  row_key string,
  position string
)
-- what a run looks up by: a page of the outbox reads its batches, not all of it
cluster by row_key
;
-- it lasts, also where somebody gave the dataset a time after which its tables end
alter table `mixpanel.purchases__seen` set options (expiration_timestamp = null)

-- purchases/probe.sql
-- rows whose insert time is not reached yet wait for a later run
select
  coalesce(
    (select cast(max(`loaded_at`) as string) from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `main.orders` as syncline_source) as syncline_source where `loaded_at` <= current_timestamp() and `loaded_at` >= cast(coalesce(cast(@watermark_from as string), '0001-01-01 00:00:00+00') as timestamp)),
    cast(@watermark_from as string)
  ) as watermark_to,
  (select count(*) from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `main.orders` as syncline_source) as syncline_source where `loaded_at` > current_timestamp()) as waiting

-- purchases/capture.sql
-- the source is read here and nowhere else: what follows names the rows that changed several times
create temp table syncline_changes as
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from `mixpanel.purchases__rejects` as j
  where j.kind = 'invalid' and j.reason not in ('time-in-future') and cast(@remapped as int64) = 0
),
source_rows as (
  select syncline_source.*, to_hex(md5(rtrim(array_to_string([coalesce(cast(byte_length(cast(`order_id` as string)) as string) || ':' || cast(`order_id` as string) || ';', '~'), coalesce(cast(byte_length(cast(`ordered_at` as string)) as string) || ':' || cast(`ordered_at` as string) || ';', '~'), coalesce(cast(byte_length(`customer_id`) as string) || ':' || `customer_id` || ';', '~'), coalesce(cast(byte_length(cast(`amount` as string)) as string) || ':' || cast(`amount` as string) || ';', '~'), coalesce(cast(byte_length(if(`weight` is null, null, to_json_string(`weight`))) as string) || ':' || if(`weight` is null, null, to_json_string(`weight`)) || ';', '~'), coalesce(cast(byte_length(cast(`gift` as string)) as string) || ':' || cast(`gift` as string) || ';', '~'), coalesce(cast(byte_length(cast(`shipped` as string)) as string) || ':' || cast(`shipped` as string) || ';', '~'), coalesce(cast(byte_length(cast(unix_micros(`loaded_at`) as string)) as string) || ':' || cast(unix_micros(`loaded_at`) as string) || ';', '~'), coalesce(cast(byte_length(if(array_length(`tags`) > 0, to_json_string(`tags`), null)) as string) || ':' || if(array_length(`tags`) > 0, to_json_string(`tags`), null) || ';', '~'), coalesce(cast(byte_length(if(`raw` is null, null, to_json_string(`raw`))) as string) || ':' || if(`raw` is null, null, to_json_string(`raw`)) || ';', '~'), coalesce(cast(byte_length(to_hex(`photo`)) as string) || ':' || to_hex(`photo`) || ';', '~'), coalesce(cast(byte_length(`device`) as string) || ':' || `device` || ';', '~'), coalesce(cast(byte_length(`note`) as string) || ':' || `note` || ';', '~')], ''), '~'))) as syncline_checksum
  from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `main.orders` as syncline_source) as syncline_source
  where not cast(@backfill as int64) = 1 and (cast(@watermark_from as string) is null or syncline_source.`loaded_at` > cast(cast(@watermark_from as string) as timestamp)) and syncline_source.`loaded_at` <= cast(cast(@watermark_to as string) as timestamp)
  union all
  select syncline_source.*, to_hex(md5(rtrim(array_to_string([coalesce(cast(byte_length(cast(`order_id` as string)) as string) || ':' || cast(`order_id` as string) || ';', '~'), coalesce(cast(byte_length(cast(`ordered_at` as string)) as string) || ':' || cast(`ordered_at` as string) || ';', '~'), coalesce(cast(byte_length(`customer_id`) as string) || ':' || `customer_id` || ';', '~'), coalesce(cast(byte_length(cast(`amount` as string)) as string) || ':' || cast(`amount` as string) || ';', '~'), coalesce(cast(byte_length(if(`weight` is null, null, to_json_string(`weight`))) as string) || ':' || if(`weight` is null, null, to_json_string(`weight`)) || ';', '~'), coalesce(cast(byte_length(cast(`gift` as string)) as string) || ':' || cast(`gift` as string) || ';', '~'), coalesce(cast(byte_length(cast(`shipped` as string)) as string) || ':' || cast(`shipped` as string) || ';', '~'), coalesce(cast(byte_length(cast(unix_micros(`loaded_at`) as string)) as string) || ':' || cast(unix_micros(`loaded_at`) as string) || ';', '~'), coalesce(cast(byte_length(if(array_length(`tags`) > 0, to_json_string(`tags`), null)) as string) || ':' || if(array_length(`tags`) > 0, to_json_string(`tags`), null) || ';', '~'), coalesce(cast(byte_length(if(`raw` is null, null, to_json_string(`raw`))) as string) || ':' || if(`raw` is null, null, to_json_string(`raw`)) || ';', '~'), coalesce(cast(byte_length(to_hex(`photo`)) as string) || ':' || to_hex(`photo`) || ';', '~'), coalesce(cast(byte_length(`device`) as string) || ':' || `device` || ';', '~'), coalesce(cast(byte_length(`note`) as string) || ':' || `note` || ';', '~')], ''), '~'))) as syncline_checksum
  from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `main.orders` as syncline_source) as syncline_source
  where cast(@backfill as int64) = 1 and syncline_source.`loaded_at` >= cast(cast(@watermark_from as string) as timestamp) and syncline_source.`loaded_at` < cast(cast(@watermark_to as string) as timestamp) and syncline_source.`loaded_at` <= cast(cast(@position as string) as timestamp)
  union all
  select syncline_source.*, to_hex(md5(rtrim(array_to_string([coalesce(cast(byte_length(cast(`order_id` as string)) as string) || ':' || cast(`order_id` as string) || ';', '~'), coalesce(cast(byte_length(cast(`ordered_at` as string)) as string) || ':' || cast(`ordered_at` as string) || ';', '~'), coalesce(cast(byte_length(`customer_id`) as string) || ':' || `customer_id` || ';', '~'), coalesce(cast(byte_length(cast(`amount` as string)) as string) || ':' || cast(`amount` as string) || ';', '~'), coalesce(cast(byte_length(if(`weight` is null, null, to_json_string(`weight`))) as string) || ':' || if(`weight` is null, null, to_json_string(`weight`)) || ';', '~'), coalesce(cast(byte_length(cast(`gift` as string)) as string) || ':' || cast(`gift` as string) || ';', '~'), coalesce(cast(byte_length(cast(`shipped` as string)) as string) || ':' || cast(`shipped` as string) || ';', '~'), coalesce(cast(byte_length(cast(unix_micros(`loaded_at`) as string)) as string) || ':' || cast(unix_micros(`loaded_at`) as string) || ';', '~'), coalesce(cast(byte_length(if(array_length(`tags`) > 0, to_json_string(`tags`), null)) as string) || ':' || if(array_length(`tags`) > 0, to_json_string(`tags`), null) || ';', '~'), coalesce(cast(byte_length(if(`raw` is null, null, to_json_string(`raw`))) as string) || ':' || if(`raw` is null, null, to_json_string(`raw`)) || ';', '~'), coalesce(cast(byte_length(to_hex(`photo`)) as string) || ':' || to_hex(`photo`) || ';', '~'), coalesce(cast(byte_length(`device`) as string) || ':' || `device` || ';', '~'), coalesce(cast(byte_length(`note`) as string) || ':' || `note` || ';', '~')], ''), '~'))) as syncline_checksum
  from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `main.orders` as syncline_source) as syncline_source
  where syncline_source.`loaded_at` is null
  union all
  -- older rows are read only while one of them may be tried again
  select syncline_source.*, to_hex(md5(rtrim(array_to_string([coalesce(cast(byte_length(cast(`order_id` as string)) as string) || ':' || cast(`order_id` as string) || ';', '~'), coalesce(cast(byte_length(cast(`ordered_at` as string)) as string) || ':' || cast(`ordered_at` as string) || ';', '~'), coalesce(cast(byte_length(`customer_id`) as string) || ':' || `customer_id` || ';', '~'), coalesce(cast(byte_length(cast(`amount` as string)) as string) || ':' || cast(`amount` as string) || ';', '~'), coalesce(cast(byte_length(if(`weight` is null, null, to_json_string(`weight`))) as string) || ':' || if(`weight` is null, null, to_json_string(`weight`)) || ';', '~'), coalesce(cast(byte_length(cast(`gift` as string)) as string) || ':' || cast(`gift` as string) || ';', '~'), coalesce(cast(byte_length(cast(`shipped` as string)) as string) || ':' || cast(`shipped` as string) || ';', '~'), coalesce(cast(byte_length(cast(unix_micros(`loaded_at`) as string)) as string) || ':' || cast(unix_micros(`loaded_at`) as string) || ';', '~'), coalesce(cast(byte_length(if(array_length(`tags`) > 0, to_json_string(`tags`), null)) as string) || ':' || if(array_length(`tags`) > 0, to_json_string(`tags`), null) || ';', '~'), coalesce(cast(byte_length(if(`raw` is null, null, to_json_string(`raw`))) as string) || ':' || if(`raw` is null, null, to_json_string(`raw`)) || ';', '~'), coalesce(cast(byte_length(to_hex(`photo`)) as string) || ':' || to_hex(`photo`) || ';', '~'), coalesce(cast(byte_length(`device`) as string) || ':' || `device` || ';', '~'), coalesce(cast(byte_length(`note`) as string) || ':' || `note` || ';', '~')], ''), '~'))) as syncline_checksum
  from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `main.orders` as syncline_source) as syncline_source
  where syncline_source.`loaded_at` >= cast(case when cast(@older as int64) = 1 then '0001-01-01 00:00:00+00' else '9999-12-31 00:00:00+00' end as timestamp)
    and syncline_source.`loaded_at` is not null and case when case when cast(@backfill as int64) = 1 then syncline_source.`loaded_at` >= cast(cast(@watermark_from as string) as timestamp) and syncline_source.`loaded_at` < cast(cast(@watermark_to as string) as timestamp) and syncline_source.`loaded_at` <= cast(cast(@position as string) as timestamp) else (cast(@watermark_from as string) is null or syncline_source.`loaded_at` > cast(cast(@watermark_from as string) as timestamp)) and syncline_source.`loaded_at` <= cast(cast(@watermark_to as string) as timestamp) end then 0 else 1 end = 1
),
newer as (
  select syncline_row.*, syncline_checksum || ':' || cast(row_number() over (partition by syncline_checksum) as string) as syncline_key
  from source_rows as syncline_row
  where syncline_row.`loaded_at` is null
    or case when cast(@backfill as int64) = 1 then syncline_row.`loaded_at` >= cast(cast(@watermark_from as string) as timestamp) and syncline_row.`loaded_at` < cast(cast(@watermark_to as string) as timestamp) and syncline_row.`loaded_at` <= cast(cast(@position as string) as timestamp) else (cast(@watermark_from as string) is null or syncline_row.`loaded_at` > cast(cast(@watermark_from as string) as timestamp)) and syncline_row.`loaded_at` <= cast(cast(@watermark_to as string) as timestamp) end
    or syncline_row.syncline_checksum in (select j.row_checksum from `mixpanel.purchases__rejects` as j where j.row_checksum is not null)
),
changes as (
  select n.*,
    cast(null as string) as syncline_old_insert_id,
    case when k.row_key is null then 'insert' else 'known' end as syncline_row_change
  from newer as n
  left join known as k on k.row_key = n.syncline_key and k.row_checksum = n.syncline_checksum
  where (case when cast(@backfill as int64) = 1 then n.`loaded_at` >= cast(cast(@watermark_from as string) as timestamp) and n.`loaded_at` < cast(cast(@watermark_to as string) as timestamp) and n.`loaded_at` <= cast(cast(@position as string) as timestamp) else (cast(@watermark_from as string) is null or n.`loaded_at` > cast(cast(@watermark_from as string) as timestamp)) and n.`loaded_at` <= cast(cast(@watermark_to as string) as timestamp) end
    or n.`loaded_at` is null
    or n.syncline_key in (select j.row_key from `mixpanel.purchases__rejects` as j))
)

select * from changes;
insert into `mixpanel.purchases__outbox_${run}` (batch, ordinal, row_change, change, row_key, row_checksum, time_ms, event, user_id, device_id, insert_id, old_insert_id, payload, reason, outcome, outcome_reason)
with changes as (
  select * from syncline_changes
)
,
identified as (
  select syncline_change.*,
    unix_millis(safe.timestamp(`ordered_at`, 'UTC')) as syncline_time_ms,
    'Purchase Completed' as syncline_event,
    `customer_id` as syncline_user_id,
    cast(null as string) as syncline_device_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, to_hex(md5(coalesce(cast(length(cast(@id_space as string)) as string) || ':' || cast(@id_space as string), '~') || coalesce(cast(length(cast(cast(@epoch as int64) as string)) as string) || ':' || cast(cast(@epoch as int64) as string), '~') || coalesce(cast(length(syncline_key) as string) || ':' || syncline_key, '~') || coalesce(cast(length(syncline_event) as string) || ':' || syncline_event, '~') || coalesce(cast(length(cast(syncline_time_ms as string)) as string) || ':' || cast(syncline_time_ms as string), '~') || coalesce(cast(length(syncline_user_id) as string) || ':' || syncline_user_id, '~') || coalesce(cast(length(syncline_device_id) as string) || ':' || syncline_device_id, '~'))) as syncline_insert_id
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
    case when syncline_image.`loaded_at` is null then 1 else 0 end as insert_time_missing,
    array_to_string(['{', '"event":', if(coalesce(syncline_event, '') is null, null, to_json_string(coalesce(syncline_event, ''))), ',"properties":', array_to_string(['{', '"time":', coalesce(cast(syncline_time_ms as string), 'null'), ',"distinct_id":', if(coalesce(syncline_user_id, '') is null, null, to_json_string(coalesce(syncline_user_id, ''))), ',"$insert_id":', if(syncline_insert_id is null, null, to_json_string(syncline_insert_id)), ',"$user_id":' || if(syncline_user_id is null, null, to_json_string(syncline_user_id)), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"bigquery"', ',"order_id":' || cast(`order_id` as string), ',"amount":' || cast(`amount` as string), ',"weight":' || case when `weight` is not null and not is_nan(`weight`) and not is_inf(`weight`) then to_json_string(`weight`) end, ',"gift":' || cast(`gift` as string), ',"shipped":' || '"' || cast(`shipped` as string) || '"', ',"tags":' || if(array_length(`tags`) > 0, to_json_string(`tags`), null), ',"raw":' || nullif(to_json_string(`raw`), 'null'), ',"photo":' || '"' || to_base64(`photo`) || '"', ',"device":' || if(cast(`device` as string) is null, null, to_json_string(cast(`device` as string))), ',"note":' || if(cast(`note` as string) is null, null, to_json_string(cast(`note` as string))), '}'], ''), '}'], '') as payload
  from images as syncline_image
),
judged as (
  select r.*,
    case
      when r.insert_time_missing = 1 then 'insert-time-missing'
      when r.time_ms is null then 'time-missing'
      when r.time_ms < 31536000000 then 'time-before-1971'
      when r.time_ms > unix_millis(current_timestamp()) + 3600000 then 'time-in-future'
      when r.event is null or trim(r.event) = '' then 'event-missing'
      when lower(trim(r.user_id)) in ('00000000-0000-0000-0000-000000000000', 'anon', 'anonymous', 'nil', 'none', 'null', 'n/a', 'na', 'undefined', 'unknown', '<nil>', '0', '-1', 'true', 'false', '[]', '{}') then 'user-banned'
      when byte_length(r.payload) > 1000000 then 'too-large'
      when not (safe.parse_json(r.payload, wide_number_mode => 'round') is not null) then 'payload-not-json'
    end as reason
  from records as r
)
,
settled as (
  -- rejects that have nothing to send any more; a source column named like an outer alias would hide it, so only ours are in scope
  select j.row_key, j.insert_id
  from `mixpanel.purchases__rejects` as j
  where not exists (select 1 from records as r where r.row_key = j.row_key and r.insert_id = j.insert_id)
    and not exists (select 1 from (select syncline_row_change, syncline_key, syncline_checksum from changes) as c where c.syncline_row_change = 'known' and c.syncline_key = j.row_key and c.syncline_checksum = j.row_checksum)
)
,
-- a window over all rows would run on one machine: each bucket counts its own, and starts where those before it end
placed as (
  select j.*,
0 as syncline_endpoint,
    mod(farm_fingerprint(coalesce(j.row_key, '')), 500) as syncline_bucket,
    case when j.reason is null then 1 else 0 end as syncline_sent,
    case when j.reason is null then byte_length(j.payload) else 0 end as syncline_size
  from judged as j
),
numbered as (
  select p.*,
    row_number() over (partition by p.syncline_endpoint, p.syncline_bucket order by p.row_key, p.insert_id) as syncline_place,
    sum(p.syncline_sent) over (partition by p.syncline_endpoint, p.syncline_bucket order by p.row_key, p.insert_id rows unbounded preceding) as syncline_count,
    sum(p.syncline_size) over (partition by p.syncline_endpoint, p.syncline_bucket order by p.row_key, p.insert_id rows unbounded preceding) as syncline_bytes
  from placed as p
),
buckets as (
  select t.syncline_endpoint, t.syncline_bucket,
    sum(t.total) over (order by t.syncline_endpoint, t.syncline_bucket rows unbounded preceding) - t.total as start_place,
    sum(t.sent) over (partition by t.syncline_endpoint order by t.syncline_bucket rows unbounded preceding) - t.sent as start_count,
    sum(t.size) over (partition by t.syncline_endpoint order by t.syncline_bucket rows unbounded preceding) - t.size as start_bytes
  from (
    select p.syncline_endpoint, p.syncline_bucket, count(*) as total, sum(p.syncline_sent) as sent, sum(p.syncline_size) as size
    from placed as p
    group by p.syncline_endpoint, p.syncline_bucket
  ) as t
)
-- a job may be told to have failed after this was written: then it is not written again
select w.*
from (
select
  -- both quotients only grow, so equal sums are equal pairs: at most 2000 records and 7000000 bytes before the last record
  case when j.reason is null then cast(floor((b.start_count + j.syncline_count - 1) / 2000.0) + floor((b.start_bytes + j.syncline_bytes - j.syncline_size) / 7000000.0) as int64) end,
  b.start_place + j.syncline_place, j.row_change, j.change, j.row_key, j.row_checksum, time_ms, event, user_id, device_id, j.insert_id, j.old_insert_id, j.payload, j.reason, cast(null as string), cast(null as string)
from numbered as j
join buckets as b on b.syncline_endpoint = j.syncline_endpoint and b.syncline_bucket = j.syncline_bucket
union all
select null, null, 'settled', 'settled', t.row_key, null, null, null, null, null, t.insert_id, null, null, null, null, null
from settled as t
) as w
where not exists (select 1 from `mixpanel.purchases__outbox_${run}` as e)

-- purchases/totals.sql: as in mirror-keyed

-- purchases/state_flip.sql: as in mirror-keyed

-- purchases/deliver_pages.sql: as in mirror-keyed

-- purchases/deliver_restart.sql: as in mirror-keyed

-- purchases/deliver_abandon.sql: as in mirror-keyed

-- purchases/deliver_outcome.sql: as in mirror-keyed

-- purchases/checkpoint.sql: as in mirror-keyed

-- purchases/check_accounts.sql: as in mirror-keyed

-- purchases/rejects_merge.sql: as in mirror-keyed

-- purchases/state_commit.sql: as in mirror-keyed

-- purchases/drop_outbox.sql: as in mirror-keyed

-- purchases/run_read.sql: as in mirror-keyed

-- purchases/excess.sql: as in mirror-keyed

-- purchases/preview_initial.sql: made of the parts of capture

-- purchases/preview.sql
-- the source is read here and nowhere else: what follows names the rows that changed several times
create temp table syncline_changes as
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from `mixpanel.purchases__rejects` as j
  where j.kind = 'invalid' and j.reason not in ('time-in-future') and cast(@remapped as int64) = 0
),
source_rows as (
  select syncline_source.*, to_hex(md5(rtrim(array_to_string([coalesce(cast(byte_length(cast(`order_id` as string)) as string) || ':' || cast(`order_id` as string) || ';', '~'), coalesce(cast(byte_length(cast(`ordered_at` as string)) as string) || ':' || cast(`ordered_at` as string) || ';', '~'), coalesce(cast(byte_length(`customer_id`) as string) || ':' || `customer_id` || ';', '~'), coalesce(cast(byte_length(cast(`amount` as string)) as string) || ':' || cast(`amount` as string) || ';', '~'), coalesce(cast(byte_length(if(`weight` is null, null, to_json_string(`weight`))) as string) || ':' || if(`weight` is null, null, to_json_string(`weight`)) || ';', '~'), coalesce(cast(byte_length(cast(`gift` as string)) as string) || ':' || cast(`gift` as string) || ';', '~'), coalesce(cast(byte_length(cast(`shipped` as string)) as string) || ':' || cast(`shipped` as string) || ';', '~'), coalesce(cast(byte_length(cast(unix_micros(`loaded_at`) as string)) as string) || ':' || cast(unix_micros(`loaded_at`) as string) || ';', '~'), coalesce(cast(byte_length(if(array_length(`tags`) > 0, to_json_string(`tags`), null)) as string) || ':' || if(array_length(`tags`) > 0, to_json_string(`tags`), null) || ';', '~'), coalesce(cast(byte_length(if(`raw` is null, null, to_json_string(`raw`))) as string) || ':' || if(`raw` is null, null, to_json_string(`raw`)) || ';', '~'), coalesce(cast(byte_length(to_hex(`photo`)) as string) || ':' || to_hex(`photo`) || ';', '~'), coalesce(cast(byte_length(`device`) as string) || ':' || `device` || ';', '~'), coalesce(cast(byte_length(`note`) as string) || ':' || `note` || ';', '~')], ''), '~'))) as syncline_checksum
  from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `main.orders` as syncline_source) as syncline_source
  where not cast(@backfill as int64) = 1 and (cast(@watermark_from as string) is null or syncline_source.`loaded_at` > cast(cast(@watermark_from as string) as timestamp)) and syncline_source.`loaded_at` <= cast(cast(@watermark_to as string) as timestamp)
  union all
  select syncline_source.*, to_hex(md5(rtrim(array_to_string([coalesce(cast(byte_length(cast(`order_id` as string)) as string) || ':' || cast(`order_id` as string) || ';', '~'), coalesce(cast(byte_length(cast(`ordered_at` as string)) as string) || ':' || cast(`ordered_at` as string) || ';', '~'), coalesce(cast(byte_length(`customer_id`) as string) || ':' || `customer_id` || ';', '~'), coalesce(cast(byte_length(cast(`amount` as string)) as string) || ':' || cast(`amount` as string) || ';', '~'), coalesce(cast(byte_length(if(`weight` is null, null, to_json_string(`weight`))) as string) || ':' || if(`weight` is null, null, to_json_string(`weight`)) || ';', '~'), coalesce(cast(byte_length(cast(`gift` as string)) as string) || ':' || cast(`gift` as string) || ';', '~'), coalesce(cast(byte_length(cast(`shipped` as string)) as string) || ':' || cast(`shipped` as string) || ';', '~'), coalesce(cast(byte_length(cast(unix_micros(`loaded_at`) as string)) as string) || ':' || cast(unix_micros(`loaded_at`) as string) || ';', '~'), coalesce(cast(byte_length(if(array_length(`tags`) > 0, to_json_string(`tags`), null)) as string) || ':' || if(array_length(`tags`) > 0, to_json_string(`tags`), null) || ';', '~'), coalesce(cast(byte_length(if(`raw` is null, null, to_json_string(`raw`))) as string) || ':' || if(`raw` is null, null, to_json_string(`raw`)) || ';', '~'), coalesce(cast(byte_length(to_hex(`photo`)) as string) || ':' || to_hex(`photo`) || ';', '~'), coalesce(cast(byte_length(`device`) as string) || ':' || `device` || ';', '~'), coalesce(cast(byte_length(`note`) as string) || ':' || `note` || ';', '~')], ''), '~'))) as syncline_checksum
  from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `main.orders` as syncline_source) as syncline_source
  where cast(@backfill as int64) = 1 and syncline_source.`loaded_at` >= cast(cast(@watermark_from as string) as timestamp) and syncline_source.`loaded_at` < cast(cast(@watermark_to as string) as timestamp) and syncline_source.`loaded_at` <= cast(cast(@position as string) as timestamp)
  union all
  select syncline_source.*, to_hex(md5(rtrim(array_to_string([coalesce(cast(byte_length(cast(`order_id` as string)) as string) || ':' || cast(`order_id` as string) || ';', '~'), coalesce(cast(byte_length(cast(`ordered_at` as string)) as string) || ':' || cast(`ordered_at` as string) || ';', '~'), coalesce(cast(byte_length(`customer_id`) as string) || ':' || `customer_id` || ';', '~'), coalesce(cast(byte_length(cast(`amount` as string)) as string) || ':' || cast(`amount` as string) || ';', '~'), coalesce(cast(byte_length(if(`weight` is null, null, to_json_string(`weight`))) as string) || ':' || if(`weight` is null, null, to_json_string(`weight`)) || ';', '~'), coalesce(cast(byte_length(cast(`gift` as string)) as string) || ':' || cast(`gift` as string) || ';', '~'), coalesce(cast(byte_length(cast(`shipped` as string)) as string) || ':' || cast(`shipped` as string) || ';', '~'), coalesce(cast(byte_length(cast(unix_micros(`loaded_at`) as string)) as string) || ':' || cast(unix_micros(`loaded_at`) as string) || ';', '~'), coalesce(cast(byte_length(if(array_length(`tags`) > 0, to_json_string(`tags`), null)) as string) || ':' || if(array_length(`tags`) > 0, to_json_string(`tags`), null) || ';', '~'), coalesce(cast(byte_length(if(`raw` is null, null, to_json_string(`raw`))) as string) || ':' || if(`raw` is null, null, to_json_string(`raw`)) || ';', '~'), coalesce(cast(byte_length(to_hex(`photo`)) as string) || ':' || to_hex(`photo`) || ';', '~'), coalesce(cast(byte_length(`device`) as string) || ':' || `device` || ';', '~'), coalesce(cast(byte_length(`note`) as string) || ':' || `note` || ';', '~')], ''), '~'))) as syncline_checksum
  from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `main.orders` as syncline_source) as syncline_source
  where syncline_source.`loaded_at` is null
  union all
  -- older rows are read only while one of them may be tried again
  select syncline_source.*, to_hex(md5(rtrim(array_to_string([coalesce(cast(byte_length(cast(`order_id` as string)) as string) || ':' || cast(`order_id` as string) || ';', '~'), coalesce(cast(byte_length(cast(`ordered_at` as string)) as string) || ':' || cast(`ordered_at` as string) || ';', '~'), coalesce(cast(byte_length(`customer_id`) as string) || ':' || `customer_id` || ';', '~'), coalesce(cast(byte_length(cast(`amount` as string)) as string) || ':' || cast(`amount` as string) || ';', '~'), coalesce(cast(byte_length(if(`weight` is null, null, to_json_string(`weight`))) as string) || ':' || if(`weight` is null, null, to_json_string(`weight`)) || ';', '~'), coalesce(cast(byte_length(cast(`gift` as string)) as string) || ':' || cast(`gift` as string) || ';', '~'), coalesce(cast(byte_length(cast(`shipped` as string)) as string) || ':' || cast(`shipped` as string) || ';', '~'), coalesce(cast(byte_length(cast(unix_micros(`loaded_at`) as string)) as string) || ':' || cast(unix_micros(`loaded_at`) as string) || ';', '~'), coalesce(cast(byte_length(if(array_length(`tags`) > 0, to_json_string(`tags`), null)) as string) || ':' || if(array_length(`tags`) > 0, to_json_string(`tags`), null) || ';', '~'), coalesce(cast(byte_length(if(`raw` is null, null, to_json_string(`raw`))) as string) || ':' || if(`raw` is null, null, to_json_string(`raw`)) || ';', '~'), coalesce(cast(byte_length(to_hex(`photo`)) as string) || ':' || to_hex(`photo`) || ';', '~'), coalesce(cast(byte_length(`device`) as string) || ':' || `device` || ';', '~'), coalesce(cast(byte_length(`note`) as string) || ':' || `note` || ';', '~')], ''), '~'))) as syncline_checksum
  from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `main.orders` as syncline_source) as syncline_source
  where syncline_source.`loaded_at` >= cast(case when cast(@older as int64) = 1 then '0001-01-01 00:00:00+00' else '9999-12-31 00:00:00+00' end as timestamp)
    and syncline_source.`loaded_at` is not null and case when case when cast(@backfill as int64) = 1 then syncline_source.`loaded_at` >= cast(cast(@watermark_from as string) as timestamp) and syncline_source.`loaded_at` < cast(cast(@watermark_to as string) as timestamp) and syncline_source.`loaded_at` <= cast(cast(@position as string) as timestamp) else (cast(@watermark_from as string) is null or syncline_source.`loaded_at` > cast(cast(@watermark_from as string) as timestamp)) and syncline_source.`loaded_at` <= cast(cast(@watermark_to as string) as timestamp) end then 0 else 1 end = 1
),
newer as (
  select syncline_row.*, syncline_checksum || ':' || cast(row_number() over (partition by syncline_checksum) as string) as syncline_key
  from source_rows as syncline_row
  where syncline_row.`loaded_at` is null
    or case when cast(@backfill as int64) = 1 then syncline_row.`loaded_at` >= cast(cast(@watermark_from as string) as timestamp) and syncline_row.`loaded_at` < cast(cast(@watermark_to as string) as timestamp) and syncline_row.`loaded_at` <= cast(cast(@position as string) as timestamp) else (cast(@watermark_from as string) is null or syncline_row.`loaded_at` > cast(cast(@watermark_from as string) as timestamp)) and syncline_row.`loaded_at` <= cast(cast(@watermark_to as string) as timestamp) end
    or syncline_row.syncline_checksum in (select j.row_checksum from `mixpanel.purchases__rejects` as j where j.row_checksum is not null)
),
changes as (
  select n.*,
    cast(null as string) as syncline_old_insert_id,
    case when k.row_key is null then 'insert' else 'known' end as syncline_row_change
  from newer as n
  left join known as k on k.row_key = n.syncline_key and k.row_checksum = n.syncline_checksum
  where (case when cast(@backfill as int64) = 1 then n.`loaded_at` >= cast(cast(@watermark_from as string) as timestamp) and n.`loaded_at` < cast(cast(@watermark_to as string) as timestamp) and n.`loaded_at` <= cast(cast(@position as string) as timestamp) else (cast(@watermark_from as string) is null or n.`loaded_at` > cast(cast(@watermark_from as string) as timestamp)) and n.`loaded_at` <= cast(cast(@watermark_to as string) as timestamp) end
    or n.`loaded_at` is null
    or n.syncline_key in (select j.row_key from `mixpanel.purchases__rejects` as j))
)

select * from changes;
with changes as (
  select * from syncline_changes
)
,
identified as (
  select syncline_change.*,
    unix_millis(safe.timestamp(`ordered_at`, 'UTC')) as syncline_time_ms,
    'Purchase Completed' as syncline_event,
    `customer_id` as syncline_user_id,
    cast(null as string) as syncline_device_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, to_hex(md5(coalesce(cast(length(cast(@id_space as string)) as string) || ':' || cast(@id_space as string), '~') || coalesce(cast(length(cast(cast(@epoch as int64) as string)) as string) || ':' || cast(cast(@epoch as int64) as string), '~') || coalesce(cast(length(syncline_key) as string) || ':' || syncline_key, '~') || coalesce(cast(length(syncline_event) as string) || ':' || syncline_event, '~') || coalesce(cast(length(cast(syncline_time_ms as string)) as string) || ':' || cast(syncline_time_ms as string), '~') || coalesce(cast(length(syncline_user_id) as string) || ':' || syncline_user_id, '~') || coalesce(cast(length(syncline_device_id) as string) || ':' || syncline_device_id, '~'))) as syncline_insert_id
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
    case when syncline_image.`loaded_at` is null then 1 else 0 end as insert_time_missing,
    case when `order_id` >= 9007199254740992e0 or `order_id` <= -9007199254740992e0 or `amount` >= 9007199254740992e0 or `amount` <= -9007199254740992e0 then 1 else 0 end as inexact,
    array_to_string(['{', '"event":', if(coalesce(syncline_event, '') is null, null, to_json_string(coalesce(syncline_event, ''))), ',"properties":', array_to_string(['{', '"time":', coalesce(cast(syncline_time_ms as string), 'null'), ',"distinct_id":', if(coalesce(syncline_user_id, '') is null, null, to_json_string(coalesce(syncline_user_id, ''))), ',"$insert_id":', if(syncline_insert_id is null, null, to_json_string(syncline_insert_id)), ',"$user_id":' || if(syncline_user_id is null, null, to_json_string(syncline_user_id)), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"bigquery"', ',"order_id":' || cast(`order_id` as string), ',"amount":' || cast(`amount` as string), ',"weight":' || case when `weight` is not null and not is_nan(`weight`) and not is_inf(`weight`) then to_json_string(`weight`) end, ',"gift":' || cast(`gift` as string), ',"shipped":' || '"' || cast(`shipped` as string) || '"', ',"tags":' || if(array_length(`tags`) > 0, to_json_string(`tags`), null), ',"raw":' || nullif(to_json_string(`raw`), 'null'), ',"photo":' || '"' || to_base64(`photo`) || '"', ',"device":' || if(cast(`device` as string) is null, null, to_json_string(cast(`device` as string))), ',"note":' || if(cast(`note` as string) is null, null, to_json_string(cast(`note` as string))), '}'], ''), '}'], '') as payload
  from images as syncline_image
),
judged as (
  select r.*,
    case
      when r.insert_time_missing = 1 then 'insert-time-missing'
      when r.time_ms is null then 'time-missing'
      when r.time_ms < 31536000000 then 'time-before-1971'
      when r.time_ms > unix_millis(current_timestamp()) + 3600000 then 'time-in-future'
      when r.event is null or trim(r.event) = '' then 'event-missing'
      when lower(trim(r.user_id)) in ('00000000-0000-0000-0000-000000000000', 'anon', 'anonymous', 'nil', 'none', 'null', 'n/a', 'na', 'undefined', 'unknown', '<nil>', '0', '-1', 'true', 'false', '[]', '{}') then 'user-banned'
      when byte_length(r.payload) > 1000000 then 'too-large'
      when not (safe.parse_json(r.payload, wide_number_mode => 'round') is not null) then 'payload-not-json'
    end as reason
  from records as r
)
,
settled as (
  -- rejects that have nothing to send any more; a source column named like an outer alias would hide it, so only ours are in scope
  select j.row_key, j.insert_id
  from `mixpanel.purchases__rejects` as j
  where not exists (select 1 from records as r where r.row_key = j.row_key and r.insert_id = j.insert_id)
    and not exists (select 1 from (select syncline_row_change, syncline_key, syncline_checksum from changes) as c where c.syncline_row_change = 'known' and c.syncline_key = j.row_key and c.syncline_checksum = j.row_checksum)
)
,
measured as (
  select j.row_change, j.change, j.reason, j.row_key, j.row_checksum, j.insert_id, j.old_insert_id, byte_length(j.payload) as bytes, 1 as billable, j.inexact
  from judged as j
)
select row_change, change, reason, count(*) as records, count(distinct row_key) as row_count, sum(billable) as billable, coalesce(sum(bytes), 0) as bytes,
  count(distinct case when inexact = 1 then row_key end) as inexact
from measured
group by row_change, change, reason
order by row_change, change, reason

-- purchases/preview_pending.sql: as in mirror-keyed

-- purchases/explain.sql
-- what a run reads; nothing is executed
select *
from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `main.orders` as syncline_source) as syncline_source
where (not cast(@backfill as int64) = 1 and (cast(@watermark_from as string) is null or syncline_source.`loaded_at` > cast(cast(@watermark_from as string) as timestamp)) and syncline_source.`loaded_at` <= cast(cast(@watermark_to as string) as timestamp)) or (cast(@backfill as int64) = 1 and syncline_source.`loaded_at` >= cast(cast(@watermark_from as string) as timestamp) and syncline_source.`loaded_at` < cast(cast(@watermark_to as string) as timestamp) and syncline_source.`loaded_at` <= cast(cast(@position as string) as timestamp)) or (syncline_source.`loaded_at` is null) or syncline_source.`loaded_at` >= cast(case when cast(@older as int64) = 1 then '0001-01-01 00:00:00+00' else '9999-12-31 00:00:00+00' end as timestamp)

-- purchases/drop_ledger.sql: as in mirror-keyed

-- purchases/drop_rejects.sql: as in mirror-keyed

-- purchases/drop_seen.sql: as in mirror-keyed

-- purchases/drop_state.sql: as in mirror-keyed

-- purchases/show.sql: made of the parts of capture

-- purchases/rejects.sql: as in mirror-keyed

-- purchases/reset_rejects.sql: as in mirror-keyed

-- purchases/reset_seen.sql
delete from `mixpanel.purchases__seen`
where exists (select 1 from `mixpanel.purchases__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

-- purchases/reset_state.sql: as in mirror-keyed
