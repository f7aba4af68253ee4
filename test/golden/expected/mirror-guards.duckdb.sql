-- shared/create_schema.sql: as in mirror-keyed

-- shared/create_runs.sql: as in mirror-keyed

-- shared/runs.sql: as in mirror-keyed

-- shared/states.sql: as in mirror-keyed

-- purchases/check_columns.sql: as in mirror-keyed

-- purchases/check_null_key.sql: as in mirror-keyed

-- purchases/check_twin_keys.sql: as in mirror-keyed

-- purchases/check_max_deletes.sql
select 'deletes: ' || cast(d.deletes as varchar) || ' of ' || cast(l.shown as varchar) || ' rows' as violation
from (select count(*) as deletes from "mixpanel"."purchases__outbox_${run}" where row_change = 'delete' and old_insert_id is not null) as d
cross join (select count(*) as shown from "mixpanel"."purchases__ledger") as l
where d.deletes > coalesce(cast($allow_max_deletes as bigint), greatest(l.shown * 10 / 100.0, 0))

-- purchases/check_max_changes.sql
select 'changes: ' || cast(d.changes as varchar) || ' rows' as violation
from (select count(distinct row_key) as changes from "mixpanel"."purchases__outbox_${run}" where change not in ('settled', 'forward')) as d
where d.changes > coalesce(cast($allow_max_changes as bigint), 1000)

-- purchases/check_on_empty_source.sql: as in mirror-keyed

-- purchases/create_outbox.sql: as in mirror-keyed

-- purchases/run_record.sql: as in mirror-keyed

-- purchases/columns.sql: as in mirror-keyed

-- purchases/state_exists.sql: as in mirror-keyed

-- purchases/state_owner.sql: as in mirror-keyed

-- purchases/state_read.sql: as in mirror-keyed

-- purchases/state_lease.sql: as in mirror-keyed

-- purchases/state_renew.sql: as in mirror-keyed

-- purchases/state_release.sql: as in mirror-keyed

-- purchases/state_unlock.sql: as in mirror-keyed

-- purchases/state_forget.sql: as in mirror-keyed

-- purchases/state_settle.sql: as in mirror-keyed

-- purchases/create_state.sql: as in mirror-keyed

-- purchases/create_ledger.sql: as in mirror-keyed

-- purchases/create_rejects.sql: as in mirror-keyed

-- purchases/state_insert.sql: as in mirror-keyed

-- purchases/capture.sql: as in mirror-keyed

-- purchases/capture_forward.sql: as in mirror-keyed

-- purchases/totals.sql: as in mirror-keyed

-- purchases/state_flip.sql: as in mirror-keyed

-- purchases/deliver_pages.sql: as in mirror-keyed

-- purchases/deliver_restart.sql: as in mirror-keyed

-- purchases/deliver_abandon.sql: as in mirror-keyed

-- purchases/deliver_outcome.sql: as in mirror-keyed

-- purchases/checkpoint.sql: as in mirror-keyed

-- purchases/check_accounts.sql: as in mirror-keyed

-- purchases/ledger_forward.sql: as in mirror-keyed

-- purchases/ledger_remove.sql: as in mirror-keyed

-- purchases/ledger_insert.sql: as in mirror-keyed

-- purchases/ledger_unknown.sql: as in mirror-keyed

-- purchases/rejects_remove.sql: as in mirror-keyed

-- purchases/rejects_insert.sql: as in mirror-keyed

-- purchases/state_commit.sql: as in mirror-keyed

-- purchases/drop_outbox.sql: as in mirror-keyed

-- purchases/run_read.sql: as in mirror-keyed

-- purchases/preview_initial.sql: as in mirror-keyed

-- purchases/preview.sql: as in mirror-keyed

-- purchases/preview_forward.sql: as in mirror-keyed

-- purchases/preview_pending.sql: as in mirror-keyed

-- purchases/preview_shown.sql: as in mirror-keyed

-- purchases/destroy.sql: as in mirror-keyed

-- purchases/drop_ledger.sql: as in mirror-keyed

-- purchases/drop_rejects.sql: as in mirror-keyed

-- purchases/drop_seen.sql: as in mirror-keyed

-- purchases/drop_state.sql: as in mirror-keyed

-- purchases/show.sql: as in mirror-keyed

-- purchases/rejects.sql: as in mirror-keyed

-- purchases/reset_ledger.sql: as in mirror-keyed

-- purchases/reset_rejects.sql: as in mirror-keyed

-- purchases/reset_state.sql: as in mirror-keyed
