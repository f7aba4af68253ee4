import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { Sandbox } from '../../runtime/sandbox/server.ts';
import { openSandbox, serveSandbox } from '../../runtime/sandbox/server.ts';
import { random } from '../story/scheduler.ts';
import { cli, duck, heldBy, pendingIn, project, start } from './cli.ts';

const SEED = Number(process.env['SEED'] ?? 7);

/** The cells that the six syncs of kill.test.ts leave out. */
const SYNCS = `syncs:
  - { name: twins, kind: events, mode: mirror, source: { relation: twins }, event: Twin, time: t, guard: { max_deletes: 100% } }
  - { name: log, kind: events, mode: append, source: { relation: log }, event: Log, time: t, insert_time: loaded }
  - { name: once, kind: events, mode: one_time, source: { relation: fixed }, event: Once, time: t, properties: { exclude: [id, v] } }
  - { name: users_append, kind: user_profiles, mode: append, source: { relation: profile_log }, user_id: ua, insert_time: loaded, properties: { exclude: [uf, ga, gf, t] } }
  - { name: users_full, kind: user_profiles, mode: full, source: { relation: profiles }, user_id: uf }
  - { name: users_once, kind: user_profiles, mode: one_time, source: { relation: fixed }, user_id: id, properties: { exclude: [n, t] } }
  - { name: groups_append, kind: group_profiles, mode: append, source: { relation: profile_log }, group_key: company, group_id: ga, insert_time: loaded, properties: { exclude: [ua, uf, gf, t] } }
  - { name: groups_full, kind: group_profiles, mode: full, source: { relation: profiles }, group_key: company, group_id: uf }
  - { name: groups_once, kind: group_profiles, mode: one_time, source: { relation: fixed }, group_key: company, group_id: id, properties: { exclude: [n, t] } }
  - { name: groups_unset, kind: group_profiles, mode: mirror, source: { relation: mirrored }, group_key: company, group_id: id, guard: { max_deletes: 100% } }
  - { name: tiers_append, kind: user_profiles, mode: append, source: { relation: profile_log }, user_id: gf, insert_time: loaded, history: { start_time: t }, properties: { exclude: [ua, uf, ga] } }
  - { name: tiers_once, kind: group_profiles, mode: one_time, source: { relation: fixed }, group_key: firm, group_id: id, history: { start_time: t }, properties: { exclude: [n] } }
  - { name: plans, kind: group_profiles, mode: mirror, source: { relation: versions }, group_key: plan, group_id: id, history: { start_time: a, end_time: z }, on_delete: delete, guard: { max_deletes: 100% } }
  - { name: plans_append, kind: group_profiles, mode: append, source: { relation: profile_log }, group_key: crew, group_id: gf, insert_time: loaded, history: { start_time: t }, properties: { exclude: [ua, uf, ga] } }
  - { name: tiers_user_once, kind: user_profiles, mode: one_time, source: { relation: fixed }, user_id: n, history: { start_time: t }, properties: { exclude: [id] } }
  - { name: banned, kind: events, mode: mirror, source: { relation: ids }, event: Banned, time: t, user_id: u, device_id: d, key: id, properties: { exclude: [loaded] }, guard: { max_deletes: 100% } }
  - { name: banned_log, kind: events, mode: append, source: { relation: id_log }, event: Banned Log, time: t, user_id: u, device_id: d, insert_time: loaded }
  - { name: songs_once, kind: lookup_table, mode: one_time, source: { relation: fixed }, id: n, lookup_table_id: songs, properties: { exclude: [t] } }
`;

/** Ids that Mixpanel refuses, in small, large and mixed letters, some between blanks; `n` chooses. */
const banned = (n: string): string =>
  `(select case hash(${n}, 1) % 4 when 0 then x when 1 then upper(x) when 2 then upper(x[1]) || x[2:] else ' ' || x || ' ' end
    from (select ['anon', 'anonymous', 'nil', 'none', 'null', 'n/a', 'na', 'undefined', 'unknown', '<nil>', '0', '-1', 'true', 'false', '[]', '{}'][(1 + hash(${n}) % 16)::integer] as x))`;
/** Rows of which a third has such a user, and a quarter such a device. */
const ids = (from: number, to: number, loaded: string): string =>
  `select i as id, timestamp '2024-01-01' as t, case when hash(i, 2) % 3 = 0 then ${banned('i')} else 'w' || i end as u,
    case when hash(i, 3) % 4 = 0 then ${banned('i + 7')} else 'dev' || i end as d, ${loaded} as loaded from range(${from}, ${to}) as r(i)`;
const FINE = `(u like 'w%' and d like 'dev%')`;

test.each([
  ['mixpanel', Number(process.env['ROUNDS'] ?? 10)],
  ['none', Number(process.env['ROUNDS'] ?? 4)],
])(
  `real processes, staging: %s, %i rounds: kill -9 and a faulty server over every other kind and mode end in equality (seed ${SEED})`,
  async (staging, rounds) => {
    const rng = random(SEED + 2);
    // Without a place for a ledger there is no mirror.
    const syncs = SYNCS.split('\n')
      .filter((line) => staging !== 'none' || !line.includes('mode: mirror'))
      .join('\n');
    const names = [...syncs.matchAll(/name: (\w+)/g)].map((m) => m[1] ?? '');
    const fulls = syncs.split('mode: full').length - 1;
    const { parseFaults } = await import('../../runtime/sandbox/faults.ts');
    const sandbox: Sandbox = await openSandbox({
      path: ':memory:',
      faults: parseFaults('429=0.05,5xx=0.05,reset-before=0.05,reset-after=0.1'),
      random: rng,
    });
    const server = await serveSandbox(sandbox, { port: 0 });
    try {
      const dir = await project({
        'syncline.yml': `name: shop
default_target: dev
targets:
  dev:
    warehouse: { type: duckdb, path: warehouse.duckdb, staging: ${staging} }
    lease: { ttl: 2s }
    mixpanel:
      host: http://127.0.0.1:${server.port}
      project_id: 1
      token: x
      service_account: { username: a, secret: b }
      retry: { initial: 20ms, max: 100ms, attempts: 8 }
      request_timeout: 1s
`,
        'syncs/shop.yml': syncs,
      });
      const file = path.join(dir, 'warehouse.duckdb');
      const logged = (round: number): string =>
        `insert into profile_log select 'ua' || (i % 300), 'uf' || (i % 300), 'ga' || (i % 300), 'gf' || (i % 300),
        timestamp '2024-02-01' + to_minutes(${round}) + to_milliseconds(i::integer), case when hash(i, ${round}) % 3 > 0 then 'n' || ${round} end, ${round}, timestamp '2024-02-01' + to_minutes(${round}) from range(${round === 0 ? 600 : 60}) as t(i) ${round === 0 ? 'where i < 300' : ''}`;
      await duck(
        file,
        `create table twins as select (i % 700)::integer as n, timestamp '2024-01-01' + to_seconds((i % 700)::integer) as t from range(2000) as r(i)`,
        `create table log as select i as n, timestamp '2024-02-01' as t, timestamp '2024-02-01' as loaded from range(1000) as r(i)`,
        `create table fixed as select 'f' || i as id, i + 1 as n, 'v' || i as v, timestamp '2024-01-01' as t from range(800) as r(i)`,
        'create table profile_log (ua varchar, uf varchar, ga varchar, gf varchar, t timestamp, name varchar, v integer, loaded timestamp)',
        logged(0),
        `create table profiles as select 'p' || i as uf, 'n' || i as name, 0 as v from range(500) as r(i)`,
        `create table versions as select 'm' || i as id, timestamp '2024-01-01' + to_seconds(i::integer) as a, timestamp '2024-02-01' as z, 'Free' as tier from range(600) as r(i)`,
        `insert into versions select id, z, null, 'Pro' from versions where hash(id) % 3 > 0`,
        `create table ids as ${ids(0, 600, `timestamp '2024-02-01'`)}`,
        'create table id_log as from ids',
        `create table mirrored as select 'm' || i as id, 'n' || i as name, 0 as v from range(500) as r(i)`,
      );
      for (const args of [['lock'], ...(staging === 'none' ? [] : [['setup', '--execute']])])
        expect((await cli(dir, ...args)).code).toBe(0);
      let landed = 0;
      for (let round = 1; round <= rounds; round++) {
        const part = (modulus: number): string => `hash(name, v) % ${modulus} = ${Math.floor(rng() * modulus)}`;
        const version = (modulus: number): string => `hash(id) % ${modulus} = ${Math.floor(rng() * modulus)}`;
        await duck(
          file,
          `delete from twins where rowid in (select rowid from twins where hash(rowid) % 50 = ${Math.floor(rng() * 50)})`,
          `insert into twins select * from twins where hash(n, ${round}) % 40 = 0`,
          `update twins set n = n + 1000 where hash(rowid, ${round}) % 90 = 0`,
          `insert into log select ${round * 1000} + i % 20, timestamp '2024-02-01', timestamp '2024-02-01' + to_minutes(${round}) from range(30) as r(i)`,
          logged(round),
          `update profiles set name = case when name is null then 'again' end, v = v + 1 where ${part(7)}`,
          `update mirrored set name = case when name is null then 'again' end, v = v + 1 where ${part(7)}`,
          `delete from mirrored where ${part(60)}`,
          `update versions set z = timestamp '2024-03-01' + to_days(${round}) where z is null and ${version(20)}`,
          `insert into versions select id, max(z), null, 'next ${round}' from versions where ${version(20)} group by id having count(*) = count(z)`,
          `update versions set tier = case when tier = 'Pro' then null else 'Pro' end where ${version(30)}`,
          `delete from versions where ${version(40)} and hash(a) % 2 = ${round % 2}`,
          `update ids set u = case when u like 'w%' then ${banned(`id + ${round}`)} else 'w' || id end where hash(id, ${round}) % 10 = 0`,
          `insert into id_log ${ids(round * 1000, round * 1000 + 40, `timestamp '2024-02-01' + to_minutes(${round})`)}`,
        );
        const { child, ended, captured } = start(dir, 'apply', '--threads', '3');
        // The first run, which is the longest, and every other one are killed soon after they have captured something,
        // however long a machine takes to start a process.
        if (round % 2 === 1) await captured;
        await new Promise((resolve) => setTimeout(resolve, round % 2 === 1 ? rng() * 500 : 400 + rng() * 2500));
        child.kill('SIGKILL');
        await ended;
        landed += staging === 'none' ? await pendingIn(dir) : await heldBy(file, names);
      }
      process.stderr.write(`staging: ${staging}: ${landed} runs in ${rounds} rounds were cut by a kill\n`);
      expect(landed).toBeGreaterThan(0);
      let last = { code: 1, err: '', out: '' };
      const still = (): number => (last.err.match(/nothing changed|one_time, and done/g) ?? []).length;
      // All but those of mode full, which send every row in each run.
      const quiet = names.length - fulls;
      for (let i = 0; i < 12 && (last.code !== 0 || still() < quiet); i++)
        last = await cli(dir, 'apply', '--threads', '3');
      expect([still(), last.code], last.err).toEqual([quiet, 0]);
      // The command shows so many, and no more.
      const rejectsOf = async (name: string): Promise<string[]> => {
        if (staging !== 'none') {
          const rows = await duck(
            file,
            `select change || ' ' || kind || ': ' || reason as r from mixpanel.${name}__rejects`,
          );
          return rows.map((r) => String(r['r']));
        }
        const state = await readFile(path.join(dir, `syncline.state/dev/${name}.json`), 'utf8');
        const { rejects } = JSON.parse(state) as { rejects: { change: string; reason: string; payload: unknown }[] };
        return rejects.map((r) => `${r.change} ${r.payload === null ? 'invalid' : 'refused'}: ${r.reason}`);
      };

      const compare = async (what: string, table: string, mixpanel: string): Promise<void> => {
        if (!names.includes(what.split(' ').at(-1) ?? '')) return;
        const text = (query: string): string =>
          `select string_agg(line, chr(10) order by line) as t from (${query}) as q(line)`;
        const [row] = await duck(file, text(table));
        const [shown] = await sandbox.query(text(mixpanel));
        const lines = (value: unknown): string[] => String(value).split('\n');
        const [a, b] = [lines(row?.['t']), lines(shown?.['t'])];
        expect([
          what,
          a.length > 100,
          a.filter((x) => !b.includes(x)),
          b.filter((x) => !a.includes(x)),
          b.length,
        ]).toEqual([what, true, [], [], a.length]);
      };
      const p = (name: string): string => `coalesce((properties ->> '${name}'), '')`;
      const events = (event: string, line: string): string =>
        `select ${line} from events where event = '${event}' and (properties ->> 'syncline_deleted') is null`;
      const profiles = (prefix: string, line: string): string =>
        `select distinct_id || '|' || ${line} from profiles where distinct_id like '${prefix}%'`;
      const groups = (key: string, prefix: string, line: string): string =>
        `select group_id || '|' || ${line} from groups where group_key = '${key}' and group_id like '${prefix}%'`;
      const named = `${p('name')} || '|' || ${p('v')}`;
      const newest = (id: string): string =>
        `select ${id} || '|' || coalesce(name, '') || '|' || v from profile_log as l qualify row_number() over (partition by ${id} order by loaded desc) = 1`;
      await compare(
        'twins',
        `select n || '|' || epoch_ms(t) from twins`,
        events('Twin', `${p('n')} || '|' || time_ms`),
      );
      await compare('log', `select n || '' from log`, events('Log', p('n')));
      await compare('once', `select n || '' from fixed`, events('Once', p('n')));
      await compare('users_append', newest('ua'), profiles('ua', named));
      await compare(
        'users_full',
        `select uf || '|' || coalesce(name, '') || '|' || v from profiles`,
        profiles('p', named),
      );
      await compare('users_once', `select id || '|' || v from fixed`, profiles('f', p('v')));
      await compare('groups_append', newest('ga'), groups('company', 'ga', named));
      await compare(
        'groups_full',
        `select uf || '|' || coalesce(name, '') || '|' || v from profiles`,
        groups('company', 'p', named),
      );
      await compare('groups_once', `select id || '|' || v from fixed`, groups('company', 'f', p('v')));
      await compare(
        'groups_unset',
        `select id || '|' || coalesce(name, '') || '|' || v from mirrored`,
        `${groups('company', 'm', named)} and (properties ->> 'v') is not null`,
      );
      await compare('tiers_append', newest('gf'), profiles('gf', named));
      await compare(
        'versions of tiers_append',
        `select gf || '|' || epoch_ms(t) || '|' || coalesce(name, '') || '|' || v from profile_log`,
        events('tiers_append', `distinct_id || '|' || time_ms || '|' || ${named}`),
      );
      await compare('tiers_once', `select id || '|' || v from fixed`, groups('firm', 'f', p('v')));
      await compare(
        'versions of tiers_once',
        `select id || '|' || v from fixed`,
        events('tiers_once', `${p('firm')} || '|' || ${p('v')}`),
      );
      const tier = p('tier');
      await compare(
        'versions of plans',
        `select id || '|' || epoch_ms(a) || '|' || coalesce(tier, '') from versions union all
       select v.id || '|' || epoch_ms(v.z) || '|' from versions as v where v.z is not null
         and not exists (select 1 from versions as o where o.id = v.id and o.a > v.a and o.a <= v.z)`,
        events('plans', `${p('plan')} || '|' || time_ms || '|' || ${tier}`),
      );
      await compare(
        'plans',
        `select id || '|' || tier from versions as v where v.z is null and v.tier is not null and v.a = (select max(o.a) from versions as o where o.id = v.id)`,
        `${groups('plan', 'm', tier)} and (properties ->> 'tier') is not null`,
      );
      await compare('plans_append', newest('gf'), groups('crew', 'gf', named));
      await compare(
        'versions of plans_append',
        `select gf || '|' || epoch_ms(t) || '|' || coalesce(name, '') || '|' || v from profile_log`,
        events('plans_append', `${p('crew')} || '|' || time_ms || '|' || ${named}`),
      );
      const numbered = `regexp_full_match(distinct_id, '[0-9]+')`;
      await compare(
        'tiers_user_once',
        `select n || '|' || v from fixed`,
        `select distinct_id || '|' || ${p('v')} from profiles where ${numbered}`,
      );
      await compare(
        'versions of tiers_user_once',
        `select n || '|' || v from fixed`,
        events('tiers_user_once', `distinct_id || '|' || ${p('v')}`),
      );
      for (const [name, event, table] of [
        ['banned', 'Banned', 'ids'],
        ['banned_log', 'Banned Log', 'id_log'],
      ] as const) {
        await compare(
          name,
          `select id || '|' || u || '|' || d from ${table} where ${FINE}`,
          events(event, `${p('id')} || '|' || distinct_id || '|' || ${p('$."$device_id"')}`),
        );
        if (!names.includes(name)) continue;
        // The others were not even tried.
        const [row] = await duck(file, `select count(*)::int as n from ${table} where not ${FINE}`);
        const own = await rejectsOf(name);
        const told = own.filter((reject) => / invalid: (user|device)-banned$/.test(reject));
        expect([name, own.length, told.length]).toEqual([name, row?.['n'], row?.['n']]);
      }
      await compare(
        'songs_once',
        `select n || '|' || id || '|' || v from fixed`,
        `select row_id || '|' || ${p('id')} || '|' || ${p('v')} from lookup_rows where lookup_table_id = 'songs'`,
      );
      await rm(dir, { recursive: true, force: true });
    } finally {
      await server.close();
      await sandbox.close();
    }
  },
);
