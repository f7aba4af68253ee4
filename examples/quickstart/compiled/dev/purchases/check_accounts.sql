-- accepted + refused + invalid = captured: a record of no finished batch would be missing from the sum
select 'records not accounted for: ' || cast(count(*) as varchar) as violation
from "mixpanel"."purchases__outbox_${run}" as o
where o.change not in ('settled', 'forward') and o.reason is null
  and (o.batch is null or o.batch >= (select f.next_batch from "mixpanel"."purchases__state" as f))
having count(*) > 0
