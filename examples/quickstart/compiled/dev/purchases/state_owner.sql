-- another project or target that uses this staging schema, whether this sync has ever run here, and its last run on record
select
  max(case when project <> 'shop' or target <> 'dev' then project || ' / ' || target end) as foreign_owner,
  coalesce(max(case when sync = 'purchases' then 1 else 0 end), 0) as recorded,
  max(case when sync in ('purchases', 'purchases') then run end) as last_run
from "mixpanel"."runs"
