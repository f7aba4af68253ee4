import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Properties } from '../runtime/sandbox/operations.ts';
import { compileWhere } from '../runtime/sandbox/where.ts';
import type { Send } from './sandbox-served.ts';
import { NOW, serve } from './sandbox-served.ts';

const track = (properties: object = {}, event: unknown = 'Seen'): object => ({
  event,
  properties: { token: 'tok', distinct_id: 'u1', time: NOW / 1000, $insert_id: 'i1', ...properties },
});

const DAYS = 86_400;

describe('track', () => {
  it('fills in what is missing and drops what is old', async () => {
    const { sandbox, send } = await serve();
    const body = [
      track({ ip: 0 }),
      track({ time: NOW / 1000 + 5 * DAYS, $insert_id: 'future' }),
      track({ time: NOW / 1000 - 6 * DAYS, $insert_id: 'old' }),
      track({ time: NOW / 1000 - 0.25, $insert_id: 'float' }),
      { event: 'Bare', properties: { token: 'tok' } },
      { event: 'Bare', properties: { token: 'tok' } },
    ];
    expect((await send('/track?verbose=1', { body })).json).toEqual({ error: null, status: 1 });
    expect(
      await sandbox.query('select event, distinct_id, time_ms - 1767355200000 as t, project from events order by seq'),
    ).toEqual([
      { event: 'Seen', distinct_id: 'u1', t: 0, project: 'tok' },
      { event: 'Seen', distinct_id: 'u1', t: 0, project: 'tok' },
      { event: 'Seen', distinct_id: 'u1', t: -250, project: 'tok' },
      { event: 'Bare', distinct_id: '', t: 0, project: 'tok' },
      { event: 'Bare', distinct_id: '', t: 0, project: 'tok' },
    ]);
    expect(await sandbox.query("select properties->>'token' as t, endpoint from events_raw limit 1")).toEqual([
      { t: null, endpoint: '/track' },
    ]);
  });

  it('answers as asked: 0, verbose, strict, callback, img', async () => {
    const { sandbox, send } = await serve();
    const nameless = track({ token: '' });
    const both = [nameless, track()];
    expect((await send('/track', { body: nameless })).text).toBe('0');
    expect((await send('/track?verbose=2', { body: nameless })).json).toEqual({
      error: 'token, missing or empty',
      status: 0,
    });
    expect((await send('/track', { body: both })).text).toBe('1');
    expect((await send('/track?strict=1', { body: [...both, track({}, '')] })).json).toMatchObject({
      code: 400,
      num_good_events: 1,
      failed_records: [
        { index: 0, field: 'properties.token' },
        { index: 2, field: 'event', message: "'event' must not be missing or blank" },
      ],
    });
    const jsonp = await send('/track?callback=go.on&verbose=1', { body: track() });
    expect([jsonp.headers.get('content-type'), jsonp.text]).toEqual([
      'text/javascript; charset=utf-8',
      'go.on({"error":null,"status":1});',
    ]);
    const data = Buffer.from(JSON.stringify(track())).toString('base64url');
    const pixel = await send(`/track?img=1&data=${data}`);
    expect([pixel.headers.get('content-type'), pixel.text.slice(0, 6)]).toEqual(['image/gif', 'GIF89a']);
    expect((await send('/track')).text).toBe('0');
    const unreadable = new URLSearchParams({ data: '[NaN]', verbose: '1' });
    expect((await send('/track', { body: unreadable })).json).toEqual({ error: 'data, missing or empty', status: 0 });
    expect(await sandbox.query('select count(*) as n from events_raw')).toEqual([{ n: 4 }]);
  });
});

describe('forms on /import', () => {
  it('are answered in the legacy way, whoever signs', async () => {
    const { sandbox, send } = await serve();
    const form = (id: string): string =>
      `data=${Buffer.from(JSON.stringify([track({ $insert_id: id, time: 1 + 3e8 })])).toString('base64')}`;
    const urlencoded = (authorization: string): Record<string, string> => ({
      'content-type': 'application/x-www-form-urlencoded',
      authorization,
    });
    const secret = `Basic ${Buffer.from('sec:').toString('base64')}`;
    const signed = await send('/import?verbose=1', { body: form('a'), headers: urlencoded(secret) });
    expect(signed.json).toEqual({ error: null, status: 1 });
    const key = await send('/import?api_key=key', { body: form('b'), headers: urlencoded('') });
    expect(key.text).toBe('1');
    expect((await send('/import', { body: form('c'), headers: urlencoded('') })).status).toBe(401);
    const timeless = new URLSearchParams({ data: JSON.stringify(track({ time: undefined })), verbose: '1' });
    expect((await send('/import', { body: timeless })).status).toBe(400);
    expect((await send('/import?project_id=7', { body: timeless })).json).toEqual({
      error: "'properties.time' is invalid: must be specified as seconds since epoch",
      status: 0,
    });
    const merge = [track({ time: 1 + 3e8 }), { event: '$merge', properties: { $distinct_ids: ['a', 'b'] } }];
    const fields = { data: JSON.stringify(merge), verbose: '1' };
    expect((await send('/import?project_id=7', { body: new URLSearchParams(fields) })).json).toEqual({
      error: 'identity events are not allowed when project is using simplified identity management',
      status: 0,
    });
    expect(await sandbox.query('select project, insert_id from events order by seq')).toEqual([
      { project: 'sec', insert_id: 'a' },
      { project: 'key', insert_id: 'b' },
    ]);
  });
});

const imported = (properties: object, event = 'Bought'): object => ({
  event,
  properties: { distinct_id: 'u1', time: NOW, ip: 0, token: 'tok', ...properties },
});
const post = (events: readonly object[]): Send => ({ body: events });
const lines = (text: string): { event: string; properties: Properties }[] =>
  text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as { event: string; properties: Properties });

describe('export', () => {
  const day = '&from_date=2026-01-02&to_date=2026-01-02';

  it('shows every copy as NDJSON with what Mixpanel adds, gzipped when large', async () => {
    const { send } = await serve();
    await send('/import?strict=1&project_id=7', post([imported({ $insert_id: 'a', v: 1 })]));
    await send('/import?strict=1&project_id=7', post([imported({ $insert_id: 'a', v: 2, list: [1, { k: 'é' }] })]));
    await send('/import?strict=1&project_id=7', post([imported({ $insert_id: 'b', time: NOW - 86_400_000 }, 'Old')]));
    const answer = await send(`/api/2.0/export?project_id=7${day}`);
    expect(answer.headers.get('content-encoding')).toBe(null);
    expect(lines(answer.text)).toMatchObject([{ properties: { v: 1 } }, { properties: { v: 2 } }]);
    expect(lines(answer.text)[1]).toEqual({
      event: 'Bought',
      properties: {
        time: NOW / 1000,
        distinct_id: 'u1',
        $insert_id: 'a',
        v: 2,
        list: [1, { k: 'é' }],
        $import: true,
        $mp_api_endpoint: 'api.mixpanel.com',
        $mp_api_timestamp_ms: NOW,
        $mp_event_size: expect.any(Number) as number,
        mp_processing_time_ms: NOW,
      },
    });
    const both = await send(
      '/api/2.0/export?project_id=7&from_date=2026-01-01&to_date=2026-01-02&time_in_ms=true&event=["Old"]',
    );
    expect(lines(both.text)).toMatchObject([{ event: 'Old', properties: { time: NOW - 86_400_000 } }]);
    const where = `&where=${encodeURIComponent('properties["v"] == 2 or properties["v"] == 9')}`;
    expect(lines((await send(`/api/2.0/export?project_id=7${day}${where}`)).text)).toHaveLength(1);
    expect(lines((await send(`/api/2.0/export?project_id=7${day}&limit=1`)).text)).toHaveLength(1);
    await send(
      '/import?strict=1&project_id=7',
      post([
        imported({
          $insert_id: 'c',
          text: ['x'.repeat(200), 'y'.repeat(200), ...Array<string>(6).fill('z'.repeat(250))],
        }),
      ]),
    );
    const large = await send(`/api/2.0/export?project_id=7${day}`, { headers: { 'accept-encoding': 'gzip' } });
    expect(large.headers.get('content-encoding')).toBe('gzip');
    expect(lines(large.text)).toHaveLength(3);
  });

  it.each([
    ['&from_date=2026-01-02', 'are required'],
    ['&from_date=2026-01-02&to_date=2026-01-03', 'to_date cannot be later than today'],
    ['&from_date=2026-01-02&to_date=2026-01-01', 'from_date cannot be later'],
    [`${day}&limit=100001`, 'limit must be'],
    [`${day}&event=x`, 'JSON list'],
    [`${day}&where=nope(1)`, 'where: unexpected nope'],
  ])('refuses %s', async (query, error) => {
    const { send } = await serve();
    const answer = await send(`/api/2.0/export?project_id=7${query}`);
    expect([answer.status, answer.json]).toMatchObject([400, { error: expect.stringContaining(error) as string }]);
    expect(answer.json['request']).toMatch(/^\/api\/2\.0\/export\?project_id=7/);
  });

  it('needs credentials, and may end early, be cut, or be limited', async () => {
    let now = NOW;
    const { send } = await serve({
      now: () => now,
      faults: { terminatedEarly: { first: 1 }, cutExport: { first: 1 }, callLimits: true },
    });
    expect((await send(`/api/2.0/export?project_id=7${day}`, { headers: { authorization: '' } })).status).toBe(401);
    await send('/import?strict=1&project_id=7', post([1, 2].map((i) => imported({ $insert_id: `i${i}` }))));
    const early = await send(`/api/2.0/export?project_id=7${day}`);
    expect([early.status, early.text.split('\n').slice(1)]).toEqual([200, ['terminated early', '']]);
    const cut = await send(`/api/2.0/export?project_id=7${day}`);
    expect(() => lines(cut.text)).toThrow();
    expect(lines((await send(`/api/2.0/export?project_id=7${day}`)).text)).toHaveLength(2);
    const limited = await send(`/api/2.0/export?project_id=7${day}`);
    expect([limited.status, limited.json['error']]).toEqual([429, expect.stringContaining('too many export')]);
    now += 1000;
    expect((await send(`/api/2.0/export?project_id=7${day}`)).status).toBe(200);
  });
});

describe('where', () => {
  const properties = { a: 1, s: 'abc', l: ['x', 2], t: 1_700_000_000, b: true, n: null };
  it.each<[string, boolean]>([
    ['properties["a"] == 1', true],
    ['properties["a"] == "1"', false],
    ['properties["a"] + 2 * 3 == 7 and not properties["missing"]', true],
    ['(properties["a"] + 2) * 3 == 7', false],
    ['"b" in properties["s"] and "x" in properties["l"] and 2 in properties["l"]', true],
    ['properties["a"] in [1, 2]', true],
    ['defined(properties["n"]) or defined(user["zz"])', false],
    ['properties["s"] > 1', false],
    ['floor(1.7) == 1 and ceil(1.2) == 2 and -properties["a"] == -1', true],
    ['string(properties["a"]) == "1" and number("2") == 2 and boolean(properties["b"])', true],
    ['properties["t"] > datetime("2023-11-14T00:00:00")', true],
    ['event["$time"] == 5', true],
    ["properties['s'] != 'abc'", false],
  ])('%s is %s', (source, value) => {
    expect(compileWhere(source)({ properties, event: { $time: 5 } })).toBe(value);
  });
  it.each(['', '1 +', 'properties[', 'x()', '1 2', '#'])('cannot read %j', (source) => {
    expect(() => compileWhere(source)).toThrow();
  });
});

it('opens a file that an older sandbox made', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'sandbox-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const file = path.join(dir, 'old.duckdb');
  const instance = await DuckDBInstance.create(file);
  const connection = await instance.connect();
  await connection.run(`
    create table sandbox (id varchar not null); insert into sandbox values ('old id');
    create table events_raw (
      seq bigint not null, received_ms bigint not null, project varchar not null, event varchar not null,
      distinct_id varchar not null, time_ms bigint not null, insert_id varchar not null, properties json not null);
    create view events as select * from events_raw;
    insert into events_raw values (5, 1, '7', 'Old', 'u', ${NOW}, 'a', '{"v":1}')`);
  connection.closeSync();
  instance.closeSync();
  const { sandbox, send } = await serve({ path: file });
  expect(sandbox.id).toBe('old id');
  await send('/import?strict=1&project_id=7', post([imported({ $insert_id: 'b' })]));
  expect(await sandbox.query('select seq, insert_id from events order by seq')).toEqual([
    { seq: 5, insert_id: 'a' },
    { seq: 6, insert_id: 'b' },
  ]);
  const all = await send('/api/2.0/export?project_id=7&from_date=2026-01-02&to_date=2026-01-02');
  expect(lines(all.text)).toMatchObject([{ properties: { v: 1, $import: true } }, { properties: { $insert_id: 'b' } }]);
});
