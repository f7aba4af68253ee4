-- a run that captured nothing: only its position moves
update "mixpanel"."purchases__state"
set version = version, baseline = cast($pending as varchar)
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'idle'
