-- shared/create_schema.sql
-- made where the job runs, which has to be where the sources are; nothing in it expires by itself
create schema if not exists `mixpanel`
options (description = 'State and ledgers of syncline. What is deleted here is sent to Mixpanel again.', max_time_travel_hours = 48)

-- shared/create_runs.sql
create table if not exists `mixpanel.runs` (
  project string,
  target string,
  sync string,
  run int64,
  finished_ms int64,
  captured_inserts int64,
  captured_updates int64,
  captured_deletes int64,
  attempted_inserts int64,
  attempted_updates int64,
  attempted_deletes int64,
  accepted_inserts int64,
  accepted_updates int64,
  accepted_deletes int64,
  refused int64,
  invalid int64,
  billable int64
)
;
-- it lasts, also where somebody gave the dataset a time after which its tables end
alter table `mixpanel.runs` set options (expiration_timestamp = null)

-- shared/runs.sql
select sync, run, finished_ms, captured_inserts, captured_updates, captured_deletes, attempted_inserts, attempted_updates, attempted_deletes, accepted_inserts, accepted_updates, accepted_deletes, refused, invalid, billable
from (
  select r.*, row_number() over (partition by r.sync order by r.finished_ms desc, r.run desc) as recency
  from `mixpanel.runs` as r
) as r
where recency <= 5
order by finished_ms desc, sync, run desc

-- shared/states.sql
-- every sync that has tables here, whether the project still declares it or not, and whether its state is one of them
select t.name, max(t.has_state) as has_state
from (
  select s.name, 1 as has_state from (select left(table_name, length(table_name) - 7) as name from `mixpanel`.INFORMATION_SCHEMA.TABLES where ends_with(table_name, '__state')) as s
  union all
  select o.name, 0 from (select left(table_name, length(table_name) - 8) as name from `mixpanel`.INFORMATION_SCHEMA.TABLES where ends_with(table_name, '__ledger')) as o
  union all
  select o.name, 0 from (select left(table_name, length(table_name) - 9) as name from `mixpanel`.INFORMATION_SCHEMA.TABLES where ends_with(table_name, '__rejects')) as o
  union all
  select o.name, 0 from (select left(table_name, length(table_name) - 6) as name from `mixpanel`.INFORMATION_SCHEMA.TABLES where ends_with(table_name, '__seen')) as o
  union all
  select left(o.name, greatest(strpos(o.name, '__outbox_') - 1, 0)), 0 from (select left(table_name, length(table_name) - 0) as name from `mixpanel`.INFORMATION_SCHEMA.TABLES where ends_with(table_name, '')) as o where strpos(o.name, '__outbox_') > 1
) as t
group by t.name
order by t.name

-- purchases/check_columns.sql
with source_columns as (select column_name as name, data_type as native, case when is_partitioning_column = 'YES' then 1 else 0 end as is_partition from `main`.INFORMATION_SCHEMA.COLUMNS where table_name = 'orders' and is_hidden = 'NO' order by ordinal_position)
select case when f.n = 0 then 'main.orders does not exist, or may not be read: check `relation:`' else 'column `' || w.name || case when c.name is null then '` is missing' else '` is now ' || c.native || ', the lock says ' || w.native end end as violation
from (
  select 'order_id' as name, 'INT64' as native union all
  select 'ordered_at' as name, 'DATETIME' as native union all
  select 'customer_id' as name, 'STRING' as native union all
  select 'amount' as name, 'NUMERIC(9, 2)' as native union all
  select 'weight' as name, 'FLOAT64' as native union all
  select 'gift' as name, 'BOOL' as native union all
  select 'shipped' as name, 'DATE' as native union all
  select 'loaded_at' as name, 'TIMESTAMP' as native union all
  select 'tags' as name, 'ARRAY<STRING>' as native union all
  select 'raw' as name, 'JSON' as native union all
  select 'photo' as name, 'BYTES' as native union all
  select 'device' as name, 'STRING' as native union all
  select 'note' as name, 'STRING' as native
) as w
cross join (select count(*) as n from source_columns) as f
left join source_columns as c on c.name = w.name
where c.name is null or c.native <> w.native

-- purchases/check_null_key.sql
select 'a row has no value in its key' as violation
from `mixpanel.purchases__outbox_${run}`
where row_key is null
limit 1

-- purchases/check_twin_keys.sql
-- a twin that equals the ledger is not captured, so keys that the source has more than once are looked up among the captured
select 'key ' || k.row_key || ' occurs ' || cast(k.occurrences as string) || ' times' as violation
from (
  select n.syncline_key as row_key, count(*) as occurrences
  from (select cast(`order_id` as string) as syncline_key from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `main.orders` as syncline_source) as syncline_source) as n
  where exists (select 1 from `mixpanel.purchases__outbox_${run}` as o where o.row_checksum is not null)
  group by n.syncline_key
  having count(*) > 1
) as k
where exists (select 1 from `mixpanel.purchases__outbox_${run}` as o where o.row_checksum is not null and o.row_key = k.row_key)
union all
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as string) || ' times' as violation
from `mixpanel.purchases__outbox_${run}` as o
where o.row_checksum is not null
  -- rows without an id are named by their content, and may all be equal
  and (o.reason is null or o.reason <> 'id-missing')
group by o.row_key
having count(*) > 1
limit 5

-- purchases/check_max_deletes.sql
select 'deletes: ' || cast(d.deletes as string) || ' of ' || cast(l.shown as string) || ' rows' as violation
from (select count(*) as deletes from `mixpanel.purchases__outbox_${run}` where row_change = 'delete' and old_insert_id is not null) as d
cross join (select count(*) as shown from `mixpanel.purchases__ledger`) as l
where d.deletes > coalesce(cast(@allow_max_deletes as int64), greatest(l.shown * 10 / 100.0, 100))

-- purchases/check_on_empty_source.sql
select 'the source is empty and Mixpanel shows ' || cast(l.shown as string) || ' rows' as violation
from (select count(*) as shown from `mixpanel.purchases__ledger`) as l
cross join (select count(*) as deletes from `mixpanel.purchases__outbox_${run}` where row_change = 'delete' and old_insert_id is not null) as d
where l.shown > 0 and d.deletes = l.shown and not exists (select 1 from `mixpanel.purchases__outbox_${run}` where change in ('insert', 'update'))
  -- a reject that no record of this run touches is an invalid row that is still there
  and not exists (
    select 1 from `mixpanel.purchases__rejects` as j
    where j.kind = 'invalid' and not exists (select 1 from `mixpanel.purchases__outbox_${run}` as o where o.row_key = j.row_key and o.insert_id = j.insert_id)
  )
  and cast(@allow_on_empty_source as int64) is null

-- purchases/create_outbox.sql
create table `mixpanel.purchases__outbox_${run}` (
  batch int64,
  ordinal int64,
  row_change string,
  change string,
  row_key string,
  row_checksum string,
  time_ms int64,
  event string,
  user_id string,
  device_id string,
  insert_id string,
  old_insert_id string,
  payload string,
  reason string,
  outcome string,
  outcome_reason string
)
-- what a run looks up by: a page of the outbox reads its batches, not all of it
cluster by batch, ordinal
-- a run that is interrupted is finished from it, also where somebody gave the dataset a time after which its tables end
options (expiration_timestamp = timestamp_add(current_timestamp(), interval 3650 day))

-- purchases/run_record.sql
insert into `mixpanel.runs` (project, target, sync, run, finished_ms, captured_inserts, captured_updates, captured_deletes, attempted_inserts, attempted_updates, attempted_deletes, accepted_inserts, accepted_updates, accepted_deletes, refused, invalid, billable)
select 'shop', 'dev', 'purchases', cast(@run as int64), unix_millis(current_timestamp()),
  count(case when o.change = 'insert' then 1 end),
  count(case when o.change = 'update' then 1 end),
  count(case when o.change = 'delete' then 1 end),
  count(case when o.change = 'insert' and o.reason is null and cast(@adopted as int64) = 0 then 1 end),
  count(case when o.change = 'update' and o.reason is null then 1 end),
  count(case when o.change = 'delete' and o.reason is null then 1 end),
  count(case when o.change = 'insert' and o.reason is null and o.outcome is null and cast(@adopted as int64) = 0 then 1 end),
  count(case when o.change = 'update' and o.reason is null and o.outcome is null then 1 end),
  count(case when o.change = 'delete' and o.reason is null and o.outcome is null then 1 end),
  count(case when o.outcome is not null then 1 end),
  count(case when o.reason is not null then 1 end),
count(case when o.change not in ('settled', 'forward') and o.reason is null and o.outcome is null and cast(@adopted as int64) = 0 then 1 end)
from `mixpanel.purchases__outbox_${run}` as o
where exists (select 1 from `mixpanel.purchases__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

having not exists (select 1 from `mixpanel.runs` as r where r.project = 'shop' and r.target = 'dev' and r.sync = 'purchases' and r.run = cast(@run as int64))
  and exists (select 1 from `mixpanel.purchases__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

-- purchases/columns.sql
select column_name as name, data_type as native, case when is_partitioning_column = 'YES' then 1 else 0 end as is_partition from `main`.INFORMATION_SCHEMA.COLUMNS where table_name = 'orders' and is_hidden = 'NO' order by ordinal_position

-- purchases/state_exists.sql
select
  case when exists (select 1 from `mixpanel`.INFORMATION_SCHEMA.TABLES as t where t.table_name = 'purchases__state') then 1 else 0 end as state_exists,
  case when exists (select 1 from `mixpanel`.INFORMATION_SCHEMA.TABLES as t where t.table_name = 'purchases__ledger') then 1 else 0 end as ledger_exists,
  case when exists (select 1 from `mixpanel`.INFORMATION_SCHEMA.TABLES as t where t.table_name = 'runs') then 1 else 0 end as runs_exists

-- purchases/state_owner.sql
-- another project or target that uses this staging schema, whether this sync has ever run here, and its last run on record
select
  max(case when project <> 'shop' or target <> 'dev' then project || ' / ' || target end) as foreign_owner,
  coalesce(max(case when sync = 'purchases' then 1 else 0 end), 0) as recorded,
  max(case when sync in ('purchases', 'purchases') then run end) as last_run
from `mixpanel.runs`

-- purchases/state_read.sql
select
  version, holder, phase, run, baseline, pending, next_batch, id_space, epoch, layout, project, target, mixpanel, source, names,
  case when holder is not null and lease_until > unix_millis(current_timestamp()) then 1 else 0 end as held,
  lease_until,
  case when quiet_until > unix_millis(current_timestamp()) then quiet_until - unix_millis(current_timestamp()) else 0 end as quiet_left_ms
from `mixpanel.purchases__state`

-- purchases/state_lease.sql
update `mixpanel.purchases__state`
set
  version = version + 1,
  holder = cast(@holder as string),
  lease_until = unix_millis(current_timestamp()) + cast(@ttl_ms as int64),
  quiet_until = case when holder is null then quiet_until else greatest(quiet_until, lease_until + cast(@quiet_ms as int64)) end,
  mixpanel = case when mixpanel = '' then cast(@mixpanel as string) else mixpanel end,
  source = case when source = '' then 'main.orders' else source end,
  names = names || cast(version + 1 as string) || ' '
where version = cast(@state_version as int64)
  and coalesce(holder, '') = cast(@state_holder as string)
  and (holder is null or lease_until <= unix_millis(current_timestamp()))

-- purchases/state_renew.sql
update `mixpanel.purchases__state`
set version = version, lease_until = unix_millis(current_timestamp()) + cast(@ttl_ms as int64)
where version = cast(@version as int64) and holder = cast(@holder as string)

-- purchases/state_release.sql
update `mixpanel.purchases__state`
set version = version, holder = null, lease_until = 0, quiet_until = greatest(quiet_until, unix_millis(current_timestamp()) + cast(@quiet_ms as int64))
where version = cast(@version as int64) and holder = cast(@holder as string)

-- purchases/state_unlock.sql
update `mixpanel.purchases__state`
set version = version + 1, holder = null, lease_until = 0, quiet_until = greatest(quiet_until, greatest(lease_until, unix_millis(current_timestamp())) + cast(@quiet_ms as int64))
where version = cast(@state_version as int64)

-- purchases/state_forget.sql
update `mixpanel.purchases__state`
set version = version, names = cast(@names as string)
where version = cast(@version as int64) and holder = cast(@holder as string)

-- purchases/state_settle.sql
-- a run that captured nothing: only its position moves
update `mixpanel.purchases__state`
set version = version, baseline = cast(@pending as string)
where version = cast(@version as int64) and holder = cast(@holder as string) and phase = 'idle'

-- purchases/outboxes.sql
-- also those that a process made after it had been paused past its lease: no state names them
select o.name
from (select left(table_name, length(table_name) - 0) as name from `mixpanel`.INFORMATION_SCHEMA.TABLES where ends_with(table_name, '')) as o
where strpos(o.name, 'purchases__outbox_') = 1

-- purchases/create_state.sql
-- with its one row at once: there is no transaction that could make both
create table if not exists `mixpanel.purchases__state` as
select
  -- runs are numbered on from those of an earlier life, which stay on record
  coalesce((select max(r.run) from `mixpanel.runs` as r where r.project = 'shop' and r.target = 'dev' and r.sync = 'purchases'), 0) as version,
  cast(null as string) as holder,
  cast(0 as int64) as lease_until,
  cast(0 as int64) as quiet_until,
  cast('idle' as string) as phase,
  cast(null as int64) as run,
  cast(null as string) as baseline,
  cast(null as string) as pending,
  cast(0 as int64) as next_batch,
  cast('purchases' as string) as id_space,
  cast(0 as int64) as epoch,
  cast(1 as int64) as layout,
  cast('shop' as string) as project,
  cast('dev' as string) as target,
  cast('' as string) as mixpanel,
  cast('' as string) as source,
  cast('' as string) as names;
-- it lasts, also where somebody gave the dataset a time after which its tables end
alter table `mixpanel.purchases__state` set options (expiration_timestamp = null)

-- purchases/create_ledger.sql
create table if not exists `mixpanel.purchases__ledger` (
  row_key string,
  row_checksum string,
  time_ms int64,
  event string,
  user_id string,
  device_id string,
  insert_id string
)
-- what a run looks up by: a page of the outbox reads its batches, not all of it
cluster by row_key
;
-- it lasts, also where somebody gave the dataset a time after which its tables end
alter table `mixpanel.purchases__ledger` set options (expiration_timestamp = null)

-- purchases/create_rejects.sql
create table if not exists `mixpanel.purchases__rejects` (
  row_key string,
  insert_id string,
  kind string,
  change string,
  reason string,
  row_checksum string,
  time_ms int64,
  event string,
  user_id string,
  device_id string,
  shown int64,
  run int64
)
;
-- it lasts, also where somebody gave the dataset a time after which its tables end
alter table `mixpanel.purchases__rejects` set options (expiration_timestamp = null)

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
),
newer as (
  select syncline_row.*, cast(`order_id` as string) as syncline_key
  from source_rows as syncline_row
),

older as (
  select row_key, row_checksum
  from `mixpanel.purchases__ledger`
),
differing as (
  select n.*, o.row_key as syncline_old_key
  from newer as n
  full outer join older as o on o.row_key = n.syncline_key
  where o.row_key is null or n.syncline_key is null or o.row_checksum is null or o.row_checksum <> n.syncline_checksum
    or cast(@resend as int64) = 1
),
shown as (
  select row_key, row_checksum, time_ms, event, user_id, device_id, insert_id
  from `mixpanel.purchases__ledger`
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
    array_to_string(['{', '"event":', if(coalesce(syncline_event, '') is null, null, to_json_string(coalesce(syncline_event, ''))), ',"properties":', array_to_string(['{', '"time":', coalesce(cast(syncline_time_ms as string), 'null'), ',"distinct_id":', if(coalesce(syncline_user_id, '') is null, null, to_json_string(coalesce(syncline_user_id, ''))), ',"$insert_id":', if(syncline_insert_id is null, null, to_json_string(syncline_insert_id)), ',"$user_id":' || if(syncline_user_id is null, null, to_json_string(syncline_user_id)), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"bigquery"', ',"order_id":' || cast(`order_id` as string), ',"amount":' || cast(`amount` as string), ',"weight":' || case when `weight` is not null and not is_nan(`weight`) and not is_inf(`weight`) then to_json_string(`weight`) end, ',"gift":' || cast(`gift` as string), ',"shipped":' || '"' || cast(`shipped` as string) || '"', ',"loaded_at":' || '"' || if(timestamp_trunc(`loaded_at`, second) = `loaded_at`, format_timestamp('%E4Y-%m-%dT%H:%M:%S', `loaded_at`, 'UTC'), format_timestamp('%E4Y-%m-%dT%H:%M:%E6S', `loaded_at`, 'UTC')) || '"', ',"tags":' || if(array_length(`tags`) > 0, to_json_string(`tags`), null), ',"raw":' || nullif(to_json_string(`raw`), 'null'), ',"photo":' || '"' || to_base64(`photo`) || '"', ',"device":' || if(cast(`device` as string) is null, null, to_json_string(cast(`device` as string))), ',"note":' || if(cast(`note` as string) is null, null, to_json_string(cast(`note` as string))), '}'], ''), '}'], '') as payload
  from images as syncline_image
  union all
  -- what Mixpanel shows and the table no longer says
  select syncline_change.syncline_old_key, syncline_change.syncline_row_change, 'delete', null,
    syncline_change.syncline_old_time_ms,
    syncline_change.syncline_old_event,
    syncline_change.syncline_old_user_id,
    syncline_change.syncline_old_device_id,
    syncline_change.syncline_old_insert_id, syncline_change.syncline_old_insert_id,
    array_to_string(['{', '"event":', if(coalesce(syncline_change.syncline_old_event, '') is null, null, to_json_string(coalesce(syncline_change.syncline_old_event, ''))), ',"properties":', array_to_string(['{', '"time":', coalesce(cast(syncline_change.syncline_old_time_ms as string), 'null'), ',"distinct_id":', if(coalesce(syncline_change.syncline_old_user_id, '') is null, null, to_json_string(coalesce(syncline_change.syncline_old_user_id, ''))), ',"$insert_id":', if(syncline_change.syncline_old_insert_id is null, null, to_json_string(syncline_change.syncline_old_insert_id)), ',"$user_id":' || if(syncline_change.syncline_old_user_id is null, null, to_json_string(syncline_change.syncline_old_user_id)), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"bigquery"', ',"syncline_deleted":', 'true', '}'], ''), '}'], '')
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
    array_to_string(['{', '"event":', if(coalesce(syncline_change.syncline_old_event, '') is null, null, to_json_string(coalesce(syncline_change.syncline_old_event, ''))), ',"properties":', array_to_string(['{', '"time":', coalesce(cast(syncline_change.syncline_old_time_ms as string), 'null'), ',"distinct_id":', if(coalesce(syncline_change.syncline_old_user_id, '') is null, null, to_json_string(coalesce(syncline_change.syncline_old_user_id, ''))), ',"$insert_id":', if(syncline_change.syncline_old_insert_id is null, null, to_json_string(syncline_change.syncline_old_insert_id)), ',"$user_id":' || if(syncline_change.syncline_old_user_id is null, null, to_json_string(syncline_change.syncline_old_user_id)), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"bigquery"', ',"syncline_deleted":', 'true', '}'], ''), '}'], '')
  from (
    select j.row_key as syncline_old_key,
      j.time_ms as syncline_old_time_ms,
      j.event as syncline_old_event,
      j.user_id as syncline_old_user_id,
      j.device_id as syncline_old_device_id,
      j.insert_id as syncline_old_insert_id
    from `mixpanel.purchases__rejects` as j
    where j.shown = 1
  ) as syncline_change
  where not exists (select 1 from `mixpanel.purchases__ledger` as o where o.row_key = syncline_change.syncline_old_key and o.insert_id = syncline_change.syncline_old_insert_id)
    and not exists (select 1 from (select syncline_key, syncline_insert_id from images) as syncline_image where syncline_image.syncline_key = syncline_change.syncline_old_key and syncline_image.syncline_insert_id = syncline_change.syncline_old_insert_id)
),
judged as (
  select r.*,
    case
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

-- purchases/capture_forward.sql: made of the parts of capture

-- purchases/totals.sql
select count(*) as captured, coalesce(max(batch) + 1, 0) as batches, coalesce(sum(case when reason is not null then 1 else 0 end), 0) as invalid,
  coalesce(sum(case when batch >= cast(@next_batch as int64) then 1 else 0 end), 0) as remaining
from `mixpanel.purchases__outbox_${run}`

-- purchases/state_flip.sql
update `mixpanel.purchases__state`
set version = version, phase = 'sending', run = cast(@run as int64), pending = cast(@pending as string), next_batch = 0, lease_until = unix_millis(current_timestamp()) + cast(@ttl_ms as int64)
where version = cast(@version as int64) and holder = cast(@holder as string) and phase = 'idle'

-- purchases/deliver_pages.sql
select batch, count(*) as records, string_agg(payload, '\n' order by ordinal) as body
from `mixpanel.purchases__outbox_${run}`
where batch >= cast(@batch_from as int64) and batch < cast(@batch_to as int64)
group by batch
order by batch

-- purchases/deliver_restart.sql
-- batches after the checkpoint are sent again: what an earlier attempt recorded of them no longer counts.
-- Every row of them is written, so that a statement of that attempt which still runs crosses this one, and begins anew behind its fence
update `mixpanel.purchases__outbox_${run}`
set outcome = null, outcome_reason = null
where batch >= cast(@next_batch as int64)
  and exists (select 1 from `mixpanel.purchases__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

-- purchases/deliver_abandon.sql
-- nobody knows which of these Mixpanel has: they are neither shown nor not shown, so the next run compares their rows again
update `mixpanel.purchases__outbox_${run}`
set outcome = 'maybe', outcome_reason = 'abandoned'
where batch >= cast(@next_batch as int64)
  and exists (select 1 from `mixpanel.purchases__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

-- purchases/deliver_outcome.sql
-- a refusal names the record's position in its batch; the batch was sent in the order of its ordinals
update `mixpanel.purchases__outbox_${run}`
set
  outcome = case when p.refusal is not null then cast(@outcome as string) when cast(@more as int64) = 1 then outcome end,
  outcome_reason = case when p.refusal is not null then p.refusal when cast(@more as int64) = 1 then outcome_reason end
from (
  select n.ordinal as place, json_value(parse_json(cast(@refusals as string))[cast(n.position as string)]) as refusal
  from (
    select b.ordinal, row_number() over (order by b.ordinal) as position
    from `mixpanel.purchases__outbox_${run}` as b
    where b.batch = cast(@batch as int64)
  ) as n
) as p
where batch = cast(@batch as int64) and ordinal = p.place
  and exists (select 1 from `mixpanel.purchases__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

-- purchases/checkpoint.sql
update `mixpanel.purchases__state`
set version = version, next_batch = cast(@next_batch as int64)
where version = cast(@version as int64) and holder = cast(@holder as string) and phase = 'sending' and run = cast(@run as int64)

-- purchases/check_accounts.sql
-- accepted + refused + invalid = captured: a record of no finished batch would be missing from the sum
select 'records not accounted for: ' || cast(count(*) as string) as violation
from `mixpanel.purchases__outbox_${run}` as o
where o.change not in ('settled', 'forward') and o.reason is null
  and (o.batch is null or o.batch >= (select f.next_batch from `mixpanel.purchases__state` as f))
having count(*) > 0

-- purchases/ledger_forward.sql
-- rows that are as they were sent, under a mapping that was decided to hold for them too
update `mixpanel.purchases__ledger` as l
set row_key = o.row_key, row_checksum = o.row_checksum
from `mixpanel.purchases__outbox_${run}` as o
where o.change = 'forward' and o.payload = l.row_key and o.insert_id = l.insert_id
  and exists (select 1 from `mixpanel.purchases__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

-- purchases/ledger_merge.sql
-- the ledger follows records, not rows: what a record took away is gone even if another one of the row was refused
-- one statement, which leaves the same when it runs again; an image that is only maybe shown has no known checksum, so it differs from every row
merge `mixpanel.purchases__ledger` as l
using (
  select n.*
  from (
    select r.*, row_number() over (partition by r.known_as order by r.is_gone) as place
    from (
      select 0 as is_gone, i.row_key as known_as, i.row_key, case when i.outcome is null then i.row_checksum end as row_checksum, i.time_ms, i.event, i.user_id, i.device_id, i.insert_id
      from `mixpanel.purchases__outbox_${run}` as i
      left join `mixpanel.purchases__outbox_${run}` as d on d.row_key = i.row_key and d.change = 'delete' and d.old_insert_id is not null
      where i.change in ('insert', 'update') and i.reason is null and (i.outcome is null or (i.outcome = 'maybe' and (i.old_insert_id is null or i.old_insert_id = i.insert_id or (d.row_key is not null and d.outcome is null))))
      union all
      select 1, d.row_key, d.row_key, null, null, null, null, null, null
      from `mixpanel.purchases__outbox_${run}` as d
      where (d.change = 'delete' and d.old_insert_id is not null and d.outcome is null and d.reason is null)
    ) as r
    where exists (select 1 from `mixpanel.purchases__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

  ) as n
  where n.place = 1
) as c
on l.row_key = c.known_as
when matched and c.is_gone = 1 then delete
when matched then update set row_key = c.row_key, row_checksum = c.row_checksum, time_ms = c.time_ms, event = c.event, user_id = c.user_id, device_id = c.device_id, insert_id = c.insert_id
when not matched and c.is_gone = 0 then insert (row_key, row_checksum, time_ms, event, user_id, device_id, insert_id)
  values (c.row_key, c.row_checksum, c.time_ms, c.event, c.user_id, c.device_id, c.insert_id)

-- purchases/ledger_unknown.sql
update `mixpanel.purchases__ledger` as l
set row_checksum = null
where exists (select 1 from `mixpanel.purchases__outbox_${run}` as d where d.row_key = l.row_key and d.change = 'delete' and d.outcome = 'maybe' and d.insert_id = l.insert_id)
  and exists (select 1 from `mixpanel.purchases__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

-- purchases/rejects_merge.sql
-- one statement, which leaves the same when it runs again
merge `mixpanel.purchases__rejects` as j
using (
  select n.*
  from (
    select o.row_key, o.insert_id,
      case when (o.reason is not null or o.outcome is not null) and o.change <> 'settled' then 1 else 0 end as is_rejected,
      case when o.reason is not null then 'invalid' else 'refused' end as kind,
      o.change,
      coalesce(o.reason, o.outcome_reason, 'refused') as reason,
      o.row_checksum, time_ms, event, user_id, device_id,
      case when o.reason is null and (o.change = 'delete' or o.outcome = 'maybe') then 1 else 0 end as shown,
      -- equal rows without an id are one reject
      row_number() over (partition by o.row_key, o.insert_id order by case when (o.reason is not null or o.outcome is not null) and o.change <> 'settled' then 0 else 1 end, o.ordinal) as place
    from `mixpanel.purchases__outbox_${run}` as o
    where exists (select 1 from `mixpanel.purchases__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

  ) as n
  where n.place = 1
) as c
on j.row_key = c.row_key and j.insert_id = c.insert_id
when matched and c.is_rejected = 0 then delete
when matched then update set kind = c.kind, change = c.change, reason = c.reason, row_checksum = c.row_checksum, time_ms = c.time_ms, event = c.event, user_id = c.user_id, device_id = c.device_id, shown = c.shown, run = cast(@run as int64)
when not matched and c.is_rejected = 1 then insert (row_key, insert_id, kind, change, reason, row_checksum, time_ms, event, user_id, device_id, shown, run)
  values (c.row_key, c.insert_id, c.kind, c.change, c.reason, c.row_checksum, c.time_ms, c.event, c.user_id, c.device_id, c.shown, cast(@run as int64))

-- purchases/state_commit.sql
update `mixpanel.purchases__state`
set version = version, phase = 'idle', baseline = pending, pending = null, run = null, next_batch = 0, lease_until = unix_millis(current_timestamp()) + cast(@ttl_ms as int64)
where version = cast(@version as int64) and holder = cast(@holder as string) and phase = 'sending' and run = cast(@run as int64)

-- purchases/drop_outbox.sql
drop table if exists `mixpanel.purchases__outbox_${run}`

-- purchases/run_read.sql
select captured_inserts, captured_updates, captured_deletes, attempted_inserts, attempted_updates, attempted_deletes, accepted_inserts, accepted_updates, accepted_deletes, refused, invalid, billable
from `mixpanel.runs`
where project = 'shop' and target = 'dev' and sync = 'purchases' and run = cast(@run as int64)

-- purchases/excess.sql
-- never executed: a run only reads the source, and whoever could run this may do more
delete from `main.orders` where false

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
),
newer as (
  select syncline_row.*, cast(`order_id` as string) as syncline_key
  from source_rows as syncline_row
),

older as (
  select row_key, row_checksum
  from `mixpanel.purchases__ledger`
),
differing as (
  select n.*, o.row_key as syncline_old_key
  from newer as n
  full outer join older as o on o.row_key = n.syncline_key
  where o.row_key is null or n.syncline_key is null or o.row_checksum is null or o.row_checksum <> n.syncline_checksum
    or cast(@resend as int64) = 1
),
shown as (
  select row_key, row_checksum, time_ms, event, user_id, device_id, insert_id
  from `mixpanel.purchases__ledger`
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
    case when `order_id` >= 9007199254740992e0 or `order_id` <= -9007199254740992e0 or `amount` >= 9007199254740992e0 or `amount` <= -9007199254740992e0 then 1 else 0 end as inexact,
    array_to_string(['{', '"event":', if(coalesce(syncline_event, '') is null, null, to_json_string(coalesce(syncline_event, ''))), ',"properties":', array_to_string(['{', '"time":', coalesce(cast(syncline_time_ms as string), 'null'), ',"distinct_id":', if(coalesce(syncline_user_id, '') is null, null, to_json_string(coalesce(syncline_user_id, ''))), ',"$insert_id":', if(syncline_insert_id is null, null, to_json_string(syncline_insert_id)), ',"$user_id":' || if(syncline_user_id is null, null, to_json_string(syncline_user_id)), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"bigquery"', ',"order_id":' || cast(`order_id` as string), ',"amount":' || cast(`amount` as string), ',"weight":' || case when `weight` is not null and not is_nan(`weight`) and not is_inf(`weight`) then to_json_string(`weight`) end, ',"gift":' || cast(`gift` as string), ',"shipped":' || '"' || cast(`shipped` as string) || '"', ',"loaded_at":' || '"' || if(timestamp_trunc(`loaded_at`, second) = `loaded_at`, format_timestamp('%E4Y-%m-%dT%H:%M:%S', `loaded_at`, 'UTC'), format_timestamp('%E4Y-%m-%dT%H:%M:%E6S', `loaded_at`, 'UTC')) || '"', ',"tags":' || if(array_length(`tags`) > 0, to_json_string(`tags`), null), ',"raw":' || nullif(to_json_string(`raw`), 'null'), ',"photo":' || '"' || to_base64(`photo`) || '"', ',"device":' || if(cast(`device` as string) is null, null, to_json_string(cast(`device` as string))), ',"note":' || if(cast(`note` as string) is null, null, to_json_string(cast(`note` as string))), '}'], ''), '}'], '') as payload
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
    array_to_string(['{', '"event":', if(coalesce(syncline_change.syncline_old_event, '') is null, null, to_json_string(coalesce(syncline_change.syncline_old_event, ''))), ',"properties":', array_to_string(['{', '"time":', coalesce(cast(syncline_change.syncline_old_time_ms as string), 'null'), ',"distinct_id":', if(coalesce(syncline_change.syncline_old_user_id, '') is null, null, to_json_string(coalesce(syncline_change.syncline_old_user_id, ''))), ',"$insert_id":', if(syncline_change.syncline_old_insert_id is null, null, to_json_string(syncline_change.syncline_old_insert_id)), ',"$user_id":' || if(syncline_change.syncline_old_user_id is null, null, to_json_string(syncline_change.syncline_old_user_id)), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"bigquery"', ',"syncline_deleted":', 'true', '}'], ''), '}'], '')
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
    array_to_string(['{', '"event":', if(coalesce(syncline_change.syncline_old_event, '') is null, null, to_json_string(coalesce(syncline_change.syncline_old_event, ''))), ',"properties":', array_to_string(['{', '"time":', coalesce(cast(syncline_change.syncline_old_time_ms as string), 'null'), ',"distinct_id":', if(coalesce(syncline_change.syncline_old_user_id, '') is null, null, to_json_string(coalesce(syncline_change.syncline_old_user_id, ''))), ',"$insert_id":', if(syncline_change.syncline_old_insert_id is null, null, to_json_string(syncline_change.syncline_old_insert_id)), ',"$user_id":' || if(syncline_change.syncline_old_user_id is null, null, to_json_string(syncline_change.syncline_old_user_id)), ',"ip":', '0', ',"syncline_sync":', '"purchases"', ',"syncline_warehouse":', '"bigquery"', ',"syncline_deleted":', 'true', '}'], ''), '}'], '')
  from (
    select j.row_key as syncline_old_key,
      j.time_ms as syncline_old_time_ms,
      j.event as syncline_old_event,
      j.user_id as syncline_old_user_id,
      j.device_id as syncline_old_device_id,
      j.insert_id as syncline_old_insert_id
    from `mixpanel.purchases__rejects` as j
    where j.shown = 1
  ) as syncline_change
  where not exists (select 1 from `mixpanel.purchases__ledger` as o where o.row_key = syncline_change.syncline_old_key and o.insert_id = syncline_change.syncline_old_insert_id)
    and not exists (select 1 from (select syncline_key, syncline_insert_id from images) as syncline_image where syncline_image.syncline_key = syncline_change.syncline_old_key and syncline_image.syncline_insert_id = syncline_change.syncline_old_insert_id)
),
judged as (
  select r.*,
    case
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
select 'key ' || k.row_key || ' occurs ' || cast(k.occurrences as string) || ' times' as violation
from (
  select n.syncline_key as row_key, count(*) as occurrences
  from (select cast(`order_id` as string) as syncline_key from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `main.orders` as syncline_source) as syncline_source) as n
  where exists (select 1 from measured as o where o.row_checksum is not null)
  group by n.syncline_key
  having count(*) > 1
) as k
where exists (select 1 from measured as o where o.row_checksum is not null and o.row_key = k.row_key)
union all
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as string) || ' times' as violation
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
-- what a run reads; nothing is executed
select *
from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `main.orders` as syncline_source) as syncline_source

-- purchases/preview_shown.sql: made of the parts of capture

-- purchases/destroy.sql: made of the parts of capture

-- purchases/drop_ledger.sql
drop table if exists `mixpanel.purchases__ledger`

-- purchases/drop_rejects.sql
drop table if exists `mixpanel.purchases__rejects`

-- purchases/drop_seen.sql
drop table if exists `mixpanel.purchases__seen`

-- purchases/drop_state.sql
drop table if exists `mixpanel.purchases__state`

-- purchases/show.sql: made of the parts of capture

-- purchases/rejects.sql
select row_key, kind, change, reason, time_ms, event, user_id, device_id, shown, run
from `mixpanel.purchases__rejects`
order by run desc, row_key
limit 200

-- purchases/reset_ledger.sql
delete from `mixpanel.purchases__ledger`
where exists (select 1 from `mixpanel.purchases__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

-- purchases/reset_rejects.sql
delete from `mixpanel.purchases__rejects`
where exists (select 1 from `mixpanel.purchases__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

-- purchases/reset_state.sql
update `mixpanel.purchases__state`
set version = version, baseline = null, epoch = epoch + cast(@new_epoch as int64)
where version = cast(@version as int64) and holder = cast(@holder as string) and phase = 'idle'
