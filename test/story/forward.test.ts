import { afterEach, expect, test } from 'vitest';
import { duckdb } from './duckdb.ts';
import type { Engine } from './engine.ts';
import { onEngines } from './engines.ts';
import { random } from './scheduler.ts';
import { compiled, Story, TTL } from './story.ts';
import { columnsOf, ymlOf } from './table.ts';

/*
 * Without a key a row is named by its values, and a forward that leaves a column out gives rows other names while
 * Mixpanel shows them under the ids of before.
 */
onEngines((engine: Engine) => {
  let story: Story;
  afterEach(() => story.close());

  const row = (n: string): string => `insert into src values (0, '2023-05-01 10:00:00', 'alice', 'Buy', 'x', ${n})`;
  const change = (sql: string): Promise<unknown> => story.outside.run(sql);

  /** Rows that differ in `n` alone are sent; then something happens, and `n` is left out from there on. */
  async function forwarded(rows: readonly string[], ...then: readonly string[]): Promise<void> {
    story = await Story.open(engine, 'unkeyed', 'narrow', random(1));
    for (const n of rows) await change(row(n));
    await apply('');
    for (const sql of then) await change(sql);
    await apply('n', 'forward');
  }

  /** @param excluded the column that is left out, if any. @returns how many events a report shows */
  async function apply(excluded: string, decision?: 'forward' | 'resend'): Promise<number> {
    const yml = `${ymlOf('unkeyed', true)}    properties: { exclude: [${excluded}] }\n    guard: { max_deletes: 100%, on_empty_source: allow }\n`;
    const plan = await compiled(engine, yml, columnsOf('unkeyed', 'narrow'), { records: 2, bytes: 600 });
    const results = await story.apply({ version: 'other', plan, decision, mayCreate: true });
    story.scheduler.setTime(story.scheduler.now + 3 * TTL);
    expect(results).toEqual(['ok']);
    expect(story.server.problem).toBe(undefined);
    return story.server.insertIds().length;
  }

  /** A further run sends nothing, a resend leaves as many events as there are rows, and each goes with its row. */
  async function staysEqual(rows: number): Promise<void> {
    const { records } = story.server;
    expect([await apply('n'), story.server.records - records]).toEqual([rows, 0]);
    expect(await apply('', 'resend')).toBe(rows);
    for (let left = rows - 1; left >= 0; left--) {
      await change('delete from src where rowid = (select min(rowid) from src)');
      expect(await apply('')).toBe(left);
    }
  }

  test('a row that takes the name of one that is gone stays known', async () => {
    await forwarded(['null', '1.5', '0'], 'delete from src where n is null');
    await staysEqual(2);
  });

  // The others' SQL is the same on each engine; what a table may hold amid a transaction is not.
  if (engine !== duckdb) return;

  test('a row that takes the name of what it was stays one event', async () => {
    await forwarded(['null'], 'update src set n = 1.5');
    await staysEqual(1);
  });

  test('a new row that is named as another one was gets an event of its own', async () => {
    await forwarded(['null', '0'], row('1.5'), row('-2.25'));
    await staysEqual(4);
  });

  test('a row that takes the name of one that Mixpanel does not take back stays known, and that one goes later', async () => {
    story = await Story.open(engine, 'unkeyed', 'narrow', random(1));
    for (const n of ['null', '1.5', '0']) await change(row(n));
    await apply('');
    await change('delete from src where n is null');
    story.server.refusing = (_id, isTombstone) => isTombstone;
    expect(await apply('n', 'forward')).toBe(3);
    story.server.refusing = null;
    expect(await apply('n')).toBe(2);
    await staysEqual(2);
  });

  test('rows that come and go after it neither take over nor take back what is shown of others', async () => {
    await forwarded(['null', '1.5']);
    await change(row('0'));
    expect(await apply('n')).toBe(3);
    await change('delete from src where rowid = (select min(rowid) from src)');
    await change("update src set a = '' where n = 1.5");
    expect(await apply('n')).toBe(2);
    await change("update src set a = 'x'");
    await change(row('-2.25'));
    expect(await apply('n')).toBe(3);
    expect(await apply('', 'forward')).toBe(3);
    await change('delete from src where n = 1.5');
    expect(await apply('')).toBe(2);
    expect(await apply('n', 'forward')).toBe(2);
    await staysEqual(2);
  });
});
