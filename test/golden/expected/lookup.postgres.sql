-- shared/create_schema.sql: as in mirror-keyed

-- shared/create_runs.sql: as in mirror-keyed

-- shared/privileges.sql: as in mirror-keyed

-- shared/cancel.sql: as in mirror-keyed

-- shared/runs.sql: as in mirror-keyed

-- shared/states.sql: as in mirror-keyed

-- items/check_columns.sql
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
  select 'device' as name, 'character varying' as native union all
  select 'note' as name, 'character varying' as native
) as w
cross join (select count(*) as n from source_columns) as f
left join source_columns as c on c.name = w.name
where c.name is null or c.native <> w.native

-- items/check_null_key.sql: as on DuckDB, but for binds, types and the clock

-- items/check_twin_keys.sql: as on DuckDB, but for binds, types and the clock

-- items/check_lookup_size.sql
select 'the table would have ' || cast(coalesce(sum(octet_length(payload) + 1), 0) as text) || ' bytes' as violation
from "mixpanel"."items__outbox_${run}"
having coalesce(sum(octet_length(payload) + 1), 0) > 100000000

-- items/check_on_empty_source.sql: as on DuckDB, but for binds, types and the clock

-- items/create_outbox.sql
create table "mixpanel"."items__outbox_${run}" (
  batch bigint,
  ordinal bigint,
  row_change text,
  change text,
  row_key text,
  row_checksum text,
  row_id text,
  insert_id text,
  old_insert_id text,
  payload text,
  reason text,
  outcome text,
  outcome_reason text
  -- what a run looks up by; a transaction may pass through twins
  , unique (batch, ordinal) deferrable initially deferred
)

-- items/analyze.sql
-- without it the planner takes a new table's conditions for rare ones, and joins it by nested loops
analyze "mixpanel"."items__outbox_${run}"

-- items/run_record.sql
insert into "mixpanel"."runs" (project, target, sync, run, finished_ms, captured_inserts, captured_updates, captured_deletes, attempted_inserts, attempted_updates, attempted_deletes, accepted_inserts, accepted_updates, accepted_deletes, refused, invalid, billable)
select 'shop', 'dev', 'items', cast($1 as bigint), cast(floor(extract(epoch from now()) * 1000) as bigint),
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
from "mixpanel"."items__outbox_${run}" as o
where exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($3 as bigint) and f.holder = cast($4 as text) for share)

having not exists (select 1 from "mixpanel"."runs" as r where r.project = 'shop' and r.target = 'dev' and r.sync = 'items' and r.run = cast($1 as bigint))
  and exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($3 as bigint) and f.holder = cast($4 as text) for share)

-- items/columns.sql
select cast(a.attname as text) as name, case t.typtype when 'e' then 'enum ' || format_type(a.atttypid, null) when 'c' then 'composite ' || format_type(a.atttypid, null) when 'd' then format_type(t.typbasetype, t.typtypmod) else format_type(a.atttypid, a.atttypmod) end as native from pg_attribute as a join pg_class as c on c.oid = a.attrelid join pg_namespace as n on n.oid = c.relnamespace join pg_type as t on t.oid = a.atttypid where c.relname = 'orders' and n.nspname = 'main' and c.relkind in ('r', 'v', 'm', 'f', 'p') and a.attnum > 0 and not a.attisdropped order by a.attnum

-- items/state_exists.sql
select
  case when exists (select 1 from pg_tables as t where t.schemaname = 'mixpanel' and t.tablename = 'items__state') then 1 else 0 end as state_exists,
  case when exists (select 1 from pg_tables as t where t.schemaname = 'mixpanel' and t.tablename = 'items__ledger') then 1 else 0 end as ledger_exists,
  case when exists (select 1 from pg_tables as t where t.schemaname = 'mixpanel' and t.tablename = 'runs') then 1 else 0 end as runs_exists

-- items/state_owner.sql: as on DuckDB, but for binds, types and the clock

-- items/state_read.sql: as on DuckDB, but for binds, types and the clock

-- items/state_lease.sql
update "mixpanel"."items__state"
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

-- items/state_renew.sql: as on DuckDB, but for binds, types and the clock

-- items/state_release.sql: as on DuckDB, but for binds, types and the clock

-- items/state_unlock.sql: as on DuckDB, but for binds, types and the clock

-- items/state_forget.sql: as on DuckDB, but for binds, types and the clock

-- items/state_settle.sql: as on DuckDB, but for binds, types and the clock

-- items/outboxes.sql
-- also those that a process made after it had been paused past its lease: no state names them
select o.name
from (select left(t.tablename, length(t.tablename) - 0) as name from pg_tables as t where t.schemaname = 'mixpanel' and right(t.tablename, 0) = '' order by 1) as o
where strpos(o.name, 'items__outbox_') = 1

-- items/create_state.sql: as on DuckDB, but for binds, types and the clock

-- items/create_rejects.sql: as on DuckDB, but for binds, types and the clock

-- items/state_insert.sql: as on DuckDB, but for binds, types and the clock

-- items/probe.sql
select md5(coalesce(string_agg(syncline_checksum, '' order by syncline_key, syncline_checksum), '')) as content
from (
  select syncline_source.*, md5(rtrim(array_to_string(array[coalesce(octet_length(cast("order_id" as text)) || ':' || cast("order_id" as text) || ';', '~'), coalesce(octet_length(cast("ordered_at" as text)) || ':' || cast("ordered_at" as text) || ';', '~'), coalesce(octet_length((cast("customer_id" as text) collate "C")) || ':' || (cast("customer_id" as text) collate "C") || ';', '~'), coalesce(octet_length(cast("amount" as text)) || ':' || cast("amount" as text) || ';', '~'), coalesce(octet_length(cast("weight" as text)) || ':' || cast("weight" as text) || ';', '~'), coalesce(octet_length(cast("gift" as text)) || ':' || cast("gift" as text) || ';', '~'), coalesce(octet_length(cast("shipped" as text)) || ':' || cast("shipped" as text) || ';', '~'), coalesce(octet_length(cast("loaded_at" as text)) || ':' || cast("loaded_at" as text) || ';', '~'), coalesce(octet_length((cast("device" as text) collate "C")) || ':' || (cast("device" as text) collate "C") || ';', '~'), coalesce(octet_length((cast("note" as text) collate "C")) || ':' || (cast("note" as text) collate "C") || ';', '~')], ''), '~')) as syncline_checksum, cast("order_id" as text) as syncline_key
  from "main"."orders" as syncline_source
) as syncline_row

-- items/capture.sql
insert into "mixpanel"."items__outbox_${run}" (batch, ordinal, row_change, change, row_key, row_checksum, row_id, insert_id, old_insert_id, payload, reason, outcome, outcome_reason)
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."items__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('') and cast($1 as bigint) = 0
),
source_rows as (
  select syncline_source.*, md5(rtrim(array_to_string(array[coalesce(octet_length(cast("order_id" as text)) || ':' || cast("order_id" as text) || ';', '~'), coalesce(octet_length(cast("ordered_at" as text)) || ':' || cast("ordered_at" as text) || ';', '~'), coalesce(octet_length((cast("customer_id" as text) collate "C")) || ':' || (cast("customer_id" as text) collate "C") || ';', '~'), coalesce(octet_length(cast("amount" as text)) || ':' || cast("amount" as text) || ';', '~'), coalesce(octet_length(cast("weight" as text)) || ':' || cast("weight" as text) || ';', '~'), coalesce(octet_length(cast("gift" as text)) || ':' || cast("gift" as text) || ';', '~'), coalesce(octet_length(cast("shipped" as text)) || ':' || cast("shipped" as text) || ';', '~'), coalesce(octet_length(cast("loaded_at" as text)) || ':' || cast("loaded_at" as text) || ';', '~'), coalesce(octet_length((cast("device" as text) collate "C")) || ':' || (cast("device" as text) collate "C") || ';', '~'), coalesce(octet_length((cast("note" as text) collate "C")) || ':' || (cast("note" as text) collate "C") || ';', '~')], ''), '~')) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, cast("order_id" as text) as syncline_key
  from source_rows as syncline_row
),
changes as (
  select n.*,
    cast(null as text) as syncline_old_insert_id,
    case when k.row_key is null then 'insert' else 'known' end as syncline_row_change
  from newer as n
  left join known as k on k.row_key = n.syncline_key and k.row_checksum = n.syncline_checksum
  where cast($2 as text) <> coalesce(cast($3 as text), '') and cast($4 as bigint) = 0
)
,
identified as (
  select syncline_change.*,
    cast("order_id" as text) as syncline_row_id
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
    coalesce(cast("order_id" as text), '') || ',' || coalesce('"' || replace(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char("ordered_at", case when date_trunc('second', "ordered_at") = "ordered_at" then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end, '"', '""') || '"', '') || ',' || coalesce('"' || replace((cast("customer_id" as text) collate "C"), '"', '""') || '"', '') || ',' || coalesce(nullif(nullif(nullif(cast("amount" as text), 'NaN'), 'Infinity'), '-Infinity'), '') || ',' || coalesce(nullif(nullif(nullif(cast("weight" as text), 'NaN'), 'Infinity'), '-Infinity'), '') || ',' || coalesce(cast("gift" as text), '') || ',' || coalesce('"' || replace(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end, '"', '""') || '"', '') || ',' || coalesce('"' || replace(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char(("loaded_at" at time zone 'UTC'), case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end, '"', '""') || '"', '') || ',' || coalesce('"' || replace((cast("device" as text) collate "C"), '"', '""') || '"', '') || ',' || coalesce('"' || replace((cast("note" as text) collate "C"), '"', '""') || '"', '') as payload
  from images as syncline_image
),
judged as (
  select r.*,
    cast(null as text) as reason
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
    sum(case when j.reason is null then octet_length(j.payload) else 0 end) over (rows unbounded preceding) as syncline_bytes
  from judged as j
)
select
  -- both quotients only grow, so equal sums are equal pairs: at most 2000 records and 7000000 bytes before the last record
  case when j.reason is null then cast(floor((j.syncline_count - 1) / 2000.0) + floor((j.syncline_bytes - octet_length(j.payload)) / 7000000.0) as bigint) end,
  j.ordinal, j.row_change, j.change, j.row_key, j.row_checksum, row_id, j.insert_id, j.old_insert_id, j.payload, j.reason, null, null
from numbered as j
union all
select null, null, 'settled', 'settled', t.row_key, null, null, t.insert_id, null, null, null, null, null
from settled as t

-- items/capture_content.sql: as on DuckDB, but for binds, types and the clock

-- items/totals.sql: as on DuckDB, but for binds, types and the clock

-- items/state_flip.sql: as on DuckDB, but for binds, types and the clock

-- items/deliver_pages.sql: as on DuckDB, but for binds, types and the clock

-- items/deliver_restart.sql
-- batches after the checkpoint are sent again: what an earlier attempt recorded of them no longer counts
update "mixpanel"."items__outbox_${run}"
set outcome = null, outcome_reason = null
where batch >= cast($1 as bigint) and outcome is not null
  and exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($2 as bigint) and f.holder = cast($3 as text) for share)

-- items/deliver_abandon.sql
-- nobody knows which of these Mixpanel has: they are neither shown nor not shown, so the next run compares their rows again
update "mixpanel"."items__outbox_${run}"
set outcome = 'maybe', outcome_reason = 'abandoned'
where batch >= cast($1 as bigint)
  and exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($2 as bigint) and f.holder = cast($3 as text) for share)

-- items/deliver_outcome.sql
-- a refusal names the record's position in its batch; the batch was sent in the order of its ordinals
update "mixpanel"."items__outbox_${run}"
set
  outcome = case when p.refusal is not null then cast($1 as text) when cast($2 as bigint) = 1 then outcome end,
  outcome_reason = case when p.refusal is not null then p.refusal when cast($2 as bigint) = 1 then outcome_reason end
from (
  select n.ordinal as place, (cast(cast($3 as text) as json) ->> cast(n.position as text)) as refusal
  from (
    select b.ordinal, row_number() over (order by b.ordinal) as position
    from "mixpanel"."items__outbox_${run}" as b
    where b.batch = cast($4 as bigint)
  ) as n
) as p
where batch = cast($4 as bigint) and ordinal = p.place
  and exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($5 as bigint) and f.holder = cast($6 as text) for share)

-- items/checkpoint.sql: as on DuckDB, but for binds, types and the clock

-- items/check_accounts.sql: as on DuckDB, but for binds, types and the clock

-- items/rejects_remove.sql
delete from "mixpanel"."items__rejects"
where exists (select 1 from "mixpanel"."items__outbox_${run}" as o where o.row_key = "mixpanel"."items__rejects".row_key and o.insert_id = "mixpanel"."items__rejects".insert_id)
  and exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($1 as bigint) and f.holder = cast($2 as text) for share)

-- items/rejects_insert.sql
insert into "mixpanel"."items__rejects" (row_key, insert_id, kind, change, reason, row_checksum, row_id, shown, run)
-- equal rows without an id are one reject
select distinct row_key, insert_id,
  case when reason is not null then 'invalid' else 'refused' end,
  change,
  coalesce(reason, outcome_reason, 'refused'),
  row_checksum, row_id,
  case when reason is null and (change = 'delete' or outcome = 'maybe') then 1 else 0 end,
  cast($1 as bigint)
from "mixpanel"."items__outbox_${run}"
where (reason is not null or outcome is not null) and change <> 'settled'
  and exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($2 as bigint) and f.holder = cast($3 as text) for share)

-- items/state_commit.sql: as on DuckDB, but for binds, types and the clock

-- items/drop_outbox.sql: as on DuckDB, but for binds, types and the clock

-- items/run_read.sql: as on DuckDB, but for binds, types and the clock

-- items/preview_initial.sql: made of the parts of capture

-- items/preview.sql
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from "mixpanel"."items__rejects" as j
  where j.kind = 'invalid' and j.reason not in ('') and cast($1 as bigint) = 0
),
source_rows as (
  select syncline_source.*, md5(rtrim(array_to_string(array[coalesce(octet_length(cast("order_id" as text)) || ':' || cast("order_id" as text) || ';', '~'), coalesce(octet_length(cast("ordered_at" as text)) || ':' || cast("ordered_at" as text) || ';', '~'), coalesce(octet_length((cast("customer_id" as text) collate "C")) || ':' || (cast("customer_id" as text) collate "C") || ';', '~'), coalesce(octet_length(cast("amount" as text)) || ':' || cast("amount" as text) || ';', '~'), coalesce(octet_length(cast("weight" as text)) || ':' || cast("weight" as text) || ';', '~'), coalesce(octet_length(cast("gift" as text)) || ':' || cast("gift" as text) || ';', '~'), coalesce(octet_length(cast("shipped" as text)) || ':' || cast("shipped" as text) || ';', '~'), coalesce(octet_length(cast("loaded_at" as text)) || ':' || cast("loaded_at" as text) || ';', '~'), coalesce(octet_length((cast("device" as text) collate "C")) || ':' || (cast("device" as text) collate "C") || ';', '~'), coalesce(octet_length((cast("note" as text) collate "C")) || ':' || (cast("note" as text) collate "C") || ';', '~')], ''), '~')) as syncline_checksum
  from "main"."orders" as syncline_source
),
newer as (
  select syncline_row.*, cast("order_id" as text) as syncline_key
  from source_rows as syncline_row
),
changes as (
  select n.*,
    cast(null as text) as syncline_old_insert_id,
    case when k.row_key is null then 'insert' else 'known' end as syncline_row_change
  from newer as n
  left join known as k on k.row_key = n.syncline_key and k.row_checksum = n.syncline_checksum
  where cast($2 as text) <> coalesce(cast($3 as text), '') and cast($4 as bigint) = 0
)
,
identified as (
  select syncline_change.*,
    cast("order_id" as text) as syncline_row_id
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
    coalesce(cast("order_id" as text), '') || ',' || coalesce('"' || replace(case when "ordered_at" between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char("ordered_at", case when date_trunc('second', "ordered_at") = "ordered_at" then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end, '"', '""') || '"', '') || ',' || coalesce('"' || replace((cast("customer_id" as text) collate "C"), '"', '""') || '"', '') || ',' || coalesce(nullif(nullif(nullif(cast("amount" as text), 'NaN'), 'Infinity'), '-Infinity'), '') || ',' || coalesce(nullif(nullif(nullif(cast("weight" as text), 'NaN'), 'Infinity'), '-Infinity'), '') || ',' || coalesce(cast("gift" as text), '') || ',' || coalesce('"' || replace(case when "shipped" between date '0001-01-01' and date '9999-12-31' then to_char("shipped", 'YYYY-MM-DD') end, '"', '""') || '"', '') || ',' || coalesce('"' || replace(case when ("loaded_at" at time zone 'UTC') between timestamp '0001-01-01' and timestamp '9999-12-31 23:59:59.999999' then to_char(("loaded_at" at time zone 'UTC'), case when date_trunc('second', ("loaded_at" at time zone 'UTC')) = ("loaded_at" at time zone 'UTC') then 'YYYY-MM-DD"T"HH24:MI:SS' else 'YYYY-MM-DD"T"HH24:MI:SS.US' end) end, '"', '""') || '"', '') || ',' || coalesce('"' || replace((cast("device" as text) collate "C"), '"', '""') || '"', '') || ',' || coalesce('"' || replace((cast("note" as text) collate "C"), '"', '""') || '"', '') as payload
  from images as syncline_image
),
judged as (
  select r.*,
    cast(null as text) as reason
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
  select j.row_change, j.change, j.reason, j.row_key, j.row_checksum, j.insert_id, j.old_insert_id, j.row_id, octet_length(j.payload) as bytes, 0 as billable, j.inexact
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
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as text) || ' times' as violation
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
select 'the table would have ' || cast(coalesce(sum(bytes + 1), 0) as text) || ' bytes' as violation
from measured
having coalesce(sum(bytes + 1), 0) > 100000000
) as v
union all
select null, 'check_on_empty_source', v.violation, 0, 0, 0, 0, 0
from (
-- a source that was empty before is no news
select 'no rows' as violation
from (select 1 as one) as o
where not exists (select 1 from "main"."orders" as syncline_source) and cast($2 as text) <> cast($3 as text)
) as v
order by row_change, change, reason

-- items/preview_pending.sql: made of the parts of capture

-- items/explain.sql
-- what a run reads, as the planner expects it; nothing is executed
explain
select *
from "main"."orders" as syncline_source

-- items/drop_ledger.sql: as on DuckDB, but for binds, types and the clock

-- items/drop_rejects.sql: as on DuckDB, but for binds, types and the clock

-- items/drop_seen.sql: as on DuckDB, but for binds, types and the clock

-- items/drop_state.sql: as on DuckDB, but for binds, types and the clock

-- items/show.sql: made of the parts of capture

-- items/rejects.sql: as on DuckDB, but for binds, types and the clock

-- items/reset_rejects.sql
delete from "mixpanel"."items__rejects"
where exists (select 1 from "mixpanel"."items__state" as f where f.version = cast($1 as bigint) and f.holder = cast($2 as text) for share)

-- items/reset_state.sql: as on DuckDB, but for binds, types and the clock
