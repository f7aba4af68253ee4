import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { maskSecrets, RunError } from '../runtime/errors.ts';
import { Concurrency, RateLimiter } from '../runtime/mixpanel/http.ts';
import type { Batch, MixpanelOptions } from '../runtime/mixpanel/import.ts';
import type { World } from '../runtime/world.ts';
import { realWorld } from '../runtime/world.ts';
import type { Answer, Request } from './scripted.ts';
import {
  client,
  closing,
  count,
  failure,
  fakeWorld,
  joined,
  lines,
  ok,
  SECRET,
  server,
  START,
  TIMEOUT,
  watch,
} from './scripted.ts';

/** One batch to a server of its own. */
async function run(answer: (request: Request, n: number) => Answer, batch: Batch = joined(2), random = 0) {
  const s = await server(answer);
  const f = fakeWorld({ random });
  const w = watch();
  const sent = client(f.world, s.host).importBatch(batch, w);
  return { requests: s.requests, sleeps: f.sleeps, calls: w.calls, sent };
}

describe('the request', () => {
  test('is a gzipped JSON array under the service account, and never parsed: digits stay exact', async () => {
    const s = await server((r) => ok(count(r)));
    const exact = '{"event":"ü","properties":{"n":12345678901234567890.10}}';
    const mixpanel = client(fakeWorld().world, s.host);
    const w = watch();
    const result = await mixpanel.importBatch({ body: `${exact}\n${exact}`, records: 2 }, w);
    expect(result).toEqual({ refused: [], maybe: false, notes: [] });
    const [request] = s.requests;
    expect(request?.url).toBe('/import?strict=1&project_id=42');
    expect(request?.headers).toMatchObject({
      'content-type': 'application/json',
      'content-encoding': 'gzip',
      authorization: `Basic ${Buffer.from(`user:${SECRET}`).toString('base64')}`,
    });
    expect(request?.body).toBe(`[${exact},\n${exact}]`);
    expect(w.calls).toEqual(['before', 'answered']);
    expect(mixpanel.name).toBe(`${s.host}#42`);
  });

  test('lines and the joined body are the same bytes', async () => {
    const s = await server((r) => ok(count(r)));
    const mixpanel = client(fakeWorld().world, `${s.host}/`);
    await mixpanel.importBatch(lines(3), watch());
    await mixpanel.importBatch(joined(3), watch());
    expect(s.requests[0]?.raw.equals(s.requests[1]!.raw)).toBe(true);
  });

  test('a token goes as user with an empty password and names no project', async () => {
    const s = await server((r) => ok(count(r)));
    const options = { serviceAccount: undefined, projectId: undefined };
    const a = client(fakeWorld().world, s.host, { ...options, token: 'tokenA' });
    const b = client(fakeWorld().world, s.host, { ...options, token: 'tokenB' });
    await a.importBatch(lines(1), watch());
    expect(s.requests[0]?.url).toBe('/import?strict=1');
    expect(s.requests[0]?.headers.authorization).toBe(`Basic ${Buffer.from('tokenA:').toString('base64')}`);
    expect(a.name).not.toBe(b.name);
    expect(a.name).not.toContain('tokenA');
  });

  test('an empty batch is no request', async () => {
    const s = await server(() => ok(0));
    const w = watch();
    expect((await client(fakeWorld().world, s.host).importBatch([], w)).refused).toEqual([]);
    expect([s.requests.length, w.calls.length]).toEqual([0, 0]);
  });

  test.each([
    [{ serviceAccount: undefined }, 'mixpanel-unauthorized', /service_account or a token/],
    [{ projectId: undefined }, 'mixpanel-unauthorized', /project_id/],
    [{ host: 'api.mixpanel.com' }, 'mixpanel-unreachable', /https:\/\/api\.mixpanel\.com/],
    [{ host: `https://u:${SECRET}@m` }, 'mixpanel-unreachable', /without credentials/],
  ] as const)('settings that cannot work are told at once: %j', async (options, code, message) => {
    const error = await failure(
      Promise.resolve().then(() => client(fakeWorld().world, 'http://m', options as Partial<MixpanelOptions>)),
    );
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
  });
});

describe('refusals', () => {
  const partial = (failed: unknown, imported?: number): Answer => ({
    status: 400,
    body: {
      code: 400,
      error: 'failed validation',
      failed_records: failed,
      num_records_imported: imported,
    },
  });

  test('a 400 refuses exactly the records that it names, by index, under either key', async () => {
    const r = await run(
      () =>
        partial(
          [
            { index: 3, $insert_id: 'b', field: '$insert_id' },
            { index: 1, insert_id: 'a', field: 'properties.time', message: "'properties.time' is invalid" },
            { index: 3, field: 'event', message: 'blank' },
          ],
          3,
        ),
      joined(5),
    );
    const result = await r.sent;
    expect(result).toEqual({
      refused: [
        { index: 1, reason: "'properties.time' is invalid" },
        { index: 3, reason: '$insert_id is invalid; blank' },
      ],
      maybe: false,
      notes: [],
    });
    expect(r.requests.length).toBe(1);
  });

  test('a different count becomes a note', async () => {
    const s = await server((_, n) =>
      n === 1 ? partial([{ index: 0, message: 'm' }], 1) : n === 2 ? ok(2) : { status: 200, body: '1' },
    );
    const mixpanel = client(fakeWorld().world, s.host);
    const first = await mixpanel.importBatch(joined(3), watch());
    expect(first.refused).toEqual([{ index: 0, reason: 'm' }]);
    expect(first.notes).toEqual(['Mixpanel says that it imported 1 records where 2 were accepted.']);
    expect((await mixpanel.importBatch(joined(3), watch())).notes).toEqual([
      'Mixpanel says that it imported 2 records where 3 were accepted.',
    ]);
    expect((await mixpanel.importBatch(joined(3), watch())).notes[0]).toMatch(/without saying how many/);
  });

  test.each([
    ['plain texts', ['identity events are not allowed'], 'identity events are not allowed'],
    ['no list', undefined, 'failed validation'],
    ['an index outside of the batch', [{ index: 99, message: 'far' }], 'far'],
  ])('a 400 with %s is bisected down to the row', async (_, failed, reason) => {
    const bad = new Set([2, 9]);
    const stored: number[] = [];
    const r = await run((request) => {
      const sent = (JSON.parse(request.body) as { properties: { i: number } }[]).map((r) => r.properties.i);
      if (sent.some((i) => bad.has(i))) return partial(failed, 0);
      stored.push(...sent);
      return ok(sent.length);
    }, joined(11));
    const result = await r.sent;
    expect(result.refused).toEqual([
      { index: 2, reason },
      { index: 9, reason },
    ]);
    expect(stored.sort((a, b) => a - b)).toEqual([0, 1, 3, 4, 5, 6, 7, 8, 10]);
    expect(result.notes).toEqual([]);
  });

  test('a batch that is refused row by row for one reason ends the run, unless something was accepted before', async () => {
    const wrong = partial(['identity events are not allowed'], 0);
    const s = await server((r) => (r.body.includes('good') ? ok(count(r)) : wrong));
    const mixpanel = client(fakeWorld().world, s.host);
    // One record alone says nothing about the others.
    expect((await mixpanel.importBatch(joined(1), watch())).refused.length).toBe(1);
    const error = await failure(mixpanel.importBatch(joined(3), watch()));
    expect([error.code, error.retryable]).toEqual(['mixpanel-rejected', false]);
    expect(error.message).toBe(
      `Mixpanel refuses every record: identity events are not allowed. Check the service account user (its secret, its role Owner or Admin, whether it expired) and project_id 42, the host of the target and the identity settings of the project.`,
    );
    const before = s.requests.length;
    expect(await failure(mixpanel.importBatch(joined(3), watch()))).toBe(error);
    expect(s.requests.length).toBe(before);

    const other = client(fakeWorld().world, s.host);
    await other.importBatch(['{"event":"good"}'], watch());
    expect((await other.importBatch(joined(3), watch())).refused.map((r) => r.index)).toEqual([0, 1, 2]);
  });

  test('rows that are refused for different reasons, or accepted in part, do not end the run', async () => {
    const each = await run((r) => (count(r) > 1 ? partial(undefined) : partial([r.body.length > 40 ? 'a' : r.body])));
    expect((await each.sent).refused.length).toBe(2);
    const one = await run((r) => (r.body.includes('"i":2') ? partial(['bad']) : ok(count(r))), joined(3));
    expect((await one.sent).refused).toEqual([{ index: 2, reason: 'bad' }]);
    const large = await run(() => ({ status: 413 }), joined(2));
    expect((await large.sent).refused.length).toBe(2);
  });

  test('413 splits in halves; a single record that is too large is refused, HTML or not', async () => {
    const s = await server((r) => {
      if (r.body.includes('huge')) return { status: 413, body: '<html><h1>413 Request Entity\n Too Large</h1></html>' };
      return count(r) > 2 ? { status: 413, body: { code: 413, error: 'request exceeds max limit' } } : ok(count(r));
    });
    const batch: Batch = [...lines(4), '{"event":"huge"}'];
    const w = watch();
    const result = await client(fakeWorld().world, s.host).importBatch(batch, w);
    expect(result).toEqual({
      refused: [{ index: 4, reason: '413 Request Entity Too Large' }],
      maybe: false,
      notes: [],
    });
    // The lease is asked before each of the split requests, too.
    expect(w.calls.filter((c) => c === 'before').length).toBe(s.requests.length);
  });

  test('a refusal that quotes a credential is masked', async () => {
    const r = await run(() => partial([{ index: 0, message: `bad ${SECRET}` }], 0), lines(1));
    const result = await r.sent;
    expect(result.refused).toEqual([{ index: 0, reason: 'bad ***' }]);
  });
});

describe('retries', () => {
  test('back off exponentially up to the ceiling, ten attempts by default, then give up', async () => {
    const r = await run(() => ({ status: 429, body: { code: 429 } }));
    const error = await failure(r.sent);
    expect(r.sleeps).toEqual([2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000, 60_000]);
    expect(r.requests.length).toBe(10);
    expect(new Set(r.requests.map((q) => q.raw.toString('hex'))).size).toBe(1);
    expect([error.code, error.retryable]).toEqual(['retries-exhausted', true]);
    expect(error.message).toContain('10 attempts (last: status 429)');
    expect(r.calls.filter((c) => typeof c === 'number')).toEqual([]);
  });

  test('jitter comes on top', async () => {
    const r = await run((r, n) => (n <= 2 ? { status: 429 } : ok(count(r))), joined(1), 0.5);
    await r.sent;
    expect(r.sleeps).toEqual([2500, 5000]);
  });

  test('Retry-After is honoured, as seconds and as a date, and is never below the backoff', async () => {
    const asked = ['7', new Date(START + 7000 + 20_000).toUTCString(), '1', 'soon', '999999999'];
    const r = await run(
      (r, n) => (n <= asked.length ? { status: 429, headers: { 'retry-after': asked[n - 1]! } } : ok(count(r))),
      joined(1),
    );
    await r.sent;
    expect(r.sleeps).toEqual([7000, 20_000, 8000, 16_000, 3_600_000]);
  });

  test.each([408, 500, 502, 503, 504, 524])('%i is tried again, and may have been stored', async (status) => {
    const r = await run((r, n) => (n === 1 ? { status, body: '<html>' } : ok(count(r))));
    const result = await r.sent;
    expect(result.maybe).toBe(true);
    expect(r.calls).toEqual(['before', 0, 'before', 'answered']);
  });

  test('a 429 was not stored', async () => {
    const r = await run((r, n) => (n === 1 ? { status: 429 } : ok(count(r))));
    const result = await r.sent;
    expect(result.maybe).toBe(false);
    expect(r.calls).toEqual(['before', 'answered', 'before', 'answered']);
  });

  test('a reset tells the wall time of the start, and what is then refused is maybe shown', async () => {
    const r = await run((_, n) =>
      n <= 2
        ? 'reset'
        : { status: 400, body: { failed_records: [{ index: 1, message: 'm' }], num_records_imported: 1 } },
    );
    const result = await r.sent;
    expect(result).toEqual({ refused: [{ index: 1, reason: 'm' }], maybe: true, notes: [] });
    expect(r.calls).toEqual(['before', 0, 'before', 2000, 'before', 'answered']);
    expect(r.sleeps).toEqual([2000, 4000]);
  });

  test('maybe survives a split', async () => {
    const r = await run((r, n) => (n === 1 ? 'reset' : n === 2 ? { status: 413 } : ok(count(r))), joined(4));
    expect((await r.sent).maybe).toBe(true);
  });

  test('a request without an answer is given up after the timeout', async () => {
    const s = await server((r, n) => (n === 1 ? 'hang' : ok(count(r))));
    const w = watch();
    const result = await client(fakeWorld({ timeouts: true }).world, s.host).importBatch(joined(2), w);
    expect(result.maybe).toBe(true);
    expect(w.calls).toEqual(['before', 0, 'before', 'answered']);
  });

  test('a server that is not there is retried, and the reason is told', async () => {
    const error = await failure(
      client(fakeWorld().world, 'http://127.0.0.1:1', { retry: { attempts: 2 } }).importBatch(joined(1), watch()),
    );
    expect(error.code).toBe('retries-exhausted');
    expect(error.message).toMatch(/2 attempts \(last: .+\)/);
  });
});

describe('what ends a run', () => {
  test.each([401, 403])('%i stops at once and says which credentials to check', async (status) => {
    const r = await run(() => ({ status, body: { error: `no ${SECRET}` } }));
    const error = await failure(r.sent);
    expect([error.code, error.retryable, r.requests.length]).toEqual(['mixpanel-unauthorized', false, 1]);
    expect(error.message).toContain('service account user');
    expect(error.message).toContain('project_id 42');
  });

  test.each([
    [{ status: 404 }, /has no \/import/],
    [{ status: 405, body: { error: `use PUT, ${SECRET}` } }, /status 405 \(use PUT, \*\*\*\)/],
    [
      { status: 302, headers: { location: 'https://eu.example.com/x?y=1' } },
      /redirect \(status 302 to https:\/\/eu\.example\.com\)/,
    ],
  ] as const)('%j is told at once', async (answer, message) => {
    const r = await run(() => answer);
    const error = await failure(r.sent);
    expect([error.code, error.retryable, r.requests.length]).toEqual(['mixpanel-rejected', false, 1]);
    expect(error.message).toMatch(message);
  });

  test('a stale lease starts no request, not even a second attempt', async () => {
    const s = await server(() => ({ status: 503 }));
    const lost = new RunError('lease-lost', 'lost', { retryable: true });
    let fresh = 1;
    const w = { ...watch(), beforeRequest: () => void (fresh-- > 0 || throwing(lost)) };
    await expect(client(fakeWorld().world, s.host).importBatch(joined(2), w)).rejects.toBe(lost);
    expect(s.requests.length).toBe(1);
  });

  test('an abort ends a request in flight, which had no answer', async () => {
    const abort = new AbortController();
    const why = new Error('lease lost');
    const s = await server(() => {
      abort.abort(why);
      return 'hang';
    });
    const w = watch(abort.signal);
    await expect(client(fakeWorld().world, s.host).importBatch(joined(2), w)).rejects.toBe(why);
    expect(w.calls).toEqual(['before', 0]);
  });

  test('an abort ends a wait between attempts', async () => {
    const abort = new AbortController();
    const why = new Error('lease lost');
    const s = await server(() => ({ status: 429 }));
    const { world } = fakeWorld();
    const sleepy: World = {
      ...world,
      sleep: (ms, signal) => {
        if (ms !== TIMEOUT) setTimeout(() => abort.abort(why), 10);
        return realWorld.sleep(60_000, signal);
      },
    };
    await expect(client(sleepy, s.host).importBatch(joined(2), watch(abort.signal))).rejects.toBe(why);
    expect(s.requests.length).toBe(1);
  });
});

const throwing = (error: unknown): never => {
  throw error;
};

describe('the rate limiter', () => {
  const signal = new AbortController().signal;

  test('lets one second through, then spaces requests in order', async () => {
    const f = fakeWorld();
    const waits: number[] = [];
    const limiter = new RateLimiter(
      { ...f.world, sleep: (ms) => Promise.resolve(void waits.push(ms)) },
      { eventsPerSecond: 1000 },
    );
    for (let i = 0; i < 4; i++) await limiter.take(1000, 1, signal);
    // The bucket is empty after the first, which a second may still follow; from there each waits for the one before.
    expect(waits).toEqual([1000, 2000]);
    f.advance(60_000);
    await limiter.take(1000, 1, signal);
    expect(waits.length).toBe(2);
  });

  test('counts bytes over a minute and lets a request that is larger than the burst go first', async () => {
    const f = fakeWorld();
    const limiter = new RateLimiter(f.world, { bytesPerMinute: 60_000 });
    await limiter.take(1, 10_000, signal);
    expect(f.sleeps).toEqual([]);
    await limiter.take(1, 1000, signal);
    expect(f.sleeps).toEqual([9000]);
  });

  test('never passes more than the limit, a burst and one request in any minute', async () => {
    const f = fakeWorld();
    const limiter = new RateLimiter(f.world, { eventsPerSecond: 30_000 });
    let sent = 0;
    while (f.world.monotonic() < 60_000) {
      await limiter.take(2000, 1, signal);
      sent += 2000;
    }
    expect(sent).toBeLessThanOrEqual(30_000 * 61 + 4000);
    expect(sent).toBeGreaterThan(30_000 * 59);
  });

  test('is off when there is no limit', async () => {
    const f = fakeWorld();
    const limiter = new RateLimiter(f.world, undefined);
    for (let i = 0; i < 10; i++) await limiter.take(1e9, 1e12, signal);
    expect(f.sleeps).toEqual([]);
  });

  test('is shared by the batches of one client', async () => {
    const s = await server((r) => ok(count(r)));
    const f = fakeWorld();
    const mixpanel = client(f.world, s.host, { rateLimit: { eventsPerSecond: 10 } });
    for (let i = 0; i < 3; i++) await mixpanel.importBatch(joined(10), watch());
    expect(f.sleeps).toEqual([1000]);
  });
});

describe('the concurrency', () => {
  const signal = new AbortController().signal;

  test('holds back what is above the limit, first come first served', async () => {
    const c = new Concurrency(2);
    const order: number[] = [];
    const slots = await Promise.all([c.acquire(signal), c.acquire(signal)]);
    const waiting = [1, 2].map((i) => c.acquire(signal).then((slot) => (order.push(i), slot)));
    await Promise.resolve();
    expect(order).toEqual([]);
    c.release(slots[0], 'good');
    await waiting[0];
    expect(order).toEqual([1]);
    c.release(slots[1], 'unused');
    await waiting[1];
    expect(order).toEqual([1, 2]);
  });

  test('is halved once by a burst of failures, again by a later one, and grows back slowly to its maximum', async () => {
    const c = new Concurrency(8);
    const slots = await Promise.all(Array.from({ length: 8 }, () => c.acquire(signal)));
    for (const slot of slots) c.release(slot, 'trouble');
    expect(c.limit).toBe(4);
    c.release(await c.acquire(signal), 'trouble');
    expect(c.limit).toBe(2);
    for (let i = 0; i < 20; i++) c.release(await c.acquire(signal), 'good');
    expect(c.limit).toBe(3);
    for (let i = 0; i < 1000; i++) c.release(await c.acquire(signal), 'good');
    expect(c.limit).toBe(8);
    for (let i = 0; i < 10; i++) c.release(await c.acquire(signal), 'trouble');
    expect(c.limit).toBe(1);
  });

  test('an abort leaves the queue and keeps no slot', async () => {
    const c = new Concurrency(1);
    const slot = await c.acquire(signal);
    const abort = new AbortController();
    const why = new Error('stop');
    const waiting = c.acquire(abort.signal);
    const next = c.acquire(signal);
    abort.abort(why);
    await expect(waiting).rejects.toBe(why);
    c.release(slot, 'good');
    expect(await next).toEqual({ round: 0 });
  });

  test('bounds what a client has on its way', async () => {
    let busy = 0;
    let most = 0;
    const { world } = fakeWorld();
    const counted: World = {
      ...world,
      fetch: async () => {
        most = Math.max(most, ++busy);
        await new Promise((resolve) => setTimeout(resolve, 5));
        busy--;
        return { status: 200, headers: { get: () => null }, text: () => Promise.resolve('{"num_records_imported":1}') };
      },
    };
    const mixpanel = client(counted, 'http://m', { concurrency: 3 });
    expect(mixpanel.concurrency).toBe(3);
    await Promise.all(Array.from({ length: 20 }, () => mixpanel.importBatch(lines(1), watch())));
    expect(most).toBe(3);
  });
});

describe('secrets', () => {
  test('are masked whole, as they look in JSON, in a URL and in a header', () => {
    const secret = 'a"b/c+d';
    const texts = [
      secret,
      JSON.stringify(secret),
      encodeURIComponent(secret),
      Buffer.from(`${secret}:`).toString('base64'),
    ];
    for (const text of texts) expect(maskSecrets(`<${text}>`, [secret])).toMatch(/^<"?\*\*\*"?>$/);
    expect(maskSecrets('key key-long', ['key', 'key-long', ''])).toBe('*** ***');
    expect(maskSecrets('a.c abc', ['a.c'])).toBe('*** abc');
    expect(maskSecrets('text', [])).toBe('text');
  });

  test('of less than four characters are masked only as whole words', () => {
    expect(maskSecrets('x is an example, "x" and x:y, éx', ['x'])).toBe('*** is an example, "***" and ***:y, éx');
    expect(maskSecrets('abc abcd xabc', ['abc'])).toBe('*** abcd xabc');
    expect(maskSecrets('Basic eDo=', ['x'])).toBe('Basic ***');
    expect(maskSecrets('xabcdx', ['abcd'])).toBe('x***x');
    expect(maskSecrets('a-b/c 😀 (', ['a-b/c', '😀', '('])).toBe('*** *** ***');
  });
});

describe('the real world', () => {
  const folder = async (): Promise<string> => {
    const dir = await mkdtemp(path.join(os.tmpdir(), 'syncline-'));
    closing.push(() => rm(dir, { recursive: true }));
    return dir;
  };

  test('reads nothing where there is no file, and throws on other trouble', async () => {
    const dir = await folder();
    expect(await realWorld.readFile(path.join(dir, 'none'))).toBeUndefined();
    await expect(realWorld.readFile(dir)).rejects.toThrow('EISDIR');
  });

  test('writes whole files, makes the folder and leaves nothing beside', async () => {
    const dir = await folder();
    const file = path.join(dir, 'a/b/state.json');
    await Promise.all(['one', 'two', 'six'].map((text) => realWorld.writeFileAtomic(file, text)));
    expect(['one', 'two', 'six']).toContain(await readFile(file, 'utf8'));
    expect(await readdir(path.dirname(file))).toEqual(['state.json']);
    await expect(realWorld.writeFileAtomic(path.join(dir, 'a/b'), 'x')).rejects.toThrow();
    expect(await readdir(path.join(dir, 'a'))).toEqual(['b']);
  });

  test('a sleep is ended by its signal with the reason', async () => {
    const abort = new AbortController();
    const why = new Error('enough');
    const sleeping = realWorld.sleep(60_000, abort.signal);
    abort.abort(why);
    await expect(sleeping).rejects.toBe(why);
    await expect(realWorld.sleep(1, abort.signal)).rejects.toBe(why);
    await realWorld.sleep(1);
  });

  test('ids are 32 hexadecimal digits and gzip is gzip', async () => {
    expect(realWorld.randomId()).toMatch(/^[0-9a-f]{32}$/);
    expect(gunzipSync(await realWorld.gzip('ünï')).toString('utf8')).toBe('ünï');
  });
});
