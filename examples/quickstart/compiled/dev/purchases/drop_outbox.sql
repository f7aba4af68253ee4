drop table if exists "mixpanel"."purchases__outbox_${run}"
