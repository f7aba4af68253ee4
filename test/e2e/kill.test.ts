import { existsSync, readFileSync, statSync } from 'node:fs';
import { appendFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { Sandbox } from '../../runtime/sandbox/server.ts';
import { openSandbox, serveSandbox } from '../../runtime/sandbox/server.ts';
import { random } from '../story/scheduler.ts';
import { cli, duck, heldBy, project, start } from './cli.ts';
import * as fleet from './fleet.ts';

const ROUNDS = Number(process.env['ROUNDS'] ?? 30);
const SEED = Number(process.env['SEED'] ?? 7);

let sandbox: Sandbox | undefined;
let server: { port: number; close(): Promise<void> } | undefined;
afterAll(async () => {
  await server?.close();
  await sandbox?.close();
}, 60_000);

test(`real processes: ${ROUNDS} rounds of kill -9, SIGSTOP and a faulty server end in equality (seed ${SEED})`, async () => {
  const rng = random(SEED);
  const faults = { '429': 0.1, '5xx': 0.1, 'reset-before': 0.1, 'reset-after': 0.15 };
  const { parseFaults } = await import('../../runtime/sandbox/faults.ts');
  sandbox = await openSandbox({
    path: ':memory:',
    faults: parseFaults(
      Object.entries(faults)
        .map(([k, v]) => `${k}=${v}`)
        .join(','),
    ),
    random: rng,
  });
  server = await serveSandbox(sandbox, { port: 0 });
  const dir = await project({
    'syncline.yml': `name: shop
default_target: dev
targets:
  dev:
    warehouse: { type: duckdb, path: warehouse.duckdb }
    lease: { ttl: 2s }
    mixpanel:
      host: http://127.0.0.1:${server.port}
      project_id: 1
      service_account: { username: a, secret: b }
      retry: { initial: 20ms, max: 100ms, attempts: 6 }
      request_timeout: 1s
`,
    'syncs/shop.yml': `syncs:
  - name: purchases
    kind: events
    mode: mirror
    source: { relation: orders }
    event: Purchase
    time: t
    user_id: u
    key: id
`,
  });
  const file = path.join(dir, 'warehouse.duckdb');
  await duck(
    file,
    `create table orders as select i::integer as id, timestamp '2024-01-01' + to_seconds(i::integer) as t, 'u' || (i % 99) as u, 0 as v from range(30000) as t(i)`,
  );
  for (const args of [['lock'], ['setup', '--execute']]) expect((await cli(dir, ...args)).code).toBe(0);

  let landed = 0;
  for (let round = 0; round < ROUNDS; round++) {
    await duck(
      file,
      `update orders set v = v + 1 where id % 97 = ${Math.floor(rng() * 97)}`,
      `update orders set u = 'v' || v where id % 211 = ${Math.floor(rng() * 211)}`,
      `delete from orders where id % 307 = ${Math.floor(rng() * 307)}`,
      `insert into orders select 100000 + ${round} * 1000 + i, timestamp '2024-03-01' + to_seconds(i::integer), 'n', 0 from range(50) as t(i)`,
    );
    const { child, ended, captured } = start(dir, 'apply');
    // Now and then it is killed as soon as it has captured, however long a machine takes to start a process.
    if (round % 3 === 0) await captured;
    else await new Promise((resolve) => setTimeout(resolve, 150 + rng() * 900));
    if (rng() < 0.3) {
      child.kill('SIGSTOP');
      await new Promise((resolve) => setTimeout(resolve, 2500 * rng()));
      child.kill('SIGCONT');
      if (rng() < 0.5) await new Promise((resolve) => setTimeout(resolve, 300));
    }
    child.kill('SIGKILL');
    await ended;
    landed += await heldBy(file, ['purchases']);
  }
  process.stderr.write(`${landed} of ${ROUNDS} kills landed within a run\n`);
  expect(landed).toBeGreaterThan(0);
  // On a slow machine no round may have got as far as a tombstone.
  await cli(dir, 'apply');
  await duck(file, 'delete from orders where id % 307 = 5');
  let last = { code: 1, err: '', out: '' };
  for (let i = 0; i < 6 && !last.err.includes('nothing changed'); i++) last = await cli(dir, 'apply');
  expect(last.err).toContain('nothing changed');

  const rows = await duck(
    file,
    `select string_agg(id || '|' || epoch_ms(t) || '|' || u || '|' || v, chr(10) order by id) as t from orders`,
  );
  const shown = await sandbox.query(
    `select string_agg((properties ->> 'id') || '|' || time_ms || '|' || distinct_id || '|' || (properties ->> 'v'), chr(10) order by cast(properties ->> 'id' as integer)) as t
     from events where properties ->> 'syncline_deleted' is null`,
  );
  expect(
    shown[0]?.['t'] === rows[0]?.['t'] ? 'equal' : difference(String(rows[0]?.['t']), String(shown[0]?.['t'])),
  ).toBe('equal');
  const names = await sandbox.query(
    `select distinct k from (select unnest(json_keys(properties)) as k from events) order by k`,
  );
  expect(names.map((n) => n['k'])).toEqual([
    '$insert_id',
    '$user_id',
    'distinct_id',
    'id',
    'ip',
    'syncline_deleted',
    'syncline_sync',
    'syncline_warehouse',
    'time',
    'v',
  ]);
});

const WORDS: fleet.Words = {
  series: (from, to) => `range(${from}, ${to}) as t(i)`,
  after: (time, count, unit) => `${time} + to_${unit}s(cast(${count} as integer))`,
  hash: (value) => `hash(${value})`,
  ms: (time) => `epoch_ms(${time})`,
};
const MANY = Number(process.env['ROUNDS'] ?? 15);

test(`real processes: ${MANY} rounds with six syncs at once end in equality of all of them (seed ${SEED})`, async () => {
  const rng = random(SEED + 1);
  const { parseFaults } = await import('../../runtime/sandbox/faults.ts');
  const many = await openSandbox({
    path: ':memory:',
    faults: parseFaults('429=0.1,5xx=0.1,reset-before=0.1,reset-after=0.15'),
    random: rng,
  });
  const served = await serveSandbox(many, { port: 0 });
  try {
    const dir = await project({
      'syncline.yml': fleet.project('{ type: duckdb, path: warehouse.duckdb }', served.port),
      'syncs/shop.yml': fleet.SYNCS(),
    });
    const file = path.join(dir, 'warehouse.duckdb');
    await duck(file, ...fleet.tables(WORDS));
    for (const args of [['lock'], ['setup', '--execute']]) expect((await cli(dir, ...args)).code).toBe(0);

    let landed = 0;
    for (let round = 0; round < MANY; round++) {
      await duck(file, ...fleet.changes(WORDS, round, rng));
      const { child, ended, captured } = start(dir, 'apply', '--threads', '3');
      if (round % 3 === 0) await captured;
      else await new Promise((resolve) => setTimeout(resolve, 250 + rng() * 1500));
      if (rng() < 0.3) {
        child.kill('SIGSTOP');
        await new Promise((resolve) => setTimeout(resolve, 2500 * rng()));
        child.kill('SIGCONT');
        if (rng() < 0.5) await new Promise((resolve) => setTimeout(resolve, 300));
      }
      child.kill('SIGKILL');
      await ended;
      landed += await heldBy(file, fleet.NAMES);
    }
    process.stderr.write(`${landed} runs in ${MANY} rounds were cut by a kill\n`);
    // In a few rounds the server may have refused the proof of each, before any captured.
    if (MANY >= 10) expect(landed).toBeGreaterThan(0);
    let last = { code: 1, err: '', out: '' };
    const still = (): number => last.err.split('nothing changed').length - 1;
    for (let i = 0; i < 10 && still() < fleet.COUNT; i++) last = await cli(dir, 'apply', '--threads', '3');
    expect(still(), last.err).toBe(fleet.COUNT);
    await duck(file, fleet.tooLate(WORDS));
    last = await cli(dir, 'apply');
    expect(still(), last.err).toBe(fleet.COUNT);
    await fleet.expectEqual(WORDS, (text) => duck(file, text), many);
  } finally {
    await served.close();
    await many.close();
  }
});

function difference(table: string, mixpanel: string): string {
  const [a, b] = [new Set(table.split('\n')), new Set(mixpanel.split('\n'))];
  const lost = [...a].filter((x) => !b.has(x));
  const extra = [...b].filter((x) => !a.has(x));
  return `lost ${lost.length}: ${lost.slice(0, 5).join(' ; ')}\nextra ${extra.length}: ${extra.slice(0, 5).join(' ; ')}`;
}

test('two applies at once: the second waits for the file, and nothing is sent twice', async () => {
  const dir = await project({
    'syncline.yml': `name: shop\ndefault_target: dev\ntargets:\n  dev:\n    warehouse: { type: duckdb, path: warehouse.duckdb }\n    mixpanel: sandbox\n`,
    'syncs/shop.yml': `syncs:\n  - { name: p, kind: events, mode: mirror, source: { relation: orders }, event: E, time: t, key: id }\n`,
  });
  await duck(
    path.join(dir, 'warehouse.duckdb'),
    `create table orders as select i::integer as id, timestamp '2024-01-01' as t from range(20000) as t(i)`,
  );
  await cli(dir, 'lock');
  const both = await Promise.all([cli(dir, 'apply'), cli(dir, 'apply')]);
  expect(both.map((r) => r.code)).toEqual([0, 0]);
  expect(both.filter((r) => r.err.includes('is in use by another process'))).toHaveLength(1);
  expect(both.filter((r) => r.err.includes('nothing changed'))).toHaveLength(1);
  const raw = await duck(path.join(dir, 'sandbox.duckdb'), 'select count(*)::int as n from events_raw');
  expect(raw).toEqual([{ n: 20000 }]);
});

/** Which processes hold a lock of a file (Linux, proc(5)). */
const holders = (inode: number): number[] =>
  readFileSync('/proc/locks', 'utf8')
    .split('\n')
    .filter((line) => line.includes(`:${inode} `) && !line.includes('->'))
    .map((line) => Number(line.split(/\s+/)[4]));

test.runIf(existsSync('/proc/locks'))(
  'the file is not held before it is needed, and then without a gap, over a run that is finished and the ones after it',
  async () => {
    const local = await openSandbox({ path: ':memory:' });
    const served = await serveSandbox(local, { port: 0 });
    try {
      const sync = (name: string): string =>
        `  - { name: ${name}, kind: events, mode: mirror, source: { relation: orders }, event: E, time: t, key: id }\n`;
      const dir = await project({
        'syncline.yml': `name: shop\ndefault_target: dev\ntargets:\n  dev:\n    warehouse: { type: duckdb, path: warehouse.duckdb }\n    lease: { ttl: 2s }\n    mixpanel: { host: "http://127.0.0.1:${served.port}", project_id: 1, service_account: { username: a, secret: b }, request_timeout: 1s }\n`,
        'syncs/shop.yml': `syncs:\n${sync('one')}${sync('two')}`,
      });
      const file = path.join(dir, 'warehouse.duckdb');
      await duck(file, `create table orders as select i as id, timestamp '2024-01-01' as t from range(40000) as r(i)`);
      for (const command of ['lock', 'compile']) expect((await cli(dir, command)).code).toBe(0);
      const { ino } = statSync(file);
      /** Whether each look at the lock found it held, equal ones in a row told once. */
      const watched = async (...args: string[]): Promise<{ code: number | null; err: string; held: boolean[] }> => {
        const held: boolean[] = [];
        const { child, ended, err } = start(dir, ...args);
        const watch = { over: false };
        void ended.then(() => (watch.over = true));
        while (!watch.over) {
          const isHeld = holders(ino).includes(child.pid!);
          if (held.at(-1) !== isHeld) held.push(isHeld);
          await new Promise((resolve) => setImmediate(resolve));
        }
        return { code: await ended, err: err(), held };
      };
      await appendFile(path.join(dir, 'compiled/dev/plan.json'), ' ');
      expect(await watched('apply')).toMatchObject({ code: 1, held: [false] });
      expect((await cli(dir, 'compile')).code).toBe(0);
      // A run that its process left while it sent.
      const { child, ended } = start(dir, 'apply', '--quiet', '-s', 'one');
      while (Number((await local.query('select count(*)::int as n from events_raw'))[0]?.['n']) === 0)
        await new Promise((resolve) => setTimeout(resolve, 5));
      child.kill('SIGKILL');
      await ended;
      const applied = await watched('apply', '--threads', '1');
      expect(applied.err).toContain('one: finishing interrupted run');
      expect(applied.err).toMatch(/one: .*nothing changed[^]*two: run 1 done: 40,000 inserts/);
      expect([applied.code, applied.held.slice(0, 3)]).toEqual([0, [false, true, false]]);
      expect(applied.held).toHaveLength(3);
    } finally {
      await served.close();
      await local.close();
    }
  },
);
