import path from 'node:path';
import { expect, test } from 'vitest';
import { cli, duck, project, told, YML } from './cli.ts';

/** Every id that Mixpanel refuses (its documentation: Import Events), written down once more. */
const BANNED =
  '00000000-0000-0000-0000-000000000000 anon anonymous nil none null n/a na undefined unknown <nil> 0 -1 true false [] {}'.split(
    ' ',
  );
/** SQL of an object with so many members, and more of them. */
const object = (members: number, more = ''): string =>
  `'{' || (select string_agg('"k' || i || '":' || i, ',') from range(${members}) as m(i)) || '${more}}'`;

/**
 * A row by the columns in which it differs from a good one, and its reason, or none if it is sent. An event has six
 * properties of its own, and here a user and `id`: 246 more make 254, the most that Mixpanel takes.
 */
const ROWS: readonly (readonly [Readonly<Record<string, string>>, string?])[] = [
  [{}],
  [{ t: 'null' }, 'time-missing'],
  [{ t: `'infinity'` }, 'time-missing'],
  [{ t: `'1970-12-31 23:59:59.999'` }, 'time-before-1971'],
  [{ t: `'1971-01-01'` }],
  [{ t: `now()::timestamp + interval 2 hours` }, 'time-in-future'],
  [{ t: `now()::timestamp + interval 30 minutes` }],
  [{ ev: 'null' }, 'event-missing'],
  [{ ev: `''` }, 'event-missing'],
  [{ ev: `'   '` }, 'event-missing'],
  ...BANNED.flatMap((id) => [
    [{ u: `'${id}'` }, 'user-banned'] as const,
    [{ u: `' ${id.toUpperCase()} '` }, 'user-banned'] as const,
    [{ d: `'${id}'` }, 'device-banned'] as const,
    [{ d: `'${id.toUpperCase()} '` }, 'device-banned'] as const,
    [{ u: `'${id}x'`, d: `'x${id}'` }] as const,
  ]),
  [{ u: 'null' }],
  [{ u: `''` }],
  [{ note: `repeat('é', 500000)` }, 'too-large'],
  [{ note: `repeat('é', 499000)` }],
  ...[`'[1]'`, `'"x"'`, `'7'`, `'no json'`, `''`].map((more) => [{ more }, 'json-not-object'] as const),
  ...[`'null'`, `'{}'`, `'{"a": {"b": [1]}}'`].map((more) => [{ more }] as const),
  [{ list: `[1, 'nan'::double]` }, 'payload-not-json'],
  [{ list: `[1, null]` }],
  [{ more: object(246) }],
  [{ more: object(246, ', "time": 1, "none": null, "syncline_x": 1, "id": 5, "k7": 0') }],
  [{ more: object(247) }, 'too-many-properties'],
  [{ more: object(246), note: `'x'` }, 'too-many-properties'],
  [{ more: object(246), d: `'phone'` }, 'too-many-properties'],
  [{ more: object(246), u: 'null', note: `'x'` }],
];
const GOOD = { t: `'2024-01-01'`, ev: `'E'`, u: `'somebody'`, d: 'null', note: 'null', more: 'null', list: 'null' };

const COLUMNS = Array.from({ length: 250 }, (_, i) => `c${i}`);
/** The same by columns only. */
const WIDE: readonly (readonly [row: string, reason?: string])[] = [
  [COLUMNS.map((_, i) => (i < 246 ? '1' : 'null')).join(', ')],
  [COLUMNS.map((_, i) => (i < 247 ? '1' : 'null')).join(', '), 'too-many-properties'],
  [COLUMNS.map((_, i) => (i < 246 ? '1' : i < 248 ? `'nan'` : 'null')).join(', ')],
];

test('each reason: rows that Mixpanel would refuse are not sent and are kept with it, and their like is sent', async () => {
  const dir = await project({
    'syncline.yml': YML,
    'syncs/s.yml': `syncs:
  - { name: facts, kind: events, mode: mirror, source: { relation: facts }, key: id, event: { column: ev }, time: t, user_id: u, device_id: d, json_properties: more }
  - { name: wide, kind: events, mode: mirror, source: { relation: wide }, key: id, event: W, time: t, user_id: u }
  - { name: logged, kind: events, mode: append, source: { relation: logged }, insert_time: loaded, event: L, time: t }
`,
  });
  await duck(
    path.join(dir, 'warehouse.duckdb'),
    'create table facts (id integer, t timestamp, ev varchar, u varchar, d varchar, note varchar, more varchar, list double[])',
    ...ROWS.map(([row], i) => `insert into facts values (${[i, ...Object.values({ ...GOOD, ...row })].join(', ')})`),
    `create table wide (id integer, t timestamp, u varchar, ${COLUMNS.map((c) => `${c} double`).join(', ')})`,
    ...WIDE.map(([row], i) => `insert into wide values (${i}, '2024-01-01', 'u', ${row})`),
    `create table logged as select * from (values (0, timestamp '2024-01-01', timestamp '2024-01-01'), (1, timestamp '2024-01-01', null)) as v(id, t, loaded)`,
  );
  told(await cli(dir, 'lock'), 0);
  const all = [
    ...ROWS.map(([, reason], i) => ({ sync: 'facts', id: String(i), reason })),
    ...WIDE.map(([, reason], i) => ({ sync: 'wide', id: String(i), reason })),
    { sync: 'logged', id: '0', reason: undefined },
    { sync: 'logged', id: '1', reason: 'insert-time-missing' },
  ];
  const invalid = all.filter(({ reason }) => reason !== undefined);
  const line = (sync: string): string => {
    const bad = invalid.filter((r) => r.sync === sync).length;
    return `${sync}: run 1 done: ${all.filter((r) => r.sync === sync).length - bad} inserts, 0 updates, 0 deletes, ${bad} invalid`;
  };
  told(await cli(dir, 'apply'), 0, line('facts'), line('wide'), line('logged').replace('1 inserts', '1 insert'));

  const sent = await duck(
    path.join(dir, 'sandbox.duckdb'),
    `select properties ->> 'syncline_sync' as sync, properties ->> 'id' as id from events_raw order by sync, id::int`,
  );
  const byId = (a: { id: string }, b: { id: string }): number => Number(a.id) - Number(b.id);
  const ofSync = (sync: string, rows: readonly { sync: string; id: string }[]): string[] =>
    rows
      .filter((r) => r.sync === sync)
      .sort(byId)
      .map((r) => r.id);
  const good = all.filter(({ reason }) => reason === undefined);
  for (const sync of ['facts', 'wide', 'logged'])
    expect([sync, ...ofSync(sync, sent as never)]).toEqual([sync, ...ofSync(sync, good)]);

  const rejects = JSON.parse((await cli(dir, 'rejects', '--output', 'json')).out) as Record<string, string>[];
  expect(rejects.every((r) => r['outcome'] === undefined || r['outcome'] === 'invalid')).toBe(true);
  const kept = rejects.map((r) => `${r['sync']} ${r['sync'] === 'logged' ? '1' : r['row_key']}: ${r['reason']}`);
  expect(kept.sort()).toEqual(invalid.map((r) => `${r.sync} ${r.id}: ${r.reason ?? ''}`).sort());
  const named = (await cli(dir, 'rejects', 'wide')).out;
  expect(named).toContain('invalid: too-many-properties: its event would have 255 properties or more');
});
