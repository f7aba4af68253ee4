import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Faults } from '../runtime/sandbox/faults.ts';
import { parseFaults } from '../runtime/sandbox/faults.ts';
import { countRecords } from '../runtime/sandbox/ingest.ts';
import type { Sandbox, SandboxOptions } from '../runtime/sandbox/server.ts';
import { openSandbox, serveSandbox } from '../runtime/sandbox/server.ts';

const NOW = Date.UTC(2026, 0, 2, 12);
const AUTH = `Basic ${Buffer.from('account:secret').toString('base64')}`;
const cleanups: (() => Promise<unknown>)[] = [];
let dir = '';

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'sandbox-'));
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  await rm(dir, { recursive: true, force: true });
});

const event = (properties: object = {}, name: unknown = 'Purchase'): object => ({
  event: name,
  properties: { time: NOW, distinct_id: 'u1', $insert_id: 'i1', ...properties },
});

interface Served {
  readonly sandbox: Sandbox;
  readonly post: (body: unknown, options?: Post) => Promise<Answer>;
}
interface Post {
  readonly query?: string;
  readonly headers?: Record<string, string>;
}
interface Answer {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly text: string;
  readonly json: Record<string, unknown>;
}

async function serve(options: Partial<SandboxOptions> = {}): Promise<Served> {
  const sandbox = await openSandbox({ path: ':memory:', now: () => NOW, random: () => 0.5, ...options });
  cleanups.push(() => sandbox.close());
  const server = await serveSandbox(sandbox, { port: 0 });
  cleanups.push(() => server.close());
  const post = async (body: unknown, { query = 'strict=1&project_id=7', headers = {} }: Post = {}): Promise<Answer> => {
    const response = await fetch(`http://127.0.0.1:${server.port}/import?${query}`, {
      method: 'POST',
      headers: { authorization: AUTH, 'content-type': 'application/json', ...headers },
      body: typeof body === 'string' || body instanceof Buffer ? body : JSON.stringify(body),
    });
    const text = await response.text();
    const json = text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : {};
    return { status: response.status, retryAfter: response.headers.get('retry-after'), text, json };
  };
  return { sandbox, post };
}

const faulty = (faults: Faults): Promise<Served> => serve({ faults });

describe('import', () => {
  it('stores a gzipped array and answers as documented', async () => {
    const { sandbox, post } = await serve();
    const body = gzipSync(JSON.stringify([event({ n: 1.5, nested: { a: [1, null] } }), event({ $insert_id: 'i2' })]));
    const answer = await post(body, { headers: { 'content-encoding': 'gzip' } });
    expect(answer.text).toBe('{"code":200,"num_records_imported":2,"status":"OK"}');
    expect(await sandbox.query("select * exclude properties, properties->>'n' as n from events order by seq")).toEqual([
      {
        seq: 1,
        received_ms: NOW,
        project: '7',
        event: 'Purchase',
        distinct_id: 'u1',
        time_ms: NOW,
        insert_id: 'i1',
        n: '1.5',
      },
      {
        seq: 2,
        received_ms: NOW,
        project: '7',
        event: 'Purchase',
        distinct_id: 'u1',
        time_ms: NOW,
        insert_id: 'i2',
        n: null,
      },
    ]);
    expect(sandbox.counts).toEqual({ requests: 1, records: 2 });
  });

  it('takes x-ndjson, seconds, a token as Basic user, and any text', async () => {
    const { sandbox, post } = await serve();
    const odd = event({ time: NOW / 1000, text: 'a"\\\u0000\n😀', long: 'é'.repeat(300), distinct_id: '' });
    const answer = await post(`${JSON.stringify(odd)}\n\n`, {
      query: 'strict=1',
      headers: {
        'content-type': 'application/x-ndjson',
        authorization: `Basic ${Buffer.from('tok:').toString('base64')}`,
      },
    });
    expect(answer.status).toBe(200);
    const [row] = await sandbox.query('select project, time_ms, distinct_id, properties from events');
    expect(row).toMatchObject({ project: 'tok', time_ms: NOW, distinct_id: '' });
    const kept = JSON.parse(String(row!['properties'])) as Record<string, unknown>;
    expect(kept).toMatchObject({ text: 'a"\\\u0000\n😀', long: 'é'.repeat(255) });
  });

  const family = (code: number, error: string, status: string): object => ({ code, error, status });
  const empty = family(400, 'data, missing or empty', 'Bad Request');

  it('refuses whole requests', async () => {
    const { sandbox, post } = await serve();
    const plain = { 'content-type': 'text/plain', authorization: '' };
    expect((await post([event()], { headers: plain })).json).toEqual(
      family(401, 'Invalid credentials', 'Unauthorized'),
    );
    expect((await post([event()], { query: 'strict=1' })).status).toBe(400);
    expect((await post([])).json).toEqual(empty);
    expect((await post('')).json).toEqual(empty);
    expect((await post('[{')).json).toEqual(family(400, 'request body is not valid JSON', 'Bad Request'));
    const gzip = { headers: { 'content-encoding': 'gzip' } };
    expect((await post('[]', gzip)).json).toEqual(family(400, 'request body is not valid gzip', 'Bad Request'));
    const large = 'Request Entity Too Large';
    const many = await post(Array.from({ length: 2001 }, (_, i) => event({ $insert_id: `i${i}` })));
    expect(many.json).toEqual(family(413, 'request exceeds max limit of 2000 events', large));
    const bomb = await post(gzipSync(Buffer.alloc(11_000_000, 32)), gzip);
    expect(bomb.json).toEqual(family(413, 'request exceeds max limit of 10485760 bytes', large));
    expect((await post(' '.repeat(11_000_000))).status).toBe(413);
    expect((await post([{}], { query: 'project_id=7' })).json).toEqual({ error: 'data, missing or empty', status: 0 });
    expect(await sandbox.query('from events_raw')).toEqual([]);
  });

  const time = "'properties.time' is invalid: ";
  const id = "'properties.distinct_id' is invalid: ";
  const insert = "'$insert_id' is invalid: ";
  const deep = { a: { b: { c: { d: 1 } } } };
  it.each<[string, string, object]>([
    ['event', "'event' must not be missing or blank", event({}, ' ')],
    ['event', "'event' must not be missing or blank", { properties: {} }],
    ['properties.time', `${time}must be specified as seconds since epoch`, event({ time: '2026-01-01' })],
    ['properties.time', `${time}must be specified as seconds since epoch`, event({ time: undefined })],
    ['properties.time', `${time}must not be in the future`, event({ time: NOW + 3_600_001 })],
    ['properties.time', `${time}must not be before 1971-01-01`, event({ time: 31_535_999 })],
    ['properties.distinct_id', `${id}must not be missing`, event({ distinct_id: null })],
    ['properties.distinct_id', `${id}must not be a disallowed value`, event({ distinct_id: 'Anonymous' })],
    ['properties.distinct_id', `${id}must not be a disallowed value`, event({ distinct_id: 0 })],
    ['$insert_id', `${insert}must only contain alphanumeric or hyphen '-' characters`, event({ $insert_id: 'a:b' })],
    ['$insert_id', `${insert}must not be longer than 36 bytes`, event({ $insert_id: 'a'.repeat(37) })],
    ['$insert_id', `${insert}must not be a disallowed value`, event({ $insert_id: 'NULL' })],
    ['$insert_id', `${insert}must not be missing`, event({ $insert_id: undefined })],
    ['properties.utm', 'properties.utm is invalid: string should be valid utf8', event({ utm: '\ud800' })],
    ['properties.deep', "'properties.deep' is invalid: must not be nested deeper than 3", event({ deep })],
    ['event', "'event' is invalid: must be smaller than 1 MB", event({ l: Array<string>(250).fill('x'.repeat(5000)) })],
  ])('refuses %s: %s', async (field, message, bad) => {
    const { sandbox, post } = await serve();
    const good = event({ $insert_id: 'good' });
    const answer = await post([good, bad]);
    const insert_id = (bad as { properties: { $insert_id?: string } }).properties.$insert_id ?? '';
    expect(answer.status).toBe(400);
    expect(answer.json).toEqual({
      code: 400,
      error: 'some data points in the request failed validation',
      failed_records: [{ index: 1, insert_id, field, message }],
      num_records_imported: 1,
      status: 'Bad Request',
    });
    expect(await sandbox.query('select insert_id from events')).toEqual([{ insert_id: 'good' }]);
  });

  it('names a string whose bytes are not UTF-8', async () => {
    const { post } = await serve();
    const body = Buffer.from(JSON.stringify([event({ s: 'x?' })]));
    body[body.indexOf('?')] = 0xff;
    expect((await post(body)).json['failed_records']).toMatchObject([{ field: 'properties.s' }]);
  });

  it('accepts an hour ahead, drops quietly with strict=0, and refuses identity events whole', async () => {
    const { post } = await serve();
    expect((await post([event({ time: NOW + 3_600_000 })])).status).toBe(200);
    const lax = await post([event(), event({ time: 'x' })], { query: 'strict=0&project_id=7' });
    expect(lax.json).toEqual({ code: 200, num_records_imported: 1, status: 'OK' });
    const identity = await post([event(), event({}, '$merge')]);
    expect(identity.json['failed_records']).toEqual([expect.stringContaining('identity events are not allowed')]);
  });
});

describe('store', () => {
  it('keeps every copy and shows the newest', async () => {
    const { sandbox, post } = await serve();
    for (const v of [1, 2, 3]) await post([event({ v })]);
    await post([event({ v: 4, time: NOW - 1 })]);
    expect(await sandbox.query('select count(*) as n from events_raw')).toEqual([{ n: 4 }]);
    const shown = await sandbox.query("select properties->>'v' as v from events order by seq");
    expect(shown).toEqual([{ v: '3' }, { v: '4' }]);
    await sandbox.compact();
    expect(await sandbox.query('select count(*) as n from events_raw')).toEqual([{ n: 1 }]);
  });

  it('keeps its id, its data and its sequence over a restart', async () => {
    const file = path.join(dir, 'sandbox.duckdb');
    const send = (sandbox: Sandbox, properties: object, signal?: AbortSignal): Promise<unknown> =>
      sandbox.handle(
        {
          method: 'POST',
          url: '/import?strict=1&project_id=7',
          headers: { Authorization: AUTH },
          body: Buffer.from(JSON.stringify([event(properties)])),
        },
        signal,
      );
    const first = await openSandbox({ path: file, now: () => NOW });
    await send(first, { v: 1 });
    await first.close();
    await expect(send(first, {})).rejects.toThrow('closed');
    const second = await openSandbox({ path: file, now: () => NOW });
    cleanups.push(() => second.close());
    expect(second.id).toBe(first.id);
    await Promise.all([send(second, { v: 2 }), send(second, { v: 3 })]);
    await expect(send(second, { v: 4 }, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
    expect(await second.query("select seq, properties->>'v' as v from events_raw order by seq")).toEqual([
      { seq: 1, v: '1' },
      { seq: 2, v: '2' },
      { seq: 3, v: '3' },
    ]);
    expect(await second.query("select properties->>'v' as v from events")).toEqual([{ v: '3' }]);
  });

  it('discards: counts, stores nothing', async () => {
    const { sandbox, post } = await serve({ discard: true });
    const answer = await post(gzipSync(JSON.stringify([event(), event(), event()])), {
      headers: { 'content-encoding': 'gzip' },
    });
    expect(answer.json).toEqual({ code: 200, num_records_imported: 3, status: 'OK' });
    expect(sandbox.counts.records).toBe(3);
    expect(await sandbox.query('from events_raw')).toEqual([]);
  });

  it.each<[string, number]>([
    ['[]', 0],
    [' [ ] ', 0],
    ['[{"a":"],[\\"\\\\","b":[1,2]},\n{}]', 2],
    ['["x"]', 1],
    ['[[],[]]', 2],
    ['', 0],
    ['{"a":1}\n{"b":"\\n"}', 2],
    ['{"a":1}\r\n\r\n{"b":2}\n', 2],
  ])('counts %j as %i without parsing', (text, count) => {
    expect(countRecords(Buffer.from(text), '')).toBe(count);
  });
});

describe('faults', () => {
  it('reads the command line', () => {
    const text = '429=0.1,5xx=0.05, reset-before=0.1,reset-after=3x,slow=200,retry-after=2,oldest-wins,refuse=a|b';
    expect(parseFaults(text)).toEqual({
      error429: 0.1,
      error5xx: 0.05,
      resetBefore: 0.1,
      resetAfter: { first: 3 },
      slowMs: 200,
      retryAfter: 2,
      oldestWins: true,
      refuse: ['a', 'b'],
    });
    expect(parseFaults('')).toEqual({});
    for (const bad of ['429=2', '429', 'slow=x', 'nope=1', 'toString=1'])
      expect(() => parseFaults(bad)).toThrow('fault');
  });

  it('answers 429 and 5xx, then recovers', async () => {
    const { sandbox, post } = await faulty({ error429: { first: 1 }, retryAfter: 3, error5xx: { first: 1 } });
    const broken = await post([event()]);
    expect([broken.status, broken.text.startsWith('<html>')]).toEqual([503, true]);
    const limited = await post([event()]);
    expect([limited.status, limited.retryAfter]).toEqual([429, '3']);
    expect(limited.json['error']).toMatch('Project exceeded rate limits');
    expect(await sandbox.query('from events_raw')).toEqual([]);
    expect((await post([event()])).status).toBe(200);
  });

  it('resets before and after storing', async () => {
    const { sandbox, post } = await faulty({ resetBefore: { first: 1 }, resetAfter: { first: 1 } });
    await expect(post([event()])).rejects.toThrow();
    expect(await sandbox.query('select count(*) as n from events_raw')).toEqual([{ n: 0 }]);
    await expect(post([event()])).rejects.toThrow();
    expect(await sandbox.query('select count(*) as n from events_raw')).toEqual([{ n: 1 }]);
    expect((await post([event()])).status).toBe(200);
    expect(await sandbox.query('select count(*) as n from events')).toEqual([{ n: 1 }]);
  });

  it('refuses, drops, shows the oldest, compacts, answers late', async () => {
    const { sandbox, post } = await faulty({
      refuse: ['u9'],
      lexiconDrop: ['Hidden'],
      oldestWins: true,
      slowMs: 60,
    });
    const started = performance.now();
    const answer = await post([event({ v: 1 }), event({ distinct_id: 'u9' }), event({}, 'Hidden'), event({ v: 2 })]);
    expect(performance.now() - started).toBeGreaterThan(50);
    expect(answer.json).toMatchObject({ num_records_imported: 3, failed_records: [{ index: 1 }] });
    expect(await sandbox.query("select properties->>'v' as v from events")).toEqual([{ v: '1' }]);
    const compacting = await faulty({ compaction: 1, refuse: (r) => (r.event === 'No' ? 'no such event' : undefined) });
    const refused = await compacting.post([event(), event({ time: NOW + 5 }), event({}, 'No')]);
    expect(refused.json['failed_records']).toMatchObject([{ index: 2, message: 'no such event' }]);
    expect(await compacting.sandbox.query('select count(*) as n from events_raw')).toEqual([{ n: 1 }]);
  });

  it('limits the rate over a rolling minute', async () => {
    let now = NOW;
    const { post } = await serve({ now: () => now, faults: { rateLimit: 1 / 30 } });
    expect((await post([event(), event()])).status).toBe(200);
    expect((await post([event()])).status).toBe(429);
    now += 60_000;
    expect((await post([event()])).status).toBe(200);
  });
});

it('says that a port is in use', async () => {
  const sandbox = await openSandbox({ path: ':memory:' });
  cleanups.push(() => sandbox.close());
  const server = await serveSandbox(sandbox, { port: 0 });
  cleanups.push(() => server.close());
  await expect(serveSandbox(sandbox, { port: server.port })).rejects.toThrow(
    `The sandbox cannot listen on 127.0.0.1:${server.port}: it is already in use. Choose another port, or end the program that has it.`,
  );
});
