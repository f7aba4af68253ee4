import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { cli, duck, ORDERS, project, shop, start, told, YML } from './cli.ts';

const sync = (name: string, more: string): string =>
  `  - { name: ${name}, kind: events, mode: append, source: { relation: orders }, event: E, time: t, insert_time: t${more} }\n`;
const EXTRA = [
  sync('hourly', ', frequency: hourly'),
  sync('daily', ', frequency: daily'),
  sync('asked', ', frequency: api'),
  sync('always', ''),
].join('');
const HOUR = 3_600_000;
const warehouse = (dir: string): string => path.join(dir, 'warehouse.duckdb');
interface Status {
  sync: string;
  frequency: string | null;
  due: boolean;
  nextDue: string | null;
}
const status = async (dir: string): Promise<Record<string, Status>> => {
  const list = JSON.parse((await cli(dir, 'status', '--output', 'json')).out) as Status[];
  return Object.fromEntries(list.map((s) => [s.sync, s]));
};

test.concurrent('apply --due runs what is due by its last finished run, and says when the rest is', async () => {
  const dir = await shop({ extra: EXTRA });
  const first = await cli(dir, 'apply', '--due');
  told(first, 0, 'hourly: run 1 done', 'daily: run 1 done', 'always: run 1 done');
  expect(first.err).toContain('asked: not due by --due (frequency: api)');
  expect((await status(dir))['asked']).toMatchObject({ frequency: 'api', due: false, nextDue: null });
  told(await cli(dir, 'apply', '-s', 'asked'), 0, 'asked: run 1 done');

  const second = await cli(dir, 'apply', '--due');
  told(second, 0, 'always: nothing changed', 'purchases: nothing changed');
  expect(second.err).toMatch(/^hourly: not due until \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \(frequency: hourly\)$/m);
  expect(second.err).toMatch(/^daily: not due until /m);
  expect(second.err).not.toContain('hourly: nothing');
  const manifest = JSON.parse(await readFile(path.join(dir, 'target/syncline/dev/manifest.json'), 'utf8')) as object;
  expect(Object.keys((manifest as { syncs: object }).syncs)).toEqual(['purchases', 'always']);

  const now = await status(dir);
  expect(now['always']).toMatchObject({ frequency: null, due: true, nextDue: null });
  const wait = Date.parse(now['hourly']!.nextDue!) - Date.now();
  expect(wait > 45 * 60_000 && wait <= 50 * 60_000).toBe(true);
  expect((await cli(dir, 'status', '-s', 'hourly')).out).toContain(
    `next due: ${now['hourly']!.nextDue!} (frequency: hourly)`,
  );
  const none = await cli(dir, 'apply', '--due', '-s', 'hourly daily asked');
  told(none, 0, 'Nothing is due.');

  await duck(warehouse(dir), `update mixpanel.runs set finished_ms = finished_ms - ${2 * HOUR}`);
  expect((await cli(dir, 'status', '-s', 'hourly')).out).toContain('due now (frequency: hourly)');
  const third = await cli(dir, 'apply', '--due', '-s', 'hourly daily');
  told(third, 0, 'hourly: nothing changed', 'daily: not due until');
  expect((await cli(dir, 'apply', '--due', '-s', 'hourly')).err).toContain('hourly: not due until');

  told(await cli(dir, 'reset', 'daily'), 0);
  told(await cli(dir, 'apply', '--due', '-s', 'daily'), 0, 'daily: run');
});

test.concurrent('a sync with many other runs after its own is known by its own', async () => {
  const dir = await shop({ extra: sync('weekly', ', frequency: weekly') });
  told(await cli(dir, 'apply'), 0);
  await duck(
    warehouse(dir),
    `insert into mixpanel.runs select r.* replace (r.run + t.i as run, r.finished_ms + t.i as finished_ms) from mixpanel.runs as r, range(1, 101) as t(i) where r.sync = 'purchases'`,
  );
  told(await cli(dir, 'apply', '--due'), 0, 'weekly: not due until');
});

test.concurrent('an interrupted run is due, whatever its frequency', async () => {
  const dir = await shop({ extra: sync('weekly', ', frequency: weekly') });
  told(await cli(dir, 'apply'), 0);
  await duck(
    warehouse(dir),
    `insert into orders select i, timestamp '2024-02-01' + to_seconds(i::integer), 'x' from range(100, 120100) as t(i)`,
  );
  await rm(path.join(dir, 'target'), { recursive: true });
  const manifest = path.join(dir, 'target/syncline/dev/manifest.json');
  const isSending = async (): Promise<boolean> =>
    /"sent": [1-9]/.test(await readFile(manifest, 'utf8').catch(() => ''));
  const { child, ended } = start(dir, 'apply', '--quiet', '-s', 'weekly');
  for (let i = 0; i < 4000 && !(await isSending()); i++) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill('SIGKILL');
  await ended;
  expect((await cli(dir, 'status', '-s', 'weekly')).out).toContain('due now (frequency: weekly)');
  told(
    await cli(dir, 'apply', '--due', '-s', 'weekly'),
    0,
    'weekly: finishing interrupted run',
    'run 2 done: 120,000 inserts',
  );
  told(await cli(dir, 'apply', '--due', '-s', 'weekly'), 0, 'weekly: not due until');
});

test.concurrent('without write access the state file says when a run finished', async () => {
  const dir = await project({
    'syncline.yml': YML.replace('warehouse.duckdb }', 'warehouse.duckdb, staging: none }'),
    'syncs/shop.yml': `syncs:\n${sync('hourly', ', frequency: hourly')}${sync('asked', ', frequency: api')}`,
  });
  await duck(warehouse(dir), ORDERS);
  told(await cli(dir, 'lock'), 0);
  told(await cli(dir, 'apply', '--due'), 0, 'hourly: run 1 done', 'asked: not due by --due (frequency: api)');
  told(await cli(dir, 'apply', '--due'), 0, 'hourly: not due until', 'Nothing is due.');
  expect((await status(dir))['hourly']).toMatchObject({ frequency: 'hourly', due: false });

  const file = path.join(dir, 'syncline.state/dev/hourly.json');
  const state = JSON.parse(await readFile(file, 'utf8')) as { finishedMs: number; baseline: object };
  const write = (change: object): Promise<void> => writeFile(file, JSON.stringify({ ...state, ...change }));
  await write({ finishedMs: state.finishedMs - HOUR });
  told(await cli(dir, 'apply', '--due'), 0, 'hourly: nothing changed');
  told(await cli(dir, 'apply', '--due'), 0, 'hourly: not due until');
  await write({ pending: state.baseline });
  told(await cli(dir, 'apply', '--due'), 0, 'hourly: finishing interrupted run');
  await write({ finishedMs: undefined });
  told(await cli(dir, 'apply', '--due'), 0, 'hourly: nothing changed');
  await writeFile(file, '{');
  told(await cli(dir, 'apply', '--due'), 1, 'error[state-missing]: hourly:');
});
