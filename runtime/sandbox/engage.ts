import type { Call, Context, Endpoint } from './endpoint.ts';
import { TOO_MANY } from './endpoint.ts';
import type { Refusal, Reply } from './http.ts';
import { header, isRefusal, refusal } from './http.ts';
import { isObject, operationOf } from './operations.ts';
import type { Failed } from './payload.ts';
import { legacyAnswer, legacyRefusal, readPayload } from './payload.ts';
import type { ProfileUpdate } from './profile-store.ts';

/** `/engage` and `/groups`; what follows a `#` in the reference never travels, and is ignored where it does. */
const endpoint = (forGroups: boolean): Endpoint => ({
  path: forGroups ? /^\/groups\/?$/ : /^\/engage\/?$/,
  methods: ['POST', 'GET'],
  family: 'legacy',
  stores: true,
  authorize: () => '',
  handle: (call, context) => update(call, context, forGroups),
});

/** Sources: Mixpanel docs "User Profiles", "Group Profiles"; OpenAPI "ingestion". */
export const engageEndpoint = endpoint(false);
export const groupsEndpoint = endpoint(true);

async function update(call: Call, context: Context, forGroups: boolean): Promise<Reply | Refusal> {
  const { dice } = context;
  // The reference says that these endpoints do not support gzip; what they answer is not documented.
  const gzip = header(call.request, 'content-encoding')?.toLowerCase() === 'gzip';
  const payload = gzip
    ? { ...refusal(400, 'data, missing or empty'), fields: call.url.searchParams }
    : await readPayload(call);
  if (isRefusal(payload)) return legacyRefusal(payload);
  const { records, fields } = payload;
  const now = context.now();
  if (!dice.admits(now, records.length, payload.bytes)) return refusal(429, TOO_MANY);
  if (context.discard) {
    context.accepted(records.length);
    return legacyAnswer(fields, records.length, []);
  }
  const failed: Failed[] = [];
  const updates: ProfileUpdate[] = [];
  records.forEach((record, index) => {
    const checked = check(record, forGroups, context);
    if ('message' in checked) failed.push({ index, ...checked });
    else if (checked.project !== undefined) updates.push({ ...checked, project: checked.project });
  });
  await context.store[forGroups ? 'groups' : 'profiles'].update(updates, now, call.signal);
  context.accepted(records.length - failed.length);
  return legacyAnswer(fields, records.length, failed);
}

type Problem = Omit<Failed, 'index'>;
type Checked = Omit<ProfileUpdate, 'project'> & { readonly project: string | undefined };

/** Source: Mixpanel docs "User Profiles": one MB a record. */
const MAX_RECORD_BYTES = 1024 * 1024;

/** `JSON.stringify` escapes a surrogate only where it has no pair. */
const LONE_SURROGATE = /(?<!\\)(?:\\\\)*\\ud[89a-f]/;

/** The first thing wrong with a record, or the update; without a project when its token is nobody's. */
function check(record: unknown, forGroups: boolean, { gate, dice }: Context): Checked | Problem {
  if (!isObject(record)) return { field: 'data', message: 'data, must be an object' };
  const token = record['$token'];
  if (typeof token !== 'string' || token === '') return missing('$token');
  const groupKey = forGroups ? idOf(record['$group_key']) : '';
  if (groupKey === undefined) return missing('$group_key');
  const idField = forGroups ? '$group_id' : '$distinct_id';
  const id = idOf(record[idField]);
  if (id === undefined) return missing(idField);
  const operation = operationOf(record, forGroups);
  if ('error' in operation) return { field: 'operation', message: operation.error };
  const text = JSON.stringify(record);
  if (LONE_SURROGATE.test(text)) return { field: 'data', message: 'data, string should be valid utf8' };
  if (text.length * 3 >= MAX_RECORD_BYTES && Buffer.byteLength(text) >= MAX_RECORD_BYTES) {
    return { field: 'data', message: 'data, must be smaller than 1 MB' };
  }
  const refused = dice.refusal({ event: forGroups ? '$groups' : '$engage', distinct_id: id, insert_id: '' });
  if (refused) return { field: idField, message: refused.message };
  const touches = record['$ignore_time'] !== true && record['$ignore_time'] !== 'true';
  return { project: gate.ofToken(token), groupKey, id, operation, touches };
}

/** The wording that RudderStack's transformer quotes of a live answer. */
const missing = (field: string): Problem => ({ field, message: `${field}, missing or empty` });

/** Ids are texts; numbers become texts, as they do in events. */
function idOf(value: unknown): string | undefined {
  if (typeof value === 'number') return String(value);
  return typeof value === 'string' && value !== '' ? value : undefined;
}
