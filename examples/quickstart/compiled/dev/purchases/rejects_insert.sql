insert into "mixpanel"."purchases__rejects" (row_key, insert_id, kind, change, reason, row_checksum, time_ms, event, user_id, device_id, shown, run)
-- equal rows without an id are one reject
select distinct row_key, insert_id,
  case when reason is not null then 'invalid' else 'refused' end,
  change,
  coalesce(reason, outcome_reason, 'refused'),
  row_checksum, time_ms, event, user_id, device_id,
  case when reason is null and (change = 'delete' or outcome = 'maybe') then 1 else 0 end,
  cast($run as bigint)
from "mixpanel"."purchases__outbox_${run}"
where (reason is not null or outcome is not null) and change <> 'settled'
  and exists (select 1 from "mixpanel"."purchases__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))
