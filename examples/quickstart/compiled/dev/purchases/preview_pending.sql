-- what an interrupted run has still to send
select row_change, change, reason, count(*) as records, count(distinct row_key) as row_count, count(*) as billable, coalesce(sum(strlen(j.payload)), 0) as bytes
from "mixpanel"."purchases__outbox_${run}" as j
where batch >= cast($next_batch as bigint)
group by row_change, change, reason
order by row_change, change, reason
