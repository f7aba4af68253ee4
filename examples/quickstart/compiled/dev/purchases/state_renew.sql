update "mixpanel"."purchases__state"
set version = version, lease_until = epoch_ms(now()) + cast($ttl_ms as bigint)
where version = cast($version as bigint) and holder = cast($holder as varchar)
