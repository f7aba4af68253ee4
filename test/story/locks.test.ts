import { existsSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { Runner } from '../../runtime/run.ts';
import { onPostgres } from './engines.ts';
import { random } from './scheduler.ts';
import { planOf, Story, TTL } from './story.ts';

const TIMEOUT = 12_000;

// A statement waits for a lock of another session, which is alive, paused, or left behind by a process that died.
onPostgres((engine) => {
  let story: Story;
  afterEach(() => story.close());

  /** A run with one change that ends, or pauses past its lease, in the middle of its commit; and another change. */
  async function amid(crash: { readonly at: string; readonly pauses?: number }): Promise<void> {
    story = await Story.open(engine, 'keyed', 'narrow', random(1), TIMEOUT);
    await story.outside.run(`insert into src values (1, '2023-05-01 10:00:00', 'alice', 'Buy', 'x', 1.50)`);
    expect(await story.apply({ mayCreate: true })).toEqual(['ok']);
    await story.outside.run("update src set a = ''");
    story.scheduler.crash = { ...crash, when: 'after' };
    expect(await story.apply({ leave: true })).toEqual([]);
    story.scheduler.setTime(story.scheduler.now + 2 * TTL);
    await story.outside.run("update src set a = 'a,null'");
  }
  const order = (...lines: string[]): string[] =>
    story.scheduler.trace.map((line) => line.replace(/^\d+ /, '')).filter((line) => lines.includes(line));

  test('a lease waits for the commit of a holder that paused in it, whose run is then committed once', async () => {
    await amid({ at: 's/rejects_remove.sql', pauses: 4 * TTL });
    // By then its own lease has run out: it sends nothing, and the next apply finishes its run.
    expect((await story.apply({ leave: true })).map((result) => result.split(':')[0])).toEqual(['lease-lost']);
    await story.ended();
    expect(order('p2-0 waits for a lock', 'p1-0 commit', 'p2-0 waits no longer')).toHaveLength(3);
    expect(order('p1-0 commit', 'p2-0 begins run 3, first plan')).toEqual([
      'p1-0 commit',
      'p2-0 begins run 3, first plan',
    ]);
    expect(await story.apply()).toEqual(['ok']);
    expect(await story.problem()).toBe(undefined);
  });

  test('a server ends by itself what a client left in a transaction', async () => {
    story = await Story.open(engine, 'keyed', 'narrow', random(1), TIMEOUT);
    const session = await story.outside.connect();
    const warehouse = { name: 'story', connect: () => Promise.resolve(session), close: () => Promise.resolve() };
    const runner = await Runner.open(await planOf(engine, 'keyed', 'narrow', 'first'), warehouse);
    const sql = "select setting from pg_settings where name = 'idle_in_transaction_session_timeout'";
    expect(await session.rows({ sql, binds: [], label: 'test' })).toEqual([{ setting: '300000' }]);
    // As it ends one that it has waited for.
    await session.execute({ sql: 'set idle_in_transaction_session_timeout to 1', binds: [], label: 'test' });
    await session.execute({ sql: 'begin', binds: [], label: 'test' });
    // What it said is read only with the next statement: nothing else of this process happens until then.
    while (existsSync(`/proc/${session.id}`));
    await expect(runner.statement('s/state_exists.sql')).rejects.toMatchObject({
      code: 'warehouse-unavailable',
      retryable: true,
    });
  });

  test('what a dead holder had not committed is rolled back, and its run is finished by the next one', async () => {
    await amid({ at: 's/state_commit.sql' });
    expect(await story.apply()).toEqual(['ok']);
    expect(order('p2-0 resumes run 2, first plan', 'p2-0 committed')).toEqual([
      'p2-0 resumes run 2, first plan',
      'p2-0 committed',
      'p2-0 committed',
    ]);
    expect(await story.problem()).toBe(undefined);
  });
});
