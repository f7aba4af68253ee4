import { gunzipSync } from 'node:zlib';
import type { ChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import type { SandboxRequest } from '../../runtime/sandbox/http.ts';
import type { Sandbox } from '../../runtime/sandbox/server.ts';
import { openSandbox, serveSandbox } from '../../runtime/sandbox/server.ts';
import { cli, duck, MAIN, project, told } from './cli.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Seen {
  readonly at: number;
  readonly path: string;
  readonly records: number;
}

/** A served sandbox that writes down each request with records, and may do something before it answers. */
async function served(before: (seen: Seen) => Promise<unknown> = () => Promise.resolve()) {
  const sandbox = await openSandbox({ path: ':memory:' });
  const log: Seen[] = [];
  const open = { now: 0, most: 0 };
  const server = await serveSandbox(
    {
      exchange: async (request) => {
        const seen = { at: Date.now(), path: request.url.split('?')[0] ?? '', records: recordsOf(request) };
        if (seen.records > 0) log.push(seen);
        open.most = Math.max(open.most, ++open.now);
        try {
          if (seen.records > 0) await before(seen);
          return await sandbox.exchange(request);
        } finally {
          open.now--;
        }
      },
    },
    { port: 0 },
  );
  cleanups.push(() => server.close().then(() => sandbox.close()));
  return { sandbox, log, open, port: server.port };
}

function recordsOf({ headers, body }: SandboxRequest): number {
  const text = (headers['content-encoding'] === 'gzip' ? gunzipSync(body) : Buffer.from(body)).toString().trim();
  // One empty event proves the credentials.
  if (text === '' || text === '[{}]') return 0;
  if (text.startsWith('[')) return (JSON.parse(text) as unknown[]).length;
  return text.split('\n').length;
}

const yml = (port: number, more = ''): string => `name: shop
default_target: dev
targets:
  dev:
    warehouse: { type: duckdb, path: warehouse.duckdb }
    mixpanel:
      host: http://127.0.0.1:${port}
      project_id: 1
      service_account: { username: a, secret: b }
      token: t
      retry: { initial: 20ms, max: 100ms, attempts: 4 }
      request_timeout: 10s
${more}`;

async function shop(port: number, syncs: string, table: string, more = ''): Promise<string> {
  const dir = await project({ 'syncline.yml': yml(port, more), 'syncs/s.yml': `syncs:\n${syncs}` });
  cleanups.push(() => rm(dir, { recursive: true, force: true }));
  await duck(path.join(dir, 'warehouse.duckdb'), table);
  told(await cli(dir, 'lock'), 0);
  return dir;
}

const TABLE = (rows: number): string =>
  `create table t as select i::integer as id, timestamp '2024-01-01' + to_seconds(i::integer) as time, timestamp '2024-02-01' + to_seconds(i::integer) as loaded, 'value ' || i as v from range(1, ${rows} + 1) as r(i)`;
const from = 'source: { relation: t }';
const SIX = `  - { name: keyed, kind: events, mode: mirror, event: A, time: time, key: id, ${from} }
  - { name: unkeyed, kind: events, mode: mirror, event: B, time: time, ${from} }
  - { name: log, kind: events, mode: append, event: C, time: time, insert_time: loaded, ${from} }
  - { name: people, kind: user_profiles, mode: mirror, user_id: id, ${from} }
  - { name: firms, kind: group_profiles, mode: full, group_key: firm, group_id: id, ${from} }
  - { name: names, kind: lookup_table, mode: full, id: id, lookup_table_id: names, ${from} }
`;

async function stored(sandbox: Sandbox): Promise<string> {
  const queries = [
    `select event, time_ms, properties ->> 'id' as id, properties ->> 'v' as v from events order by all`,
    `select distinct_id, properties ->> 'v' as v from profiles order by all`,
    `select group_key, group_id, properties ->> 'v' as v from groups order by all`,
    `select * from lookup_rows order by all`,
  ];
  const found = await Promise.all(queries.map((q) => sandbox.query(q)));
  expect(found.map((rows) => rows.length)).toEqual([9000, 3000, 3000, 3000]);
  return JSON.stringify(found, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}

test('six syncs of all kinds: with three threads and with one the same arrives, each record once', async () => {
  const results: string[] = [];
  for (const threads of ['3', '1']) {
    const { sandbox, log, port } = await served();
    const dir = await shop(port, SIX, TABLE(3000));
    const ran = await cli(dir, 'apply', '--threads', threads);
    told(ran, 0);
    expect(ran.err.match(/run \d+ done: 3,000 inserts/g)).toHaveLength(6);
    results.push(await stored(sandbox));
    const sent = (at: string): number =>
      log.filter((r) => r.path.startsWith(at)).reduce((sum, r) => sum + r.records, 0);
    expect([sent('/import'), sent('/engage'), sent('/groups')]).toEqual([9000, 3000, 3000]);
    const again = await cli(dir, 'apply', '--threads', threads);
    told(again, 0);
    // Full sends profiles in each run.
    expect(again.err.match(/nothing changed/g)).toHaveLength(5);
    const paths = [...new Set(log.map((r) => r.path))];
    if (threads === '1')
      expect(
        log
          .map((r) => r.path)
          .filter((p, i, all) => p !== all[i - 1])
          .slice(0, 4),
      ).toEqual(paths);
  }
  expect(results[0]).toBe(results[1]);
});

const FAILING = `  - { name: a, kind: events, mode: mirror, event: A, time: time, key: v, ${from}, where: "v is null or v is not null" }
  - { name: b, kind: events, mode: mirror, event: B, time: time, key: twin, source: { relation: u } }
  - { name: c, kind: events, mode: mirror, event: C, time: time, key: twin, source: { relation: u } }
  - { name: d, kind: events, mode: mirror, event: D, time: time, key: id, ${from} }
  - { name: e, kind: user_profiles, mode: mirror, user_id: id, ${from} }
`;
const TWINS = `${TABLE(100)}; create table u as select 1 as twin, time from t`;

test('two syncs that fail: without --fail-fast the others go on', async () => {
  const { sandbox, port } = await served();
  const dir = await shop(port, FAILING, TWINS);
  const ran = await cli(dir, 'apply', '--threads', '2');
  told(ran, 1, 'error[check-failed]: b:', 'error[check-failed]: c:');
  expect(ran.err.match(/run \d+ done/g)).toHaveLength(3);
  const events = await sandbox.query(`select event, count(*)::int as n from events group by 1 order by 1`);
  expect(events).toEqual([
    { event: 'A', n: 100 },
    { event: 'D', n: 100 },
  ]);
});

test('two syncs that fail: with --fail-fast no other starts', async () => {
  const { sandbox, port } = await served();
  const dir = await shop(port, FAILING, TWINS);
  const ran = await cli(dir, 'apply', '--threads', '1', '--fail-fast');
  told(ran, 1, 'error[check-failed]: b:', '--fail-fast: 3 syncs were not started.');
  expect(ran.err).not.toContain(' c: ');
  expect(await sandbox.query(`select distinct event from events`)).toEqual([{ event: 'A' }]);
  expect(await sandbox.query(`select * from profiles`)).toEqual([]);
});

test('--fail-fast: a sync that is sending finishes', async () => {
  const { sandbox, port } = await served(() => new Promise((resolve) => setTimeout(resolve, 100)));
  const syncs = `  - { name: big, kind: events, mode: mirror, event: A, time: time, key: id, ${from} }
  - { name: bad, kind: events, mode: mirror, event: B, time: time, key: twin, source: { relation: u } }
  - { name: last, kind: events, mode: mirror, event: C, time: time, key: id, ${from} }
`;
  const dir = await shop(port, syncs, `${TABLE(60_000)}; create table u as select 1 as twin, time from t limit 2`);
  const ran = await cli(dir, 'apply', '--threads', '2', '--fail-fast');
  told(ran, 1, 'error[check-failed]: bad:', '1 sync was not started');
  expect(ran.err).toContain('big: run 1 done: 60,000 inserts');
  expect(await sandbox.query(`select event, count(*)::int as n from events group by 1`)).toEqual([
    { event: 'A', n: 60_000 },
  ]);
});

test('one rate limit for all syncs of a process', async () => {
  const { log, port } = await served();
  const perSecond = 2000;
  const two = ['a', 'b']
    .map((n) => `  - { name: ${n}, kind: events, mode: mirror, event: ${n}, time: time, key: id, ${from} }\n`)
    .join('');
  const dir = await shop(port, two, TABLE(4000), `      rate_limit: { events_per_second: ${perSecond} }\n`);
  told(await cli(dir, 'apply', '--threads', '2'), 0);
  const total = log.reduce((sum, r) => sum + r.records, 0);
  expect(total).toBe(8000);
  // A second's worth and one request may be ahead at any time.
  const [first] = log;
  let before = 0;
  for (const { at, records } of log) {
    const may = perSecond * (1 + (at - first!.at + 50) / 1000);
    expect(before).toBeLessThanOrEqual(may);
    before += records;
  }
  expect(log.at(-1)!.at - first!.at).toBeGreaterThan(1900);
});

interface Running {
  readonly child: ChildProcess;
  readonly err: () => string;
  readonly ended: Promise<{ code: number | null; signal: string | null }>;
}

function running(dir: string, ...args: string[]): Running {
  const child = spawn(process.execPath, [MAIN, ...args], { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  return {
    child,
    err: () => text,
    ended: new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal }))),
  };
}

const ONE = `  - { name: s, kind: events, mode: mirror, event: A, time: time, key: id, ${from} }\n`;

test('Ctrl-C: batches in flight end, none starts, and the next apply finishes with nothing doubled', async () => {
  let stop: (() => void) | undefined;
  const { sandbox, log, open, port } = await served(async () => {
    if (log.length === 9) stop?.();
    await new Promise((resolve) => setTimeout(resolve, 300));
  });
  const dir = await shop(port, ONE, TABLE(60_000));
  const apply = running(dir, 'apply');
  stop = () => apply.child.kill('SIGINT');
  expect(await apply.ended).toEqual({ code: 1, signal: null });
  stop = undefined;
  expect(apply.err()).toContain('Stopping: batches in flight end, none starts. Press again to end at once.');
  expect(apply.err()).toContain(
    'error[interrupted]: s: Stopped. What was sent is recorded; the next apply finishes this run.',
  );
  const before = log.length;
  expect(before).toBeLessThan(30);
  expect(open.now).toBe(0);
  // Each request in flight was answered and written down.
  expect(await sandbox.query('select count(*)::int as n from events_raw')).toEqual([
    { n: log.reduce((sum, r) => sum + r.records, 0) },
  ]);
  expect((await cli(dir, 'status')).out).toContain('interrupted while sending');
  told(await cli(dir, 'apply'), 0, 's: finishing interrupted run 1', 'run 1 done: 60,000 inserts');
  expect(await sandbox.query('select count(*)::int as n from events')).toEqual([{ n: 60_000 }]);
  expect(await sandbox.query('select count(*)::int as n from events_raw')).toEqual([{ n: 60_000 }]);
  told(await cli(dir, 'apply'), 0, 'nothing changed');
});

test('a second Ctrl-C ends at once, and the next apply finishes all the same', async () => {
  let stop: (() => void) | undefined;
  const { sandbox, log, port } = await served(async () => {
    if (stop && log.length >= 3) {
      stop();
      await new Promise((resolve) => setTimeout(resolve, 5000));
    }
  });
  const dir = await shop(port, ONE, TABLE(60_000));
  const apply = running(dir, 'apply');
  let again: Promise<void> | undefined;
  let pressed = 0;
  stop = () => {
    again ??= (async () => {
      apply.child.kill('SIGINT');
      while (!apply.err().includes('Stopping')) await new Promise((resolve) => setTimeout(resolve, 10));
      pressed = Date.now();
      apply.child.kill('SIGINT');
    })();
  };
  expect(await apply.ended).toEqual({ code: null, signal: 'SIGINT' });
  expect(Date.now() - pressed).toBeLessThan(2000);
  stop = undefined;
  told(await cli(dir, 'apply'), 0, 's: finishing interrupted run 1', 'run 1 done: 60,000 inserts');
  expect(await sandbox.query('select count(*)::int as n from events')).toEqual([{ n: 60_000 }]);
});

test('Ctrl-C with several syncs: those that wait do not start, and that is said', async () => {
  let stop: (() => void) | undefined;
  const { sandbox, log, port } = await served(async () => {
    if (log.length === 4) stop?.();
    await new Promise((resolve) => setTimeout(resolve, 300));
  });
  const three = ['a', 'b', 'c']
    .map((n) => `  - { name: ${n}, kind: events, mode: mirror, event: ${n}, time: time, key: id, ${from} }\n`)
    .join('');
  const dir = await shop(port, three, TABLE(40_000));
  const apply = running(dir, 'apply', '--threads', '2');
  stop = () => apply.child.kill('SIGINT');
  expect((await apply.ended).code).toBe(1);
  stop = undefined;
  expect(apply.err()).toContain('Stopped: 1 sync was not started.');
  expect(apply.err()).not.toContain('c: captured');
  told(await cli(dir, 'apply'), 0);
  expect(await sandbox.query('select event, count(*)::int as n from events group by 1 order by 1')).toEqual([
    { event: 'a', n: 40_000 },
    { event: 'b', n: 40_000 },
    { event: 'c', n: 40_000 },
  ]);
});

test('Ctrl-C ends the wait of a resumed run at once, and the run is finished later', async () => {
  const { port } = await served();
  const dir = await shop(port, ONE, TABLE(3));
  told(await cli(dir, 'apply'), 0, '3 inserts');
  const set = (state: string): Promise<unknown> =>
    duck(path.join(dir, 'warehouse.duckdb'), `update mixpanel.s__state set ${state}`);
  await duck(
    path.join(dir, 'warehouse.duckdb'),
    `create table mixpanel.s__outbox_1 as select 0::bigint as batch, row_number() over () as ordinal, 'insert' as row_change, 'insert' as change, row_key, row_checksum, time_ms, event, user_id, device_id, insert_id, null::varchar as old_insert_id, json_object('event', event, 'properties', json_object('time', time_ms, 'distinct_id', '', '$insert_id', insert_id))::varchar as payload, null::varchar as reason, null::varchar as outcome, null::varchar as outcome_reason from mixpanel.s__ledger`,
    'delete from mixpanel.s__ledger',
  );
  await set(
    `phase = 'sending', run = 1, pending = baseline, next_batch = 0, names = '1 ', quiet_until = epoch_ms(now()) + 3600000`,
  );
  const apply = running(dir, 'apply');
  while (!apply.err().includes('waiting 3')) await new Promise((resolve) => setTimeout(resolve, 20));
  apply.child.kill('SIGINT');
  expect(await apply.ended).toEqual({ code: 1, signal: null });
  expect(apply.err()).toContain('error[interrupted]: s: Stopped. What was sent is recorded; the next apply finishes');
  await set('quiet_until = 0');
  told(await cli(dir, 'apply'), 0, 'finishing interrupted run 1', 'run 1 done: 3 inserts', 'nothing changed');
});
