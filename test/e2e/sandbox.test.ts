import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { connect as connectTls } from 'node:tls';
import { expect, onTestFinished, test } from 'vitest';
import { cli, project } from './cli.ts';

const MAIN = path.join(import.meta.dirname, '../../dist/runtime/cli/main.js');

test('sandbox --tls --proxy-port leads a client of Mixpanel to itself, and ends on SIGTERM', async () => {
  const dir = await project({});
  const args = ['sandbox', '--port', '0', '--tls', '--proxy-port', '0', '--ca-file', 'ca.pem', '--project', '7:tok'];
  const child = spawn(process.execPath, [MAIN, ...args], { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  let said = '';
  for await (const chunk of child.stderr as AsyncIterable<Buffer>) {
    said += chunk.toString();
    if (said.includes('proxy on ')) break;
  }
  expect(said).toMatch(/sandbox on https:\/\/127\.0\.0\.1:\d+, stored in sandbox\.duckdb\n/);
  const socket = connect(Number(/proxy on http:\/\/127\.0\.0\.1:(\d+)/.exec(said)?.[1]), '127.0.0.1');
  socket.write('CONNECT api.mixpanel.com:443 HTTP/1.1\r\n\r\n');
  await once(socket, 'data');
  const ca = await readFile(path.join(dir, 'ca.pem'), 'utf8');
  const secure = connectTls({ socket, servername: 'api.mixpanel.com', ca });
  const body = JSON.stringify({ $token: 'tok', $distinct_id: 'u1', $set: { a: 1 } });
  secure.write(
    `POST /engage HTTP/1.1\r\nhost: api.mixpanel.com\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
  );
  let answer = '';
  for await (const chunk of secure as AsyncIterable<Buffer>) answer += chunk.toString();
  expect(answer).toMatch(/\r\n\r\n1$/);
  child.kill('SIGTERM');
  expect(await once(child, 'exit')).toEqual([0, null]);
});

test.each([
  [['--proxy-port', '1'], '--proxy-port and --ca-file need --tls.'],
  [['--port', 'x'], '--port must be a port number.'],
  [['--tls', '--proxy-port', '70000'], '--proxy-port must be a port number.'],
  [['--project', 'x'], '--project cannot be read; see --help.'],
  [['--faults', 'nope=1'], 'The fault "nope" is unknown'],
])('sandbox %j is refused before anything starts', async (args, message) => {
  const ran = await cli(await project({}), 'sandbox', ...args);
  expect([ran.code, ran.err]).toEqual([2, expect.stringContaining(message)]);
});
