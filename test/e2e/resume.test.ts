import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { cli, duck, project, start } from './cli.ts';

test('an interrupted run is finished whatever the current plan says; only then is the current one applied', async () => {
  const dir = await project({
    'syncline.yml': `name: shop
default_target: dev
targets:
  dev:
    warehouse: { type: duckdb, path: warehouse.duckdb }
    mixpanel: sandbox
`,
    'syncs/shop.yml': `syncs:
  - { name: p, kind: events, mode: mirror, source: { relation: orders }, event: E, time: t, key: id }
`,
  });
  const file = path.join(dir, 'warehouse.duckdb');
  await duck(
    file,
    `create table orders as select i::integer as id, timestamp '2024-01-01' as t, 'x' as a from range(120000) as t(i)`,
  );
  await cli(dir, 'lock');
  const sent = async (): Promise<number> => {
    const text = await readFile(path.join(dir, 'target/syncline/dev/manifest.json'), 'utf8').catch(() => '{}');
    return (JSON.parse(text) as { syncs?: { p?: { sent?: number } } }).syncs?.p?.sent ?? 0;
  };
  const { child, ended } = start(dir, 'apply', '--quiet');
  for (let i = 0; i < 4000 && (await sent()) === 0; i++) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill('SIGKILL');
  await ended;
  expect((await cli(dir, 'status')).out).toContain('interrupted while sending');
  const refused = await cli(dir, 'reset', 'p');
  expect([refused.code, refused.err.includes('has an interrupted run')]).toEqual([1, true]);

  await rm(path.join(dir, 'target'), { recursive: true });
  await duck(
    file,
    'alter table orders add column b integer',
    'update orders set b = id where id < 10',
    'delete from orders where id = 11',
  );
  await cli(dir, 'lock');
  const finished = await cli(dir, 'apply');
  expect(finished.code, finished.err).toBe(0);
  expect(finished.err).toContain('finishing interrupted run 1');
  expect(finished.err).toContain('run 1 done: 120,000 inserts');
  expect(finished.err).toContain('0 inserts, 10 updates, 1 delete');
  const [row] = await duck(
    path.join(dir, 'sandbox.duckdb'),
    `select count(*)::int as n, count(properties ->> 'b')::int as b from events`,
  );
  expect(row).toEqual({ n: 120000, b: 10 });
});

test('a state of another target, and of a newer layout, is refused', async () => {
  const yml = (target: string): string => `name: shop
default_target: ${target}
targets:
  ${target}:
    warehouse: { type: duckdb, path: warehouse.duckdb }
    mixpanel: sandbox
`;
  const dir = await project({
    'syncline.yml': yml('dev'),
    'syncs/shop.yml': `syncs:\n  - { name: p, kind: events, mode: mirror, source: { relation: orders }, event: E, time: t, key: id }\n`,
  });
  const file = path.join(dir, 'warehouse.duckdb');
  await duck(file, `create table orders as select 1 as id, timestamp '2024-01-01' as t`);
  await cli(dir, 'lock');
  const unknown = await cli(dir, 'force-unlock', 'p');
  expect([unknown.code, unknown.err.includes('error[state-missing]')]).toEqual([1, true]);
  expect((await cli(dir, 'apply')).code).toBe(0);
  expect((await cli(dir, 'force-unlock', 'p')).err).toContain('p is not held');
  await duck(file, 'update mixpanel.p__state set layout = 99');
  const tables = (): Promise<unknown> => duck(file, 'select * from mixpanel.p__state, mixpanel.p__ledger');
  const before = await tables();
  const newer = 'The state of p was written by a newer syncline (layout 99). Upgrade syncline.';
  for (const command of [['plan'], ['apply'], ['setup', '--execute'], ['reset', 'p'], ['doctor']])
    expect(await cli(dir, ...command)).toMatchObject(
      command[0] === 'doctor'
        ? { code: 1, out: expect.stringContaining(`fail  staging: ${newer}\n`) as string }
        : { code: 1, err: expect.stringContaining(newer) as string },
    );
  expect(await tables()).toEqual(before);
  await duck(file, "update mixpanel.p__state set layout = 1, mixpanel = 'http://elsewhere#9'");
  expect((await cli(dir, 'apply')).err).toContain('belongs to Mixpanel project http://elsewhere#9');
  await duck(file, 'drop table mixpanel.p__state');
  const missing = await cli(dir, 'apply');
  expect([missing.code, missing.err.includes('starting anew would resend the table')]).toEqual([1, true]);
  const { writeFile } = await import('node:fs/promises');
  await writeFile(path.join(dir, 'syncline.yml'), yml('other'));
  await cli(dir, 'lock');
  const foreign = await cli(dir, 'apply');
  const told = 'The staging schema mixpanel is used by shop / dev, this is shop / other.';
  expect([foreign.code, foreign.err]).toEqual([1, expect.stringContaining(told)]);
  // Its syncs are no orphans of this target, and nobody is told to destroy them.
  await writeFile(
    path.join(dir, 'syncs/shop.yml'),
    `syncs:\n  - { name: q, kind: events, mode: mirror, source: { relation: orders }, event: E, time: t, key: id }\n`,
  );
  for (const command of ['plan', 'status']) {
    const ran = await cli(dir, command);
    expect([ran.code, ran.err]).toEqual([1, expect.stringContaining(told)]);
    expect(ran.err).not.toContain('destroy');
  }
});
