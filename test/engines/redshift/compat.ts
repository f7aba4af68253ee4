import { readFileSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:net';
import { connect, createServer } from 'node:net';
import path from 'node:path';
import type { Cluster } from '../postgres/cluster.ts';
import { startCluster } from '../postgres/cluster.ts';

const SQL = readFileSync(path.join(import.meta.dirname, 'compat.sql'), 'utf8');

/** A PostgreSQL that answers what syncline's Redshift SQL asks, behind a port that knows `query_group`. */
export interface Compat {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
  query(...statements: string[]): Promise<Record<string, unknown>[]>;
  /** Asks a role for its password from now on. */
  guard(role: string): Promise<void>;
  /** Query groups that sessions have set. */
  readonly groups: ReadonlySet<string>;
  /** What sessions of syncline ran, one session after the other. */
  statements(): readonly string[];
  stop(): void;
}

export async function startCompat(): Promise<Compat> {
  const cluster = await startCluster();
  cluster.restart({ log_line_prefix: '%a,%p,', log_statement: 'all' });
  const database = 'warehouse';
  await cluster.query('postgres', `create database ${database}`);
  // What Redshift has comes before what PostgreSQL has of the same name.
  await cluster.query(
    database,
    SQL,
    `alter database ${database} set search_path to redshift, pg_catalog, "$user", public`,
  );
  const groups = new Set<string>();
  const server = await serve(cluster, groups);
  const { port } = server.address() as { port: number };
  return {
    ...{ host: '127.0.0.1', port, user: cluster.user, database, groups },
    query: (...statements) => cluster.query(database, ...statements),
    async guard(role) {
      const hba = path.join(cluster.dir, 'data/pg_hba.conf');
      writeFileSync(hba, `host all ${role} 127.0.0.1/32 scram-sha-256\n${readFileSync(hba, 'utf8')}`);
      await cluster.query(database, 'select pg_reload_conf()');
    },
    statements: () => statementsOf(readFileSync(path.join(cluster.dir, 'log'), 'utf8')),
    stop() {
      server.close();
      cluster.stop();
    },
  };
}

/** Lines of a statement after its first begin with a tab. */
function statementsOf(log: string): readonly string[] {
  const ran = [...log.matchAll(/^syncline,(\d+),LOG: {2}(?:statement|execute [^:]*): (.*(?:\n\t.*)*)/gm)];
  return ran.sort(([, a], [, b]) => Number(a) - Number(b)).map(([, , text = '']) => text.replaceAll('\n\t', '\n'));
}

/** Passes everything on but `set query_group`, which PostgreSQL does not know: there it names the application. */
function serve(cluster: Cluster, groups: Set<string>): Promise<Server> {
  const server = createServer((client) => {
    const upstream = connect(cluster.port, cluster.host);
    const end = (): void => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) socket.on('error', end).on('close', end);
    upstream.on('data', (data) => client.write(data));
    let rest = Buffer.alloc(0);
    let started = false;
    client.on('data', (data) => {
      rest = Buffer.concat([rest, data]);
      for (;;) {
        // The first message has no type (documentation: Message Formats).
        const at = started ? 1 : 0;
        if (rest.length < at + 4) return;
        const size = at + rest.readInt32BE(at);
        if (rest.length < size) return;
        const message = rest.subarray(0, size);
        rest = rest.subarray(size);
        upstream.write(started ? renamed(message, groups) : message);
        started = true;
      }
    });
  });
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

function renamed(message: Buffer, groups: Set<string>): Buffer {
  if (message[0] !== 'Q'.charCodeAt(0)) return message;
  const text = message.subarray(5, -1).toString();
  const group = /^set query_group to '([^']*)'$/.exec(text)?.[1];
  if (group === undefined) return message;
  groups.add(group);
  const body = Buffer.from(`set application_name to '${group}'\0`);
  const head = Buffer.from('Q0000');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}
