import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';

/** A request, from a socket or from the same process. Header names may have any case. */
export interface SandboxRequest {
  method: string;
  url: string;
  headers: Record<string, string | undefined>;
  body: Uint8Array;
}

/** An answer; header names are lower case. */
export interface SandboxResponse {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** An answer as the endpoints make it: a picture is bytes, an export comes in pieces. */
export interface Reply {
  status: number;
  headers: Record<string, string>;
  body: string | Uint8Array | AsyncIterable<string>;
}

/** Why a request is refused, before it is put into the words of the endpoint's {@link Family}. */
export interface Refusal {
  readonly refused: keyof typeof STATUS;
  readonly error: string;
}

/** Source: Mixpanel OpenAPI "ingestion" (StrictReceived, StrictInvalid, StrictUnauthorized, StrictTooLarge). */
export const STATUS = {
  200: 'OK',
  400: 'Bad Request',
  401: 'Unauthorized',
  404: 'Not Found',
  405: 'Method Not Allowed',
  413: 'Request Entity Too Large',
  429: 'Too Many Requests',
} as const;

export const refusal = (refused: keyof typeof STATUS, error: string): Refusal => ({ refused, error });

export const isRefusal = (value: object): value is Refusal => 'refused' in value;

/** How an endpoint words a refusal. Sources: Mixpanel OpenAPI "ingestion", "query", "export" and the App API files. */
export type Family = 'strict' | 'legacy' | 'query' | 'app';

/** An answer that is JSON. */
export const json = (status: number, body: unknown): Reply => ({
  status,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
});

export const text = (status: number, body: string, type = 'text/plain; charset=utf-8'): Reply => ({
  status,
  headers: { 'content-type': type },
  body,
});

/** The words of strict ingestion: `/import` and `/lookup-tables`. Source: Mixpanel OpenAPI "ingestion". */
export const failure = (code: Exclude<keyof typeof STATUS, 200>, error: string, more: object = {}): Reply =>
  json(code, { code, error, ...more, status: STATUS[code] });

/** Puts a refusal into the words of a family. Only 401 and 403 of the legacy family are documented. */
export function refuse(family: Family, { refused, error }: Refusal, request: string): Reply {
  if (family === 'query') return json(refused, { request, error });
  if (family === 'app' || (family === 'legacy' && refused === 401)) return json(refused, { error, status: 'error' });
  return json(refused, { code: refused, error, status: STATUS[refused] });
}

export const badGateway = (status: number): Reply =>
  text(
    status,
    `<html><head><title>${status} Server Error</title></head><body><h1>Error: Server Error</h1></body></html>`,
    'text/html; charset=utf-8',
  );

export const header = (request: SandboxRequest, name: string): string | undefined =>
  request.headers[name] ??
  Object.entries(request.headers).find(([given, value]) => value !== undefined && given.toLowerCase() === name)?.[1];

const inflate = promisify<Uint8Array, { maxOutputLength: number; chunkSize: number }, Buffer>(gunzip);

/** The inflated body, or the refusal. Only gzip is documented; clients send an empty `Content-Encoding` too. */
export async function readBody(request: SandboxRequest, maxBytes: number): Promise<Uint8Array | Refusal> {
  const encoding = header(request, 'content-encoding')?.trim().toLowerCase() ?? '';
  const tooLarge = refusal(413, `request exceeds max limit of ${maxBytes} bytes`);
  if (encoding === 'identity' || encoding === '') return request.body.length > maxBytes ? tooLarge : request.body;
  if (encoding !== 'gzip') return refusal(400, `content encoding ${encoding} is not supported`);
  try {
    return await inflate(request.body, { maxOutputLength: maxBytes, chunkSize: 256 * 1024 });
  } catch (error) {
    const large = error instanceof Error && 'code' in error && error.code === 'ERR_BUFFER_TOO_LARGE';
    return large ? tooLarge : refusal(400, 'request body is not valid gzip');
  }
}

/** The whole body as one text, for callers in the same process. */
export async function whole(reply: Reply): Promise<SandboxResponse> {
  const { status, headers, body } = reply;
  if (typeof body === 'string') return { status, headers, body };
  if (body instanceof Uint8Array) return { status, headers, body: Buffer.from(body).toString('latin1') };
  const pieces: string[] = [];
  for await (const piece of body) pieces.push(piece);
  return { status, headers, body: pieces.join('') };
}
