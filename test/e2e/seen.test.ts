import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { cli } from './cli.ts';
import { HISTORY } from './seen-history.ts';
import type { Lines } from './seen-story.ts';
import { removeStories, shared, Story } from './seen-story.ts';

// Each line of the README's table "What you will see in Mixpanel" has a test of its name here.

afterAll(removeStories);

const EVENTS = `create table t as select * from (values (1, 'a', 'u', timestamp '2024-01-01', 'E', 'd'), (2, 'b', 'u', timestamp '2024-01-02', 'E', 'd')) as r(id, v, u, time, e, d)`;
const events = (more: string): Promise<Story> =>
  Story.of(
    `kind: events, event: { column: e }, time: time, user_id: u, ${more}`,
    EVENTS,
    // The device is seen in its own test only.
    ...(more.includes('device_id') ? [] : ['alter table t drop column d']),
  );
const keyed = (more = ''): Promise<Story> => events(`mode: mirror, key: id${more}`);
const LOG = `create table t as select i as id, 'a' as v, timestamp '2024-01-01' + to_hours(i::integer) as time, timestamp '2024-01-01' + to_hours(i::integer) as loaded from range(10, 13) as r(i)`;
const log = (more = ''): Promise<Story> =>
  Story.of(`kind: events, mode: append, event: E, time: time, insert_time: loaded${more}`, LOG);

const PEOPLE = `create table t as select * from (values ('1', 'Grace', 'Pro'), ('2', 'Bob', 'Free')) as r(id, name, tier)`;
const FULL = { '1': { name: 'Grace', tier: 'Pro' }, '2': { name: 'Bob', tier: 'Free' } };
/** The same story for people and for groups. */
const both =
  (more: string, story: (s: Story) => Promise<void>, ...tables: string[]): (() => Promise<void>) =>
  async () => {
    for (const kind of ['user_profiles, user_id: id', 'group_profiles, group_key: company, group_id: id'])
      await story(await Story.of(`kind: ${kind}, ${more}`, ...(tables.length > 0 ? tables : [PEOPLE])));
  };

type Profiles = Awaited<ReturnType<Story['profiles']>>;
/** The same of users and of groups, side by side. */
const pair =
  (more: string, tables: readonly string[], story: (s: Story, isGroup: boolean) => Promise<Profiles[]>) =>
  (): Promise<Profiles[][]> =>
    Promise.all(
      ['user_profiles, user_id: id', 'group_profiles, group_key: company, group_id: id'].map(async (kind) =>
        story(await Story.of(`kind: ${kind}, ${more}`, ...tables), kind.startsWith('group')),
      ),
    );
/** What a line says of users is so of groups. */
const seen =
  (story: () => Promise<Profiles[][]>, check: (...steps: Profiles[]) => void): (() => Promise<void>) =>
  async () => {
    for (const steps of await story()) check(...steps);
  };

const PRO = { name: 'Grace', tier: 'Pro' };
/** The id of each says which line of the README it is for. */
const changing = shared(
  pair(
    'mode: mirror, on_delete: delete',
    [
      `create table t as select unnest(['same', 'value', 'empty', 'old', 'gone']) as id, 'Grace' as name, 'Pro' as tier`,
    ],
    async (s) => {
      const before = await s.profiles();
      await s.change(
        `insert into t values ('new', 'Ada', null)`,
        `update t set tier = 'Max' where id = 'value'`,
        `update t set tier = null where id = 'empty'`,
        `update t set id = 'other' where id = 'old'`,
        `delete from t where id = 'gone'`,
      );
      await s.apply('2 inserts, 2 updates, 2 deletes');
      return [before, await s.profiles()];
    },
  ),
);

/** People whose row goes, and comes back; then a column more. */
const returning = shared(
  pair('mode: mirror', [PEOPLE], async (s) => {
    const steps: Profiles[] = [];
    const step = async (said: string, ...sql: string[]): Promise<void> => {
      await s.change(...sql);
      await s.apply(said);
      steps.push(await s.profiles());
    };
    await step(
      '0 inserts, 0 updates, 1 delete',
      `create table was as from t where id = '1'`,
      `delete from t where id = '1'`,
    );
    await step('1 insert, 0 updates, 0 deletes', `update was set tier = null`, `insert into t from was`);
    await step('nothing changed', `alter table t add column x varchar`, `update t set x = 'new' where id = '2'`);
    await s.lock();
    await step('0 inserts, 1 update, 0 deletes');
    return steps;
  }),
);

/** Rows of people by the time that they were loaded; the id of each says which line of the README it is for. */
const LOADED = `create table t as select id, name, tier, timestamp '2024-01-01' + to_days(day - 1) as loaded
  from (values ('1', 'Grace', 'Pro', 2), ('2', 'Bob', 'Free', 2), ('changed', 'a', 'Pro', 2), ('gone', 'a', 'Pro', 2),
    ('fallen', 'old', 'Pro', 1), ('fallen', 'new', 'Pro', 2), ('back', 'a', 'Pro', 2)) as r(id, name, tier, day)`;
const appended = shared(
  pair('mode: append, insert_time: loaded', [LOADED], async (s, isGroup) => {
    const [first, second] = isGroup ? ['b', 'a'] : ['a', 'b'];
    await s.change(
      `insert into t values ('1', 'first', 'x', '2024-01-03'), ('1', 'last', null, '2024-01-04'), ('3', 'Ada', 'y', '2024-01-03')`,
      `insert into t values ('2', 'late', 'x', '2024-01-01'), ('late', 'equal', 'x', '2024-01-02')`,
      `insert into t values ('tie', '${first}', 'x', '2024-01-04'), ('tie', '${second}', 'x', '2024-01-04')`,
      `update t set name = 'other' where id = 'changed'`,
      `delete from t where id in ('gone', 'back') or name = 'new'`,
    );
    await s.apply('3 inserts');
    const steps = [await s.profiles()];
    await s.change(`insert into t values ('back', null, 'Max', '2024-01-05')`, `alter table t add column x varchar`);
    await s.apply('1 insert,');
    steps.push(await s.profiles());
    await s.lock();
    await s.change(`update t set x = 'new'`, `insert into t values ('3', 'Ada', 'z', '2024-01-06', 'new')`);
    await s.apply('1 insert,');
    return [...steps, await s.profiles()];
  }),
);

const SONGS = `create table t as select * from (values (1, 'One Dance', 'Drake'), (2, 'Voyager', 'Daft Punk')) as r(id, song, artist)`;
const songs = (mode: string): Promise<Story> =>
  Story.of(`kind: lookup_table, mode: ${mode}, id: id, lookup_table_id: songs`, SONGS);

const LINES: Lines = {
  'events, mirror: a new row': async () => {
    const s = await keyed();
    expect(await s.events()).toEqual(['E 1 a u 01', 'E 2 b u 02']);
    await s.change(`insert into t values (3, 'c', 'w', timestamp '2024-01-03', 'F')`);
    await s.apply('1 insert, 0 updates, 0 deletes');
    expect(await s.events()).toEqual(['E 1 a u 01', 'E 2 b u 02', 'F 3 c w 03']);
  },
  'events, mirror: a value changes': async () => {
    const s = await keyed();
    await s.change(`update t set v = 'z' where id = 1`);
    await s.apply('0 inserts, 1 update, 0 deletes');
    expect(await s.events()).toEqual(['E 1 z u 01', 'E 2 b u 02']);
    expect(await s.events('events_raw')).toEqual(['E 1 a u 01', 'E 1 z u 01', 'E 2 b u 02']);
    const ids = await s.rows(
      `select count(distinct insert_id)::int as n from events_raw where properties ->> 'id' = '1'`,
    );
    expect(ids).toEqual([{ n: 1 }]);
  },
  'events, mirror: a value becomes NULL': async () => {
    const s = await keyed();
    await s.change(`update t set v = null where id = 1`);
    await s.apply('0 inserts, 1 update, 0 deletes');
    expect(await s.events()).toEqual(['E 1 u 01', 'E 2 b u 02']);
  },
  'events, mirror: time, event name, user or device changes': async () => {
    const s = await keyed(', device_id: d');
    const steps: [string, string, string][] = [
      [`time = timestamp '2024-01-05'`, 'E 1 a u 05', 'E u 01 deleted'],
      [`e = 'F'`, 'F 1 a u 05', 'E u 05 deleted'],
      [`u = 'w'`, 'F 1 a w 05', 'F u 05 deleted'],
      [`d = 'other'`, 'F 1 a w 05', 'F w 05 deleted'],
    ];
    for (const [set, now, old] of steps) {
      await s.change(`update t set ${set} where id = 1`);
      await s.apply('1 insert, 0 updates, 1 delete');
      const seen = await s.events();
      expect(seen).toContain(old);
      expect(seen.filter((e) => !e.endsWith('deleted')).sort()).toEqual(['E 2 b u 02', now].sort());
    }
  },
  'events, mirror: a row is gone, on_delete: tombstone': async () => {
    const s = await keyed();
    await s.change(`delete from t where id = 1`);
    await s.apply('0 inserts, 0 updates, 1 delete');
    expect(await s.events()).toEqual(['E 2 b u 02', 'E u 01 deleted']);
    expect(await s.events('events_raw')).toContain('E 1 a u 01');
  },
  'events, mirror: a row is gone, on_delete: ignore': async () => {
    const s = await keyed(', on_delete: ignore');
    await s.change(`delete from t where id = 1`);
    await s.apply('nothing changed');
    expect(await s.events()).toEqual(['E 1 a u 01', 'E 2 b u 02']);
  },
  'events, mirror: a row is gone, on_delete: fail': async () => {
    const s = await keyed(', on_delete: fail');
    await s.change(`delete from t where id = 1`, `update t set v = 'z' where id = 2`);
    await s.refused('on_delete', 'row 1 is gone');
    expect(await s.events('events_raw')).toEqual(['E 1 a u 01', 'E 2 b u 02']);
  },
  'events, mirror: a gone row comes back': async () => {
    const s = await keyed();
    await s.change(`create table was as from t`, `delete from t where id = 1`);
    await s.apply('1 delete');
    await s.change(`insert into t select * from was where id = 1`);
    await s.apply('1 insert');
    expect(await s.events()).toEqual(['E 1 a u 01', 'E 2 b u 02']);
  },
  'events, mirror: a column is excluded or renamed': async () => {
    const s = await keyed();
    await s.remap('key: id', 'key: id, properties: { exclude: [v] }');
    expect(await s.events()).toEqual(['E 1 u 01', 'E 2 u 02']);
    await s.remap('exclude: [v]', 'rename: { v: w }');
    const rows = await s.rows(`select properties ->> 'w' as w, properties ->> 'v' as v from events order by 1`);
    expect(rows).toEqual([
      { w: 'a', v: null },
      { w: 'b', v: null },
    ]);
  },
  'events, mirror: a new column': async () => {
    const s = await keyed();
    await s.change(`alter table t add column x varchar`, `update t set x = 'new'`);
    await s.apply('nothing changed');
    await s.lock();
    await s.apply('0 inserts, 2 updates, 0 deletes');
    const strict = await keyed(', on_new_column: fail');
    await strict.change(`alter table t add column x varchar`);
    await strict.refused('error[columns-drifted]');
  },
  'events, mirror without key: a row changes in anything': async () => {
    const s = await events('mode: mirror');
    await s.change(`update t set v = 'z' where id = 1`);
    await s.apply('1 insert, 0 updates, 1 delete');
    expect(await s.events()).toEqual(['E 1 z u 01', 'E 2 b u 02', 'E u 01 deleted']);
  },
  'events, mirror without key: equal rows': async () => {
    const s = await events('mode: mirror');
    await s.change(`insert into t select * from t where id = 1`, `insert into t select distinct * from t where id = 1`);
    await s.apply('2 inserts, 0 updates, 0 deletes');
    expect(await s.events()).toEqual(['E 1 a u 01', 'E 1 a u 01', 'E 1 a u 01', 'E 2 b u 02']);
    await s.change(`delete from t where rowid = (select max(rowid) from t where id = 1)`);
    await s.apply('0 inserts, 0 updates, 1 delete');
    expect(await s.events()).toEqual(['E 1 a u 01', 'E 1 a u 01', 'E 2 b u 02', 'E u 01 deleted']);
  },
  'events, mirror: a row that Mixpanel would refuse': async () => {
    const s = await keyed();
    await s.change(`insert into t values (3, 'c', 'undefined', timestamp '2024-01-03', 'E')`);
    await s.apply('1 invalid');
    expect(await s.events('events_raw')).toEqual(['E 1 a u 01', 'E 2 b u 02']);
    expect((await cli(s.dir, 'rejects')).out).toContain('user-banned');
  },
  'events, append: a new row': async () => {
    const s = await log();
    expect(await s.events()).toEqual(['E 10 a 01', 'E 11 a 01', 'E 12 a 01']);
    const row = `(13, 'a', timestamp '2024-01-01 13:00:00', timestamp '2024-01-01 13:00:00')`;
    await s.change(`insert into t values ${row}, ${row}`);
    await s.apply('2 inserts');
    expect(await s.events()).toHaveLength(5);
  },
  'events, append: a row changes or is gone': async () => {
    const s = await log();
    await s.change(`update t set v = 'z' where id = 10`, `delete from t where id = 11`);
    await s.apply('nothing changed');
    expect(await s.events('events_raw')).toEqual(['E 10 a 01', 'E 11 a 01', 'E 12 a 01']);
  },
  'events, append: a row arrives late': async () => {
    const s = await log();
    const row = (hour: number): string =>
      `(${hour}, 'a', timestamp '2024-01-01', timestamp '2024-01-01 ${hour}:00:00')`;
    await s.change(`insert into t values ${row(11)}, ${row(12)}`);
    expect((await cli(s.dir, 'plan')).out).toContain('older or equal insert time');
    await s.apply('nothing changed');
    expect(await s.events('events_raw')).toHaveLength(3);
  },
  'events, append: a row arrives late, late_window': async () => {
    const s = await log(', late_window: 1h');
    const row = (time: string): string => `('0', 'late', timestamp '2024-01-01', timestamp '2024-01-01 ${time}')`;
    await s.change(`insert into t values ${row('10:30:00')}, ${row('11:30:00')}, ${row('12:00:00')}`);
    expect((await cli(s.dir, 'plan')).out).toContain('1h or more older');
    await s.apply('2 inserts');
    await s.apply('nothing changed');
    expect(await s.events()).toHaveLength(5);
  },
  'events, append: a row that Mixpanel would refuse': async () => {
    const s = await log();
    await s.change(`insert into t values (13, 'a', null, timestamp '2024-01-01 13:00:00')`);
    await s.apply('1 invalid');
    await s.change(`update t set time = timestamp '2024-01-01' where id = 13`);
    await s.apply('0 inserts');
    expect(await s.events()).toHaveLength(3);
    expect((await cli(s.dir, 'apply', '-s', 's', '--backfill', '2024-01-01..2024-01-02')).err).toContain('4 inserts');
    expect(await s.events()).toEqual(['E 10 a 01', 'E 11 a 01', 'E 12 a 01', 'E 13 a 01']);
  },
  'events, append: a row changes, late_window': async () => {
    for (const [key, copies] of [
      ['', 4],
      [', key: id', 3],
    ] as const) {
      const s = await log(`, late_window: 1h${key}`);
      // Only the last one lies within the window.
      await s.change(`update t set v = 'other'`);
      await s.apply(key === '' ? '1 insert' : 'nothing changed');
      expect(await s.events()).toHaveLength(copies);
    }
  },
  'events, one_time': async () => {
    const s = await events('mode: one_time');
    expect(await s.events()).toEqual(['E 1 a u 01', 'E 2 b u 02']);
    await s.change(`insert into t select 3, v, u, time, e from t where id = 1`, `delete from t where id = 2`);
    await s.apply('one_time, and done');
    expect(await s.events('events_raw')).toEqual(['E 1 a u 01', 'E 2 b u 02']);
  },

  'profiles, mirror: a new row': seen(changing, (before, now) => {
    expect(Object.keys(before).sort()).toEqual(['empty', 'gone', 'old', 'same', 'value']);
    expect([before['same'], now['same'], now['new']]).toEqual([PRO, PRO, { name: 'Ada' }]);
  }),
  'profiles, mirror: a value changes': seen(changing, (before, now) => {
    expect([before['value'], now['value']]).toEqual([PRO, { name: 'Grace', tier: 'Max' }]);
  }),
  'profiles, mirror: a value becomes NULL': seen(changing, (before, now) => {
    expect([before['empty'], now['empty']]).toEqual([PRO, { name: 'Grace' }]);
  }),
  'profiles, mirror: the id changes': seen(changing, (before, now) => {
    expect([before['old'], now['old'], now['other']]).toEqual([PRO, undefined, PRO]);
  }),
  'profiles, mirror: a row is gone, on_delete: unset': seen(returning, (gone) => {
    expect(gone).toEqual({ ...FULL, '1': {} });
  }),
  'profiles, mirror: a row is gone, on_delete: delete': seen(changing, (before, now) => {
    expect(before['gone']).toEqual(PRO);
    expect(Object.keys(now).sort()).toEqual(['empty', 'new', 'other', 'same', 'value']);
  }),
  'profiles, mirror: a row is gone, on_delete: ignore': both('mode: mirror, on_delete: ignore', async (s) => {
    await s.change(`delete from t where id = '1'`);
    await s.apply('nothing changed');
    expect(await s.profiles()).toEqual(FULL);
  }),
  'profiles, mirror: a row is gone, on_delete: fail': both('mode: mirror, on_delete: fail', async (s) => {
    await s.change(`delete from t where id = '1'`, `update t set tier = 'Max' where id = '2'`);
    await s.refused('row 1 is gone');
    expect(await s.profiles()).toEqual(FULL);
  }),
  'profiles, mirror: a gone row comes back': seen(returning, (_, back) => {
    expect(back).toEqual({ ...FULL, '1': { name: 'Grace' } });
  }),
  'profiles, mirror: a column is excluded or renamed': both('mode: mirror', async (s) => {
    await s.remap('mode: mirror', 'mode: mirror, properties: { rename: { name: called }, exclude: [tier] }');
    expect(await s.profiles()).toEqual({ '1': { called: 'Grace' }, '2': { called: 'Bob' } });
    await s.remap('name: called', 'name: known', '--forward');
    await s.change(`update t set name = 'Ada' where id = '1'`);
    await s.apply('1 update');
    expect(await s.profiles()).toEqual({ '1': { called: 'Grace', known: 'Ada' }, '2': { called: 'Bob' } });
  }),
  'profiles, mirror: a new column': seen(returning, (_, back, same, locked) => {
    expect(same).toEqual(back);
    expect(locked).toEqual({ '1': { name: 'Grace' }, '2': { ...FULL['2'], x: 'new' } });
  }),
  'profiles, append: the newest row of an id': seen(appended, (first) => {
    expect([first['1'], first['3']]).toEqual([{ name: 'last' }, { name: 'Ada', tier: 'y' }]);
  }),
  'profiles, append: two newest rows of an id have one insert time': async () => {
    const names = (await appended()).map(([first]) => first?.['tie']?.['name']);
    // Users came as a and b, groups as b and a.
    expect([
      ['a', 'a'],
      ['b', 'b'],
    ]).toContainEqual(names);
  },
  'profiles, append: the newest row changes or is gone': seen(appended, (first) => {
    expect([first['changed'], first['gone'], first['fallen']]).toEqual([
      { name: 'a', tier: 'Pro' },
      { name: 'a', tier: 'Pro' },
      { name: 'new', tier: 'Pro' },
    ]);
  }),
  'profiles, append: a gone row comes back': seen(appended, (first, back) => {
    expect([first['back'], back['back']]).toEqual([{ name: 'a', tier: 'Pro' }, { tier: 'Max' }]);
  }),
  'profiles, append: a row arrives late': seen(appended, (first, _, last) => {
    for (const step of [first, last]) expect([step['2'], step['late']]).toEqual([FULL['2'], undefined]);
  }),
  'profiles, append: a new column': seen(appended, (first, second, locked) => {
    expect(JSON.stringify([first, second])).not.toContain('"x":"new"');
    expect(locked).toEqual({ ...second, '3': { name: 'Ada', tier: 'z', x: 'new' } });
  }),
  'profiles, full: every row in each run': both('mode: full', async (s) => {
    await s.change(`update t set tier = null where id = '1'`, `delete from t where id = '2'`);
    await s.apply('1 insert');
    // The row that is gone is not known to be gone.
    expect(await s.profiles()).toEqual({ ...FULL, '1': { name: 'Grace' } });
  }),
  'profiles, full: a new column': both('mode: full', async (s) => {
    await s.change(`alter table t add column x varchar`, `update t set x = 'new' where id = '1'`);
    await s.lock();
    await s.apply('2 inserts');
    expect(await s.profiles()).toEqual({ ...FULL, '1': { ...FULL['1'], x: 'new' } });
  }),
  'profiles, one_time': both('mode: one_time', async (s) => {
    await s.change(`update t set tier = null where id = '1'`);
    await s.apply('one_time, and done');
    expect(await s.profiles()).toEqual(FULL);
  }),

  ...HISTORY,

  'lookup table, full: any change': async () => {
    const s = await songs('full');
    await s.apply('nothing changed');
    await s.change(
      `update t set artist = null where id = 1`,
      `delete from t where id = 2`,
      `insert into t values (3, 'C', 'D')`,
    );
    await s.apply('2 inserts');
    expect(JSON.stringify(await s.lookup())).not.toMatch(/Drake|Voyager/);
    expect(await s.lookup()).toHaveLength(2);
  },
  'lookup table, full: a new column': async () => {
    const s = await songs('full');
    await s.change(`alter table t add column genre varchar`, `update t set genre = 'Pop' where id = 1`);
    await s.apply('nothing changed');
    await s.lock();
    await s.apply('2 inserts');
    expect(JSON.stringify(await s.lookup())).toContain('Pop');
  },
  'lookup table, full: no row is left': async () => {
    const s = await songs('full');
    await s.change(`delete from t`);
    await s.refused('Mixpanel takes no empty table');
    expect(await s.lookup()).toHaveLength(2);
  },
  'lookup table, one_time': async () => {
    const s = await songs('one_time');
    await s.change(`delete from t where id = 2`);
    await s.apply('one_time, and done');
    expect(await s.lookup()).toHaveLength(2);
  },
};

describe.concurrent('what you will see in Mixpanel', () => {
  for (const [line, story] of Object.entries(LINES)) test(line, story);
});

test('each line of the README has its test, and each test its line', () => {
  const readme = readFileSync(path.join(import.meta.dirname, '../../README.md'), 'utf8');
  const section = readme.split('## What you will see in Mixpanel\n')[1]?.split('\n## ')[0] ?? '';
  const lines = section
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) => line.split(' | ')[0]?.slice(2) ?? '');
  expect(lines.slice(1)).toEqual(Object.keys(LINES));
});
