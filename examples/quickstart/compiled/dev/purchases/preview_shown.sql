-- what guards measure deletes against
select count(*) as shown
from "mixpanel"."purchases__ledger"
