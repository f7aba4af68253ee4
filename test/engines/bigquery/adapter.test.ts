import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeAll, expect, test, vi } from 'vitest';
import { RunError } from '../../../runtime/errors.ts';
import { openBigQuery } from '../../../runtime/warehouses/bigquery.ts';
import type { Connection, Query } from '../../../runtime/warehouses/warehouse.ts';
import type { BigQuerySettings } from '../../../schemas/types.ts';
import { Refusal } from './refusal.ts';
import type { Answer, Asked, Scripted } from './scripted.ts';
import { startScripted } from './scripted.ts';

let server: Scripted;
let bodies: Asked[] = [];
beforeAll(() => {
  process.env['METADATA_SERVER_DETECTION'] = 'none';
});
afterEach(() => server.stop());

const slept: number[] = [];
const world = {
  sleep: (ms: number) => Promise.resolve(void slept.push(ms)),
  random: () => 0.5,
  randomId: () => '0123456789abcdef0123456789abcdef',
  readFile: (file: string) => Promise.resolve(file.endsWith('odd.json') ? '{"type":"other"}' : undefined),
};

/** A connection to a service that gives these answers to the starts of jobs, one after the other. */
async function connect(inserts: readonly Answer[], more: Partial<BigQuerySettings> = {}): Promise<Connection> {
  bodies = [];
  let given = 0;
  server = await startScripted((asked) => {
    bodies.push(asked);
    return asked.call === 'jobs.insert' ? inserts[given++] : undefined;
  });
  return opened(more);
}

/** A connection to the service that runs. */
async function opened(more: Partial<BigQuerySettings> = {}): Promise<Connection> {
  const settings: BigQuerySettings = {
    ...{ type: 'bigquery', project: 'acme', method: 'oauth-secrets', token: 'secret-token' },
    ...{ api_endpoint: server.endpoint, ...more },
  };
  return (await openBigQuery(world, settings, { dir: '.' })).connect();
}

const query: Query = {
  sql: 'update x',
  label: 'purchases/state_flip.sql',
  run: 12,
  binds: [
    { name: 'run', type: 'integer', value: 12 },
    { name: 'pending', type: 'text', value: null },
  ],
};
const errorOf = async (promise: Promise<unknown>): Promise<RunError> => {
  const error = await promise.catch((e: unknown) => e);
  expect(error).toBeInstanceOf(RunError);
  return error as RunError;
};
const ids = (): string[] => bodies.filter((b) => b.call === 'jobs.insert').map((b) => idIn(b.body));
const idIn = (body: Record<string, unknown>): string => (body['jobReference'] as { jobId: string }).jobId;

test('a statement is a job with an id, labels, limits and typed parameters', async () => {
  const connection = await connect([{ affected: 1 }], {
    location: 'EU',
    priority: 'batch',
    max_bytes_billed: 1000,
    job_execution_timeout_seconds: 60,
  });
  expect(await connection.execute(query)).toBe(1);
  expect(bodies[0]?.body).toMatchObject({
    jobReference: { projectId: 'acme', jobId: 'syncline_purchases_state_flip_12_0123456789ab_1_1', location: 'EU' },
    configuration: {
      jobTimeoutMs: '60000',
      labels: { app: 'syncline', sync: 'purchases', statement: 'state_flip' },
      query: {
        query: 'update x',
        useLegacySql: false,
        maximumBytesBilled: '1000',
        priority: 'BATCH',
        queryParameters: [
          { name: 'run', parameterType: { type: 'INT64' }, parameterValue: { value: '12' } },
          { name: 'pending', parameterType: { type: 'STRING' }, parameterValue: { value: null } },
        ],
      },
    },
  });
  await connection.execute(query);
  expect(ids()[1]).toBe('syncline_purchases_state_flip_12_0123456789ab_2_1');
});

test('rows come with integers as numbers and truth values as 0 and 1, page after page', async () => {
  const rows = [
    { n: '7', t: '7', b: 'true' },
    { n: null, t: null, b: 'false' },
  ];
  const connection = await connect([{ rows, types: { n: 'INTEGER', b: 'BOOLEAN' } }]);
  expect(await connection.rows(query)).toEqual([
    { n: 7, t: '7', b: 1 },
    { n: null, t: null, b: 0 },
  ]);
});

test('a job whose answer was lost is found by its id and not run again', async () => {
  const connection = await connect([{ lost: { affected: 1 } }]);
  expect(await connection.execute(query)).toBe(1);
  expect(new Set(ids()).size).toBe(1);
});

test('a job that is known already is waited for, where it runs', async () => {
  const connection = await connect([{ lost: { runs: 2, then: { affected: 1 } } }], { location: 'EU' });
  expect(await connection.execute(query)).toBe(1);
  expect(ids()).toHaveLength(1);
  const asked = bodies.filter((b) => b.call !== 'jobs.insert');
  expect(asked.length).toBeGreaterThan(1);
  expect(asked.map((b) => b.search.get('location'))).toEqual(asked.map(() => 'EU'));
});

test('where nobody says whether a lost job is on record it is started again, and 409 is the answer that it is', async () => {
  bodies = [];
  let cuts = 0;
  server = await startScripted((asked) => {
    bodies.push(asked);
    if (asked.call === 'jobs.insert' && ids().length === 1) return { lost: { runs: 3, then: { affected: 1 } } };
    return asked.call === 'jobs.get' && ++cuts === 1 ? 'cut' : undefined;
  });
  const connection = await opened();
  expect(await connection.execute(query)).toBe(1);
  expect(ids()).toHaveLength(2);
  expect(new Set(ids()).size).toBe(1);
  // It is asked for its end, and not started a third time.
  const after = bodies.slice(bodies.findLastIndex((b) => b.call === 'jobs.insert') + 1).map((b) => b.call);
  expect(after.length).toBeGreaterThan(1);
  expect(new Set(after)).toEqual(new Set(['getQueryResults']));
});

test('a request that never arrived is made again under the same id', async () => {
  const connection = await connect(['cut', 'cut', { affected: 1 }]);
  expect(await connection.execute(query)).toBe(1);
  expect(ids()).toHaveLength(3);
  expect(new Set(ids()).size).toBe(1);
});

test.each([
  [new Refusal('backendError', 'try again')],
  [new Refusal('jobRateLimitExceeded', 'too fast')],
  [new Refusal('invalidQuery', 'Could not serialize access to table acme:mixpanel.x due to concurrent update')],
])('a job that failed for a reason that passes runs again under the next attempt (%o)', async (failed) => {
  const connection = await connect([{ failed }, { failed }, { affected: 1 }]);
  expect(await connection.execute(query)).toBe(1);
  expect(ids().map((id) => id.slice(-2))).toEqual(['_1', '_2', '_3']);
});

test.each(['rateLimitExceeded', 'backendError'])(
  'a request that is refused for %s leaves nothing on record, and is made again',
  async (reason) => {
    const refused = new Refusal(reason, 'Exceeded rate limits: too many requests for this project');
    const connection = await connect([{ refused }, { refused }, { affected: 1 }]);
    expect(await connection.execute(query)).toBe(1);
    expect(ids()).toHaveLength(3);
  },
);

test('what another statement crosses every time is a conflict', async () => {
  const failed = new Refusal('invalidQuery', 'Could not serialize access to table x due to concurrent update.');
  const connection = await connect(Array.from({ length: 5 }, () => ({ failed })));
  expect(await errorOf(connection.execute(query))).toMatchObject({ code: 'warehouse-conflict', retryable: true });
  expect(ids()).toHaveLength(5);
});

test.each([
  [
    new Refusal('invalidQuery', 'Syntax error: x.'),
    'warehouse-error',
    'purchases/state_flip.sql: Syntax error: x',
    undefined,
  ],
  [
    new Refusal('accessDenied', 'Access Denied: Table t'),
    'warehouse-error',
    'Access Denied: Table t',
    '`syncline setup` prints',
  ],
  [
    new Refusal('notFound', 'Not found: Dataset acme:mixpanel'),
    'not-found',
    'Not found: Dataset acme:mixpanel',
    '`location`',
  ],
  [
    new Refusal('bytesBilledLimitExceeded', 'Query exceeded limit'),
    'warehouse-error',
    'Query exceeded limit',
    '`max_bytes_billed`',
  ],
  [new Refusal('quotaExceeded', 'Quota exceeded'), 'warehouse-error', 'Quota exceeded', 'A quota'],
  [
    new Refusal('timeout', 'Job timed out after 60 sec'),
    'warehouse-error',
    'purchases/state_flip.sql: Job timed out after 60 sec',
    '`job_execution_timeout_seconds`',
  ],
  [
    new Refusal('stopped', 'Job execution was cancelled'),
    'warehouse-error',
    'cancelled',
    '`job_execution_timeout_seconds`',
  ],
] as const)('%o ends the statement with one sentence, at the first attempt', async (failed, code, message, hint) => {
  for (const answer of [{ failed }, { refused: failed }] as const) {
    const connection = await connect([answer]);
    const error = await errorOf(connection.execute(query));
    expect(error.code).toBe(code);
    expect(error.message).toContain(message);
    if (hint === undefined) expect(error.hint).toBeUndefined();
    else expect(error.hint).toContain(hint);
    expect(ids()).toHaveLength(1);
    await server.stop();
  }
});

test('a secret is in no error, whoever wrote it', async () => {
  const connection = await connect([{ failed: new Refusal('invalidQuery', 'no "secret-token" here') }]);
  expect((await errorOf(connection.execute(query))).message).toBe('purchases/state_flip.sql: no "***" here');
});

test('a service that does not answer is a lost connection, which another apply goes on from', async () => {
  const connection = await connect(Array.from({ length: 20 }, () => 'cut' as const));
  const error = await errorOf(connection.execute(query));
  expect(error).toMatchObject({ code: 'warehouse-unavailable', retryable: true });
  expect(error.message).toContain('acme on BigQuery was lost during purchases/state_flip.sql');
});

test('interrupting cancels the job that runs', async () => {
  const connection = await connect([{ runs: 1_000_000, then: { affected: 1 } }]);
  const ended = errorOf(connection.execute(query));
  while (!bodies.some((b) => b.call === 'getQueryResults')) await new Promise((resolve) => setTimeout(resolve, 5));
  connection.interrupt?.();
  expect((await ended).message).toContain('purchases/state_flip.sql');
  expect(bodies.some((b) => b.call === 'jobs.cancel')).toBe(true);
});

/** An answer that a test gives later. */
function held() {
  const given: ((answer: Answer) => void)[] = [];
  const answer = new Promise<Answer>((resolve) => given.push(resolve));
  return { answer, give: (as: Answer) => given.forEach((resolve) => resolve(as)) };
}

test('interrupting while a start is under way cancels that job by its id, at once and when it is on record', async () => {
  const start = held();
  bodies = [];
  server = await startScripted((asked) => {
    bodies.push(asked);
    return asked.call === 'jobs.insert' ? start.answer : undefined;
  });
  const until = async (call: string, n: number): Promise<void> => {
    while (bodies.filter((b) => b.call === call).length < n) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  const connection = await opened();
  const ended = errorOf(connection.execute(query));
  await until('jobs.insert', 1);
  connection.interrupt?.();
  await until('jobs.cancel', 1);
  // Nobody knew it yet. It would end by itself after a while.
  start.give({ runs: 100, then: { affected: 1 } });
  expect((await ended).message).toContain('cancelled');
  const cancelled = bodies.filter((b) => b.call === 'jobs.cancel').map((b) => b.id);
  expect(cancelled).toEqual([ids()[0], ids()[0]]);
});

test('a statement that was interrupted before its start arrived is not started again', async () => {
  const start = held();
  bodies = [];
  server = await startScripted((asked) => {
    bodies.push(asked);
    if (asked.call !== 'jobs.insert') return undefined;
    return ids().length === 1 ? start.answer : { affected: 1 };
  });
  const connection = await opened();
  const ended = errorOf(connection.execute(query));
  while (ids().length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  connection.interrupt?.();
  start.give('cut');
  expect((await ended).code).toBe('warehouse-unavailable');
  expect(ids()).toHaveLength(1);
  // The next statement is not the one that was stopped.
  expect(await connection.execute(query)).toBe(1);
});

test('an estimate runs nothing', async () => {
  const connection = await connect([{ bytes: 123_456 }]);
  expect(await connection.estimate?.(query)).toBe(123_456);
  expect(bodies.map((b) => b.call)).toEqual(['jobs.insert']);
  expect(bodies[0]?.body).toMatchObject({ configuration: { dryRun: true } });
});

test.each([
  [{ method: 'service-account' }, 'needs `keyfile`'],
  [{ method: 'service-account', keyfile: 'none.json' }, 'The key file none.json cannot be read'],
  [{ method: 'service-account', keyfile: 'odd.json' }, 'odd.json is no key of a service account'],
  [{ method: 'service-account-json' }, 'needs `keyfile_json`'],
  [{ method: 'service-account-json', keyfile_json: { type: 'x' } }, '`keyfile_json` is no key of a service account'],
] as const)('%j is refused before anything is asked', async (more, message) => {
  const error = await errorOf(connect([], more));
  expect(error.message).toContain(message);
  expect(bodies).toEqual([]);
});

/** Google's own hosts, here: what each was asked, in order, and a token that names who gave it. */
async function google() {
  const asked: string[] = [];
  const server = http.createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      const form = new URLSearchParams(text);
      const [, claims = 'e30'] = (form.get('assertion') ?? '').split('.');
      const { iss, scope } = JSON.parse(Buffer.from(claims, 'base64url').toString()) as Record<string, string>;
      const said =
        iss === undefined ? (form.get('refresh_token') ?? form.get('subject_token')) : `${iss} ${scope ?? ''}`;
      asked.push(`${request.url ?? ''} ${said ?? request.headers.authorization ?? ''}`);
      const isImpersonated = request.url?.endsWith(':generateAccessToken') === true;
      const token = `token-${asked.length}`;
      const hour = new Date(Date.now() + 3_600_000).toISOString();
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(
          JSON.stringify(
            isImpersonated
              ? { accessToken: token, expireTime: hour }
              : { access_token: token, expires_in: 3600, token_type: 'Bearer' },
          ),
        );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const spy = vi.spyOn(https, 'request').mockImplementation((url: string | URL, ...rest: unknown[]) => {
    const { pathname, search } = new URL(String(url));
    return http.request(`http://127.0.0.1:${port}${pathname}${search}`, ...(rest as [http.RequestOptions]));
  });
  return {
    asked,
    endpoint: `http://127.0.0.1:${port}`,
    stop: () => {
      spy.mockRestore();
      server.close();
      server.closeAllConnections();
    },
  };
}

test('each way to connect asks Google for a token and shows it', async () => {
  const hosts = await google();
  const dir = await mkdtemp(path.join(tmpdir(), 'syncline-key-'));
  const file = async (name: string, value: unknown): Promise<string> => {
    const at = path.join(dir, name);
    await writeFile(at, typeof value === 'string' ? value : JSON.stringify(value));
    return at;
  };
  const { privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const key = { type: 'service_account', client_email: 'sync@acme', private_key: privateKey };
  const refresh = { refresh_token: 'fresh', client_id: 'i', client_secret: 's' };
  const workload = {
    ...{ type: 'external_account', audience: '//iam.googleapis.com/projects/1/x', token_url: `${hosts.endpoint}/sts` },
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    credential_source: { file: await file('subject', 'of-the-runner') },
  };
  const scope = 'https://www.googleapis.com/auth/cloud-platform';
  const ways: readonly (readonly [Partial<BigQuerySettings>, readonly string[]])[] = [
    [{ method: 'service-account', keyfile: await file('key.json', key) }, [`/token sync@acme ${scope}`]],
    [{ method: 'service-account-json', keyfile_json: key }, [`/token sync@acme ${scope}`]],
    [{ method: 'service-account', keyfile: await file('wif.json', workload) }, ['/sts of-the-runner']],
    [{ method: 'oauth-secrets', ...refresh }, ['/token fresh']],
    [{ method: 'oauth' }, ['/token fresh']],
    [
      { method: 'oauth', impersonate_service_account: 'other@acme' },
      ['/token fresh', '/v1/projects/-/serviceAccounts/other@acme:generateAccessToken Bearer token-1'],
    ],
  ];
  // What the environment gives.
  vi.stubEnv('GOOGLE_APPLICATION_CREDENTIALS', await file('adc.json', { type: 'authorized_user', ...refresh }));
  try {
    for (const [way, wanted] of ways) {
      hosts.asked.length = 0;
      bodies = [];
      server = await startScripted((asked) => void bodies.push(asked));
      const settings = { ...{ type: 'bigquery', project: 'acme', api_endpoint: server.endpoint }, ...way } as const;
      const own = { ...world, readFile: (name: string) => readFile(name, 'utf8') };
      await (await openBigQuery(own, settings as BigQuerySettings, { dir })).connect().then((c) => c.rows(query));
      expect(hosts.asked, way.method).toEqual(wanted);
      expect(new Set(bodies.map((b) => b.authorization))).toEqual(new Set([`Bearer token-${wanted.length}`]));
      await server.stop();
    }
  } finally {
    vi.unstubAllEnvs();
    hosts.stop();
    await rm(dir, { recursive: true, force: true });
  }
});
