delete from "mixpanel"."purchases__rejects"
where exists (select 1 from "mixpanel"."purchases__outbox_${run}" as o where o.row_key = "mixpanel"."purchases__rejects".row_key and o.insert_id = "mixpanel"."purchases__rejects".insert_id)
  and exists (select 1 from "mixpanel"."purchases__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))
