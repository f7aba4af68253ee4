import type { Call, Context, Endpoint } from './endpoint.ts';
import { MAX_BYTES } from './endpoint.ts';
import { listOf } from './export.ts';
import type { Refusal, Reply } from './http.ts';
import { header, json, readBody, refusal } from './http.ts';
import type { Properties } from './operations.ts';
import type { Profile, ProfileFilter } from './profile-store.ts';
import type { Scope } from './where.ts';
import { compileWhere, WhereError } from './where.ts';

const PAGE = 1000;

/** Parameters that would change the result and that the sandbox does not know. */
const UNKNOWN = ['behaviors', 'as_of_timestamp', 'filter_by_cohort'];

/** Profiles in pages. Sources: Mixpanel OpenAPI "query", docs "Query Profiles". Old clients use `/api/2.0/engage`. */
export function engageQueryEndpoint(): Endpoint {
  const sessions = new Map<string, number>();
  return {
    path: /^\/api\/(?:query|2\.0)\/engage\/?$/,
    methods: ['GET', 'POST'],
    family: 'query',
    stores: false,
    authorize: (request, url, { gate }) => {
      const inForm = new URLSearchParams(new TextDecoder().decode(request.body)).get('project_id');
      const projectId = url.searchParams.get('project_id') ?? inForm ?? '';
      return gate.project(header(request, 'authorization'), projectId, { secret: true });
    },
    handle: (call, context) => answer(call, context, sessions),
  };
}

async function answer(call: Call, context: Context, sessions: Map<string, number>): Promise<Reply | Refusal> {
  const fields = await fieldsOf(call);
  if (!(fields instanceof URLSearchParams)) return fields;
  const unknown = UNKNOWN.find((name) => (fields.get(name) ?? '') !== '');
  if (unknown !== undefined) return refusal(400, `the sandbox does not know ${unknown}`);
  const ids = idsOf(fields);
  const wanted = listOf(fields.get('output_properties'));
  const page = Number(fields.get('page') ?? 0);
  const size = Number(fields.get('page_size') ?? PAGE);
  if (ids === 'wrong') return refusal(400, 'distinct_ids must be a JSON list of texts');
  if (wanted === 'wrong') return refusal(400, 'output_properties must be a JSON list of texts');
  if (!Number.isInteger(page) || page < 0) return refusal(400, 'page must be a number from 0');
  if (!Number.isInteger(size) || size < 1) return refusal(400, 'page_size must be a number from 1');
  const given = fields.get('session_id') ?? '';
  if (page > 0 && !sessions.has(given)) return refusal(400, 'page needs the session_id of the first page');
  // Only the first page counts. Sources: Mixpanel docs "Rate Limits", mixpanel-headless "request pacing".
  if (page === 0 && !context.dice.mayCall(`engage ${call.caller}`, context.now(), 60, 3_600_000)) {
    return refusal(429, rateLimited(call.caller));
  }
  // `selector` is the name that `where` had first, which PyPI `mixpanel-utils` still sends.
  const where = whereOf(fields.get('where') ?? fields.get('selector') ?? '');
  if (where && 'refused' in where) return where;
  const groupKey = fields.get('data_group_id') ?? '';
  const filter = { project: context.gate.visible(call.caller), ids, ...(groupKey === '' ? {} : { groupKey }) };
  const from = context.store[groupKey === '' ? 'profiles' : 'groups'];
  const found = where
    ? await filtered(from.read(filter), where.matches, page * size, size)
    : await paged(from, filter, page * size, size);
  const session = given === '' ? `${context.now()}-${sessions.size}` : given;
  sessions.set(session, found.total);
  return json(200, {
    page,
    page_size: size,
    results: found.profiles.map((profile) => result(profile, wanted)),
    session_id: session,
    status: 'ok',
    total: found.total,
  });
}

export const rateLimited = (project: string): string =>
  `Query rate limit exceeded for project_id: ${project}. 1/5 queries running concurrently and 61/60 queries running in the last hour.`;

async function fieldsOf({ request, url }: Call): Promise<URLSearchParams | Refusal> {
  const body = await readBody(request, MAX_BYTES);
  if (!(body instanceof Uint8Array)) return body;
  const fields = new URLSearchParams(request.method === 'GET' ? '' : new TextDecoder().decode(body));
  for (const [name, value] of url.searchParams) fields.set(name, value);
  return fields;
}

function idsOf(fields: URLSearchParams): string[] | undefined | 'wrong' {
  const id = fields.get('distinct_id') ?? '';
  return id === '' ? listOf(fields.get('distinct_ids')) : [id];
}

type Matches = (scope: Scope) => boolean;

function whereOf(source: string): { readonly matches: Matches } | Refusal | undefined {
  if (source.trim() === '') return undefined;
  try {
    return { matches: compileWhere(source) };
  } catch (error) {
    if (error instanceof WhereError) return refusal(400, `where: ${error.message}`);
    throw error;
  }
}

interface Found {
  readonly total: number;
  readonly profiles: readonly Profile[];
}

async function paged(
  from: Context['store']['profiles'],
  filter: ProfileFilter,
  offset: number,
  limit: number,
): Promise<Found> {
  const profiles: Profile[] = [];
  for await (const profile of from.read(filter, { offset, limit })) profiles.push(profile);
  return { total: await from.count(filter), profiles };
}

async function filtered(all: AsyncGenerator<Profile>, matches: Matches, offset: number, limit: number): Promise<Found> {
  const profiles: Profile[] = [];
  let total = 0;
  for await (const profile of all) {
    if (!matches({ properties: visible(profile) })) continue;
    if (total >= offset && profiles.length < limit) profiles.push(profile);
    total++;
  }
  return { total, profiles };
}

const visible = ({ properties, lastSeenMs }: Profile): Properties =>
  lastSeenMs === undefined
    ? properties
    : { ...properties, $last_seen: new Date(lastSeenMs).toISOString().slice(0, 19) };

function result(profile: Profile, wanted: readonly string[] | undefined): unknown {
  const all = visible(profile);
  const shown = wanted ? Object.fromEntries(Object.entries(all).filter(([name]) => wanted.includes(name))) : all;
  return { $distinct_id: profile.id, $properties: shown };
}

/**
 * Who a service account is and what it sees. Source: Mixpanel docs "Service Accounts" for its existence; the names
 * inside `results` are not documented.
 */
export const meEndpoint: Endpoint = {
  path: /^\/api\/app\/me\/?$/,
  methods: ['GET'],
  family: 'app',
  stores: false,
  authorize: (request, _, { gate }) => gate.account(header(request, 'authorization')),
  handle: ({ caller }, { gate }) => {
    const projects = gate.projects().map(({ id }) => [
      id,
      {
        id: Number(id),
        name: `sandbox ${id}`,
        organization_id: 1,
        timezone: 'UTC',
        role: 'owner',
        permissions: ['all'],
      },
    ]);
    const workspaces = gate
      .projects()
      .map(({ id }) => [id, { id: Number(id), name: 'All project data', project_id: Number(id) }]);
    const organizations = { 1: { id: 1, name: 'sandbox', role: 'owner' } };
    return Promise.resolve(
      json(200, {
        results: {
          user_name: caller,
          organizations,
          projects: Object.fromEntries(projects) as object,
          workspaces: Object.fromEntries(workspaces) as object,
        },
        status: 'ok',
      }),
    );
  },
};
