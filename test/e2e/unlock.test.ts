import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { cli, duck, sent, shop, told } from './cli.ts';

const STATE = 'mixpanel.purchases__state';

test.concurrent(
  'force-unlock: a sync that never ran, one that nobody holds, and the lease of a dead process',
  async () => {
    const dir = await shop();
    const file = path.join(dir, 'warehouse.duckdb');
    told(await cli(dir, 'force-unlock', 'nobody'), 2, 'There is no sync nobody.');
    told(
      await cli(dir, 'force-unlock', 'purchases'),
      1,
      'error[state-missing]',
      'Run `syncline setup --execute` if it never ran',
    );
    told(await cli(dir, 'apply'), 0, '3 inserts');
    told(await cli(dir, 'force-unlock', 'purchases'), 0, 'purchases is not held.');
    await duck(file, `update ${STATE} set holder = 'dead', lease_until = epoch_ms(now()) + 3600000`);
    expect((await cli(dir, 'status')).out).toMatch(/^purchases: ok, .*\n {2}its lease was not released$/m);
    told(await cli(dir, 'force-unlock', 'purchases'), 0, 'purchases: lease released.');
    const [state] = await duck(file, `select holder, version::int as version from ${STATE}`);
    expect(state).toEqual({ holder: null, version: 2 });
    expect((await cli(dir, 'status')).out).not.toContain('not released');
    told(await cli(dir, 'apply'), 0, 'nothing changed');
    await duck(file, `update ${STATE} set holder = 'dead', lease_until = epoch_ms(now()) + 3600000`);
    told(await cli(dir, 'apply'), 0, 'nothing changed');
    expect(await sent(dir)).toBe(3);
  },
);

test.concurrent(
  'a state of a newer layout: every command refuses; one without its row: those that would write; nothing is changed',
  async () => {
    const dir = await shop();
    const file = path.join(dir, 'warehouse.duckdb');
    told(await cli(dir, 'apply'), 0, '3 inserts');
    await duck(file, `update ${STATE} set layout = 99, holder = 'later'`);
    const before = await duck(file, `from ${STATE}`);
    const ledger = await duck(file, 'from mixpanel.purchases__ledger order by row_key');
    const yml = await readFile(path.join(dir, 'syncs/shop.yml'), 'utf8');
    for (const command of [
      ['plan'],
      ['apply'],
      ['apply', '--due'],
      ['status'],
      ['rejects'],
      ['reset', 'purchases'],
      ['destroy', 'purchases', '-y'],
      ['destroy', 'purchases', '--data', '-y'],
      ['force-unlock', 'purchases'],
    ]) {
      // What a newer version wrote says nothing about when it is due.
      await writeFile(path.join(dir, 'syncs/shop.yml'), command[1] === '--due' ? `${yml}    frequency: daily\n` : yml);
      const ran = await cli(dir, ...command);
      told(ran, 1, 'error[state-newer]', 'written by a newer syncline (layout 99). Upgrade syncline.');
      expect([command, ran.out]).toEqual([command, '']);
    }
    expect(await duck(file, `from ${STATE}`)).toEqual(before);
    expect(await duck(file, 'from mixpanel.purchases__ledger order by row_key')).toEqual(ledger);
    expect([await duck(file, 'select count(*)::int as n from mixpanel.runs'), await sent(dir)]).toEqual([
      [{ n: 1 }],
      3,
    ]);
    await duck(file, `delete from ${STATE}`);
    for (const command of [['plan'], ['apply'], ['reset', 'purchases'], ['force-unlock', 'purchases']])
      told(await cli(dir, ...command), 1, 'error[state-missing]', 'has no row in its state table', 'Restore it.');
    expect((await cli(dir, 'status')).code).toBe(0);
    expect(await sent(dir)).toBe(3);
  },
);

test.concurrent('reset is refused while a run is sending, and nothing is forgotten', async () => {
  const dir = await shop();
  const file = path.join(dir, 'warehouse.duckdb');
  told(await cli(dir, 'apply'), 0, '3 inserts');
  await duck(file, `update ${STATE} set phase = 'sending', run = 1, pending = baseline`);
  told(
    await cli(dir, 'reset', 'purchases'),
    1,
    'error[check-failed]: purchases has an interrupted run. Run `syncline apply -s purchases` first',
  );
  expect(await duck(file, `select phase, run::int as run, holder from ${STATE}`)).toEqual([
    { phase: 'sending', run: 1, holder: null },
  ]);
  expect(await duck(file, 'select count(*)::int as n from mixpanel.purchases__ledger')).toEqual([{ n: 3 }]);
});
