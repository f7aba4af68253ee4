import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdir, readFile, rm, truncate, writeFile, chmod } from 'node:fs/promises';
import path from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { describe, expect, test } from 'vitest';
import type { Ran } from './cli.ts';
import { cli, cliIn, duck, ORDINARY, project, SECRET, shop, SYNC, told, YML } from './cli.ts';
import { openSandbox, serveSandbox } from '../../runtime/sandbox/server.ts';

const remote = (host: string): string =>
  YML.replace(
    'mixpanel: sandbox',
    `mixpanel: { host: '${host}', project_id: 7, service_account: { username: bot, secret: "{{ env_var('MP_SECRET') }}" }, retry: { initial: 1ms, max: 2ms, attempts: 2 }, request_timeout: 4s }`,
  );

/** A web server that is not Mixpanel. */
async function elsewhere<T>(status: number, body: string, use: (host: string) => Promise<T>): Promise<T> {
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(status, { 'content-type': 'text/html' }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

/** What a sync remembers, of which a command that failed early must change nothing. */
const state = (dir: string): Promise<Record<string, unknown>[]> =>
  duck(
    path.join(dir, 'warehouse.duckdb'),
    "select count(*)::int as n from duckdb_tables() where schema_name = 'mixpanel'",
  );

describe('Mixpanel', () => {
  test('a host that refuses, answers HTML, 404 or a redirect, or takes no credentials: nothing is sent or changed', async () => {
    const env = { MP_SECRET: SECRET };
    const dir = await shop();
    const point = async (host: string): Promise<Ran> => {
      await writeFile(path.join(dir, 'syncline.yml'), remote(host));
      return cliIn({ cwd: dir, env }, 'apply');
    };
    told(await point('http://127.0.0.1:9999'), 1, 'error[mixpanel-unreachable]', 'ECONNREFUSED', 'Check the target');
    for (const [status, text] of [
      [200, 'does not answer as Mixpanel does (status 200, no JSON)'],
      [404, 'has no /import (status 404). Check the host and the region'],
      [302, 'answers with a redirect (status 302)'],
      [405, 'answered /import with status 405 (Hello)'],
    ] as const)
      told(await elsewhere(status, '<html>Hello</html>', point), 1, 'error[mixpanel-rejected]', text);
    const sandbox = await openSandbox({ path: ':memory:' });
    const server = await serveSandbox(sandbox, { port: 0 });
    try {
      const host = `http://127.0.0.1:${server.port}`;
      await writeFile(path.join(dir, 'syncline.yml'), remote(host).replace('project_id: 7', 'project_id: ""'));
      told(await cliIn({ cwd: dir, env }, 'apply'), 1, 'needs to know its Mixpanel project. Set project_id');
      await writeFile(path.join(dir, 'syncline.yml'), remote(host).replace('username: bot', 'username: ""'));
      told(
        await cliIn({ cwd: dir, env }, 'apply'),
        1,
        'error[mixpanel-unauthorized]',
        'status 401',
        'Check the service account',
      );
      expect(sandbox.counts.records).toBe(0);
      expect(await state(dir)).toEqual([{ n: 0 }]);
      const right = await point(host);
      told(right, 0, 'run 1 done: 3 inserts');
      expect(sandbox.counts.records).toBe(3);
    } finally {
      await server.close();
      await sandbox.close();
    }
  });

  test('a host that is down while a run goes on leaves a run that the next apply finishes', async () => {
    const env = { MP_SECRET: SECRET };
    const dir = await shop();
    await cli(dir, 'setup', '--execute');
    let answers = 0;
    const server = createServer((request, response) => {
      request.resume();
      if (answers++ === 0) response.writeHead(400).end('{"error":"data, missing or empty","status":0}');
      else response.writeHead(503, { 'content-type': 'text/html' }).end('<html>down</html>');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    await writeFile(path.join(dir, 'syncline.yml'), remote(`http://127.0.0.1:${port}`));
    told(
      await cliIn({ cwd: dir, env }, 'apply'),
      1,
      'error[retries-exhausted]',
      'status 503',
      'the next apply finishes this run',
    );
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    const sandbox = await openSandbox({ path: ':memory:' });
    const again = await serveSandbox(sandbox, { port });
    try {
      const ran = await cliIn({ cwd: dir, env }, 'apply');
      told(ran, 0, 'finishing interrupted run 1', 'run 1 done: 3 inserts', 'nothing changed');
      expect(sandbox.counts.records).toBe(3);
    } finally {
      await again.close();
      await sandbox.close();
    }
  });

  test('a sandbox file that is in use or no database, and a port in use', async () => {
    const dir = await shop();
    await writeFile(path.join(dir, 'sandbox.duckdb'), 'x'.repeat(20_000));
    told(await cli(dir, 'apply'), 1, 'error[mixpanel-unreachable]', 'sandbox.duckdb cannot be opened');
    told(await cli(dir, 'sandbox', '--port', '0'), 1, 'The sandbox file sandbox.duckdb cannot be opened');
    await rm(path.join(dir, 'sandbox.duckdb'));
    const held = await DuckDBInstance.create(path.join(dir, 'sandbox.duckdb'));
    told(await cli(dir, 'apply'), 1, 'error[mixpanel-unreachable]', 'sandbox.duckdb is in use by another process (PID');
    held.closeSync();
    await elsewhere(200, '', async (host) => {
      const { port } = new URL(host);
      told(
        await cli(dir, 'sandbox', '--discard', '--port', port),
        1,
        `cannot listen on 127.0.0.1:${port}: it is already in use`,
      );
    });
    expect(await state(dir)).toEqual([{ n: 0 }]);
  });
});

test('flags, variables and environment: exit code 2, before any connection', async () => {
  const dir = await project({
    'syncline.yml': YML.replace('warehouse.duckdb', 'nowhere.duckdb'),
    'syncs/shop.yml': `${SYNC}  - { name: log, kind: events, mode: append, source: { relation: orders }, event: E, time: t, insert_time: t }\n`,
  });
  const columns = [
    { name: 'id', type: 'INTEGER' },
    { name: 't', type: 'TIMESTAMP' },
  ];
  await writeFile(
    path.join(dir, 'syncline.lock.json'),
    JSON.stringify({ lockVersion: 1, targets: { dev: { sources: { orders: { columns } } } } }),
  );
  const cases: [string[], string][] = [
    [['apply', '--bogus'], "unknown option '--bogus'\n(run with --help for the flags)"],
    [['aply'], "unknown command 'aply'"],
    [['apply', 'purchases'], 'There is no preview file purchases'],
    [['apply', '--lock-timeout', 'soon'], '--lock-timeout must be a number of seconds.'],
    [['apply', '--lock-timeout', ''], '--lock-timeout must be a number of seconds.'],
    [['apply', '--select', 'purchase'], 'No sync matches purchase. Did you mean purchases? `syncline ls` lists them.'],
    [
      ['apply', '--select', 'tag:x', 'nobody', '--exclude', 'log'],
      'No sync matches --select and --exclude. `syncline ls` lists them.',
    ],
    [
      ['apply', '--resend', 'purchase'],
      '--resend, --forward and --abandon take names of selected syncs, and purchase is',
    ],
    [['apply', '--resend', 'purchases', '--forward', 'purchases'], '--resend and --forward both name purchases'],
    [['apply', '--resend', 'log'], 'and log is mode append: --backfill FROM..TO sends its rows again.'],
    [['lock', '--select', 'purchase'], 'No sync matches purchase. Did you mean purchases? `syncline ls` lists them.'],
    [['apply', '--target', 'prod'], 'there is no target `prod`'],
    [['apply', '--vars', '['], '--vars must be a YAML map, such as "{name: value}".'],
    [['apply', '--vars', 'x'], '--vars must be a YAML map'],
    [['apply', '--vars', '{x: {y: 1}}'], '--vars: x must be a text, a number or a boolean.'],
    [['plan', '--output', 'xml'], 'Allowed choices are text, json.'],
    [['plan', '--log-format', 'xml'], 'Allowed choices are text, json.'],
    [['show', 'nobody'], 'There is no sync nobody. `syncline ls` lists them.'],
    [['show'], "missing required argument 'sync'"],
    [['sandbox', '--port', 'http'], '--port must be a port number.'],
    [['sandbox', '--faults', 'rain=1'], '--faults: '],
    [['init'], `There is already a syncline.yml in ${dir}. Nothing was written; choose an empty folder.`],
  ];
  const rans = await inPairs(cases, ([args]) => cli(dir, ...args));
  for (const [i, ran] of rans.entries()) told(ran, 2, cases[i]![1]);
  await writeFile(path.join(dir, 'syncline.yml'), remote('http://127.0.0.1:1'));
  const unset = await cli(dir, 'apply');
  told(unset, 2, 'error[env-var-unset]: environment variable MP_SECRET is not set', 'hint: export MP_SECRET');
  expect(unset.err.match(/error\[/g)).toHaveLength(1);
  await rm(path.join(dir, 'syncline.yml'));
  await mkdir(path.join(dir, 'syncline.yml'));
  told(await cli(dir, 'apply'), 2, 'syncline.yml cannot be read: a folder is in its place.');
  told(
    await cli(path.join(dir, 'syncs'), 'apply'),
    2,
    `error[file-missing]: there is no syncline.yml in ${path.join(dir, 'syncs')}`,
  );
});

/** Two at a time: the machine has two cores, and starting takes most of the time. */
async function inPairs<T, R>(list: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let i = 0; i < list.length; i += 2) results.push(...(await Promise.all(list.slice(i, i + 2).map(run))));
  return results;
}

describe('the database file', () => {
  test('of a newer or older storage version, truncated, no database, a folder, missing', async () => {
    const dir = await shop();
    const file = path.join(dir, 'warehouse.duckdb');
    const good = await readFile(file);
    for (const [version, advice] of [
      [
        69n,
        'has storage version 69, this syncline reads 64 to 68. Upgrade syncline, or write the file with an older DuckDB.',
      ],
      [20n, 'has storage version 20, this syncline reads 64 to 68. Write the file with a newer DuckDB.'],
    ] as const) {
      await writeFile(file, withVersion(good, version));
      told(await cli(dir, 'apply'), 1, 'error[warehouse-unavailable]', advice);
      expect(await readFile(file)).toEqual(withVersion(good, version));
    }
    for (const size of [0, 100, 13_000]) {
      await writeFile(file, good);
      await truncate(file, size);
      told(
        await cli(dir, 'apply'),
        1,
        'error[warehouse-unavailable]',
        'cannot be opened: IO Error',
        'Check that the path',
      );
    }
    await writeFile(file, 'select 1;\n');
    told(await cli(dir, 'plan'), 1, 'error[warehouse-unavailable]', 'not a valid DuckDB database file. Check that');
    await rm(file);
    await mkdir(file);
    told(await cli(dir, 'plan'), 1, 'error[warehouse-unavailable]', 'Is a directory. Check that');
    await rm(file, { recursive: true });
    told(await cli(dir, 'plan'), 1, 'There is no database file warehouse.duckdb. Check `path:` of the target.');
    await writeFile(file, good);
    told(await cli(dir, 'apply'), 0, '3 inserts');
  });

  test('that may only be read: plan works, apply says so', async () => {
    const dir = await shop();
    await chmod(path.join(dir, 'warehouse.duckdb'), 0o444);
    told(await cliIn({ cwd: dir, under: ORDINARY }, 'plan'), 0);
    told(
      await cliIn({ cwd: dir, under: ORDINARY }, 'apply'),
      1,
      'error[warehouse-unavailable]',
      'Permission denied',
      'may be read and written',
    );
    await chmod(path.join(dir, 'warehouse.duckdb'), 0o000);
    told(
      await cliIn({ cwd: dir, under: ORDINARY }, 'plan'),
      1,
      'error[warehouse-unavailable]',
      'Permission denied',
      'may be read.',
    );
  });

  test('that another process holds: the wait is told, its end too', async () => {
    const dir = await shop();
    const held = await DuckDBInstance.create(path.join(dir, 'warehouse.duckdb'));
    for (const command of ['apply', 'status', 'plan', 'rejects'])
      told(
        await cli(dir, command, '--lock-timeout', '0.3'),
        1,
        `is in use by another process (PID ${process.pid}); waiting`,
        'error[file-locked]',
        'Wait for it to end, or raise --lock-timeout.',
      );
    held.closeSync();
    expect(await state(dir)).toEqual([{ n: 0 }]);
  });
});

/** The main header holds a checksum, `DUCK` and the storage version, 64 bits each but for the word. */
function withVersion(file: Buffer, version: bigint): Buffer {
  const patched = Buffer.from(file);
  patched.writeBigUInt64LE(version, 12);
  let sum = 5381n;
  for (let i = 8; i < 4096; i += 8) sum ^= BigInt.asUintN(64, patched.readBigUInt64LE(i) * 0xbf58476d1ce4e5b9n);
  patched.writeBigUInt64LE(sum, 0);
  return patched;
}

test('the state of a sync that is declared no more, or by another name, is told by plan and status', async () => {
  const dir = await shop();
  expect((await cli(dir, 'apply', '-q')).code).toBe(0);
  await writeFile(path.join(dir, 'syncs/shop.yml'), SYNC.replace('purchases', 'sales'));
  const orphan = 'warning: mixpanel has the state of purchases, which the project does not declare.';
  told(await cli(dir, 'plan'), 0, orphan);
  told(await cli(dir, 'status'), 0, orphan);
  await writeFile(path.join(dir, 'syncs/shop.yml'), SYNC);
  expect((await cli(dir, 'plan')).err).not.toContain('does not declare');
  // What is left of a sync whose state somebody dropped.
  await writeFile(path.join(dir, 'syncs/shop.yml'), SYNC.replace('purchases', 'sales'));
  await duck(path.join(dir, 'warehouse.duckdb'), 'drop table mixpanel.purchases__state');
  const rest = 'warning: mixpanel has tables of purchases, which the project does not declare, and no state of it.';
  told(await cli(dir, 'plan'), 0, rest);
  told(await cli(dir, 'status'), 0, rest);
});
