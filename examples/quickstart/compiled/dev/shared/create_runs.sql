create table if not exists "mixpanel"."runs" (
  project varchar,
  target varchar,
  sync varchar,
  run bigint,
  finished_ms bigint,
  captured_inserts bigint,
  captured_updates bigint,
  captured_deletes bigint,
  attempted_inserts bigint,
  attempted_updates bigint,
  attempted_deletes bigint,
  accepted_inserts bigint,
  accepted_updates bigint,
  accepted_deletes bigint,
  refused bigint,
  invalid bigint,
  billable bigint
)
