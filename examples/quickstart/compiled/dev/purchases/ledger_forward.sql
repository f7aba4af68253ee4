-- rows that are as they were sent, under a mapping that was decided to hold for them too
update "mixpanel"."purchases__ledger" as l
set row_key = o.row_key, row_checksum = o.row_checksum
from "mixpanel"."purchases__outbox_${run}" as o
where o.change = 'forward' and o.payload = l.row_key and o.insert_id = l.insert_id
  and exists (select 1 from "mixpanel"."purchases__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))
