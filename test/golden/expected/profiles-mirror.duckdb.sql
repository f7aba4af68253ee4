-- shared/create_schema.sql: as in mirror-keyed

-- shared/create_runs.sql: as in mirror-keyed

-- shared/runs.sql: as in mirror-keyed

-- shared/states.sql: as in mirror-keyed

-- customers/check_columns.sql
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
  select 'photo' as name, 'BLOB' as native union all
  select 'device' as name, 'VARCHAR' as native union all
  select 'note' as name, 'VARCHAR' as native
) as w
cross join (select count(*) as n from source_columns) as f
left join source_columns as c on c.name = w.name
where c.name is null or c.native <> w.native

-- customers/check_null_key.sql
select 'a row has no value in its key' as violation
from "mixpanel"."customers__outbox_${run}"
where row_key is null
limit 1

-- customers/check_twin_keys.sql
-- a twin that equals the ledger is not captured, so keys that the source has more than once are looked up among the captured
select 'key ' || k.row_key || ' occurs ' || cast(k.occurrences as varchar) || ' times' as violation
from (
  select n.syncline_key as row_key, count(*) as occurrences
  from (select (cast("customer_id" as varchar) collate "C") as syncline_key from "main"."orders" as syncline_source) as n
  where exists (select 1 from "mixpanel"."customers__outbox_${run}" as o where o.row_checksum is not null)
  group by n.syncline_key
  having count(*) > 1
) as k
where exists (select 1 from "mixpanel"."customers__outbox_${run}" as o where o.row_checksum is not null and o.row_key = k.row_key)
union all
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as varchar) || ' times' as violation
from "mixpanel"."customers__outbox_${run}" as o
where o.row_checksum is not null
  -- rows without an id are named by their content, and may all be equal
  and (o.reason is null or o.reason <> 'id-missing')
group by o.row_key
having count(*) > 1
limit 5

-- customers/check_max_deletes.sql
select 'deletes: ' || cast(d.deletes as varchar) || ' of ' || cast(l.shown as varchar) || ' rows' as violation
from (select count(*) as deletes from "mixpanel"."customers__outbox_${run}" where row_change = 'delete' and old_insert_id is not null) as d
cross join (select count(*) as shown from "mixpanel"."customers__ledger") as l
where d.deletes > coalesce(cast($allow_max_deletes as bigint), greatest(l.shown * 0 / 100.0, 5))

-- customers/check_on_empty_source.sql
select 'the source is empty and Mixpanel shows ' || cast(l.shown as varchar) || ' rows' as violation
from (select count(*) as shown from "mixpanel"."customers__ledger") as l
cross join (select count(*) as deletes from "mixpanel"."customers__outbox_${run}" where row_change = 'delete' and old_insert_id is not null) as d
where l.shown > 0 and d.deletes = l.shown and not exists (select 1 from "mixpanel"."customers__outbox_${run}" where change in ('insert', 'update'))
  -- a reject that no record of this run touches is an invalid row that is still there
  and not exists (
    select 1 from "mixpanel"."customers__rejects" as j
    where j.kind = 'invalid' and not exists (select 1 from "mixpanel"."customers__outbox_${run}" as o where o.row_key = j.row_key and o.insert_id = j.insert_id)
  )
  and cast($allow_on_empty_source as bigint) is null

-- customers/create_outbox.sql
create table "mixpanel"."customers__outbox_${run}" (
  batch bigint,
  ordinal bigint,
  row_change varchar,
  change varchar,
  row_key varchar,
  row_checksum varchar,
  profile_id varchar,
  insert_id varchar,
  old_insert_id varchar,
  payload varchar,
  reason varchar,
  outcome varchar,
  outcome_reason varchar
)

-- customers/run_record.sql
insert into "mixpanel"."runs" (project, target, sync, run, finished_ms, captured_inserts, captured_updates, captured_deletes, attempted_inserts, attempted_updates, attempted_deletes, accepted_inserts, accepted_updates, accepted_deletes, refused, invalid, billable)
select 'shop', 'dev', 'customers', cast($run as bigint), epoch_ms(now()),
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
-- the two updates of a profile are one change of its row
from (
  select row_key, max(change) as change, max(insert_id) as insert_id, max(reason) as reason, case when max(reason) is null then max(outcome) end as outcome
  from "mixpanel"."customers__outbox_${run}"
  where change not in ('settled', 'forward')
  group by row_key
) as o
where exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

having not exists (select 1 from "mixpanel"."runs" as r where r.project = 'shop' and r.target = 'dev' and r.sync = 'customers' and r.run = cast($run as bigint))
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- customers/columns.sql
select column_name as name, data_type as native from duckdb_columns() where lower(table_name) = lower('orders') and lower(schema_name) = lower('main') and database_name = current_database() order by column_index

-- customers/state_exists.sql
select
  case when exists (select 1 from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and table_name = 'customers__state') then 1 else 0 end as state_exists,
  case when exists (select 1 from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and table_name = 'customers__ledger') then 1 else 0 end as ledger_exists,
  case when exists (select 1 from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and table_name = 'runs') then 1 else 0 end as runs_exists

-- customers/state_owner.sql
-- another project or target that uses this staging schema, whether this sync has ever run here, and its last run on record
select
  max(case when project <> 'shop' or target <> 'dev' then project || ' / ' || target end) as foreign_owner,
  coalesce(max(case when sync = 'customers' then 1 else 0 end), 0) as recorded,
  max(case when sync in ('customers', 'customers') then run end) as last_run
from "mixpanel"."runs"

-- customers/state_read.sql
select
  version, holder, phase, run, baseline, pending, next_batch, id_space, epoch, layout, project, target, mixpanel, source, names,
  case when holder is not null and lease_until > epoch_ms(now()) then 1 else 0 end as held,
  lease_until,
  case when quiet_until > epoch_ms(now()) then quiet_until - epoch_ms(now()) else 0 end as quiet_left_ms
from "mixpanel"."customers__state"

-- customers/state_lease.sql
update "mixpanel"."customers__state"
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

-- customers/state_renew.sql
update "mixpanel"."customers__state"
set version = version, lease_until = epoch_ms(now()) + cast($ttl_ms as bigint)
where version = cast($version as bigint) and holder = cast($holder as varchar)

-- customers/state_release.sql
update "mixpanel"."customers__state"
set version = version, holder = null, lease_until = 0, quiet_until = greatest(quiet_until, epoch_ms(now()) + cast($quiet_ms as bigint))
where version = cast($version as bigint) and holder = cast($holder as varchar)

-- customers/state_unlock.sql
update "mixpanel"."customers__state"
set version = version + 1, holder = null, lease_until = 0, quiet_until = greatest(quiet_until, greatest(lease_until, epoch_ms(now())) + cast($quiet_ms as bigint))
where version = cast($state_version as bigint)

-- customers/state_forget.sql
update "mixpanel"."customers__state"
set version = version, names = cast($names as varchar)
where version = cast($version as bigint) and holder = cast($holder as varchar)

-- customers/state_settle.sql
-- a run that captured nothing: only its position moves
update "mixpanel"."customers__state"
set version = version, baseline = cast($pending as varchar)
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'idle'

-- customers/create_state.sql
create table "mixpanel"."customers__state" (
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

-- customers/create_ledger.sql
create table "mixpanel"."customers__ledger" (
  row_key varchar,
  row_checksum varchar,
  profile_id varchar,
  insert_id varchar
)

-- customers/create_rejects.sql
create table "mixpanel"."customers__rejects" (
  row_key varchar,
  insert_id varchar,
  kind varchar,
  change varchar,
  reason varchar,
  row_checksum varchar,
  profile_id varchar,
  shown bigint,
  run bigint
)

-- customers/state_insert.sql
-- runs are numbered on from those of an earlier life, which stay on record
insert into "mixpanel"."customers__state" (version, holder, lease_until, quiet_until, phase, run, baseline, pending, next_batch, id_space, epoch, layout, project, target, mixpanel, source, names)
select coalesce((select max(r.run) from "mixpanel"."runs" as r where r.project = 'shop' and r.target = 'dev' and r.sync = 'customers'), 0), null, 0, 0, 'idle', null, null, null, 0, 'customers', 0, 1, 'shop', 'dev', '', '', ''
from (select 1 as one) as o
where not exists (select 1 from "mixpanel"."customers__state")

-- customers/capture.sql
insert into "mixpanel"."customers__outbox_${run}" (batch, ordinal, row_change, change, row_key, row_checksum, profile_id, insert_id, old_insert_id, payload, reason, outcome, outcome_reason)
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."customers__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('') and cast($remapped as bigint) = 0
),
source_rows as (
  select syncline_source.*, md5(regexp_replace(cast(json_array(cast("order_id" as varchar), cast("ordered_at" as varchar), cast("customer_id" as varchar), cast("amount" as varchar), cast("weight" as varchar), cast("gift" as varchar), cast("shipped" as varchar), cast(epoch_us("loaded_at") as varchar), cast(to_json("tags") as varchar), cast("raw" as varchar), cast("photo" as varchar), cast("device" as varchar), cast("note" as varchar)) as varchar), '(,null)+\]$', ']')) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, (cast("customer_id" as varchar) collate "C") as syncline_key
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
    or cast($resend as bigint) = 1
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
    cast("customer_id" as varchar) as syncline_profile_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, 'set' as syncline_insert_id
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
    concat('{', '"$distinct_id":', cast(to_json(coalesce(syncline_profile_id, '')) as varchar), ',"$ip":', '"0"', ',"$set":', '{' || concat_ws(',', '"order_id"' || ':' || cast("order_id" as varchar), '"ordered_at"' || ':' || '"' || case when isfinite(cast("ordered_at" as timestamp)) and year(cast("ordered_at" as timestamp)) between 1 and 9999 then case when date_trunc('second', cast("ordered_at" as timestamp)) = cast("ordered_at" as timestamp) then strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S') else strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S.%f') end end || '"', '"$name"' || ':' || cast("amount" as varchar), '"weight"' || ':' || case when isfinite("weight") then cast(to_json("weight") as varchar) end, '"gift"' || ':' || cast("gift" as varchar), '"shipped"' || ':' || '"' || case when isfinite("shipped") and year("shipped") between 1 and 9999 then strftime("shipped", '%Y-%m-%d') end || '"', '"loaded_at"' || ':' || '"' || case when isfinite(("loaded_at" at time zone 'UTC')) and year(("loaded_at" at time zone 'UTC')) between 1 and 9999 then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S') else strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S.%f') end end || '"', '"tags"' || ':' || cast(to_json("tags") as varchar), '"raw"' || ':' || nullif(trim(replace(cast("raw" as varchar), chr(10), ' ')), 'null'), '"photo"' || ':' || '"' || base64("photo") || '"', '"device"' || ':' || cast(to_json(cast("device" as varchar)) as varchar), '"note"' || ':' || cast(to_json(cast("note" as varchar)) as varchar)) || '}', '}') as payload
  from images as syncline_image
  union all
  -- the properties that have no value
  select syncline_image.syncline_key, syncline_image.syncline_row_change, syncline_image.syncline_row_change, null,
    syncline_image.syncline_profile_id,
    'unset', syncline_image.syncline_old_insert_id,
    concat('{', '"$distinct_id":', cast(to_json(coalesce(syncline_profile_id, '')) as varchar), ',"$ip":', '"0"', ',"$unset":', '[' || concat_ws(',', case when cast("order_id" as varchar) is null then '"order_id"' end, case when '"' || case when isfinite(cast("ordered_at" as timestamp)) and year(cast("ordered_at" as timestamp)) between 1 and 9999 then case when date_trunc('second', cast("ordered_at" as timestamp)) = cast("ordered_at" as timestamp) then strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S') else strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S.%f') end end || '"' is null then '"ordered_at"' end, case when cast("amount" as varchar) is null then '"$name"' end, case when case when isfinite("weight") then cast(to_json("weight") as varchar) end is null then '"weight"' end, case when cast("gift" as varchar) is null then '"gift"' end, case when '"' || case when isfinite("shipped") and year("shipped") between 1 and 9999 then strftime("shipped", '%Y-%m-%d') end || '"' is null then '"shipped"' end, case when '"' || case when isfinite(("loaded_at" at time zone 'UTC')) and year(("loaded_at" at time zone 'UTC')) between 1 and 9999 then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S') else strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S.%f') end end || '"' is null then '"loaded_at"' end, case when cast(to_json("tags") as varchar) is null then '"tags"' end, case when nullif(trim(replace(cast("raw" as varchar), chr(10), ' ')), 'null') is null then '"raw"' end, case when '"' || base64("photo") || '"' is null then '"photo"' end, case when cast(to_json(cast("device" as varchar)) as varchar) is null then '"device"' end, case when cast(to_json(cast("note" as varchar)) as varchar) is null then '"note"' end, nullif(case when syncline_image.syncline_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($retried as varchar) when cast($resend as bigint) = 0 then null else cast($retired as varchar) end, '')) || ']', '}')
  from images as syncline_image
  where concat_ws(',', case when cast("order_id" as varchar) is null then '"order_id"' end, case when '"' || case when isfinite(cast("ordered_at" as timestamp)) and year(cast("ordered_at" as timestamp)) between 1 and 9999 then case when date_trunc('second', cast("ordered_at" as timestamp)) = cast("ordered_at" as timestamp) then strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S') else strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S.%f') end end || '"' is null then '"ordered_at"' end, case when cast("amount" as varchar) is null then '"$name"' end, case when case when isfinite("weight") then cast(to_json("weight") as varchar) end is null then '"weight"' end, case when cast("gift" as varchar) is null then '"gift"' end, case when '"' || case when isfinite("shipped") and year("shipped") between 1 and 9999 then strftime("shipped", '%Y-%m-%d') end || '"' is null then '"shipped"' end, case when '"' || case when isfinite(("loaded_at" at time zone 'UTC')) and year(("loaded_at" at time zone 'UTC')) between 1 and 9999 then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S') else strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S.%f') end end || '"' is null then '"loaded_at"' end, case when cast(to_json("tags") as varchar) is null then '"tags"' end, case when nullif(trim(replace(cast("raw" as varchar), chr(10), ' ')), 'null') is null then '"raw"' end, case when '"' || base64("photo") || '"' is null then '"photo"' end, case when cast(to_json(cast("device" as varchar)) as varchar) is null then '"device"' end, case when cast(to_json(cast("note" as varchar)) as varchar) is null then '"note"' end, nullif(case when syncline_image.syncline_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($retried as varchar) when cast($resend as bigint) = 0 then null else cast($retired as varchar) end, '')) <> '' and (syncline_image.syncline_row_change = 'update' or cast($again as bigint) = 1)
  union all
  -- what Mixpanel shows and the table no longer says
  select syncline_change.syncline_old_key, syncline_change.syncline_row_change, 'delete', null,
    syncline_change.syncline_old_profile_id,
    'delete', 'set',
    concat('{', '"$distinct_id":', cast(to_json(coalesce(syncline_change.syncline_old_profile_id, '')) as varchar), ',"$ip":', '"0"', ',"$unset":', '[' || concat_ws(',', '"order_id","ordered_at","$name","weight","gift","shipped","loaded_at","tags","raw","photo","device","note"', nullif(case when syncline_change.syncline_old_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($retried as varchar) else cast($retired as varchar) end, '')) || ']', '}')
  from changes as syncline_change
  left join images as syncline_image on syncline_image.syncline_key = syncline_change.syncline_old_key
  where syncline_change.syncline_row_change = 'delete'
),
judged as (
  select r.*,
    case
      when r.profile_id is null or trim(r.profile_id) = '' then 'id-missing'
      when strlen(r.payload) > 1000000 then 'too-large'
      when not (json_valid(r.payload) and not regexp_matches(regexp_replace(r.payload, '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf|,\s*[\]}]')) then 'payload-not-json'
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
    sum(case when j.reason is null then 1 else 0 end) over (rows unbounded preceding) as syncline_count,
    sum(case when j.reason is null then strlen(j.payload) else 0 end) over (rows unbounded preceding) as syncline_bytes
  from judged as j
)
select
  -- both quotients only grow, so equal sums are equal pairs: at most 2000 records and 7000000 bytes before the last record
  case when j.reason is null then cast(floor((j.syncline_count - 1) / 2000.0) + floor((j.syncline_bytes - strlen(j.payload)) / 7000000.0) as bigint) end,
  j.ordinal, j.row_change, j.change, j.row_key, j.row_checksum, profile_id, j.insert_id, j.old_insert_id, j.payload, j.reason, null, null
from numbered as j
union all
select null, null, 'settled', 'settled', t.row_key, null, null, t.insert_id, null, null, null, null, null
from settled as t

-- customers/capture_forward.sql: made of the parts of capture

-- customers/totals.sql
select count(*) as captured, coalesce(max(batch) + 1, 0) as batches, coalesce(sum(case when reason is not null then 1 else 0 end), 0) as invalid,
  coalesce(sum(case when batch >= cast($next_batch as bigint) then 1 else 0 end), 0) as remaining
from "mixpanel"."customers__outbox_${run}"

-- customers/state_flip.sql
update "mixpanel"."customers__state"
set version = version, phase = 'sending', run = cast($run as bigint), pending = cast($pending as varchar), next_batch = 0, lease_until = epoch_ms(now()) + cast($ttl_ms as bigint)
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'idle'

-- customers/deliver_pages.sql
select batch, count(*) as records, string_agg(payload, chr(10) order by ordinal) as body
from "mixpanel"."customers__outbox_${run}"
where batch >= cast($batch_from as bigint) and batch < cast($batch_to as bigint)
group by batch
order by batch

-- customers/deliver_restart.sql
-- batches after the checkpoint are sent again: what an earlier attempt recorded of them no longer counts
update "mixpanel"."customers__outbox_${run}"
set outcome = null, outcome_reason = null
where batch >= cast($next_batch as bigint) and outcome is not null
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- customers/deliver_abandon.sql
-- nobody knows which of these Mixpanel has: they are neither shown nor not shown, so the next run compares their rows again
update "mixpanel"."customers__outbox_${run}"
set outcome = 'maybe', outcome_reason = 'abandoned'
where batch >= cast($next_batch as bigint)
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- customers/deliver_outcome.sql
-- a refusal names the record's position in its batch; the batch was sent in the order of its ordinals
update "mixpanel"."customers__outbox_${run}"
set
  outcome = case when p.refusal is not null then cast($outcome as varchar) when cast($more as bigint) = 1 then outcome end,
  outcome_reason = case when p.refusal is not null then p.refusal when cast($more as bigint) = 1 then outcome_reason end
from (
  select n.ordinal as place, json_extract_string(cast($refusals as varchar), '$."' || n.position || '"') as refusal
  from (
    select b.ordinal, row_number() over (order by b.ordinal) as position
    from "mixpanel"."customers__outbox_${run}" as b
    where b.batch = cast($batch as bigint)
  ) as n
) as p
where batch = cast($batch as bigint) and ordinal = p.place
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- customers/checkpoint.sql
update "mixpanel"."customers__state"
set version = version, next_batch = cast($next_batch as bigint)
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'sending' and run = cast($run as bigint)

-- customers/check_accounts.sql
-- accepted + refused + invalid = captured: a record of no finished batch would be missing from the sum
select 'records not accounted for: ' || cast(count(*) as varchar) as violation
from "mixpanel"."customers__outbox_${run}" as o
where o.change not in ('settled', 'forward') and o.reason is null
  and (o.batch is null or o.batch >= (select f.next_batch from "mixpanel"."customers__state" as f))
having count(*) > 0

-- customers/ledger_forward.sql
-- rows that are as they were sent, under a mapping that was decided to hold for them too
update "mixpanel"."customers__ledger" as l
set row_key = o.row_key, row_checksum = o.row_checksum
from "mixpanel"."customers__outbox_${run}" as o
where o.change = 'forward' and o.payload = l.row_key and o.insert_id = l.insert_id
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- customers/ledger_remove.sql
-- the ledger follows records, not rows: what a record took away is gone even if another one of the row was refused
delete from "mixpanel"."customers__ledger"
where row_key in (
  select i.row_key
  from "mixpanel"."customers__outbox_${run}" as i
  left join "mixpanel"."customers__outbox_${run}" as d on d.row_key = i.row_key and d.insert_id = 'unset'
  where i.insert_id = 'set' and i.change in ('insert', 'update') and i.reason is null and (i.outcome is null or i.outcome = 'maybe')
  union all
  select d.row_key
  from "mixpanel"."customers__outbox_${run}" as d
  where d.insert_id = 'delete' and d.outcome is null and d.reason is null
)
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- customers/ledger_insert.sql
-- an image that is only maybe shown has no known checksum, so it differs from every row
insert into "mixpanel"."customers__ledger" (row_key, row_checksum, profile_id, insert_id)
select i.row_key, case when i.outcome is null then i.row_checksum end, i.profile_id, i.insert_id
from "mixpanel"."customers__outbox_${run}" as i
left join "mixpanel"."customers__outbox_${run}" as d on d.row_key = i.row_key and d.insert_id = 'unset'
where i.insert_id = 'set' and i.change in ('insert', 'update') and i.reason is null and (i.outcome is null or i.outcome = 'maybe')
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- customers/ledger_unknown.sql
update "mixpanel"."customers__ledger" as l
set row_checksum = null
where exists (select 1 from "mixpanel"."customers__outbox_${run}" as d where d.row_key = l.row_key and d.outcome is not null)
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- customers/rejects_remove.sql
delete from "mixpanel"."customers__rejects"
where exists (select 1 from "mixpanel"."customers__outbox_${run}" as o where o.row_key = "mixpanel"."customers__rejects".row_key and o.insert_id = "mixpanel"."customers__rejects".insert_id)
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- customers/rejects_insert.sql
insert into "mixpanel"."customers__rejects" (row_key, insert_id, kind, change, reason, row_checksum, profile_id, shown, run)
-- equal rows without an id are one reject
select distinct row_key, insert_id,
  case when reason is not null then 'invalid' else 'refused' end,
  change,
  coalesce(reason, outcome_reason, 'refused'),
  row_checksum, profile_id,
  case when reason is null and (change = 'delete' or outcome = 'maybe') then 1 else 0 end,
  cast($run as bigint)
from "mixpanel"."customers__outbox_${run}"
where (reason is not null or outcome is not null) and change <> 'settled'
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- customers/state_commit.sql
update "mixpanel"."customers__state"
set version = version, phase = 'idle', baseline = pending, pending = null, run = null, next_batch = 0, lease_until = epoch_ms(now()) + cast($ttl_ms as bigint)
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'sending' and run = cast($run as bigint)

-- customers/drop_outbox.sql
drop table if exists "mixpanel"."customers__outbox_${run}"

-- customers/run_read.sql
select captured_inserts, captured_updates, captured_deletes, attempted_inserts, attempted_updates, attempted_deletes, accepted_inserts, accepted_updates, accepted_deletes, refused, invalid, billable
from "mixpanel"."runs"
where project = 'shop' and target = 'dev' and sync = 'customers' and run = cast($run as bigint)

-- customers/preview_initial.sql: made of the parts of capture

-- customers/preview.sql
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."customers__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('') and cast($remapped as bigint) = 0
),
source_rows as (
  select syncline_source.*, md5(regexp_replace(cast(json_array(cast("order_id" as varchar), cast("ordered_at" as varchar), cast("customer_id" as varchar), cast("amount" as varchar), cast("weight" as varchar), cast("gift" as varchar), cast("shipped" as varchar), cast(epoch_us("loaded_at") as varchar), cast(to_json("tags") as varchar), cast("raw" as varchar), cast("photo" as varchar), cast("device" as varchar), cast("note" as varchar)) as varchar), '(,null)+\]$', ']')) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, (cast("customer_id" as varchar) collate "C") as syncline_key
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
    or cast($resend as bigint) = 1
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
    cast("customer_id" as varchar) as syncline_profile_id
  from changes as syncline_change
  where syncline_change.syncline_row_change in ('insert', 'update')
),
images as (
  select syncline_image.*, 'set' as syncline_insert_id
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
    concat('{', '"$distinct_id":', cast(to_json(coalesce(syncline_profile_id, '')) as varchar), ',"$ip":', '"0"', ',"$set":', '{' || concat_ws(',', '"order_id"' || ':' || cast("order_id" as varchar), '"ordered_at"' || ':' || '"' || case when isfinite(cast("ordered_at" as timestamp)) and year(cast("ordered_at" as timestamp)) between 1 and 9999 then case when date_trunc('second', cast("ordered_at" as timestamp)) = cast("ordered_at" as timestamp) then strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S') else strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S.%f') end end || '"', '"$name"' || ':' || cast("amount" as varchar), '"weight"' || ':' || case when isfinite("weight") then cast(to_json("weight") as varchar) end, '"gift"' || ':' || cast("gift" as varchar), '"shipped"' || ':' || '"' || case when isfinite("shipped") and year("shipped") between 1 and 9999 then strftime("shipped", '%Y-%m-%d') end || '"', '"loaded_at"' || ':' || '"' || case when isfinite(("loaded_at" at time zone 'UTC')) and year(("loaded_at" at time zone 'UTC')) between 1 and 9999 then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S') else strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S.%f') end end || '"', '"tags"' || ':' || cast(to_json("tags") as varchar), '"raw"' || ':' || nullif(trim(replace(cast("raw" as varchar), chr(10), ' ')), 'null'), '"photo"' || ':' || '"' || base64("photo") || '"', '"device"' || ':' || cast(to_json(cast("device" as varchar)) as varchar), '"note"' || ':' || cast(to_json(cast("note" as varchar)) as varchar)) || '}', '}') as payload
  from images as syncline_image
  union all
  -- the properties that have no value
  select syncline_image.syncline_key, syncline_image.syncline_row_change, syncline_image.syncline_row_change, null,
    syncline_image.syncline_profile_id,
    'unset', syncline_image.syncline_old_insert_id,
    case when "order_id" >= 9007199254740992e0 or "order_id" <= -9007199254740992e0 or "amount" >= 9007199254740992e0 or "amount" <= -9007199254740992e0 then 1 else 0 end,
    concat('{', '"$distinct_id":', cast(to_json(coalesce(syncline_profile_id, '')) as varchar), ',"$ip":', '"0"', ',"$unset":', '[' || concat_ws(',', case when cast("order_id" as varchar) is null then '"order_id"' end, case when '"' || case when isfinite(cast("ordered_at" as timestamp)) and year(cast("ordered_at" as timestamp)) between 1 and 9999 then case when date_trunc('second', cast("ordered_at" as timestamp)) = cast("ordered_at" as timestamp) then strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S') else strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S.%f') end end || '"' is null then '"ordered_at"' end, case when cast("amount" as varchar) is null then '"$name"' end, case when case when isfinite("weight") then cast(to_json("weight") as varchar) end is null then '"weight"' end, case when cast("gift" as varchar) is null then '"gift"' end, case when '"' || case when isfinite("shipped") and year("shipped") between 1 and 9999 then strftime("shipped", '%Y-%m-%d') end || '"' is null then '"shipped"' end, case when '"' || case when isfinite(("loaded_at" at time zone 'UTC')) and year(("loaded_at" at time zone 'UTC')) between 1 and 9999 then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S') else strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S.%f') end end || '"' is null then '"loaded_at"' end, case when cast(to_json("tags") as varchar) is null then '"tags"' end, case when nullif(trim(replace(cast("raw" as varchar), chr(10), ' ')), 'null') is null then '"raw"' end, case when '"' || base64("photo") || '"' is null then '"photo"' end, case when cast(to_json(cast("device" as varchar)) as varchar) is null then '"device"' end, case when cast(to_json(cast("note" as varchar)) as varchar) is null then '"note"' end, nullif(case when syncline_image.syncline_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($retried as varchar) when cast($resend as bigint) = 0 then null else cast($retired as varchar) end, '')) || ']', '}')
  from images as syncline_image
  where concat_ws(',', case when cast("order_id" as varchar) is null then '"order_id"' end, case when '"' || case when isfinite(cast("ordered_at" as timestamp)) and year(cast("ordered_at" as timestamp)) between 1 and 9999 then case when date_trunc('second', cast("ordered_at" as timestamp)) = cast("ordered_at" as timestamp) then strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S') else strftime(cast("ordered_at" as timestamp), '%Y-%m-%dT%H:%M:%S.%f') end end || '"' is null then '"ordered_at"' end, case when cast("amount" as varchar) is null then '"$name"' end, case when case when isfinite("weight") then cast(to_json("weight") as varchar) end is null then '"weight"' end, case when cast("gift" as varchar) is null then '"gift"' end, case when '"' || case when isfinite("shipped") and year("shipped") between 1 and 9999 then strftime("shipped", '%Y-%m-%d') end || '"' is null then '"shipped"' end, case when '"' || case when isfinite(("loaded_at" at time zone 'UTC')) and year(("loaded_at" at time zone 'UTC')) between 1 and 9999 then case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S') else strftime(("loaded_at" at time zone 'UTC'), '%Y-%m-%dT%H:%M:%S.%f') end end || '"' is null then '"loaded_at"' end, case when cast(to_json("tags") as varchar) is null then '"tags"' end, case when nullif(trim(replace(cast("raw" as varchar), chr(10), ' ')), 'null') is null then '"raw"' end, case when '"' || base64("photo") || '"' is null then '"photo"' end, case when cast(to_json(cast("device" as varchar)) as varchar) is null then '"device"' end, case when cast(to_json(cast("note" as varchar)) as varchar) is null then '"note"' end, nullif(case when syncline_image.syncline_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($retried as varchar) when cast($resend as bigint) = 0 then null else cast($retired as varchar) end, '')) <> '' and (syncline_image.syncline_row_change = 'update' or cast($again as bigint) = 1)
  union all
  -- what Mixpanel shows and the table no longer says
  select syncline_change.syncline_old_key, syncline_change.syncline_row_change, 'delete', null,
    syncline_change.syncline_old_profile_id,
    'delete', 'set',
    0,
    concat('{', '"$distinct_id":', cast(to_json(coalesce(syncline_change.syncline_old_profile_id, '')) as varchar), ',"$ip":', '"0"', ',"$unset":', '[' || concat_ws(',', '"order_id","ordered_at","$name","weight","gift","shipped","loaded_at","tags","raw","photo","device","note"', nullif(case when syncline_change.syncline_old_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($retried as varchar) else cast($retired as varchar) end, '')) || ']', '}')
  from changes as syncline_change
  left join images as syncline_image on syncline_image.syncline_key = syncline_change.syncline_old_key
  where syncline_change.syncline_row_change = 'delete'
),
judged as (
  select r.*,
    case
      when r.profile_id is null or trim(r.profile_id) = '' then 'id-missing'
      when strlen(r.payload) > 1000000 then 'too-large'
      when not (json_valid(r.payload) and not regexp_matches(regexp_replace(r.payload, '"(?:[^"\\]|\\.)*"', '""', 'g'), '(?i)nan|inf|,\s*[\]}]')) then 'payload-not-json'
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
  select j.row_change, j.change, j.reason, j.row_key, j.row_checksum, j.insert_id, j.old_insert_id, strlen(j.payload) as bytes, 0 as billable, j.inexact
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
  from (select (cast("customer_id" as varchar) collate "C") as syncline_key from "main"."orders" as syncline_source) as n
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

-- customers/preview_forward.sql: made of the parts of capture

-- customers/preview_pending.sql: made of the parts of capture

-- customers/preview_shown.sql: made of the parts of capture

-- customers/destroy.sql: made of the parts of capture

-- customers/drop_ledger.sql
drop table if exists "mixpanel"."customers__ledger"

-- customers/drop_rejects.sql
drop table if exists "mixpanel"."customers__rejects"

-- customers/drop_seen.sql
drop table if exists "mixpanel"."customers__seen"

-- customers/drop_state.sql
drop table if exists "mixpanel"."customers__state"

-- customers/show.sql: made of the parts of capture

-- customers/rejects.sql
select row_key, kind, change, reason, profile_id, shown, run
from "mixpanel"."customers__rejects"
order by run desc, row_key
limit 200

-- customers/reset_ledger.sql
delete from "mixpanel"."customers__ledger"
where exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- customers/reset_rejects.sql
delete from "mixpanel"."customers__rejects"
where exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))

-- customers/reset_state.sql
update "mixpanel"."customers__state"
set version = version, baseline = null, epoch = epoch + cast($new_epoch as bigint)
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'idle'
