import { randomUUID } from 'node:crypto';
import type { Call, Context, Endpoint } from './endpoint.ts';
import { TOO_MANY } from './endpoint.ts';
import type { Refusal, Reply } from './http.ts';
import { isRefusal, refusal } from './http.ts';
import { hasIdentityEvent, ingest, NO_IDENTITY_EVENTS } from './ingest.ts';
import type { Properties } from './operations.ts';
import { isObject } from './operations.ts';
import type { Failed } from './payload.ts';
import { legacyAnswer, legacyRefusal, readPayload } from './payload.ts';
import type { StoredEvent } from './store.ts';

/** `/track`, for clients that hold no secret: the token is in every event. Source: Mixpanel docs "Track Events". */
export const trackEndpoint: Endpoint = {
  path: /^\/track\/?$/,
  methods: ['POST', 'GET'],
  family: 'legacy',
  stores: true,
  authorize: () => '',
  handle: (call, context) =>
    takeEvents(call, context, {
      endpoint: '/track',
      project: (token) => context.gate.ofToken(token),
    }),
};

interface Source {
  readonly endpoint: '/track' | '/import';
  /** The project of an event with this token; undefined makes it vanish with a success, as documented. */
  readonly project: (token: string) => string | undefined;
}

/** `/track` keeps the last five days only. Source: Mixpanel docs "Track Events". */
const DAYS = 5 * 86_400_000;

/** Takes events without strict validation and answers in the legacy way. */
export async function takeEvents(call: Call, context: Context, source: Source): Promise<Reply | Refusal> {
  const { dice } = context;
  const payload = await readPayload(call);
  if (isRefusal(payload)) return legacyRefusal(payload);
  const { records, fields } = payload;
  const now = context.now();
  if (!dice.admits(now, records.length, payload.bytes)) return refusal(429, TOO_MANY);
  if (context.discard) {
    context.accepted(records.length);
    return legacyAnswer(fields, records.length, []);
  }
  const needsToken = source.endpoint === '/track';
  // `/track` is documented to take identity events, without effect in Simplified ID Merge projects: they stay events.
  if (!needsToken && hasIdentityEvent(records)) return legacyRefusal({ ...refusal(400, NO_IDENTITY_EVENTS), fields });
  const tokens = records.map(tokenOf);
  const nameless = tokens.flatMap((token, index): Failed[] =>
    needsToken && token === '' ? [{ index, field: 'properties.token', message: 'token, missing or empty' }] : [],
  );
  const named = records.map((record, index) => ({ record, index })).filter(({ index }) => !needsToken || tokens[index]);
  const { accepted, failed } = ingest(
    named.map(({ record }) => complete(record, now, needsToken)),
    { now, refuse: (record) => dice.refusal(record), malformed: payload.malformed, bytes: payload.bytes },
  );
  const wrong = failed.map(({ index, field, message }) => ({ index: named[index]?.index ?? index, field, message }));
  const shown = accepted.filter((event) => !('$ignore' in event.properties) && !dice.drops(event.event));
  const recent = needsToken ? shown.filter((event) => event.time_ms >= now - DAYS) : shown;
  for (const [project, events] of byProject(recent, source)) {
    await context.store.append({ project, endpoint: source.endpoint, receivedMs: now }, events, call.signal);
  }
  if (dice.strikes('compaction')) await context.store.compact(context.random());
  context.accepted(accepted.length);
  return legacyAnswer(
    fields,
    records.length,
    [...nameless, ...wrong].sort((a, b) => a.index - b.index),
  );
}

function tokenOf(record: unknown): string {
  const properties = isObject(record) ? record['properties'] : undefined;
  const token = isObject(properties) ? properties['token'] : undefined;
  return typeof token === 'string' ? token : '';
}

/**
 * What these endpoints fill in: nobody for a missing user, an id that duplicates nothing for a missing one, and on
 * `/track` now for a missing or future time. Sources: Mixpanel docs "Track Events", "Event Deduplication".
 */
function complete(record: unknown, now: number, tracked: boolean): unknown {
  if (!isObject(record) || !isObject(record['properties'])) return record;
  const { time, ...rest } = record['properties'];
  const given = typeof time === 'number' ? Math.floor(Math.abs(time) > 1e10 ? time : time * 1000) : undefined;
  const known = ['distinct_id', '$user_id', '$device_id'].some(
    (name) => rest[name] !== undefined && rest[name] !== null,
  );
  const properties: Properties = {
    ...rest,
    time: tracked ? Math.min(given ?? now, now) : (given ?? time),
    ...(known ? {} : { distinct_id: '' }),
    ...(rest['$insert_id'] === undefined ? { $insert_id: randomUUID() } : {}),
  };
  return { ...record, properties };
}

/** Groups by project; the token is not a property. */
function byProject(events: readonly StoredEvent[], source: Source): Map<string, StoredEvent[]> {
  const groups = new Map<string, StoredEvent[]>();
  for (const event of events) {
    const { token, ...properties } = event.properties;
    const project = source.project(typeof token === 'string' ? token : '');
    if (project === undefined) continue;
    const group = groups.get(project) ?? [];
    group.push({ ...event, properties });
    groups.set(project, group);
  }
  return groups;
}
