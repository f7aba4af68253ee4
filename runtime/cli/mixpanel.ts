import path from 'node:path';
import type { ResolvedProject } from '../../compiler/project/resolve.ts';
import type { DirectPlan, SyncPlan } from '../../schemas/types.ts';
import { RunError } from '../errors.ts';
import type { AppApi } from '../mixpanel/app.ts';
import { createAppApi } from '../mixpanel/app.ts';
import type { Mixpanel } from '../mixpanel/import.ts';
import { createMixpanel } from '../mixpanel/import.ts';
import type { World } from '../world.ts';
import { realWorld } from '../world.ts';
import { connection, FoundBefore } from './context.ts';

export interface OpenMixpanel {
  readonly mixpanel: Mixpanel;
  /** What a service account may read of itself and its project; a token may read nothing. */
  readonly app?: AppApi;
  readonly concurrency: number;
  readonly requestTimeoutMs: number;
  readonly secrets: readonly string[];
  /** Proves that the host is Mixpanel and takes the credentials. */
  check(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

const HOSTS: Readonly<Record<string, string>> = {
  us: 'https://api.mixpanel.com',
  eu: 'https://api-eu.mixpanel.com',
  in: 'https://api-in.mixpanel.com',
};
const SENDERS = 8;

/** Mixpanel's App API is on a host of its own in each region (OpenAPI: service-accounts); elsewhere it is the host itself. */
export const appHost = (host: string): string =>
  host.replace(/^https:\/\/api(?:-(eu|in))?\.mixpanel\.com$/, (_, region?: string) =>
    region === undefined ? 'https://mixpanel.com' : `https://${region}.mixpanel.com`,
  );

/** Opens the target's Mixpanel project: the in-process sandbox, or a host. */
export async function openMixpanel(dir: string, project: ResolvedProject): Promise<OpenMixpanel> {
  const settings = (await connection(dir, project)).mixpanel;
  if (settings === 'sandbox') return inProcess(dir);
  const { retry, requestTimeoutMs, rateLimit } = settings;
  const host = settings.host ?? HOSTS[settings.region ?? 'us'];
  if (host === undefined)
    throw new FoundBefore(`There is no Mixpanel region ${String(settings.region)}: use us, eu or in.`);
  const account = settings.serviceAccount;
  if (!account && settings.token === undefined)
    throw new FoundBefore(`Target ${project.target.name} needs a service_account or a token for Mixpanel.`);
  const client = createMixpanel(realWorld, {
    host,
    ...(settings.projectId === undefined ? {} : { projectId: settings.projectId }),
    ...(account ? { serviceAccount: account } : {}),
    ...(settings.token === undefined ? {} : { token: settings.token }),
    retry,
    requestTimeoutMs,
    rateLimit,
    concurrency: SENDERS,
  });
  return {
    mixpanel: client,
    ...(account ? { app: createAppApi(realWorld, { host: appHost(host), account, requestTimeoutMs }) } : {}),
    concurrency: SENDERS,
    requestTimeoutMs,
    secrets: [account?.secret, settings.token].filter((s) => s !== undefined),
    check: (signal) => client.check(signal),
    close: () => Promise.resolve(),
  };
}

/** The sandbox without a socket: its requests die with this process, so nobody has to wait for them. */
async function inProcess(dir: string): Promise<OpenMixpanel> {
  const { openSandbox } = await import('../sandbox/server.ts');
  const sandbox = await openSandbox({ path: path.join(dir, 'sandbox.duckdb') }).catch((error: unknown) => {
    throw new RunError('mixpanel-unreachable', error instanceof Error ? error.message : String(error), {
      retryable: true,
    });
  });
  const world: World = {
    ...realWorld,
    gzip: (text) => Promise.resolve(Buffer.from(text)),
    fetch: async (url, init) => {
      const { pathname, search } = new URL(url);
      // What the world's own gzip left as it was; a lookup table comes compressed.
      const asIs = pathname === '/import';
      const body = typeof init.body === 'string' ? Buffer.from(init.body) : (init.body ?? Buffer.alloc(0));
      const headers = Object.fromEntries(
        Object.entries(init.headers)
          .map(([k, v]): [string, string] => [k.toLowerCase(), v])
          .filter(([k]) => !asIs || k !== 'content-encoding'),
      );
      const answer = await sandbox.handle({ method: init.method, url: pathname + search, headers, body }, init.signal);
      if (answer === 'reset') throw new Error('connection reset');
      return {
        status: answer.status,
        headers: { get: (name) => answer.headers[name.toLowerCase()] ?? null },
        text: () => Promise.resolve(answer.body),
      };
    },
  };
  const host = `http://sandbox-${sandbox.id}`;
  const account = { username: 'sandbox', secret: 'sandbox' };
  const client = createMixpanel(world, {
    host,
    projectId: '1',
    serviceAccount: account,
    token: 'sandbox',
    retry: { initialMs: 100, maxMs: 1000, attempts: 5 },
    requestTimeoutMs: 30_000,
    concurrency: SENDERS,
  });
  return {
    mixpanel: client,
    app: createAppApi(world, { host, account, requestTimeoutMs: 30_000 }),
    concurrency: 2,
    requestTimeoutMs: 0,
    secrets: [],
    check: () => Promise.resolve(),
    close: () => sandbox.close(),
  };
}

/** The project as a sync's state knows it: profiles belong to the project of the token. */
export function mixpanelOf(mixpanel: Mixpanel, { deliver }: SyncPlan | DirectPlan): Mixpanel {
  const isProfiles = deliver.endpoint === 'engage' || deliver.endpoint === 'groups';
  return isProfiles ? { ...mixpanel, name: mixpanel.profileName } : mixpanel;
}
