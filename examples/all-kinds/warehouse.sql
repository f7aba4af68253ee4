-- The sample tables of Mixpanel's documentation, and a little more.
create table purchases (
  purchase_id integer,
  purchased_at timestamp,
  user_id varchar,
  device_id varchar,
  item varchar,
  brand varchar,
  amount decimal(9, 2),
  type varchar,
  attributes json,
  is_test boolean
);
insert into purchases values
  (1, '2024-01-04 11:12:00', 'alice@example.com', 'phone-1', 'shoes', 'nike', 99.23, 'in-store', '{"coupon": "NEW", "sizes": [40, 41]}', false),
  (2, '2024-01-12 11:12:00', 'bob@example.com', null, 'socks', 'adidas', 4.56, 'online', null, false),
  (3, '2024-07-12 11:12:00', null, 'phone-2', 'hat', 'nike', 12.00, 'online', '{"coupon": null}', false),
  (4, '2024-07-13 11:12:00', 'tester', null, 'hat', 'nike', 1.00, 'online', null, true);

create table plays (
  event_name varchar,
  played_at timestamp with time zone,
  user_id varchar,
  song_id integer,
  seconds double,
  loaded_at timestamp
);
insert into plays values
  ('Song Played', '2024-01-04 11:12:00+00', 'alice@example.com', 12345, 173.5, '2024-01-05 00:00:00'),
  ('Song Played', '2024-01-04 11:12:00+00', 'alice@example.com', 12345, 173.5, '2024-01-05 00:00:00'),
  ('Song Skipped', '2024-01-04 11:15:00+00', 'bob@example.com', 83921, 2, '2024-01-05 06:00:00');

create table customers (user_id integer, email varchar, name varchar, subscription_tier varchar);
insert into customers values
  (12345, 'grace@example.com', 'Grace Hopper', 'Pro'),
  (45678, 'bob@example.com', 'Bob Noyce', 'Free');

create table accounts (account_id integer, name varchar, domain varchar, arr integer, subscription_tier varchar);
insert into accounts values
  (12345, 'Notion', 'notion.so', 45000, 'Enterprise'),
  (45678, 'Linear', 'linear.so', 2000, 'Pro');

create table songs (song_id integer, song_name varchar, artist varchar, genre varchar);
insert into songs values
  (12345, 'One Dance', 'Drake', null),
  (45678, 'Voyager', 'Daft Punk', 'Electronic'),
  (83921, null, null, 'Classical');
