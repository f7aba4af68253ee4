import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { startProxy, type Proxy } from './proxy.ts';

const VERSION = '1.4.0';
/** bqemulator by itself does not start: its newest DuckDB has no package with the extension for GEOGRAPHY. sqlglotc is its parser, compiled. */
const PACKAGES = [
  `bqemulator==${VERSION}`,
  'duckdb==1.5.5',
  'duckdb-extensions==1.5.5',
  'duckdb-extension-spatial==1.5.5',
  'numpy==2.4.6',
  'sqlglot==30.11.0',
  'sqlglotc==30.11.0',
];
/** Kept between runs; git ignores it. */
const VENV = path.join(import.meta.dirname, '../../../.cache', `bqemulator-${VERSION}`);
const PYTHON = path.join(VENV, 'bin/python');
/** Written when all of it is there. */
const DONE = path.join(VENV, 'installed');

const run = (program: string, ...args: string[]): boolean =>
  spawnSync(program, args, { stdio: 'ignore', timeout: 600_000 }).status === 0;

/** Installs the emulator where it is not yet. @returns why it is not there, or undefined */
export function missing(): string | undefined {
  if (existsSync(DONE)) return undefined;
  if (!run('python3', '-c', 'import sys; sys.exit(sys.version_info < (3, 11))'))
    return 'python3 is older than 3.11 or not installed';
  // Programs of an environment know where they are: it is made in its place, by one test file at a time.
  const lock = `${VENV}.lock`;
  mkdirSync(path.dirname(VENV), { recursive: true });
  try {
    writeFileSync(lock, String(process.pid), { flag: 'wx' });
  } catch {
    for (let waited = 0; waited < 600 && existsSync(lock); waited++)
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
    return existsSync(DONE) ? undefined : 'another test file could not install bqemulator';
  }
  try {
    if (!run('python3', '-m', 'venv', '--clear', VENV)) return 'python3 makes no virtual environment';
    if (![1, 2, 3].some(() => run(PYTHON, '-m', 'pip', 'install', '--quiet', '--no-compile', ...PACKAGES)))
      return `bqemulator ${VERSION} cannot be installed`;
    if (!run(PYTHON, '-c', 'from duckdb_extensions import import_extension; import_extension("spatial")'))
      return 'the extension of DuckDB for GEOGRAPHY cannot be installed';
    writeFileSync(`${DONE}.new`, '');
    renameSync(`${DONE}.new`, DONE);
    return undefined;
  } finally {
    rmSync(lock, { force: true });
  }
}

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });

/** Starts an emulator with an empty memory and the proxy before it: one for a test file, a dataset of its own for each test. */
export async function startEmulator(): Promise<Proxy> {
  const [rest, grpc] = [await freePort(), await freePort()];
  const server = spawn(PYTHON, [path.join(import.meta.dirname, 'serve.py'), String(rest), String(grpc)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  server.stderr.on('data', (text: Buffer) => (said = (said + text.toString()).slice(-10_000)));
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const end = (): void => void server.kill('SIGKILL');
  process.once('exit', end);
  const address = `http://127.0.0.1:${rest}`;
  while (
    !(await fetch(`${address}/healthz`).then(
      ({ ok }) => ok,
      () => false,
    ))
  ) {
    if (server.exitCode !== null) throw new Error(`bqemulator ended: ${said}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const proxy = await startProxy(address);
  return {
    ...proxy,
    get jobs() {
      return proxy.jobs;
    },
    async stop() {
      await proxy.stop();
      process.off('exit', end);
      end();
      await ended;
    },
  };
}
