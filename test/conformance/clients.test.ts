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
/** A client that does not end is ended, in milliseconds. */
const PATIENCE = 60_000;
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

const PROJECTS = [
  { id: '7', token: 'tok', secret: 'sec' },
  { id: '8', token: 'a token of exactly 32 characters' },
] as const;

async function machine(secret = 'secret'): Promise<Machine> {
  const dir = await mkdtemp(path.join(tmpdir(), 'syncline-clients-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const sandbox = await openSandbox({
    path: path.join(dir, 'sandbox.duckdb'),
    access: { projects: PROJECTS, accounts: { account: secret } },
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
async function node(on: Machine, script: string, given: object, ...more: string[]): Promise<void> {
  const redirect = ['--import', path.join(CLIENTS, 'redirect.mjs')];
  const args = [...redirect, path.join(CLIENTS, script), await input(on, given), ...more];
  const env = { PATH: process.env['PATH'], NODE_EXTRA_CA_CERTS: on.ca, SANDBOX_PORT: String(on.port) };
  await run(process.execPath, args, { env, cwd: on.dir, maxBuffer: 1 << 26, timeout: PATIENCE });
}

/** Runs a client of PyPI behind the proxy. */
async function python(on: Machine, script: string, given: object, ...more: string[]): Promise<void> {
  const env = {
    PATH: process.env['PATH'],
    HTTPS_PROXY: `http://127.0.0.1:${on.proxy}`,
    REQUESTS_CA_BUNDLE: on.ca,
    SSL_CERT_FILE: on.ca,
    PYTHONUTF8: '1',
    PYTHONDONTWRITEBYTECODE: '1',
    TZ: 'UTC',
  };
  const args = [path.join(CLIENTS, script), await input(on, given), ...more];
  await run(path.join(VENV, 'bin/python'), args, { env, cwd: on.dir, maxBuffer: 1 << 26, timeout: PATIENCE });
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
async function stored(sandbox: Sandbox, given: readonly Event[], project = '7'): Promise<Event[]> {
  const rows = await sandbox.query(`select * from events_raw where endpoint = '/import' and project = '${project}'`);
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

/** An export shows seconds unless it is asked for more. */
const inSeconds = ({ event, properties }: Event): Event => ({
  event,
  properties: { ...properties, time: Math.floor(Number(properties['time']) / 1000) * 1000 },
});

const propertiesById = (rows: readonly Record<string, unknown>[]): Properties =>
  Object.fromEntries(rows.map((row): [string, unknown] => [String(row['id']), JSON.parse(String(row['properties']))]));

async function profiles(sandbox: Sandbox, project = '7'): Promise<Properties> {
  const rows = await sandbox.query(`select distinct_id as id, properties from profiles where project = '${project}'`);
  return propertiesById(rows);
}

async function groups(sandbox: Sandbox): Promise<Properties> {
  const rows = await sandbox.query("select group_key || '/' || group_id as id, properties from groups");
  return propertiesById(rows);
}

const outcome = async (file: string): Promise<Properties> => JSON.parse(await readFile(file, 'utf8')) as Properties;

/** The refusal of what the sandbox does not have, as its clients pass it on. */
const lacks = (what: string): string =>
  expect.stringContaining(`the sandbox has no ${what}; it answers /import`) as string;

/** What both official SDKs send by the same sequence of calls; charges that were cleared differ. */
async function expectSdk(sandbox: Sandbox, given: readonly Event[], exposures: number, cleared: object): Promise<void> {
  expect(await stored(sandbox, given)).toEqual(inMs(given));
  const tracked = await sandbox.query(
    "select event, distinct_id as id, properties->>'text' as text, properties->>'n' as n from events_raw where endpoint = '/track' and event not like '$%' order by event, n",
  );
  expect(tracked).toEqual([
    ...['1', '2', '3'].map((n) => ({ event: 'Batch', id: 'u1', text: null, n })),
    { event: 'Tracked', id: 'u1', text: '>>>???é', n: null },
  ]);
  const special = await sandbox.query(
    `select event, distinct_id as id, coalesce(properties->>'alias', properties->>'Variant name') as what
     from events_raw where endpoint = '/track' and event like '$%' order by event`,
  );
  const exposure = { event: '$experiment_started', id: 'u1', what: 'on' };
  expect(special).toEqual([
    { event: '$create_alias', id: 'u1', what: 'another u1' },
    ...Array.from({ length: exposures }, () => exposure),
  ]);
  expect(await profiles(sandbox)).toEqual({
    u1: {
      name: 'Ann',
      list: ['a', 'a'],
      first: 'kept',
      n: 5,
      generic: 1,
      $transactions: [{ $amount: 9.5, $time: '2026-01-02T00:00:00' }],
    },
    'another u1': { own: true },
    u3: { kept: 1, ...cleared },
  });
  expect(await sandbox.query('select distinct_id as id from profiles where last_seen_ms is null')).toEqual([
    { id: 'u3' },
  ]);
  expect(await groups(sandbox)).toEqual({ 'company/acme': { plan: 'pro', since: 2020, tags: ['a'], generic: 1 } });
}

/** An event as Amplitude exports it, as far as PyPI `mixpanel-utils` reads it. */
const AMPLITUDE = {
  event_type: 'Signed up',
  event_time: '2026-01-02 12:00:00',
  user_id: 'ann',
  amplitude_id: 5,
  device_id: 'phone',
  ip_address: '192.0.2.1',
  country: 'France',
  $insert_id: 'a:1',
  event_properties: { step: 2 },
  user_properties: { Name: 'Ann', plan: 'pro' },
};

const seconds = (index: number): number => TIME / 1000 + index;

describe('npm mixpanel', () => {
  it.each([true, false])('sends everything, each of its functions, verbose=%s', async (verbose) => {
    const on = await machine();
    const given = events(seconds);
    const out = path.join(on.dir, 'output.json');
    await node(on, 'mixpanel.mjs', { events: given, plain: !verbose }, out);
    await expectSdk(on.sandbox, given, 2, { $transactions: [] });
    const { left, others, errors, localFlags, remoteFlags } = await outcome(out);
    expect(left).toEqual({ mixpanel: [], people: [], groups: [], local: [], remote: [] });
    expect(others).toEqual(['init', 'ServiceAccountCredentials']);
    const definitions = lacks('feature flags (/flags/definitions)');
    const refused = lacks('feature flags (/flags)');
    const because = (fallback_reason: object): object => ({
      variant_value: 'mine',
      variant_source: 'fallback',
      fallback_reason,
    });
    expect(localFlags).toEqual({
      ready: definitions,
      called: definitions,
      variant: because({ kind: 'FLAG_NOT_FOUND', message: null }),
      value: 'mine',
      enabled: false,
      all: {},
    });
    expect(remoteFlags).toEqual({
      called: refused,
      variant: because({ kind: 'BACKEND_ERROR', message: refused }),
      value: 'mine',
      enabled: false,
      all: null,
    });
    expect(errors).toContainEqual(definitions);
  });
});

it('npm mixpanel says that its account is refused', async () => {
  const on = await machine('another secret');
  const out = path.join(on.dir, 'output.json');
  await expect(node(on, 'mixpanel.mjs', { events: events(seconds) }, out)).rejects.toThrow('Invalid credentials');
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

it('npm mixpanel-import streams, runs as a command, exports, copies and deletes', async () => {
  const on = await machine();
  const given = events((index) => TIME + index);
  const people = Array.from({ length: 1005 }, (_, n) => ({ $distinct_id: `u${1000 + n}`, $set: { n } }));
  const companies = [{ $group_id: 'acme', $set: { plan: 'pro' } }];
  const out = path.join(on.dir, 'output.json');
  const [own, another] = PROJECTS;
  await node(
    on,
    'mixpanel-import-others.mjs',
    { events: given, profiles: people, groups: companies, other: another.token },
    out,
  );
  const all = (success: number): object => ({ success, failed: 0 });
  const { results, exported, left, others } = await outcome(out);
  expect(results).toEqual({
    user: all(people.length),
    group: all(1),
    stream: { code: 200, num_records_imported: given.length / 2, status: 'OK' },
    'profile-export': all(2000), // Two pages, each counted as the first.
    'profile-export of groups': all(1),
    'export-import-event': all(given.length),
    'export-import-profile': all(people.length),
    'profile-delete': all(0), // It counts what it deletes nowhere.
    // In the client's words: a mistake of its own, a 404 without its text, and types that it does not take.
    validateToken: 'Job is not a constructor',
    scd: 'SCD preparation failed: Response code 404 (Not Found)',
    ...Object.fromEntries(
      ['annotations', 'get-annotations', 'delete-annotations'].map((type) => [
        type,
        expect.stringContaining(`Invalid recordType: "${type}"`),
      ]),
    ),
  });
  const seen = { $last_seen: expect.any(String) as string };
  expect(exported).toEqual({
    users: [people.slice(0, 1000), people.slice(1000)].map((page) =>
      page.map(({ $distinct_id, $set }) => ({ $distinct_id, $properties: { ...$set, ...seen } })),
    ),
    companies: [[{ $distinct_id: 'acme', $properties: { plan: 'pro', ...seen } }]],
  });
  expect([left, others]).toEqual([[], ['validateToken', 'createMpStream']]);
  expect(await stored(on.sandbox, given, own.id)).toEqual(byId(given));
  expect(await stored(on.sandbox, given, another.id)).toEqual(byId(given.map(inSeconds)));
  expect(await on.sandbox.query('select project, distinct_id as id, properties from profiles order by id')).toEqual(
    people.map(({ $distinct_id: id, $set }) => ({
      project: another.id,
      id,
      properties: expect.stringContaining(JSON.stringify($set).slice(0, -1)) as string,
    })),
  );
  expect(await groups(on.sandbox)).toEqual({ 'company/acme': { plan: 'pro' } });
});

describe('PyPI', () => {
  it('mixpanel sends everything, by each of its methods', async (test) => {
    const missing = await noPython();
    if (missing !== undefined) return test.skip(missing);
    const on = await machine();
    const given = events(seconds);
    const out = path.join(on.dir, 'output.json');
    await python(on, 'mixpanel_client.py', { events: given }, out);
    await expectSdk(on.sandbox, given, 3, {});
    const refused = ['mine', 'BACKEND_ERROR', lacks('feature flags (/flags)')];
    expect(await outcome(out)).toEqual({
      left: {
        Mixpanel: [],
        Consumer: [],
        BufferedConsumer: [],
        // Both send nothing.
        LocalFeatureFlagsProvider: ['lowercase_keys_and_values', 'lowercase_only_leaf_nodes'],
        RemoteFeatureFlagsProvider: [],
      },
      merged: 'Mixpanel error: identity events are not allowed when project is using simplified identity management',
      unread: 'Mixpanel error: data, missing or empty',
      flags: {
        local: [false, {}, ['mine', 'FLAG_NOT_FOUND', null], 'mine', false],
        remote: [null, refused, 'mine', false],
        awaited: [null, refused, 'mine', false],
      },
    });
  });

  it('mixpanel says that its account is refused', async (test) => {
    const missing = await noPython();
    if (missing !== undefined) return test.skip(missing);
    const on = await machine('another secret');
    const sending = python(on, 'mixpanel_client.py', { events: events(seconds) }, path.join(on.dir, 'output.json'));
    await expect(sending).rejects.toThrow('MixpanelException: Mixpanel error: Invalid credentials');
  });

  it('mixpanel-utils imports, changes profiles, exports, reads in pages, by each of its methods', async (test) => {
    const missing = await noPython();
    if (missing !== undefined) return test.skip(missing);
    const on = await machine();
    const given = events(seconds);
    const people = Array.from({ length: 2500 }, (_, n) => ({
      $distinct_id: `u${n}`,
      $properties: { n, gone: 'x', text: `é ${n}` },
    }));
    const out = path.join(on.dir, 'output.json');
    const [, another] = PROJECTS;
    const amplitude = [AMPLITUDE];
    const all = { events: given, profiles: people, deleted: 'u7', amplitude, other: another.token };
    await python(on, 'mixpanel_utils_client.py', all, out);
    expect(await stored(on.sandbox, given)).toEqual(inMs(given));
    const imported = people
      .filter(({ $distinct_id }) => $distinct_id !== 'u7')
      .map(({ $distinct_id: id, $properties: { n, gone, text } }): [string, Properties] => [
        id,
        { n, text, all: true, ...(n > 2 ? {} : { renamed: gone }) },
      ]);
    expect(await profiles(on.sandbox, '7')).toEqual({
      ...Object.fromEntries(imported),
      one: { n: 11, once: true, list: ['a', 'a'], $transactions: [{ $amount: 5 }, { $amount: 5 }], Revenue: 10 },
      'twin 2': { $email: 'a@x', a: 1, b: 2 },
    });
    const read = await outcome(out);
    const shown = read['events'] as Event[];
    expect(shown.map((event) => event.properties['$insert_id']).sort()).toEqual(
      given.map((event) => event.properties['$insert_id']).sort(),
    );
    const engaged = read['profiles'] as { $distinct_id: string; $properties: Properties }[];
    expect(Object.fromEntries(engaged.map((p) => [p.$distinct_id, p.$properties['text']]))).toEqual(
      Object.fromEntries(imported.map(([id, { text }]) => [id, text])),
    );
    expect(read['revenue']).toEqual({ Revenue: 5 });
    const files = [
      'data.json.gz',
      'day_2026-01-02.json',
      'day_2026-01-03.json',
      'events.csv',
      'events.json',
      'raw.json.gz',
    ];
    expect(read['files']).toMatchObject(Object.fromEntries(files.map((name) => [name, true])));
    expect(read['day']).toBe(given.length);
    expect(read['csv']).toEqual([
      '$distinct_id,$transactions,Revenue,list,n,once',
      'one,"[{""$amount"": 5}, {""$amount"": 5}]",10,"[""a"", ""a""]",11,True',
    ]);
    expect(read['left']).toEqual({ MixpanelUtils: [] });

    const refused = (what: string): unknown[] => [null, 'HTTP Error Code: 404', lacks(what)];
    const [, ...jql] = refused('JQL (/api/2.0/jql)');
    const none = 'the JSON object must be str, bytes or bytearray, not NoneType';
    expect(read['jql']).toEqual(Array.from({ length: 7 }, () => [none, ...jql]));
    expect(read['absent']).toEqual({
      'cohorts/list': refused('cohorts (/api/2.0/cohorts/list)'),
      'funnels/list': refused('reports (/api/2.0/funnels/list)'),
      annotations: refused('annotations (/api/2.0/annotations)'),
      'engage/properties': refused('list of profile properties (/api/2.0/engage/properties)'),
      'events/properties/top': refused('reports (/api/2.0/events/properties/top)'),
      retention: refused('reports (/api/2.0/retention)'),
      'nessie/pipeline/jobs': refused('data pipelines (/api/2.0/nessie/pipeline/jobs)'),
    });

    const identity = expect.stringContaining('identity events are not allowed') as string;
    expect(read['amplitude']).toEqual([identity, identity]);
    const event = { event: 'Signed up', id: 'ann', insert_id: 'a1', time_ms: TIME, step: '2' };
    expect(
      await on.sandbox.query(
        "select event, distinct_id as id, insert_id, time_ms::double as time_ms, properties->>'step' as step from events_raw where project = '8'",
      ),
    ).toEqual([event, event]);
    expect(await profiles(on.sandbox, another.id)).toEqual({
      ann: { Name: 'Ann', $name: 'Ann', plan: 'pro', $insert_id: 'a:1' },
    });
  });
});
