update "mixpanel"."purchases__state"
set version = version, baseline = null
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'idle'
