import { expect, test } from 'vitest';
import type { Plan } from '../../schemas/types.ts';
import { duckdb } from './duckdb.ts';
import { random } from './scheduler.ts';
import { compiled, Story, TTL } from './story.ts';
import { columnsOf, ymlOf } from './table.ts';

const ROW = "'2023-05-01 10:00:00', 'alice', 'Buy', 'x', 1.50";
const PEOPLE = "insert into src values ('a', 'x', 1.50, true), ('b', 'x', null, true), ('c', null, 0, null)";
/** Two open versions, and one that has ended. */
const VERSIONS = `insert into src values ('a', '2021-01-01', '2022-01-01', 'x', 1.50, true), ('a', '2022-01-01', null, '', null, true), ('b', '2021-01-01', '2022-01-01', 'x', 0, null)`;
const TABLES = {
  keyed: `insert into src values (1, ${ROW}), (2, ${ROW}), (3, ${ROW})`,
  groups: PEOPLE,
  'users-delete': PEOPLE,
  history: VERSIONS,
  'history-groups': VERSIONS,
} as const;
const SHAPES = Object.keys(TABLES) as (keyof typeof TABLES)[];

const tablesOf = async (story: Story): Promise<unknown[]> =>
  (await story.rows("select table_name as t from duckdb_tables() where schema_name = 'mixpanel'")).map((r) => r['t']);
/** Events without tombstone, and profiles with a property, or any where they are deleted. */
const leftOf = (story: Story): string[] =>
  story.server
    .shown()
    .map((x) => x.image)
    .filter((image) => story.shape === 'users-delete' || !image.endsWith(',[]]'));

async function open(shape: keyof typeof TABLES): Promise<Story> {
  const story = await Story.open(duckdb, shape, 'narrow', random(1));
  await story.outside.run(TABLES[shape]);
  return story;
}

test.each(SHAPES)('%s: a destroy that dies before or after a step is finished by another one', async (shape) => {
  const story = await open(shape);
  const { scheduler: s, server } = story;
  try {
    const every = 12;
    let died = 0;
    for (let at = 1 + (SHAPES.indexOf(shape) % every), isOver = false; !isOver; at += every) {
      await story.outside.run('drop table if exists mixpanel.runs');
      expect(await story.apply({ mayCreate: true })).toEqual(['ok']);
      s.setTime(s.now + 3 * TTL);
      expect(leftOf(story).length).toBeGreaterThan(0);
      s.steps = 0;
      s.crash = { at, when: died % 2 === 0 ? 'before' : 'after' };
      const ended = await story.apply({ destroys: true });
      isOver = ended.length > 0;
      s.crash = undefined;
      s.setTime(s.now + 3 * TTL);
      const told = `step ${at}\n${s.trace.slice(-60).join('\n')}`;
      if (!isOver) {
        died++;
        await s.settle();
        const isDropped = (await tablesOf(story)).every((t) => t === 'runs');
        const again = await story.apply({ destroys: true });
        expect(again, told).toEqual([isDropped ? expect.stringMatching(/^state-missing: s has no state/) : 'ok']);
        s.setTime(s.now + 3 * TTL);
      } else expect(ended, told).toEqual(['ok']);
      expect([leftOf(story), await tablesOf(story), server.problem], told).toEqual([[], ['runs'], undefined]);
    }
    expect(died).toBeGreaterThan(2);
  } finally {
    await story.close();
  }
});

test.each(SHAPES)('%s: what Mixpanel does not take back keeps the tables, and goes the next time', async (shape) => {
  const story = await open(shape);
  const { scheduler: s, server } = story;
  try {
    expect(await story.apply({ mayCreate: true })).toEqual(['ok']);
    const [shown, tables] = [leftOf(story), await tablesOf(story)];
    server.refusing = (_id, isTakenBack) => isTakenBack;
    const [refused] = await story.apply({ destroys: true });
    expect(refused).toMatch(/^check-failed: Mixpanel did not take back everything of s: `syncline rejects s` lists/);
    expect([leftOf(story), await tablesOf(story)]).toEqual([shown, tables]);
    s.setTime(s.now + 3 * TTL);
    server.refusing = null;
    expect(await story.apply({ destroys: true })).toEqual(['ok']);
    expect([leftOf(story), await tablesOf(story), server.problem]).toEqual([[], ['runs'], undefined]);
  } finally {
    await story.close();
  }
});

test.each([
  ['lookup', PEOPLE, 'Mixpanel takes no empty lookup table: delete it in the settings of its project'],
  ['ignored', TABLES.keyed, 'it says `on_delete: ignore`, so nothing of it is ever taken back'],
] as const)('%s: what cannot be taken back says why, and nothing is changed', async (shape, rows, why) => {
  const story = await Story.open(duckdb, shape, 'narrow', random(1));
  try {
    await story.outside.run(rows);
    expect(await story.apply({ mayCreate: true })).toEqual(['ok']);
    const before = [story.server.records, story.server.shown(), await tablesOf(story)];
    const refused = `check-failed: s cannot take back what it sent: ${why}. Destroy it without --data.`;
    expect(await story.apply({ destroys: true })).toEqual([refused]);
    expect([story.server.records, story.server.shown(), await tablesOf(story)]).toEqual(before);
  } finally {
    await story.close();
  }
});

test('a state of a newer syncline is neither destroyed nor renamed', async () => {
  const story = await open('keyed');
  try {
    expect(await story.apply({ mayCreate: true })).toEqual(['ok']);
    story.scheduler.setTime(story.scheduler.now + 3 * TTL);
    await story.outside.run('update mixpanel.s__state set layout = 99');
    const before = [story.server.records, await tablesOf(story), await story.rows('select * from mixpanel.s__state')];
    const newer = 'state-newer: The state of s was written by a newer syncline (layout 99). Upgrade syncline.';
    expect(await story.apply({ destroys: true })).toEqual([newer]);
    const yml = `${ymlOf('keyed', true).replace('name: s\n', 'name: r\n')}    renamed_from: s\n`;
    const renamed = await compiled(duckdb, yml, columnsOf('keyed', 'narrow'), { records: 2, bytes: 600 });
    await expect(story.preview(renamed)).rejects.toThrow(newer.slice(newer.indexOf('The')));
    expect(await story.apply({ plan: renamed, mayCreate: true })).toEqual([newer]);
    expect([story.server.records, await tablesOf(story), await story.rows('select * from mixpanel.s__state')]).toEqual(
      before,
    );
  } finally {
    await story.close();
  }
});

test('an interrupted run is not finished by a destroy, and a destroy that was interrupted is not taken for one', async () => {
  const story = await open('keyed');
  const { scheduler: s, server } = story;
  try {
    s.crash = { at: 's/state_flip.sql', when: 'after' };
    expect(await story.apply({ mayCreate: true })).toEqual([]);
    s.setTime(s.now + 3 * TTL);
    expect(await story.apply({ destroys: true })).toEqual([
      'check-failed: s has an interrupted run. Run `syncline apply -s s` first, so that what it sent is known; with `--abandon s` it sends nothing more of that run.',
    ]);
    expect([server.records, (await story.state()).sending]).toEqual([0, true]);
    s.setTime(s.now + 3 * TTL);
    expect(await story.apply()).toEqual(['ok']);
    expect(leftOf(story)).toHaveLength(3);
    s.setTime(s.now + 3 * TTL);
    s.crash = { at: 's/state_flip.sql', when: 'after' };
    expect(await story.apply({ destroys: true })).toEqual([]);
    s.setTime(s.now + 3 * TTL);
    // Until it is destroyed it is declared, and an apply makes it whole again.
    expect(await story.apply()).toEqual(['ok']);
    expect(await story.problem()).toBe(undefined);
  } finally {
    await story.close();
  }
});

const [MIRROR, USERS] = [ymlOf('keyed', true), ymlOf('users', true)];
const APPEND = MIRROR.replace('mode: mirror', 'mode: append').replace(/ {4}key: .*\n/, '') + '    insert_time: t\n';
const HISTORY = ymlOf('history', true);
const GROUPS = ymlOf('groups', true);
test.each([
  ['keyed', MIRROR, APPEND, 'events in mode mirror', 'events in mode append'],
  ['keyed', APPEND, MIRROR, 'events in mode append', 'events in mode mirror'],
  ['keyed', MIRROR, USERS, 'events in mode mirror', 'user_profiles in mode mirror'],
  ['history', HISTORY, USERS, 'user_profiles with history in mode mirror', 'user_profiles in mode mirror'],
  ['groups', GROUPS, GROUPS.replace('company', 'firm'), 'group_profiles of company', 'group_profiles of firm'],
] as const)(
  '%#: what is another sync by its kind, mode, group key or history is refused under the same name, whatever is asked of it',
  async (shape, before, after, was, is) => {
    const story = await open(shape);
    try {
      const [former, other, renamed] = (await Promise.all(
        [before, after, `${after.replace('name: s\n', 'name: r\n')}    renamed_from: s\n`].map((yml) =>
          compiled(duckdb, yml, columnsOf(shape, 'narrow'), { records: 2, bytes: 600 }),
        ),
      )) as [Plan, Plan, Plan];
      expect(await story.apply({ plan: former, mayCreate: true })).toEqual(['ok']);
      expect(story.server.records).toBeGreaterThan(0);
      const all = async (): Promise<unknown> => [
        story.server.records,
        await tablesOf(story),
        await story.rows('from mixpanel.s__state'),
        await story.rows('select count(*) as n from mixpanel.runs'),
      ];
      const found = await all();
      const refused = expect.stringMatching(
        new RegExp(`^mapping-changed: s was ${was}.* when it ran last, and is declared as ${is}`),
      ) as string;
      for (const plan of [other, renamed]) {
        expect(await story.apply({ plan, mayCreate: true, decision: 'resend' })).toEqual([refused]);
        await expect(story.preview(plan)).rejects.toThrow(/That is another sync/);
      }
      for (const asked of [{ destroys: true }, { resets: true }])
        expect(await story.apply({ plan: other, ...asked })).toEqual([refused]);
      expect(await all()).toEqual(found);
    } finally {
      await story.close();
    }
  },
);
