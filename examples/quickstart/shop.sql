-- The shop of the demo: 200000 orders of 20,000 customers.
create table orders as
select
  i::integer as order_id,
  timestamp '2024-01-01' + to_minutes(i::integer) as ordered_at,
  'customer-' || (i * 7919 % 20000) as customer_id,
  ['shoes', 'socks', 'hats', 'coats'][1 + i % 4] as item,
  (5 + i % 200 + 0.99)::decimal(9, 2) as amount,
  case when i % 10 = 0 then 'gift' end as note
from range(200000) as t(i);
