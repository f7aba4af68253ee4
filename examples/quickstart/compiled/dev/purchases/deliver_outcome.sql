-- a refusal names the record's position in its batch; the batch was sent in the order of its ordinals
update "mixpanel"."purchases__outbox_${run}"
set
  outcome = case when p.refusal is not null then cast($outcome as varchar) when cast($more as bigint) = 1 then outcome end,
  outcome_reason = case when p.refusal is not null then p.refusal when cast($more as bigint) = 1 then outcome_reason end
from (
  select n.ordinal as place, json_extract_string(cast($refusals as varchar), '$."' || n.position || '"') as refusal
  from (
    select b.ordinal, row_number() over (order by b.ordinal) as position
    from "mixpanel"."purchases__outbox_${run}" as b
    where b.batch = cast($batch as bigint)
  ) as n
) as p
where batch = cast($batch as bigint) and ordinal = p.place
  and exists (select 1 from "mixpanel"."purchases__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))
