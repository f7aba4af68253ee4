import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import type { Operation, Properties } from '../runtime/sandbox/operations.ts';
import { apply, operationOf } from '../runtime/sandbox/operations.ts';
import { NOW, serve } from './sandbox-served.ts';

const user = (id: unknown, more: object): object => ({ $token: 'tok', $distinct_id: id, ...more });
const group = (id: unknown, more: object): object => ({ $token: 'tok', $group_key: 'company', $group_id: id, ...more });
const set = (value: object): object => ({ $set: value });

describe('operations', () => {
  it.each<[string, Properties | undefined, object, Properties | undefined]>([
    ['$set', undefined, { a: 1 }, { a: 1 }],
    ['$set', { a: 1, b: 2 }, { a: null, __proto__x: { k: [1] } }, { a: null, b: 2, __proto__x: { k: [1] } }],
    ['$set_once', { a: 1 }, { a: 2, b: 3 }, { a: 1, b: 3 }],
    ['$add', undefined, { n: 2 }, { n: 2 }],
    ['$add', { n: 2, s: 'x' }, { n: -3, s: 1 }, { n: -1, s: 'x' }],
    ['$union', { l: [1] }, { l: [1, 2, 2], m: ['x', 'x'] }, { l: [1, 2], m: ['x'] }],
    ['$union', { l: ['a', 'a'] }, { l: ['a', 'b'] }, { l: ['a', 'a', 'b'] }],
    ['$append', { l: [1], s: 'x' }, { l: 1, m: { k: 1 }, s: 1 }, { l: [1, 1], m: [{ k: 1 }], s: 'x' }],
    ['$remove', { l: [1, 2, 1] }, { l: 1, m: 1 }, { l: [2] }],
    ['$remove', undefined, { l: 1 }, undefined],
    ['$unset', { a: 1, b: 2 }, ['a', 'z'], { b: 2 }],
    ['$unset', undefined, ['a'], undefined],
    ['$delete', { a: 1 }, {}, undefined],
    [
      '$set',
      undefined,
      { long: 'é'.repeat(200), ['n'.repeat(300)]: 1 },
      { long: 'é'.repeat(127), ['n'.repeat(255)]: 1 },
    ],
  ])('%s of %j with %j', (name, before, value, after) => {
    expect(apply(before, { name, value } as Operation)).toEqual(after);
  });

  it('keeps 2,000 properties', () => {
    const full = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`p${i}`, i]));
    const after = apply(full, { name: '$set', value: { p0: 'new', more: 1 } });
    expect([after!['p0'], Object.keys(after!).length]).toEqual(['new', 2000]);
  });

  it.each<[Properties, boolean, string]>([
    [{}, false, 'one of'],
    [{ $set: {}, $unset: ['a'] }, false, 'in one record'],
    [{ $set: [] }, false, '$set, must be an object'],
    [{ $unset: [] }, false, '$unset, must be a list'],
    [{ $union: { a: 1 } }, false, '$union, must be'],
    [{ $add: { a: '1' } }, false, '$add, must be'],
    [{ $add: { a: 1 } }, true, '$add is not supported'],
    [{ $append: { a: 1 } }, true, '$append is not supported'],
  ])('refuses %j', (record, forGroups, error) => {
    expect(operationOf(record, forGroups)).toMatchObject({ error: expect.stringContaining(error) as string });
  });
});

describe('engage', () => {
  it('applies a batch in its order and answers 1', async () => {
    const { sandbox, send } = await serve();
    const body = [
      user('u1', { $ip: '0', ...set({ name: 'Ann', n: 1 }) }),
      user('u1', { $add: { n: 2 } }),
      user(7, set({ x: 'y' })),
      user('u2', set({ x: 1 })),
      user('u2', { $delete: 'null', $ignore_alias: true }),
    ];
    const answer = await send('/engage?ip=0', { body });
    expect([answer.status, answer.text]).toEqual([200, '1']);
    expect(await sandbox.query('from profiles order by distinct_id')).toEqual([
      { project: 'tok', distinct_id: '7', properties: '{"x":"y"}', last_seen_ms: NOW },
      { project: 'tok', distinct_id: 'u1', properties: '{"name":"Ann","n":3}', last_seen_ms: NOW },
    ]);
    await send('/engage#profile-unset', { body: user('u1', { $unset: ['n'] }) });
    expect(await sandbox.query("select properties from profiles where distinct_id = 'u1'")).toEqual([
      { properties: '{"name":"Ann"}' },
    ]);
    expect(sandbox.counts.records).toBe(6);
  });

  it('leaves $last_seen alone on $ignore_time', async () => {
    const { sandbox, send } = await serve();
    await send('/engage', { body: user('u1', { ...set({ a: 1 }), $ignore_time: true }) });
    expect(await sandbox.query('select last_seen_ms from profiles')).toEqual([{ last_seen_ms: null }]);
  });

  it('says per record what is wrong with strict=1, and keeps the others', async () => {
    const { sandbox, send } = await serve();
    const body = [
      user('good', set({ a: 1 })),
      user('', set({})),
      { $distinct_id: 'x', $set: {} },
      user({}, set({})),
      user('x', {}),
      user('x', set({ a: 'x'.repeat(1024 * 1024) })),
      'text',
    ];
    const strict = await send('/engage?strict=1&verbose=1', { body });
    expect([strict.status, strict.json]).toEqual([
      200,
      {
        code: 400,
        error: 'some data points in the request failed validation',
        failed_records: [
          { index: 1, field: '$distinct_id', message: '$distinct_id, missing or empty' },
          { index: 2, field: '$token', message: '$token, missing or empty' },
          { index: 3, field: '$distinct_id', message: '$distinct_id, missing or empty' },
          { index: 4, field: 'operation', message: expect.stringContaining('is required') as string },
          { index: 5, field: 'data', message: 'data, must be smaller than 1 MB' },
          { index: 6, field: 'data', message: 'data, must be an object' },
        ],
        num_good_events: 1,
        status: 'Bad Request',
      },
    ]);
    expect(await sandbox.query('select distinct_id from profiles')).toEqual([{ distinct_id: 'good' }]);
    const clean = await send('/engage?strict=1', { body: [user('b', set({}))] });
    expect(clean.json).toEqual({ code: 200, error: null, num_good_events: 1, status: 'OK' });
  });

  it('answers 0 and a reason when nothing is valid, and 413 to 2,001 records', async () => {
    const { send } = await serve();
    const bad = user('', set({}));
    expect((await send('/engage', { body: bad })).text).toBe('0');
    for (const verbose of [1, 2]) {
      const answer = await send(`/engage?verbose=${verbose}`, { body: bad });
      expect([answer.status, answer.json]).toEqual([200, { error: '$distinct_id, missing or empty', status: 0 }]);
    }
    expect((await send('/engage?verbose=1', { body: '[{' })).json).toEqual({
      error: 'data, missing or empty',
      status: 0,
    });
    const gzip = { 'content-encoding': 'gzip', 'content-type': 'application/json' };
    const zipped = await send('/engage', { body: gzipSync(JSON.stringify([user('a', set({}))])), headers: gzip });
    expect([zipped.status, zipped.text]).toEqual([200, '0']);
    const many = Array.from({ length: 2001 }, (_, i) => user(`u${i}`, set({ i })));
    expect((await send('/engage', { body: many })).status).toBe(413);
    expect((await send('/engage', { body: many.slice(1) })).text).toBe('1');
  });

  it('takes data by GET, by form in base64 and in JSON', async () => {
    const { sandbox, send } = await serve();
    const text = (id: string): string => JSON.stringify(user(id, set({ text: '>>>???ÿ' })));
    const base64 = (id: string): string => Buffer.from(text(id)).toString('base64');
    await send(`/engage?data=${encodeURIComponent(base64('get'))}&ip=0`);
    await send('/engage', { body: new URLSearchParams({ data: base64('form') }) });
    await send('/engage', {
      body: `data=${base64('unescaped')}`,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
    });
    const answer = await send('/engage', { body: new URLSearchParams({ data: `[${text('json')}]`, verbose: '1' }) });
    expect(answer.json).toEqual({ error: null, status: 1 });
    const found = await sandbox.query("select distinct_id as id, properties->>'text' as t from profiles order by 1");
    expect(found).toEqual(['form', 'get', 'json', 'unescaped'].map((id) => ({ id, t: '>>>???ÿ' })));
  });

  it.each(['"\\\n\u0001\u2028é😀', "'; drop table profiles; --", '\u0000', '["a"]', ' '])(
    'keeps, updates and deletes the id %j',
    async (id) => {
      const { sandbox, send } = await serve();
      await send('/engage', { body: [user(id, set({ [id]: id })), user('other', set({}))] });
      await send('/engage', { body: user(id, { $union: { l: [id] } }) });
      const [row] = await sandbox.query("select * from profiles where distinct_id <> 'other'");
      expect([row!['distinct_id'], JSON.parse(String(row!['properties']))]).toEqual([id, { [id]: id, l: [id] }]);
      await send('/engage', { body: user(id, { $delete: true }) });
      expect(await sandbox.query('select distinct_id from profiles')).toEqual([{ distinct_id: 'other' }]);
      await send('/groups', { body: group(id, set({ a: id })) });
      await send('/groups', { body: group(id, { $delete: true }) });
      expect(await sandbox.query('from groups')).toEqual([]);
    },
  );

  it('refuses a text that is no UTF-8, and knows it from one that only looks so', async () => {
    const { send } = await serve();
    const body = [user('a', set({ a: 'x\ud800' })), user('b', set({ a: '\\ud800 \\\\ud800 😀' }))];
    expect((await send('/engage?strict=1', { body })).json).toMatchObject({
      num_good_events: 1,
      failed_records: [{ index: 0, message: 'data, string should be valid utf8' }],
    });
  });

  it('ignores tokens of no project with a success', async () => {
    const { sandbox, send } = await serve({ access: { projects: [{ id: '9', token: 'tok' }] } });
    const body = [user('u1', set({ a: 1 })), { ...user('u2', set({ a: 1 })), $token: 'other' }];
    expect((await send('/engage?verbose=1', { body })).json).toEqual({ error: null, status: 1 });
    expect(await sandbox.query('select project, distinct_id from profiles')).toEqual([
      { project: '9', distinct_id: 'u1' },
    ]);
  });
});

describe('groups', () => {
  it('keeps one profile a key and id', async () => {
    const { sandbox, send } = await serve();
    const body = [
      group('acme', set({ plan: 'pro' })),
      group('acme', { $union: { tags: ['a'] } }),
      { ...group('acme', set({ other: 1 })), $group_key: 'team' },
      group('old', set({ a: 1 })),
      group('old', { $delete: '' }),
    ];
    expect((await send('/groups?strict=1', { body })).json).toMatchObject({ code: 200, num_good_events: 5 });
    expect(await sandbox.query('select * exclude last_seen_ms from groups order by group_key')).toEqual([
      { project: 'tok', group_key: 'company', group_id: 'acme', properties: '{"plan":"pro","tags":["a"]}' },
      { project: 'tok', group_key: 'team', group_id: 'acme', properties: '{"other":1}' },
    ]);
    const bad = [group('', set({})), { $token: 'tok', $group_id: 'x', $set: {} }, group('x', { $append: { a: 1 } })];
    expect((await send('/groups?strict=1', { body: bad })).json['failed_records']).toMatchObject([
      { index: 0, message: '$group_id, missing or empty' },
      { index: 1, message: '$group_key, missing or empty' },
      { index: 2, message: '$append is not supported for group profiles' },
    ]);
  });
});

describe('faults and discarding', () => {
  it.each(['/engage', '/groups', '/track'])('strike %s too', async (path) => {
    const { sandbox, send } = await serve({
      faults: { error5xx: { first: 1 }, error429: { first: 1 }, retryAfter: 4, resetAfter: { first: 1 } },
    });
    const record = { ...user('u1', set({ a: 1 })), ...group('g', set({ a: 1 })) };
    const body = path === '/track' ? { event: 'E', properties: { token: 'tok', distinct_id: 'u1' } } : record;
    expect((await send(path, { body })).text).toMatch('<html>');
    const limited = await send(path, { body });
    expect([limited.status, limited.headers.get('retry-after'), limited.json['error']]).toEqual([
      429,
      '4',
      expect.stringContaining('Project exceeded rate limits'),
    ]);
    await expect(send(path, { body })).rejects.toThrow();
    const table = { '/engage': 'profiles', '/groups': 'groups', '/track': 'events_raw' }[path];
    expect(await sandbox.query(`select count(*) as n from ${table!}`)).toEqual([{ n: 1 }]);
    expect((await send(path, { body })).text).toBe('1');
  });

  it('refuses by id and by rate', async () => {
    const { send } = await serve({ faults: { refuse: ['u9'], rateLimit: 1 / 20 } });
    const answer = await send('/engage?strict=1', { body: [user('u9', set({})), user('u1', set({}))] });
    expect(answer.json).toMatchObject({ num_good_events: 1, failed_records: [{ index: 0 }] });
    expect((await send('/engage', { body: [user('u1', set({})), user('u2', set({}))] })).status).toBe(429);
  });

  it('discards: counts, stores nothing', async () => {
    const { sandbox, send } = await serve({ discard: true });
    expect((await send('/engage?strict=1', { body: [user('a', set({})), {}] })).json).toMatchObject({
      code: 200,
      num_good_events: 2,
    });
    expect((await send('/groups', { body: [{}] })).text).toBe('1');
    expect((await send('/track', { body: [{}] })).text).toBe('1');
    expect((await send('/lookup-tables/t?project_id=7', { method: 'PUT', body: 'x' })).status).toBe(200);
    expect((await send('/api/2.0/export?project_id=7&from_date=2026-01-01&to_date=2026-01-02')).text).toBe('');
    expect(sandbox.counts.records).toBe(4);
    expect(await sandbox.query('from profiles')).toEqual([]);
    expect(await sandbox.query('from lookup_tables')).toEqual([]);
  });
});
