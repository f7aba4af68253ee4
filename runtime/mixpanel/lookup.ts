import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { RunError } from '../errors.ts';
import { errorOf, fatal, parse, text } from './batch.ts';
import type { Reply, Sender, Watch } from './http.ts';
import { post } from './http.ts';

/** Documentation: Lookup Tables. Counted uncompressed. */
export const LARGEST_LOOKUP = 100_000_000;

export type LookupResult =
  | { readonly accepted: true; readonly notes: readonly string[] }
  | {
      readonly accepted: false;
      readonly reason: string;
      /** An earlier attempt had no answer: the table may be replaced all the same. */
      readonly maybe: boolean;
    };

/** Only a service account may replace a table (documentation: Lookup Tables). */
export interface LookupAccess {
  readonly authorization: string;
  readonly projectId: string;
  /** How a message names the credentials. */
  readonly what: string;
}

export type ReplaceLookup = (id: string, csv: AsyncIterable<string>, watch: Watch) => Promise<LookupResult>;

/**
 * A client of `PUT /lookup-tables/{id}` (documentation: Lookup Tables, Replace; OpenAPI: ingestion): one CSV replaces
 * the whole table or changes nothing. The table must exist.
 */
export function createLookups(sender: Sender, access: LookupAccess | undefined): ReplaceLookup {
  return async (id, csv, watch) => {
    if (!access)
      throw new RunError(
        'mixpanel-unauthorized',
        'Lookup tables need a service account and its project. Set service_account and project_id of the target.',
        { retryable: false },
      );
    const body = await compress(csv, watch.signal);
    if (typeof body === 'string') return { accepted: false, reason: body, maybe: false };
    const reply = await post(
      sender,
      {
        method: 'PUT',
        url: `${sender.host}/lookup-tables/${encodeURIComponent(id)}?${new URLSearchParams({ project_id: access.projectId }).toString()}`,
        headers: {
          'content-type': 'text/csv',
          'content-encoding': 'gzip',
          accept: 'application/json',
          authorization: access.authorization,
        },
        body,
        // The rate limit is one of events; a table may be replaced 100 times a day (documentation: Lookup Tables).
        records: 0,
        bytes: 0,
        hint: 'Mixpanel takes 100 replacements of lookup tables in 24 hours; a large table may need a longer request_timeout of the target.',
      },
      watch,
    );
    return resultOf(reply, sender.host, access.what);
  };
}

function resultOf(reply: Reply, host: string, what: string): LookupResult {
  const { status, maybe } = reply;
  if (status === 200) {
    if (parse(reply.body)) return { accepted: true, notes: [] };
    return {
      accepted: true,
      notes: ["The host took a lookup table with an answer that is not Mixpanel's. Check the host of the target."],
    };
  }
  const credentials = status === 401 || status === 403;
  const said = text(parse(reply.body)?.error) !== undefined;
  if (!credentials && (status === 400 || status === 413 || (said && status > 400 && status < 500)))
    return { accepted: false, reason: reasonOf(reply), maybe };
  throw fatal(reply, host, '/lookup-tables', what);
}

/** Up to ten rows are named (documentation: Lookup Tables); whether their index counts the header is not said. */
function reasonOf(reply: Reply): string {
  const failure = parse(reply.body);
  const failed: unknown = failure?.failed_records;
  if (!Array.isArray(failed) || failed.length === 0) return errorOf(reply);
  const rows = (failed as readonly unknown[]).map((entry) => {
    const { index, message } = (typeof entry === 'object' && entry !== null ? entry : {}) as Record<string, unknown>;
    const why = text(entry) ?? text(message) ?? 'invalid';
    return typeof index === 'number' ? `index ${index}: ${why}` : why;
  });
  const error = text(failure?.error)?.replace(/\.$/, '');
  return `${error === undefined ? '' : `${error}: `}${rows.join('; ')}`;
}

class TooLarge extends Error {}

/** The compressed table, so that each attempt sends the same bytes; or why there is nothing to send. */
async function compress(csv: AsyncIterable<string>, signal: AbortSignal): Promise<Uint8Array | string> {
  const parts: Buffer[] = [];
  let size = 0;
  async function* counted(): AsyncGenerator<Buffer> {
    for await (const piece of utf8(csv)) {
      size += piece.length;
      if (size > LARGEST_LOOKUP) throw new TooLarge();
      yield piece;
    }
  }
  try {
    await pipeline(
      Readable.from(counted(), { objectMode: false }),
      createGzip({ chunkSize: PIECE }),
      async (zipped: AsyncIterable<Buffer>) => {
        for await (const part of zipped) parts.push(part);
      },
      { signal },
    );
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TooLarge)
      return 'The table is larger than the 100 MB that Mixpanel takes as one lookup table.';
    throw error;
  }
  return size === 0 ? 'The table has not even a header.' : Buffer.concat(parts);
}

const PIECE = 64 * 1024;

/** Small texts are joined; a character that two texts share is not torn. */
async function* utf8(csv: AsyncIterable<string>): AsyncGenerator<Buffer> {
  let waiting = '';
  for await (const chunk of csv) {
    waiting += chunk;
    if (waiting.length < PIECE) continue;
    const last = waiting.charCodeAt(waiting.length - 1);
    const end = last >= 0xd800 && last <= 0xdbff ? waiting.length - 1 : waiting.length;
    yield Buffer.from(waiting.slice(0, end));
    waiting = waiting.slice(end);
  }
  if (waiting !== '') yield Buffer.from(waiting);
}
