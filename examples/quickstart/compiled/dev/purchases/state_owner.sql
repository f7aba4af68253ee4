-- another project or target that uses this staging schema, and whether this sync has ever run here
select
  max(case when project <> 'shop' or target <> 'dev' then project || ' / ' || target end) as foreign_owner,
  coalesce(max(case when sync = 'purchases' then 1 else 0 end), 0) as recorded
from "mixpanel"."runs"
