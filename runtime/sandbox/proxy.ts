import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Serving } from './serve.ts';
import { listen } from './serve.ts';

/** The hosts of all regions. Sources: Mixpanel OpenAPI files; docs "EU Residency", "IN Residency". */
export const MIXPANEL_HOSTS: readonly string[] = [
  ...['api', 'api-eu', 'api-in', 'api-js', 'data', 'data-eu', 'data-in', 'eu', 'in'].map(
    (name) => `${name}.mixpanel.com`,
  ),
  'mixpanel.com',
];

/** A proxy that leads Mixpanel's hosts to a sandbox that speaks TLS, and refuses every other host. */
export async function serveProxy(options: {
  readonly port: number;
  readonly host?: string;
  /** Port of the sandbox on this machine. */
  readonly target: number;
}): Promise<Serving> {
  const sockets = new Set<Duplex>();
  const keep = (socket: Duplex): void => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  };
  const server = createServer((request, response) => {
    response.writeHead(403, { 'content-type': 'text/plain; charset=utf-8' });
    response.end(
      `The sandbox proxy takes CONNECT only, as Mixpanel takes HTTPS only: ${String(request.url)} is refused.\n`,
    );
  });
  server.on('connect', (request, client: Socket, head) => {
    keep(client);
    const [, host = '', port = ''] = /^(.+):(\d+)$/.exec(request.url ?? '') ?? [];
    if (port !== '443' || !MIXPANEL_HOSTS.includes(host.toLowerCase())) {
      const line = `The sandbox proxy leads to Mixpanel's hosts only: ${String(request.url)} is refused.\n`;
      client.end(
        `HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: ${Buffer.byteLength(line)}\r\nconnection: close\r\n\r\n${line}`,
      );
      return;
    }
    const upstream = connect(options.target, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      upstream.write(head);
      upstream.pipe(client).pipe(upstream);
    });
    keep(upstream);
    upstream.once('close', () => client.destroy());
    client.once('close', () => upstream.destroy());
  });
  const port = await listen(server, options.port, options.host ?? '127.0.0.1');
  return {
    port,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
