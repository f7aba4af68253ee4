create table "mixpanel"."purchases__ledger" (
  row_key varchar,
  row_checksum varchar,
  time_ms bigint,
  event varchar,
  user_id varchar,
  device_id varchar,
  insert_id varchar
)
