create table "mixpanel"."purchases__outbox_${run}" (
  batch bigint,
  ordinal bigint,
  row_change varchar,
  change varchar,
  row_key varchar,
  row_checksum varchar,
  time_ms bigint,
  event varchar,
  user_id varchar,
  device_id varchar,
  insert_id varchar,
  old_insert_id varchar,
  payload varchar,
  reason varchar,
  outcome varchar,
  outcome_reason varchar
)
