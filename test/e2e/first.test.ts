import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { cli, cliIn, duck, ORDERS, project, sent, shop, SYNC, told, YML } from './cli.ts';

const dirs: string[] = [];
afterAll(async () => {
  for (const dir of dirs.splice(0)) await rm(dir, { recursive: true, force: true });
});
const kept = (dir: string): string => (dirs.push(dir), dir);

test('init makes a project that goes all the way: lock, validate, ls, compile, setup, plan, apply', async () => {
  const dir = kept(await mkdtemp(path.join(tmpdir(), 'syncline-')));
  told(await cli(dir, 'init'), 0, 'Next: syncline lock && syncline compile && syncline plan && syncline apply');
  told(await cli(dir, 'lock'), 0, 'syncline.lock.json');
  told(await cli(dir, 'validate'), 0);
  expect((await cli(dir, 'ls')).out).toMatch(/^purchases\b.*events.*mirror/m);
  const listed = JSON.parse((await cli(dir, 'ls', '--output', 'json')).out) as unknown;
  expect(listed).toMatchObject([{ name: 'purchases', kind: 'events', mode: 'mirror' }]);
  told(await cli(dir, 'compile'), 0, 'compiled/dev/: 1 sync');
  expect((await cli(dir, 'plan')).out).toContain('2 inserts, 0 updates, 0 deletes; 2 billable events');
  const setup = await cli(dir, 'setup');
  expect([setup.code, setup.out]).toEqual([
    0,
    expect.stringMatching(/create schema[^]*create table[^]*purchases__state/i),
  ]);
  // Neither a plan nor a printed setup makes tables.
  const tables = "select table_name as t from duckdb_tables() where schema_name = 'mixpanel'";
  expect(await duck(path.join(dir, 'warehouse.duckdb'), tables)).toEqual([]);
  told(await cli(dir, 'apply'), 0, '2 inserts');
  const rows = await duck(
    path.join(dir, 'warehouse.duckdb'),
    'select order_id::varchar as id from main.orders order by 1',
  );
  const events = await duck(
    path.join(dir, 'sandbox.duckdb'),
    `select properties ->> 'order_id' as id from events order by 1`,
  );
  expect(events).toEqual(rows);
  told(await cli(dir, 'apply'), 0, 'nothing changed');
});

test('a profile of dbt gives the connection: from the project, or from DBT_PROFILES_DIR, and never to the plan', async () => {
  const dir = kept(
    await project({
      'syncline.yml': YML.replace('path: warehouse.duckdb', 'dbt_profile: shop, dbt_target: prod'),
      'syncs/shop.yml': SYNC,
      'profiles.yml': `shop: { outputs: { prod: { type: duckdb, path: "{{ env_var('SHOP_DB') }}", schema: main } } }\n`,
      'elsewhere/nothing.yml': '',
    }),
  );
  await duck(path.join(dir, 'secret-name.duckdb'), ORDERS);
  const here = { cwd: dir, env: { SHOP_DB: 'secret-name.duckdb' } };
  told(await cli(dir, 'lock'), 2, 'error[env-var-unset]: environment variable SHOP_DB is not set', 'profiles.yml:1');
  told(await cliIn(here, 'lock'), 0, '1 source');
  // Neither compile nor the plan knows what the profile says.
  told(await cli(dir, 'compile'), 0);
  expect(await readFile(path.join(dir, 'compiled/dev/plan.json'), 'utf8')).not.toContain('secret-name');
  told(await cliIn(here, 'apply'), 0, '3 inserts');
  const elsewhere = { ...here, env: { ...here.env, DBT_PROFILES_DIR: path.join(dir, 'elsewhere') } };
  told(await cliIn(elsewhere, 'status'), 2, `there is no profiles.yml of dbt in ${path.join(dir, 'elsewhere')}`);
});

/** A server that knows only what the documentation of Import Events says, and keeps every body. */
async function bare(): Promise<{ port: number; bodies: string[]; requests: string[]; close: () => Promise<void> }> {
  const [bodies, requests]: [string[], string[]] = [[], []];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const raw = Buffer.concat(chunks);
      const body = request.headers['content-encoding'] === 'gzip' ? gunzipSync(raw).toString() : raw.toString();
      const events = JSON.parse(body) as { event?: string }[];
      requests.push(`${request.method ?? ''} ${request.url ?? ''} ${request.headers.authorization ?? ''}`);
      response.setHeader('Content-Type', 'application/json');
      if (events.some((e) => e.event === undefined)) {
        response.statusCode = 400;
        response.end('{"error":"data, missing or empty","status":0}');
        return;
      }
      bodies.push(body);
      response.end(JSON.stringify({ code: 200, num_records_imported: events.length, status: 'OK' }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = (): Promise<void> => new Promise((resolve) => server.close(() => resolve()));
  return { port: (server.address() as AddressInfo).port, bodies, requests, close };
}

const remote = (port: number, more: string): string =>
  YML.replace('mixpanel: sandbox', `mixpanel: { host: "http://127.0.0.1:${port}", project_id: 9, ${more} }`);

test.each([
  [
    'simplified',
    'u',
    { $user_id: 'u', $device_id: 'd', distinct_id: 'u' },
    { $device_id: 'd', distinct_id: '$device:d' },
  ],
  ['original', 'u', { $user_id: 'u', $device_id: 'd', distinct_id: 'u' }, { $device_id: 'd', distinct_id: 'd' }],
])(
  'a server of the documentation alone is sent what show prints, byte for byte (%s)',
  async (management, user, both, device) => {
    const server = await bare();
    try {
      const dir = kept(
        await project({
          'syncline.yml': remote(
            server.port,
            `service_account: { username: a, secret: b }, id_management: ${management}`,
          ),
          'syncs/s.yml': `syncs:\n  - { name: s, kind: events, mode: mirror, source: { relation: t }, event: E, time: t, key: [id, part], user_id: u, device_id: d }\n`,
        }),
      );
      await duck(
        path.join(dir, 'warehouse.duckdb'),
        `create table t as select * from (values (1, '1:1', timestamp '2024-01-01', '${user}', 'd'), (11, ':1', timestamp '2024-01-01', null, 'd'), (1, '11', timestamp '2024-01-01', null, null)) as v(id, part, t, u, d)`,
      );
      for (const args of [['lock'], ['setup', '--execute'], ['compile'], ['plan'], ['apply']])
        told(await cli(dir, ...args), 0);
      const events = server.bodies.flatMap((b) => JSON.parse(b) as { properties: Record<string, unknown> }[]);
      expect(events).toHaveLength(3);
      expect(server.requests.at(-1)).toBe(
        `POST /import?strict=1&project_id=9 Basic ${Buffer.from('a:b').toString('base64')}`,
      );
      const shown = (await cli(dir, 'show', 's')).out.trim().split('\n');
      expect(
        server.bodies
          .join('\n')
          .slice(1, -1)
          .split(/,\n?(?=\{"event")/)
          .sort(),
      ).toEqual([...shown].sort());
      const own = ['id', 'ip', 'part', 'syncline_sync', 'syncline_warehouse', 'time'];
      const identities = events.map(({ properties: p }) =>
        Object.fromEntries(Object.entries(p).filter(([name]) => !own.includes(name) && name !== '$insert_id')),
      );
      expect(identities).toEqual(expect.arrayContaining([both, device, { distinct_id: '' }]));
      // Keys of several columns that look alike when they are joined are three rows.
      expect(new Set(events.map((e) => e.properties['$insert_id'])).size).toBe(3);
    } finally {
      await server.close();
    }
  },
);

describe('bad input that files show: exit code 2, one sentence, nothing sent', () => {
  test.each<[string, string, string, string]>([
    [
      'two syncs of one name',
      SYNC + SYNC.replace('syncs:\n', ''),
      'duplicate-sync-name',
      'sync `purchases` is already declared',
    ],
    ['an unknown column', SYNC.replace('key: id', 'key: idd'), 'column-not-found', 'orders has no column `idd`'],
    [
      'a reserved name',
      `${SYNC}    properties: { rename: { item: distinct_id } }\n`,
      'property-reserved',
      'a property that Mixpanel reserves',
    ],
    ['a mode of no such kind', SYNC.replace('mirror', 'full'), 'mode-unavailable', 'kind events has no mode full'],
    ['a key that is none', `${SYNC}    attach: x\n`, 'not-yet-supported', '`attach` is not supported'],
  ])('%s', async (_, yml, code, text) => {
    const dir = kept(await shop());
    await writeFile(path.join(dir, 'syncs/shop.yml'), yml);
    for (const command of ['validate', 'compile', 'apply'])
      told(await cli(dir, command), 2, `error[${code}]`, text, 'syncs/shop.yml:');
    expect(
      await duck(path.join(dir, 'warehouse.duckdb'), "select 1 from duckdb_tables() where schema_name = 'mixpanel'"),
    ).toEqual([]);
  });
});

describe('hostile names', () => {
  const EVIL = [`a"b'c`, 'back\\slash', 'line\nbreak', ';--', '${x}', '{{ x }}', '{% x %}', '🎉', '$1', ':x', '?'];

  test('of columns and values, those of a key included', async () => {
    const dir = kept(await project({ 'syncline.yml': YML, 'syncs/s.yml': SYNC }));
    const quoted = EVIL.map((name) => `"${name.replaceAll('"', '""')}"`);
    const value = (text: string): string => `'${text.replaceAll("'", "''")}'`;
    await duck(
      path.join(dir, 'warehouse.duckdb'),
      `create table orders (id varchar, t timestamp, ${quoted.map((q) => `${q} varchar`).join(', ')})`,
      ...EVIL.map(
        (text) => `insert into orders values (${value(text)}, '2024-01-01', ${EVIL.map(() => value(text)).join(', ')})`,
      ),
    );
    told(await cli(dir, 'lock'), 0);
    // A line break in a name is refused by that name; then all the others work.
    told(await cli(dir, 'apply'), 2, 'column `line\\x0abreak` contains a control character', 'rename it in a view');
    await duck(path.join(dir, 'warehouse.duckdb'), 'alter table orders drop column "line\nbreak"');
    told(await cli(dir, 'lock'), 0);
    told(await cli(dir, 'apply'), 0, `${EVIL.length} inserts`);
    const names = EVIL.filter((name) => !name.includes('\n'));
    const rows = await duck(path.join(dir, 'sandbox.duckdb'), 'select properties::varchar as p from events');
    const shown = rows.map((r) => JSON.parse(String(r['p'])) as Record<string, unknown>);
    expect(shown.map((p) => p['id']).sort()).toEqual([...EVIL].sort());
    for (const p of shown) for (const name of names) expect([name, p[name]]).toEqual([name, p['id']]);
    await duck(path.join(dir, 'warehouse.duckdb'), `delete from orders where id = ${value(EVIL[0]!)}`);
    told(await cli(dir, 'apply'), 0, '1 delete');
    expect((await cli(dir, 'apply')).err).toContain('nothing changed');
  });

  test('of schemas and tables, of the staging schema too', async () => {
    for (const evil of [`a"b'c`, 'back\\slash', ';--', '${x}', '🎉', '?']) {
      const sql = `"${evil.replaceAll('"', '""')}"`;
      const yaml = (text: string): string => `'${text.replaceAll("'", "''")}'`;
      const dir = kept(
        await project({
          'syncline.yml': YML.replace('duckdb }', `duckdb, staging: ${yaml(`mixpanel ${evil}`)} }`),
          'syncs/s.yml': SYNC.replace('relation: orders', `relation: ${yaml(`${sql}.${sql}`)}`),
        }),
      );
      const file = path.join(dir, 'warehouse.duckdb');
      await duck(file, `create schema ${sql}`, ORDERS.replace('table orders', `table ${sql}.${sql}`));
      told(await cli(dir, 'lock'), 0);
      told(await cli(dir, 'compile'), 0);
      told(await cli(dir, 'apply'), 0, '3 inserts');
      expect([evil, await sent(dir)]).toEqual([evil, 3]);
      const schemas = await duck(file, 'select schema_name as s from duckdb_schemas() where not internal order by 1');
      expect(schemas.map((r) => r['s']).sort()).toEqual([evil, `mixpanel ${evil}`].sort());
    }
  });
});
