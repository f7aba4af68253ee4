import type { IncomingHttpHeaders } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import { afterEach, expect } from 'vitest';
import { RunError } from '../runtime/errors.ts';
import type { MixpanelOptions } from '../runtime/mixpanel/import.ts';
import { createMixpanel } from '../runtime/mixpanel/import.ts';
import type { World } from '../runtime/world.ts';
import { realWorld } from '../runtime/world.ts';

export const START = Date.parse('2026-01-01T00:00:00Z');
export const SECRET = 's3cr3t-of-the-account';
export const TIMEOUT = 30_000;

/** Sleeps are recorded and move the clock; the request timeout runs only when a test lets it. */
export function fakeWorld(options: { readonly timeouts?: boolean; readonly random?: number } = {}) {
  const sleeps: number[] = [];
  let elapsed = 0;
  const world: World = {
    ...realWorld,
    now: () => START + elapsed,
    monotonic: () => elapsed,
    random: () => options.random ?? 0,
    sleep: (ms, signal) => {
      if (ms === TIMEOUT) return realWorld.sleep(options.timeouts ? 60 : 60_000, signal);
      if (signal?.aborted) return Promise.reject(signal.reason as Error);
      sleeps.push(ms);
      elapsed += ms;
      return Promise.resolve();
    },
  };
  return { world, sleeps, advance: (ms: number) => (elapsed += ms) };
}

const plain = (headers: IncomingHttpHeaders, raw: Buffer): string =>
  (headers['content-encoding'] === 'gzip' ? gunzipSync(raw) : raw).toString('utf8');

export interface Request {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly raw: Buffer;
}
export type Answer = { status: number; body?: unknown; headers?: Record<string, string> } | 'reset' | 'hang';

export const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

export async function server(answer: (request: Request, n: number) => Answer) {
  const requests: Request[] = [];
  const http = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      const raw = Buffer.concat(chunks);
      const request = {
        method: req.method ?? '',
        url: req.url ?? '',
        headers: req.headers,
        raw,
        body: plain(req.headers, raw),
      };
      requests.push(request);
      const a = answer(request, requests.length);
      if (a === 'hang') return;
      if (a === 'reset') return void req.socket.destroy();
      res.writeHead(a.status, a.headers);
      res.end(typeof a.body === 'string' ? a.body : JSON.stringify(a.body ?? {}));
    });
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    http.closeAllConnections();
    return promisify(http.close.bind(http))();
  });
  return { requests, host: `http://127.0.0.1:${(http.address() as AddressInfo).port}` };
}

export const ok = (n: number): Answer => ({ status: 200, body: { code: 200, num_records_imported: n, status: 'OK' } });
export const count = (request: Request): number => (JSON.parse(request.body) as unknown[]).length;
export const lines = (n: number): string[] =>
  Array.from({ length: n }, (_, i) => `{"event":"e","properties":{"i":${i}}}`);
export const joined = (n: number) => ({ body: lines(n).join('\n'), records: n });

export function client(world: World, host: string, options: Partial<MixpanelOptions> = {}) {
  return createMixpanel(world, {
    host,
    projectId: '42',
    serviceAccount: { username: 'user', secret: SECRET },
    ...options,
  });
}

export function watch(signal: AbortSignal = new AbortController().signal) {
  const calls: (string | number)[] = [];
  return {
    calls,
    signal,
    beforeRequest: () => void calls.push('before'),
    unanswered: (startedAt: number) => void calls.push(startedAt - START),
    answered: () => void calls.push('answered'),
  };
}

export async function failure(promise: Promise<unknown>): Promise<RunError> {
  const error: unknown = await promise.then(
    () => undefined,
    (e: unknown) => e,
  );
  if (!(error instanceof RunError)) throw new Error(`expected a RunError, got ${String(error)}`);
  expect(error.message).not.toContain(SECRET);
  return error;
}
