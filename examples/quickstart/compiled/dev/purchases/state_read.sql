select
  version, holder, phase, run, baseline, pending, next_batch, id_space, epoch, layout, project, target, mixpanel, source, names,
  case when holder is not null and lease_until > epoch_ms(now()) then 1 else 0 end as held,
  lease_until,
  case when quiet_until > epoch_ms(now()) then quiet_until - epoch_ms(now()) else 0 end as quiet_left_ms
from "mixpanel"."purchases__state"
