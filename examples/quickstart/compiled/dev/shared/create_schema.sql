create schema if not exists "mixpanel"
