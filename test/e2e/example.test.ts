import { execFile } from 'node:child_process';
import { cp, mkdtemp, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { cli, duck, told } from './cli.ts';

const quickstart = path.join(import.meta.dirname, '../../examples/quickstart');

test.concurrent('the quickstart compiles and applies as it is', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'syncline-'));
  for (const file of ['syncline.yml', 'syncs'])
    await cp(path.join(quickstart, file), path.join(dir, file), { recursive: true });
  await duck(
    path.join(dir, 'warehouse.duckdb'),
    `create table orders as select 1 as order_id, timestamp '2024-01-01' as ordered_at, 'a' as customer_id, 2.5::double as amount`,
  );
  told(await cli(dir, 'lock'), 0);
  told(await cli(dir, 'compile'), 0, 'compiled/dev/: 1 syncs');
  told(await cli(dir, 'compile', '--check'), 0);
  expect(await readdir(path.join(dir, 'compiled/dev'))).toContain('plan.json');
  told(await cli(dir, 'apply'), 0, '1 insert');
});

test.concurrent('the demo, a kill -9 included, ends with nothing lost and nothing doubled', async () => {
  const dir = path.join(await mkdtemp(path.join(tmpdir(), 'syncline-')), 'demo');
  const { stdout } = await promisify(execFile)(process.execPath, [path.join(quickstart, 'demo.mjs'), '8000', dir]);
  expect(stdout).toContain('with 8,000 orders');
  expect(stdout).toMatch(
    /rows in the table {7}8,050\n {2}events in the report {4}8,050 {3}\(every copy ever sent: [\d,]+\)\n {2}lost 0, extra 0\n/,
  );
  expect(stdout).toContain('Nothing lost, nothing doubled.');
});
