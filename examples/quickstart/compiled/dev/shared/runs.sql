select sync, run, finished_ms, captured_inserts, captured_updates, captured_deletes, attempted_inserts, attempted_updates, attempted_deletes, accepted_inserts, accepted_updates, accepted_deletes, refused, invalid, billable
from (
  select r.*, row_number() over (partition by r.sync order by r.finished_ms desc, r.run desc) as recency
  from "mixpanel"."runs" as r
) as r
where recency <= 5
order by finished_ms desc, sync, run desc
