-- batches after the checkpoint are sent again: what an earlier attempt recorded of them no longer counts
update "mixpanel"."purchases__outbox_${run}"
set outcome = null, outcome_reason = null
where batch >= cast($next_batch as bigint) and outcome is not null
  and exists (select 1 from "mixpanel"."purchases__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))
