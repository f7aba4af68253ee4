-- explain
-- what a run reads, as the planner expects it; nothing is executed
explain
select *
from "main"."orders" as syncline_source
where not cast($1 as bigint) = 1 and (cast($2 as varchar(65535)) is null or syncline_source."loaded_at" > cast(cast($2 as varchar(65535)) as timestamptz) - interval '21600 seconds') and (cast($3 as varchar(65535)) is null or syncline_source."loaded_at" > cast(cast($3 as varchar(65535)) as timestamptz)) and syncline_source."loaded_at" <= cast(cast($4 as varchar(65535)) as timestamptz)
union all
select *
from "main"."orders" as syncline_source
where cast($1 as bigint) = 1 and syncline_source."loaded_at" >= cast(cast($2 as varchar(65535)) as timestamptz) and syncline_source."loaded_at" < cast(cast($4 as varchar(65535)) as timestamptz) and syncline_source."loaded_at" <= cast(cast($5 as varchar(65535)) as timestamptz)
union all
select *
from "main"."orders" as syncline_source
where syncline_source."loaded_at" is null

-- capture, source_rows
source_rows as (
  select syncline_source.*, …
  from "main"."orders" as syncline_source
  where not cast($2 as bigint) = 1 and (cast($3 as varchar(65535)) is null or syncline_source."loaded_at" > cast(cast($3 as varchar(65535)) as timestamptz) - interval '21600 seconds') and (cast($4 as varchar(65535)) is null or syncline_source."loaded_at" > cast(cast($4 as varchar(65535)) as timestamptz)) and syncline_source."loaded_at" <= cast(cast($5 as varchar(65535)) as timestamptz)
  union all
  select syncline_source.*, …
  from "main"."orders" as syncline_source
  where cast($2 as bigint) = 1 and syncline_source."loaded_at" >= cast(cast($3 as varchar(65535)) as timestamptz) and syncline_source."loaded_at" < cast(cast($5 as varchar(65535)) as timestamptz) and syncline_source."loaded_at" <= cast(cast($6 as varchar(65535)) as timestamptz)
  union all
  select syncline_source.*, …
  from "main"."orders" as syncline_source
  where syncline_source."loaded_at" is null
  union all
  -- older rows are read only while one of them may be tried again
  select syncline_source.*, …
  from "main"."orders" as syncline_source
  where exists (select 1 from "mixpanel"."purchases__rejects" as j where j.row_checksum is not null)
    and syncline_source."loaded_at" is not null and case when case when cast($2 as bigint) = 1 then syncline_source."loaded_at" >= cast(cast($3 as varchar(65535)) as timestamptz) and syncline_source."loaded_at" < cast(cast($5 as varchar(65535)) as timestamptz) and syncline_source."loaded_at" <= cast(cast($6 as varchar(65535)) as timestamptz) else (cast($3 as varchar(65535)) is null or syncline_source."loaded_at" > cast(cast($3 as varchar(65535)) as timestamptz) - interval '21600 seconds') and (cast($4 as varchar(65535)) is null or syncline_source."loaded_at" > cast(cast($4 as varchar(65535)) as timestamptz)) and syncline_source."loaded_at" <= cast(cast($5 as varchar(65535)) as timestamptz) end then 0 else 1 end = 1
),
