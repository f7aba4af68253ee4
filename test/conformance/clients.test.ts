import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import { serveProxy } from '../../runtime/sandbox/proxy.ts';
import type { Sandbox } from '../../runtime/sandbox/server.ts';
import { openSandbox, serveSandbox } from '../../runtime/sandbox/server.ts';
import { makeTls } from '../../runtime/sandbox/tls.ts';

const run = promisify(execFile);
const CLIENTS = path.join(import.meta.dirname, 'clients');
const TIME = Date.UTC(2026, 0, 2, 12);

type Properties = Record<string, unknown>;
interface Event {
  readonly event: string;
  readonly properties: Properties;
}

/** More than two batches of 50, and texts that base64 and forms could break. */
const events = (time: (index: number) => number): Event[] =>
  Array.from({ length: 120 }, (_, index) => ({
    event: index % 2 ? 'Bought & paid' : 'Sah ümläut +/=%',
    properties: {
      time: time(index),
      distinct_id: `user ${index % 7}`,
      $insert_id: `row-${index}`,
      text: `>>>???~~~ ${index} é😀 "quoted" \\ \n line`,
      number: index + 0.5,
      list: ['a', index],
      object: { deep: { er: true } },
    },
  }));

interface Machine {
  readonly sandbox: Sandbox;
  readonly dir: string;
  readonly ca: string;
  readonly port: number;
  readonly proxy: number;
}

async function machine(secret = 'secret'): Promise<Machine> {
  const dir = await mkdtemp(path.join(tmpdir(), 'syncline-clients-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const sandbox = await openSandbox({
    path: path.join(dir, 'sandbox.duckdb'),
    access: { projects: [{ id: '7', token: 'tok' }], accounts: { account: secret } },
    lookupTables: { products: 'Products' },
  });
  onTestFinished(() => sandbox.close());
  const tls = await makeTls(Date.now());
  const server = await serveSandbox(sandbox, { port: 0, tls });
  onTestFinished(() => server.close());
  const proxy = await serveProxy({ port: 0, target: server.port });
  onTestFinished(() => proxy.close());
  const ca = path.join(dir, 'ca.pem');
  await writeFile(ca, tls.ca);
  return { sandbox, dir, ca, port: server.port, proxy: proxy.port };
}

async function input({ dir }: Machine, given: object): Promise<string> {
  const file = path.join(dir, 'input.json');
  await writeFile(file, JSON.stringify(given));
  return file;
}

/** Runs a client of npm: it trusts the authority, and its connections to Mixpanel end here. */
async function node(on: Machine, script: string, given: object): Promise<void> {
  const args = ['--import', path.join(CLIENTS, 'redirect.mjs'), path.join(CLIENTS, script), await input(on, given)];
  const env = { PATH: process.env['PATH'], NODE_EXTRA_CA_CERTS: on.ca, SANDBOX_PORT: String(on.port) };
  await run(process.execPath, args, { env, cwd: on.dir, maxBuffer: 1 << 26 });
}

/** Runs a client of PyPI behind the proxy. */
async function python(on: Machine, script: string, given: object, ...more: string[]): Promise<void> {
  const env = {
    PATH: process.env['PATH'],
    HTTPS_PROXY: `http://127.0.0.1:${on.proxy}`,
    REQUESTS_CA_BUNDLE: on.ca,
    SSL_CERT_FILE: on.ca,
    PYTHONUTF8: '1',
  };
  const args = [path.join(CLIENTS, script), await input(on, given), ...more];
  await run(path.join(VENV, 'bin/python'), args, { env, cwd: on.dir, maxBuffer: 1 << 26 });
}

const PACKAGES = ['mixpanel==5.4.1', 'mixpanel-utils==2.2.7'];
const VENV = path.join(tmpdir(), `syncline-venv-${PACKAGES.join('-').replaceAll('=', '')}`);

/** Makes the environment once; why there is none, or undefined. */
async function noPython(): Promise<string | undefined> {
  const ready = path.join(VENV, 'ready');
  if (existsSync(ready)) return undefined;
  try {
    await run('python3', ['-m', 'venv', '--clear', VENV]);
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--retries', '8', '--timeout', '30'];
    for (const attempt of [1, 2, 3])
      try {
        await run(path.join(VENV, 'bin/python'), [...pip, ...PACKAGES]);
        break;
      } catch (error) {
        if (attempt === 3) throw error;
      }
    await writeFile(ready, '');
    return undefined;
  } catch (error) {
    const why = `python3 with ${PACKAGES.join(' and ')} is not there: ${error instanceof Error ? error.message : String(error)}`;
    if (process.env['CI'] !== undefined) throw new Error(why, { cause: error });
    process.stderr.write(`SKIPPED ${why}\n`);
    return why;
  }
}

/** Events of /import as they are stored, without what the client itself adds. */
async function stored(sandbox: Sandbox, given: readonly Event[]): Promise<Event[]> {
  const rows = await sandbox.query("select * from events_raw where endpoint = '/import' and project = '7'");
  const names = Object.keys(given[0]!.properties);
  const found = rows.map((row) => {
    const properties = JSON.parse(String(row['properties'])) as Properties;
    const kept = Object.fromEntries(Object.entries(properties).filter(([name]) => names.includes(name)));
    return {
      event: String(row['event']),
      properties: { ...kept, time: row['time_ms'], distinct_id: row['distinct_id'], $insert_id: row['insert_id'] },
    };
  });
  return byId(found);
}

const byId = (list: readonly Event[]): Event[] =>
  [...list].sort((a, b) => String(a.properties['$insert_id']).localeCompare(String(b.properties['$insert_id'])));

const inMs = (given: readonly Event[]): Event[] =>
  byId(
    given.map(({ event, properties }) => ({
      event,
      properties: { ...properties, time: Number(properties['time']) * 1000 },
    })),
  );

const propertiesById = (rows: readonly Record<string, unknown>[]): Properties =>
  Object.fromEntries(rows.map((row): [string, unknown] => [String(row['id']), JSON.parse(String(row['properties']))]));

async function profiles(sandbox: Sandbox): Promise<Properties> {
  const rows = await sandbox.query('select distinct_id as id, properties from profiles');
  return propertiesById(rows);
}

async function groups(sandbox: Sandbox): Promise<Properties> {
  const rows = await sandbox.query("select group_key || '/' || group_id as id, properties from groups");
  return propertiesById(rows);
}

/** What both official SDKs send by the same sequence of calls. */
async function expectSdk(sandbox: Sandbox, given: readonly Event[]): Promise<void> {
  expect(await stored(sandbox, given)).toEqual(inMs(given));
  const tracked = await sandbox.query(
    "select event, distinct_id as id, properties->>'text' as text, properties->>'n' as n from events_raw where endpoint = '/track' order by event, n",
  );
  expect(tracked).toEqual([
    ...['1', '2', '3'].map((n) => ({ event: 'Batch', id: 'u1', text: null, n })),
    { event: 'Tracked', id: 'u1', text: '>>>???é', n: null },
  ]);
  expect(await profiles(sandbox)).toEqual({
    u1: {
      name: 'Ann',
      list: ['a', 'a'],
      first: 'kept',
      n: 5,
      $transactions: [{ $amount: 9.5, $time: '2026-01-02T00:00:00' }],
    },
  });
  expect(await groups(sandbox)).toEqual({ 'company/acme': { plan: 'pro', since: 2020, tags: ['a'] } });
}

const seconds = (index: number): number => TIME / 1000 + index;

describe('npm mixpanel', () => {
  it.each([true, false])('sends everything, verbose=%s', async (verbose) => {
    const on = await machine();
    const given = events(seconds);
    await node(on, 'mixpanel.mjs', { events: given, plain: !verbose });
    await expectSdk(on.sandbox, given);
  });
});

it('npm mixpanel says that its account is refused', async () => {
  const on = await machine('another secret');
  await expect(node(on, 'mixpanel.mjs', { events: events(seconds) })).rejects.toThrow('Invalid credentials');
  expect(await on.sandbox.query('from events_raw')).toEqual([]);
});

describe('npm mixpanel-import', () => {
  it.each(['undici', 'got'])('sends events, users, groups and a table by %s', async (transport) => {
    const on = await machine();
    const given = events((index) => TIME + index);
    const people = Array.from({ length: 30 }, (_, n) => ({ $distinct_id: `u${n}`, $set: { n, text: `é ${n}` } }));
    const companies = Array.from({ length: 3 }, (_, n) => ({ $group_id: `g${n}`, $set: { n } }));
    const exported = path.join(on.dir, 'export.json');
    const csv = 'sku,price,name\na-1,9.5,"Say ""hi"", then"\nb-2,,plain\n';
    await node(on, 'mixpanel-import.mjs', {
      events: given,
      profiles: people,
      groups: companies,
      csv,
      transport,
      exported,
    });
    expect(await stored(on.sandbox, given)).toEqual(byId(given));
    expect(await profiles(on.sandbox)).toEqual(Object.fromEntries(people.map((p) => [p.$distinct_id, p.$set])));
    expect(await groups(on.sandbox)).toEqual(
      Object.fromEntries(companies.map((g) => [`company/${g.$group_id}`, g.$set])),
    );
    const rows = await on.sandbox.query('select row_id, properties from lookup_rows order by row_id');
    expect(rows).toEqual([
      { row_id: 'a-1', properties: '{"price":9.5,"name":"Say \\"hi\\", then"}' },
      { row_id: 'b-2', properties: '{"name":"plain"}' },
    ]);
    const lines = (await readFile(exported, 'utf8')).split('\n').filter(Boolean);
    expect(lines).toHaveLength(given.length);
  });
});

describe('PyPI', () => {
  it('mixpanel sends everything', async (test) => {
    const missing = await noPython();
    if (missing !== undefined) return test.skip(missing);
    const on = await machine();
    const given = events(seconds);
    await python(on, 'mixpanel_client.py', { events: given });
    await expectSdk(on.sandbox, given);
  });

  it('mixpanel says that its account is refused', async (test) => {
    const missing = await noPython();
    if (missing !== undefined) return test.skip(missing);
    const on = await machine('another secret');
    const sending = python(on, 'mixpanel_client.py', { events: events(seconds) });
    await expect(sending).rejects.toThrow('MixpanelException: Mixpanel error: Invalid credentials');
  });

  it('mixpanel-utils imports, changes profiles, exports and reads them in pages', async (test) => {
    const missing = await noPython();
    if (missing !== undefined) return test.skip(missing);
    const on = await machine();
    const given = events(seconds);
    const people = Array.from({ length: 2500 }, (_, n) => ({
      $distinct_id: `u${n}`,
      $properties: { n, gone: 'x', text: `é ${n}` },
    }));
    const out = path.join(on.dir, 'output.json');
    await python(on, 'mixpanel_utils_client.py', { events: given, profiles: people, deleted: 'u7' }, out);
    expect(await stored(on.sandbox, given)).toEqual(inMs(given));
    const expected = Object.fromEntries(
      people
        .filter(({ $distinct_id }) => $distinct_id !== 'u7')
        .map(({ $distinct_id: id, $properties: { n, gone, text } }) => [
          id,
          { n, text, all: true, ...(n > 2 ? {} : { gone }) },
        ]),
    );
    expect(await profiles(on.sandbox)).toEqual(expected);
    const read = JSON.parse(await readFile(out, 'utf8')) as {
      events: Event[];
      profiles: { $distinct_id: string; $properties: Properties }[];
    };
    expect(read.events.map((event) => event.properties['$insert_id']).sort()).toEqual(
      given.map((event) => event.properties['$insert_id']).sort(),
    );
    expect(Object.fromEntries(read.profiles.map((p) => [p.$distinct_id, p.$properties['text']]))).toEqual(
      Object.fromEntries(Object.entries(expected).map(([id, { text }]) => [id, text])),
    );
  });
});
