-- a twin that equals the ledger is not captured, so keys that the source has more than once are looked up among the captured
select 'key ' || k.row_key || ' occurs ' || cast(k.occurrences as varchar) || ' times' as violation
from (
  select n.syncline_key as row_key, count(*) as occurrences
  from (select cast("order_id" as varchar) as syncline_key from "main"."orders" as syncline_source) as n
  where exists (select 1 from "mixpanel"."purchases__outbox_${run}" as o where o.row_checksum is not null)
  group by n.syncline_key
  having count(*) > 1
) as k
where exists (select 1 from "mixpanel"."purchases__outbox_${run}" as o where o.row_checksum is not null and o.row_key = k.row_key)
union all
select 'key ' || o.row_key || ' occurs ' || cast(count(*) as varchar) || ' times' as violation
from "mixpanel"."purchases__outbox_${run}" as o
where o.row_checksum is not null
  -- rows without an id are named by their content, and may all be equal
  and (o.reason is null or o.reason <> 'id-missing')
group by o.row_key
having count(*) > 1
limit 5
