-- shared/create_schema.sql: as in mirror-keyed

-- shared/create_runs.sql: as in mirror-keyed

-- shared/privileges.sql: as in mirror-keyed

-- shared/cancel.sql: as in mirror-keyed

-- shared/runs.sql: as in mirror-keyed

-- shared/states.sql: as in mirror-keyed

-- customers/check_columns.sql
with source_columns as (select cast(a.attname as text) as name, case t.typtype when 'e' then 'enum ' || format_type(a.atttypid, null) when 'c' then 'composite ' || format_type(a.atttypid, null) when 'd' then format_type(t.typbasetype, t.typtypmod) else format_type(a.atttypid, a.atttypmod) end as native from pg_attribute as a join pg_class as c on c.oid = a.attrelid join pg_namespace as n on n.oid = c.relnamespace join pg_type as t on t.oid = a.atttypid where c.relname = 'orders' and n.nspname = 'main' and c.relkind in ('r', 'v', 'm', 'f', 'p') and a.attnum > 0 and not a.attisdropped order by a.attnum)
select case when f.n = 0 then 'main.orders does not exist, or may not be read: check `relation:`' else 'column `' || w.name || case when c.name is null then '` is missing' else '` is now ' || c.native || ', the lock says ' || w.native end end as violation
from (
  select 'order_id' as name, 'integer' as native union all
  select 'ordered_at' as name, 'timestamp without time zone' as native union all
  select 'customer_id' as name, 'character varying' as native union all
  select 'amount' as name, 'numeric(9,2)' as native union all
  select 'weight' as name, 'double precision' as native union all
  select 'gift' as name, 'boolean' as native union all
  select 'shipped' as name, 'date' as native union all
  select 'loaded_at' as name, 'timestamp with time zone' as native union all
  select 'tags' as name, 'text[]' as native union all
  select 'raw' as name, 'jsonb' as native union all
  select 'photo' as name, 'bytea' as native union all
  select 'device' as name, 'character varying' as native union all
  select 'note' as name, 'character varying' as native
) as w
cross join (select count(*) as n from source_columns) as f
left join source_columns as c on c.name = w.name
where c.name is null or c.native <> w.native

-- customers/check_null_key.sql: as on DuckDB, but for binds, types and the clock

-- customers/check_twin_keys.sql
-- a twin that equals the ledger is not captured, so keys that the source has more than once are looked up among the captured
select 'key ' || k.row_key || ' occurs ' || cast(k.occurrences as text) || ' times' as violation
from (
  select n.syncline_key as row_key, count(*) as occurrences
  from (select (cast("customer_id" as text) collate "C") as syncline_key from "main"."orders" as syncline_source) as n
  where exists (select 1 from "mixpanel"."customers__outbox_${run}" as o where o.row_checksum is not null)
  group by n.syncline_key
  having count(*) > 1
) as k
where exists (select 1 from "mixpanel"."customers__outbox_${run}" as o where o.row_checksum is not null and o.row_key = k.row_key)
union all
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as text) || ' times' as violation
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
  row_change text,
  change text,
  row_key text,
  row_checksum text,
  profile_id text,
  insert_id text,
  old_insert_id text,
  payload text,
  reason text,
  outcome text,
  outcome_reason text
  -- what a run looks up by; a transaction may pass through twins
  , unique (batch, ordinal) deferrable initially deferred
)

-- customers/analyze.sql
-- without it the planner takes a new table's conditions for rare ones, and joins it by nested loops
analyze "mixpanel"."customers__outbox_${run}"

-- customers/run_record.sql
insert into "mixpanel"."runs" (project, target, sync, run, finished_ms, captured_inserts, captured_updates, captured_deletes, attempted_inserts, attempted_updates, attempted_deletes, accepted_inserts, accepted_updates, accepted_deletes, refused, invalid, billable)
select 'shop', 'dev', 'customers', cast($1 as bigint), cast(floor(extract(epoch from now()) * 1000) as bigint),
  count(case when o.change = 'insert' then 1 end),
  count(case when o.change = 'update' then 1 end),
  count(case when o.change = 'delete' then 1 end),
  count(case when o.change = 'insert' and o.reason is null and cast($2 as bigint) = 0 then 1 end),
  count(case when o.change = 'update' and o.reason is null then 1 end),
  count(case when o.change = 'delete' and o.reason is null then 1 end),
  count(case when o.change = 'insert' and o.reason is null and o.outcome is null and cast($2 as bigint) = 0 then 1 end),
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
where exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($3 as bigint) and f.holder = cast($4 as text) for share)

having not exists (select 1 from "mixpanel"."runs" as r where r.project = 'shop' and r.target = 'dev' and r.sync = 'customers' and r.run = cast($1 as bigint))
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($3 as bigint) and f.holder = cast($4 as text) for share)

-- customers/columns.sql
select cast(a.attname as text) as name, case t.typtype when 'e' then 'enum ' || format_type(a.atttypid, null) when 'c' then 'composite ' || format_type(a.atttypid, null) when 'd' then format_type(t.typbasetype, t.typtypmod) else format_type(a.atttypid, a.atttypmod) end as native from pg_attribute as a join pg_class as c on c.oid = a.attrelid join pg_namespace as n on n.oid = c.relnamespace join pg_type as t on t.oid = a.atttypid where c.relname = 'orders' and n.nspname = 'main' and c.relkind in ('r', 'v', 'm', 'f', 'p') and a.attnum > 0 and not a.attisdropped order by a.attnum

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
  holder = cast($1 as text),
  lease_until = cast(floor(extract(epoch from now()) * 1000) as bigint) + cast($2 as bigint),
  quiet_until = case when holder is null then quiet_until else greatest(quiet_until, lease_until + cast($3 as bigint)) end,
  mixpanel = case when mixpanel = '' then cast($4 as text) else mixpanel end,
  source = case when source = '' then 'main.orders' else source end,
  names = names || cast(version + 1 as text) || ' '
where version = cast($5 as bigint)
  and coalesce(holder, '') = cast($6 as text)
  and (holder is null or lease_until <= cast(floor(extract(epoch from now()) * 1000) as bigint))

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
  row_key text,
  row_checksum text,
  profile_id text,
  insert_id text
  -- what a run looks up by; a transaction may pass through twins
  , unique (row_key) deferrable initially deferred
)

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
  select syncline_source.*, md5(rtrim(array_to_string(array[coalesce(octet_length(cast("order_id" as text)) || ':' || cast("order_id" as text) || ';', '~'), coalesce(octet_length(cast("ordered_at" as text)) || ':' || cast("ordered_at" as text) || ';', '~'), coalesce(octet_length((cast("customer_id" as text) collate "C")) || ':' || (cast("customer_id" as text) collate "C") || ';', '~'), coalesce(octet_length(cast("amount" as text)) || ':' || cast("amount" as text) || ';', '~'), coalesce(octet_length(cast("weight" as text)) || ':' || cast("weight" as text) || ';', '~'), coalesce(octet_length(cast("gift" as text)) || ':' || cast("gift" as text) || ';', '~'), coalesce(octet_length(cast("shipped" as text)) || ':' || cast("shipped" as text) || ';', '~'), coalesce(octet_length(cast("loaded_at" as text)) || ':' || cast("loaded_at" as text) || ';', '~'), coalesce(octet_length(cast(to_json("tags") as text)) || ':' || cast(to_json("tags") as text) || ';', '~'), coalesce(octet_length(cast("raw" as text)) || ':' || cast("raw" as text) || ';', '~'), coalesce(octet_length(encode("photo", 'hex')) || ':' || encode("photo", 'hex') || ';', '~'), coalesce(octet_length((cast("device" as text) collate "C")) || ':' || (cast("device" as text) collate "C") || ';', '~'), coalesce(octet_length((cast("note" as text) collate "C")) || ':' || (cast("note" as text) collate "C") || ';', '~')], ''), '~')) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, (cast("customer_id" as text) collate "C") as syncline_key
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
    (cast("customer_id" as text) collate "C") as syncline_profile_id
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
    array_to_string(array['{', '"$distinct_id":', cast(to_json(cast(coalesce(syncline_profile_id, '') as text)) as text), ',"$ip":', '"0"', ',"$set":', '{' || array_to_string(array['"order_id"' || ':' || cast("order_id" as text), '"ordered_at"' || ':' || '"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char("ordered_at", case when date_trunc('second', "ordered_at") = "ordered_at" then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end || '"', '"$name"' || ':' || nullif(nullif(nullif(cast("amount" as text), 'NaN'), 'Infinity'), '-Infinity'), '"weight"' || ':' || nullif(nullif(nullif(cast("weight" as text), 'NaN'), 'Infinity'), '-Infinity'), '"gift"' || ':' || cast("gift" as text), '"shipped"' || ':' || '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"', '"loaded_at"' || ':' || '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char(("loaded_at" at time zone 'UTC'), case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end || '"', '"tags"' || ':' || replace(cast(to_json("tags") as text), chr(10), ' '), '"raw"' || ':' || nullif(btrim(replace(cast("raw" as text), chr(10), ' '), ' ' || chr(9) || chr(13)), 'null'), '"photo"' || ':' || '"' || replace(encode("photo", 'base64'), chr(10), '') || '"', '"device"' || ':' || cast(to_json(cast("device" as text)) as text), '"note"' || ':' || cast(to_json(cast("note" as text)) as text)], ',') || '}', '}'], '') as payload
  from images as syncline_image
  union all
  -- the properties that have no value
  select syncline_image.syncline_key, syncline_image.syncline_row_change, syncline_image.syncline_row_change, null,
    syncline_image.syncline_profile_id,
    'unset', syncline_image.syncline_old_insert_id,
    array_to_string(array['{', '"$distinct_id":', cast(to_json(cast(coalesce(syncline_profile_id, '') as text)) as text), ',"$ip":', '"0"', ',"$unset":', '[' || array_to_string(array[case when cast("order_id" as text) is null then '"order_id"' end, case when '"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char("ordered_at", case when date_trunc('second', "ordered_at") = "ordered_at" then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end || '"' is null then '"ordered_at"' end, case when nullif(nullif(nullif(cast("amount" as text), 'NaN'), 'Infinity'), '-Infinity') is null then '"$name"' end, case when nullif(nullif(nullif(cast("weight" as text), 'NaN'), 'Infinity'), '-Infinity') is null then '"weight"' end, case when cast("gift" as text) is null then '"gift"' end, case when '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"' is null then '"shipped"' end, case when '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char(("loaded_at" at time zone 'UTC'), case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end || '"' is null then '"loaded_at"' end, case when replace(cast(to_json("tags") as text), chr(10), ' ') is null then '"tags"' end, case when nullif(btrim(replace(cast("raw" as text), chr(10), ' '), ' ' || chr(9) || chr(13)), 'null') is null then '"raw"' end, case when '"' || replace(encode("photo", 'base64'), chr(10), '') || '"' is null then '"photo"' end, case when cast(to_json(cast("device" as text)) as text) is null then '"device"' end, case when cast(to_json(cast("note" as text)) as text) is null then '"note"' end, nullif(case when syncline_image.syncline_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as text) when cast($2 as bigint) = 0 then null else cast($4 as text) end, '')], ',') || ']', '}'], '')
  from images as syncline_image
  where array_to_string(array[case when cast("order_id" as text) is null then '"order_id"' end, case when '"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char("ordered_at", case when date_trunc('second', "ordered_at") = "ordered_at" then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end || '"' is null then '"ordered_at"' end, case when nullif(nullif(nullif(cast("amount" as text), 'NaN'), 'Infinity'), '-Infinity') is null then '"$name"' end, case when nullif(nullif(nullif(cast("weight" as text), 'NaN'), 'Infinity'), '-Infinity') is null then '"weight"' end, case when cast("gift" as text) is null then '"gift"' end, case when '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"' is null then '"shipped"' end, case when '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char(("loaded_at" at time zone 'UTC'), case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end || '"' is null then '"loaded_at"' end, case when replace(cast(to_json("tags") as text), chr(10), ' ') is null then '"tags"' end, case when nullif(btrim(replace(cast("raw" as text), chr(10), ' '), ' ' || chr(9) || chr(13)), 'null') is null then '"raw"' end, case when '"' || replace(encode("photo", 'base64'), chr(10), '') || '"' is null then '"photo"' end, case when cast(to_json(cast("device" as text)) as text) is null then '"device"' end, case when cast(to_json(cast("note" as text)) as text) is null then '"note"' end, nullif(case when syncline_image.syncline_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as text) when cast($2 as bigint) = 0 then null else cast($4 as text) end, '')], ',') <> '' and (syncline_image.syncline_row_change = 'update' or cast($5 as bigint) = 1)
  union all
  -- what Mixpanel shows and the table no longer says
  select syncline_change.syncline_old_key, syncline_change.syncline_row_change, 'delete', null,
    syncline_change.syncline_old_profile_id,
    'delete', 'set',
    array_to_string(array['{', '"$distinct_id":', cast(to_json(cast(coalesce(syncline_change.syncline_old_profile_id, '') as text)) as text), ',"$ip":', '"0"', ',"$unset":', '[' || array_to_string(array['"order_id","ordered_at","$name","weight","gift","shipped","loaded_at","tags","raw","photo","device","note"', nullif(case when syncline_change.syncline_old_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as text) else cast($4 as text) end, '')], ',') || ']', '}'], '')
  from changes as syncline_change
  left join images as syncline_image on syncline_image.syncline_key = syncline_change.syncline_old_key
  where syncline_change.syncline_row_change = 'delete'
),
judged as (
  select r.*,
    case
      when r.profile_id is null or trim(r.profile_id) = '' then 'id-missing'
      when octet_length(r.payload) > 1000000 then 'too-large'
      when not true then 'payload-not-json'
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
    sum(case when j.reason is null then octet_length(j.payload) else 0 end) over (rows unbounded preceding) as syncline_bytes
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

-- customers/deliver_pages.sql: as on DuckDB, but for binds, types and the clock

-- customers/deliver_restart.sql
-- batches after the checkpoint are sent again: what an earlier attempt recorded of them no longer counts
update "mixpanel"."customers__outbox_${run}"
set outcome = null, outcome_reason = null
where batch >= cast($1 as bigint) and outcome is not null
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($2 as bigint) and f.holder = cast($3 as text) for share)

-- customers/deliver_abandon.sql
-- nobody knows which of these Mixpanel has: they are neither shown nor not shown, so the next run compares their rows again
update "mixpanel"."customers__outbox_${run}"
set outcome = 'maybe', outcome_reason = 'abandoned'
where batch >= cast($1 as bigint)
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($2 as bigint) and f.holder = cast($3 as text) for share)

-- customers/deliver_outcome.sql
-- a refusal names the record's position in its batch; the batch was sent in the order of its ordinals
update "mixpanel"."customers__outbox_${run}"
set
  outcome = case when p.refusal is not null then cast($1 as text) when cast($2 as bigint) = 1 then outcome end,
  outcome_reason = case when p.refusal is not null then p.refusal when cast($2 as bigint) = 1 then outcome_reason end
from (
  select n.ordinal as place, (cast(cast($3 as text) as json) ->> cast(n.position as text)) as refusal
  from (
    select b.ordinal, row_number() over (order by b.ordinal) as position
    from "mixpanel"."customers__outbox_${run}" as b
    where b.batch = cast($4 as bigint)
  ) as n
) as p
where batch = cast($4 as bigint) and ordinal = p.place
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($5 as bigint) and f.holder = cast($6 as text) for share)

-- customers/checkpoint.sql: as on DuckDB, but for binds, types and the clock

-- customers/check_accounts.sql: as on DuckDB, but for binds, types and the clock

-- customers/ledger_forward.sql
-- rows that are as they were sent, under a mapping that was decided to hold for them too
update "mixpanel"."customers__ledger" as l
set row_key = o.row_key, row_checksum = o.row_checksum
from "mixpanel"."customers__outbox_${run}" as o
where o.change = 'forward' and o.payload = l.row_key and o.insert_id = l.insert_id
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($1 as bigint) and f.holder = cast($2 as text) for share)

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
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($1 as bigint) and f.holder = cast($2 as text) for share)

-- customers/ledger_insert.sql
-- an image that is only maybe shown has no known checksum, so it differs from every row
insert into "mixpanel"."customers__ledger" (row_key, row_checksum, profile_id, insert_id)
select i.row_key, case when i.outcome is null then i.row_checksum end, i.profile_id, i.insert_id
from "mixpanel"."customers__outbox_${run}" as i
left join "mixpanel"."customers__outbox_${run}" as d on d.row_key = i.row_key and d.insert_id = 'unset'
where i.insert_id = 'set' and i.change in ('insert', 'update') and i.reason is null and (i.outcome is null or i.outcome = 'maybe')
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($1 as bigint) and f.holder = cast($2 as text) for share)

-- customers/ledger_unknown.sql
update "mixpanel"."customers__ledger" as l
set row_checksum = null
where exists (select 1 from "mixpanel"."customers__outbox_${run}" as d where d.row_key = l.row_key and d.outcome is not null)
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($1 as bigint) and f.holder = cast($2 as text) for share)

-- customers/rejects_remove.sql
delete from "mixpanel"."customers__rejects"
where exists (select 1 from "mixpanel"."customers__outbox_${run}" as o where o.row_key = "mixpanel"."customers__rejects".row_key and o.insert_id = "mixpanel"."customers__rejects".insert_id)
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($1 as bigint) and f.holder = cast($2 as text) for share)

-- customers/rejects_insert.sql
insert into "mixpanel"."customers__rejects" (row_key, insert_id, kind, change, reason, row_checksum, profile_id, shown, run)
-- equal rows without an id are one reject
select distinct row_key, insert_id,
  case when reason is not null then 'invalid' else 'refused' end,
  change,
  coalesce(reason, outcome_reason, 'refused'),
  row_checksum, profile_id,
  case when reason is null and (change = 'delete' or outcome = 'maybe') then 1 else 0 end,
  cast($1 as bigint)
from "mixpanel"."customers__outbox_${run}"
where (reason is not null or outcome is not null) and change <> 'settled'
  and exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($2 as bigint) and f.holder = cast($3 as text) for share)

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
  select syncline_source.*, md5(rtrim(array_to_string(array[coalesce(octet_length(cast("order_id" as text)) || ':' || cast("order_id" as text) || ';', '~'), coalesce(octet_length(cast("ordered_at" as text)) || ':' || cast("ordered_at" as text) || ';', '~'), coalesce(octet_length((cast("customer_id" as text) collate "C")) || ':' || (cast("customer_id" as text) collate "C") || ';', '~'), coalesce(octet_length(cast("amount" as text)) || ':' || cast("amount" as text) || ';', '~'), coalesce(octet_length(cast("weight" as text)) || ':' || cast("weight" as text) || ';', '~'), coalesce(octet_length(cast("gift" as text)) || ':' || cast("gift" as text) || ';', '~'), coalesce(octet_length(cast("shipped" as text)) || ':' || cast("shipped" as text) || ';', '~'), coalesce(octet_length(cast("loaded_at" as text)) || ':' || cast("loaded_at" as text) || ';', '~'), coalesce(octet_length(cast(to_json("tags") as text)) || ':' || cast(to_json("tags") as text) || ';', '~'), coalesce(octet_length(cast("raw" as text)) || ':' || cast("raw" as text) || ';', '~'), coalesce(octet_length(encode("photo", 'hex')) || ':' || encode("photo", 'hex') || ';', '~'), coalesce(octet_length((cast("device" as text) collate "C")) || ':' || (cast("device" as text) collate "C") || ';', '~'), coalesce(octet_length((cast("note" as text) collate "C")) || ':' || (cast("note" as text) collate "C") || ';', '~')], ''), '~')) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, (cast("customer_id" as text) collate "C") as syncline_key
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
    (cast("customer_id" as text) collate "C") as syncline_profile_id
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
    array_to_string(array['{', '"$distinct_id":', cast(to_json(cast(coalesce(syncline_profile_id, '') as text)) as text), ',"$ip":', '"0"', ',"$set":', '{' || array_to_string(array['"order_id"' || ':' || cast("order_id" as text), '"ordered_at"' || ':' || '"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char("ordered_at", case when date_trunc('second', "ordered_at") = "ordered_at" then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end || '"', '"$name"' || ':' || nullif(nullif(nullif(cast("amount" as text), 'NaN'), 'Infinity'), '-Infinity'), '"weight"' || ':' || nullif(nullif(nullif(cast("weight" as text), 'NaN'), 'Infinity'), '-Infinity'), '"gift"' || ':' || cast("gift" as text), '"shipped"' || ':' || '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"', '"loaded_at"' || ':' || '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char(("loaded_at" at time zone 'UTC'), case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end || '"', '"tags"' || ':' || replace(cast(to_json("tags") as text), chr(10), ' '), '"raw"' || ':' || nullif(btrim(replace(cast("raw" as text), chr(10), ' '), ' ' || chr(9) || chr(13)), 'null'), '"photo"' || ':' || '"' || replace(encode("photo", 'base64'), chr(10), '') || '"', '"device"' || ':' || cast(to_json(cast("device" as text)) as text), '"note"' || ':' || cast(to_json(cast("note" as text)) as text)], ',') || '}', '}'], '') as payload
  from images as syncline_image
  union all
  -- the properties that have no value
  select syncline_image.syncline_key, syncline_image.syncline_row_change, syncline_image.syncline_row_change, null,
    syncline_image.syncline_profile_id,
    'unset', syncline_image.syncline_old_insert_id,
    case when "order_id" >= 9007199254740992e0 or "order_id" <= -9007199254740992e0 or "amount" >= 9007199254740992e0 or "amount" <= -9007199254740992e0 then 1 else 0 end,
    array_to_string(array['{', '"$distinct_id":', cast(to_json(cast(coalesce(syncline_profile_id, '') as text)) as text), ',"$ip":', '"0"', ',"$unset":', '[' || array_to_string(array[case when cast("order_id" as text) is null then '"order_id"' end, case when '"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char("ordered_at", case when date_trunc('second', "ordered_at") = "ordered_at" then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end || '"' is null then '"ordered_at"' end, case when nullif(nullif(nullif(cast("amount" as text), 'NaN'), 'Infinity'), '-Infinity') is null then '"$name"' end, case when nullif(nullif(nullif(cast("weight" as text), 'NaN'), 'Infinity'), '-Infinity') is null then '"weight"' end, case when cast("gift" as text) is null then '"gift"' end, case when '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"' is null then '"shipped"' end, case when '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char(("loaded_at" at time zone 'UTC'), case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end || '"' is null then '"loaded_at"' end, case when replace(cast(to_json("tags") as text), chr(10), ' ') is null then '"tags"' end, case when nullif(btrim(replace(cast("raw" as text), chr(10), ' '), ' ' || chr(9) || chr(13)), 'null') is null then '"raw"' end, case when '"' || replace(encode("photo", 'base64'), chr(10), '') || '"' is null then '"photo"' end, case when cast(to_json(cast("device" as text)) as text) is null then '"device"' end, case when cast(to_json(cast("note" as text)) as text) is null then '"note"' end, nullif(case when syncline_image.syncline_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as text) when cast($2 as bigint) = 0 then null else cast($4 as text) end, '')], ',') || ']', '}'], '')
  from images as syncline_image
  where array_to_string(array[case when cast("order_id" as text) is null then '"order_id"' end, case when '"' || case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char("ordered_at", case when date_trunc('second', "ordered_at") = "ordered_at" then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end || '"' is null then '"ordered_at"' end, case when nullif(nullif(nullif(cast("amount" as text), 'NaN'), 'Infinity'), '-Infinity') is null then '"$name"' end, case when nullif(nullif(nullif(cast("weight" as text), 'NaN'), 'Infinity'), '-Infinity') is null then '"weight"' end, case when cast("gift" as text) is null then '"gift"' end, case when '"' || case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end || '"' is null then '"shipped"' end, case when '"' || case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char(("loaded_at" at time zone 'UTC'), case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end || '"' is null then '"loaded_at"' end, case when replace(cast(to_json("tags") as text), chr(10), ' ') is null then '"tags"' end, case when nullif(btrim(replace(cast("raw" as text), chr(10), ' '), ' ' || chr(9) || chr(13)), 'null') is null then '"raw"' end, case when '"' || replace(encode("photo", 'base64'), chr(10), '') || '"' is null then '"photo"' end, case when cast(to_json(cast("device" as text)) as text) is null then '"device"' end, case when cast(to_json(cast("note" as text)) as text) is null then '"note"' end, nullif(case when syncline_image.syncline_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as text) when cast($2 as bigint) = 0 then null else cast($4 as text) end, '')], ',') <> '' and (syncline_image.syncline_row_change = 'update' or cast($5 as bigint) = 1)
  union all
  -- what Mixpanel shows and the table no longer says
  select syncline_change.syncline_old_key, syncline_change.syncline_row_change, 'delete', null,
    syncline_change.syncline_old_profile_id,
    'delete', 'set',
    0,
    array_to_string(array['{', '"$distinct_id":', cast(to_json(cast(coalesce(syncline_change.syncline_old_profile_id, '') as text)) as text), ',"$ip":', '"0"', ',"$unset":', '[' || array_to_string(array['"order_id","ordered_at","$name","weight","gift","shipped","loaded_at","tags","raw","photo","device","note"', nullif(case when syncline_change.syncline_old_key in (select j.row_key from "mixpanel"."customers__rejects" as j) then cast($3 as text) else cast($4 as text) end, '')], ',') || ']', '}'], '')
  from changes as syncline_change
  left join images as syncline_image on syncline_image.syncline_key = syncline_change.syncline_old_key
  where syncline_change.syncline_row_change = 'delete'
),
judged as (
  select r.*,
    case
      when r.profile_id is null or trim(r.profile_id) = '' then 'id-missing'
      when octet_length(r.payload) > 1000000 then 'too-large'
      when not true then 'payload-not-json'
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
select 'key ' || k.row_key || ' occurs ' || cast(k.occurrences as text) || ' times' as violation
from (
  select n.syncline_key as row_key, count(*) as occurrences
  from (select (cast("customer_id" as text) collate "C") as syncline_key from "main"."orders" as syncline_source) as n
  where exists (select 1 from measured as o where o.row_checksum is not null)
  group by n.syncline_key
  having count(*) > 1
) as k
where exists (select 1 from measured as o where o.row_checksum is not null and o.row_key = k.row_key)
union all
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as text) || ' times' as violation
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

-- customers/reset_ledger.sql
delete from "mixpanel"."customers__ledger"
where exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($1 as bigint) and f.holder = cast($2 as text) for share)

-- customers/reset_rejects.sql
delete from "mixpanel"."customers__rejects"
where exists (select 1 from "mixpanel"."customers__state" as f where f.version = cast($1 as bigint) and f.holder = cast($2 as text) for share)

-- customers/reset_state.sql: as on DuckDB, but for binds, types and the clock
