update "mixpanel"."purchases__state"
set
  version = version + 1,
  holder = cast($holder as varchar),
  lease_until = epoch_ms(now()) + cast($ttl_ms as bigint),
  quiet_until = case when holder is null then quiet_until else greatest(quiet_until, epoch_ms(now()) + cast($quiet_ms as bigint)) end,
  mixpanel = case when mixpanel = '' then cast($mixpanel as varchar) else mixpanel end,
  source = case when source = '' then 'main.orders' else source end,
  names = names || cast(version + 1 as varchar) || ' '
where version = cast($state_version as bigint)
  and coalesce(holder, '') = cast($state_holder as varchar)
