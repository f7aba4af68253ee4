import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { MAX_BYTES, MAX_CSV_BYTES } from './endpoint.ts';
import type { Reply, SandboxRequest } from './http.ts';
import { header } from './http.ts';

/** Answers one request; the sandbox, as far as serving it matters. */
export interface Answering {
  exchange(request: SandboxRequest): Promise<Reply | 'reset'>;
}

export interface ServeOptions {
  readonly port: number;
  readonly host?: string;
  /** PEM texts; with them the port speaks HTTPS. */
  readonly tls?: { readonly key: string; readonly cert: string };
}

export interface Serving {
  readonly port: number;
  close(): Promise<void>;
}

/** Serves a sandbox over HTTP or HTTPS; closing lets requests in flight end. */
export async function serveSandbox(sandbox: Answering, options: ServeOptions): Promise<Serving> {
  const running = new Set<Promise<void>>();
  const listener = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    const work = respond(sandbox, incoming, outgoing).finally(() => running.delete(work));
    running.add(work);
  };
  const server = options.tls
    ? createTlsServer({ ...options.tls, minVersion: 'TLSv1.2' }, listener)
    : createServer(listener);
  server.keepAliveTimeout = 60_000;
  const port = await listen(server, options.port, options.host ?? '127.0.0.1');
  return {
    port,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      const patience = new Promise((resolve) => setTimeout(resolve, 2000).unref());
      while (running.size > 0 && (await Promise.race([Promise.all(running), patience])) !== undefined);
      server.closeAllConnections();
      await closed;
    },
  };
}

async function respond(sandbox: Answering, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  try {
    const { method = '', url = '', headers } = incoming;
    const flat = Object.fromEntries(Object.entries(headers).map(([k, v]) => [k, Array.isArray(v) ? v.join(', ') : v]));
    const request = { method, url, headers: flat, body: await collect(incoming) };
    const reply = await sandbox.exchange(request);
    if (reply === 'reset') {
      incoming.socket.resetAndDestroy();
      return;
    }
    // A client that was killed meanwhile has closed already: nothing would ever say that the answer ended.
    if (outgoing.destroyed || incoming.socket.destroyed) return;
    if (typeof reply.body === 'string' || reply.body instanceof Uint8Array) await send(outgoing, reply, reply.body);
    else await stream(outgoing, reply, reply.body, header(request, 'accept-encoding') ?? '');
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (outgoing.headersSent) {
      outgoing.destroy();
      return;
    }
    outgoing.writeHead(500, { 'content-type': 'text/plain; charset=utf-8' });
    outgoing.end(message);
  }
}

async function send(outgoing: ServerResponse, reply: Reply, body: string | Uint8Array): Promise<void> {
  outgoing.writeHead(reply.status, { ...reply.headers, 'content-length': Buffer.byteLength(body) });
  await new Promise<void>((resolve) => {
    outgoing.once('close', resolve);
    outgoing.end(body, resolve);
  });
}

/** Replies up to this size are not compressed. Source: Mixpanel docs "Raw Data Export". */
const PLAIN_BYTES = 1400;

async function stream(
  outgoing: ServerResponse,
  reply: Reply,
  pieces: AsyncIterable<string>,
  accepts: string,
): Promise<void> {
  const iterator = pieces[Symbol.asyncIterator]();
  let start = '';
  let next = await iterator.next();
  while (next.done !== true && Buffer.byteLength(start) <= PLAIN_BYTES) {
    start += next.value;
    next = await iterator.next();
  }
  if (Buffer.byteLength(start) <= PLAIN_BYTES) return send(outgoing, reply, start);
  const rest = async function* (): AsyncGenerator<string> {
    yield start;
    for (let piece = next; piece.done !== true; piece = await iterator.next()) yield piece.value;
  };
  const zipped = /\bgzip\b/.test(accepts);
  outgoing.writeHead(reply.status, { ...reply.headers, ...(zipped ? { 'content-encoding': 'gzip' } : {}) });
  const source = Readable.from(rest(), { objectMode: false });
  if (zipped) await pipeline(source, createGzip(), outgoing);
  else await pipeline(source, outgoing);
}

/** Keeps no more of a body than it takes to see that it is too large. */
async function collect(incoming: IncomingMessage): Promise<Buffer> {
  const limit = /^[^?]*\/lookup-tables\//.test(incoming.url ?? '') ? MAX_CSV_BYTES : MAX_BYTES;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    if (size <= limit) chunks.push(chunk);
    size += chunk.length;
  }
  return Buffer.concat(chunks);
}

/** Starts listening; the port that was taken, or a sentence that says why not. */
export async function listen(server: Server, port: number, host: string): Promise<number> {
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why =
      code === 'EADDRINUSE' ? 'it is already in use. Choose another port, or end the program that has it' : message;
    throw new Error(`The sandbox cannot listen on ${host}:${port}: ${why}.`, { cause: error });
  }
  const address = server.address();
  return typeof address === 'object' && address ? address.port : port;
}
