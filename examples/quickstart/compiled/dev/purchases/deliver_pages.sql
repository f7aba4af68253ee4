select batch, count(*) as records, string_agg(payload, chr(10) order by ordinal) as body
from "mixpanel"."purchases__outbox_${run}"
where batch >= cast($batch_from as bigint) and batch < cast($batch_to as bigint)
group by batch
order by batch
