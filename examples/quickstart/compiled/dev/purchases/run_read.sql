select captured_inserts, captured_updates, captured_deletes, attempted_inserts, attempted_updates, attempted_deletes, accepted_inserts, accepted_updates, accepted_deletes, refused, invalid, billable
from "mixpanel"."runs"
where project = 'shop' and target = 'dev' and sync = 'purchases' and run = cast($run as bigint)
