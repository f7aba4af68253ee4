import { isUtf8 } from 'node:buffer';
import type { Call } from './endpoint.ts';
import { MAX_BYTES, MAX_RECORDS } from './endpoint.ts';
import type { Refusal, Reply } from './http.ts';
import { header, json, readBody, refusal, text } from './http.ts';

/** What a client of the legacy endpoints sent, whichever way it packed it. */
export interface Payload {
  readonly records: readonly unknown[];
  /** Fields of the form; the query's fields win. */
  readonly fields: URLSearchParams;
  readonly malformed: boolean;
  readonly bytes: number;
}

/** A body that cannot be read, with the fields that say how the answer is worded. */
export type Unreadable = Refusal & Pick<Payload, 'fields'>;

/** Why one record was refused: an entry of `failed_records`. */
export interface Failed {
  readonly index: number;
  readonly field: string;
  readonly message: string;
}

/** True when the data travels in the query or in a form, as the first SDKs send it. */
export function isForm(call: Pick<Call, 'request'>): boolean {
  const { request } = call;
  const type = header(request, 'content-type') ?? '';
  if (request.method === 'GET' || type.includes('x-www-form-urlencoded')) return true;
  return !type.includes('json') && Buffer.from(request.body.subarray(0, 5)).toString() === 'data=';
}

/**
 * Reads `data` from the query, from a form (JSON, or JSON in base64) or from a JSON body; one object or a list.
 * Sources: Mixpanel docs "Track Events", OpenAPI "ingestion"; npm `mixpanel` sends base64 without escaping `+`.
 */
export async function readPayload(call: Call): Promise<Payload | Unreadable> {
  const body = await readBody(call.request, MAX_BYTES);
  if (!(body instanceof Uint8Array)) return { ...body, fields: call.url.searchParams };
  const form = isForm(call);
  const fields = new URLSearchParams(form && call.request.method !== 'GET' ? new TextDecoder().decode(body) : '');
  for (const [name, value] of call.url.searchParams) fields.set(name, value);
  const data = form ? decode(fields.get('data') ?? '') : new TextDecoder().decode(body);
  const parsed = parse(data);
  const records: unknown[] = Array.isArray(parsed) ? parsed : parsed === undefined ? [] : [parsed];
  if (records.length === 0) return { ...refusal(400, 'data, missing or empty'), fields };
  if (records.length > MAX_RECORDS) {
    return { ...refusal(413, `request exceeds max limit of ${MAX_RECORDS} events`), fields };
  }
  return { records, fields, malformed: !form && !isUtf8(body), bytes: form ? data.length : body.length };
}

function decode(data: string): string {
  if (/^\s*[[{]/.test(data)) return data;
  return Buffer.from(data.replaceAll(' ', '+'), 'base64').toString();
}

function parse(data: string): unknown {
  try {
    const parsed: unknown = JSON.parse(data);
    return typeof parsed === 'object' && parsed !== null ? parsed : undefined;
  } catch {
    return undefined;
  }
}

const PIXEL = Buffer.from('R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7', 'base64');

/**
 * The answer of `/track`, `/engage` and `/groups`: `1` when at least one record is valid, more with `verbose`, a
 * message a record with `strict`, JSONP with `callback`, a pixel with `img`.
 * Source: Mixpanel OpenAPI "ingestion". It does not say what strict answers hold; the names are those that npm
 * `mixpanel-import` reads.
 */
export function legacyAnswer(fields: URLSearchParams, total: number, failed: readonly Failed[]): Reply {
  const good = total - failed.length;
  const [first] = failed;
  const error = good > 0 ? null : (first?.message ?? 'data, missing or empty');
  if (fields.get('img') === '1') return { status: 200, headers: { 'content-type': 'image/gif' }, body: PIXEL };
  if (fields.get('strict') === '1') return strictAnswer(good, failed);
  const verbose = fields.get('verbose') === '1' || fields.get('verbose') === '2';
  const status = good > 0 ? 1 : 0;
  const callback = fields.get('callback') ?? '';
  if (/^[\w$.]+$/.test(callback)) {
    const argument = verbose ? JSON.stringify({ error, status }) : String(status);
    return text(200, `${callback}(${argument});`, 'text/javascript; charset=utf-8');
  }
  return verbose ? json(200, { error, status }) : text(200, String(status));
}

function strictAnswer(good: number, failed: readonly Failed[]): Reply {
  if (failed.length === 0) return json(200, { code: 200, error: null, num_good_events: good, status: 'OK' });
  return json(200, {
    code: 400,
    error: 'some data points in the request failed validation',
    failed_records: failed,
    num_good_events: good,
    status: 'Bad Request',
  });
}

/** A body that cannot be read is the legacy `0`; only a size that is too large has a status of its own. */
export const legacyRefusal = ({ fields, ...refused }: Unreadable): Reply | Refusal =>
  refused.refused === 400 ? inLegacyWords(fields, refused.error) : refused;

function inLegacyWords(fields: URLSearchParams, error: string): Reply {
  if (fields.get('strict') === '1') return json(200, { code: 400, error, num_good_events: 0, status: 'Bad Request' });
  return fields.get('verbose') === '1' || fields.get('verbose') === '2'
    ? json(200, { error, status: 0 })
    : text(200, '0');
}
