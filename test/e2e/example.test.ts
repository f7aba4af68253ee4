import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { cli, duck, told } from './cli.ts';

const examples = path.join(import.meta.dirname, '../../examples');
const quickstart = path.join(examples, 'quickstart');

/** What is committed of an example, in a folder of its own. */
async function copy(name: string, ...files: string[]): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'syncline-'));
  for (const file of files) await cp(path.join(examples, name, file), path.join(dir, file), { recursive: true });
  return dir;
}

test.concurrent('the quickstart: what is committed is what its shop compiles to, and it applies', async () => {
  const dir = await copy('quickstart', 'syncline.yml', 'syncs', 'syncline.lock.json', 'compiled');
  const shop = await readFile(path.join(quickstart, 'shop.sql'), 'utf8');
  await duck(path.join(dir, 'warehouse.duckdb'), shop.replaceAll('200000', '10'));
  told(await cli(dir, 'lock', '--check'), 0);
  // When this fails: `syncline compile` in examples/quickstart, and review the change.
  told(await cli(dir, 'compile', '--check'), 0);
  told(await cli(dir, 'apply'), 0, '10 inserts');
});

test.concurrent('all kinds: locked, compiled, applied, and what arrives', async () => {
  const dir = await copy('all-kinds', 'syncline.yml', 'syncs', 'syncline.lock.json');
  await promisify(execFile)(process.execPath, [path.join(examples, 'all-kinds/build.mjs'), dir]);
  told(await cli(dir, 'lock', '--check'), 0);
  told(await cli(dir, 'compile'), 0, 'compiled/dev/: 5 syncs');
  told(await cli(dir, 'compile', '--check'), 0);
  told(await cli(dir, 'apply'), 0, 'purchases: run 1 done: 3 inserts', 'songs: run 1 done: 3 inserts');
  const sandbox = path.join(dir, 'sandbox.duckdb');
  const events = await duck(
    sandbox,
    `select event || ' ' || distinct_id || ' ' || strftime(make_timestamp(time_ms * 1000), '%m-%d %H:%M') as e from events order by time_ms, e`,
  );
  expect(events.map((r) => r['e'])).toEqual([
    'Song Played alice@example.com 01-04 11:12',
    'Song Played alice@example.com 01-04 11:12',
    'Song Skipped bob@example.com 01-04 11:15',
    'Purchase Completed alice@example.com 01-04 16:12',
    'Purchase Completed bob@example.com 01-12 16:12',
    'Purchase Completed $device:phone-2 07-12 15:12',
  ]);
  const [shoes] = await duck(
    sandbox,
    `select properties::varchar as p from events where properties ->> 'Item' = 'shoes'`,
  );
  expect(JSON.parse(String(shoes!['p']))).toMatchObject({
    purchase_id: '1',
    Brand: 'nike',
    Amount: 99.23,
    Type: 'in-store',
    coupon: 'NEW',
    sizes: [40, 41],
    $user_id: 'alice@example.com',
    $device_id: 'phone-1',
  });
  const counts = await duck(
    sandbox,
    'select (select count(*) from profiles)::int as p, (select count(*) from groups)::int as g, (select count(*) from lookup_rows)::int as l',
  );
  expect(counts).toEqual([{ p: 2, g: 2, l: 3 }]);
  const again = await cli(dir, 'apply');
  told(again, 0);
  expect(again.err.match(/nothing changed/g)).toHaveLength(5);
});

test.concurrent('the demo, a kill -9 included, ends with nothing lost and nothing doubled', async () => {
  const dir = path.join(await mkdtemp(path.join(tmpdir(), 'syncline-')), 'demo');
  const demo = path.join(quickstart, 'demo.mjs');
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [demo, '20000', dir]);
  expect(stdout).toContain('with 20,000 orders');
  expect(stdout).toMatch(
    /rows in the table {7}20,050\n {2}events in the report {4}20,050 {3}\(every copy ever sent: [\d,]+\)\n {2}lost 0, extra 0\n/,
  );
  // Its story: what changed moves and nothing else, and the kill comes between the first batch and the last.
  const changes = '120 inserts, 300 updates, 70 deletes';
  expect(stdout).toContain(`purchases (changes): ${changes}; 490 billable events`);
  expect(stderr).toContain(`purchases: run 2 done: ${changes}\n`);
  expect(stdout).toContain('purchases: interrupted while sending ');
  expect(stdout).toContain('Next: syncline apply -s purchases');
  const [, total = ''] =
    /finishing interrupted run 3\n[^]*run 3 done: 0 inserts, ([\d,]+) updates, 0 deletes\npurchases: nothing changed\n/.exec(
      stderr,
    ) ?? [];
  const number = (text = ''): number => Number(text.replaceAll(',', ''));
  const killed = number(/killed after about ([\d,]+) records/.exec(stdout)?.[1]);
  expect(number(total)).toBe(6015);
  expect(killed).toBeGreaterThan(0);
  expect(killed).toBeLessThan(number(total));
  expect(stdout).toContain('Nothing lost, nothing doubled.');
});
