update "mixpanel"."purchases__state"
set version = version, next_batch = cast($next_batch as bigint)
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'sending' and run = cast($run as bigint)
