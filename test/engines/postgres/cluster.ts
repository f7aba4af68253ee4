import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, chmodSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';

/** A real PostgreSQL of this machine, for the length of a test file. */
export interface Cluster {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** The folder of its data, configuration and log. */
  readonly dir: string;
  /** Runs statements one after the other in a database. @returns the rows of the last one */
  query(database: string, ...statements: string[]): Promise<Record<string, unknown>[]>;
  /** Starts it again with other settings, on the same port. */
  restart(settings: Readonly<Record<string, string>>): void;
  stop(): void;
}

const USER = 'syncline';
const VERSIONS = '/usr/lib/postgresql';

/** The newest installed programs; undefined where PostgreSQL is not installed. */
function programs(): string | undefined {
  try {
    const newest = readdirSync(VERSIONS).sort((a, b) => Number(b) - Number(a))[0];
    return newest === undefined ? undefined : path.join(VERSIONS, newest, 'bin');
  } catch {
    return undefined;
  }
}

/** Why there is no PostgreSQL; undefined where there is one. */
export const missing = (): string | undefined =>
  programs() === undefined ? `PostgreSQL is not installed (${VERSIONS} is missing)` : undefined;

/** Its programs refuse to run as root: there they run as the user that its package makes. */
function run(program: string, ...args: string[]): void {
  const file = path.join(programs() ?? '', program);
  const isRoot = process.getuid?.() === 0;
  const [command, all] = isRoot ? ['runuser', ['-u', 'postgres', '--', file, ...args]] : [file, args];
  const { status, stderr } = spawnSync(command, all, { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] });
  if (status !== 0) throw new Error(`${program} failed: ${stderr}`);
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

/** Makes and starts a cluster of its own on a free port. Nothing of it is durable. */
export async function startCluster(): Promise<Cluster> {
  const dir = mkdtempSync(path.join(tmpdir(), 'syncline-pg-'));
  if (process.getuid?.() === 0) execFileSync('chown', ['postgres', dir]);
  chmodSync(dir, 0o755);
  const data = path.join(dir, 'data');
  run('initdb', '-D', data, '-U', USER, '-A', 'trust', '-E', 'UTF8', '--locale=C.UTF-8', '--no-sync');
  appendFileSync(path.join(data, 'pg_hba.conf'), 'host all all 127.0.0.2/32 trust\n');
  const port = await freePort();
  const start = (settings: Readonly<Record<string, string>>): void => {
    const all = {
      listen_addresses: '127.0.0.1,127.0.0.2',
      fsync: 'off',
      full_page_writes: 'off',
      synchronous_commit: 'off',
      ...settings,
    };
    const flags = Object.entries(all).map(([name, value]) => `-c ${name}=${value}`);
    run(
      'pg_ctl',
      '-D',
      data,
      '-l',
      path.join(dir, 'log'),
      '-w',
      '-o',
      `-p ${port} -k ${dir} ${flags.join(' ')}`,
      'start',
    );
  };
  const halt = (): void => run('pg_ctl', '-D', data, '-m', 'immediate', '-w', 'stop');
  start({});
  return {
    host: '127.0.0.1',
    port,
    user: USER,
    dir,
    async query(database, ...statements) {
      const client = new pg.Client({ host: '127.0.0.1', port, user: USER, database });
      await client.connect();
      try {
        let rows: Record<string, unknown>[] = [];
        for (const statement of statements) ({ rows } = await client.query<Record<string, unknown>>(statement));
        return rows;
      } finally {
        await client.end();
      }
    },
    restart(settings) {
      halt();
      start(settings);
    },
    stop() {
      halt();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
