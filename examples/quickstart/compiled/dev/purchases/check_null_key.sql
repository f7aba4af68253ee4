select 'a row has no value in its key' as violation
from "mixpanel"."purchases__outbox_${run}"
where row_key is null
limit 1
