drop table if exists "mixpanel"."purchases__rejects"
