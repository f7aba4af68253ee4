import { spawn } from 'node:child_process';
import { chmod, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { openSandbox, serveSandbox } from '../../runtime/sandbox/server.ts';
import { parseFaults } from '../../runtime/sandbox/faults.ts';
import { cli, duck, pendingIn, project, start, told } from './cli.ts';

const YML = (mixpanel = 'sandbox'): string => `name: shop
default_target: dev
targets:
  dev:
    warehouse: { type: duckdb, path: warehouse.duckdb, staging: none }
    mixpanel: ${mixpanel}
`;
const SYNCS = `syncs:
  - { name: log, kind: events, mode: append, source: { relation: log }, event: E, time: t, insert_time: loaded, guard: { max_changes: 50000 } }
  - { name: customers, kind: user_profiles, mode: full, source: { relation: customers }, user_id: id }
  - { name: songs, kind: lookup_table, mode: full, source: { relation: songs }, id: id, lookup_table_id: songs-1 }
  - { name: once, kind: events, mode: one_time, source: { relation: log }, event: Once, time: t }
`;
const TABLES = [
  `create table log as select i as n, timestamp '2024-01-01' + to_seconds(i::integer) as t, timestamp '2024-01-01' + to_seconds(i::integer) as loaded from range(5000) as t(i)`,
  `create table customers as select * from (values ('a', 'Pro', 'x'), ('b', 'Free', null)) as v(id, tier, note)`,
  `create table songs as select * from (values (1, 'One Dance', 'Drake'), (2, null, 'Daft Punk')) as v(id, name, artist)`,
];

async function shop(mixpanel?: string): Promise<string> {
  const dir = await project({ 'syncline.yml': YML(mixpanel), 'syncs/s.yml': SYNCS });
  await duck(path.join(dir, 'warehouse.duckdb'), ...TABLES);
  expect((await cli(dir, 'lock')).code).toBe(0);
  return dir;
}

test('without write access: every mode but mirror, from a file that nobody may write', async () => {
  const dir = await shop();
  const file = path.join(dir, 'warehouse.duckdb');
  const before = await readFile(file);
  await chmod(file, 0o444);
  const planned = await cli(dir, 'plan');
  expect(planned.out).toContain('log (initial load): 5,000 inserts');
  const first = await cli(dir, 'apply');
  expect(first.code, first.err).toBe(0);
  for (const line of [
    'log: run 1 done: 5,000 inserts',
    'customers: run 1 done',
    'songs: run 1 done: 2 inserts',
    'once: run 1 done',
  ])
    expect(first.err).toContain(line);
  const second = await cli(dir, 'apply');
  expect(second.err).toContain('log: nothing changed');
  expect(second.err).toContain('songs: nothing changed');
  expect(second.err).toContain('once: one_time, and done');
  expect(second.err).toContain('customers: run 2 done');
  expect(await readFile(file)).toEqual(before);

  await chmod(file, 0o644);
  await duck(
    file,
    `insert into log values (9, '2024-01-02', '2024-01-02'), (10, '1960-01-01', '2024-01-02')`,
    `update customers set tier = null where id = 'a'`,
    `update songs set name = 'Voyager' where id = 2`,
  );
  const third = await cli(dir, 'apply');
  expect(third.err).toContain('log: run 2 done: 1 insert, 0 updates, 0 deletes, 1 invalid');
  expect(third.err).toContain('songs: run 2 done');
  const events = await duck(
    path.join(dir, 'sandbox.duckdb'),
    `select event, count(*)::int as n from events group by 1 order by 1`,
  );
  expect(events).toEqual([
    { event: 'E', n: 5001 },
    { event: 'Once', n: 5000 },
  ]);
  const profiles = await duck(
    path.join(dir, 'sandbox.duckdb'),
    `select distinct_id as id, properties ->> 'tier' as tier from profiles order by 1`,
  );
  expect(profiles).toEqual([
    { id: 'a', tier: null },
    { id: 'b', tier: 'Free' },
  ]);
  expect((await cli(dir, 'rejects')).out).toContain('time-before-1971');
  expect((await cli(dir, 'status')).out).toMatch(
    /^log: ok, last run just now \(.* UTC\); 1 record rejected\. Next: syncline rejects -s log$/m,
  );
  expect((await cli(dir, 'setup')).err).toContain('nothing to set up');
  expect((await cli(dir, 'reset', 'log')).err).toContain('syncline.state/dev/log.json');

  await duck(file, `insert into log select i, '2024-01-03', '2024-01-03' from range(60000) as t(i)`);
  const guarded = await cli(dir, 'apply', '-s', 'log');
  expect([guarded.code, guarded.err]).toEqual([1, expect.stringContaining('The guard max_changes')]);
  expect((await cli(dir, 'apply', '-s', 'log', '--allow', 'log.max_changes=60000')).code).toBe(0);
  // What no run reads again is still not in Mixpanel; two invalid rows of one run are two.
  await duck(file, `insert into log values (11, '1960-01-01', '2024-01-04'), (12, '1960-01-01', '2024-01-04')`);
  expect((await cli(dir, 'apply', '-s', 'log')).err).toContain('log: run 4 done: 0 inserts');
  expect((await cli(dir, 'rejects', 'log')).out.match(/time-before-1971/g)).toHaveLength(3);

  // A state file without a sync, as a state in a warehouse; what no run writes is none.
  const syncs = path.join(dir, 'syncs/s.yml');
  await writeFile(syncs, SYNCS.replace('name: once', 'name: one'));
  await writeFile(path.join(dir, 'syncline.state/dev/notes.txt'), '');
  const orphan =
    'warning: syncline.state/dev/once.json is the state of once, which the project does not declare. If it was renamed, give the file its new name';
  for (const command of ['plan', 'status']) {
    const ran = await cli(dir, command);
    told(ran, 0, orphan);
    expect(ran.err.match(/warning/g)).toHaveLength(1);
  }
  const { out } = await cli(dir, 'plan', '--output', 'json');
  expect(JSON.parse(out)).toMatchObject({ orphans: [{ name: 'once', hasState: true }] });
  expect((await cli(dir, 'plan', '--markdown')).out).toContain('syncline.state/dev has files of once, which');
  // As it says: it goes on from where it was.
  await rename(path.join(dir, 'syncline.state/dev/once.json'), path.join(dir, 'syncline.state/dev/one.json'));
  const last = await cli(dir, 'apply');
  told(last, 0, 'one: one_time, and done');
  expect(last.err).not.toContain('warning');
  await rm(dir, { recursive: true, force: true });
});

test('kills and faults: a run is sent again within the same bounds, until all is there', async () => {
  const sandbox = await openSandbox({ path: ':memory:', faults: parseFaults('429=0.1,5xx=0.1,reset-after=0.1') });
  const server = await serveSandbox(sandbox, { port: 0 });
  try {
    const dir = await shop(
      `{ host: "http://127.0.0.1:${server.port}", project_id: 1, token: t, service_account: { username: u, secret: s }, request_timeout: 1s, retry: { initial: 10ms, max: 50ms, attempts: 20 }, rate_limit: { events_per_second: 4000 } }`,
    );
    let landed = 0;
    for (let round = 0; round < 6; round++) {
      await duck(
        path.join(dir, 'warehouse.duckdb'),
        `insert into log select 100000 + i, '2024-02-0${round + 1}', '2024-02-0${round + 1}' from range(300) as t(i)`,
        `update customers set tier = '${round}' where id = 'a'`,
      );
      const { child, ended, captured } = start(dir, 'apply');
      await captured;
      await new Promise((resolve) => setTimeout(resolve, 150 * round));
      child.kill('SIGKILL');
      await ended;
      landed += await pendingIn(dir);
    }
    expect(landed).toBeGreaterThan(0);
    let last = { code: 1, err: '', out: '' };
    for (let i = 0; i < 4 && last.code !== 0; i++) last = await cli(dir, 'apply');
    expect(last.code, last.err).toBe(0);
    const events = await sandbox.query(`select event, count(*)::int as n from events group by 1 order by 1`);
    expect(events).toEqual([{ event: 'E', n: 5000 + 6 * 300 }, expect.objectContaining({ event: 'Once' })]);
    const profiles = await sandbox.query(
      `select distinct_id as id, properties ->> 'tier' as tier from profiles order by 1`,
    );
    expect(profiles).toEqual([
      { id: 'a', tier: '5' },
      { id: 'b', tier: 'Free' },
    ]);
    await rm(dir, { recursive: true, force: true });
  } finally {
    await server.close();
    await sandbox.close();
  }
});

test('what is counted of profiles are rows: sent, refused, invalid, and against guards', async () => {
  const sandbox = await openSandbox({ path: ':memory:', faults: parseFaults('refuse=b') });
  const server = await serveSandbox(sandbox, { port: 0 });
  try {
    const dir = await project({
      'syncline.yml': YML(`{ host: "http://127.0.0.1:${server.port}", project_id: 1, token: t }`),
      'syncs/s.yml': `syncs:\n  - { name: people, kind: user_profiles, mode: full, source: { relation: people }, user_id: id, guard: { max_rejects: 1, max_changes: 3 } }\n`,
    });
    // Each row is two updates: `$set`, and `$unset` of what has no value.
    await duck(
      path.join(dir, 'warehouse.duckdb'),
      `create table people as select * from (values ('a', 'x', null), ('b', 'y', null), ('c', 'z', null), (null, 'w', null)) as v(id, tier, note)`,
    );
    expect((await cli(dir, 'lock')).code).toBe(0);
    expect((await cli(dir, 'plan')).out).toContain('3 inserts, 0 updates, 0 deletes\n  1 invalid row: id-missing');
    const first = await cli(dir, 'apply');
    expect([first.code, first.err]).toEqual([
      0,
      expect.stringContaining('2 inserts, 0 updates, 0 deletes, 1 refused, 1 invalid'),
    ]);
    await duck(path.join(dir, 'warehouse.duckdb'), `insert into people values (null, 'v', null)`);
    const rejected = await cli(dir, 'apply');
    expect([rejected.code, rejected.err]).toEqual([
      1,
      expect.stringContaining('The guard max_rejects stopped this run before anything was sent (2 rows)'),
    ]);
    await duck(
      path.join(dir, 'warehouse.duckdb'),
      'delete from people where id is null',
      `insert into people values ('d', 'x', null)`,
    );
    const guarded = await cli(dir, 'apply');
    expect([guarded.code, guarded.err]).toEqual([
      1,
      expect.stringContaining('The guard max_changes stopped this run before anything was sent (4 rows)'),
    ]);
    await rm(dir, { recursive: true, force: true });
  } finally {
    await server.close();
    await sandbox.close();
  }
});

test('two rows of one id, and two versions at one time, are refused before anything is sent', async () => {
  const [id, version] = [
    'An id occurs more than once. Make it unique in the source. (key a occurs 2 times)',
    'An id has two versions at one time. Give each version a start of its own. (id a at 2024-01-01 00:00:00)',
  ];
  const declared = {
    every: ['kind: user_profiles, mode: full, user_id: id', id],
    once: ['kind: user_profiles, mode: one_time, user_id: id', id],
    past: ['kind: user_profiles, mode: one_time, user_id: id, history: { start_time: t }', version],
    later: ['kind: user_profiles, mode: append, user_id: id, insert_time: loaded, history: { start_time: t }', version],
    keyed: [
      'kind: events, mode: one_time, event: E, time: t, key: id',
      'A key occurs more than once. Make `key:` unique in the source, or remove it. (key a occurs 2 times)',
    ],
    list: [
      'kind: events, mode: one_time, event: E, time: t, key: [id, t]',
      'A key occurs more than once. Make `key:` unique in the source, or remove it. (key a, 2024-01-01 00:00:00)',
    ],
    table: ['kind: lookup_table, mode: full, id: id, lookup_table_id: l-1', id],
  };
  const dir = await project({
    'syncline.yml': YML(),
    'syncs/s.yml': `syncs:\n${Object.entries(declared)
      .map(([name, [how]]) => `  - { name: ${name}, source: { relation: twins }, ${how} }\n`)
      .join('')}`,
  });
  const file = path.join(dir, 'warehouse.duckdb');
  const at = `timestamp '2024-01-01'`;
  await duck(
    file,
    `create table twins as select * from (values ('a', ${at}, ${at}, 'x'), ('a', ${at}, ${at}, 'y'), ('b', ${at}, ${at}, 'z')) as v(id, t, loaded, note)`,
  );
  expect((await cli(dir, 'lock')).code).toBe(0);
  const planned = (await cli(dir, 'plan')).out;
  const refused = await cli(dir, 'apply');
  expect(refused.code).toBe(1);
  for (const [name, [, sentence]] of Object.entries(declared)) {
    const told = planned.split(/\n(?! )/).find((text) => text.startsWith(`${name} `));
    expect(`${told}\n`).toContain(`\n  apply will refuse: ${sentence}\n`);
    expect(refused.err).toContain(`${name}: ${sentence}\n`);
  }
  expect(refused.err).not.toContain('run 1 done');
  await duck(file, `delete from twins where note = 'y'`);
  const mended = await cli(dir, 'apply');
  expect(mended.code, mended.err).toBe(0);
  for (const name of Object.keys(declared)) expect(mended.err).toMatch(new RegExp(`${name}: run 1 done: [24] inserts`));
});

test('a lookup table with an id that Mixpanel takes for none, or above 100 MB, is refused before it is sent', async () => {
  const dir = await project({
    'syncline.yml': YML(),
    'syncs/s.yml': `syncs:\n  - { name: songs, kind: lookup_table, mode: full, source: { relation: songs }, id: id, lookup_table_id: l-1 }\n`,
  });
  const file = path.join(dir, 'warehouse.duckdb');
  await duck(file, `create table songs as select '0' as id, 'x' as name`);
  expect((await cli(dir, 'lock')).code).toBe(0);
  expect((await cli(dir, 'apply')).err).toContain('A row has no id');
  await duck(
    file,
    `delete from songs`,
    `insert into songs select i::varchar, repeat('x', 60000) from range(1, 1801) as t(i)`,
  );
  expect((await cli(dir, 'plan')).out).toContain('apply will refuse: Mixpanel takes at most 100 MB a lookup table');
  const refused = await cli(dir, 'apply');
  expect(refused.code).toBe(1);
  expect(refused.err).toContain('Mixpanel takes at most 100 MB a lookup table');
  expect(refused.err).not.toContain('run 1 done');
});

test('an interrupted run is read again up to where it was read before; what came since is another run', async () => {
  const dir = await shop();
  expect((await cli(dir, 'apply', '-s', 'log')).code).toBe(0);
  const file = path.join(dir, 'syncline.state/dev/log.json');
  const state = JSON.parse(await readFile(file, 'utf8')) as { baseline: unknown };
  // As a process leaves it that died before it could say that all was sent.
  await writeFile(file, JSON.stringify({ ...state, run: 0, baseline: null, pending: state.baseline }));
  await duck(path.join(dir, 'warehouse.duckdb'), `insert into log values (9, '2024-01-02', '2024-01-02')`);
  expect((await cli(dir, 'plan', '-s', 'log')).out).toContain('finishes an interrupted run first');
  const resumed = await cli(dir, 'apply', '-s', 'log');
  expect(resumed.err).toMatch(/captured 5,000 records[^]*run 1 done[^]*captured 1 record\n[^]*run 2 done: 1 insert/);
  const [events] = await duck(path.join(dir, 'sandbox.duckdb'), 'select count(*)::int as n from events');
  expect(events).toEqual({ n: 5001 });
  await rm(dir, { recursive: true, force: true });
});

test('a state file in use, foreign or unreadable is refused', async () => {
  const dir = await shop();
  const state = path.join(dir, 'syncline.state/dev/customers.json');
  expect((await cli(dir, 'apply', '-s', 'customers')).code).toBe(0);
  const holder = spawn('sleep', ['60']);
  const { hostname } = await import('node:os');
  await writeFile(`${state}.lock`, JSON.stringify({ pid: holder.pid, host: hostname() }));
  const held = await cli(dir, 'apply', '-s', 'customers');
  expect([held.code, held.err]).toEqual([1, expect.stringContaining(`in use by process ${holder.pid}`)]);
  holder.kill('SIGKILL');
  await new Promise((resolve) => holder.once('exit', resolve));
  expect((await cli(dir, 'apply', '-s', 'customers')).code).toBe(0);

  // A preview is of one state, which a file may be as well.
  told(await cli(dir, 'plan', '-s', 'customers', '--out', 'p.json'), 0);
  told(await cli(dir, 'apply', 'p.json'), 0);
  const text = await readFile(state, 'utf8');
  told(
    await cli(dir, 'apply', 'p.json'),
    1,
    'error[preview-moved]: customers: customers ran or was reset since the preview was written',
  );
  expect(await readFile(state, 'utf8')).toBe(text);

  await writeFile(state, text.replace(/"mode": "\w+"/, '"mode": "one_time"'));
  for (const command of ['plan', 'apply'])
    told(
      await cli(dir, command, '-s', 'customers'),
      1,
      'customers was user_profiles in mode one_time when it ran last',
    );
  await writeFile(state, text.replace('"project": "shop"', '"project": "other"'));
  expect((await cli(dir, 'apply', '-s', 'customers')).err).toContain('belongs to project other');
  await writeFile(state, '{');
  expect((await cli(dir, 'apply', '-s', 'customers')).err).toContain('Restore it from a backup');
  await writeFile(state, text.replace('"layout": 1', '"layout": 2'));
  expect((await cli(dir, 'apply', '-s', 'customers')).err).toContain('newer syncline');

  // With staging tables it would begin anew.
  const yml = await readFile(path.join(dir, 'syncline.yml'), 'utf8');
  await writeFile(path.join(dir, 'syncline.yml'), yml.replace('staging: none', 'staging: mixpanel'));
  for (const command of ['plan', 'apply'])
    told(
      await cli(dir, command, '-s', 'customers'),
      2,
      'customers ran without staging tables, and syncline.state/dev/customers.json says how far',
    );
  await rm(dir, { recursive: true, force: true });
});
