import { expect, test } from 'vitest';
import { duckdb } from './duckdb.ts';
import { onEngines } from './engines.ts';
import { random } from './scheduler.ts';
import { Story, TTL } from './story.ts';

const ROW = "'2023-05-01 10:00:00', 'alice', 'Buy', 'x', 1.50";
const SHAPES = [
  ...(['keyed', 'unkeyed', 'append', 'late', 'users', 'lookup'] as const),
  ...(['history', 'history-append'] as const),
];
type Crashing = (typeof SHAPES)[number];
const FIRST: Readonly<Record<Crashing, readonly string[]>> = {
  keyed: [`insert into src values (1, ${ROW}), (2, ${ROW}), (3, ${ROW}), (4, ${ROW})`],
  unkeyed: [`insert into src values (1, ${ROW}), (1, ${ROW}), (1, ${ROW}), (2, ${ROW}), (3, ${ROW}), (4, ${ROW})`],
  append: [`insert into src select i, ${ROW}, epoch_ms(1) from (values (0), (1), (2), (3)) as r(i)`],
  late: [`insert into src select i % 3, ${ROW}, epoch_ms(1) from (values (0), (1), (2), (3)) as r(i)`],
  users: [`insert into src values ('a', 'x', 1.50, true), ('b', 'x', null, true), ('c', null, 0, null)`],
  lookup: [`insert into src values ('a', 'x', 1.50, true), ('b', 'a,null', null, true), ('c', null, 0, null)`],
  history: versions(),
  'history-append': [
    `insert into src values ('a', '2001-01-01', 'x', 1.50, true, epoch_ms(1)), ('b', '2001-01-01', null, 0, null, epoch_ms(1))`,
  ],
};
/** One that is superseded, two that are open, and one that has ended. */
function versions(): string[] {
  return [
    `insert into src values ('a', '2021-01-01', '2022-01-01', 'x', 1.50, true), ('a', '2022-01-01', null, '', null, true)`,
    `insert into src values ('b', '2021-01-01', '2022-01-01', 'x', 0, null), ('c', '2021-01-01', null, 'x', 0, null), ('d', '2021-01-01', null, 'x', 0, null)`,
  ];
}
/** A next version of each id, and one that is nobody's. */
const insertVersions = (value: string): string =>
  `insert into src select id, (select max(t) + interval '1 day' from src), ${value}, 0, null, (select max(loaded) + interval '1 second' from src) from (values ('a'), ('b'), ('0'), (null)) as v(id)`;
const insertLater = (user: string): string =>
  `insert into src select i, '2023-06-02', ${user}, 'Buy', 'x', 0, (select max(loaded) + interval '1 second' from src) from (values (0), (1), (2), (3)) as r(i)`;
/** A second copy of each row that the late window still reaches. */
const TWINS =
  "insert into src select distinct id, t, u, ev, a, n, loaded from src where id = 2 and loaded > (select max(loaded) - interval '20 second' from src)";
/** A row that comes so many seconds after one that was loaded later. */
function insertLate(seconds: number, id: number): string {
  return `insert into src select ${id}, ${ROW}, (select max(loaded) - interval '${seconds} second' from src)`;
}
/** There and back: an insert, an update, a change of identity, a delete, and a row that becomes invalid; append only grows. */
const CHANGES: Readonly<Record<Crashing, readonly (readonly string[])[]>> = {
  keyed: thereAndBack([]),
  unkeyed: thereAndBack(['delete from src where rowid = (select max(rowid) from src where id = 1)']),
  append: [[insertLater("case when i = 0 then '0' else 'alice' end")], [insertLater("'bob'")]],
  late: [
    [insertLater("case when i = 0 then '0' else 'alice' end"), insertLate(5, 7), insertLate(50, 8)],
    [insertLater("'bob'"), insertLate(1, 9), TWINS],
  ],
  users: [
    [
      "insert into src values ('d', 'x', 0, null), ('e', null, null, null)",
      "update src set a = null, n = 0 where id = 'a'",
      "update src set id = '' where id = 'b' and not exists (select 1 from src where id = '')",
      "delete from src where id = 'c'",
    ],
    [
      "delete from src where id in ('d', 'e')",
      "update src set a = 'x', n = null where id = 'a'",
      "update src set id = 'b' where id = ''",
      "insert into src values ('c', null, 0, null)",
    ],
  ],
  history: versionsThereAndBack(),
  'history-append': [[insertVersions('null')], [insertVersions("'x'")]],
  lookup: [
    [
      "insert into src values ('d', 'x', 0, null)",
      "update src set a = '' where id = 'a'",
      "delete from src where id = 'c'",
    ],
    [
      "delete from src where id = 'd'",
      "update src set a = 'x' where id = 'a'",
      "insert into src values ('c', null, 0, null)",
    ],
  ],
};

function thereAndBack(also: readonly string[]): string[][] {
  return [
    [
      ...also,
      `insert into src values (5, ${ROW}), (6, ${ROW})`,
      'update src set a = null where id = 2',
      "update src set u = 'bob' where id = 3",
      'delete from src where id = 4',
    ],
    [
      ...also.map(() => `insert into src values (1, ${ROW})`),
      "update src set u = '0' where id = 5",
      "update src set a = 'x' where id = 2",
      "update src set u = 'alice' where id = 3",
      `insert into src values (4, ${ROW})`,
      "delete from src where id in (5, 6) and u <> '0'",
      'delete from src where id = 5',
    ],
  ];
}

/** A version that follows an end, one that ends, ones that change, move and go, and one that becomes invalid. */
function versionsThereAndBack(): string[][] {
  return [
    [
      "insert into src values ('b', '2022-01-01', null, '', 0, null), ('e', '2021-01-01', '2022-01-01', 'x', 0, null)",
      "update src set v = '2022-01-01' where id = 'c'",
      "update src set a = null where id = 'a' and t = '2021-01-01'",
      "update src set t = '2022-06-01' where id = 'a' and t = '2022-01-01'",
      "update src set id = '' where id = 'd'",
    ],
    [
      "delete from src where id = 'e' or (id = 'b' and t = '2022-01-01')",
      "update src set v = null where id = 'c'",
      "update src set a = 'x' where id = 'a' and t = '2021-01-01'",
      "update src set t = '2022-01-01' where id = 'a' and t = '2022-06-01'",
      "update src set id = 'd' where id = ''",
    ],
  ];
}

/** Applies what the source says now; a process that dies on the way is followed by another. @returns its steps */
async function apply(
  story: Story,
  crash?: { readonly at: number; readonly when: 'before' | 'after' },
): Promise<number> {
  const { scheduler: s } = story;
  s.steps = 0;
  s.crash = crash;
  const results = await story.apply({ mayCreate: true });
  const { steps } = s;
  s.crash = undefined;
  s.setTime(s.now + 3 * TTL);
  if (results.length === 0) {
    await s.settle();
    expect(await story.apply({ mayCreate: true })).toEqual(['ok']);
    s.setTime(s.now + 3 * TTL);
  } else expect(results).toEqual(['ok']);
  const problem = await story.problem();
  expect(problem === undefined ? '' : `${JSON.stringify(crash)}: ${problem}\n${s.trace.slice(-90).join('\n')}`).toBe(
    '',
  );
  return steps;
}

onEngines((engine) => {
  const WHEN = ['before', 'after'] as const;
  // A database takes longer to make on a server: there it is some steps, others of each shape.
  const every = engine === duckdb ? 1 : 8;
  const shapes = engine === duckdb ? SHAPES : (['keyed', 'late', 'users', 'history'] as const);
  const firstOf = (shape: Crashing): number => 1 + ((shapes as readonly Crashing[]).indexOf(shape) % every);

  test.each(shapes)('%s: a process that dies before or after any step of the initial load', async (shape) => {
    const load = async (crash?: Parameters<typeof apply>[1]): Promise<number> => {
      const story = await Story.open(engine, shape, 'narrow', random(1));
      try {
        for (const sql of FIRST[shape]) await story.outside.run(sql);
        return await apply(story, crash);
      } finally {
        await story.close();
      }
    };
    const steps = await load();
    for (let at = firstOf(shape); at <= steps; at += every)
      for (const when of WHEN) expect(await load({ at, when })).toBe(at);
  });

  test.each(shapes)('%s: a process that dies before or after any step of a run with changes', async (shape) => {
    const story = await Story.open(engine, shape, 'narrow', random(1));
    try {
      for (const sql of FIRST[shape]) await story.outside.run(sql);
      await apply(story);
      let last = 0;
      for (let at = firstOf(shape); at <= last + every; at += every)
        for (const [i, changes] of CHANGES[shape].entries()) {
          for (const sql of changes) await story.outside.run(sql);
          const done = await apply(story, { at, when: WHEN[i]! });
          if (done === at) last = at;
        }
      expect(last).toBeGreaterThan(30);
    } finally {
      await story.close();
    }
  });
});
