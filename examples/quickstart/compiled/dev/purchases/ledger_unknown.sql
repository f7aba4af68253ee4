update "mixpanel"."purchases__ledger" as l
set row_checksum = null
where exists (select 1 from "mixpanel"."purchases__outbox_${run}" as d where d.row_key = l.row_key and d.change = 'delete' and d.outcome = 'maybe' and d.insert_id = l.insert_id)
  and exists (select 1 from "mixpanel"."purchases__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))
