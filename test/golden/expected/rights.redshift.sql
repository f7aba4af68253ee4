-- sync, table: shared/grantee_exists.sql
select 1 as found
from pg_user where usename = 'sync'

-- sync, table: shared/create_grantee.sql
-- give it a password or another way to log in
create user "sync" password disable

-- sync, table: shared/grant_usage.sql
grant usage on schema "main" to "sync"

-- sync, table: shared/grant_sources.sql
grant select on table "main"."orders" to "sync"

-- sync, table: shared/grant_future.sql
-- what that user makes anew in these schemas, such as a table that dbt rebuilds, can be read at once
alter default privileges for user "dbt" in schema "main" grant select on tables to "sync"

-- sync, table: shared/hand_over.sql
-- what it owns it can also rename and drop
alter table "mixpanel"."runs" owner to "sync"

-- sync, table: purchases/hand_over_state.sql
-- what it owns it can also rename and drop
alter table "mixpanel"."purchases__state" owner to "sync"

-- sync, table: purchases/hand_over_ledger.sql
-- what it owns it can also rename and drop
alter table "mixpanel"."purchases__ledger" owner to "sync"

-- sync, table: purchases/hand_over_rejects.sql
-- what it owns it can also rename and drop
alter table "mixpanel"."purchases__rejects" owner to "sync"

-- role:sync, schema: shared/grantee_exists.sql
select 1 as found
from svv_roles where role_name = 'sync'

-- role:sync, schema: shared/create_grantee.sql
create role "sync"

-- role:sync, schema: shared/grant_usage.sql
grant usage on schema "main" to role "sync"

-- role:sync, schema: shared/grant_schemas.sql
grant select on all tables in schema "main" to role "sync"

-- role:sync, schema: shared/grant_future.sql
-- what that user makes anew in these schemas, such as a table that dbt rebuilds, can be read at once
alter default privileges for user "dbt" in schema "main" grant select on tables to role "sync"

-- role:sync, schema: shared/grant_staging.sql
-- outboxes come and go; only a user can own tables
grant usage, create on schema "mixpanel" to role "sync"

-- role:sync, schema: shared/hand_over.sql
grant all on table "mixpanel"."runs" to role "sync"

-- role:sync, schema: purchases/hand_over_state.sql
grant all on table "mixpanel"."purchases__state" to role "sync"

-- role:sync, schema: purchases/hand_over_ledger.sql
grant all on table "mixpanel"."purchases__ledger" to role "sync"

-- role:sync, schema: purchases/hand_over_rejects.sql
grant all on table "mixpanel"."purchases__rejects" to role "sync"

-- group:sync, table: shared/grantee_exists.sql
select 1 as found
from pg_group where groname = 'sync'

-- group:sync, table: shared/create_grantee.sql
create group "sync"

-- group:sync, table: shared/grant_usage.sql
grant usage on schema "main" to group "sync"

-- group:sync, table: shared/grant_sources.sql
grant select on table "main"."orders" to group "sync"

-- group:sync, table: shared/grant_future.sql
-- what that user makes anew in these schemas, such as a table that dbt rebuilds, can be read at once
alter default privileges for user "dbt" in schema "main" grant select on tables to group "sync"

-- group:sync, table: shared/grant_staging.sql
-- outboxes come and go; only a user can own tables
grant usage, create on schema "mixpanel" to group "sync"

-- group:sync, table: shared/hand_over.sql
grant all on table "mixpanel"."runs" to group "sync"

-- group:sync, table: purchases/hand_over_state.sql
grant all on table "mixpanel"."purchases__state" to group "sync"

-- group:sync, table: purchases/hand_over_ledger.sql
grant all on table "mixpanel"."purchases__ledger" to group "sync"

-- group:sync, table: purchases/hand_over_rejects.sql
grant all on table "mixpanel"."purchases__rejects" to group "sync"
