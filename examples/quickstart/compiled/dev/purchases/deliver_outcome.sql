-- a refusal names the record's position in its batch; the batch was sent in the order of its ordinals
update "mixpanel"."purchases__outbox_${run}"
set
  outcome = case when ordinal in (select p.ordinal from (select b.ordinal, row_number() over (order by b.ordinal) as position from "mixpanel"."purchases__outbox_${run}" as b where b.batch = cast($batch as bigint)) as p join (select cast(r.value ->> 'position' as bigint) as position, r.value ->> 'reason' as reason from json_each(cast($refusals as varchar)) as r) as x on x.position = p.position) then cast($outcome as varchar) end,
  outcome_reason = (select max(x.reason) from (select b.ordinal, row_number() over (order by b.ordinal) as position from "mixpanel"."purchases__outbox_${run}" as b where b.batch = cast($batch as bigint)) as p join (select cast(r.value ->> 'position' as bigint) as position, r.value ->> 'reason' as reason from json_each(cast($refusals as varchar)) as r) as x on x.position = p.position where p.ordinal = "mixpanel"."purchases__outbox_${run}".ordinal)
where batch = cast($batch as bigint)
  and exists (select 1 from "mixpanel"."purchases__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))
