update "mixpanel"."purchases__state"
set version = version, holder = null, lease_until = 0, quiet_until = greatest(quiet_until, epoch_ms(now()) + cast($quiet_ms as bigint))
where version = cast($version as bigint) and holder = cast($holder as varchar)
