update "mixpanel"."purchases__state"
set version = version, phase = 'idle', baseline = pending, pending = null, run = null, next_batch = 0, lease_until = epoch_ms(now()) + cast($ttl_ms as bigint)
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'sending' and run = cast($run as bigint)
