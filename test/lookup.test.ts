import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createGunzip, gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { World } from '../runtime/world.ts';
import type { Answer, Request } from './scripted.ts';
import { client, failure, fakeWorld, SECRET, server, watch } from './scripted.ts';

const ID = '55b4fb2b-e8de-466c-930f-8b36640b9b5e';
const CSV = ['id,name\r\n', 'a,"Ä, b"\r\n', 'b,c\r\n'];
const done: Answer = { status: 200, body: { code: 200, status: 'OK' } };

async function* chunks(texts: Iterable<string>): AsyncGenerator<string> {
  for (const text of texts) yield await Promise.resolve(text);
}

/** One table to a server of its own. */
async function run(answer: (request: Request, n: number) => Answer, csv: Iterable<string> = CSV) {
  const s = await server(answer);
  const f = fakeWorld();
  const w = watch();
  const sent = client(f.world, s.host).replaceLookup(ID, chunks(csv), w);
  return { requests: s.requests, sleeps: f.sleeps, calls: w.calls, sent };
}

describe('the request', () => {
  test('puts one gzipped CSV under the service account', async () => {
    const r = await run(() => done);
    expect(await r.sent).toEqual({ accepted: true, notes: [] });
    const [request] = r.requests;
    expect([request?.method, request?.url]).toEqual(['PUT', `/lookup-tables/${ID}?project_id=42`]);
    expect(request?.headers).toMatchObject({
      'content-type': 'text/csv',
      'content-encoding': 'gzip',
      authorization: `Basic ${Buffer.from(`user:${SECRET}`).toString('base64')}`,
    });
    expect(request?.body).toBe(CSV.join(''));
    expect(r.calls).toEqual(['before', 'answered']);
  });

  test('does not tear a character that two chunks share, wherever they end', async () => {
    const text = `id,name\n${'😀x'.repeat(50_000)},y\n`;
    const torn = Array.from({ length: Math.ceil(text.length / 7) }, (_, i) => text.slice(i * 7, i * 7 + 7));
    for (const csv of [
      torn,
      [text.slice(0, 65_537), text.slice(65_537)],
      [text.slice(0, 65_536), text.slice(65_536)],
    ]) {
      const r = await run(() => done, csv);
      expect(await r.sent).toEqual({ accepted: true, notes: [] });
      expect(r.requests[0]?.body === text).toBe(true);
    }
  });

  test('keeps an id out of the rest of the URL', async () => {
    const s = await server(() => done);
    await client(fakeWorld().world, s.host).replaceLookup('a/b?c', chunks(CSV), watch());
    expect(s.requests[0]?.url).toBe('/lookup-tables/a%2Fb%3Fc?project_id=42');
  });

  test('needs a service account, before anything is read', async () => {
    const mixpanel = client(fakeWorld().world, 'http://m', { serviceAccount: undefined, token: 'tok3n' });
    let read = false;
    const csv = (async function* () {
      read = true;
      yield await Promise.resolve('id,name\n');
    })();
    const error = await failure(mixpanel.replaceLookup(ID, csv, watch()));
    expect([error.code, error.retryable, read]).toEqual(['mixpanel-unauthorized', false, false]);
    expect(error.message).toMatch(/Set service_account and project_id/);
  });

  test('spends nothing of the rate limit of events', async () => {
    const s = await server(() => done);
    const f = fakeWorld();
    const mixpanel = client(f.world, s.host, { rateLimit: { eventsPerSecond: 1, bytesPerMinute: 1 } });
    for (let i = 0; i < 3; i++) await mixpanel.replaceLookup(ID, chunks(CSV), watch());
    expect(f.sleeps).toEqual([]);
  });
});

describe('the size', () => {
  /** Rows that compress well, like most tables do. */
  function* table(bytes: number): Generator<string> {
    yield 'id,name\n';
    const row = (i: number): string => `${String(i).padStart(12, '0')},${'some value '.repeat(8)}\n`;
    for (let i = 0, size = 8; size < bytes; i++) {
      const text = row(i);
      size += text.length;
      yield text;
    }
  }

  test('above 100 MB is refused before anything is sent, and no more of the table is read', async () => {
    let read = 0;
    const csv = (function* () {
      for (;;) {
        read += 1_000_000;
        yield 'x'.repeat(1_000_000);
      }
    })();
    const r = await run(() => done, csv);
    expect(await r.sent).toEqual({
      accepted: false,
      reason: 'The table is larger than the 100 MB that Mixpanel takes as one lookup table.',
      maybe: false,
    });
    expect([r.requests.length, r.calls.length]).toEqual([0, 0]);
    expect(read).toBeLessThan(110_000_000);
  });

  test('is counted in bytes', async () => {
    const wide = Array.from({ length: 51 }, () => 'ü'.repeat(1_000_000));
    const r = await run(() => done, wide);
    expect((await r.sent).accepted).toBe(false);
    const fits = await run(
      () => done,
      Array.from({ length: 50 }, () => 'ü'.repeat(1_000_000)),
    );
    expect((await fits.sent).accepted).toBe(true);
  });

  test('of nothing is refused', async () => {
    const r = await run(() => done, ['', '']);
    expect(await r.sent).toEqual({ accepted: false, reason: 'The table has not even a header.', maybe: false });
    expect(r.requests.length).toBe(0);
  });

  test('of 60 MB costs no more memory than the compressed table and some chunks', async () => {
    const { world } = fakeWorld();
    let sent: Uint8Array | undefined;
    const taking: World = {
      ...world,
      fetch: (_, init) => {
        sent = init.body as Uint8Array;
        return Promise.resolve({
          status: 200,
          headers: { get: () => null },
          text: () => Promise.resolve('{"code":200,"status":"OK"}'),
        });
      },
    };
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const held = (): number => {
      collect();
      return process.memoryUsage().external + process.memoryUsage().heapUsed;
    };
    const before = held();
    const written = createHash('sha256');
    let most = 0;
    let rows = 0;
    const csv = (function* () {
      for (const row of table(60_000_000)) {
        written.update(row);
        if (++rows % 20_000 === 0) most = Math.max(most, held() - before);
        yield row;
      }
    })();
    expect(await client(taking, 'http://m').replaceLookup(ID, chunks(csv), watch())).toEqual({
      accepted: true,
      notes: [],
    });
    const received = createHash('sha256');
    let size = 0;
    for await (const part of Readable.from([sent]).pipe(createGunzip()) as AsyncIterable<Buffer>) {
      received.update(part);
      size += part.length;
    }
    expect(size).toBeGreaterThanOrEqual(60_000_000);
    expect(received.digest('hex')).toBe(written.digest('hex'));
    expect(most).toBeLessThan(20_000_000);
  });
});

describe('the answer', () => {
  test('names the rows that a refusal is about', async () => {
    const r = await run(() => ({
      status: 400,
      body: {
        code: 400,
        error: 'Some data points in the request failed validation.',
        status: 'Bad Request',
        failed_records: [
          { index: 2, message: 'primary key is required and cannot be blank' },
          { index: 3, message: 'invalid row: wrong number of fields' },
          'and more',
          7,
        ],
      },
    }));
    expect(await r.sent).toEqual({
      accepted: false,
      reason:
        'Some data points in the request failed validation: index 2: primary key is required and cannot be blank; index 3: invalid row: wrong number of fields; and more; invalid',
      maybe: false,
    });
    expect(r.requests.length).toBe(1);
  });

  test.each([
    [
      404,
      { code: 200, error: "Lookup table with id 'x' was not found.", status: 'Not Found' },
      /^Lookup table with id/,
    ],
    [413, { code: 413, error: 'request exceeds max limit' }, /^request exceeds max limit$/],
    [413, '<h1>Too Large</h1>', /^Too Large$/],
    [400, '', /^refused with status 400 and no reason$/],
    [409, { error: `in use ${SECRET}` }, /^in use \*\*\*$/],
  ])('%i with a reason refuses the table: %j', async (status, body, reason) => {
    const r = await run(() => ({ status, body }));
    const result = await r.sent;
    expect(result).toMatchObject({ accepted: false, maybe: false });
    expect('reason' in result && result.reason).toMatch(reason);
  });

  test.each([401, 403])('%i stops at once and says which credentials to check', async (status) => {
    const r = await run(() => ({ status, body: { error: `Invalid credentials ${SECRET}` } }));
    const error = await failure(r.sent);
    expect([error.code, error.retryable, r.requests.length]).toEqual(['mixpanel-unauthorized', false, 1]);
    expect(error.message).toContain('service account user');
  });

  test.each([
    [{ status: 404, body: '<html>' }, /has no \/lookup-tables \(status 404\)/],
    [{ status: 202, body: {} }, /answered \/lookup-tables with status 202/],
    [{ status: 302, headers: { location: 'https://login.example.com/?x=1' } }, /to https:\/\/login\.example\.com\)/],
  ] as const)('%j is no answer of Mixpanel', async (answer, message) => {
    const error = await failure((await run(() => answer)).sent);
    expect(error.code).toBe('mixpanel-rejected');
    expect(error.message).toMatch(message);
  });

  test('that is not JSON is taken with a note', async () => {
    const result = await (await run(() => ({ status: 200, body: 'fine' }))).sent;
    expect(result).toMatchObject({ accepted: true, notes: [expect.stringContaining('Check the host')] });
  });
});

describe('trouble', () => {
  test('is tried again with the same bytes, and waits as long as asked', async () => {
    const answers: Answer[] = [{ status: 429, headers: { 'retry-after': '9' } }, { status: 503 }, 'reset', done];
    const r = await run((_, n) => answers[n - 1] ?? done);
    expect(await r.sent).toEqual({ accepted: true, notes: [] });
    expect(r.sleeps).toEqual([9000, 4000, 8000]);
    expect(new Set(r.requests.map((q) => q.raw.toString('hex'))).size).toBe(1);
    expect(gunzipSync(r.requests[3]?.raw ?? '').toString()).toBe(CSV.join(''));
    expect(r.calls).toEqual(['before', 'answered', 'before', 9000, 'before', 13_000, 'before', 'answered']);
  });

  test('makes a later refusal a maybe', async () => {
    const r = await run((_, n) => (n === 1 ? 'reset' : { status: 400, body: { error: 'e' } }));
    expect(await r.sent).toEqual({ accepted: false, reason: 'e', maybe: true });
  });

  test('a request without an answer is given up after the timeout', async () => {
    const s = await server((_, n) => (n === 1 ? 'hang' : done));
    const w = watch();
    const sent = client(fakeWorld({ timeouts: true }).world, s.host).replaceLookup(ID, chunks(CSV), w);
    expect(await sent).toEqual({ accepted: true, notes: [] });
    expect(w.calls).toEqual(['before', 0, 'before', 'answered']);
  });

  test('without end says how often a table may be replaced', async () => {
    const error = await failure((await run(() => ({ status: 429 }))).sent);
    expect([error.code, error.retryable]).toEqual(['retries-exhausted', true]);
    expect(error.hint).toMatch(/100 replacements .* in 24 hours/);
  });

  test('of the one who reads the table is passed on, and nothing is sent', async () => {
    const s = await server(() => done);
    const why = new Error('the query failed');
    const csv = (async function* () {
      yield await Promise.resolve('id,name\n');
      throw why;
    })();
    await expect(client(fakeWorld().world, s.host).replaceLookup(ID, csv, watch())).rejects.toBe(why);
    expect(s.requests.length).toBe(0);
  });

  test('an abort ends the reading with its reason', async () => {
    const s = await server(() => done);
    const abort = new AbortController();
    const why = new Error('lease lost');
    let closed = false;
    const csv = (async function* () {
      try {
        for (let i = 0; ; i++) {
          if (i === 3) abort.abort(why);
          yield await Promise.resolve('x'.repeat(100_000));
        }
      } finally {
        closed = true;
      }
    })();
    await expect(client(fakeWorld().world, s.host).replaceLookup(ID, csv, watch(abort.signal))).rejects.toBe(why);
    expect([s.requests.length, closed]).toEqual([0, true]);
  });
});
