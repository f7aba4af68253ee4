-- runs are numbered on from those of an earlier life, which stay on record
insert into "mixpanel"."purchases__state" (version, holder, lease_until, quiet_until, phase, run, baseline, pending, next_batch, id_space, epoch, layout, project, target, mixpanel, source, names)
select coalesce((select max(r.run) from "mixpanel"."runs" as r where r.project = 'shop' and r.target = 'dev' and r.sync = 'purchases'), 0), null, 0, 0, 'idle', null, null, null, 0, 'purchases', 0, 1, 'shop', 'dev', '', '', ''
from (select 1 as one) as o
where not exists (select 1 from "mixpanel"."purchases__state")
