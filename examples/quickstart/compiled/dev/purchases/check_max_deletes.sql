select 'deletes: ' || cast(d.deletes as varchar) || ' of ' || cast(l.shown as varchar) || ' rows' as violation
from (select count(*) as deletes from "mixpanel"."purchases__outbox_${run}" where row_change = 'delete' and old_insert_id is not null) as d
cross join (select count(*) as shown from "mixpanel"."purchases__ledger") as l
where d.deletes > coalesce(cast($allow_max_deletes as bigint), greatest(l.shown * 10 / 100.0, 0))
