// The story of one sync, told by the real command line: `npm run demo`, or with other rows and another folder:
// `node examples/quickstart/demo.mjs 5000 target/small`.
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { DuckDBInstance } from '@duckdb/node-api';

const root = path.join(import.meta.dirname, '../..');
const rowCount = Number(process.argv[2] ?? 200_000);
const dir = path.resolve(process.argv[3] ?? path.join(root, 'target/demo'));
const main = path.join(root, JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')).bin.syncline);

const say = (text) => console.log(`\n\x1b[1m${text}\x1b[0m`);
function syncline(...args) {
  console.log(`$ syncline ${args.join(' ')}`);
  const ran = spawnSync(process.execPath, [main, ...args], { cwd: dir, stdio: 'inherit' });
  if (ran.status !== 0) throw new Error(`syncline ${args[0]} ended with ${ran.status}`);
}
async function sql(...statements) {
  const instance = await DuckDBInstance.create(path.join(dir, 'warehouse.duckdb'));
  const connection = await instance.connect();
  for (const s of statements) await connection.run(s);
  connection.closeSync();
  instance.closeSync();
}

rmSync(dir, { recursive: true, force: true });
mkdirSync(dir, { recursive: true });
for (const f of ['syncline.yml', 'syncs'])
  cpSync(path.join(import.meta.dirname, f), path.join(dir, f), { recursive: true });

say(`1. A warehouse: a DuckDB file with ${rowCount.toLocaleString('en-US')} orders, written by another program.`);
const shop = readFileSync(path.join(import.meta.dirname, 'shop.sql'), 'utf8');
await sql(shop.replaceAll('200000', String(rowCount)));

say('2. The declaration is syncs/shop.yml. `lock` reads the columns, `compile` writes the SQL that people review.');
syncline('lock');
syncline('compile');

say('3. What would happen? Counts come from the same SQL, and nothing is written.');
syncline('plan');

say('4. Apply: the first load goes to the sandbox, a local Mixpanel.');
syncline('apply');

say('5. The shop goes on: 300 amounts change, 20 orders move to another customer, 50 disappear, 100 are new.');
await sql(
  'update orders set amount = amount + 1 where order_id < 300',
  `update orders set customer_id = 'customer-merged' where order_id between 1000 and 1019`,
  'delete from orders where order_id between 2000 and 2049',
  `insert into orders select ${rowCount} + i, timestamp '2024-06-01' + to_minutes(i::integer), 'customer-new', 'shoes', 9.99, null from range(100) as t(i)`,
);
syncline('plan');
syncline('apply');

say(
  `6. Another ${(rowCount * 0.3).toLocaleString('en-US')} rows change, and this apply is killed while it sends (kill -9).`,
);
await sql(`update orders set note = 'seen' where order_id % 10 < 3`);
console.log('$ syncline apply &  kill -9 $!');
rmSync(path.join(dir, 'target'), { recursive: true, force: true }); // only run artefacts live there
const child = spawn(process.execPath, [main, 'apply', '--quiet'], { cwd: dir, stdio: 'ignore' });
const ended = new Promise((resolve) => child.once('exit', resolve));
const sent = () => {
  try {
    return (
      JSON.parse(readFileSync(path.join(dir, 'target/syncline/dev/manifest.json'), 'utf8')).syncs.purchases.sent ?? 0
    );
  } catch {
    return 0;
  }
};
let before = 0;
for (let i = 0; i < 3000 && (before = sent()) === 0; i++) await wait(5);
child.kill('SIGKILL');
await ended;
console.log(`killed after about ${before.toLocaleString('en-US')} records`);
syncline('status');

say('7. The next apply finishes that run first, with the batches that were decided then.');
syncline('apply');

say('8. The table and what Mixpanel shows:');
const instance = await DuckDBInstance.create(path.join(dir, 'sandbox.duckdb'));
const connection = await instance.connect();
await connection.run(`attach '${path.join(dir, 'warehouse.duckdb').replaceAll("'", "''")}' as w (read_only)`);
await connection.run(`create temp table shown as select cast(properties ->> 'order_id' as integer) as order_id, time_ms, distinct_id, properties ->> 'item' as item,
  cast(properties ->> 'amount' as decimal(9, 2)) as amount, properties ->> 'note' as note from events where properties ->> 'syncline_deleted' is null`);
await connection.run(
  `create temp table wanted as select order_id, epoch_ms(ordered_at) as time_ms, customer_id as distinct_id, item, amount, note from w.orders`,
);
const one = async (query) => Number((await connection.runAndReadAll(query)).getRows()[0][0]);
const rows = await one('select count(*) from wanted');
const events = await one('select count(*) from shown');
const lost = await one('select count(*) from (select * from wanted except all select * from shown)');
const extra = await one('select count(*) from (select * from shown except all select * from wanted)');
const copies = await one('select count(*) from events_raw');
connection.closeSync();
instance.closeSync();
console.log(`  rows in the table       ${rows.toLocaleString('en-US')}`);
console.log(
  `  events in the report    ${events.toLocaleString('en-US')}   (every copy ever sent: ${copies.toLocaleString('en-US')})`,
);
console.log(`  lost ${lost}, extra ${extra}`);
if (lost + extra > 0 || rows !== events) process.exit(1);
say(`Nothing lost, nothing doubled. The files of this story are in ${path.relative(process.cwd(), dir) || '.'}.`);
