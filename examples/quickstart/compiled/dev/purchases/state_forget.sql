update "mixpanel"."purchases__state"
set version = version, names = cast($names as varchar)
where version = cast($version as bigint) and holder = cast($holder as varchar)
