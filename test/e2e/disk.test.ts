import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { cli, cliIn, duck, ORDINARY, project, sent, shop, smallFiles, SYNC, told, YML } from './cli.ts';

/** Tells a process's manifests in order, and kills it right before or after the one that a test says. */
const MANIFESTS = `import fs from 'node:fs';
import promises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
const { rename } = promises;
const [which, when] = (process.env.KILLED ?? '').split(' ');
let n = 0;
promises.rename = async (from, to) => {
  if (!to.endsWith('manifest.json')) return rename(from, to);
  const dies = ++n === Number(which);
  if (dies && when === 'before') process.kill(process.pid, 'SIGKILL');
  fs.appendFileSync('manifests', JSON.stringify(fs.readFileSync(from, 'utf8')) + '\\n');
  await rename(from, to);
  if (dies) process.kill(process.pid, 'SIGKILL');
};
syncBuiltinESMExports();
`;

test.concurrent(
  'the manifest: whole before the first statement, then step by step, and whole after any kill',
  async () => {
    const dir = await shop();
    await writeFile(path.join(dir, 'manifests.mjs'), MANIFESTS);
    const file = path.join(dir, 'target/syncline/dev/manifest.json');
    type Written = { finishedAt: string | null; syncs: { purchases: { status: string; steps: string[] } } };
    const read = (text: string) => {
      const { finishedAt, syncs } = JSON.parse(text) as Written;
      return { ...syncs.purchases, finished: finishedAt !== null };
    };
    const applied = async (killed = '') => {
      await rm(path.join(dir, 'manifests'), { force: true });
      const env = { NODE_OPTIONS: `--import ${path.join(dir, 'manifests.mjs')}`, KILLED: killed };
      const ran = await cliIn({ cwd: dir, env }, 'apply');
      const lines = await readFile(path.join(dir, 'manifests'), 'utf8').catch(() => '');
      return {
        ran,
        seen: lines
          .split('\n')
          .filter(Boolean)
          .map((line) => read(JSON.parse(line) as string)),
      };
    };
    // Nothing is begun before it is on record.
    expect((await applied('1 before')).seen).toEqual([]);
    const made = await duck(path.join(dir, 'warehouse.duckdb'), `select count(*)::int as n from duckdb_tables()`);
    expect(made).toEqual([{ n: 1 }]);
    let before: string[] = [];
    for (const [nth, when] of [
      [1, 'after'],
      [2, 'before'],
      [2, 'after'],
      [3, 'before'],
      [4, 'after'],
    ] as const) {
      const { ran, seen } = await applied(`${nth} ${when}`);
      expect([ran.code, seen.length]).toEqual([1, when === 'before' ? nth - 1 : nth]);
      // What stands there is the last one that was renamed.
      expect(read(await readFile(file, 'utf8'))).toEqual(seen.at(-1));
      expect(seen[0]).toEqual({ status: 'pending', runs: [], steps: [], finished: false });
      told(await cli(dir, 'status'), 0);
    }
    const { ran, seen } = await applied();
    told(ran, 0);
    for (const { steps, finished, status } of seen.slice(0, -1)) {
      expect(steps.slice(0, before.length)).toEqual(before);
      expect([finished, status]).toEqual([
        false,
        steps.length === 0 ? 'pending' : expect.stringMatching(/running|done/),
      ]);
      before = steps;
    }
    expect(seen.length).toBeGreaterThan(5);
    expect(seen.at(-1)).toMatchObject({ status: 'done', finished: true });
    expect(seen.at(-1)!.steps.slice(0, before.length)).toEqual(before);
    const left = await readdir(path.dirname(file));
    expect(left.filter((name) => !name.endsWith('.tmp'))).toEqual(['manifest.json']);
    expect(await sent(dir)).toBe(3);
  },
);

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
