import { afterEach, expect, test } from 'vitest';
import { onEngines } from './engines.ts';
import { random } from './scheduler.ts';
import { Story } from './story.ts';
import type { Shape } from './table.ts';

const TIMEOUT = 12_000;

onEngines((engine) => {
  let story: Story;
  afterEach(() => story.close());

  async function open(shape: Shape, ...rows: string[]): Promise<Story> {
    story = await Story.open(engine, shape, 'narrow', random(1), TIMEOUT);
    for (const row of rows) await change(`insert into src values (${row})`);
    expect(await story.apply({ mayCreate: true })).toEqual(['ok']);
    return story;
  }
  const change = (sql: string): Promise<unknown> => story.outside.run(sql);
  const pass = (ms: number): void => story.scheduler.setTime(story.scheduler.now + ms);

  /** In peace the table is what Mixpanel shows, and a further run has nothing to send. */
  async function rest(): Promise<void> {
    expect(await story.apply()).toEqual(['ok']);
    pass(2 * TIMEOUT);
    await story.scheduler.settle();
    expect(await story.problem()).toBe(undefined);
    const { records } = story.server;
    expect(await story.apply()).toEqual(['ok']);
    expect(story.server.records).toBe(records);
  }

  test.each(['users', 'groups'] as const)(
    '%s: a late copy of an update lands before any later one is sent',
    async (shape) => {
      const { scheduler } = await open(shape, "'a', 'x', 1.50, true");
      await change('update src set a = null');
      scheduler.fates.push('last', 'last', 'last');
      expect((await story.apply())[0]).toMatch(/^retries-exhausted/);
      await change("update src set a = 'a,null'");
      await rest();
    },
  );

  test('a property that Mixpanel would not take away is taken away later', async () => {
    const { server } = await open('users', "'a', 'x', 1.50, true", "'b', 'x', 1.50, true");
    await change("update src set a = null, n = 0 where id = 'a'");
    server.refusing = (_id, tombstone) => tombstone;
    expect(await story.apply()).toEqual(['ok']);
    server.refusing = null;
    await rest();
  });

  test.each(['users', 'users-delete'] as const)(
    '%s: a profile that was refused and whose row is gone is not taken back',
    async (shape) => {
      const { server } = await open(shape, "'a', 'x', 1.50, true");
      await change("insert into src values ('b', 'x', 0, true)");
      server.refusing = () => true;
      expect(await story.apply()).toEqual(['ok']);
      server.refusing = null;
      await change("delete from src where id = 'b'");
      const { records } = server;
      await rest();
      expect(server.records).toBe(records);
    },
  );

  test('records that are named while the others were left out: the others are sent again', async () => {
    const { server } = await open('users', "'a', 'x', 1.50, true");
    await change("insert into src values ('b', 'x', 0, true)");
    await change("insert into src values ('c', 'x', 0, true)");
    let first: string | undefined;
    server.manner = 'names-alone';
    server.refusing = (id) => id === (first ??= id);
    expect(await story.apply()).toEqual(['ok']);
    expect(server.profiles.size).toBe(2);
    server.refusing = null;
    await rest();
  });

  test('a lookup table that was refused is tried again, and goes out once', async () => {
    const { server } = await open('lookup', "'a', 'x', 1.50, true", "'b', null, 0, null");
    await change("update src set a = '' where id = 'a'");
    server.refusing = () => true;
    for (let i = 0; i < 2; i++) expect((await story.apply())[0]).toMatch(/^mixpanel-rejected/);
    server.refusing = null;
    await rest();
  });

  test('a lookup table that is refused and becomes what it was is not sent', async () => {
    const { server } = await open('lookup', "'a', 'x', 1.50, true");
    await change("update src set a = ''");
    server.refusing = () => true;
    expect((await story.apply())[0]).toMatch(/^mixpanel-rejected/);
    server.refusing = null;
    await change("update src set a = 'x'");
    const { records } = server;
    expect(await story.apply()).toEqual(['ok']);
    expect(server.records).toBe(records);
  });

  test('a lookup table that may have been replaced before it was refused is sent again, also as it was', async () => {
    const { scheduler, server } = await open('lookup', "'a', 'x', 1.50, true");
    await change("update src set a = ''");
    server.forgets = true;
    scheduler.fates.push('after');
    server.refusing = () => server.table.some((row) => row.includes('""'));
    expect((await story.apply())[0]).toMatch(/^mixpanel-rejected/);
    server.refusing = null;
    await change("update src set a = 'x'");
    await rest();
  });

  test('a lookup table that changes between probe and capture, and back, is sent again', async () => {
    const { scheduler } = await open('lookup', "'a', 'x', 1.50, true");
    await change("update src set a = ''");
    scheduler.crash = { at: 's/probe.sql', when: 'after', pauses: 1000 };
    await story.apply({ leave: true });
    await change("update src set a = 'a,null'");
    await story.ended();
    await change("update src set a = ''");
    await rest();
  });

  test('a lookup table of one time is replaced once, whatever becomes of its source', async () => {
    const { server } = await open('lookup-once', "'a', 'x', 1.50, true");
    expect(await story.problem()).toBe(undefined);
    await change("update src set a = ''");
    expect(await story.apply()).toEqual(['ok']);
    expect(server.records).toBe(1);
  });

  test('a row of one time that was refused is tried again while it is there', async () => {
    const row = (id: number): string => `${id}, '2023-05-01 10:00:00', 'alice', 'Buy', 'x', 1.50`;
    story = await Story.open(engine, 'once', 'narrow', random(1), TIMEOUT);
    for (const id of [1, 2]) await change(`insert into src values (${row(id)})`);
    let first: string | undefined;
    story.server.refusing = (id) => id === (first ??= id);
    expect(await story.apply({ mayCreate: true })).toEqual(['ok']);
    expect(story.server.view.size).toBe(1);
    story.server.refusing = null;
    await change(`insert into src values (${row(3)})`);
    await rest();
    expect(story.server.view.size).toBe(2);
  });

  test('late rows: each within the window once, twins of what was sent included, and none that is later', async () => {
    const row = (id: number, ms: number): string =>
      `${id}, '2023-05-01 10:00:00', 'alice', 'Buy', 'x', 1.50, epoch_ms(${ms})`;
    const { server } = await open('late', row(1, 100_000));
    await change(`insert into src values (${row(1, 100_000)}), (${row(2, 70_001)}), (${row(3, 70_000)})`);
    await rest();
    expect(server.view.size).toBe(3);
    expect(story.truth.lost(await story.lines())).toBe(1);
    // What was sent within the window is not sent again when the window has moved on.
    await change(`insert into src values (${row(4, 129_000)}), (${row(2, 70_001)})`);
    await rest();
    expect(server.view.size).toBe(5);
  });

  const version = (id: string, from: number | null, to: number | null, a: string, loaded?: number | null): string => {
    const at = (ms: number | null): string => (ms === null ? 'null' : `epoch_ms(${ms})`);
    return [id, at(from), ...(loaded === undefined ? [at(to)] : []), `'${a}', 1.50, true`]
      .concat(loaded === undefined ? [] : at(loaded))
      .join(', ');
  };
  const DAY = 86_400_000;
  const shownOf = (id: string): unknown => story.server.profiles.get(id)?.get('a');

  test('history: a version without start closes nothing, and ends no other', async () => {
    const { server } = await open(
      'history',
      version("'p'", 500 * DAY, 600 * DAY, 'x'),
      version("'p'", null, 700 * DAY, ''),
    );
    await rest();
    expect(server.view.size).toBe(2);
  });

  test('history: a version that is taken back and one that goes on after an end leave no closing', async () => {
    const { server } = await open(
      'history',
      version("'p'", 500 * DAY, 600 * DAY, 'x'),
      version("'q'", 500 * DAY, 600 * DAY, 'x'),
    );
    expect(server.insertIds()).toHaveLength(4);
    await change(`insert into src values (${version("'p'", 600 * DAY, null, '')})`);
    await change("update src set v = null where id = 'q'");
    await rest();
    expect(server.insertIds()).toHaveLength(3);
    expect([shownOf('p'), shownOf('q')]).toEqual(['', 'x']);
  });

  test('history: time alone begins and ends a version', async () => {
    const { scheduler, server } = await open('history', version("'p'", 500 * DAY, null, 'x'));
    const now = scheduler.now;
    await change(`insert into src values (${version("'p'", now + 0.5 * DAY, now + DAY, '')})`);
    await rest();
    expect(shownOf('p')).toBe('x');
    pass(0.6 * DAY);
    await rest();
    expect(shownOf('p')).toBe('');
    pass(DAY);
    await rest();
    expect([shownOf('p'), server.insertIds().length]).toEqual([undefined, 3]);
  });

  test('history in append: versions without id are invalid, however many and however equal', async () => {
    const nobody = version('null', 500 * DAY, null, 'x', 1);
    const { server } = await open('history-append', version("'p'", 500 * DAY, null, 'x', 1), nobody, nobody);
    await change(`insert into src values (${version("''", 500 * DAY, null, 'x', 2)})`);
    await rest();
    expect([server.view.size, server.profiles.size]).toEqual([1, 1]);
  });

  test('history in append: a version without an insert time, or with one to come, neither shows nor holds back its profile', async () => {
    const later = 1_700_000_000_000 + DAY;
    await open(
      'history-append',
      version("'p'", 500 * DAY, null, 'x', 1),
      version("'p'", 600 * DAY, null, 'a,null', null),
      version("'p'", 700 * DAY, null, 'a,null', later),
    );
    expect(shownOf('p')).toBe('x');
    await change(`insert into src values (${version("'p'", 550 * DAY, null, '', 2)})`);
    expect(await story.apply()).toEqual(['ok']);
    expect(shownOf('p')).toBe('');
    pass(2 * DAY);
    await rest();
    expect(shownOf('p')).toBe('a,null');
  });

  test('history in append: a property that Mixpanel would not take away is taken away later', async () => {
    const { server } = await open('history-append', version("'p'", 500 * DAY, null, 'x', 1));
    await change(`insert into src values ('p', epoch_ms(${600 * DAY}), null, 1.50, true, epoch_ms(2))`);
    server.refusing = (_id, tombstone) => tombstone;
    expect(await story.apply()).toEqual(['ok']);
    expect(shownOf('p')).toBe('x');
    server.refusing = null;
    await rest();
    expect(shownOf('p')).toBe(undefined);
  });

  test('on_delete: fail stops each run while a row is gone, and one that comes back lets them go on', async () => {
    const { server } = await open('users-stopping', "'a', 'x', 1.50, true", "'b', 'x', 0, true");
    await change("delete from src where id = 'b'");
    await change("update src set a = '' where id = 'a'");
    const { records } = server;
    for (let i = 0; i < 3; i++) expect((await story.apply())[0]).toMatch(/^check-failed: Rows vanished/);
    expect(server.records).toBe(records);
    await change("insert into src values ('b', 'x', 0, true)");
    await rest();
    expect(shownOf('a')).toBe('');
  });

  test('a source that became empty stops each run; one with an invalid row left is not empty', async () => {
    const { server } = await open('users-guarded', "'a', 'x', 1.50, true", "'', 'x', 0, true");
    await change("delete from src where id = 'a'");
    await rest();
    await change("update src set id = 'b'");
    await rest();
    await change('delete from src');
    const { records } = server;
    for (let i = 0; i < 3; i++) expect((await story.apply())[0]).toMatch(/^guard: The guard on_empty_source/);
    expect(server.records).toBe(records);
  });

  test('history with on_delete: fail: a closing that a successor takes back is no row that vanished', async () => {
    const { server } = await open('history-stopping', version("'p'", 500 * DAY, 600 * DAY, 'x'));
    await change(`insert into src values (${version("'p'", 600 * DAY, null, '')})`);
    await rest();
    expect(server.insertIds()).toHaveLength(2);
    await change("delete from src where a = 'x'");
    expect((await story.apply())[0]).toMatch(/^check-failed: Rows vanished/);
  });
});
