import { maskSecrets, RunError } from '../errors.ts';
import type { World } from '../world.ts';
import { reasonOf } from './http.ts';

/** Reads Mixpanel's App API as a service account (documentation: Service Accounts). It changes nothing. */
export interface AppApi {
  readonly host: string;
  readonly username: string;
  /** @throws RunError `mixpanel-unreachable` when nobody answers */
  get(path: string): Promise<AppReply>;
}

export interface AppReply {
  readonly status: number;
  /** `results` of the answer; undefined when the answer is none of this API. */
  readonly results?: unknown;
}

export interface AppOptions {
  readonly host: string;
  readonly account: { readonly username: string; readonly secret: string };
  readonly requestTimeoutMs: number;
}

export function createAppApi(world: World, { host, account, requestTimeoutMs }: AppOptions): AppApi {
  const { username, secret } = account;
  const authorization = `Basic ${Buffer.from(`${username}:${secret}`).toString('base64')}`;
  const headers = { authorization, accept: 'application/json' };
  return {
    host,
    username,
    get: async (path) => {
      try {
        const signal = AbortSignal.timeout(requestTimeoutMs);
        const answer = await world.fetch(host + path, { method: 'GET', headers, signal });
        return { status: answer.status, results: resultsOf(await answer.text()) };
      } catch (error) {
        const reason = maskSecrets(reasonOf(error), [secret]);
        throw new RunError('mixpanel-unreachable', `${host} cannot be reached: ${reason}.`, { retryable: true });
      }
    },
  };
}

function resultsOf(text: string): unknown {
  try {
    return (JSON.parse(text) as { results?: unknown } | null)?.results;
  } catch {
    return undefined;
  }
}

/** The projects that `GET /api/app/me` lists, with the account's role; undefined when it lists none in a known form. */
export function projectsOf(results: unknown): ReadonlyMap<string, string | undefined> | undefined {
  const projects = isObject(results) ? results['projects'] : undefined;
  if (!isObject(projects)) return undefined;
  return new Map(
    Object.entries(projects).map(([id, project]) => {
      const role = isObject(project) ? project['role'] : undefined;
      return [id, typeof role === 'string' ? role : undefined];
    }),
  );
}

/**
 * The group keys in a list of data groups; undefined when it has another form. The path is not in the public
 * reference: Mixpanel's Terraform provider uses it (docs/resources/data_group.md).
 */
export function groupKeysOf(results: unknown): readonly string[] | undefined {
  if (!isObject(results)) return undefined;
  const keys = Object.values(results).map((group) => (isObject(group) ? group['property_name'] : undefined));
  return keys.every((key) => typeof key === 'string') ? keys : undefined;
}

/** Also a list. */
const isObject = (value: unknown): value is Record<string, unknown> => value !== null && typeof value === 'object';
