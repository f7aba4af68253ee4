import type { RefusableRecord } from './faults.ts';
import type { StoredEvent } from './store.ts';

/** Why one record of a batch was refused: an entry of `failed_records`. Source: Mixpanel OpenAPI "ingestion". */
export interface FailedRecord {
  readonly index: number;
  readonly insert_id: string;
  readonly field: string;
  readonly message: string;
}

/** A batch after validation. */
export interface Ingested {
  readonly accepted: StoredEvent[];
  readonly failed: FailedRecord[];
}

/** What validation needs to know besides the batch. */
export interface IngestOptions {
  readonly now: number;
  readonly refuse: (record: RefusableRecord) => { field: string; message: string } | undefined;
  /** True when the body had bytes that are not UTF-8; they were decoded to U+FFFD. */
  readonly malformed: boolean;
  /** Size of the inflated body; an event can only be too large in a body that is at least as large. */
  readonly bytes: number;
}

type Properties = Record<string, unknown>;

interface Problem {
  readonly field: string;
  readonly message: string;
}

/** Source: Mixpanel docs "Import Events". The documentation gives no letter case; the sandbox ignores it. */
const DISALLOWED: ReadonlySet<string> = new Set(
  '00000000-0000-0000-0000-000000000000 anon anonymous nil none null n/a na undefined unknown <nil> 0 -1 true false [] {}'.split(
    ' ',
  ),
);

/** Sources: Mixpanel docs "Import Events" and "Events and Properties". */
const LIMITS = { keys: 254, elements: 254, depth: 3, text: 255, eventBytes: 1024 * 1024 } as const;

const HOUR = 3_600_000;
const YEAR_1971 = Date.UTC(1971, 0, 1);

/** Event names that only Original ID Merge projects take. Source: Mixpanel docs "Identifying Users (Simplified)". */
const IDENTITY_EVENTS: ReadonlySet<unknown> = new Set(['$identify', '$create_alias', '$merge']);

/** Keys that identify the event, which are never truncated. */
const IDENTITY_KEYS: ReadonlySet<string> = new Set(['distinct_id', '$insert_id', '$user_id', '$device_id']);

/** Reads a body as the content type says; undefined when it is not JSON. */
export function parseRecords(text: string, contentType: string): unknown[] | undefined {
  const lines = contentType.includes('ndjson') || (contentType === '' && !/^\s*\[/.test(text));
  try {
    if (lines) return text.split('\n').flatMap((line): unknown[] => (line.trim() === '' ? [] : [JSON.parse(line)]));
    if (text.trim() === '') return [];
    const parsed: unknown = JSON.parse(text);
    return Array.isArray(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

/** Counts the records of a body without parsing it: lines that are not blank, or elements of the outer array. */
export function countRecords(body: Uint8Array, contentType: string): number {
  let start = 0;
  while (isSpace(body[start])) start++;
  const lines = contentType.includes('ndjson') || (contentType === '' && body[start] !== 0x5b);
  return lines ? countLines(body) : countElements(body, start);
}

const isSpace = (byte: number | undefined): boolean => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

function countLines(body: Uint8Array): number {
  let count = 0;
  for (let from = 0; from < body.length;) {
    const found = body.indexOf(0x0a, from);
    const end = found < 0 ? body.length : found;
    while (from < end && isSpace(body[from])) from++;
    if (from < end) count++;
    from = end + 1;
  }
  return count;
}

function countElements(body: Uint8Array, start: number): number {
  let depth = 0;
  let commas = 0;
  let empty = true;
  const length = body.length;
  for (let at = start; at < length; at++) {
    const byte = body[at];
    if (byte === 0x22) {
      for (at++; at < length && body[at] !== 0x22; at++) if (body[at] === 0x5c) at++;
      empty = false;
    } else if (byte === 0x7b || byte === 0x5b) {
      if (depth++ > 0) empty = false;
    } else if (byte === 0x7d || byte === 0x5d) depth--;
    else if (byte === 0x2c && depth === 1) commas++;
    else if (empty && !isSpace(byte)) empty = false;
  }
  return empty ? 0 : commas + 1;
}

/** What a Simplified ID Merge project says of `$identify`, `$create_alias` and `$merge` on `/import`. */
export const NO_IDENTITY_EVENTS =
  'identity events are not allowed when project is using simplified identity management';

/** Whether the batch is one that a Simplified ID Merge project refuses whole. */
export function hasIdentityEvent(records: readonly unknown[]): boolean {
  return records.some((record) => isObject(record) && IDENTITY_EVENTS.has(record['event']));
}

/** Checks each record as `strict=1` does; the valid ones are kept whatever the others are. */
export function ingest(records: readonly unknown[], options: IngestOptions): Ingested {
  const accepted: StoredEvent[] = [];
  const failed: FailedRecord[] = [];
  records.forEach((record, index) => {
    const checked = check(record, options);
    if ('properties' in checked) accepted.push(checked);
    else failed.push({ index, insert_id: insertIdOf(record), field: checked.field, message: checked.message });
  });
  return { accepted, failed };
}

/**
 * The first thing wrong with a record, or the event to keep. Messages without a source named in the documentation
 * ("Import Events", OpenAPI "ingestion") are the sandbox's own words.
 */
function check(record: unknown, options: IngestOptions): StoredEvent | Problem {
  if (!isObject(record)) return problem('event', 'must be an object');
  const { event, properties } = record;
  if (typeof event !== 'string' || event.trim() === '') {
    return { field: 'event', message: "'event' must not be missing or blank" };
  }
  if (!isUtf8(event, options)) return notUtf8('event');
  if (!isObject(properties)) return problem('properties', 'must be an object');
  const time_ms = timeOf(properties['time'], options.now);
  if (typeof time_ms !== 'number') return time_ms;
  const distinct_id = distinctIdOf(properties);
  if (distinct_id === undefined) return problem('properties.distinct_id', 'must not be missing');
  if (isDisallowed(distinct_id)) return problem('properties.distinct_id', 'must not be a disallowed value');
  const insert_id = textOf(properties['$insert_id']) ?? '';
  const wrong = checkInsertId(insert_id) ?? options.refuse({ event, distinct_id, insert_id });
  if (wrong) return wrong;
  const kept = checkProperties(properties, options);
  if (isProblem(kept)) return kept;
  return { event: truncate(event), distinct_id, time_ms, insert_id, properties: kept.value };
}

function timeOf(time: unknown, now: number): number | Problem {
  if (typeof time !== 'number' || !Number.isInteger(time)) {
    return problem('properties.time', 'must be specified as seconds since epoch');
  }
  const ms = Math.abs(time) > 1e10 ? time : time * 1000;
  if (ms > now + HOUR) return problem('properties.time', 'must not be in the future');
  if (ms < YEAR_1971) return problem('properties.time', 'must not be before 1971-01-01');
  return ms;
}

/** Simplified ID Merge derives a missing distinct_id. Source: Mixpanel docs "Identifying Users (Simplified)". */
function distinctIdOf(properties: Properties): string | undefined {
  const given = textOf(properties['distinct_id']) ?? textOf(properties['$user_id']);
  if (given !== undefined) return given;
  const device = textOf(properties['$device_id']);
  return device === undefined ? undefined : `$device:${device}`;
}

/** Ids that are not strings are treated as strings. Source: Mixpanel docs "Event Deduplication". */
function textOf(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  return typeof value === 'string' ? value : JSON.stringify(value);
}

const isDisallowed = (id: string): boolean => id.length <= 36 && DISALLOWED.has(id.toLowerCase());

function checkInsertId(id: string): Problem | undefined {
  if (id === '') return problem('$insert_id', 'must not be missing');
  if (isDisallowed(id)) return problem('$insert_id', 'must not be a disallowed value');
  if (!/^[A-Za-z0-9-]+$/.test(id)) {
    return problem('$insert_id', "must only contain alphanumeric or hyphen '-' characters");
  }
  return id.length > 36 ? problem('$insert_id', 'must not be longer than 36 bytes') : undefined;
}

/** Enforces the limits and truncates texts silently, as Mixpanel does. */
function checkProperties(properties: Properties, options: IngestOptions): { readonly value: Properties } | Problem {
  const entries = Object.entries(properties);
  if (entries.length > LIMITS.keys) return problem('properties', 'must have fewer than 255 properties');
  let value = properties;
  for (const [name, given] of entries) {
    const field = `properties.${name}`;
    if (!isUtf8(name, options)) return notUtf8(field);
    const kept = checkValue(given, field, 0, options);
    if (isProblem(kept)) return kept;
    if (kept.value !== given && !IDENTITY_KEYS.has(name)) value = { ...value, [name]: kept.value };
  }
  if (options.bytes >= LIMITS.eventBytes && Buffer.byteLength(JSON.stringify(properties)) >= LIMITS.eventBytes) {
    return problem('event', 'must be smaller than 1 MB');
  }
  return { value };
}

function checkValue(
  value: unknown,
  field: string,
  depth: number,
  options: IngestOptions,
): { readonly value: unknown } | Problem {
  if (typeof value === 'string') {
    if (!isUtf8(value, options)) return notUtf8(field);
    return { value: truncate(value) };
  }
  if (typeof value !== 'object' || value === null) return { value };
  const list = Array.isArray(value);
  const entries = Object.entries(value as Properties);
  if (depth >= LIMITS.depth) return problem(field, 'must not be nested deeper than 3');
  if (list && entries.length > LIMITS.elements) return problem(field, 'must have fewer than 255 elements');
  if (entries.length > LIMITS.keys) return problem(field, 'must have fewer than 255 keys');
  let changed = false;
  const copy: [string, unknown][] = [];
  for (const [key, given] of entries) {
    if (!list && !isUtf8(key, options)) return notUtf8(field);
    const kept = checkValue(given, field, list && isObject(given) ? depth : depth + 1, options);
    if (isProblem(kept)) return kept;
    changed ||= kept.value !== given;
    copy.push([key, kept.value]);
  }
  if (!changed) return { value };
  return { value: list ? copy.map(([, item]) => item) : Object.fromEntries(copy) };
}

/** Cuts at 255 characters, never within one. Source: Mixpanel docs "Import Events". */
function truncate(text: string): string {
  if (text.length <= LIMITS.text) return text;
  const characters = Array.from(text);
  return characters.length <= LIMITS.text ? text : characters.slice(0, LIMITS.text).join('');
}

const isUtf8 = (text: string, options: IngestOptions): boolean =>
  !/\p{Surrogate}/u.test(text) && !(options.malformed && text.includes('\uFFFD'));

const notUtf8 = (field: string): Problem => ({ field, message: `${field} is invalid: string should be valid utf8` });

const problem = (field: string, must: string): Problem => ({ field, message: `'${field}' is invalid: ${must}` });

const isProblem = (result: { readonly value: unknown } | Problem): result is Problem => 'message' in result;

const isObject = (value: unknown): value is Properties =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function insertIdOf(record: unknown): string {
  if (!isObject(record) || !isObject(record['properties'])) return '';
  return textOf(record['properties']['$insert_id']) ?? '';
}
