import { DuckDBInstance } from '@duckdb/node-api';

/** A warehouse for the first minutes: the sample orders of Mixpanel's documentation (Warehouse Connectors). */
export async function writeSampleWarehouse(file: string): Promise<void> {
  const instance = await DuckDBInstance.create(file);
  const connection = await instance.connect();
  await connection.run(`
    create table main.orders as
    select * from (values
      (1, timestamp '2024-01-04 11:12:00', 'alice@example.com', 'shoes', 'nike', 99.23::decimal(9, 2), 'in-store'),
      (2, timestamp '2024-01-12 11:12:00', 'bob@example.com', 'socks', 'adidas', 4.56::decimal(9, 2), 'online')
    ) as o (order_id, ordered_at, customer_id, item, brand, amount, type)`);
  connection.closeSync();
  instance.closeSync();
}
