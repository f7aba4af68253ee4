-- probe_snapshot
select
  unix_millis(current_timestamp()) as probed_ms,
  case when exists (select 1 from `mixpanel`.INFORMATION_SCHEMA.TABLES as t where t.table_name = cast(@snapshot_was as string)) then 1 else 0 end as snapshot_there,
  case when exists (select 1 from `mixpanel.purchases__rejects` as j where j.kind = 'refused' or j.reason in ('time-in-future')) then 1 else 0 end as retry

-- create_snapshot
-- zero-copy, and gone by itself when nobody applies for so long; rows that still stand in a streaming buffer are in a later one
create snapshot table `mixpanel.purchases__snapshot_${run}`
clone `main.orders`
options (expiration_timestamp = timestamp_add(current_timestamp(), interval 21 day))

-- ledger_exceptions
-- the ledger holds what Mixpanel shows otherwise than the new snapshot says it: no insert id is a row that is not shown
-- one statement, which leaves the same when it runs again; an image that is only maybe shown has no known checksum, so it differs from every row
merge `mixpanel.purchases__ledger` as x
using (
  select l.row_key, case when l.is_same = 1 and not l.is_unknown then 1 else 0 end as is_same, case when not l.is_unknown then l.row_checksum end as row_checksum, l.time_ms, l.event, l.user_id, l.device_id, l.insert_id
  from (
    select l.*,
      exists (select 1 from `mixpanel.purchases__outbox_${run}` as d where d.row_key = l.row_key and d.change = 'delete' and d.outcome = 'maybe' and d.insert_id = l.insert_id) as is_unknown,
      row_number() over (partition by l.row_key order by l.place) as syncline_place
    from (
      -- the image is shown, or may be
      select 1 as place, i.row_key, case when i.outcome is null then 1 else 0 end as is_same, case when i.outcome is null then i.row_checksum end as row_checksum, i.time_ms, i.event, i.user_id, i.device_id, i.insert_id
      from `mixpanel.purchases__outbox_${run}` as i
      left join `mixpanel.purchases__outbox_${run}` as d on d.row_key = i.row_key and d.change = 'delete' and d.old_insert_id is not null
      where i.change in ('insert', 'update') and i.reason is null and (i.outcome is null or (i.outcome = 'maybe' and (i.old_insert_id is null or i.old_insert_id = i.insert_id or (d.row_key is not null and d.outcome is null))))
      union all
      -- it was taken away, as the table says where the row is gone
      select 2, d.row_key, case when d.row_change = 'delete' then 1 else 0 end, null, null, null, null, null, null
      from `mixpanel.purchases__outbox_${run}` as d
      where d.change = 'delete' and d.old_insert_id is not null and d.outcome is null and d.reason is null
      union all
      -- it is still shown as before
      select 3, d.row_key, 0, d.old_checksum, d.time_ms, d.event, d.user_id, d.device_id, d.old_insert_id
      from `mixpanel.purchases__outbox_${run}` as d
      where d.change = 'delete' and d.old_insert_id is not null
      union all
      -- its new image is not shown; the identity is the old one, or there is none
      select 4, i.row_key, 0, i.old_checksum, i.time_ms, i.event, i.user_id, i.device_id, i.old_insert_id
      from `mixpanel.purchases__outbox_${run}` as i
      where i.change in ('insert', 'update') and i.row_checksum is not null
    ) as l
  ) as l
  where l.syncline_place = 1
    and exists (select 1 from `mixpanel.purchases__state` as f where f.version = cast(@version as int64) and f.holder = cast(@holder as string))

) as c
on x.row_key = c.row_key
when matched and c.is_same = 1 then delete
when matched then update set row_checksum = c.row_checksum, time_ms = c.time_ms, event = c.event, user_id = c.user_id, device_id = c.device_id, insert_id = c.insert_id
when not matched and c.is_same = 0 then insert (row_key, row_checksum, time_ms, event, user_id, device_id, insert_id)
  values (c.row_key, c.row_checksum, c.time_ms, c.event, c.user_id, c.device_id, c.insert_id)

-- check_max_deletes
select 'deletes: ' || cast(d.deletes as string) || ' of ' || cast(l.shown as string) || ' rows' as violation
from (select count(*) as deletes from `mixpanel.purchases__outbox_${run}` where row_change = 'delete' and old_insert_id is not null) as d
cross join (select (select count(*) from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `mixpanel.purchases__snapshot_${run}` as syncline_source) as syncline_source) - count(distinct case when o.row_change = 'insert' and o.change = 'insert' then o.row_key end) + count(distinct case when o.row_change = 'delete' and o.old_insert_id is not null then o.row_key end) as shown from `mixpanel.purchases__outbox_${run}` as o
) as l
where d.deletes > coalesce(cast(@allow_max_deletes as int64), greatest(l.shown * 10 / 100.0, 100))

-- prolong_snapshot
-- its table did not change: it stays what the next run compares with
alter table `mixpanel.${snapshot_from}` set options (expiration_timestamp = timestamp_add(current_timestamp(), interval 21 day))

-- drop_snapshot
drop snapshot table if exists `mixpanel.${snapshot_name}`;
-- the reading of its partitions, where there is one
drop table if exists `mixpanel.${snapshot_name}_partitions`

-- capture, changes
-- the source is read here and nowhere else: what follows names the rows that changed several times
create temp table syncline_changes as
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from `mixpanel.purchases__rejects` as j
  where j.kind = 'invalid' and j.reason not in ('time-in-future') and cast(@remapped as int64) = 0
),
source_rows as (
  select syncline_source.*, … as syncline_checksum
  from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `mixpanel.purchases__snapshot_${run}` as syncline_source) as syncline_source
),
-- what was sent of the last run's snapshot, by the expressions of that run
was_rows as (
  select syncline_source.*, ${old_checksum} as syncline_was
  from (select * from `mixpanel.${snapshot_from}` as syncline_source where (${old_where})) as syncline_source
),
was as (
  select syncline_row.syncline_was, ${old_key} as syncline_key, ${old_identity}
  from was_rows as syncline_row
),
-- what Mixpanel shows: that, except for the rows of which the ledger says otherwise
shown as (
  select w.syncline_key as row_key, w.syncline_was as row_checksum, w.syncline_time_ms as time_ms, w.syncline_event as event, w.syncline_user_id as user_id, w.syncline_device_id as device_id, … as insert_id, 0 as is_exception
  from was as w
  where not exists (select 1 from `mixpanel.purchases__ledger` as e where e.row_key = w.syncline_key)
  union all
  select e.row_key, e.row_checksum, e.time_ms, e.event, e.user_id, e.device_id, e.insert_id, 1 as is_exception
  from `mixpanel.purchases__ledger` as e
  where e.insert_id is not null
),
newer as (
  select syncline_row.*, cast(`order_id` as string) as syncline_key
  from source_rows as syncline_row
),
older as (
  select o.*
  from shown as o
),
differing as (
  select n.*,
    o.row_key as syncline_old_key,
    o.row_checksum as syncline_old_checksum,
    o.time_ms as syncline_old_time_ms,
    o.event as syncline_old_event,
    o.user_id as syncline_old_user_id,
    o.device_id as syncline_old_device_id,
    o.insert_id as syncline_old_insert_id
  from newer as n
  full outer join older as o on o.row_key = n.syncline_key
  where o.row_key is null or n.syncline_key is null or o.row_checksum is null
    or o.row_checksum <> n.syncline_checksum or cast(@resend as int64) = 1
),
changes as (
  select d.*,
    case
      when d.syncline_key is null and d.syncline_old_key is not null then 'delete'
      when k.row_key is not null and (d.syncline_old_key is null or d.syncline_old_insert_id = k.insert_id) then 'known'
      when d.syncline_old_key is null then 'insert'
      else 'update'
    end as syncline_row_change
  from differing as d
  left join known as k on k.row_key = d.syncline_key and k.row_checksum = d.syncline_checksum
)

-- capture_forward, changes
-- the source is read here and nowhere else: what follows names the rows that changed several times
create temp table syncline_changes as
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from `mixpanel.purchases__rejects` as j
  where j.kind = 'invalid' and j.reason not in ('time-in-future') and cast(@remapped as int64) = 0
),
source_rows as (
  select syncline_source.*, … as syncline_checksum, ${old_checksum} as syncline_was
  from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `mixpanel.purchases__snapshot_${run}` as syncline_source) as syncline_source
),
-- what was sent of the last run's snapshot, by the expressions of that run
was_rows as (
  select syncline_source.*, ${old_checksum} as syncline_was
  from (select * from `mixpanel.${snapshot_from}` as syncline_source where (${old_where})) as syncline_source
),
was as (
  select syncline_row.syncline_was, ${old_key} as syncline_key, ${old_identity}
  from was_rows as syncline_row
),
-- what Mixpanel shows: that, except for the rows of which the ledger says otherwise
shown as (
  select w.syncline_key as row_key, w.syncline_was as row_checksum, w.syncline_time_ms as time_ms, w.syncline_event as event, w.syncline_user_id as user_id, w.syncline_device_id as device_id, … as insert_id, 0 as is_exception
  from was as w
  where not exists (select 1 from `mixpanel.purchases__ledger` as e where e.row_key = w.syncline_key)
  union all
  select e.row_key, e.row_checksum, e.time_ms, e.event, e.user_id, e.device_id, e.insert_id, 1 as is_exception
  from `mixpanel.purchases__ledger` as e
  where e.insert_id is not null
),
newer as (
  select syncline_row.*, cast(`order_id` as string) as syncline_key
  from source_rows as syncline_row
),
older as (
  select o.*
  from shown as o
),
differing as (
  select n.*,
    o.row_key as syncline_old_key,
    o.row_checksum as syncline_old_checksum,
    o.time_ms as syncline_old_time_ms,
    o.event as syncline_old_event,
    o.user_id as syncline_old_user_id,
    o.device_id as syncline_old_device_id,
    o.insert_id as syncline_old_insert_id
  from newer as n
  full outer join older as o on o.row_key = n.syncline_key
  where o.row_key is null or n.syncline_key is null or o.row_checksum is null
    or o.row_checksum <> n.syncline_was or (o.is_exception = 1 and o.row_checksum <> n.syncline_checksum)
),
changes as (
  select d.*,
    case
      when d.syncline_key is null and d.syncline_old_key is not null then 'delete'
      when k.row_key is not null and (d.syncline_old_key is null or d.syncline_old_insert_id = k.insert_id) then 'known'
      when d.syncline_old_key is null then 'insert'
      -- the row is as it was sent: only how its checksum is computed changed, which the snapshot needs no word of
      when d.syncline_old_checksum = d.syncline_was then 'forward'
      else 'update'
    end as syncline_row_change
  from differing as d
  left join known as k on k.row_key = d.syncline_key and k.row_checksum = d.syncline_checksum
)

-- capture without a key, changes
-- the source is read here and nowhere else: what follows names the rows that changed several times
create temp table syncline_changes as
with known as (
  -- invalid rows of earlier runs whose reason only another value can lift, or another mapping
  select j.row_key, j.insert_id, j.row_checksum
  from `mixpanel.purchases__rejects` as j
  where j.kind = 'invalid' and j.reason not in ('time-in-future') and cast(@remapped as int64) = 0
),
source_rows as (
  select syncline_source.*, … as syncline_checksum
  from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `mixpanel.purchases__snapshot_${run}` as syncline_source) as syncline_source
),
-- what was sent of the last run's snapshot, by the expressions of that run
was_rows as (
  select syncline_source.*, ${old_checksum} as syncline_was
  from (select * from `mixpanel.${snapshot_from}` as syncline_source where (${old_where})) as syncline_source
),
was as (
  select syncline_row.syncline_was, ${old_key} as syncline_key, ${old_identity}
  from was_rows as syncline_row
),
-- what Mixpanel shows: that, except for the rows of which the ledger says otherwise
shown as (
  select w.syncline_key as row_key, w.syncline_was as row_checksum, w.syncline_time_ms as time_ms, w.syncline_event as event, w.syncline_user_id as user_id, w.syncline_device_id as device_id, … as insert_id, 0 as is_exception
  from was as w
  where not exists (select 1 from `mixpanel.purchases__ledger` as e where e.row_key = w.syncline_key)
  union all
  select e.row_key, e.row_checksum, e.time_ms, e.event, e.user_id, e.device_id, e.insert_id, 1 as is_exception
  from `mixpanel.purchases__ledger` as e
  where e.insert_id is not null
),
-- without a key rows are equal or not: what Mixpanel shows as often as the table says it needs no number
moved as (
  select m.row_checksum
  from (
    select syncline_checksum as row_checksum, 1 as n from source_rows
    union all
    select row_checksum, -1 from shown
  ) as m
  group by m.row_checksum
  having sum(m.n) <> 0 or cast(@resend as int64) = 1
),
newer as (
  select syncline_row.*, syncline_checksum || ':' || cast(row_number() over (partition by syncline_checksum) as string) as syncline_key
  from source_rows as syncline_row
  where syncline_row.syncline_checksum in (select m.row_checksum from moved as m)
),
older as (
  select o.*
  from shown as o
  where o.row_checksum is null or o.row_checksum in (select m.row_checksum from moved as m)
),
differing as (
  select n.*,
    o.row_key as syncline_old_key,
    o.row_checksum as syncline_old_checksum,
    o.time_ms as syncline_old_time_ms,
    o.event as syncline_old_event,
    o.user_id as syncline_old_user_id,
    o.device_id as syncline_old_device_id,
    o.insert_id as syncline_old_insert_id
  from newer as n
  full outer join older as o on o.row_key = n.syncline_key
  where o.row_key is null or n.syncline_key is null or o.row_checksum is null
    or o.row_checksum <> n.syncline_checksum or cast(@resend as int64) = 1
),
changes as (
  select d.*,
    case
      when d.syncline_key is null and d.syncline_old_key is not null then 'delete'
      when k.row_key is not null and (d.syncline_old_key is null or d.syncline_old_insert_id = k.insert_id) then 'known'
      when d.syncline_old_key is null then 'insert'
      else 'update'
    end as syncline_row_change
  from differing as d
  left join known as k on k.row_key = d.syncline_key and k.row_checksum = d.syncline_checksum
)
