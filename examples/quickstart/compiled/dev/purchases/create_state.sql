create table "mixpanel"."purchases__state" (
  version bigint,
  holder varchar,
  lease_until bigint,
  quiet_until bigint,
  phase varchar,
  run bigint,
  baseline varchar,
  pending varchar,
  next_batch bigint,
  id_space varchar,
  epoch bigint,
  layout bigint,
  project varchar,
  target varchar,
  mixpanel varchar,
  source varchar,
  names varchar
)
