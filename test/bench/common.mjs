/** What the topics share: a folder, projects in it, the built command, the local Mixpanel, and how results are told. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { DuckDBInstance } from '@duckdb/node-api';

export const root = path.join(import.meta.dirname, '../..');
export const main = path.join(root, 'dist/runtime/cli/main.js');
export const dir = mkdtempSync(path.join(tmpdir(), 'syncline-bench-'));
process.once('exit', () => rmSync(dir, { recursive: true, force: true }));

export const say = (text) => console.log(text);
export const ratio = (name, ours, theirs, goal) =>
  say(
    `${name}: ${(ours / theirs).toFixed(2)} × (${Math.round(ours)} ms against ${Math.round(theirs)} ms; goal ${goal})`,
  );
export const megabytes = (kilobytes) =>
  kilobytes === undefined ? 'not measured (no `time`)' : `${Math.round(kilobytes / 1024)} MB`;
export const rate = (records, ms) => `${Math.round(records / ms).toLocaleString('en-US')} thousand a second`;

/** The least of several times: what shares the machine only ever adds. */
export function least(times, measure) {
  return Math.min(
    ...Array.from({ length: times }, () => {
      const started = performance.now();
      measure();
      return performance.now() - started;
    }),
  );
}

export async function db(file, use) {
  const instance = await DuckDBInstance.create(path.join(dir, file));
  const connection = await instance.connect();
  try {
    return await use(connection);
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

const timed = spawnSync('/usr/bin/env', ['time', '-f', 'x', 'true']).status === 0;

/**
 * Runs a program; `line` sees each line of its stderr as it comes.
 * @returns how long it took, the most memory it had (kilobytes) and what it printed
 */
export function program(command, args, { env = process.env, cwd = dir, line = () => undefined } = {}) {
  const started = performance.now();
  const [file, all] = timed ? ['/usr/bin/env', ['time', '-f', 'rss=%M', command, ...args]] : [command, args];
  const child = spawn(file, all, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  child.stdout.on('data', (d) => (out += d));
  createInterface({ input: child.stderr }).on('line', (text) => {
    err += `${text}\n`;
    line(text, child);
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      const kilobytes = /^rss=(\d+)$/m.exec(err)?.[1];
      const ran = {
        ms: performance.now() - started,
        kilobytes: kilobytes && Number(kilobytes),
        out,
        err: err.slice(-4000),
      };
      if (code === 0) resolve(ran);
      else reject(new Error(`${command} ${args.join(' ')} ended with ${signal ?? code}\n${ran.err}`));
    });
  });
}

export const run = (...args) => program(process.execPath, [main, ...args]);

/** One sync in a project of its own; `port` 0 is the sandbox in the process. */
export function project(port, file, sync, timeout = '1s') {
  mkdirSync(path.join(dir, 'syncs'), { recursive: true });
  rmSync(path.join(dir, 'compiled'), { recursive: true, force: true });
  const mixpanel = `{ host: "http://127.0.0.1:${port}", project_id: "1", token: x, service_account: { username: u, secret: bench-secret }, request_timeout: ${timeout}, rate_limit: { events_per_second: 100000000, bytes_per_minute: 1000GB } }`;
  writeFileSync(
    path.join(dir, 'syncline.yml'),
    `name: bench
default_target: dev
targets:
  dev:
    warehouse: { type: duckdb, path: ${file} }
    mixpanel: ${port === 0 ? 'sandbox' : mixpanel}
`,
  );
  writeFileSync(path.join(dir, 'syncs/s.yml'), `syncs:\n  - { ${sync} }\n`);
}

/** The local Mixpanel, which counts and forgets. */
export async function withSandbox(use) {
  const server = spawn(process.execPath, [main, 'sandbox', '--discard', '--port', '0'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  try {
    const said = await new Promise((resolve, reject) => {
      server.stderr.once('data', (d) => resolve(String(d)));
      server.once('exit', () => reject(new Error('the sandbox did not start')));
    });
    return await use(Number(/127\.0\.0\.1:(\d+)/.exec(said)[1]));
  } finally {
    server.kill();
  }
}

const event = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
};

/** Applies the project. `send` is the time from the last thing before delivery to the last record. */
export async function apply(quietMs = 0) {
  let [begin, end, sent] = [0, 0, 0];
  const ran = await program(process.execPath, [main, 'apply', '--log-format', 'json'], {
    line(text) {
      const { type, at, records, total } = event(text);
      if (type === 'captured' && records > 0) begin = Date.parse(at);
      if (type === 'waiting') begin = Date.parse(at) + quietMs;
      if (type === 'sent' && records === total) [end, sent] = [Date.parse(at), records];
    },
  });
  return { ...ran, send: end - begin, sent };
}

/** Applies the project up to the capture, so that the next apply only delivers. @returns the run's number */
export async function capture(file) {
  await new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, 'apply', '--log-format', 'json'], {
      cwd: dir,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let err = '';
    child.once('close', (code) => (code === null ? resolve() : reject(new Error(`apply ended with ${code}\n${err}`))));
    createInterface({ input: child.stderr }).on('line', (text) => {
      err = `${err}${text}\n`.slice(-4000);
      // A table is told as sent at its end only, and takes longer than a second.
      const { type } = event(text);
      if (type === 'captured') setTimeout(() => child.kill('SIGKILL'), 1000);
      if (type === 'sent') child.kill('SIGKILL');
    });
  });
  return db(file, async (c) => {
    const [state] = (await c.runAndReadAll('select phase, next_batch, run from mixpanel.s__state')).getRowObjectsJson();
    if (state.phase !== 'sending') throw new Error('the capture was stopped too early');
    const outbox = `mixpanel.s__outbox_${state.run}`;
    const [{ batches }] = (
      await c.runAndReadAll(`select max(batch) + 1 as batches from ${outbox}`)
    ).getRowObjectsJson();
    return { outbox, next: Number(state.next_batch), batches: Number(batches) };
  });
}
