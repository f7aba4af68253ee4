import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { AUTH, serve } from './sandbox-served.ts';

const basic = (pair: string): Record<string, string> => ({
  authorization: `Basic ${Buffer.from(pair).toString('base64')}`,
});

describe('reading profiles', () => {
  it('pages through a session, by ids, by expression, by group', async () => {
    const { send } = await serve();
    const users = Array.from({ length: 5 }, (_, i) => ({
      $token: 'tok',
      $distinct_id: `u${i}`,
      $set: { i, odd: i % 2 === 1 },
    }));
    await send('/engage', { body: users });
    await send('/groups', {
      body: { $token: 'tok', $group_key: 'company', $group_id: 'acme', $set: { plan: 'pro' }, $ignore_time: true },
    });
    const first = await send('/api/query/engage?project_id=7', { body: new URLSearchParams({ page_size: '2' }) });
    expect(first.json).toEqual({
      page: 0,
      page_size: 2,
      results: [
        { $distinct_id: 'u0', $properties: { i: 0, odd: false, $last_seen: '2026-01-02T12:00:00' } },
        { $distinct_id: 'u1', $properties: { i: 1, odd: true, $last_seen: '2026-01-02T12:00:00' } },
      ],
      session_id: expect.any(String) as string,
      status: 'ok',
      total: 5,
    });
    const session_id = String(first.json['session_id']);
    const last = await send(`/api/2.0/engage?project_id=7&page=2&page_size=2&session_id=${session_id}`);
    expect(last.json).toMatchObject({ page: 2, results: [{ $distinct_id: 'u4' }], session_id });
    expect((await send('/api/query/engage?project_id=7&page=1')).status).toBe(400);
    const read = async (fields: Record<string, string>): Promise<unknown> =>
      (await send('/api/query/engage?project_id=7', { body: new URLSearchParams(fields) })).json['results'];
    expect(await read({ distinct_ids: '["u3","nobody"]', output_properties: '["i"]' })).toEqual([
      { $distinct_id: 'u3', $properties: { i: 3 } },
    ]);
    expect(await read({ distinct_id: 'u2' })).toMatchObject([{ $distinct_id: 'u2' }]);
    expect(await read({ where: 'properties["odd"] and user["i"] > 1' })).toMatchObject([{ $distinct_id: 'u3' }]);
    expect(await read({ selector: 'properties["i"] == 4' })).toMatchObject([{ $distinct_id: 'u4' }]);
    expect(await read({ data_group_id: 'company' })).toEqual([{ $distinct_id: 'acme', $properties: { plan: 'pro' } }]);
    for (const wrong of ['behaviors=[]', 'distinct_ids=x', 'where=(', 'page=x']) {
      expect((await send(`/api/query/engage?project_id=7&${wrong}`)).status).toBe(400);
    }
  });

  it('limits queries, first pages only', async () => {
    const { send } = await serve({ faults: { callLimits: true } });
    for (let i = 0; i < 60; i++) expect((await send('/api/query/engage?project_id=7')).status).toBe(200);
    const limited = await send('/api/query/engage?project_id=7');
    expect([limited.status, limited.json['error']]).toEqual([
      429,
      expect.stringContaining('Query rate limit exceeded'),
    ]);
  });
});

describe('access', () => {
  it('tells who a service account is', async () => {
    const { send } = await serve({ access: { projects: [{ id: '9', token: 'tok' }], accounts: { ann: 'pw' } } });
    const me = await send('/api/app/me/?include_workspace_users=false', { headers: basic('ann:pw') });
    expect(me.json).toMatchObject({ status: 'ok', results: { user_name: 'ann', projects: { 9: { id: 9 } } } });
    for (const pair of ['ann:no', 'bob:pw', 'toString:pw', 'tok:']) {
      const refused = await send('/api/app/me', { headers: basic(pair) });
      expect([refused.status, refused.json]).toEqual([401, { error: 'Invalid credentials', status: 'error' }]);
    }
  });

  it.each([
    ['/flags?token=tok', 'app', 'feature flags (/flags)'],
    ['/flags/definitions', 'app', 'feature flags (/flags/definitions)'],
    ['/api/query/jql', 'query', 'JQL (/api/query/jql)'],
    ['/api/query/insights?bookmark_id=1', 'query', 'reports (/api/query/insights)'],
    ['/api/query/segmentation/sum', 'query', 'reports (/api/query/segmentation/sum)'],
    ['/api/query/stream/query', 'query', 'reports (/api/query/stream/query)'],
    ['/api/query/cohorts/list', 'query', 'cohorts (/api/query/cohorts/list)'],
    ['/api/query/engage/properties', 'query', 'list of profile properties (/api/query/engage/properties)'],
    ['/api/query/new', 'query', '/api/query/new'],
    ['/api/2.0/nessie/pipeline/create', 'app', 'data pipelines (/api/2.0/nessie/pipeline/create)'],
    ['/api/app/projects/7/annotations/5', 'app', 'annotations (/api/app/projects/7/annotations/5)'],
    ['/api/app/projects/7/schemas/event', 'app', 'Lexicon (/api/app/projects/7/schemas/event)'],
    ['/api/app/projects/7/data-groups/', 'app', 'Lexicon (/api/app/projects/7/data-groups/)'],
    [
      '/api/app/projects/7/warehouse-sources/imports',
      'app',
      'Warehouse Connectors (/api/app/projects/7/warehouse-sources/imports)',
    ],
    [
      '/api/app/organizations/1/service-accounts',
      'app',
      'management of service accounts (/api/app/organizations/1/service-accounts)',
    ],
    ['/api/app/data-deletions/v3.0/?token=tok', 'app', 'GDPR requests (/api/app/data-deletions/v3.0/)'],
    ['/settings/project/7/metadata', 'app', 'project settings (/settings/project/7/metadata)'],
    ['/api/app/new', 'app', '/api/app/new'],
    ['/nope', 'strict', '/nope'],
  ])('says what it does not have: %s', async (path, family, lacking) => {
    const { send } = await serve();
    const error = `the sandbox has no ${lacking}; it answers /import, /track, /engage, /groups, /lookup-tables, /api/2.0/export, /api/query/engage, /api/2.0/engage and /api/app/me`;
    const worded = {
      app: { error, status: 'error' },
      query: { request: path, error },
      strict: { code: 404, error, status: 'Not Found' },
    }[family];
    for (const method of ['GET', 'POST']) {
      const answer = await send(path, { method });
      expect([answer.status, answer.json]).toEqual([404, worded]);
    }
  });

  it('knows which credentials go where', async () => {
    const { send } = await serve({
      access: { projects: [{ id: '9', token: 'tok', secret: 'sec' }], accounts: { ann: 'pw' } },
    });
    const event = { event: 'E', properties: { distinct_id: 'u', time: 1_700_000_000, $insert_id: 'i' } };
    const status = async (path: string, pair: string, body?: unknown): Promise<number> =>
      (await send(path, { headers: basic(pair), ...(body === undefined ? {} : { body }) })).status;
    expect(await status('/import?project_id=9', 'ann:pw', [event])).toBe(200);
    expect(await status('/import', 'tok:', [event])).toBe(200);
    expect(await status('/import', 'sec:', [event])).toBe(200);
    expect(await status('/import', 'other:', [event])).toBe(401);
    expect(await status('/import?project_id=9', 'ann:no', [event])).toBe(401);
    expect(await status('/import?project_id=8', 'ann:pw', [event])).toBe(401);
    expect(await status('/import', 'ann:pw', [event])).toBe(400);
    const dates = 'from_date=2026-01-01&to_date=2026-01-01';
    expect(await status(`/api/2.0/export?${dates}`, 'sec:')).toBe(200);
    expect(await status(`/api/2.0/export?${dates}`, 'tok:')).toBe(401);
    expect(await status('/lookup-tables?project_id=9', 'ann:pw')).toBe(200);
    expect(await status('/lookup-tables', 'tok:')).toBe(401);
    expect(await status('/nope', 'ann:pw')).toBe(404);
    expect((await send('/engage', { method: 'PUT', headers: { authorization: AUTH }, body: '[]' })).status).toBe(405);
  });
});

describe('lookup tables', () => {
  const csv = (text: string | Uint8Array, id = 't', headers: Record<string, string> = {}): [string, object] => [
    `/lookup-tables/${id}?project_id=7`,
    { method: 'PUT', body: text, headers: { 'content-type': 'text/csv', ...headers } },
  ];

  it('replaces the whole table, typed as documented', async () => {
    const { sandbox, send } = await serve({ lookupTables: { t: 'Products' } });
    const list = await send('/lookup-tables?project_id=7');
    expect(list.json).toEqual({ code: 200, results: [{ id: 't', name: 'Products' }], status: 'OK' });
    await send(...csv('id,a\ngone,1\n'));
    const text =
      'sku,n,"the ""flag""",list,t,e\r\n' +
      'a,1.50,TRUE,"[""x"",""y""]",2021-08-21T05:36:01Z,\r\n' +
      '"b,1",-3,no,[1],"two\nlines",1234567890123456\r\n' +
      'c,007,,[],{},x\r\n';
    const answer = await send(...csv(gzipSync(text), 't', { 'content-encoding': 'gzip' }));
    expect([answer.status, answer.json]).toEqual([200, { code: 200, status: 'OK' }]);
    const rows = await sandbox.query('select row_id, properties from lookup_rows order by row_id');
    expect(
      rows.map((row): [unknown, object] => [row['row_id'], JSON.parse(String(row['properties'])) as object]),
    ).toEqual([
      ['a', { n: 1.5, 'the "flag"': true, list: ['x', 'y'], t: '2021-08-21T05:36:01Z' }],
      ['b,1', { n: -3, 'the "flag"': 'no', list: '[1]', t: 'two\nlines', e: 1234567890123456 }],
      ['c', { n: 7, list: [], t: '{}', e: 'x' }],
    ]);
    expect(
      await sandbox.query('select id, name, columns[1] as first, length(content_hash) as l from lookup_tables'),
    ).toEqual([{ id: 't', name: 'Products', first: 'sku', l: 64 }]);
  });

  it.each<[string, object[]]>([
    [
      'id,a\nx,1\n,2\n"y",2,3\nz\n0,5',
      [
        { index: 2, message: 'primary key is required and cannot be blank' },
        { index: 3, message: 'invalid row: wrong number of fields' },
        { index: 4, message: 'invalid row: wrong number of fields' },
        { index: 5, message: 'primary key is required and cannot be blank' },
      ],
    ],
    ['id,a\nx,1\nx,2\n', [{ index: 2, message: 'invalid row: row indexes 1 and 2 have the same primary key' }]],
    ['id\nx\n', [{ index: 0, message: 'invalid header: at least two columns are required' }]],
    ['id,id\nx,1\n', [{ index: 0, message: 'invalid header: column names must be unique' }]],
    [
      `id,a\n${',1\n'.repeat(20)}`,
      Array.from({ length: 10 }, (_, i) => ({
        index: i + 1,
        message: 'primary key is required and cannot be blank',
      })),
    ],
  ])('refuses %j whole', async (text, failed_records) => {
    const { sandbox, send } = await serve();
    await send(...csv('id,a\nkept,1\n'));
    const answer = await send(...csv(text));
    expect([answer.status, answer.json]).toEqual([
      400,
      { code: 400, error: 'Some data points in the request failed validation.', failed_records, status: 'Bad Request' },
    ]);
    expect(await sandbox.query('select row_id from lookup_rows')).toEqual([{ row_id: 'kept' }]);
  });

  it('answers 404, 413, 429 and 401 as documented', async () => {
    const { send } = await serve({ lookupTables: { t: 'T' }, faults: { callLimits: true } });
    const missing = await send(...csv('id,a\n', 'nope'));
    expect([missing.status, missing.json]).toEqual([
      404,
      { code: 200, error: "Lookup table with id 'nope' was not found.", status: 'Not Found' },
    ]);
    expect((await send(...csv('x', 't', { authorization: '' }))).status).toBe(401);
    const large = await send(
      ...csv(gzipSync(Buffer.alloc(100 * 1024 * 1024 + 1)), 't', { 'content-encoding': 'gzip' }),
    );
    expect([large.status, large.json['error']]).toEqual([413, 'request exceeds max limit of 104857600 bytes']);
    for (let i = 0; i < 98; i++) expect((await send(...csv('id,a\nx,1\n'))).status).toBe(200);
    expect((await send(...csv('id,a\nx,1\n'))).status).toBe(429);
  });

  it('reads a byte order mark, line breaks in names, and names bytes that are not UTF-8', async () => {
    const { sandbox, send } = await serve();
    expect((await send(...csv('\ufeffid,"a\nb","c"\nx,1,"y\r\nz"\n'))).status).toBe(200);
    const [row] = await sandbox.query('select row_id, properties, columns from lookup_rows, lookup_tables');
    expect([row!['row_id'], row!['columns'], JSON.parse(String(row!['properties']))]).toEqual([
      'x',
      ['id', 'a\nb', 'c'],
      { 'a\nb': 1, c: 'y\r\nz' },
    ]);
    const broken = await send(...csv(Buffer.from('id,a\nx,1\ny,\xff\n', 'latin1')));
    expect(broken.json['failed_records']).toEqual([{ index: 2, message: 'invalid row: string should be valid utf8' }]);
    const open = await send(...csv('id,a\nx,1\ny,"z\n'));
    expect(open.json['failed_records']).toEqual([{ index: 2, message: 'invalid row: unquoted value' }]);
    const loose = await send(...csv('id,a\nx,1\ny,"z"z\n'));
    expect(loose.json['failed_records']).toEqual([{ index: 2, message: 'invalid row: unquoted value' }]);
  });

  it('stores rows with and without a last line end, and an empty table', async () => {
    const { sandbox, send } = await serve();
    expect((await send(...csv('id,a\nx,1'))).status).toBe(200);
    expect((await send(...csv('id,a\n'))).status).toBe(200);
    expect(await sandbox.query('from lookup_rows')).toEqual([]);
  });
});
