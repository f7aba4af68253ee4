-- shared/create_schema.sql: as in mirror-keyed

-- shared/create_runs.sql: as in mirror-keyed

-- shared/runs.sql: as in mirror-keyed

-- shared/states.sql: as in mirror-keyed

-- items/check_columns.sql
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
  select 'device' as name, 'VARCHAR' as native union all
  select 'note' as name, 'VARCHAR' as native
) as w
cross join (select count(*) as n from source_columns) as f
left join source_columns as c on c.name = w.name
where c.name is null or c.native <> w.native

-- items/check_null_key.sql
select 'a row has no value in its key' as violation
from "mixpanel"."items__outbox_${run}"
where row_key is null
  -- a join key must not be falsy
  or trim(row_id) in ('', '0') or lower(trim(row_id)) = 'false'
limit 1

-- items/check_twin_keys.sql
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as varchar) || ' times' as violation
from "mixpanel"."items__outbox_${run}" as o
where o.row_checksum is not null
  -- rows without an id are named by their content, and may all be equal
  and (o.reason is null or o.reason <> 'id-missing')
group by o.row_key
having count(*) > 1
limit 5

-- items/check_lookup_size.sql
select 'the table would have ' || cast(coalesce(sum(strlen(payload) + 1), 0) as varchar) || ' bytes' as violation
from "mixpanel"."items__outbox_${run}"
having coalesce(sum(strlen(payload) + 1), 0) > 100000000

-- items/check_on_empty_source.sql
-- a source that was empty before is no news
select 'no rows' as violation
from (select 1 as one) as o
where not exists (select 1 from "main"."orders" as syncline_source) and cast($content as varchar) <> cast($content_from as varchar)

-- items/create_outbox.sql
create table "mixpanel"."items__outbox_${run}" (
  batch bigint,
  ordinal bigint,
  row_change varchar,
  change varchar,
  row_key varchar,
  row_checksum varchar,
  row_id varchar,
  insert_id varchar,
  old_insert_id varchar,
  payload varchar,
  reason varchar,
  outcome varchar,
  outcome_reason varchar
)

-- items/run_record.sql
insert into "mixpanel"."runs" (project, target, sync, run, finished_ms, captured_inserts, captured_updates, captured_deletes, attempted_inserts, attempted_updates, attempted_deletes, accepted_inserts, accepted_updates, accepted_deletes, refused, invalid, billable)
select 'shop', 'dev', 'items', cast($run as bigint), epoch_ms(now()),
  count(case when o.change = 'insert' then 1 end),
  count(case when o.change = 'update' then 1 end),
  count(case when o.change = 'delete' then 1 end),
  count(case when o.change = 'insert' and o.reason is null and cast($adopted as bigint) = 0 then 1 end),
  count(case when o.change = 'update' and o.reason is null then 1 end),
  count(case when o.change = 'delete' and o.reason is null then 1 end),
  count(case when o.change = 'insert' and o.reason is null and o.outcome is null and cast($adopted as bigint) = 0 then 1 end),
  count(case when o.change = 'update' and o.reason is null and o.outcome is null then 1 end),
  count(case when o.change = 'delete' and o.reason is null and o.outcome is null then 1 end),
  count(case when o.outcome is not null then 1 end),
  count(case when o.reason is not null then 1 end),
0
from "mixpanel"."items__outbox_${run}" as o
where exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

having not exists (select 1 from "mixpanel"."runs" as r where r.project = 'shop' and r.target = 'dev' and r.sync = 'items' and r.run = cast($run as bigint))
  and exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- items/columns.sql
select column_name as name, data_type as native from duckdb_columns() where lower(table_name) = lower('orders') and lower(schema_name) = lower('main') and database_name = current_database() order by column_index

-- items/state_exists.sql
select
  case when exists (select 1 from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and table_name = 'items__state') then 1 else 0 end as state_exists,
  case when exists (select 1 from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and table_name = 'items__ledger') then 1 else 0 end as ledger_exists,
  case when exists (select 1 from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and table_name = 'runs') then 1 else 0 end as runs_exists

-- items/state_owner.sql
-- another project or target that uses this staging schema, whether this sync has ever run here, and its last run on record
select
  max(case when project <> 'shop' or target <> 'dev' then project || ' / ' || target end) as foreign_owner,
  coalesce(max(case when sync = 'items' then 1 else 0 end), 0) as recorded,
  max(case when sync in ('items', 'items') then run end) as last_run
from "mixpanel"."runs"

-- items/state_read.sql
select
  version, holder, phase, run, baseline, pending, next_batch, id_space, epoch, layout, project, target, mixpanel, source, names,
  case when holder is not null and lease_until > epoch_ms(now()) then 1 else 0 end as held,
  lease_until,
  case when quiet_until > epoch_ms(now()) then quiet_until - epoch_ms(now()) else 0 end as quiet_left_ms
from "mixpanel"."items__state"

-- items/state_lease.sql
update "mixpanel"."items__state"
set
  version = version + 1,
  holder = cast($holder as varchar),
  lease_until = epoch_ms(now()) + cast($ttl_ms as bigint),
  quiet_until = case when holder is null then quiet_until else greatest(quiet_until, epoch_ms(now()) + cast($quiet_ms as bigint)) end,
  mixpanel = case when mixpanel = '' then cast($mixpanel as varchar) else mixpanel end,
  source = case when source = '' then 'main.orders' else source end,
  names = names || cast(version + 1 as varchar) || ' '
where version = cast($state_version as bigint)
  and coalesce(holder, '') = cast($state_holder as varchar)

-- items/state_renew.sql
update "mixpanel"."items__state"
set version = version, lease_until = epoch_ms(now()) + cast($ttl_ms as bigint)
where version = cast($version as bigint) and holder = cast($holder as varchar)

-- items/state_release.sql
update "mixpanel"."items__state"
set version = version, holder = null, lease_until = 0, quiet_until = greatest(quiet_until, epoch_ms(now()) + cast($quiet_ms as bigint))
where version = cast($version as bigint) and holder = cast($holder as varchar)

-- items/state_unlock.sql
update "mixpanel"."items__state"
set version = version + 1, holder = null, lease_until = 0, quiet_until = greatest(quiet_until, greatest(lease_until, epoch_ms(now())) + cast($quiet_ms as bigint))
where version = cast($state_version as bigint)

-- items/state_forget.sql
update "mixpanel"."items__state"
set version = version, names = cast($names as varchar)
where version = cast($version as bigint) and holder = cast($holder as varchar)

-- items/state_settle.sql
-- a run that captured nothing: only its position moves
update "mixpanel"."items__state"
set version = version, baseline = cast($pending as varchar)
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'idle'

-- items/create_state.sql
create table "mixpanel"."items__state" (
  version bigint,
  holder varchar,
  lease_until bigint,
  quiet_until bigint,
  phase varchar,
  run bigint,
  baseline varchar,
  pending varchar,
  next_batch bigint,
  id_space varchar,
  epoch bigint,
  layout bigint,
  project varchar,
  target varchar,
  mixpanel varchar,
  source varchar,
  names varchar
)

-- items/create_rejects.sql
create table "mixpanel"."items__rejects" (
  row_key varchar,
  insert_id varchar,
  kind varchar,
  change varchar,
  reason varchar,
  row_checksum varchar,
  row_id varchar,
  shown bigint,
  run bigint
)

-- items/state_insert.sql
-- runs are numbered on from those of an earlier life, which stay on record
insert into "mixpanel"."items__state" (version, holder, lease_until, quiet_until, phase, run, baseline, pending, next_batch, id_space, epoch, layout, project, target, mixpanel, source, names)
select coalesce((select max(r.run) from "mixpanel"."runs" as r where r.project = 'shop' and r.target = 'dev' and r.sync = 'items'), 0), null, 0, 0, 'idle', null, null, null, 0, 'items', 0, 1, 'shop', 'dev', '', '', ''
from (select 1 as one) as o
where not exists (select 1 from "mixpanel"."items__state")

-- items/probe.sql
select md5(coalesce(string_agg(syncline_checksum, '' order by syncline_key, syncline_checksum), '')) as content
from (
  select syncline_source.*, md5(regexp_replace(cast(json_array(cast("order_id" as varchar), cast("ordered_at" as varchar), cast("customer_id" as varchar), cast("amount" as varchar), cast("weight" as varchar), cast("gift" as varchar), cast("shipped" as varchar), cast(epoch_us("loaded_at") as varchar), cast("device" as varchar), cast("note" as varchar)) as varchar), '(,null)+\]$', ']')) as syncline_checksum, cast("order_id" as varchar) as syncline_key
  from "main"."orders" as syncline_source
) as syncline_row

-- items/capture.sql
insert into "mixpanel"."items__outbox_${run}" (batch, ordinal, row_change, change, row_key, row_checksum, row_id, insert_id, old_insert_id, payload, reason, outcome, outcome_reason)
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."items__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('') and cast($remapped as bigint) = 0
),
source_rows as (
  select syncline_source.*, md5(regexp_replace(cast(json_array(cast("order_id" as varchar), cast("ordered_at" as varchar), cast("customer_id" as varchar), cast("amount" as varchar), cast("weight" as varchar), cast("gift" as varchar), cast("shipped" as varchar), cast(epoch_us("loaded_at") as varchar), cast("device" as varchar), cast("note" as varchar)) as varchar), '(,null)+\]$', ']')) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, cast("order_id" as varchar) as syncline_key
  from source_rows as syncline_row
),
changes as (
  select n.*,
    cast(null as varchar) as syncline_old_insert_id,
    case when k.row_key is null then 'insert' else 'known' end as syncline_row_change
  from newer as n
  left join known as k on k.row_key = n.syncline_key and k.row_checksum = n.syncline_checksum
  where cast($content as varchar) <> coalesce(cast($content_from as varchar), '') and cast($done as bigint) = 0
)
,
identified as (
  select syncline_change.*,
    cast("order_id" as varchar) as syncline_row_id
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
    coalesce(cast("order_id" as varchar), '') || ',' || coalesce('"' || replace(case when isfinite(cast("ordered_at" as timestamp)) and year(cast("ordered_at" as timestamp)) between 1 and 9999 then case when date_trunc('second', cast("ordered_at" as timestamp)) = cast("ordered_at" as timestamp) then strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S') else strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S.%f') end end, '"', '""') || '"', '') || ',' || coalesce('"' || replace(cast("customer_id" as varchar), '"', '""') || '"', '') || ',' || coalesce(cast("amount" as varchar), '') || ',' || coalesce(case when isfinite("weight") then cast(to_json("weight") as varchar) end, '') || ',' || coalesce(cast("gift" as varchar), '') || ',' || coalesce('"' || replace(case when isfinite("shipped") and year("shipped") between 1 and 9999 then strftime("shipped", '%Y-%m-%d') end, '"', '""') || '"', '') || ',' || coalesce('"' || replace(case when isfinite(("loaded_at" at time zone 'UTC')) and year(("loaded_at" at time zone 'UTC')) between 1 and 9999 then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S') else strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S.%f') end end, '"', '""') || '"', '') || ',' || coalesce('"' || replace(cast("device" as varchar), '"', '""') || '"', '') || ',' || coalesce('"' || replace(cast("note" as varchar), '"', '""') || '"', '') as payload
  from images as syncline_image
),
judged as (
  select r.*,
    cast(null as varchar) as reason
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
    sum(case when j.reason is null then 1 else 0 end) over (rows unbounded preceding) as syncline_count,
    sum(case when j.reason is null then strlen(j.payload) else 0 end) over (rows unbounded preceding) as syncline_bytes
  from judged as j
)
select
  -- both quotients only grow, so equal sums are equal pairs: at most 2000 records and 7000000 bytes before the last record
  case when j.reason is null then cast(floor((j.syncline_count - 1) / 2000.0) + floor((j.syncline_bytes - strlen(j.payload)) / 7000000.0) as bigint) end,
  j.ordinal, j.row_change, j.change, j.row_key, j.row_checksum, row_id, j.insert_id, j.old_insert_id, j.payload, j.reason, null, null
from numbered as j
union all
select null, null, 'settled', 'settled', t.row_key, null, null, t.insert_id, null, null, null, null, null
from settled as t

-- items/capture_content.sql
-- what was captured may be newer than what was probed
select case when count(*) = 0 then cast($content as varchar) else md5(coalesce(string_agg(row_checksum, '' order by row_key, row_checksum), '')) end as content
from "mixpanel"."items__outbox_${run}"

-- items/totals.sql
select count(*) as captured, coalesce(max(batch) + 1, 0) as batches, coalesce(sum(case when reason is not null then 1 else 0 end), 0) as invalid,
  coalesce(sum(case when batch >= cast($next_batch as bigint) then 1 else 0 end), 0) as remaining
from "mixpanel"."items__outbox_${run}"

-- items/state_flip.sql
update "mixpanel"."items__state"
set version = version, phase = 'sending', run = cast($run as bigint), pending = cast($pending as varchar), next_batch = 0, lease_until = epoch_ms(now()) + cast($ttl_ms as bigint)
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'idle'

-- items/deliver_pages.sql
select batch, count(*) as records, string_agg(payload, chr(10) order by ordinal) as body
from "mixpanel"."items__outbox_${run}"
where batch >= cast($batch_from as bigint) and batch < cast($batch_to as bigint)
group by batch
order by batch

-- items/deliver_restart.sql
-- batches after the checkpoint are sent again: what an earlier attempt recorded of them no longer counts
update "mixpanel"."items__outbox_${run}"
set outcome = null, outcome_reason = null
where batch >= cast($next_batch as bigint) and outcome is not null
  and exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- items/deliver_abandon.sql
-- nobody knows which of these Mixpanel has: they are neither shown nor not shown, so the next run compares their rows again
update "mixpanel"."items__outbox_${run}"
set outcome = 'maybe', outcome_reason = 'abandoned'
where batch >= cast($next_batch as bigint)
  and exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- items/deliver_outcome.sql
-- a refusal names the record's position in its batch; the batch was sent in the order of its ordinals
update "mixpanel"."items__outbox_${run}"
set
  outcome = case when p.refusal is not null then cast($outcome as varchar) when cast($more as bigint) = 1 then outcome end,
  outcome_reason = case when p.refusal is not null then p.refusal when cast($more as bigint) = 1 then outcome_reason end
from (
  select n.ordinal as place, json_extract_string(cast($refusals as varchar), '$."' || n.position || '"') as refusal
  from (
    select b.ordinal, row_number() over (order by b.ordinal) as position
    from "mixpanel"."items__outbox_${run}" as b
    where b.batch = cast($batch as bigint)
  ) as n
) as p
where batch = cast($batch as bigint) and ordinal = p.place
  and exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- items/checkpoint.sql
update "mixpanel"."items__state"
set version = version, next_batch = cast($next_batch as bigint)
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'sending' and run = cast($run as bigint)

-- items/check_accounts.sql
-- accepted + refused + invalid = captured: a record of no finished batch would be missing from the sum
select 'records not accounted for: ' || cast(count(*) as varchar) as violation
from "mixpanel"."items__outbox_${run}" as o
where o.change not in ('settled', 'forward') and o.reason is null
  and (o.batch is null or o.batch >= (select f.next_batch from "mixpanel"."items__state" as f))
having count(*) > 0

-- items/rejects_remove.sql
delete from "mixpanel"."items__rejects"
where exists (select 1 from "mixpanel"."items__outbox_${run}" as o where o.row_key = "mixpanel"."items__rejects".row_key and o.insert_id = "mixpanel"."items__rejects".insert_id)
  and exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- items/rejects_insert.sql
insert into "mixpanel"."items__rejects" (row_key, insert_id, kind, change, reason, row_checksum, row_id, shown, run)
-- equal rows without an id are one reject
select distinct row_key, insert_id,
  case when reason is not null then 'invalid' else 'refused' end,
  change,
  coalesce(reason, outcome_reason, 'refused'),
  row_checksum, row_id,
  case when reason is null and (change = 'delete' or outcome = 'maybe') then 1 else 0 end,
  cast($run as bigint)
from "mixpanel"."items__outbox_${run}"
where (reason is not null or outcome is not null) and change <> 'settled'
  and exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- items/state_commit.sql
update "mixpanel"."items__state"
set version = version, phase = 'idle', baseline = case when exists (select 1 from "mixpanel"."items__outbox_${run}" as o where o.outcome = 'maybe') then null when exists (select 1 from "mixpanel"."items__outbox_${run}" as o where o.outcome is not null) then baseline else pending end, pending = null, run = null, next_batch = 0, lease_until = epoch_ms(now()) + cast($ttl_ms as bigint)
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'sending' and run = cast($run as bigint)

-- items/drop_outbox.sql
drop table if exists "mixpanel"."items__outbox_${run}"

-- items/run_read.sql
select captured_inserts, captured_updates, captured_deletes, attempted_inserts, attempted_updates, attempted_deletes, accepted_inserts, accepted_updates, accepted_deletes, refused, invalid, billable
from "mixpanel"."runs"
where project = 'shop' and target = 'dev' and sync = 'items' and run = cast($run as bigint)

-- items/preview_initial.sql: made of the parts of capture

-- items/preview.sql
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."items__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('') and cast($remapped as bigint) = 0
),
source_rows as (
  select syncline_source.*, md5(regexp_replace(cast(json_array(cast("order_id" as varchar), cast("ordered_at" as varchar), cast("customer_id" as varchar), cast("amount" as varchar), cast("weight" as varchar), cast("gift" as varchar), cast("shipped" as varchar), cast(epoch_us("loaded_at") as varchar), cast("device" as varchar), cast("note" as varchar)) as varchar), '(,null)+\]$', ']')) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, cast("order_id" as varchar) as syncline_key
  from source_rows as syncline_row
),
changes as (
  select n.*,
    cast(null as varchar) as syncline_old_insert_id,
    case when k.row_key is null then 'insert' else 'known' end as syncline_row_change
  from newer as n
  left join known as k on k.row_key = n.syncline_key and k.row_checksum = n.syncline_checksum
  where cast($content as varchar) <> coalesce(cast($content_from as varchar), '') and cast($done as bigint) = 0
)
,
identified as (
  select syncline_change.*,
    cast("order_id" as varchar) as syncline_row_id
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
    case when "order_id" >= 9007199254740992e0 or "order_id" <= -9007199254740992e0 or "amount" >= 9007199254740992e0 or "amount" <= -9007199254740992e0 then 1 else 0 end as inexact,
    coalesce(cast("order_id" as varchar), '') || ',' || coalesce('"' || replace(case when isfinite(cast("ordered_at" as timestamp)) and year(cast("ordered_at" as timestamp)) between 1 and 9999 then case when date_trunc('second', cast("ordered_at" as timestamp)) = cast("ordered_at" as timestamp) then strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S') else strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S.%f') end end, '"', '""') || '"', '') || ',' || coalesce('"' || replace(cast("customer_id" as varchar), '"', '""') || '"', '') || ',' || coalesce(cast("amount" as varchar), '') || ',' || coalesce(case when isfinite("weight") then cast(to_json("weight") as varchar) end, '') || ',' || coalesce(cast("gift" as varchar), '') || ',' || coalesce('"' || replace(case when isfinite("shipped") and year("shipped") between 1 and 9999 then strftime("shipped", '%Y-%m-%d') end, '"', '""') || '"', '') || ',' || coalesce('"' || replace(case when isfinite(("loaded_at" at time zone 'UTC')) and year(("loaded_at" at time zone 'UTC')) between 1 and 9999 then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S') else strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S.%f') end end, '"', '""') || '"', '') || ',' || coalesce('"' || replace(cast("device" as varchar), '"', '""') || '"', '') || ',' || coalesce('"' || replace(cast("note" as varchar), '"', '""') || '"', '') as payload
  from images as syncline_image
),
judged as (
  select r.*,
    cast(null as varchar) as reason
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
  select j.row_change, j.change, j.reason, j.row_key, j.row_checksum, j.insert_id, j.old_insert_id, j.row_id, strlen(j.payload) as bytes, 0 as billable, j.inexact
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
select null, 'check_lookup_size', v.violation, 0, 0, 0, 0, 0
from (
select 'the table would have ' || cast(coalesce(sum(bytes + 1), 0) as varchar) || ' bytes' as violation
from measured
having coalesce(sum(bytes + 1), 0) > 100000000
) as v
union all
select null, 'check_on_empty_source', v.violation, 0, 0, 0, 0, 0
from (
-- a source that was empty before is no news
select 'no rows' as violation
from (select 1 as one) as o
where not exists (select 1 from "main"."orders" as syncline_source) and cast($content as varchar) <> cast($content_from as varchar)
) as v
order by row_change, change, reason

-- items/preview_pending.sql: made of the parts of capture

-- items/drop_ledger.sql
drop table if exists "mixpanel"."items__ledger"

-- items/drop_rejects.sql
drop table if exists "mixpanel"."items__rejects"

-- items/drop_seen.sql
drop table if exists "mixpanel"."items__seen"

-- items/drop_state.sql
drop table if exists "mixpanel"."items__state"

-- items/show.sql: made of the parts of capture

-- items/rejects.sql
select row_key, kind, change, reason, row_id, shown, run
from "mixpanel"."items__rejects"
order by run desc, row_key
limit 200

-- items/reset_rejects.sql
delete from "mixpanel"."items__rejects"
where exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- items/reset_state.sql
update "mixpanel"."items__state"
set version = version, baseline = null, epoch = epoch + cast($new_epoch as bigint)
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'idle'
