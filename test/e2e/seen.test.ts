import { readFileSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { cli, duck, project, told, YML } from './cli.ts';

// Each line of the README's table "What you will see in Mixpanel" has a test of its name here.

const dirs: string[] = [];
afterAll(async () => {
  for (const dir of dirs.splice(0)) await rm(dir, { recursive: true, force: true });
});

/** A locked and applied project with one sync `s` over a table `t`. */
class Story {
  readonly dir: string;
  constructor(dir: string) {
    this.dir = dir;
  }

  static async of(sync: string, ...tables: string[]): Promise<Story> {
    const dir = await project({
      'syncline.yml': YML,
      'syncs/s.yml': `syncs:\n  - { name: s, source: { relation: t }, ${sync} }\n`,
    });
    dirs.push(dir);
    const story = new Story(dir);
    await story.change(...tables);
    await story.lock();
    await story.apply();
    return story;
  }

  change(...sql: string[]): Promise<unknown> {
    return duck(path.join(this.dir, 'warehouse.duckdb'), ...sql);
  }
  async lock(): Promise<void> {
    told(await cli(this.dir, 'lock'), 0);
  }
  async apply(...expected: string[]): Promise<void> {
    told(await cli(this.dir, 'apply'), 0, ...expected);
  }
  async refused(...expected: string[]): Promise<void> {
    told(await cli(this.dir, 'apply'), 1, ...expected);
  }
  /** Another mapping is refused until it is decided. */
  async remap(from: string, to: string, decision = '--resend'): Promise<void> {
    const file = path.join(this.dir, 'syncs/s.yml');
    await writeFile(file, (await readFile(file, 'utf8')).replace(from, to));
    await this.refused('error[mapping-changed]');
    told(await cli(this.dir, 'apply', decision, 's'), 0);
  }
  async rows(sql: string): Promise<Record<string, unknown>[]> {
    return duck(path.join(this.dir, 'sandbox.duckdb'), sql);
  }
  /** Events as a report shows them: `id v user day deleted`, without what is not there. */
  async events(table = 'events'): Promise<string[]> {
    const rows = await this.rows(
      `select concat_ws(' ', event, properties ->> 'id', properties ->> 'v', nullif(distinct_id, ''), strftime(make_timestamp(time_ms * 1000), '%d'), case when properties ->> 'syncline_deleted' = 'true' then 'deleted' end) as e from ${table} order by 1`,
    );
    return rows.map((r) => String(r['e']));
  }
  /** Profiles by id, without the properties that the sandbox adds. */
  async profiles(): Promise<Record<string, Record<string, unknown>>> {
    const rows = await this.rows(
      `select distinct_id as id, properties::varchar as p from profiles union all select group_id, properties::varchar from groups order by 1`,
    );
    return Object.fromEntries(
      rows.map((r) => {
        const all = Object.entries(JSON.parse(String(r['p'])) as Record<string, unknown>);
        return [String(r['id']), Object.fromEntries(all.filter(([name]) => /^[a-z]/.test(name)))];
      }),
    );
  }
  async lookup(): Promise<unknown[]> {
    return this.rows(`select * from lookup_rows order by 2`);
  }
}

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
const LOADED = [PEOPLE, `alter table t add column loaded timestamp`, `update t set loaded = timestamp '2024-01-02'`];

const SONGS = `create table t as select * from (values (1, 'One Dance', 'Drake'), (2, 'Voyager', 'Daft Punk')) as r(id, song, artist)`;
const songs = (mode: string): Promise<Story> =>
  Story.of(`kind: lookup_table, mode: ${mode}, id: id, lookup_table_id: songs`, SONGS);

const LINES: Readonly<Record<string, () => Promise<void>>> = {
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
  'events, one_time': async () => {
    const s = await events('mode: one_time');
    expect(await s.events()).toEqual(['E 1 a u 01', 'E 2 b u 02']);
    await s.change(`insert into t select 3, v, u, time, e from t where id = 1`, `delete from t where id = 2`);
    await s.apply('one_time, and done');
    expect(await s.events('events_raw')).toEqual(['E 1 a u 01', 'E 2 b u 02']);
  },

  'profiles, mirror: a new row': both('mode: mirror', async (s) => {
    expect(await s.profiles()).toEqual(FULL);
    await s.change(`insert into t values ('3', 'Ada', null)`);
    await s.apply('1 insert, 0 updates, 0 deletes');
    expect(await s.profiles()).toEqual({ ...FULL, '3': { name: 'Ada' } });
  }),
  'profiles, mirror: a value changes': both('mode: mirror', async (s) => {
    await s.change(`update t set tier = 'Max' where id = '1'`);
    await s.apply('1 update');
    expect(await s.profiles()).toEqual({ ...FULL, '1': { name: 'Grace', tier: 'Max' } });
  }),
  'profiles, mirror: a value becomes NULL': both('mode: mirror', async (s) => {
    await s.change(`update t set tier = null where id = '1'`);
    await s.apply('1 update');
    expect(await s.profiles()).toEqual({ ...FULL, '1': { name: 'Grace' } });
  }),
  'profiles, mirror: the id changes': both('mode: mirror, on_delete: delete', async (s) => {
    await s.change(`update t set id = '9' where id = '1'`);
    await s.apply('1 insert, 0 updates, 1 delete');
    expect(await s.profiles()).toEqual({ '9': FULL['1'], '2': FULL['2'] });
  }),
  'profiles, mirror: a row is gone, on_delete: unset': both('mode: mirror', async (s) => {
    await s.change(`delete from t where id = '1'`);
    await s.apply('1 delete');
    expect(await s.profiles()).toEqual({ ...FULL, '1': {} });
  }),
  'profiles, mirror: a row is gone, on_delete: delete': both('mode: mirror, on_delete: delete', async (s) => {
    await s.change(`delete from t where id = '1'`);
    await s.apply('1 delete');
    expect(await s.profiles()).toEqual({ '2': FULL['2'] });
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
  'profiles, mirror: a column is excluded or renamed': both('mode: mirror', async (s) => {
    await s.remap('mode: mirror', 'mode: mirror, properties: { rename: { name: called }, exclude: [tier] }');
    expect(await s.profiles()).toEqual({ '1': { called: 'Grace' }, '2': { called: 'Bob' } });
    await s.remap('name: called', 'name: known', '--forward');
    await s.change(`update t set name = 'Ada' where id = '1'`);
    await s.apply('1 update');
    expect(await s.profiles()).toEqual({ '1': { called: 'Grace', known: 'Ada' }, '2': { called: 'Bob' } });
  }),
  'profiles, append: the newest row of an id': both(
    'mode: append, insert_time: loaded',
    async (s) => {
      await s.change(
        `insert into t values ('1', 'first', 'x', '2024-01-03'), ('1', 'last', null, '2024-01-04'), ('3', 'Ada', 'y', '2024-01-03')`,
      );
      await s.apply('2 inserts');
      expect(await s.profiles()).toEqual({ '1': { name: 'last' }, '2': FULL['2'], '3': { name: 'Ada', tier: 'y' } });
    },
    ...LOADED,
  ),
  'profiles, append: a row arrives late': both(
    'mode: append, insert_time: loaded',
    async (s) => {
      await s.change(`insert into t values ('1', 'late', 'x', '2024-01-01'), ('3', 'equal', 'x', '2024-01-02')`);
      await s.apply('nothing changed');
      expect(await s.profiles()).toEqual(FULL);
    },
    ...LOADED,
  ),
  'profiles, full: every row in each run': both('mode: full', async (s) => {
    await s.change(`update t set tier = null where id = '1'`, `delete from t where id = '2'`);
    await s.apply('1 insert');
    // The row that is gone is not known to be gone.
    expect(await s.profiles()).toEqual({ ...FULL, '1': { name: 'Grace' } });
  }),
  'profiles, one_time': both('mode: one_time', async (s) => {
    await s.change(`update t set tier = null where id = '1'`);
    await s.apply('one_time, and done');
    expect(await s.profiles()).toEqual(FULL);
  }),

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
