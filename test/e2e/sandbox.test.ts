import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { connect as connectTls } from 'node:tls';
import { expect, onTestFinished, test } from 'vitest';
import { cli, duck, project } from './cli.ts';

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

/** Starts the command; its port, and how it ends. */
async function served(dir: string, ...args: string[]) {
  const child = spawn(process.execPath, [MAIN, 'sandbox', ...args], { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  const [said] = (await once(child.stderr, 'data')) as [Buffer];
  const port = /on http:\/\/127\.0\.0\.1:(\d+)/.exec(said.toString())?.[1] ?? '';
  const ask = async (at: string, method: string, body?: string, user = 'bot:s', headers = {}) => {
    const authorization = `Basic ${Buffer.from(user).toString('base64')}`;
    const answer = await fetch(`http://127.0.0.1:${port}${at}`, {
      method,
      headers: { authorization, 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body }),
    });
    return { status: answer.status, retry: answer.headers.get('retry-after'), text: await answer.text() };
  };
  const end = async (signal: 'SIGTERM' | 'SIGINT'): Promise<unknown> => {
    child.kill(signal);
    return (await once(child, 'exit')) as unknown;
  };
  return { said: said.toString(), port, ask, end };
}
const event = (id: string): object => ({
  event: 'E',
  properties: { time: Date.parse('2024-01-01'), distinct_id: 'u', $insert_id: id },
});

test('sandbox: each switch of --help does what it says', async () => {
  const dir = await project({});
  const help = (await cli(dir, 'sandbox', '--help')).out;
  expect([...help.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, flag]) => flag)).toEqual([
    ...['--port', '--file', '--discard', '--faults', '--project', '--account', '--lookup-table'],
    // The test above.
    ...['--tls', '--ca-file', '--proxy-port'],
  ]);

  const known = ['--project', '7:tok', '8:kot:sec', '--account', 'bot:s', 'eve:t', '--lookup-table', 't1=Songs', 't2'];
  const box = ['--port', '0', '--file', 'kept.duckdb', ...known];
  const first = await served(dir, ...box, '--faults', '429=1x,retry-after=3,refuse=bad');
  expect(first.said).toBe(`sandbox on http://127.0.0.1:${first.port}, stored in kept.duckdb\n`);
  const send = (ids: string[], project = '7', user?: string) =>
    first.ask(`/import?strict=1&project_id=${project}`, 'POST', JSON.stringify(ids.map(event)), user);
  expect(await send(['a', 'bad'])).toMatchObject({ status: 429, retry: '3' });
  const refused = await send(['a', 'bad']);
  expect([refused.status, JSON.parse(refused.text)]).toMatchObject([
    400,
    { num_records_imported: 1, failed_records: [{ index: 1, insert_id: 'bad' }] },
  ]);
  expect((await send(['b'], '8', 'eve:t')).status).toBe(200);
  expect((await send(['c'], '7', 'bot:wrong')).status).toBe(401);
  expect((await send(['c'], '9')).status).toBe(401);
  const tables = await first.ask('/lookup-tables?project_id=7', 'GET');
  expect([tables.status, JSON.parse(tables.text)]).toMatchObject([
    200,
    {
      results: [
        { id: 't1', name: 'Songs' },
        { id: 't2', name: 't2' },
      ],
    },
  ]);
  const csv = { 'content-type': 'text/csv' };
  const put = (id: string) => first.ask(`/lookup-tables/${id}?project_id=7`, 'PUT', 'id,name\n1,A', 'bot:s', csv);
  expect([(await put('t1')).status, (await put('t3')).status]).toEqual([200, 404]);
  expect(await first.end('SIGINT')).toEqual([0, null]);
  const kept = `select project, insert_id from events order by insert_id`;
  const both = [
    { project: '7', insert_id: 'a' },
    { project: '8', insert_id: 'b' },
  ];
  expect(await duck(path.join(dir, 'kept.duckdb'), kept)).toEqual(both);

  // The same file goes on; without faults nothing goes wrong.
  const again = await served(dir, ...box.slice(2), '--port', first.port);
  expect(again.port).toBe(first.port);
  const more = await again.ask('/import?strict=1&project_id=7', 'POST', JSON.stringify([event('bad')]));
  expect(more.status).toBe(200);
  expect(await again.end('SIGTERM')).toEqual([0, null]);
  const [, ...rest] = await duck(path.join(dir, 'kept.duckdb'), kept);
  expect(rest).toEqual([both[1], { project: '7', insert_id: 'bad' }]);

  const discarding = await served(dir, '--port', '0', '--discard', '--file', 'never.duckdb');
  expect(discarding.said).toContain(' (discarding)\n');
  const counted = await discarding.ask('/import?strict=1&project_id=1', 'POST', JSON.stringify([event('a')]), 'x:y');
  expect([counted.status, JSON.parse(counted.text)]).toMatchObject([200, { num_records_imported: 1 }]);
  const days = 'from_date=2024-01-01&to_date=2024-01-01';
  expect(await discarding.ask(`/api/2.0/export?project_id=1&${days}`, 'GET')).toMatchObject({ status: 200, text: '' });
  await discarding.end('SIGTERM');
  expect((await readdir(dir)).sort()).toEqual(['kept.duckdb']);
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
