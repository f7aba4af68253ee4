import type { Call, Context, Endpoint } from './endpoint.ts';
import type { Refusal, Reply } from './http.ts';
import { header, refusal } from './http.ts';
import type { Properties } from './operations.ts';
import type { Scope } from './where.ts';
import { compileWhere, WhereError } from './where.ts';

/**
 * `/api/2.0/export`: every copy, as NDJSON. Dates are UTC, as in projects made after 1 January 2023; older projects
 * count days, and store times, in their own time zone. Sources: Mixpanel docs "Raw Data Export", OpenAPI "export".
 */
export const exportEndpoint: Endpoint = {
  path: /^\/(?:api\/2\.0\/)?export\/?$/,
  methods: ['GET'],
  family: 'query',
  stores: false,
  authorize: (request, url, { gate }) =>
    gate.project(header(request, 'authorization'), url.searchParams.get('project_id') ?? '', { secret: true }),
  handle: (call, context) => Promise.resolve(exportEvents(call, context)),
};

const DAY = 86_400_000;
const MAX_LIMIT = 100_000;

function exportEvents({ url, caller }: Call, context: Context): Reply | Refusal {
  const { dice, gate, store } = context;
  const now = context.now();
  // Source: Mixpanel docs "Rate Limits".
  if (!dice.mayCall(`export ${caller}`, now, 60, 3_600_000) || !dice.mayCall(`exports ${caller}`, now, 3, 1000)) {
    return refusal(429, 'too many export requests in progress for this project');
  }
  const asked = read(url.searchParams, now);
  if ('refused' in asked) return asked;
  const { fromMs, untilMs, events, limit, where, inMs } = asked;
  const rows = context.discard
    ? nothing()
    : store.events({ project: gate.visible(caller), fromMs, untilMs, events: events && [...events] });
  const lines = shown(rows, { limit, where, inMs });
  const body = dice.strikes('terminatedEarly') ? early(lines) : dice.strikes('cutExport') ? cut(lines) : lines;
  return { status: 200, headers: { 'content-type': 'text/plain; charset=utf-8' }, body };
}

interface Asked {
  readonly fromMs: number;
  readonly untilMs: number;
  readonly events: readonly string[] | undefined;
  readonly limit: number;
  readonly where: ((scope: Scope) => boolean) | undefined;
  readonly inMs: boolean;
}

function read(query: URLSearchParams, now: number): Asked | Refusal {
  const fromMs = dayOf(query.get('from_date'));
  const toMs = dayOf(query.get('to_date'));
  if (fromMs === undefined || toMs === undefined) {
    return refusal(400, 'from_date and to_date are required, as YYYY-MM-DD');
  }
  if (toMs > now) return refusal(400, 'to_date cannot be later than today');
  if (fromMs > toMs) return refusal(400, 'from_date cannot be later than to_date');
  const limit = Number(query.get('limit') ?? Infinity);
  if (query.has('limit') && !(Number.isInteger(limit) && limit > 0 && limit <= MAX_LIMIT)) {
    return refusal(400, `limit must be between 1 and ${MAX_LIMIT}`);
  }
  const events = listOf(query.get('event'));
  if (events === 'wrong') return refusal(400, 'event must be a JSON list of event names');
  try {
    const source = query.get('where') ?? '';
    const where = source.trim() === '' ? undefined : compileWhere(source);
    return { fromMs, untilMs: toMs + DAY, events, limit, where, inMs: query.get('time_in_ms') === 'true' };
  } catch (error) {
    if (error instanceof WhereError) return refusal(400, `where: ${error.message}`);
    throw error;
  }
}

function dayOf(text: string | null): number | undefined {
  const ms = text !== null && /^\d{4}-\d\d-\d\d$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

/** A JSON list of texts; the empty parameter is no restriction. */
export function listOf(text: string | null): string[] | undefined | 'wrong' {
  if (text === null || text.trim() === '') return undefined;
  try {
    const parsed: unknown = JSON.parse(text);
    return Array.isArray(parsed) && parsed.every((item) => typeof item === 'string') ? parsed : 'wrong';
  } catch {
    return 'wrong';
  }
}

async function* nothing(): AsyncGenerator<unknown[][]> {
  // A sandbox that discards has stored nothing.
}

async function* shown(
  rows: AsyncGenerator<unknown[][]>,
  { limit, where, inMs }: Pick<Asked, 'limit' | 'where' | 'inMs'>,
): AsyncGenerator<string> {
  let left = limit;
  for await (const chunk of rows) {
    const lines: string[] = [];
    for (const row of chunk) {
      if (lines.length >= left) break;
      const [event, properties] = exported(row, inMs);
      if (!where || where({ properties, event: { $time: properties['time'], $event_name: event } })) {
        lines.push(`${JSON.stringify({ event, properties })}\n`);
      }
    }
    if (lines.length > 0) yield lines.join('');
    left -= lines.length;
    if (left <= 0) return;
  }
}

/** Adds what Mixpanel adds and leaves out what it consumes. Source: Mixpanel docs "Default Properties". */
function exported(row: readonly unknown[], inMs: boolean): [string, Properties] {
  const [event, distinctId, insertId, timeMs, receivedMs, endpoint, json] = row;
  const properties = JSON.parse(String(json)) as Properties;
  for (const consumed of ['ip', 'token']) Reflect.deleteProperty(properties, consumed);
  const time = Number(timeMs);
  return [
    String(event),
    {
      ...properties,
      time: inMs ? time : Math.floor(time / 1000),
      distinct_id: distinctId,
      $insert_id: insertId,
      ...(endpoint === '/import' ? { $import: true } : {}),
      $mp_api_endpoint: 'api.mixpanel.com',
      $mp_api_timestamp_ms: receivedMs,
      $mp_event_size: Buffer.byteLength(String(json)),
      mp_processing_time_ms: receivedMs,
    },
  ];
}

/** A 200 that ends with a line that is no JSON. Sources: airbyte source-mixpanel, mixpanel-utils issue 5. */
async function* early(lines: AsyncGenerator<string>): AsyncGenerator<string> {
  for await (const piece of lines) {
    yield firstHalf(piece);
    break;
  }
  yield 'terminated early\n';
}

/** A 200 that ends within a line. */
async function* cut(lines: AsyncGenerator<string>): AsyncGenerator<string> {
  for await (const piece of lines) {
    const last = piece.lastIndexOf('\n', piece.length - 2) + 1;
    yield piece.slice(0, Math.ceil((last + piece.length) / 2));
    break;
  }
}

function firstHalf(piece: string): string {
  const lines = piece.split('\n').slice(0, -1);
  return lines
    .slice(0, Math.floor(lines.length / 2))
    .map((line) => `${line}\n`)
    .join('');
}
