update "mixpanel"."purchases__state"
set version = version + 1, holder = null, lease_until = 0, quiet_until = greatest(quiet_until, greatest(lease_until, epoch_ms(now())) + cast($quiet_ms as bigint))
where version = cast($state_version as bigint)
