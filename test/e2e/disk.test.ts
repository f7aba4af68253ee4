import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { cli, cliIn, duck, ORDINARY, project, sent, shop, smallFiles, SYNC, told, YML } from './cli.ts';

test.concurrent('a manifest that cannot be written: exit 1, and what was sent stays on record', async () => {
  const dir = await shop();
  await writeFile(path.join(dir, 'target'), 'a file in the place of the folder');
  told(
    await cli(dir, 'apply'),
    1,
    'run 1 done: 3 inserts',
    'error[disk]: The manifest in target/syncline/dev/ cannot be written: a file',
    'What was sent is on record',
  );
  await rm(path.join(dir, 'target'));
  await mkdir(path.join(dir, 'target'));
  await chmod(path.join(dir, 'target'), 0o555);
  told(
    await cliIn({ cwd: dir, under: ORDINARY }, 'apply'),
    1,
    'nothing changed',
    'cannot be written: permission denied. What was sent is on record',
  );
  await chmod(path.join(dir, 'target'), 0o755);
  told(await cli(dir, 'apply'), 0, 'nothing changed');
  expect(await sent(dir)).toBe(3);
});

test.concurrent(
  'a database file that cannot grow, in capture and in commit: the next apply converges and nothing is doubled',
  async () => {
    const table = `create table orders as select i::integer as id, timestamp '2024-01-01' as t, md5(i::varchar) as a from range(20000) t(i)`;
    for (const [kilobytes, stopped, resumed] of [
      [5500, 'error[disk]: purchases: purchases/capture.sql', 'run 2 done: 20,000 inserts'],
      [7500, 'error[disk]: purchases: commit', 'finishing interrupted run 1'],
    ] as const) {
      const dir = await shop({ table });
      told(await cli(dir, 'setup', '--execute'), 0);
      const full = await cliIn({ cwd: dir, under: smallFiles(kilobytes) }, 'apply');
      told(
        full,
        1,
        stopped,
        'File too large. Make room where the database file and its temp_directory are, then run it again.',
      );
      expect(full.err.match(/^error\[/gm), full.err).toHaveLength(1);
      told(await cli(dir, 'apply'), 0, resumed);
      told(await cli(dir, 'apply'), 0, 'nothing changed');
      expect(await sent(dir)).toBe(20_000);
    }
  },
);

test.concurrent('init, lock and compile into a folder that may not be written', async () => {
  const dir = await project({ 'syncline.yml': YML, 'syncs/shop.yml': SYNC });
  await duck(path.join(dir, 'warehouse.duckdb'), `create table orders as select 1 as id, timestamp '2024-01-01' as t`);
  await chmod(dir, 0o555);
  const ordinary = { cwd: dir, under: ORDINARY };
  told(await cliIn(ordinary, 'lock'), 1, 'error[disk]: syncline.lock.json cannot be written: permission denied.');
  await chmod(dir, 0o755);
  told(await cli(dir, 'lock'), 0);
  const locked = await readFile(path.join(dir, 'syncline.lock.json'), 'utf8');
  told(
    await cliIn({ cwd: dir, under: smallFiles(0) }, 'lock'),
    1,
    'error[disk]: syncline.lock.json cannot be written: the file would be too large.',
  );
  expect(await readFile(path.join(dir, 'syncline.lock.json'), 'utf8')).toBe(locked);
  await chmod(dir, 0o555);
  told(await cliIn(ordinary, 'compile'), 1, 'error[disk]: compiled/dev/ cannot be written: permission denied.');
  told(
    await cliIn(ordinary, 'init', '--project-dir', 'new'),
    1,
    'error[disk]: The project in new cannot be written: permission denied.',
  );
  await chmod(dir, 0o755);
  await writeFile(path.join(dir, 'compiled'), '');
  told(await cli(dir, 'compile'), 1, 'error[disk]: compiled/dev/ cannot be written: a file');
});

test.concurrent('a project of more files than a process may have open compiles', async () => {
  const names = Array.from({ length: 6 }, (_, i) => `purchases_${i}`);
  const dir = await shop({ extra: names.map((n) => SYNC.slice(7).replace('purchases', n)).join('') });
  const under = ['bash', '-c', 'ulimit -n 150 && exec "$@"', 'bash'];
  told(await cliIn({ cwd: dir, under }, 'compile'), 0, '7 syncs, ');
  told(await cliIn({ cwd: dir, under }, 'compile', '--check'), 0);
  expect((await readdir(path.join(dir, 'compiled/dev'), { recursive: true })).length).toBeGreaterThan(300);
});
