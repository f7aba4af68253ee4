import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { expect } from 'vitest';

export const MAIN = path.join(import.meta.dirname, '../../dist/runtime/cli/main.js');

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** The environment of a person's shell, also where the tests run on GitHub. */
const ENV: NodeJS.ProcessEnv = { ...process.env, GITHUB_ACTIONS: '', GITHUB_WORKSPACE: '', GITHUB_STEP_SUMMARY: '' };

/** Runs the built command line as a person would. */
export function cli(cwd: string, ...args: string[]): Promise<Ran> {
  return cliIn({ cwd }, ...args);
}

export interface Surroundings {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** A program and its flags that start it, such as a shell with a limit. */
  readonly under?: readonly string[];
}

/** The same in other surroundings. */
export function cliIn({ cwd, env, under = [] }: Surroundings, ...args: string[]): Promise<Ran> {
  const [program, ...rest] = [...under, process.execPath, MAIN, ...args] as [string, ...string[]];
  return new Promise((resolve) => {
    execFile(program, rest, { cwd, env: { ...ENV, ...env }, maxBuffer: 1 << 26 }, (error, out, err) => {
      resolve({ code: error ? Number(error.code ?? 1) : 0, out, err });
    });
  });
}

/** Root may write everywhere: without this capability its rights are those that the files say. */
export const ORDINARY: readonly string[] =
  process.getuid?.() === 0
    ? ['setpriv', '--bounding-set=-dac_override,-dac_read_search', '--inh-caps=-dac_override,-dac_read_search']
    : [];

/** At most so many bytes in one file, as on a disk that is full. */
export const smallFiles = (kilobytes: number): readonly string[] => [
  'bash',
  '-c',
  `ulimit -f ${kilobytes} && exec "$@"`,
  'bash',
];

/** A project with one sync of a small table, locked. */
export async function shop(options: { yml?: string; table?: string; extra?: string } = {}): Promise<string> {
  const dir = await project({ 'syncline.yml': options.yml ?? YML, 'syncs/shop.yml': SYNC + (options.extra ?? '') });
  await duck(path.join(dir, 'warehouse.duckdb'), options.table ?? ORDERS);
  const locked = await cli(dir, 'lock');
  if (locked.code !== 0) throw new Error(locked.err);
  return dir;
}

export const YML = `name: shop
default_target: dev
targets:
  dev:
    warehouse: { type: duckdb, path: warehouse.duckdb }
    mixpanel: sandbox
`;
export const SYNC = `syncs:
  - name: purchases
    kind: events
    mode: mirror
    source: { relation: orders }
    event: Purchase
    time: t
    key: id
`;
export const ORDERS = `create table orders as
  select i::integer as id, timestamp '2024-01-01' + to_minutes(i::integer) as t, 'item ' || i as item from range(3) as t(i)`;

/** What Mixpanel was sent, every copy. */
export async function sent(dir: string): Promise<number> {
  const [row] = await duck(path.join(dir, 'sandbox.duckdb'), 'select count(*)::int as n from events_raw');
  return Number(row?.['n']);
}

export interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  /** What it has told on stderr by now. */
  readonly err: () => string;
  /** That it has told something. */
  readonly told: Promise<void>;
  /** That a run of it has captured something, which it sends next, or that it has ended. */
  readonly captured: Promise<unknown>;
}

/** Starts it without waiting, to be killed. */
export function start(cwd: string, ...args: string[]): Started {
  const child = spawn(process.execPath, [MAIN, ...args], { cwd, env: ENV, stdio: ['ignore', 'ignore', 'pipe'] });
  let err = '';
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  const ended = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  const captured = new Promise<void>((resolve) => {
    child.stderr.on('data', () => {
      if (/: (captured|finishing) /.test(err)) resolve();
    });
  });
  return {
    child,
    err: () => err,
    told: new Promise((resolve) => child.stderr.once('data', () => resolve())),
    captured: Promise.race([captured, ended]),
    ended,
  };
}

/** How many of the syncs a process that was killed held: it ended in the middle of their runs. */
export async function heldBy(file: string, syncs: readonly string[]): Promise<number> {
  const holders = syncs.map((name) => `select holder from mixpanel.${name}__state`).join(' union all ');
  const [row] = await duck(file, `select count(holder)::int as n from (${holders})`);
  return Number(row?.['n']);
}

/** The same without write access: of how many syncs the state file says that a run goes on. */
export async function pendingIn(dir: string): Promise<number> {
  const folder = path.join(dir, 'syncline.state/dev');
  const files = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.json'));
  const states = await Promise.all(
    files.map(async (name) => JSON.parse(await readFile(path.join(folder, name), 'utf8')) as { pending: unknown }),
  );
  return states.filter(({ pending }) => pending !== null).length;
}

/** A project folder with the given files. */
export async function project(files: Readonly<Record<string, string>>): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'syncline-'));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(dir, name)), { recursive: true });
    await writeFile(path.join(dir, name), text);
  }
  return dir;
}

/** Runs SQL on a database file, as another program would, and returns the last statement's rows. */
export async function duck(file: string, ...statements: string[]): Promise<Record<string, unknown>[]> {
  const instance = await DuckDBInstance.create(file);
  const connection = await instance.connect();
  try {
    let rows: Record<string, unknown>[] = [];
    for (const sql of statements) rows = (await connection.runAndReadAll(sql)).getRowObjectsJson();
    return rows;
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

export const SECRET = 'a secret that nobody may read';

/** One sentence or two for a person: no stack, no secret. */
export function told(ran: Ran, code: number, ...texts: string[]): void {
  expect([ran.code, ran.err]).toEqual([code, ran.err]);
  for (const text of texts) expect(ran.err).toContain(text);
  expect(ran.err).not.toMatch(/^\s+at /m);
  expect(ran.err).not.toContain(SECRET);
  expect(ran.err).not.toContain(Buffer.from(`bot:${SECRET}`).toString('base64'));
}
