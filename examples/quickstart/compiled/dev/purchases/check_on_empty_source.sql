select 'the source is empty and Mixpanel shows ' || cast(l.shown as varchar) || ' rows' as violation
from (select count(*) as shown from "mixpanel"."purchases__ledger") as l
cross join (select count(*) as deletes from "mixpanel"."purchases__outbox_${run}" where row_change = 'delete' and old_insert_id is not null) as d
where l.shown > 0 and d.deletes = l.shown and not exists (select 1 from "mixpanel"."purchases__outbox_${run}" where change in ('insert', 'update'))
  -- a reject that no record of this run touches is an invalid row that is still there
  and not exists (
    select 1 from "mixpanel"."purchases__rejects" as j
    where j.kind = 'invalid' and not exists (select 1 from "mixpanel"."purchases__outbox_${run}" as o where o.row_key = j.row_key and o.insert_id = j.insert_id)
  )
  and cast($allow_on_empty_source as bigint) is null
