import { expect } from 'vitest';
import { cli } from './cli.ts';
import type { Lines } from './seen-story.ts';
import { shared, Story } from './seen-story.ts';

/** Versions of people: the id of each says which line of the README it is for. */
const VERSIONS = `create table t as select id, v, timestamp '2024-01-01' + to_days(a - 1) as a, timestamp '2024-01-01' + to_days(z - 1) as z
  from (values ('new', 'Free', 1, null), ('value', 'Free', 1, null), ('value', 'Pro', 9, null), ('start', 'Free', 1, null),
    ('removed', 'Free', 1, null), ('removed', 'Pro', 9, null), ('ended', 'Free', 1, null), ('reopened', 'Free', 1, 9),
    ('followed', 'Free', 1, 9), ('gone', 'Free', 1, null), ('gone', 'Pro', 9, null), ('back', 'Free', 1, null),
    ('ahead', 'Free', 1, null)) as r(id, v, a, z)`;
const history = (more: string, kind = 'user_profiles, user_id: id', ...tables: string[]): Promise<Story> =>
  Story.of(`kind: ${kind}, history: { start_time: a, end_time: z }, ${more}`, VERSIONS, ...tables);
const GROUP = 'group_profiles, group_key: company, group_id: id';
const jan = (day: number): string => `timestamp '2024-01-${String(day).padStart(2, '0')}'`;

/** What Mixpanel shows of each id: its events, oldest first, and its profile. */
async function versions(s: Story): Promise<Record<string, { events: string[]; profile: unknown }>> {
  const profiles = await s.profiles();
  const rows = await s.rows(
    `select coalesce(properties ->> 'company', distinct_id) as id, concat_ws(' ', event, properties ->> 'v', properties ->> 'w', strftime(make_timestamp(time_ms * 1000), '%d'), case when properties ->> 'syncline_deleted' = 'true' then 'deleted' end) as e from events order by time_ms, e`,
  );
  const ids = new Set([...rows.map((r) => String(r['id'])), ...Object.keys(profiles)]);
  return Object.fromEntries(
    [...ids].map((id) => [
      id,
      { events: rows.filter((r) => r['id'] === id).map((r) => String(r['e'])), profile: profiles[id] },
    ]),
  );
}

const mirrored = shared(async () => {
  const s = await history('mode: mirror');
  await s.change(
    `insert into t values ('new', 'Pro', ${jan(9)}, null), ('followed', 'Pro', ${jan(9)}, null), ('ahead', 'Pro', timestamp '2999-01-01', null), ('value', 'None', null, null)`,
    `update t set v = upper(v) where id = 'value'`,
    `update t set a = ${jan(5)} where id = 'start'`,
    `create table was as from t where id = 'back'`,
    `delete from t where id = 'removed' and v = 'Pro' or id in ('gone', 'back')`,
    `update t set z = ${jan(9)} where id = 'ended'`,
    `update t set z = null where id = 'reopened'`,
  );
  await s.apply('2 invalid');
  const rejects = (await cli(s.dir, 'rejects')).out;
  const gone = await versions(s);
  await s.change(`insert into t from was`);
  await s.apply('2 inserts');
  return { rejects, gone, now: await versions(s), raw: await s.events('events_raw') };
});

/** Groups whose declaration and columns change, too. */
const grouped = shared(async () => {
  const s = await history('mode: mirror, on_delete: delete', GROUP);
  await s.change(`delete from t where id = 'gone'`);
  await s.apply('3 deletes');
  const gone = await versions(s);
  await s.change(`alter table t add column w varchar`, `update t set w = 'new' where id = 'value'`);
  await s.apply('nothing changed');
  await s.lock();
  await s.apply('0 inserts, 3 updates, 0 deletes');
  const added = await versions(s);
  await s.remap('mode: mirror', 'mode: mirror, properties: { exclude: [v] }');
  return { gone, added, excluded: await versions(s) };
});

const appendedVersions = shared(async () => {
  const s = await history(
    'mode: append, insert_time: loaded',
    undefined,
    `alter table t add column loaded timestamp`,
    `update t set loaded = timestamp '2024-02-01'`,
  );
  const insert = (id: string, v: string, day: number, loaded: string): string =>
    `insert into t values ('${id}', '${v}', ${jan(day)}, null, timestamp '2024-${loaded}')`;
  await s.change(
    insert('new', 'Pro', 9, '02-02'),
    insert('start', 'late', 9, '02-01'),
    `update t set v = upper(v) where id = 'value'`,
    `delete from t where id = 'gone' and v = 'Pro'`,
    `update t set z = ${jan(9)}, loaded = timestamp '2024-02-02' where id = 'ended'`,
    `update t set z = null where id = 'reopened'`,
  );
  await s.apply('inserts');
  const now = await versions(s);
  await s.change(insert('value', 'Max', 11, '02-03'), insert('gone', 'Max', 11, '02-03'));
  await s.apply('4 inserts');
  return { now, later: await versions(s) };
});

/** What the README says of profiles with history, line by line. */
export const HISTORY: Lines = {
  'profiles with history, mirror: a new version': async () => {
    const { now } = await mirrored();
    expect(now['new']).toEqual({ events: ['s Free 01', 's Pro 09'], profile: { v: 'Pro' } });
  },
  'profiles with history, mirror: a version has not begun': async () => {
    const { now, rejects } = await mirrored();
    expect(now['ahead']).toEqual({ events: ['s Free 01'], profile: { v: 'Free' } });
    expect(rejects).toContain('id ahead at 2999-01-01 00:00:00');
    expect(rejects).toContain('time-in-future');
  },
  'profiles with history, mirror: a version without start': async () => {
    const { now, rejects } = await mirrored();
    expect(rejects).toContain('id value at no time');
    expect(JSON.stringify(now)).not.toContain('None');
  },
  'profiles with history, mirror: a value changes': async () => {
    const { now, raw } = await mirrored();
    expect(now['value']).toEqual({ events: ['s FREE 01', 's PRO 09'], profile: { v: 'PRO' } });
    expect(raw.filter((e) => e.includes(' value '))).toEqual([
      's FREE value 01',
      's Free value 01',
      's PRO value 09',
      's Pro value 09',
    ]);
  },
  'profiles with history, mirror: the start of a version changes': async () => {
    const { now } = await mirrored();
    expect(now['start']).toEqual({ events: ['s 01 deleted', 's Free 05'], profile: { v: 'Free' } });
  },
  'profiles with history, mirror: a version is gone': async () => {
    const { now } = await mirrored();
    expect(now['removed']).toEqual({ events: ['s Free 01', 's 09 deleted'], profile: { v: 'Free' } });
  },
  'profiles with history, mirror: a version ends without a successor': async () => {
    const { now } = await mirrored();
    expect(now['ended']).toEqual({ events: ['s Free 01', 's 09'], profile: {} });
  },
  'profiles with history, mirror: an end is taken back, or followed by a version': async () => {
    const { now } = await mirrored();
    expect(now['reopened']).toEqual({ events: ['s Free 01', 's 09 deleted'], profile: { v: 'Free' } });
    expect(now['followed']).toEqual({ events: ['s Free 01', 's 09 deleted', 's Pro 09'], profile: { v: 'Pro' } });
  },
  'profiles with history, mirror: an id is gone, on_delete: unset': async () => {
    const { now } = await mirrored();
    expect(now['gone']).toEqual({ events: ['s 01 deleted', 's 09 deleted'], profile: {} });
  },
  'profiles with history, mirror: an id is gone, on_delete: delete': async () => {
    const { gone } = await grouped();
    // A tombstone says nothing of the row, its group neither.
    expect([gone['gone'], gone['']?.events]).toEqual([undefined, ['s 01 deleted', 's 09 deleted']]);
    expect(gone['value']).toEqual({ events: ['s Free 01', 's Pro 09'], profile: { v: 'Pro' } });
  },
  'profiles with history, mirror: a version or an id is gone, on_delete: ignore': async () => {
    const s = await history('mode: mirror, on_delete: ignore');
    const before = await versions(s);
    await s.change(`delete from t where id = 'gone' or id = 'removed' and v = 'Free'`);
    await s.apply('nothing changed');
    expect(await versions(s)).toEqual(before);
  },
  'profiles with history, mirror: a version or an id is gone, on_delete: fail': async () => {
    const s = await history('mode: mirror, on_delete: fail');
    await s.change(`delete from t where id = 'removed' and v = 'Free'`, `update t set v = 'x' where id = 'value'`);
    await s.refused('on_delete', '(id removed at 2024-01-01 00:00:00)');
    expect((await versions(s))['value']).toEqual({ events: ['s Free 01', 's Pro 09'], profile: { v: 'Pro' } });
  },
  'profiles with history, mirror: a gone id comes back': async () => {
    const { gone, now } = await mirrored();
    expect(gone['back']).toEqual({ events: ['s 01 deleted'], profile: {} });
    expect(now['back']).toEqual({ events: ['s Free 01'], profile: { v: 'Free' } });
  },
  'profiles with history, mirror: two versions at one time': async () => {
    const s = await history('mode: mirror');
    await s.change(`insert into t values ('value', 'twin', ${jan(9)}, null), ('other', 'x', ${jan(1)}, null)`);
    await s.refused('An id has two versions at one time', '(id value at 2024-01-09 00:00:00)');
    expect(JSON.stringify(await versions(s))).not.toMatch(/twin|other/);
  },
  'profiles with history, mirror: a column is excluded or renamed': async () => {
    const { excluded } = await grouped();
    expect(excluded['value']).toEqual({ events: ['s new 01', 's new 09'], profile: { w: 'new' } });
    expect(excluded['new']).toEqual({ events: ['s 01'], profile: {} });
  },
  'profiles with history, mirror: a new column': async () => {
    const { gone, added } = await grouped();
    const value = { events: ['s Free new 01', 's Pro new 09'], profile: { v: 'Pro', w: 'new' } };
    expect(added).toEqual({ ...gone, value });
  },
  'profiles with history, append: a new version': async () => {
    const { now } = await appendedVersions();
    expect(now['new']).toEqual({ events: ['s Free 01', 's Pro 09'], profile: { v: 'Pro' } });
  },
  'profiles with history, append: a version changes or is gone': async () => {
    const { now, later } = await appendedVersions();
    const [value, gone] = [now['value'], now['gone']];
    expect(value).toEqual({ events: ['s Free 01', 's Pro 09'], profile: { v: 'Pro' } });
    expect(gone).toEqual(value);
    // A new version of the id is one more event.
    const max = { events: ['s Free 01', 's Pro 09', 's Max 11'], profile: { v: 'Max' } };
    expect([later['value'], later['gone']]).toEqual([max, max]);
  },
  'profiles with history, append: a version ends without a successor': async () => {
    const { now } = await appendedVersions();
    expect(now['ended']).toEqual({ events: ['s Free 01', 's 09'], profile: {} });
    expect(now['reopened']).toEqual({ events: ['s Free 01', 's 09'], profile: {} });
  },
  'profiles with history, append: a version arrives late': async () => {
    const { now, later } = await appendedVersions();
    for (const step of [now, later]) expect(step['start']).toEqual({ events: ['s Free 01'], profile: { v: 'Free' } });
  },
  'profiles with history, one_time': async () => {
    const s = await history('mode: one_time', GROUP);
    await s.change(`insert into t values ('new', 'Pro', ${jan(9)}, null)`, `delete from t where id = 'gone'`);
    await s.apply('one_time, and done');
    const now = await versions(s);
    expect(now['new']).toEqual({ events: ['s Free 01'], profile: { v: 'Free' } });
    expect(now['followed']).toEqual({ events: ['s Free 01', 's 09'], profile: {} });
    expect(now['gone']).toEqual({ events: ['s Free 01', 's Pro 09'], profile: { v: 'Pro' } });
  },
};
