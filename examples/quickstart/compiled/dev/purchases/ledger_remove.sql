-- the ledger follows records, not rows: what a record took away is gone even if another one of the row was refused
delete from "mixpanel"."purchases__ledger"
where row_key in (
  select i.row_key
  from "mixpanel"."purchases__outbox_${run}" as i
  left join "mixpanel"."purchases__outbox_${run}" as d on d.row_key = i.row_key and d.change = 'delete' and d.old_insert_id is not null
  where i.change in ('insert', 'update') and i.reason is null and (i.outcome is null or (i.outcome = 'maybe' and (i.old_insert_id is null or i.old_insert_id = i.insert_id or (d.row_key is not null and d.outcome is null))))
  union all
  select d.row_key
  from "mixpanel"."purchases__outbox_${run}" as d
  where d.change = 'delete' and d.old_insert_id is not null and d.outcome is null and d.reason is null
)
  and exists (select 1 from "mixpanel"."purchases__state" as f where f.version = cast($version as bigint) and f.holder = cast($holder as varchar))
