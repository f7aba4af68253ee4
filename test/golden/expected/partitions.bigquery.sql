-- create_partitions
-- read before the snapshot: the next run compares with what a partition was then at the latest, so that whatever is written later differs
create table `mixpanel.purchases__snapshot_${run}_partitions`
options (expiration_timestamp = timestamp_add(current_timestamp(), interval 3650 day))
as
select p.partition_id, sum(p.total_rows) as total_rows, max(unix_micros(p.last_modified_time)) as modified_us,
  max(t.made_us) as made_us, max(t.partitioning) as partitioning, max(unix_micros(current_timestamp())) as read_us
from `main`.INFORMATION_SCHEMA.PARTITIONS as p
cross join (select unix_micros(creation_time) as made_us, if(ends_with(table_type, 'VIEW'), null, regexp_extract(ddl, r'\nPARTITION BY ([^\n]*[^\n;])')) as partitioning from `main`.INFORMATION_SCHEMA.TABLES where table_name = 'orders') as t
where p.table_name = 'orders'
group by p.partition_id

-- no_partitions
select 'no reading of partitions beside the last snapshot' as missing
from (select 1 as one) as x
where not exists (select 1 from `mixpanel`.INFORMATION_SCHEMA.TABLES as t where t.table_name = cast(@snapshot_was as string) || '_partitions')

-- changed_partitions
-- read after the snapshot: what is in it and was not in the last one is told by now.
-- A partition is left unread only where both readings have it and agree; what vanished, is new, or is no range, is read
with now_read as (
select p.partition_id, sum(p.total_rows) as total_rows, max(unix_micros(p.last_modified_time)) as modified_us,
  max(t.made_us) as made_us, max(t.partitioning) as partitioning, max(unix_micros(current_timestamp())) as read_us
from `main`.INFORMATION_SCHEMA.PARTITIONS as p
cross join (select unix_micros(creation_time) as made_us, if(ends_with(table_type, 'VIEW'), null, regexp_extract(ddl, r'\nPARTITION BY ([^\n]*[^\n;])')) as partitioning from `main`.INFORMATION_SCHEMA.TABLES where table_name = 'orders') as t
where p.table_name = 'orders'
group by p.partition_id

),
was_read as (
  select * from `mixpanel.${snapshot_from}_partitions`
),
-- time and rows, since rows that are only deleted may not move the time; a time shortly before the reading may be that
-- of a write that came after it, or of rows that stood in the streaming buffer then, and were in no snapshot
unchanged as (
  select n.partition_id, n.total_rows
  from now_read as n
  join was_read as w
    on w.partition_id = n.partition_id and w.modified_us = n.modified_us and w.total_rows = n.total_rows
    and w.made_us = n.made_us and w.partitioning = n.partitioning
  where w.modified_us < w.read_us - 7200000000
    and n.partitioning = 'TIMESTAMP_TRUNC(loaded_at, DAY)'
    and cast(@whole as int64) = 0
    -- rows of the streaming buffer may go to any partition
    and not exists (select 1 from now_read as b where b.partition_id = '__UNPARTITIONED__' and coalesce(b.total_rows, 1) > 0)
    and not exists (select 1 from was_read as b where b.partition_id = '__UNPARTITIONED__' and coalesce(b.total_rows, 1) > 0)
    -- a row that Mixpanel shows otherwise than the last snapshot has it, or that is tried again, may lie anywhere
    and not exists (select 1 from `mixpanel.purchases__rejects` as j where j.kind <> 'invalid' or j.shown = 1 or j.reason in ('time-in-future'))
    and not exists (select 1 from `mixpanel.purchases__ledger` as e where e.insert_id is not null)
),
ranges as (
  select unix_micros(timestamp(if(length(partition_id) = 8 and partition_id < '9999', safe.parse_datetime('%Y%m%d', partition_id), null), 'UTC')) as lo, unix_micros(timestamp(datetime_add(if(length(partition_id) = 8 and partition_id < '9999', safe.parse_datetime('%Y%m%d', partition_id), null), interval 1 day), 'UTC')) - 1 as hi, total_rows
  from unchanged
),
-- neighbours are one; the largest stay unread, so that the text of a statement keeps within its limit
islands as (
  select min(i.lo) as lo, max(i.hi) as hi
  from (
    select a.*, sum(a.is_apart) over (order by a.lo rows unbounded preceding) as island
    from (
      select r.*, case when lag(r.hi) over (order by r.lo) = r.lo - 1 then 0 else 1 end as is_apart
      from ranges as r
      where r.lo is not null and r.hi is not null
    ) as a
  ) as i
  group by i.island
  order by sum(i.total_rows) desc, min(i.lo)
  limit 999
),
gaps as (
  select coalesce(lag(i.hi) over (order by i.lo) + 1, -62135596800000000) as lo, i.lo - 1 as hi
  from islands as i
  union all
  select coalesce(max(i.hi) + 1, -62135596800000000), 253402300799999999
  from islands as i
)
select string_agg(cast(g.lo as string) || ':' || cast(g.hi as string), ',' order by g.lo) as partitions
from gaps as g
where g.lo <= g.hi

-- capture, what is read
from (select … from `mixpanel.purchases__snapshot_${run}` as syncline_source where (`loaded_at` is null or ${partitions: `loaded_at` between timestamp_micros(…) and timestamp_micros(…) or …})) as syncline_source
from (select … from `mixpanel.${snapshot_from}` as syncline_source where (`loaded_at` is null or ${partitions: `loaded_at` between timestamp_micros(…) and timestamp_micros(…) or …}) and (${old_where})) as syncline_source
from (select … from newer) as n where n.syncline_key = k.row_key)
-- check_twin_keys, what is read
from (select … from (select `order_id`, `ordered_at`, `customer_id`, `amount`, `weight`, `gift`, `shipped`, `loaded_at`, `tags`, `raw`, `photo`, `device`, `note` from `mixpanel.purchases__snapshot_${run}` as syncline_source where (`loaded_at` is null or `loaded_at` between timestamp_micros(-62135596800000000) and timestamp_micros(253402300799999999))) as syncline_source) as n
-- explain
-- what a run reads; nothing is executed
select *
from (select … from `main.orders` as syncline_source where (`loaded_at` is null or ${partitions: `loaded_at` between timestamp_micros(…) and timestamp_micros(…) or …})) as syncline_source

-- show, what is read
from (select … from `main.orders` as syncline_source where (`loaded_at` is null or `loaded_at` between timestamp_micros(-62135596800000000) and timestamp_micros(253402300799999999))) as syncline_source