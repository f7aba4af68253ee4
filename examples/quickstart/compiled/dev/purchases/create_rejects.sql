create table "mixpanel"."purchases__rejects" (
  row_key varchar,
  insert_id varchar,
  kind varchar,
  change varchar,
  reason varchar,
  row_checksum varchar,
  time_ms bigint,
  event varchar,
  user_id varchar,
  device_id varchar,
  shown bigint,
  run bigint
)
