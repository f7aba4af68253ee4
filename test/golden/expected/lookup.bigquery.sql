-- shared/create_schema.sql: as in mirror-keyed

-- shared/create_runs.sql: as in mirror-keyed

-- shared/runs.sql: as in mirror-keyed

-- shared/states.sql: as in mirror-keyed

-- items/check_columns.sql
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
  select 'device' as name, 'STRING' as native union all
  select 'note' as name, 'STRING' as native
) as w
cross join (select count(*) as n from source_columns) as f
left join source_columns as c on c.name = w.name
where c.name is null or c.native <> w.native

-- items/check_null_key.sql
select 'a row has no value in its key' as violation
from `mixpanel.items__outbox_${run}`
where row_key is null
  -- a join key must not be falsy
  or trim(row_id) in ('', '0') or lower(trim(row_id)) = 'false'
limit 1

-- items/check_twin_keys.sql
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as string) || ' times' as violation
from `mixpanel.items__outbox_${run}` as o
where o.row_checksum is not null
  -- rows without an id are named by their content, and may all be equal
  and (o.reason is null or o.reason <> 'id-missing')
group by o.row_key
having count(*) > 1
limit 5

-- items/check_lookup_size.sql
select 'the table would have ' || cast(coalesce(sum(byte_length(payload) + 1), 0) as string) || ' bytes' as violation
from `mixpanel.items__outbox_${run}`
having coalesce(sum(byte_length(payload) + 1), 0) > 100000000

-- items/check_on_empty_source.sql
-- a source that was empty before is no news
select 'no rows' as violation
from (select 1 as one) as o
where not exists (select 1 from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `device`, `note` from `main.orders` as syncline_source) as syncline_source) and cast(@content as string) <> cast(@content_from as string)

-- items/create_outbox.sql
create table `mixpanel.items__outbox_${run}` (
  batch int64,
  ordinal int64,
  row_change string,
  change string,
  row_key string,
  row_checksum string,
  row_id string,
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

-- items/run_record.sql
insert into `mixpanel.runs` (project, target, sync, run, finished_ms, captured_inserts, captured_updates, captured_deletes, attempted_inserts, attempted_updates, attempted_deletes, accepted_inserts, accepted_updates, accepted_deletes, refused, invalid, billable)
select 'shop', 'dev', 'items', cast(@run as int64), unix_millis(current_timestamp()),
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
0
from `mixpanel.items__outbox_${run}` as o
where exists (select 1 from `mixpanel.items__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

having not exists (select 1 from `mixpanel.runs` as r where r.project = 'shop' and r.target = 'dev' and r.sync = 'items' and r.run = cast(@run as int64))
  and exists (select 1 from `mixpanel.items__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

-- items/columns.sql
select column_name as name, data_type as native, case when is_partitioning_column = 'YES' then 1 else 0 end as is_partition from `main`.INFORMATION_SCHEMA.COLUMNS where table_name = 'orders' and is_hidden = 'NO' order by ordinal_position

-- items/state_exists.sql
select
  case when exists (select 1 from `mixpanel`.INFORMATION_SCHEMA.TABLES as t where t.table_name = 'items__state') then 1 else 0 end as state_exists,
  case when exists (select 1 from `mixpanel`.INFORMATION_SCHEMA.TABLES as t where t.table_name = 'items__ledger') then 1 else 0 end as ledger_exists,
  case when exists (select 1 from `mixpanel`.INFORMATION_SCHEMA.TABLES as t where t.table_name = 'runs') then 1 else 0 end as runs_exists

-- items/state_owner.sql
-- another project or target that uses this staging schema, whether this sync has ever run here, and its last run on record
select
  max(case when project <> 'shop' or target <> 'dev' then project || ' / ' || target end) as foreign_owner,
  coalesce(max(case when sync = 'items' then 1 else 0 end), 0) as recorded,
  max(case when sync in ('items', 'items') then run end) as last_run
from `mixpanel.runs`

-- items/state_read.sql
select
  version, holder, phase, run, baseline, pending, next_batch, id_space, epoch, layout, project, target, mixpanel, source, names,
  case when holder is not null and lease_until > unix_millis(current_timestamp()) then 1 else 0 end as held,
  lease_until,
  case when quiet_until > unix_millis(current_timestamp()) then quiet_until - unix_millis(current_timestamp()) else 0 end as quiet_left_ms
from `mixpanel.items__state`

-- items/state_lease.sql
update `mixpanel.items__state`
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

-- items/state_renew.sql
update `mixpanel.items__state`
set version = version, lease_until = unix_millis(current_timestamp()) + cast(@ttl_ms as int64)
where version = cast(@version as int64) and holder = cast(@holder as string)

-- items/state_release.sql
update `mixpanel.items__state`
set version = version, holder = null, lease_until = 0, quiet_until = greatest(quiet_until, unix_millis(current_timestamp()) + cast(@quiet_ms as int64))
where version = cast(@version as int64) and holder = cast(@holder as string)

-- items/state_unlock.sql
update `mixpanel.items__state`
set version = version + 1, holder = null, lease_until = 0, quiet_until = greatest(quiet_until, greatest(lease_until, unix_millis(current_timestamp())) + cast(@quiet_ms as int64))
where version = cast(@state_version as int64)

-- items/state_forget.sql
update `mixpanel.items__state`
set version = version, names = cast(@names as string)
where version = cast(@version as int64) and holder = cast(@holder as string)

-- items/state_settle.sql
-- a run that captured nothing: only its position moves
update `mixpanel.items__state`
set version = version, baseline = cast(@pending as string)
where version = cast(@version as int64) and holder = cast(@holder as string) and phase = 'idle'

-- items/outboxes.sql
-- also those that a process made after it had been paused past its lease: no state names them
select o.name
from (select left(table_name, length(table_name) - 0) as name from `mixpanel`.INFORMATION_SCHEMA.TABLES where ends_with(table_name, '')) as o
where strpos(o.name, 'items__outbox_') = 1

-- items/create_state.sql
-- with its one row at once: there is no transaction that could make both
create table if not exists `mixpanel.items__state` as
select
  -- runs are numbered on from those of an earlier life, which stay on record
  coalesce((select max(r.run) from `mixpanel.runs` as r where r.project = 'shop' and r.target = 'dev' and r.sync = 'items'), 0) as version,
  cast(null as string) as holder,
  cast(0 as int64) as lease_until,
  cast(0 as int64) as quiet_until,
  cast('idle' as string) as phase,
  cast(null as int64) as run,
  cast(null as string) as baseline,
  cast(null as string) as pending,
  cast(0 as int64) as next_batch,
  cast('items' as string) as id_space,
  cast(0 as int64) as epoch,
  cast(1 as int64) as layout,
  cast('shop' as string) as project,
  cast('dev' as string) as target,
  cast('' as string) as mixpanel,
  cast('' as string) as source,
  cast('' as string) as names;
-- it lasts, also where somebody gave the dataset a time after which its tables end
alter table `mixpanel.items__state` set options (expiration_timestamp = null)

-- items/create_rejects.sql
create table if not exists `mixpanel.items__rejects` (
  row_key string,
  insert_id string,
  kind string,
  change string,
  reason string,
  row_checksum string,
  row_id string,
  shown int64,
  run int64
)
;
-- it lasts, also where somebody gave the dataset a time after which its tables end
alter table `mixpanel.items__rejects` set options (expiration_timestamp = null)

-- items/probe.sql
select to_hex(md5(coalesce(string_agg(syncline_checksum, '' order by syncline_key, syncline_checksum), ''))) as content
from (
  select syncline_source.*, to_hex(md5(rtrim(array_to_string([coalesce(cast(byte_length(cast(`order_id` as string)) as string) || ':' || cast(`order_id` as string) || ';', '~'), coalesce(cast(byte_length(cast(`ordered_at` as string)) as string) || ':' || cast(`ordered_at` as string) || ';', '~'), coalesce(cast(byte_length(`customer_id`) as string) || ':' || `customer_id` || ';', '~'), coalesce(cast(byte_length(cast(`amount` as string)) as string) || ':' || cast(`amount` as string) || ';', '~'), coalesce(cast(byte_length(if(`weight` is null, null, to_json_string(`weight`))) as string) || ':' || if(`weight` is null, null, to_json_string(`weight`)) || ';', '~'), coalesce(cast(byte_length(cast(`gift` as string)) as string) || ':' || cast(`gift` as string) || ';', '~'), coalesce(cast(byte_length(cast(`shipped` as string)) as string) || ':' || cast(`shipped` as string) || ';', '~'), coalesce(cast(byte_length(cast(unix_micros(`loaded_at`) as string)) as string) || ':' || cast(unix_micros(`loaded_at`) as string) || ';', '~'), coalesce(cast(byte_length(`device`) as string) || ':' || `device` || ';', '~'), coalesce(cast(byte_length(`note`) as string) || ':' || `note` || ';', '~')], ''), '~'))) as syncline_checksum, cast(`order_id` as string) as syncline_key
  from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `device`, `note` from `main.orders` as syncline_source) as syncline_source
) as syncline_row

-- items/capture.sql
-- the source is read here and nowhere else: what follows names the rows that changed several times
create temp table syncline_changes as
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from `mixpanel.items__rejects` as j
  where j.kind = 'invalid' and j.reason not in ('') and cast(@remapped as int64) = 0
),
source_rows as (
  select syncline_source.*, to_hex(md5(rtrim(array_to_string([coalesce(cast(byte_length(cast(`order_id` as string)) as string) || ':' || cast(`order_id` as string) || ';', '~'), coalesce(cast(byte_length(cast(`ordered_at` as string)) as string) || ':' || cast(`ordered_at` as string) || ';', '~'), coalesce(cast(byte_length(`customer_id`) as string) || ':' || `customer_id` || ';', '~'), coalesce(cast(byte_length(cast(`amount` as string)) as string) || ':' || cast(`amount` as string) || ';', '~'), coalesce(cast(byte_length(if(`weight` is null, null, to_json_string(`weight`))) as string) || ':' || if(`weight` is null, null, to_json_string(`weight`)) || ';', '~'), coalesce(cast(byte_length(cast(`gift` as string)) as string) || ':' || cast(`gift` as string) || ';', '~'), coalesce(cast(byte_length(cast(`shipped` as string)) as string) || ':' || cast(`shipped` as string) || ';', '~'), coalesce(cast(byte_length(cast(unix_micros(`loaded_at`) as string)) as string) || ':' || cast(unix_micros(`loaded_at`) as string) || ';', '~'), coalesce(cast(byte_length(`device`) as string) || ':' || `device` || ';', '~'), coalesce(cast(byte_length(`note`) as string) || ':' || `note` || ';', '~')], ''), '~'))) as syncline_checksum
  from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `device`, `note` from `main.orders` as syncline_source) as syncline_source
),
newer as (
  select syncline_row.*, cast(`order_id` as string) as syncline_key
  from source_rows as syncline_row
),
changes as (
  select n.*,
    cast(null as string) as syncline_old_insert_id,
    case when k.row_key is null then 'insert' else 'known' end as syncline_row_change
  from newer as n
  left join known as k on k.row_key = n.syncline_key and k.row_checksum = n.syncline_checksum
  where cast(@content as string) <> coalesce(cast(@content_from as string), '') and cast(@done as int64) = 0
)

select * from changes;
insert into `mixpanel.items__outbox_${run}` (batch, ordinal, row_change, change, row_key, row_checksum, row_id, insert_id, old_insert_id, payload, reason, outcome, outcome_reason)
with changes as (
  select * from syncline_changes
)
,
identified as (
  select syncline_change.*,
    cast(`order_id` as string) as syncline_row_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, 'row' as syncline_insert_id
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
    coalesce(cast(`order_id` as string), '') || ',' || coalesce('"' || replace(if(timestamp_trunc(safe.timestamp(`ordered_at`, 'UTC'), second) = safe.timestamp(`ordered_at`, 'UTC'), format_timestamp('%E4Y-%m-%dT%H:%M:%S', safe.timestamp(`ordered_at`, 'UTC'), 'UTC'), format_timestamp('%E4Y-%m-%dT%H:%M:%E6S', safe.timestamp(`ordered_at`, 'UTC'), 'UTC')), '"', '""') || '"', '') || ',' || coalesce('"' || replace(cast(`customer_id` as string), '"', '""') || '"', '') || ',' || coalesce(cast(`amount` as string), '') || ',' || coalesce(case when `weight` is not null and not is_nan(`weight`) and not is_inf(`weight`) then to_json_string(`weight`) end, '') || ',' || coalesce(cast(`gift` as string), '') || ',' || coalesce('"' || replace(cast(`shipped` as string), '"', '""') || '"', '') || ',' || coalesce('"' || replace(if(timestamp_trunc(`loaded_at`, second) = `loaded_at`, format_timestamp('%E4Y-%m-%dT%H:%M:%S', `loaded_at`, 'UTC'), format_timestamp('%E4Y-%m-%dT%H:%M:%E6S', `loaded_at`, 'UTC')), '"', '""') || '"', '') || ',' || coalesce('"' || replace(cast(`device` as string), '"', '""') || '"', '') || ',' || coalesce('"' || replace(cast(`note` as string), '"', '""') || '"', '') as payload
  from images as syncline_image
),
judged as (
  select r.*,
    cast(null as string) as reason
  from records as r
)
,
settled as (
  -- rejects that have nothing to send any more; a source column named like an outer alias would hide it, so only ours are in scope
  select j.row_key, j.insert_id
  from `mixpanel.items__rejects` as j
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
  b.start_place + j.syncline_place, j.row_change, j.change, j.row_key, j.row_checksum, row_id, j.insert_id, j.old_insert_id, j.payload, j.reason, cast(null as string), cast(null as string)
from numbered as j
join buckets as b on b.syncline_endpoint = j.syncline_endpoint and b.syncline_bucket = j.syncline_bucket
union all
select null, null, 'settled', 'settled', t.row_key, null, null, t.insert_id, null, null, null, null, null
from settled as t
) as w
where not exists (select 1 from `mixpanel.items__outbox_${run}` as e)

-- items/capture_content.sql
-- what was captured may be newer than what was probed
select case when count(*) = 0 then cast(@content as string) else to_hex(md5(coalesce(string_agg(row_checksum, '' order by row_key, row_checksum), ''))) end as content
from `mixpanel.items__outbox_${run}`

-- items/totals.sql
select count(*) as captured, coalesce(max(batch) + 1, 0) as batches, coalesce(sum(case when reason is not null then 1 else 0 end), 0) as invalid,
  coalesce(sum(case when batch >= cast(@next_batch as int64) then 1 else 0 end), 0) as remaining
from `mixpanel.items__outbox_${run}`

-- items/state_flip.sql
update `mixpanel.items__state`
set version = version, phase = 'sending', run = cast(@run as int64), pending = cast(@pending as string), next_batch = 0, lease_until = unix_millis(current_timestamp()) + cast(@ttl_ms as int64)
where version = cast(@version as int64) and holder = cast(@holder as string) and phase = 'idle'

-- items/deliver_pages.sql
select batch, count(*) as records, string_agg(payload, '\n' order by ordinal) as body
from `mixpanel.items__outbox_${run}`
where batch >= cast(@batch_from as int64) and batch < cast(@batch_to as int64)
group by batch
order by batch

-- items/deliver_restart.sql
-- batches after the checkpoint are sent again: what an earlier attempt recorded of them no longer counts.
-- Every row of them is written, so that a statement of that attempt which still runs crosses this one, and begins anew behind its fence
update `mixpanel.items__outbox_${run}`
set outcome = null, outcome_reason = null
where batch >= cast(@next_batch as int64)
  and exists (select 1 from `mixpanel.items__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

-- items/deliver_abandon.sql
-- nobody knows which of these Mixpanel has: they are neither shown nor not shown, so the next run compares their rows again
update `mixpanel.items__outbox_${run}`
set outcome = 'maybe', outcome_reason = 'abandoned'
where batch >= cast(@next_batch as int64)
  and exists (select 1 from `mixpanel.items__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

-- items/deliver_outcome.sql
-- a refusal names the record's position in its batch; the batch was sent in the order of its ordinals
update `mixpanel.items__outbox_${run}`
set
  outcome = case when p.refusal is not null then cast(@outcome as string) when cast(@more as int64) = 1 then outcome end,
  outcome_reason = case when p.refusal is not null then p.refusal when cast(@more as int64) = 1 then outcome_reason end
from (
  select n.ordinal as place, json_value(parse_json(cast(@refusals as string))[cast(n.position as string)]) as refusal
  from (
    select b.ordinal, row_number() over (order by b.ordinal) as position
    from `mixpanel.items__outbox_${run}` as b
    where b.batch = cast(@batch as int64)
  ) as n
) as p
where batch = cast(@batch as int64) and ordinal = p.place
  and exists (select 1 from `mixpanel.items__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

-- items/checkpoint.sql
update `mixpanel.items__state`
set version = version, next_batch = cast(@next_batch as int64)
where version = cast(@version as int64) and holder = cast(@holder as string) and phase = 'sending' and run = cast(@run as int64)

-- items/check_accounts.sql
-- accepted + refused + invalid = captured: a record of no finished batch would be missing from the sum
select 'records not accounted for: ' || cast(count(*) as string) as violation
from `mixpanel.items__outbox_${run}` as o
where o.change not in ('settled', 'forward') and o.reason is null
  and (o.batch is null or o.batch >= (select f.next_batch from `mixpanel.items__state` as f))
having count(*) > 0

-- items/rejects_merge.sql
-- one statement, which leaves the same when it runs again
merge `mixpanel.items__rejects` as j
using (
  select n.*
  from (
    select o.row_key, o.insert_id,
      case when (o.reason is not null or o.outcome is not null) and o.change <> 'settled' then 1 else 0 end as is_rejected,
      case when o.reason is not null then 'invalid' else 'refused' end as kind,
      o.change,
      coalesce(o.reason, o.outcome_reason, 'refused') as reason,
      o.row_checksum, row_id,
      case when o.reason is null and (o.change = 'delete' or o.outcome = 'maybe') then 1 else 0 end as shown,
      -- equal rows without an id are one reject
      row_number() over (partition by o.row_key, o.insert_id order by case when (o.reason is not null or o.outcome is not null) and o.change <> 'settled' then 0 else 1 end, o.ordinal) as place
    from `mixpanel.items__outbox_${run}` as o
    where exists (select 1 from `mixpanel.items__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

  ) as n
  where n.place = 1
) as c
on j.row_key = c.row_key and j.insert_id = c.insert_id
when matched and c.is_rejected = 0 then delete
when matched then update set kind = c.kind, change = c.change, reason = c.reason, row_checksum = c.row_checksum, row_id = c.row_id, shown = c.shown, run = cast(@run as int64)
when not matched and c.is_rejected = 1 then insert (row_key, insert_id, kind, change, reason, row_checksum, row_id, shown, run)
  values (c.row_key, c.insert_id, c.kind, c.change, c.reason, c.row_checksum, c.row_id, c.shown, cast(@run as int64))

-- items/state_commit.sql
update `mixpanel.items__state`
set version = version, phase = 'idle', baseline = case when exists (select 1 from `mixpanel.items__outbox_${run}` as o where o.outcome = 'maybe') then null when exists (select 1 from `mixpanel.items__outbox_${run}` as o where o.outcome is not null) then baseline else pending end, pending = null, run = null, next_batch = 0, lease_until = unix_millis(current_timestamp()) + cast(@ttl_ms as int64)
where version = cast(@version as int64) and holder = cast(@holder as string) and phase = 'sending' and run = cast(@run as int64)

-- items/drop_outbox.sql
drop table if exists `mixpanel.items__outbox_${run}`

-- items/run_read.sql
select captured_inserts, captured_updates, captured_deletes, attempted_inserts, attempted_updates, attempted_deletes, accepted_inserts, accepted_updates, accepted_deletes, refused, invalid, billable
from `mixpanel.runs`
where project = 'shop' and target = 'dev' and sync = 'items' and run = cast(@run as int64)

-- items/excess.sql
-- never executed: a run only reads the source, and whoever could run this may do more
delete from `main.orders` where false

-- items/preview_initial.sql: made of the parts of capture

-- items/preview.sql
-- the source is read here and nowhere else: what follows names the rows that changed several times
create temp table syncline_changes as
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from `mixpanel.items__rejects` as j
  where j.kind = 'invalid' and j.reason not in ('') and cast(@remapped as int64) = 0
),
source_rows as (
  select syncline_source.*, to_hex(md5(rtrim(array_to_string([coalesce(cast(byte_length(cast(`order_id` as string)) as string) || ':' || cast(`order_id` as string) || ';', '~'), coalesce(cast(byte_length(cast(`ordered_at` as string)) as string) || ':' || cast(`ordered_at` as string) || ';', '~'), coalesce(cast(byte_length(`customer_id`) as string) || ':' || `customer_id` || ';', '~'), coalesce(cast(byte_length(cast(`amount` as string)) as string) || ':' || cast(`amount` as string) || ';', '~'), coalesce(cast(byte_length(if(`weight` is null, null, to_json_string(`weight`))) as string) || ':' || if(`weight` is null, null, to_json_string(`weight`)) || ';', '~'), coalesce(cast(byte_length(cast(`gift` as string)) as string) || ':' || cast(`gift` as string) || ';', '~'), coalesce(cast(byte_length(cast(`shipped` as string)) as string) || ':' || cast(`shipped` as string) || ';', '~'), coalesce(cast(byte_length(cast(unix_micros(`loaded_at`) as string)) as string) || ':' || cast(unix_micros(`loaded_at`) as string) || ';', '~'), coalesce(cast(byte_length(`device`) as string) || ':' || `device` || ';', '~'), coalesce(cast(byte_length(`note`) as string) || ':' || `note` || ';', '~')], ''), '~'))) as syncline_checksum
  from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `device`, `note` from `main.orders` as syncline_source) as syncline_source
),
newer as (
  select syncline_row.*, cast(`order_id` as string) as syncline_key
  from source_rows as syncline_row
),
changes as (
  select n.*,
    cast(null as string) as syncline_old_insert_id,
    case when k.row_key is null then 'insert' else 'known' end as syncline_row_change
  from newer as n
  left join known as k on k.row_key = n.syncline_key and k.row_checksum = n.syncline_checksum
  where cast(@content as string) <> coalesce(cast(@content_from as string), '') and cast(@done as int64) = 0
)

select * from changes;
with changes as (
  select * from syncline_changes
)
,
identified as (
  select syncline_change.*,
    cast(`order_id` as string) as syncline_row_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, 'row' as syncline_insert_id
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
    case when `order_id` >= 9007199254740992e0 or `order_id` <= -9007199254740992e0 or `amount` >= 9007199254740992e0 or `amount` <= -9007199254740992e0 then 1 else 0 end as inexact,
    coalesce(cast(`order_id` as string), '') || ',' || coalesce('"' || replace(if(timestamp_trunc(safe.timestamp(`ordered_at`, 'UTC'), second) = safe.timestamp(`ordered_at`, 'UTC'), format_timestamp('%E4Y-%m-%dT%H:%M:%S', safe.timestamp(`ordered_at`, 'UTC'), 'UTC'), format_timestamp('%E4Y-%m-%dT%H:%M:%E6S', safe.timestamp(`ordered_at`, 'UTC'), 'UTC')), '"', '""') || '"', '') || ',' || coalesce('"' || replace(cast(`customer_id` as string), '"', '""') || '"', '') || ',' || coalesce(cast(`amount` as string), '') || ',' || coalesce(case when `weight` is not null and not is_nan(`weight`) and not is_inf(`weight`) then to_json_string(`weight`) end, '') || ',' || coalesce(cast(`gift` as string), '') || ',' || coalesce('"' || replace(cast(`shipped` as string), '"', '""') || '"', '') || ',' || coalesce('"' || replace(if(timestamp_trunc(`loaded_at`, second) = `loaded_at`, format_timestamp('%E4Y-%m-%dT%H:%M:%S', `loaded_at`, 'UTC'), format_timestamp('%E4Y-%m-%dT%H:%M:%E6S', `loaded_at`, 'UTC')), '"', '""') || '"', '') || ',' || coalesce('"' || replace(cast(`device` as string), '"', '""') || '"', '') || ',' || coalesce('"' || replace(cast(`note` as string), '"', '""') || '"', '') as payload
  from images as syncline_image
),
judged as (
  select r.*,
    cast(null as string) as reason
  from records as r
)
,
settled as (
  -- rejects that have nothing to send any more; a source column named like an outer alias would hide it, so only ours are in scope
  select j.row_key, j.insert_id
  from `mixpanel.items__rejects` as j
  where not exists (select 1 from records as r where r.row_key = j.row_key and r.insert_id = j.insert_id)
    and not exists (select 1 from (select syncline_row_change, syncline_key, syncline_checksum from changes) as c where c.syncline_row_change = 'known' and c.syncline_key = j.row_key and c.syncline_checksum = j.row_checksum)
)
,
measured as (
  select j.row_change, j.change, j.reason, j.row_key, j.row_checksum, j.insert_id, j.old_insert_id, j.row_id, byte_length(j.payload) as bytes, 0 as billable, j.inexact
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
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as string) || ' times' as violation
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
select 'the table would have ' || cast(coalesce(sum(bytes + 1), 0) as string) || ' bytes' as violation
from measured
having coalesce(sum(bytes + 1), 0) > 100000000
) as v
union all
select null, 'check_on_empty_source', v.violation, 0, 0, 0, 0, 0
from (
-- a source that was empty before is no news
select 'no rows' as violation
from (select 1 as one) as o
where not exists (select 1 from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `device`, `note` from `main.orders` as syncline_source) as syncline_source) and cast(@content as string) <> cast(@content_from as string)
) as v
order by row_change, change, reason

-- items/preview_pending.sql: made of the parts of capture

-- items/explain.sql
-- what a run reads; nothing is executed
select *
from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `device`, `note` from `main.orders` as syncline_source) as syncline_source

-- items/drop_ledger.sql
drop table if exists `mixpanel.items__ledger`

-- items/drop_rejects.sql
drop table if exists `mixpanel.items__rejects`

-- items/drop_seen.sql
drop table if exists `mixpanel.items__seen`

-- items/drop_state.sql
drop table if exists `mixpanel.items__state`

-- items/show.sql: made of the parts of capture

-- items/rejects.sql
select row_key, kind, change, reason, row_id, shown, run
from `mixpanel.items__rejects`
order by run desc, row_key
limit 200

-- items/reset_rejects.sql
delete from `mixpanel.items__rejects`
where exists (select 1 from `mixpanel.items__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

-- items/reset_state.sql
update `mixpanel.items__state`
set version = version, baseline = null, epoch = epoch + cast(@new_epoch as int64)
where version = cast(@version as int64) and holder = cast(@holder as string) and phase = 'idle'
