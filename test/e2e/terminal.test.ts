import { rm } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { openSandbox, serveSandbox } from '../../runtime/sandbox/server.ts';
import { cli, duck, project, shop, told } from './cli.ts';
import { onEngine } from '../engines/engine.ts';
import { frames, masked, missing, missingTmux, onTerminal, onTmux } from './screen.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A project of these syncs over 40,000 rows, whose Mixpanel takes its time. */
async function slowShop(...names: string[]): Promise<string> {
  const sandbox = await openSandbox({ path: ':memory:', discard: true, faults: { slowMs: 400 } });
  const server = await serveSandbox(sandbox, { port: 0 });
  const syncs = names.map(
    (n) =>
      `  - { name: ${n}, kind: events, mode: mirror, event: ${n}, time: time, key: id, source: { relation: ${n} } }\n`,
  );
  const dir = await project({
    'syncline.yml': `name: shop
default_target: dev
targets:
  dev:
    warehouse: { type: duckdb, path: warehouse.duckdb }
    mixpanel: { host: 'http://127.0.0.1:${server.port}', project_id: 1, token: t }
`,
    'syncs/s.yml': `syncs:\n${syncs.join('')}`,
  });
  cleanups.push(
    () => rm(dir, { recursive: true, force: true }),
    () => server.close().then(() => sandbox.close()),
  );
  const table = (name: string): string =>
    `create table ${name} as select i::integer as id, timestamp '2024-01-01' as time, 'x' as v from range(40000) as r(i)`;
  await duck(path.join(dir, 'warehouse.duckdb'), ...names.map(table));
  told(await cli(dir, 'lock'), 0);
  return dir;
}

onEngine(missingTmux, 'tmux', () => {
  test('what a person has on the screen while it runs, and at the end', async () => {
    const dir = await slowShop('purchases', 'signups');
    await duck(path.join(dir, 'warehouse.duckdb'), 'alter table signups drop column v');
    const screens = (await onTmux(dir, 'apply', '--threads', '1')).map(masked);
    expect(screens).toContain('purchases  <bar>  <n> of 40,000  <n>%  <n> a second  <time> left');
    await expect(`${screens.at(-1)!}\n`).toMatchFileSnapshot('expected/terminal-tmux.txt');
  });
});

onEngine(missing, 'on a terminal', () => {
  test('apply shows a line a sync that moves, and what is done or failed above it', async () => {
    const dir = await slowShop('purchases', 'signups');
    await duck(path.join(dir, 'warehouse.duckdb'), 'alter table signups drop column v');
    const ran = await onTerminal(dir, {}, 'apply', '--threads', '1');
    const seen = frames(ran.text).map(masked);
    const session = seen.filter((frame, i) => frame !== '' && frame !== seen[i - 1]).join('\n----\n');
    await expect(`${session}\n`).toMatchFileSnapshot('expected/terminal.txt');
    expect(ran.code).toBe(1);
  });

  test('several syncs at once have a line each, as wide as the terminal at most', async () => {
    const dir = await slowShop('purchases', 'signups');
    const ran = await onTerminal(dir, {}, 'apply');
    const seen = frames(ran.text);
    const both =
      /^purchases {2}.* of 40,000 .*\nsignups {4}.* of 40,000 .*$|^signups {4}.* of 40,000 .*\npurchases {2}.* of 40,000 .*$/;
    expect(seen.some((frame) => both.test(frame))).toBe(true);
    expect(Math.max(...seen.flatMap((frame) => frame.split('\n').map((line) => line.length)))).toBeLessThan(90);
    expect(seen.at(-1)?.split('\n').sort()).toEqual([
      'purchases: run 1 done: 40,000 inserts, 0 updates, 0 deletes',
      'signups: run 1 done: 40,000 inserts, 0 updates, 0 deletes',
    ]);
    expect(ran.code).toBe(0);
  });

  test.each([
    ['in CI', { CI: 'true' }, []],
    ['on a dumb terminal', { TERM: 'dumb' }, []],
    ['as JSON', {}, ['--log-format', 'json']],
    ['quietly', {}, ['--quiet']],
  ])('%s nothing is redrawn', async (how, env, flags) => {
    const ran = await onTerminal(await shop(), { env }, 'apply', ...flags);
    expect(ran.text).not.toContain('\x1b');
    expect(ran.text.includes('purchases: sent 3 of 3')).toBe(flags.length === 0);
    expect([how, ran.code]).toEqual([how, 0]);
  });
});
