import type { Call, Context, Endpoint } from './endpoint.ts';
import { MAX_CSV_BYTES, TOO_MANY } from './endpoint.ts';
import type { Refusal, Reply } from './http.ts';
import { failure, header, json, readBody, refusal } from './http.ts';

const authorize: Endpoint['authorize'] = (request, url, { gate }) =>
  gate.project(header(request, 'authorization'), url.searchParams.get('project_id') ?? '', { secret: true });

/** Source: Mixpanel docs "Lookup Tables" (List). */
export const lookupListEndpoint: Endpoint = {
  path: /^\/lookup-tables\/?$/,
  methods: ['GET'],
  family: 'strict',
  stores: false,
  authorize,
  handle: async (_, { store }) => json(200, { code: 200, results: await store.lookup.list(), status: 'OK' }),
};

/** Synchronous, the whole table or nothing. Sources: Mixpanel docs "Lookup Tables" (Replace), OpenAPI "ingestion". */
export const lookupReplaceEndpoint: Endpoint = {
  path: /^\/lookup-tables\/([^/]+)\/?$/,
  methods: ['PUT'],
  family: 'strict',
  stores: true,
  authorize,
  handle: replace,
};

const DAY = 86_400_000;
const CALLS_A_DAY = 100;

async function replace(call: Call, context: Context): Promise<Reply | Refusal> {
  const { store, dice } = context;
  const id = call.id;
  const now = context.now();
  if (!dice.mayCall(`lookup ${call.caller}`, now, CALLS_A_DAY, DAY)) return refusal(429, TOO_MANY);
  const csv = await readBody(call.request, MAX_CSV_BYTES);
  if (!(csv instanceof Uint8Array)) return csv;
  if (context.discard) return json(200, { code: 200, status: 'OK' });
  if (!context.lookupAny && !(await store.lookup.exists(id))) {
    return json(404, { code: 200, error: `Lookup table with id '${id}' was not found.`, status: 'Not Found' });
  }
  if (csv.length === 0) return refusal(400, 'data, missing or empty');
  const failed = await store.lookup.replace(id, csv, now, call.signal);
  if (failed.length === 0) return json(200, { code: 200, status: 'OK' });
  return failure(400, 'Some data points in the request failed validation.', { failed_records: failed });
}
