import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { connect } from 'node:net';
import { request } from 'node:https';
import { connect as connectTls } from 'node:tls';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import { MIXPANEL_HOSTS, serveProxy } from '../runtime/sandbox/proxy.ts';
import { openSandbox, serveSandbox } from '../runtime/sandbox/server.ts';
import type { SandboxTls } from '../runtime/sandbox/tls.ts';
import { makeTls } from '../runtime/sandbox/tls.ts';

async function served(): Promise<{ tls: SandboxTls; port: number; proxy: number; count: () => number }> {
  const sandbox = await openSandbox({ path: ':memory:' });
  onTestFinished(() => sandbox.close());
  const tls = await makeTls(Date.now());
  const server = await serveSandbox(sandbox, { port: 0, tls });
  onTestFinished(() => server.close());
  const proxy = await serveProxy({ port: 0, target: server.port });
  onTestFinished(() => proxy.close());
  return { tls, port: server.port, proxy: proxy.port, count: () => sandbox.counts.requests };
}

/** What the proxy says to a line, and what the tunnel's socket is. */
const say = (port: number, text: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    let answer = '';
    socket.on('data', (chunk) => (answer += chunk.toString()));
    socket.on('close', () => resolve(answer)).on('error', reject);
  });

describe('tls', () => {
  it('signs a certificate for every host of Mixpanel and for this machine', async () => {
    const { ca, cert } = await makeTls(Date.now());
    const [authority, leaf] = [new X509Certificate(ca), new X509Certificate(cert)];
    expect([authority.ca, leaf.ca, leaf.verify(authority.publicKey), leaf.checkIssued(authority)]).toEqual([
      true,
      false,
      true,
      true,
    ]);
    for (const host of [...MIXPANEL_HOSTS, 'localhost']) expect(leaf.checkHost(host)).toBe(host);
    expect(leaf.checkIP('127.0.0.1')).toBe('127.0.0.1');
    expect(leaf.checkHost('example.com')).toBeUndefined();
  });

  it('answers through the tunnel as if it were Mixpanel', async () => {
    const { tls, proxy } = await served();
    const socket = connect(proxy, '127.0.0.1');
    socket.write('CONNECT api-eu.mixpanel.com:443 HTTP/1.1\r\nHost: api-eu.mixpanel.com:443\r\n\r\n');
    const established = await new Promise<string>((resolve) => socket.once('data', (data) => resolve(data.toString())));
    expect(established).toBe('HTTP/1.1 200 Connection Established\r\n\r\n');
    const secure = connectTls({ socket, servername: 'api-eu.mixpanel.com', ca: tls.ca });
    const answer = await new Promise<string>((resolve, reject) => {
      secure.once('error', reject);
      let text = '';
      secure.on('data', (data: Buffer) => (text += data.toString())).on('close', () => resolve(text));
      secure.write('GET /track?data=e30= HTTP/1.1\r\nhost: api-eu.mixpanel.com\r\nconnection: close\r\n\r\n');
    });
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\n0$/);
  });

  it('answers without a proxy to a client that trusts the authority, in another process too', async () => {
    const { tls, port, count } = await served();
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const options = { host: '127.0.0.1', port, path: '/track', ca: tls.ca };
      request(options, (response) => resolve(response.resume().statusCode))
        .on('error', reject)
        .end();
    });
    expect(status).toBe(200);
    const script = `fetch('https://localhost:${port}/track').then(() => process.exit(0), (e) => { console.error(e.cause.code); process.exit(1); })`;
    await expect(promisify(execFile)(process.execPath, ['-e', script])).rejects.toThrow('SELF_SIGNED');
    expect(count()).toBe(1);
  });

  it.each([
    ['CONNECT example.com:443 HTTP/1.1\r\n\r\n', "Mixpanel's hosts only: example.com:443 is refused."],
    ['CONNECT evil-mixpanel.com:443 HTTP/1.1\r\n\r\n', 'evil-mixpanel.com:443 is refused.'],
    ['CONNECT api.mixpanel.com:80 HTTP/1.1\r\n\r\n', 'api.mixpanel.com:80 is refused.'],
    ['GET http://api.mixpanel.com/track HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n', 'takes CONNECT only'],
  ])('refuses %j', async (line, reason) => {
    const { proxy } = await served();
    const answer = await say(proxy, line);
    expect(answer).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
    expect(answer).toContain(reason);
  });
});
