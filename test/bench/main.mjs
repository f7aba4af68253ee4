// Ratios measured in one run: `npm run bench [delivery|unchanged|start|compile]`. Needs `npm run build`.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { DuckDBInstance } from '@duckdb/node-api';

const root = path.join(import.meta.dirname, '../..');
const main = path.join(root, 'dist/runtime/cli/main.js');
const dir = mkdtempSync(path.join(tmpdir(), 'syncline-bench-'));
const only = process.argv[2];
const ratio = (name, ours, theirs, goal) =>
  console.log(
    `${name}: ${(ours / theirs).toFixed(2)} × (${Math.round(ours)} ms against ${Math.round(theirs)} ms; goal ${goal})`,
  );

async function db(file, use) {
  const instance = await DuckDBInstance.create(path.join(dir, file));
  const connection = await instance.connect();
  try {
    return await use(connection);
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}
function run(...args) {
  const started = performance.now();
  const ran = spawnSync('/usr/bin/env', ['time', '-f', 'rss=%M', process.execPath, main, ...args], {
    cwd: dir,
    encoding: 'utf8',
  });
  const plain = ran.status === 127 ? spawnSync(process.execPath, [main, ...args], { cwd: dir, encoding: 'utf8' }) : ran;
  if (plain.status !== 0) throw new Error(plain.stderr);
  return { ms: performance.now() - started, err: plain.stderr };
}
const project = (port, name, file) => {
  mkdirSync(path.join(dir, 'syncs'), { recursive: true });
  writeFileSync(
    path.join(dir, 'syncline.yml'),
    `name: bench
default_target: dev
targets:
  dev:
    warehouse: { type: duckdb, path: ${file} }
    mixpanel: ${port === 0 ? 'sandbox' : `{ host: "http://127.0.0.1:${port}", project_id: 1, token: x, request_timeout: 1s, rate_limit: { events_per_second: 100000000, bytes_per_minute: 1000GB } }`}
`,
  );
  writeFileSync(path.join(dir, 'syncs/s.yml'), name);
};

if (!only || only === 'delivery') {
  const server = spawn(process.execPath, [main, 'sandbox', '--discard', '--port', '8799'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  await new Promise((resolve) => server.stderr.once('data', resolve));
  await db('delivery.duckdb', (c) =>
    c.run(`create table ev as select i::integer as id, timestamp '2024-01-01' + to_seconds(i::integer) as t, 'user-' || (i % 100000) as u,
    'item ' || (i % 1000) as item, i * 1.5 as amount from range(1000000) as t(i)`),
  );
  project(
    8799,
    `syncs:\n  - { name: s, kind: events, mode: mirror, source: { relation: ev }, event: Purchase, time: t, user_id: u, key: id }\n`,
    'delivery.duckdb',
  );
  run('lock');
  // The first apply is stopped once it has captured, so that the second only delivers.
  const child = spawn(process.execPath, [main, 'apply'], { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });
  await new Promise((resolve) =>
    child.stderr.on('data', (d) => /captured/.test(String(d)) && setTimeout(resolve, 150)),
  );
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));
  const state = await db(
    'delivery.duckdb',
    async (c) => (await c.runAndReadAll('select phase, next_batch, run from mixpanel.s__state')).getRowObjectsJson()[0],
  );
  const batches = 500 - Number(state.next_batch);
  // The bare loop: read batches, join, compress, post, eight at a time.
  const compress = promisify(gzip);
  const started = performance.now();
  await db('delivery.duckdb', async (c) => {
    let pending = new Set();
    for (let b = Number(state.next_batch); b < 500; b += 8) {
      const rows = (
        await c.runAndReadAll(
          `select batch, string_agg(payload, ',' order by ordinal) as body from mixpanel.s__outbox_${state.run} where batch >= ${b} and batch < ${b + 8} group by batch order by batch`,
        )
      ).getRows();
      for (const [, body] of rows) {
        const post = compress(`[${body}]`, { level: 1 })
          .then((z) =>
            fetch('http://127.0.0.1:8799/import', {
              method: 'POST',
              body: z,
              headers: { 'content-encoding': 'gzip', authorization: 'Basic eDo=', 'content-type': 'application/json' },
            }),
          )
          .then((r) => r.text())
          .finally(() => pending.delete(post));
        pending.add(post);
        if (pending.size >= 8) await Promise.race(pending);
      }
    }
    await Promise.all(pending);
  });
  const bare = performance.now() - started;
  // Delivery alone is from the end of the quiet time (one second after the word that it is waited for) to the last record.
  const at = { begin: 0, end: 0 };
  const started2 = performance.now();
  const delivered = await new Promise((resolve, reject) => {
    const apply = spawn('/usr/bin/env', ['time', '-f', 'rss=%M', process.execPath, main, 'apply'], {
      cwd: dir,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let err = '';
    apply.stderr.on('data', (d) => {
      err += d;
      if (at.begin === 0 && /waiting/.test(err)) at.begin = performance.now() + 1000;
      if (/sent ([\d,]+) of \1\b/.test(err) && at.end === 0) at.end = performance.now();
    });
    apply.once('exit', (code) =>
      code === 0 ? resolve({ err, ms: performance.now() - started2 }) : reject(new Error(err)),
    );
  });
  ratio('delivery alone', at.end - at.begin, bare, 1.5);
  console.log(
    `delivery of ${batches} batches (with start, ledger commit and a second run): peak memory ${/rss=(\d+)/.exec(delivered.err)?.[1] ?? 'not measured'} kB`,
  );
  ratio('delivery, whole command', delivered.ms, bare, 'none');
  server.kill();
}

if (!only || only === 'unchanged') {
  await db('wide.duckdb', (c) =>
    c.run(`create table wide as select i::bigint as id, timestamp '2024-01-01' + to_seconds(i::integer) as t,
    ${Array.from({ length: 9 }, (_, k) => `'text ${k} ' || (i * ${k + 3} % 9973) as a${k}`).join(', ')}, ${Array.from({ length: 9 }, (_, k) => `(i * ${k + 1} / 7)::decimal(18, 2) as d${k}`).join(', ')} from range(1000000) as t(i)`),
  );
  for (const [name, key, goal] of [
    ['keyed', ', key: id', 1.5],
    ['unkeyed', '', 2.2],
  ]) {
    project(
      0,
      `syncs:\n  - { name: ${name}, kind: events, mode: mirror, source: { relation: wide }, event: E, time: t${key} }\n`,
      'wide.duckdb',
    );
    rmSync(path.join(dir, 'compiled'), { recursive: true, force: true });
    run('lock');
    run('apply', '--quiet');
    const capture = spawnSync(process.execPath, [main, 'compile', '-q'], { cwd: dir });
    void capture;
    const { readFileSync } = await import('node:fs');
    const sql = readFileSync(path.join(dir, `compiled/dev/${name}/capture.sql`), 'utf8');
    const checksum = /select t\.\*, (md5\(.*\)) as syncline_checksum/.exec(sql)[1];
    const bare = await db('wide.duckdb', async (c) => {
      await c.run('select count(*) from wide');
      const started = performance.now();
      await c.run(
        `select count(distinct x) from (select ${checksum} as x from wide)`.replace('count(distinct x)', 'max(x)'),
      );
      return performance.now() - started;
    });
    const empty = run('validate', '-q').ms;
    ratio(`unchanged 1,000,000 × 20, ${name}, less start-up`, run('apply', '--quiet').ms - empty, bare, goal);
  }
}

if (!only || only === 'start') {
  const time = (args) =>
    Math.min(
      ...Array.from({ length: 9 }, () => {
        const s = performance.now();
        spawnSync(process.execPath, args);
        return performance.now() - s;
      }),
    );
  ratio('--version', time([main, '--version']), time(['-e', '']), 3);
}

if (!only || only === 'compile') {
  const { compile } = await import(path.join(root, 'dist/compiler/compile.js'));
  const { readTemplates } = await import(path.join(root, 'dist/compiler/templates.js'));
  const { parseDocument } = await import('yaml');
  const templates = await readTemplates(path.join(root, 'templates'));
  const files = {
    'syncline.yml':
      'name: b\ndefault_target: d\ntargets: { d: { warehouse: { type: duckdb, path: x }, mixpanel: sandbox } }\n',
  };
  for (let f = 0; f < 100; f++)
    files[`syncs/f${f}.yml`] = `syncs:\n${Array.from(
      { length: 10 },
      (_, i) => `  - name: s${f}_${i}
    kind: events
    mode: mirror
    source: { relation: main.orders }
    event: Purchase Completed
    time: ordered_at
    user_id: customer_id
    key: order_id
    guard: { max_deletes: 10%, on_empty_source: fail }
    owner: { name: Growth, email: growth@example.com }
    tags: [growth, nightly]
`,
    ).join('')}`;
  const columns = Array.from({ length: 12 }, (_, i) => ({ name: `c${i}`, type: 'VARCHAR' })).concat([
    { name: 'order_id', type: 'INTEGER' },
    { name: 'ordered_at', type: 'TIMESTAMP' },
    { name: 'customer_id', type: 'VARCHAR' },
  ]);
  files['syncline.lock.json'] = JSON.stringify({
    lockVersion: 1,
    targets: { d: { sources: { 'main.orders': { columns } } } },
  });
  const best = (f) =>
    Math.min(
      ...Array.from({ length: 3 }, () => {
        const s = performance.now();
        f();
        return performance.now() - s;
      }),
    );
  const bare = best(() => Object.entries(files).forEach(([n, t]) => n.endsWith('.yml') && parseDocument(t).toJS()));
  ratio(
    'compile of 1,000 syncs',
    best(() => {
      if (!compile({ files, templates }).plan) throw new Error('no plan');
    }),
    bare,
    4,
  );
}
rmSync(dir, { recursive: true, force: true });
