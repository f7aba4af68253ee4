import { afterEach } from 'vitest';
import type { Sandbox, SandboxOptions } from '../runtime/sandbox/server.ts';
import { openSandbox, serveSandbox } from '../runtime/sandbox/server.ts';

export const NOW = Date.UTC(2026, 0, 2, 12);
export const AUTH = `Basic ${Buffer.from('account:secret').toString('base64')}`;

const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

export interface Send {
  readonly method?: string;
  /** A text or bytes as they are, a form, or anything that becomes JSON. */
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

export interface Served {
  readonly sandbox: Sandbox;
  readonly send: (path: string, options?: Send) => Promise<Answer>;
}

/** A sandbox in memory behind a socket, closed after the test. */
export async function serve(options: Partial<SandboxOptions> = {}): Promise<Served> {
  const sandbox = await openSandbox({ path: ':memory:', now: () => NOW, random: () => 0.5, ...options });
  cleanups.push(() => sandbox.close());
  const server = await serveSandbox(sandbox, { port: 0 });
  cleanups.push(() => server.close());
  const send = async (path: string, { method, body, headers = {} }: Send = {}): Promise<Answer> => {
    const raw = typeof body === 'string' || body instanceof Uint8Array || body instanceof URLSearchParams;
    const response = await fetch(`http://127.0.0.1:${server.port}${path}`, {
      method: method ?? (body === undefined ? 'GET' : 'POST'),
      headers: { authorization: AUTH, ...(raw ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: raw ? (body as string) : JSON.stringify(body) }),
    });
    const text = await response.text();
    const json = text.startsWith('{') ? (JSON.parse(text.split('\n')[0] ?? '') as Record<string, unknown>) : {};
    return { status: response.status, headers: response.headers, text, json };
  };
  return { sandbox, send };
}
