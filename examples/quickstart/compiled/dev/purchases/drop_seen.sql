drop table if exists "mixpanel"."purchases__seen"
