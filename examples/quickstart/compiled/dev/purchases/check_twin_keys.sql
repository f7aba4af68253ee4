-- a twin that equals the ledger is not captured, so captured keys are looked up in the source again
select 'key ' || k.row_key || ' occurs ' || cast(k.occurrences as varchar) || ' times' as violation
from (
  select cast("order_id" as varchar) as row_key, count(*) as occurrences
  from "main"."orders" as r
  where cast("order_id" as varchar) in (select o.row_key from "mixpanel"."purchases__outbox_${run}" as o where o.row_checksum is not null and o.row_key is not null)
  group by 1
) as k
where k.occurrences > 1
union all
select 'key ' || o.row_key || ' was captured ' || cast(count(*) as varchar) || ' times' as violation
from "mixpanel"."purchases__outbox_${run}" as o
where o.row_checksum is not null
group by o.row_key
having count(*) > 1
limit 5
