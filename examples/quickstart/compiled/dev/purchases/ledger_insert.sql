-- an image that is only maybe shown has no known checksum, so it differs from every row
insert into "mixpanel"."purchases__ledger" (row_key, row_checksum, time_ms, event, user_id, device_id, insert_id)
select i.row_key, case when i.outcome is null then i.row_checksum end, i.time_ms, i.event, i.user_id, i.device_id, i.insert_id
from "mixpanel"."purchases__outbox_${run}" as i
left join "mixpanel"."purchases__outbox_${run}" as d on d.row_key = i.row_key and d.change = 'delete' and d.old_insert_id is not null
where i.change in ('insert', 'update') and i.reason is null and (i.outcome is null or (i.outcome = 'maybe' and (i.old_insert_id is null or i.old_insert_id = i.insert_id or (d.row_key is not null and d.outcome is null))))
  and exists (select 1 from "mixpanel"."purchases__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))
