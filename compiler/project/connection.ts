import type { MixpanelSettings, WarehouseSettings } from '../../schemas/types.ts';
import type { Diagnostic } from '../diagnostics.ts';
import type { Env } from './expressions.ts';
import { expand } from './expressions.ts';
import type { Profiles } from '../dbt/profiles.ts';
import { profileOutput } from '../dbt/profiles.ts';
import { ownSettings, settingsOf } from './profiled.ts';
import { quantityProblem, toBytes, toMilliseconds } from './quantities.ts';
import type { ResolvedTarget } from './resolve.ts';
import { validate } from './validate.ts';

/** What the runtime connects with. It holds secrets: it is never written anywhere. */
export interface Connection {
  readonly warehouse: WarehouseSettings;
  readonly mixpanel: 'sandbox' | MixpanelConnection;
  readonly leaseTtlMs: number;
}

export interface MixpanelConnection {
  readonly host?: string;
  readonly region?: MixpanelSettings['region'];
  readonly projectId?: string;
  readonly token?: string;
  readonly serviceAccount?: { readonly username: string; readonly secret: string };
  readonly idManagement: 'simplified' | 'original';
  readonly retry: { readonly initialMs: number; readonly maxMs: number; readonly attempts: number };
  readonly requestTimeoutMs: number;
  readonly rateLimit: { readonly eventsPerSecond: number; readonly bytesPerMinute: number };
}

/**
 * The settings to connect with. Only the CLI calls it: the environment is a parameter.
 * The value may be used only when no diagnostic is an error. Without `profiles` a warehouse that is of a profile of dbt
 * has no settings.
 */
export function renderConnection(
  target: ResolvedTarget,
  env: Env,
  profiles?: Profiles,
): { readonly value: Connection; readonly diagnostics: readonly Diagnostic[] } {
  const into: Diagnostic[] = [];
  const { locate } = target;
  const written = { warehouse: target.warehouse.connection, mixpanel: target.mixpanel, lease: target.lease };
  const plain = expand(written, { vars: {}, env, locate }, into);
  const filled = { ...(plain.value as typeof written) };
  const { dbt_profile: profile, dbt_target, type } = filled.warehouse;
  if (profile !== undefined && profiles !== undefined && into.length === 0) {
    const wanted = { profile, target: dbt_target, type };
    const output = profileOutput(profiles, wanted, settingsOf(type).known, env, locate, into);
    // Texts of a profile may stand for numbers, too.
    if (output) filled.warehouse = { ...output, ...ownSettings(filled.warehouse) } as unknown as WarehouseSettings;
  }
  const texts = Object.entries(filled.warehouse).filter(
    ([key, value]) => typeof value === 'string' && key !== 'password',
  );
  const rendered = new Set([...plain.rendered, ...texts.map(([key]) => `/warehouse/${key}`)]);
  const expanded = profile === undefined ? plain : { ...plain, value: filled, rendered };
  const raw = validate('Target', expanded, locate, into) ?? written;
  const quantity = (path: readonly string[], value: string | number | undefined, fallback: number, isSize = false) => {
    const result = value === undefined ? fallback : (isSize ? toBytes : toMilliseconds)(value);
    if (result === undefined && !expanded.open.has(`/${path.join('/')}`))
      into.push(quantityProblem(path, isSize, locate));
    return result ?? fallback;
  };
  const leaseTtlMs = quantity(['lease', 'ttl'], raw.lease?.ttl, 60_000);
  if (raw.mixpanel === 'sandbox')
    return { value: { warehouse: raw.warehouse, mixpanel: 'sandbox', leaseTtlMs }, diagnostics: into };
  const { host, region, project_id, token, service_account, id_management, retry, rate_limit } = raw.mixpanel;
  const mixpanel: MixpanelConnection = {
    ...(host === undefined ? {} : { host: host.replace(/\/+$/, '') }),
    ...(region === undefined ? {} : { region }),
    ...(project_id === undefined ? {} : { projectId: String(project_id) }),
    ...(token === undefined ? {} : { token }),
    ...(service_account === undefined ? {} : { serviceAccount: service_account }),
    idManagement: id_management ?? 'simplified',
    retry: {
      initialMs: quantity(['mixpanel', 'retry', 'initial'], retry?.initial, 2000),
      maxMs: quantity(['mixpanel', 'retry', 'max'], retry?.max, 60_000),
      attempts: retry?.attempts ?? 10,
    },
    requestTimeoutMs: quantity(['mixpanel', 'request_timeout'], raw.mixpanel.request_timeout, 30_000),
    rateLimit: {
      eventsPerSecond: rate_limit?.events_per_second ?? 30_000,
      bytesPerMinute: quantity(['mixpanel', 'rate_limit', 'bytes_per_minute'], rate_limit?.bytes_per_minute, 2e9, true),
    },
  };
  return { value: { warehouse: raw.warehouse, mixpanel, leaseTtlMs }, diagnostics: into };
}
