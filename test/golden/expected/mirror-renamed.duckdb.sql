-- shared/create_schema.sql: as in mirror-keyed

-- shared/create_runs.sql: as in mirror-keyed

-- shared/runs.sql: as in mirror-keyed

-- shared/states.sql: as in mirror-keyed

-- purchases/check_columns.sql: as in mirror-keyed

-- purchases/check_null_key.sql: as in mirror-keyed

-- purchases/check_twin_keys.sql: as in mirror-keyed

-- purchases/check_max_deletes.sql: as in mirror-keyed

-- purchases/check_on_empty_source.sql: as in mirror-keyed

-- purchases/create_outbox.sql: as in mirror-keyed

-- purchases/run_record.sql: as in mirror-keyed

-- purchases/columns.sql: as in mirror-keyed

-- purchases/state_exists.sql: as in mirror-keyed

-- purchases/state_owner.sql
-- another project or target that uses this staging schema, whether this sync has ever run here, and its last run on record
select
  max(case when project <> 'shop' or target <> 'dev' then project || ' / ' || target end) as foreign_owner,
  coalesce(max(case when sync = 'purchases' then 1 else 0 end), 0) as recorded,
  max(case when sync in ('purchases', 'orders_paid') then run end) as last_run
from "mixpanel"."runs"

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

-- purchases/rename_exists.sql
select case when exists (select 1 from duckdb_tables() where database_name = current_database() and lower(schema_name) = lower('mixpanel') and table_name = 'orders_paid__state') then 1 else 0 end as state_exists

-- purchases/rename_read.sql
select
  version, holder, phase, run, baseline, pending, next_batch, id_space, epoch, layout, project, target, mixpanel, source, names,
  case when holder is not null and lease_until > epoch_ms(now()) then 1 else 0 end as held,
  lease_until,
  case when quiet_until > epoch_ms(now()) then quiet_until - epoch_ms(now()) else 0 end as quiet_left_ms
from "mixpanel"."orders_paid__state"

-- purchases/rename_outbox.sql
alter table if exists "mixpanel"."orders_paid__outbox_${run}" rename to "purchases__outbox_${run}"

-- purchases/rename_state.sql
alter table if exists "mixpanel"."orders_paid__state" rename to "purchases__state"

-- purchases/rename_ledger.sql
alter table if exists "mixpanel"."orders_paid__ledger" rename to "purchases__ledger"

-- purchases/rename_rejects.sql
alter table if exists "mixpanel"."orders_paid__rejects" rename to "purchases__rejects"

-- purchases/rename_preview.sql: made of the parts of capture

-- purchases/rename_preview_forward.sql: made of the parts of capture

-- purchases/rename_preview_pending.sql: made of the parts of capture

-- purchases/rename_preview_shown.sql: made of the parts of capture

-- purchases/show.sql: as in mirror-keyed

-- purchases/rejects.sql: as in mirror-keyed

-- purchases/reset_ledger.sql: as in mirror-keyed

-- purchases/reset_rejects.sql: as in mirror-keyed

-- purchases/reset_state.sql: as in mirror-keyed
