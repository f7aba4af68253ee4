import type { ClientConfig } from 'pg';
import type { RedshiftSettings } from '../../schemas/types.ts';
import { masked, RunError } from '../errors.ts';
import type { World } from '../world.ts';
import { CONFLICT_HINT, CONNECT_TIMEOUT_S, openServer, tlsOf } from './postgres.ts';
import type { Query, Warehouse } from './warehouse.ts';

const PORT = 5439;
/** Credentials are asked for anew so long before they end. */
const MARGIN_MS = 60_000;
/** Bytes of the longest text; a longer bind would be cut by its cast. */
const LONGEST = 65_535;

interface Credentials {
  readonly user: string;
  readonly password: string;
  /** Milliseconds since the epoch. */
  readonly until: number;
}

/**
 * Opens a cluster or a workgroup over PostgreSQL's protocol. Of the parameters of a start Redshift knows few, so what
 * a session needs is said by the plan's statements.
 */
export async function openRedshift(
  world: Pick<World, 'now' | 'readFile'>,
  settings: RedshiftSettings,
  { dir }: { readonly dir: string },
): Promise<Warehouse> {
  const { host, port = PORT, dbname, keepalives_idle = 30, connect_timeout = CONNECT_TIMEOUT_S } = settings;
  const ssl = await tlsOf(world, settings, dir);
  let known: Credentials | undefined;
  const secrets = (): readonly string[] =>
    [settings.password, settings.secret_access_key, known?.password].filter((s) => s !== undefined);
  const login = async (): Promise<Pick<ClientConfig, 'user' | 'password'>> => {
    // An empty text would not do: the driver then looks for a password of its own, which no error would hide.
    if (settings.method !== 'iam') return { user: settings.user ?? '', password: () => settings.password ?? '' };
    if (known === undefined || known.until - MARGIN_MS < world.now())
      known = await temporary(settings).catch((error: unknown) => {
        throw error instanceof RunError ? masked(error, secrets()) : error;
      });
    return { user: known.user, password: known.password };
  };
  if (settings.method !== 'iam' && settings.user === undefined)
    throw unavailable(`The target has no \`user\`. Name one, or say \`method: iam\`.`);
  return openServer({
    name: `${dbname} on ${host}:${port}`,
    secrets,
    config: async () => ({
      host,
      port,
      database: dbname,
      ssl,
      ...(await login()),
      application_name: 'syncline',
      connectionTimeoutMillis: connect_timeout * 1000,
      keepAlive: true,
      keepAliveInitialDelayMillis: keepalives_idle * 1000,
    }),
    check: ({ binds, label }) => {
      const long = binds.find(({ value }) => typeof value === 'string' && Buffer.byteLength(value) > LONGEST);
      if (long)
        throw new RunError('value-invalid', `${label}: ${long.name} is longer than a text of Redshift (64 KB).`, {
          retryable: false,
        });
    },
    explain,
  });
}

const unavailable = (message: string, retryable = false): RunError =>
  new RunError('warehouse-unavailable', message, { retryable });

/** Errors of Redshift's own (documentation: Serializable isolation). Their number is the message, the rest the detail. */
function explain({ label }: Query, message: string): RunError | undefined {
  if (/^1023\b|Serializable isolation violation/.test(message))
    return new RunError(
      'warehouse-conflict',
      `${label}: another transaction wrote a table that this one used, so nothing of it was kept (1023)`,
      { retryable: true, hint: CONFLICT_HINT },
    );
  if (/^1018\b/.test(message))
    return new RunError(
      'warehouse-conflict',
      `${label}: a table was replaced while it was used, as when dbt rebuilds a source (1018)`,
      { retryable: true, hint: CONFLICT_HINT },
    );
  return undefined;
}

/** What a host says of itself: `name.id.region.redshift.amazonaws.com`, `workgroup.account.region.redshift-serverless…`. */
function hostParts(host: string): { readonly name?: string; readonly region?: string; readonly isServerless: boolean } {
  const [, name, region, service] = /^([^.]+)\.[^.]+\.([^.]+)\.(redshift(?:-serverless)?)\./.exec(host) ?? [];
  return {
    ...(name === undefined ? {} : { name }),
    ...(region === undefined ? {} : { region }),
    isServerless: service === 'redshift-serverless',
  };
}

/** Temporary credentials of AWS. Its clients are loaded only here. */
async function temporary(settings: RedshiftSettings): Promise<Credentials> {
  const { host, dbname, user, access_key_id, secret_access_key, iam_profile, autocreate, db_groups } = settings;
  const at = hostParts(host);
  const region = settings.region ?? at.region;
  const workgroup = settings.serverless_work_group ?? (at.isServerless ? at.name : undefined);
  const cluster = settings.cluster_id ?? at.name;
  if (workgroup === undefined && cluster === undefined)
    throw unavailable(
      `The host ${host} names no cluster. Say \`cluster_id\` or \`serverless_work_group\` beside \`method: iam\`.`,
    );
  const client = {
    ...(region === undefined ? {} : { region }),
    ...(iam_profile === undefined ? {} : { profile: iam_profile }),
    ...(access_key_id === undefined || secret_access_key === undefined
      ? {}
      : { credentials: { accessKeyId: access_key_id, secretAccessKey: secret_access_key } }),
  };
  const made = (name: string | undefined, password: string | undefined, until: Date | undefined): Credentials => {
    if (name === undefined || password === undefined) throw new Error('AWS gave no credentials');
    return { user: name, password, until: until?.getTime() ?? 0 };
  };
  try {
    if (workgroup !== undefined) {
      const { RedshiftServerless } = await import('@aws-sdk/client-redshift-serverless');
      const found = await new RedshiftServerless(client).getCredentials({ workgroupName: workgroup, dbName: dbname });
      return made(found.dbUser, found.dbPassword, found.expiration);
    }
    const { Redshift } = await import('@aws-sdk/client-redshift');
    const redshift = new Redshift(client);
    const found =
      user === undefined
        ? await redshift.getClusterCredentialsWithIAM({ ClusterIdentifier: cluster, DbName: dbname })
        : await redshift.getClusterCredentials({
            ClusterIdentifier: cluster,
            DbName: dbname,
            DbUser: user,
            AutoCreate: autocreate ?? false,
            ...(db_groups === undefined ? {} : { DbGroups: db_groups }),
          });
    return made(found.DbUser, found.DbPassword, found.Expiration);
  } catch (error) {
    const message = (error instanceof Error ? error.message : String(error)).replace(/[.!\s]+$/, '');
    throw unavailable(
      `AWS gives no credentials for ${workgroup ?? cluster ?? host}: ${message}. Check \`region\`, \`cluster_id\` or \`serverless_work_group\`, and what the identity may do.`,
      true,
    );
  }
}
