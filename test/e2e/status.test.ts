import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { cli, duck, shop, SYNC, told } from './cli.ts';

const BIG = `create table orders as
  select i::integer as id, timestamp '2024-01-01' as t, 'item ' || i as item from range(1234) as t(i)`;
const SALES = SYNC.replace('syncs:\n', '').replace('purchases', 'sales');
const masked = (text: string): string => text.replace(/\d{4}-\d\d-\d\d \d\d:\d\d UTC/g, '<time>');

test.concurrent(
  'a sync that never ran, is ok, fails, is left out, is mended: what is it, since when, what to do',
  async () => {
    const dir = await shop({ table: BIG, extra: SALES });
    const file = path.join(dir, 'warehouse.duckdb');
    const lines = async (...args: string[]): Promise<string[]> =>
      masked((await cli(dir, 'status', ...args)).out)
        .trimEnd()
        .split('\n')
        .filter((line) => !line.includes('in Mixpanel:'));
    expect(await lines('-t', 'dev')).toEqual([
      'purchases: never run. Next: syncline apply -t dev -s purchases',
      'sales: never run. Next: syncline apply -t dev -s sales',
    ]);
    told(await cli(dir, 'apply'), 0);
    await duck(file, 'delete from orders where id < 3', 'update orders set t = null where id = 9');
    told(await cli(dir, 'apply', '-s', 'purchases'), 0);
    told(await cli(dir, 'apply', '-s', 'purchases'), 0, 'nothing changed');
    expect(await lines()).toEqual([
      'purchases: ok, last run just now (<time>); 1 record rejected. Next: syncline rejects -s purchases',
      '  run 3, <time>: nothing changed',
      '  run 2, <time>: 0 inserts, 0 updates, 4 deletes, 1 invalid',
      '  run 1, <time>: 1,234 inserts, 0 updates, 0 deletes',
      'sales: ok, last run just now (<time>)',
      '  run 1, <time>: 1,234 inserts, 0 updates, 0 deletes',
    ]);

    await duck(file, 'delete from orders where id < 500');
    told(await cli(dir, 'apply'), 1, 'error[guard]');
    // The failure of a sync stays known while others go on.
    told(await cli(dir, 'apply', '-s', 'sales', '--allow', 'sales.max_deletes=500'), 0);
    const [first, error, ...runs] = await lines();
    expect(first).toBe('purchases: failed just now (<time>); 1 record rejected. Next: syncline plan -s purchases');
    expect(error).toMatch(/^ {2}guard: .*max_deletes/);
    expect(runs[0]).toBe('  run 3, <time>: nothing changed');
    expect(runs).toContain('sales: ok, last run just now (<time>)');
    const json = JSON.parse((await cli(dir, 'status', '-s', 'purchases', '--output', 'json')).out) as object[];
    expect(json).toMatchObject([
      {
        sync: 'purchases',
        phase: 'idle',
        holder: null,
        filter: 'syncline_sync = "purchases"',
        runs: [{ run: 3 }, { run: 2, accepted_deletes: 4 }, { run: 1 }],
        status: 'failed',
        error: { code: 'guard' },
        next: 'syncline plan -s purchases',
        rejects: 1,
      },
    ]);
    told(await cli(dir, 'apply', '--allow', 'purchases.max_deletes=500'), 0);
    expect((await lines())[0]).toMatch(/^purchases: ok, last run just now/);

    const many = `select 'k' || i as row_key, 'x' as insert_id, 'invalid' as kind, 'insert' as change,
      'time-missing' as reason, 0 as shown, 1 as run from range(210) as c(i)`;
    await duck(file, `insert into mixpanel.purchases__rejects by name ${many}`);
    const shown = await cli(dir, 'rejects', 'purchases');
    told(shown, 0, 'purchases: the first 200 records are shown, those of the newest run first; there may be more.');
    expect(shown.out.match(/^purchases /gm)).toHaveLength(200);
  },
);

test.concurrent('an interrupted sync, with and without a manifest, and a lease that nobody released', async () => {
  const dir = await shop();
  const file = path.join(dir, 'warehouse.duckdb');
  told(await cli(dir, 'apply'), 0);
  const first = async (): Promise<string> => masked((await cli(dir, 'status')).out.split('\n')[0] ?? '');
  await duck(file, `update mixpanel.purchases__state set phase = 'sending', run = 1, holder = 'dead'`);
  expect(await first()).toBe('purchases: interrupted while sending. Next: syncline apply -s purchases');
  expect((await cli(dir, 'status')).out).toContain('\n  its lease was not released\n');
  const manifest = path.join(dir, 'target/syncline/dev/manifest.json');
  await writeFile(
    manifest,
    (await readFile(manifest, 'utf8'))
      .replace('"done"', '"running"')
      .replace(/"startedAt": "[^"]*"/, '"startedAt": "2024-01-01T00:00:00.000Z"'),
  );
  expect(await first()).toMatch(
    /^purchases: interrupted while sending [\d,]+ days ago \(<time>\)\. Next: syncline apply -s purchases$/,
  );
  await duck(file, `update mixpanel.purchases__state set phase = 'idle', run = null`);
  expect(await first()).toContain('purchases: interrupted before anything was sent');
  await rm(path.join(dir, 'target'), { recursive: true });
  expect(await first()).toBe('purchases: interrupted before anything was sent. Next: syncline apply -s purchases');
});
