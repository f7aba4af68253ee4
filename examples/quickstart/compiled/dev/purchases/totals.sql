select count(*) as captured, coalesce(max(batch) + 1, 0) as batches, coalesce(sum(case when reason is not null then 1 else 0 end), 0) as invalid,
  coalesce(sum(case when batch >= cast($next_batch as bigint) then 1 else 0 end), 0) as remaining
from "mixpanel"."purchases__outbox_${run}"
