-- nobody knows which of these Mixpanel has: they are neither shown nor not shown, so the next run compares their rows again
update "mixpanel"."purchases__outbox_${run}"
set outcome = 'maybe', outcome_reason = 'abandoned'
where batch >= cast($next_batch as bigint)
  and exists (select 1 from "mixpanel"."purchases__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))
