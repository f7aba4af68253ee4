import { describe, expect, test } from 'vitest';
import type { Batch, MixpanelOptions } from '../runtime/mixpanel/import.ts';
import type { World } from '../runtime/world.ts';
import type { Answer, Request } from './scripted.ts';
import { client, count, failure, fakeWorld, server, watch } from './scripted.ts';

const TOKEN = 'tok3n-of-the-project';
const update = (i: number): string => `{"$distinct_id":"u${i}","$ip":"0","$set":{"n":${i}}}`;
const updates = (n: number): string[] => Array.from({ length: n }, (_, i) => update(i));
const joined = (n: number) => ({ body: updates(n).join('\n'), records: n });
const idsOf = (request: Request): string[] =>
  (JSON.parse(request.body) as { $distinct_id: string }[]).map((r) => r.$distinct_id);

const good = (n: number): Answer => ({ status: 200, body: { code: 200, num_good_events: n, status: 'OK' } });
const refusal = (failed: unknown, stored?: number, status = 200): Answer => ({
  status,
  body: { code: 400, num_good_events: stored, status: 'Bad Request', error: 'some failed', failed_records: failed },
});

const open = (world: World, host: string, options: Partial<MixpanelOptions> = {}) =>
  client(world, host, { token: TOKEN, ...options });

/** One batch to a server of its own. */
async function run(answer: (request: Request, n: number) => Answer, batch: Batch = joined(2)) {
  const s = await server(answer);
  const f = fakeWorld();
  const w = watch();
  const mixpanel = open(f.world, s.host);
  return { requests: s.requests, sleeps: f.sleeps, calls: w.calls, sent: mixpanel.engageBatch('engage', batch, w) };
}

async function failed(promise: Promise<unknown>) {
  const error = await failure(promise);
  expect(`${error.message} ${error.hint ?? ''}`).not.toContain(TOKEN);
  return error;
}

describe('the request', () => {
  test('is a plain JSON array with the token in each record and nowhere else; digits stay exact', async () => {
    const s = await server((r) => good(count(r)));
    const exact = '{"$distinct_id":"ü\u2028{","$set":{"n":12345678901234567890.10}}';
    const w = watch();
    const mixpanel = open(fakeWorld().world, s.host);
    const result = await mixpanel.engageBatch('engage', { body: `${exact}\n${exact}`, records: 2 }, w);
    expect(result).toEqual({ refused: [], maybe: false, notes: [] });
    const [request] = s.requests;
    const sent = `{"$token":"${TOKEN}",${exact.slice(1)}`;
    expect(request?.body).toBe(`[${sent},\n${sent}]`);
    expect([request?.method, request?.url]).toEqual(['POST', '/engage?ip=0&strict=1&verbose=2']);
    expect(request?.headers['content-type']).toBe('application/json');
    expect(request?.headers['content-encoding']).toBeUndefined();
    expect(request?.headers.authorization).toBeUndefined();
    expect(JSON.stringify([request?.url, request?.headers, mixpanel.name])).not.toContain(TOKEN);
    expect(w.calls).toEqual(['before', 'answered']);
  });

  test('of group profiles goes to /groups; a token is text inside JSON', async () => {
    const s = await server((r) => good(count(r)));
    const mixpanel = open(fakeWorld().world, s.host, { token: 'a"b', serviceAccount: undefined });
    const group = '{"$group_key":"company","$group_id":"a","$unset":["x"]}';
    await mixpanel.engageBatch('groups', [group, '{}'], watch());
    expect(s.requests[0]?.url).toBe('/groups?ip=0&strict=1&verbose=2');
    expect(JSON.parse(s.requests[0]?.body ?? '')).toEqual([
      { $token: 'a"b', $group_key: 'company', $group_id: 'a', $unset: ['x'] },
      { $token: 'a"b' },
    ]);
  });

  test('is none without records, and none without a token', async () => {
    const s = await server(() => good(0));
    const w = watch();
    expect((await open(fakeWorld().world, s.host).engageBatch('engage', [], w)).refused).toEqual([]);
    for (const token of [undefined, '']) {
      const error = await failed(open(fakeWorld().world, s.host, { token }).engageBatch('groups', joined(1), w));
      expect([error.code, error.retryable]).toEqual(['mixpanel-unauthorized', false]);
      expect(error.message).toMatch(/Set token of the target/);
    }
    expect([s.requests.length, w.calls.length]).toEqual([0, 0]);
  });

  test('holds at most 2,000 updates: a larger batch goes out in order, with positions of the whole batch', async () => {
    const batch = joined(4500);
    const r = await run(
      (request, n) => (n === 3 ? refusal([{ index: 7, message: 'm' }]) : good(count(request))),
      batch,
    );
    expect(await r.sent).toEqual({ refused: [{ index: 4007, reason: 'm' }], maybe: false, notes: [] });
    expect(r.requests.map(count)).toEqual([2000, 2000, 500]);
    expect(r.requests.flatMap(idsOf)).toEqual(updates(4500).map((_, i) => `u${i}`));
  });

  test('shares the rate limit and the concurrency with events', async () => {
    const s = await server((r) =>
      r.url.startsWith('/import') ? { status: 200, body: { num_records_imported: count(r) } } : good(count(r)),
    );
    const f = fakeWorld();
    const mixpanel = open(f.world, s.host, { rateLimit: { eventsPerSecond: 10 }, concurrency: 3 });
    expect(mixpanel.concurrency).toBe(3);
    await mixpanel.importBatch(['{"event":"e"}', ...Array.from({ length: 19 }, () => '{"event":"e"}')], watch());
    await mixpanel.engageBatch('engage', joined(10), watch());
    expect(f.sleeps).toEqual([1000]);
  });
});

describe('the answer', () => {
  test.each([
    ['strict', { code: 200, num_good_events: 2, status: 'OK' }],
    ['strict with empty lists', { code: 200, error: '', failed_records: [], num_good_events: 2, status: 'Ok' }],
    ['verbose', { status: 1, error: null }],
    ['plain', '1'],
    ['plain with a newline', '1\n'],
  ])('accepts: %s', async (_, body) => {
    const r = await run(() => ({ status: 200, body }));
    expect(await r.sent).toEqual({ refused: [], maybe: false, notes: [] });
    expect(r.requests.length).toBe(1);
  });

  test.each([200, 400])('refuses exactly the records that it names, with status %i', async (status) => {
    const named = [
      { index: 3, message: '$distinct_id, missing or empty' },
      { index: 1, field: '$set' },
      { index: 3, message: 'again' },
    ];
    const r = await run(() => refusal(named, 3, status), joined(5));
    expect(await r.sent).toEqual({
      refused: [
        { index: 1, reason: '$set is invalid' },
        { index: 3, reason: '$distinct_id, missing or empty; again' },
      ],
      maybe: false,
      notes: [],
    });
    expect(r.requests.length).toBe(1);
  });

  test('that stored fewer than were not refused makes the others go again', async () => {
    const r = await run((request, n) => {
      if (n === 1) return refusal([{ index: 1, message: 'a' }], 0);
      if (n === 2) return refusal([{ index: 2, message: 'b' }], 0);
      return good(count(request));
    }, joined(5));
    expect(await r.sent).toEqual({
      refused: [
        { index: 1, reason: 'a' },
        { index: 3, reason: 'b' },
      ],
      maybe: false,
      notes: [],
    });
    expect(r.requests.map(idsOf)).toEqual([
      ['u0', 'u1', 'u2', 'u3', 'u4'],
      ['u0', 'u2', 'u3', 'u4'],
      ['u0', 'u2', 'u4'],
    ]);
  });

  test('with another count becomes a note', async () => {
    const r = await run(() => good(1));
    expect((await r.sent).notes).toEqual(['Mixpanel says that it stored 1 updates of profiles where 2 were accepted.']);
  });

  test.each([
    ['verbose', { status: 0, error: '$distinct_id, missing or empty' }, '$distinct_id, missing or empty'],
    ['a text status', { status: 'error', error: null }, 'refused with status 200 and no reason'],
    ['plain', '0', 'refused without a reason'],
    ['plain texts', { status: 'Bad Request', failed_records: ['no such group'] }, 'no such group'],
    ['an index outside of the batch', { status: 'OK', failed_records: [{ index: 99, message: 'far' }] }, 'far'],
  ])('that names no record (%s) is bisected down to the row', async (_, body, reason) => {
    const bad = new Set(['u2', 'u9']);
    const stored: string[] = [];
    const r = await run((request) => {
      if (idsOf(request).some((id) => bad.has(id))) return { status: 200, body };
      stored.push(...idsOf(request));
      return good(count(request));
    }, joined(11));
    expect((await r.sent).refused).toEqual([
      { index: 2, reason },
      { index: 9, reason },
    ]);
    // In their order, too: two updates of one profile must not change places.
    expect(stored).toEqual(['u0', 'u1', 'u3', 'u4', 'u5', 'u6', 'u7', 'u8', 'u10']);
  });

  test('that refuses every record for one reason ends the run', async () => {
    const r = await run(() => ({ status: 200, body: { status: 0, error: 'token, missing or empty' } }), joined(4));
    const error = await failed(r.sent);
    expect([error.code, error.retryable, r.requests.length]).toEqual(['mixpanel-rejected', false, 7]);
    expect(error.message).toBe(
      'Mixpanel refuses every record: token, missing or empty. Check the token of the target and its host.',
    );
  });

  test('to users says nothing about groups', async () => {
    const s = await server((r) => (r.url.startsWith('/groups') ? { status: 200, body: '0' } : good(count(r))));
    const mixpanel = open(fakeWorld().world, s.host);
    await mixpanel.engageBatch('engage', joined(2), watch());
    const error = await failed(mixpanel.engageBatch('groups', joined(2), watch()));
    expect(error.message).toMatch(/refused without a reason\. Check .*group keys/);
  });

  test.each(['', '<html>Welcome</html>', {}, '2', 'null'])('that says nothing ends the run: %j', async (body) => {
    const r = await run(() => ({ status: 200, body }));
    const error = await failed(r.sent);
    expect([error.code, r.requests.length]).toEqual(['mixpanel-rejected', 1]);
    expect(error.message).toMatch(/without saying whether it stored/);
  });

  test('413 splits in halves; one record that is too large is refused, HTML or not', async () => {
    const r = await run(
      (request) => {
        if (request.body.includes('huge')) return { status: 413, body: '<h1>413 Too Large</h1>' };
        return count(request) > 2 ? { status: 413, body: { error: 'exceeds' } } : good(count(request));
      },
      [...updates(4), '{"$distinct_id":"huge"}'],
    );
    expect(await r.sent).toEqual({ refused: [{ index: 4, reason: '413 Too Large' }], maybe: false, notes: [] });
    expect(r.calls.filter((c) => c === 'before').length).toBe(r.requests.length);
  });

  test('that quotes the token is masked', async () => {
    const r = await run(() => refusal([{ index: 0, message: `unknown ${TOKEN}` }]));
    expect((await r.sent).refused).toEqual([{ index: 0, reason: 'unknown ***' }]);
  });
});

describe('trouble', () => {
  test('429 waits as long as asked, sends the same bytes and was not stored', async () => {
    const r = await run((request, n) =>
      n === 1 ? { status: 429, headers: { 'retry-after': '7' }, body: { error: TOKEN } } : good(count(request)),
    );
    expect((await r.sent).maybe).toBe(false);
    expect(r.sleeps).toEqual([7000]);
    expect(r.requests[0]?.raw.equals(r.requests[1]!.raw)).toBe(true);
    expect(r.calls).toEqual(['before', 'answered', 'before', 'answered']);
  });

  const trouble: readonly Answer[] = [{ status: 503, body: '<html>' }, 'reset'];
  test.each(trouble)('%j is tried again and may have been stored, also over the parts of a batch', async (answer) => {
    const r = await run((request, n) => {
      if (n === 1) return answer;
      return n === 2 ? good(count(request)) : refusal([{ index: 0, message: 'm' }]);
    }, joined(2001));
    expect(await r.sent).toEqual({ refused: [{ index: 2000, reason: 'm' }], maybe: true, notes: [] });
    expect(r.calls).toEqual(['before', 0, 'before', 'answered', 'before', 'answered']);
  });

  test('without any answer the run ends and may be repeated', async () => {
    const r = await run(() => ({ status: 502, body: TOKEN }));
    const error = await failed(r.sent);
    expect([error.code, error.retryable, r.requests.length]).toEqual(['retries-exhausted', true, 10]);
  });

  test('a request without an answer is given up after the timeout', async () => {
    const s = await server((r, n) => (n === 1 ? 'hang' : good(count(r))));
    const w = watch();
    const result = await open(fakeWorld({ timeouts: true }).world, s.host).engageBatch('engage', joined(2), w);
    expect(result.maybe).toBe(true);
    expect(w.calls).toEqual(['before', 0, 'before', 'answered']);
  });

  test.each([401, 403])('%i stops at once and says what to check', async (status) => {
    const r = await run(() => ({ status, body: { error: TOKEN, status: 'error' } }), joined(3000));
    const error = await failed(r.sent);
    expect([error.code, r.requests.length]).toEqual(['mixpanel-unauthorized', 1]);
    expect(error.message).toContain('Check the token of the target');
  });

  test('a missing endpoint is told by its name', async () => {
    const r = await run(() => ({ status: 404, body: TOKEN }));
    expect((await failed(r.sent)).message).toContain('has no /engage (status 404)');
  });
});
