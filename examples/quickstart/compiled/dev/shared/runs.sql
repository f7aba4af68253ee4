select sync, run, finished_ms, captured_inserts, captured_updates, captured_deletes, accepted_inserts, accepted_updates, accepted_deletes, refused, invalid, billable
from "mixpanel"."runs"
order by finished_ms desc, sync
limit 50
