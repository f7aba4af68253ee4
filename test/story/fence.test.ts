import { expect, test } from 'vitest';
import { toQuery } from '../../runtime/values.ts';
import type { Query } from '../../runtime/warehouses/warehouse.ts';
import { onEngines } from './engines.ts';
import { random } from './scheduler.ts';
import { planOf, Story } from './story.ts';

const plain = (sql: string): Query => ({ sql, binds: [], label: 'test' });

onEngines((engine) => {
  test('what a holder writes into an interrupted run changes nothing under another holder or version', async () => {
    const story = await Story.open(engine, 'keyed', 'narrow', random(1));
    const { server, scheduler, outside } = story;
    const row = (id: number, user: string): string => `(${id}, '2023-05-01 10:00:00', '${user}', 'Buy', 'x', 1.50)`;
    await outside.run(`insert into src values ${row(1, 'alice')}, ${row(2, 'alice')}`);
    expect(await story.apply({ mayCreate: true })).toEqual(['ok']);
    await outside.run(`insert into src values ${row(3, 'alice')}`);
    let refused: string | undefined;
    server.refusing = (id) => id === (refused ??= id);
    expect(await story.apply()).toEqual(['ok']);
    await outside.run("update src set a = '' where id = 2");
    await outside.run('delete from src where id = 1');
    scheduler.crash = { at: 's/check_accounts.sql', when: 'before' };
    expect(await story.apply()).toEqual([]);
    await outside.run("update mixpanel.s__outbox_3 set outcome = 'maybe' where change = 'delete'");

    const plan = await planOf(engine, 'keyed', 'narrow', 'first');
    const { state, deliver, commit, capture } = plan.syncs[0]!;
    const [now] = await story.rows('select version, holder, phase, run from mixpanel.s__state');
    expect(now).toMatchObject({ phase: 'sending', run: 3n });
    const mine = {
      version: Number(now?.['version']),
      holder: String(now?.['holder']),
      ...{
        run: 3,
        ttl_ms: 1,
        quiet_ms: 1,
        names: '',
        pending: '{}',
        next_batch: 0,
        batch: 0,
        outcome: 'refused',
        adopted: 0,
      },
      refusals: '{"1":"x"}',
      more: 0,
    };
    const writes = [
      ...[deliver.restart, deliver.abandon, deliver.outcome, deliver.checkpoint],
      ...commit.flatMap((step) => step.run).filter((file) => file !== 's/check_accounts.sql'),
      ...[state.renew, state.release, state.forget, state.settle, capture.flip],
    ];
    const session = await outside.connect();
    await session.setNow(scheduler.now);
    const changed = async (file: string, values: typeof mine): Promise<number> => {
      const query = toQuery(plan.statements[file]!, values, file);
      await session.execute(plain('begin transaction'));
      if ([state.settle, capture.flip].includes(file))
        await session.execute(plain("update mixpanel.s__state set phase = 'idle'"));
      // Its commit takes away first what it puts there.
      if (file === 's/ledger_insert.sql') await session.execute(plain('delete from mixpanel.s__ledger'));
      if (file === 's/ledger_forward.sql')
        await session.execute(
          plain(
            `update mixpanel.s__outbox_3 set change = 'forward', payload = row_key where row_key in (select row_key from mixpanel.s__ledger)`,
          ),
        );
      const rows = await session.execute(query);
      await session.execute(plain('rollback'));
      return rows;
    };
    for (const file of writes) {
      expect([file, await changed(file, mine)]).not.toEqual([file, 0]);
      expect([file, await changed(file, { ...mine, holder: 'another' })]).toEqual([file, 0]);
      expect([file, await changed(file, { ...mine, version: mine.version - 1 })]).toEqual([file, 0]);
    }

    // What is recorded of a batch stands for what was recorded before; with `more` it is added to that.
    const query = (refusals: string, more: number): Query =>
      toQuery(plan.statements[deliver.outcome]!, { ...mine, refusals, more }, deliver.outcome);
    const recorded = async (refusals: string, more: number): Promise<unknown[]> => {
      await session.execute(query(refusals, more));
      const rows = await story.rows(
        'select outcome_reason as r from mixpanel.s__outbox_3 where batch = 0 order by ordinal',
      );
      expect(rows.length).toBeGreaterThan(1);
      return rows.slice(0, 2).map((row) => row['r']);
    };
    expect(await recorded('{"1":"x"}', 0)).toEqual(['x', null]);
    expect(await recorded('{"2":"y"}', 1)).toEqual(['x', 'y']);
    expect(await recorded('{"2":"z"}', 0)).toEqual([null, 'z']);
    await story.close();
  });
});
