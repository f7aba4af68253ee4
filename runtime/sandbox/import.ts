import { isUtf8 } from 'node:buffer';
import type { Call, Context, Endpoint } from './endpoint.ts';
import { MAX_BYTES, MAX_RECORDS, TOO_MANY } from './endpoint.ts';
import type { Refusal, Reply } from './http.ts';
import { failure, header, json, readBody, refusal } from './http.ts';
import { countRecords, hasIdentityEvent, ingest, NO_IDENTITY_EVENTS, parseRecords } from './ingest.ts';
import { isForm } from './payload.ts';
import { takeEvents } from './track.ts';

/** `/import`: JSON as documented, and the forms of the first SDKs. Source: Mixpanel docs "Import Events". */
export const importEndpoint: Endpoint = {
  path: /^\/import\/?$/,
  methods: ['POST', 'GET'],
  family: 'strict',
  stores: true,
  authorize: (request, url, { gate }) => {
    const authorization = header(request, 'authorization');
    const projectId = url.searchParams.get('project_id') ?? '';
    const key = apiKey(request.method === 'GET' || isForm({ request }), url, request.body);
    if ((authorization ?? '') === '' && key !== '') return gate.project(basic(key), projectId, { secret: true });
    return gate.project(authorization, projectId, { token: true, secret: true });
  },
  handle: async (call, context) => {
    if (call.request.method === 'GET' && !call.url.searchParams.has('data'))
      return refusal(405, 'only POST is allowed');
    if (isForm(call)) return takeEvents(call, context, { endpoint: '/import', project: () => call.caller });
    const body = await readBody(call.request, MAX_BYTES);
    if (!(body instanceof Uint8Array)) return body;
    const contentType = header(call.request, 'content-type') ?? '';
    return context.discard ? count(body, contentType, context) : store(call, body, contentType, context);
  },
};

const basic = (user: string): string => `Basic ${Buffer.from(`${user}:`).toString('base64')}`;

/** The oldest clients name the project by `api_key`. Source: npm `mixpanel` (option `key`). */
function apiKey(form: boolean, url: URL, body: Uint8Array): string {
  const inQuery = url.searchParams.get('api_key');
  if (inQuery !== null || !form) return inQuery ?? '';
  return new URLSearchParams(new TextDecoder().decode(body)).get('api_key') ?? '';
}

function count(body: Uint8Array, contentType: string, context: Context): Reply | Refusal {
  const records = countRecords(body, contentType);
  if (records === 0) return refusal(400, 'data, missing or empty');
  if (records > MAX_RECORDS) return tooMany;
  if (!context.dice.admits(context.now(), records, body.length)) return refusal(429, TOO_MANY);
  return received(records, context);
}

async function store(
  { url, caller, signal }: Call,
  body: Uint8Array,
  contentType: string,
  context: Context,
): Promise<Reply | Refusal> {
  const { dice } = context;
  const strict = url.searchParams.get('strict');
  const records = parseRecords(new TextDecoder().decode(body), contentType);
  if (records === undefined) return refusal(400, 'request body is not valid JSON');
  if (records.length === 0) return refusal(400, 'data, missing or empty');
  if (records.length > MAX_RECORDS) return tooMany;
  if (strict === null && isProbe(records)) return json(400, { error: 'data, missing or empty', status: 0 });
  const now = context.now();
  if (!dice.admits(now, records.length, body.length)) return refusal(429, TOO_MANY);
  if (hasIdentityEvent(records)) return identityEvents;
  const { accepted, failed } = ingest(records, {
    now,
    refuse: (record) => dice.refusal(record),
    malformed: !isUtf8(body),
    bytes: body.length,
  });
  const kept = accepted.filter((event) => !('$ignore' in event.properties) && !dice.drops(event.event));
  await context.store.append({ project: caller, endpoint: '/import', receivedMs: now }, kept, signal);
  if (dice.strikes('compaction')) await context.store.compact(context.random());
  const response = received(accepted.length, context);
  if (failed.length === 0 || strict === '0') return response;
  return failure(400, 'some data points in the request failed validation', {
    failed_records: failed,
    num_records_imported: accepted.length,
  });
}

function received(records: number, context: Context): Reply {
  context.accepted(records);
  return json(200, { code: 200, num_records_imported: records, status: 'OK' });
}

const tooMany = refusal(413, `request exceeds max limit of ${MAX_RECORDS} events`);

/** Texts instead of objects, as live projects answer. */
const identityEvents = failure(400, 'some data points in the request failed validation', {
  failed_records: [NO_IDENTITY_EVENTS],
  num_records_imported: 0,
});

/** Clients probe credentials with one empty event. Source: Mixpanel's Go client, `http_test.go`. */
const isProbe = (records: readonly unknown[]): boolean => records.length === 1 && JSON.stringify(records[0]) === '{}';
