import path from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import type Driver from 'pg';
import type { Client, ClientConfig, CustomTypesConfig } from 'pg';
import type CursorClass from 'pg-cursor';
import type { PostgresSettings } from '../../schemas/types.ts';
import { masked, RunError } from '../errors.ts';
import type { World } from '../world.ts';
import type { Connection, Query, Row, Warehouse } from './warehouse.ts';

/** Loaded when a database is opened. */
interface Drivers {
  readonly pg: typeof Driver;
  readonly Cursor: typeof CursorClass;
}

/** Rows of one fetch from a cursor. */
const FETCH = 2000;
/** What people wait for a server that does not answer. */
export const CONNECT_TIMEOUT_S = 10;

export interface PostgresOptions {
  /** Files are named relative to it. */
  readonly dir: string;
  /** The server then refuses whatever would write. */
  readonly readOnly: boolean;
}

/** Opens a database; that it can be reached is proven by the first connection. */
export async function openPostgres(
  world: Pick<World, 'readFile'>,
  settings: PostgresSettings,
  options: PostgresOptions,
): Promise<Warehouse> {
  const config = await configOf(world, settings, options);
  const secrets = settings.password === undefined ? [] : [settings.password];
  return openServer({ name: nameOf(settings), secrets: () => secrets, config: () => Promise.resolve(config) });
}

/** A server that speaks PostgreSQL's protocol. */
export interface Server {
  readonly name: string;
  /** What no error may show, whoever wrote it. */
  readonly secrets: () => readonly string[];
  /** How to connect: asked for each connection, since credentials may be short-lived. */
  readonly config: () => Promise<ClientConfig>;
  /** Throws for a statement that the server would not take as it is meant. */
  readonly check?: (query: Query) => void;
  /** What an error of a statement means that only this server has. */
  readonly explain?: (query: Query, message: string) => RunError | undefined;
}

/** Loads the drivers; that the server can be reached is proven by the first connection. */
export async function openServer(server: Server): Promise<Warehouse> {
  const [{ default: pg }, { default: Cursor }] = await Promise.all([import('pg'), import('pg-cursor')]);
  return new PostgresWarehouse({ pg, Cursor }, server);
}

const nameOf = ({ dbname, host, port = 5432 }: PostgresSettings): string => `${dbname} on ${host}:${port}`;

async function configOf(
  world: Pick<World, 'readFile'>,
  settings: PostgresSettings,
  { dir, readOnly }: PostgresOptions,
): Promise<ClientConfig> {
  const parameters = {
    ...(settings.search_path === undefined ? {} : { search_path: settings.search_path }),
    ...(settings.role === undefined ? {} : { role: settings.role }),
    ...(readOnly ? { default_transaction_read_only: 'on' } : {}),
  };
  return {
    host: settings.host,
    port: settings.port ?? 5432,
    user: settings.user,
    // An empty text would not do: the driver then looks for a password of its own, which no error would hide.
    password: () => settings.password ?? '',
    database: settings.dbname,
    ssl: await tlsOf(world, settings, dir),
    application_name: 'syncline',
    connectionTimeoutMillis: (settings.connect_timeout ?? CONNECT_TIMEOUT_S) * 1000,
    keepAlive: true,
    keepAliveInitialDelayMillis: (settings.keepalives_idle ?? 30) * 1000,
    options: Object.entries(parameters)
      .map(([name, value]) => `-c ${name}=${value.replace(/[\\\s]/g, '\\$&')}`)
      .join(' '),
  };
}

/** Modes as libpq names them (documentation: SSL Support). A socket of this machine has no TLS. */
export async function tlsOf(
  world: Pick<World, 'readFile'>,
  settings: Pick<PostgresSettings, 'host' | 'sslmode' | 'sslrootcert' | 'sslcert' | 'sslkey'>,
  dir: string,
): Promise<ConnectionOptions | false> {
  const { sslmode = 'verify-full', host, sslrootcert, sslcert, sslkey } = settings;
  if (sslmode === 'disable' || host.startsWith('/')) return false;
  const read = async (file: string): Promise<string> => {
    let reason = 'there is none';
    const text = await world.readFile(path.resolve(dir, file)).catch((error: unknown) => void (reason = codeOf(error)));
    if (text !== undefined) return text;
    throw unavailable(
      `The file ${file} cannot be read (${reason}). Check the target's \`sslrootcert\`, \`sslcert\` and \`sslkey\`.`,
    );
  };
  return {
    rejectUnauthorized: sslmode !== 'require',
    ...(sslmode === 'verify-full' ? {} : { checkServerIdentity: () => undefined }),
    ...(sslrootcert === undefined ? {} : { ca: await read(sslrootcert) }),
    ...(sslcert === undefined ? {} : { cert: await read(sslcert) }),
    ...(sslkey === undefined ? {} : { key: await read(sslkey) }),
  };
}

class PostgresWarehouse implements Warehouse {
  readonly name: string;
  readonly #drivers: Drivers;
  readonly #server: Server;
  readonly #open = new Set<PostgresConnection>();

  constructor(drivers: Drivers, server: Server) {
    this.#drivers = drivers;
    this.name = server.name;
    this.#server = server;
  }

  async connect(): Promise<Connection> {
    const client = new this.#drivers.pg.Client(await this.#server.config());
    const connection: PostgresConnection = new PostgresConnection(this.#drivers.Cursor, client, this.#server, () =>
      this.#open.delete(connection),
    );
    this.#open.add(connection);
    await client.connect().catch((error: unknown) => {
      this.#open.delete(connection);
      // Its socket may still be open, as where the driver itself refuses an empty password: it would keep the process.
      void client.end().catch(() => undefined);
      throw masked(unreachable(this.name, error), this.#server.secrets());
    });
    return connection;
  }

  /** Ends what is still open, as after an error: an open socket would keep the process alive. */
  async close(): Promise<void> {
    await Promise.all([...this.#open].map((connection) => connection.close()));
  }
}

class PostgresConnection implements Connection {
  readonly #Cursor: typeof CursorClass;
  readonly #client: Client;
  readonly #server: Server;
  #lost = false;
  /** Those who wait for an answer, told when the connection ends, whoever ends it. */
  readonly #waiting = new Set<(error: Error) => void>();

  constructor(Cursor: typeof CursorClass, client: Client, server: Server, onEnd: () => void) {
    this.#Cursor = Cursor;
    this.#client = client;
    this.#server = server;
    // Between statements nobody waits for it; the next statement says that it is gone.
    const lose = (error: Error = new Error('it had ended')): void => {
      this.#lost = true;
      onEnd();
      for (const tell of this.#waiting) tell(error);
    };
    client.on('error', lose);
    client.on('end', () => lose());
  }

  /** A cursor between two fetches is not told that its connection ended, and its next fetch would wait for ever. */
  async #unlessLost<T>(run: () => Promise<T>): Promise<T> {
    if (this.#lost) throw new Error('it had ended');
    let tell: ((error: Error) => void) | undefined;
    try {
      // No race with one promise of the connection: it would keep every answer until the connection ends.
      return await new Promise<T>((resolve, reject) => {
        this.#waiting.add((tell = reject));
        run().then(resolve, reject);
      });
    } finally {
      if (tell) this.#waiting.delete(tell);
    }
  }

  get session(): number | undefined {
    return (this.#client as Client & { readonly processID?: number }).processID;
  }

  async execute(query: Query): Promise<number> {
    const { rowCount } = await this.#run(query, () => this.#client.query(query.sql, values(query)));
    return rowCount ?? 0;
  }

  async rows(query: Query): Promise<readonly Row[]> {
    const { rows } = await this.#run(query, () =>
      this.#client.query<Record<string, string | number | null>>({
        text: query.sql,
        values: values(query),
        types: PLAIN,
      }),
    );
    return rows;
  }

  async *stream(query: Query): AsyncGenerator<readonly Row[]> {
    this.#server.check?.(query);
    const cursor = this.#client.query(new this.#Cursor<Row>(query.sql, values(query), { types: PLAIN }));
    try {
      for (;;) {
        const rows = await this.#run(query, () => cursor.read(FETCH));
        if (rows.length === 0) return;
        yield rows;
      }
    } finally {
      if (!this.#lost) await this.#unlessLost(() => cursor.close()).catch(() => undefined);
    }
  }

  async close(): Promise<void> {
    if (this.#lost) return;
    await this.#unlessLost(() => this.#client.end()).catch(() => undefined);
    this.#lost = true;
  }

  async #run<T>(query: Query, run: () => Promise<T>): Promise<T> {
    this.#server.check?.(query);
    try {
      return await this.#unlessLost(run);
    } catch (error) {
      const known = this.#lost ? undefined : this.#server.explain?.(query, `${messageOf(error)} ${detailOf(error)}`);
      throw masked(known ?? failed(this.#server.name, query, error, this.#lost), this.#server.secrets());
    }
  }
}

const values = ({ binds }: Query): (string | number | null)[] => binds.map((b) => b.value);

/** Numbers that the runtime counts with; all else as the text that the server wrote. */
const NUMBERS = new Set([20, 21, 23, 26, 700, 701, 1700]);
const BOOLEAN = 16;
const PLAIN: CustomTypesConfig = {
  getTypeParser: ((oid: number) => {
    if (NUMBERS.has(oid)) return Number;
    return (text: string): string | number => (oid === BOOLEAN ? Number(text === 't') : text);
  }) as CustomTypesConfig['getTypeParser'],
};

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
const detailOf = (error: unknown): string =>
  error instanceof Error && 'detail' in error && typeof error.detail === 'string' ? error.detail : '';
const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replace(/[.!\s]+$/, '');
const unavailable = (message: string, retryable = false): RunError =>
  new RunError('warehouse-unavailable', message, { retryable });

/** Why there is no connection. Codes: Node's errors of sockets and TLS, and the documentation's PostgreSQL Error Codes. */
function unreachable(name: string, error: unknown): RunError {
  const [code, message] = [codeOf(error), messageOf(error)];
  if (
    /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ENOENT|ETIMEDOUT|ECONNRESET)$/.test(code) ||
    message.includes('timeout expired')
  )
    return unavailable(
      `The warehouse ${name} cannot be reached (${code || message}). Check \`host\` and \`port\`, and that the network lets you through.`,
      true,
    );
  if (message.includes('does not support SSL'))
    return unavailable(
      `The warehouse ${name} takes no TLS. Turn it on there, or say \`sslmode: disable\` if the network in between is yours.`,
    );
  if (/^(SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|CERT_|ERR_TLS|HOSTNAME)/.test(code))
    return unavailable(
      `The warehouse ${name} does not prove who it is: ${message}. Give the file of its certificate authority as \`sslrootcert\`, and the host as its certificate names it.`,
    );
  // The driver itself refuses an empty password, without a code.
  if (code.startsWith('28') || message.includes('client password'))
    return unavailable(`The warehouse ${name} refuses the login: ${message}. Check \`user\` and \`password\`.`);
  if (code === '3D000') return unavailable(`The warehouse ${name} has no such database. Check \`dbname\`.`);
  return unavailable(`The warehouse ${name} refuses a connection: ${message}.`, true);
}

/** For what the same `apply` tried several times. */
export const CONFLICT_HINT =
  'Run the same command again when the other transaction is done: it goes on from what is on record.';

/** What a statement failed with, in words (documentation: PostgreSQL Error Codes). */
function failed(name: string, { label }: Query, error: unknown, isLost: boolean): RunError {
  const [code, message] = [codeOf(error), messageOf(error)];
  // 57P01 and its like: the server shuts down, or an administrator ends the session; 25P03: it waited too long in a transaction.
  if (
    isLost ||
    code.startsWith('57P') ||
    code.startsWith('08') ||
    code === '25P03' ||
    /^Connection terminated|^E[A-Z]+$/.test(code || message)
  )
    return unavailable(
      `The connection to ${name} was lost during ${label}: ${message}. Run the same command again, after at most the time of a lease: it goes on from what is on record.`,
      true,
    );
  const failure = (retryable: boolean, hint?: string): RunError =>
    new RunError('warehouse-error', `${label}: ${message}`, { retryable, hint });
  switch (code) {
    case '42501':
      return failure(
        false,
        'Give the role that syncline connects as this right: `syncline setup` prints what it needs.',
      );
    // No such table or column: what the source was asked for was there a moment ago.
    case '42P01':
    case '42703':
      return failure(
        false,
        'If a table was just made anew or altered, run the same command again when that is done; if it stays so, run `syncline lock`.',
      );
    case '57014':
      return failure(true, 'If it took too long, raise `statement_timeout` of the target or of the role.');
    case '53100':
      return new RunError(
        'disk',
        `${label}: ${message}. Make room where the warehouse keeps its data, then run it again.`,
        { retryable: true },
      );
    // Serialization failure, deadlock, lock not available: nothing was done, the next attempt may.
    case '40001':
    case '40P01':
    case '55P03':
      return new RunError('warehouse-conflict', `${label}: ${message}`, { retryable: true, hint: CONFLICT_HINT });
    default:
      return failure(false);
  }
}
