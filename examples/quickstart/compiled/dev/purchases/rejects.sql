select row_key, kind, change, reason, time_ms, event, user_id, device_id, shown, run
from "mixpanel"."purchases__rejects"
order by run desc, row_key
limit 200
