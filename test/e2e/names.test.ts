import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { cli, duck, project, told, YML } from './cli.ts';

const dirs: string[] = [];
afterEach(async () => {
  for (const dir of dirs.splice(0)) await rm(dir, { recursive: true, force: true });
});

const PEOPLE = `create table people as select * from (values ('1', 'Grace', 'Pro'), ('2', 'Bob', 'Free')) as v(id, name, tier)`;
const USERS = 'kind: user_profiles, user_id: id';
const GROUPS = 'kind: group_profiles, group_key: company, group_id: id';
const SYNC = `people, source: { relation: people }`;

async function start(syncs: readonly string[], yml = YML): Promise<string> {
  const text = `syncs:\n${syncs.map((s) => `  - { name: ${s} }\n`).join('')}`;
  const dir = await project({ 'syncline.yml': yml, 'syncs/s.yml': text });
  dirs.push(dir);
  await change(dir, PEOPLE);
  told(await cli(dir, 'lock'), 0);
  told(await cli(dir, 'apply'), 0);
  return dir;
}

const change = (dir: string, ...sql: string[]): Promise<unknown> => duck(path.join(dir, 'warehouse.duckdb'), ...sql);
const apply = async (dir: string, ...flags: string[]): Promise<void> => told(await cli(dir, 'apply', ...flags), 0);
async function edit(dir: string, from: string, to: string): Promise<void> {
  const file = path.join(dir, 'syncs/s.yml');
  const text = await readFile(file, 'utf8');
  expect(text).toContain(from);
  await writeFile(file, text.replace(from, to));
}

/** Profiles by id, without what the sandbox adds. */
async function profiles(dir: string): Promise<Record<string, Record<string, unknown>>> {
  const rows = await duck(
    path.join(dir, 'sandbox.duckdb'),
    `select distinct_id as id, properties::varchar as p from profiles union all select group_id, properties::varchar from groups order by 1`,
  );
  return Object.fromEntries(
    rows.map((r) => {
      const all = Object.entries(JSON.parse(String(r['p'])) as Record<string, unknown>);
      return [String(r['id']), Object.fromEntries(all.filter(([name]) => !/^\$(last_seen|name_)/.test(name)))];
    }),
  );
}

test.each([USERS, GROUPS])(
  'a resend takes away what was sent under names of earlier, once; somebody else may own them then (%s)',
  async (kind) => {
    const dir = await start([`${SYNC}, mode: mirror, ${kind}`]);
    await edit(dir, 'mode: mirror', `mode: mirror, properties: { rename: { name: 'a "b", c' }, exclude: [tier] }`);
    told(await cli(dir, 'apply'), 1, 'error[mapping-changed]');
    await apply(dir, '--resend', 'people');
    expect(await profiles(dir)).toEqual({ '1': { 'a "b", c': 'Grace' }, '2': { 'a "b", c': 'Bob' } });
    const operation = kind === USERS ? 'profiles' : 'groups';
    await duck(
      path.join(dir, 'sandbox.duckdb'),
      `update ${operation} set properties = json_merge_patch(properties, '{"tier":"theirs"}')`,
    );
    await change(dir, `update people set name = 'Ada' where id = '1'`);
    await apply(dir);
    expect((await profiles(dir))['1']).toEqual({ 'a "b", c': 'Ada', tier: 'theirs' });
    // A name that is mapped no more is read from the state, also after further changes.
    await edit(dir, `rename: { name: 'a "b", c' }, `, '');
    await apply(dir, '--resend', 'people');
    expect(await profiles(dir)).toEqual({ '1': { name: 'Ada', tier: 'theirs' }, '2': { name: 'Bob', tier: 'theirs' } });
  },
);

test('what a forward leaves on profiles goes with the next resend, and with a row that is gone', async () => {
  const dir = await start([`${SYNC}, mode: mirror, ${USERS}`]);
  await edit(dir, 'mode: mirror', 'mode: mirror, properties: { rename: { name: called } }');
  await apply(dir, '--forward', 'people');
  await change(dir, `update people set tier = 'Max' where id = '1'`);
  await apply(dir);
  expect(await profiles(dir)).toEqual({
    '1': { name: 'Grace', called: 'Grace', tier: 'Max' },
    '2': { name: 'Bob', tier: 'Free' },
  });
  await change(dir, `delete from people where id = '2'`);
  await apply(dir);
  expect((await profiles(dir))['2']).toEqual({});
  await apply(dir, '--resend', 'people');
  expect(await profiles(dir)).toEqual({ '1': { called: 'Grace', tier: 'Max' }, '2': {} });
});

test('a property that moves to another sync of the project is not taken away from it', async () => {
  const dir = await start([
    `${SYNC}, mode: mirror, ${USERS}`,
    `tiers, source: { relation: people }, mode: mirror, ${USERS}, properties: { rename: { name: other }, exclude: [tier] }`,
    `companies, source: { relation: people }, mode: mirror, ${GROUPS}`,
  ]);
  await edit(dir, 'rename: { name: other }, exclude: [tier]', 'rename: { name: other }');
  await edit(dir, `${USERS} }`, `${USERS}, properties: { exclude: [tier], rename: { name: called } } }`);
  await apply(dir, '--threads', '1', '--resend', 'people', 'tiers');
  await apply(dir, '-s', 'people', '--resend', 'people');
  const rows = await duck(
    path.join(dir, 'sandbox.duckdb'),
    'select distinct_id as id, properties::varchar as p from profiles order by 1',
  );
  // `name` is still sent to groups, which are no users.
  expect(rows.map((r) => JSON.parse(String(r['p'])) as object)).toEqual([
    expect.objectContaining({ called: 'Grace', other: 'Grace', tier: 'Pro' }),
    expect.objectContaining({ called: 'Bob', other: 'Bob', tier: 'Free' }),
  ]);
  expect(JSON.stringify(rows)).not.toContain('name');
});

test.each(['mixpanel', 'none'])(
  'full takes the names of earlier away from every row that is there (staging: %s)',
  async (staging) => {
    const yml = YML.replace('duckdb }', `duckdb, staging: ${staging} }`);
    const dir = await start([`${SYNC}, mode: full, ${USERS}`], yml);
    await edit(dir, 'mode: full', 'mode: full, properties: { rename: { name: called }, exclude: [tier] }');
    await apply(dir);
    expect(await profiles(dir)).toEqual({ '1': { called: 'Grace' }, '2': { called: 'Bob' } });
    const planned = JSON.parse((await cli(dir, 'plan', '--output', 'json')).out) as { syncs: { records: number }[] };
    expect(planned.syncs[0]!.records).toBe(2);
  },
);

test('destroy --data takes back what was sent under names of earlier, too', async () => {
  const dir = await start([`${SYNC}, mode: mirror, ${USERS}`]);
  await edit(dir, 'mode: mirror', 'mode: mirror, properties: { rename: { name: called } }');
  await apply(dir, '--forward', 'people');
  told(await cli(dir, 'destroy', 'people', '--data', '-y'), 0);
  expect(await profiles(dir)).toEqual({ '1': {}, '2': {} });
});

test.each(['mirror', 'full'])(
  'columns named like aliases of our statements reach profiles, and leave them (%s)',
  async (mode) => {
    const names = 'a b c d e f i j k l m n o p r s w x'.split(' ');
    const dir = await project({
      'syncline.yml': YML,
      'syncs/s.yml': `syncs:\n  - { name: s, kind: user_profiles, mode: ${mode}, source: { relation: people }, user_id: id }\n`,
    });
    dirs.push(dir);
    await change(
      dir,
      `create table people (id varchar, t integer, ${names.map((n) => `${n} json`).join(', ')})`,
      `insert into people select i, i, ${names.map((n) => `json '{"row_key": "${n}", "syncline_key": 1}'`).join(', ')} from range(2) as r(i)`,
    );
    told(await cli(dir, 'lock'), 0);
    await apply(dir);
    expect((await profiles(dir))['0']).toMatchObject({ t: 0, i: { row_key: 'i' }, j: { row_key: 'j' } });
    await edit(dir, 'user_id: id', 'user_id: id, properties: { exclude: [j, c], rename: { i: C } }');
    await change(dir, `delete from people where id = '1'`);
    await apply(dir, ...(mode === 'mirror' ? ['--resend', 's'] : []));
    const now = (await profiles(dir))['0']!;
    expect(Object.keys(now).sort()).toEqual(['C', 't', ...names.filter((n) => !['i', 'j', 'c'].includes(n))].sort());
  },
);
