import { afterEach, expect, test } from 'vitest';
import { onEngines } from './engines.ts';
import { random } from './scheduler.ts';
import { compiled, Story, TTL } from './story.ts';
import { columnsOf, ymlOf } from './table.ts';

const TIMEOUT = 12_000;
const row = (id: number, value = 'x'): string => `(${id}, '2023-05-01 10:00:00', 'alice', 'Buy', '${value}', 1.50)`;

onEngines((engine) => {
  let story: Story;
  afterEach(() => story.close());

  /** A table of as many rows, which Mixpanel shows. */
  async function shop(rows: number): Promise<Story> {
    story = await Story.open(engine, 'keyed', 'narrow', random(1), TIMEOUT);
    for (let id = 1; id <= rows; id++) await story.outside.run(`insert into src values ${row(id)}`);
    expect(await story.apply({ mayCreate: true })).toEqual(['ok']);
    return story;
  }
  const change = (sql: string): Promise<unknown> => story.outside.run(sql);
  const pass = (ms: number): void => story.scheduler.setTime(story.scheduler.now + ms);

  /** In peace the table is what Mixpanel shows. */
  async function rest(): Promise<void> {
    expect(await story.apply()).toEqual(['ok']);
    pass(2 * TIMEOUT);
    await story.scheduler.settle();
    expect(await story.problem()).toBe(undefined);
  }

  test('after a release nobody sends until no request of the run that gave up can land', async () => {
    const { scheduler } = await shop(1);
    await change("update src set a = ''");
    scheduler.fates.push('last', 'last', 'last');
    expect((await story.apply())[0]).toMatch(/^retries-exhausted/);
    await change("update src set a = 'a,null'");
    await rest();
  });

  test('after a lease ran out nobody sends until no request of the dead holder can land', async () => {
    const { scheduler } = await shop(1);
    await change("update src set a = ''");
    scheduler.fates.push('last');
    scheduler.crash = { at: 'request', when: 'after' };
    expect(await story.apply()).toEqual([]);
    await change("update src set a = 'a,null'");
    pass(TTL);
    await rest();
  });

  test('a lease is not taken before it ends, and a process that pauses within it goes on', async () => {
    const { scheduler } = await shop(1);
    await change("update src set a = ''");
    scheduler.crash = { at: 's/capture.sql', when: 'after', pauses: TTL / 2 };
    await story.apply({ leave: true });
    expect((await story.apply({ leave: true })).map((result) => result.split(':')[0])).toEqual(['lease-held']);
    await story.ended();
    await rest();
    expect(scheduler.trace.filter((line) => line.endsWith(' committed'))).toHaveLength(2);
  });

  test('a lease that is too old to send under starts no request, and none is on its way', async () => {
    const { scheduler } = await shop(1);
    for (let id = 2; id <= 7; id++) await change(`insert into src values ${row(id)}`);
    scheduler.crash = { at: 's/deliver_pages.sql', when: 'after', pauses: 4 * TTL };
    await story.apply({ leave: true });
    pass(3 * TTL);
    expect(await story.apply({ leave: true })).toEqual(['ok']);
    await change('delete from src where id = 2');
    expect(await story.apply({ leave: true })).toEqual(['ok']);
    pass(TTL);
    await rest();
  });

  test('a record that an attempt found refused and the next one sent is shown', async () => {
    const { scheduler, server } = await shop(1);
    await change(`insert into src values ${row(2)}`);
    server.refusing = () => true;
    scheduler.crash = { at: 's/checkpoint.sql', when: 'before' };
    expect(await story.apply()).toEqual([]);
    server.refusing = null;
    await change('delete from src where id = 2');
    pass(3 * TTL);
    await rest();
  });

  test('a record that is refused after an attempt without answer may be shown, and is taken back', async () => {
    const { scheduler, server } = await shop(1);
    await change(`insert into src values ${row(2)}`);
    server.forgets = true;
    scheduler.fates.push('after');
    server.refusing = () => server.view.size > 1;
    expect(await story.apply()).toEqual(['ok']);
    server.refusing = null;
    await change('delete from src where id = 2');
    await rest();
  });

  test('a record that a resumed run finds refused may be shown, and is taken back', async () => {
    const { scheduler, server } = await shop(1);
    await change(`insert into src values ${row(2)}`);
    server.forgets = true;
    scheduler.crash = { at: 'request', when: 'after' };
    expect(await story.apply()).toEqual([]);
    server.refusing = () => true;
    pass(3 * TTL);
    await change('delete from src where id = 2');
    await story.apply();
    server.refusing = null;
    await rest();
  });

  test('a record that was refused is no row that Mixpanel shows: when its row vanishes, nothing is sent', async () => {
    const { server } = await shop(1);
    await change(`insert into src values ${row(2)}`);
    server.refusing = () => true;
    expect(await story.apply()).toEqual(['ok']);
    server.refusing = null;
    await change('delete from src where id = 2');
    const sent = server.records;
    await rest();
    expect(server.records).toBe(sent);
  });

  test('a tombstone that was refused is tried again until Mixpanel takes it, and its row is not sent twice', async () => {
    const { server } = await shop(2);
    await change("update src set u = 'bob' where id = 2");
    server.refusing = (_id, tombstone) => tombstone;
    expect(await story.apply()).toEqual(['ok']);
    const sent = server.records;
    expect(await story.apply()).toEqual(['ok']);
    expect(server.records).toBe(sent + 1);
    server.refusing = null;
    await rest();
    expect(server.records).toBe(sent + 2);
  });

  test('an outbox that a process makes after it was paused past its lease goes with the next run; that of an interrupted run stays', async () => {
    const { scheduler } = await shop(1);
    await change("update src set a = ''");
    scheduler.crash = { at: 's/outboxes.sql', when: 'after', pauses: 4 * TTL };
    await story.apply({ leave: true });
    pass(3 * TTL);
    await change(`insert into src values ${row(2)}`);
    scheduler.crash = { at: 's/state_flip.sql', when: 'after' };
    expect(await story.apply({ leave: true })).toEqual([]);
    expect(await story.outboxes()).toEqual(['s__outbox_3']);
    pass(TTL);
    await story.ended();
    expect(await story.outboxes()).toEqual(['s__outbox_2', 's__outbox_3']);
    pass(3 * TTL);
    // What is interrupted is finished from its outbox first; then nothing is left of either.
    await rest();
    expect(await story.outboxes()).toEqual([]);
  });

  test.each(['keyed', 'append'] as const)(
    '%s: a row that was invalid is sent under a declaration that makes it valid, also where nothing of it is read otherwise',
    async (shape) => {
      story = await Story.open(engine, shape, 'narrow', random(1), TIMEOUT);
      const loaded = shape === 'append' ? ", '2023-06-01'" : '';
      await change(`insert into src values (2, '2023-05-01 10:00:00', 'alice', '', 'x', 1.50${loaded})`);
      expect(await story.apply({ mayCreate: true })).toEqual(['ok']);
      expect([story.committed.at(-1)?.invalid, story.server.records]).toEqual([1, 0]);
      const yml = ymlOf(shape, true).replace('event: { column: ev }', 'event: Bought');
      const plan = await compiled(engine, yml, columnsOf(shape, 'narrow'), { records: 2, bytes: 600 });
      const decision = shape === 'keyed' ? 'resend' : undefined;
      pass(3 * TTL);
      expect(await story.apply({ version: 'other', plan, decision })).toEqual(['ok']);
      expect(story.server.shown().map((x) => x.image)).toEqual([expect.stringMatching(/^\["Bought",/)]);
      expect(await story.rows('select 1 from mixpanel.s__rejects')).toEqual([]);
    },
  );

  test('a process that wakes after its commit drops nothing of the next holder', async () => {
    const { scheduler } = await shop(1);
    await change("update src set a = ''");
    scheduler.crash = { at: 's/run_read.sql', when: 'after', pauses: 4 * TTL };
    const first = await story.apply({ leave: true });
    pass(4 * TTL - 3000);
    await change("update src set a = 'a,null'");
    scheduler.crash = { at: 's/state_flip.sql', when: 'after', pauses: 0.6 * TTL };
    const second = await story.apply({ leave: true });
    await story.ended();
    expect([first, second]).toEqual([['ok'], ['ok']]);
    await rest();
  });
});
