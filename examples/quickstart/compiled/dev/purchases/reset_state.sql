update "mixpanel"."purchases__state"
set version = version, baseline = null, epoch = epoch + cast($new_epoch as bigint)
where version = cast($version as bigint) and holder = cast($holder as varchar) and phase = 'idle'
