import { appendFile, cp, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { cli, duck, sent, shop, SYNC, told, YML } from './cli.ts';
import { onEngine } from '../engines/engine.ts';
import { missing, onTerminal } from './screen.ts';

const warehouse = (dir: string): string => path.join(dir, 'warehouse.duckdb');

test.concurrent(
  'columns: a missing or retyped one is refused by plan and apply, a new one is named and not sent',
  async () => {
    const dir = await shop();
    told(await cli(dir, 'apply'), 0, '3 inserts');
    await duck(warehouse(dir), 'alter table orders add column colour varchar', "update orders set colour = 'red'");
    const added = await cli(dir, 'plan', '--detailed-exitcode');
    expect([added.code, added.out]).toEqual([0, expect.stringContaining('not sent until `syncline lock`: colour')]);
    told(await cli(dir, 'apply'), 0, 'nothing changed');
    told(await cli(dir, 'lock', '--check'), 1, 'orders.colour: not locked → VARCHAR', 'Run `syncline lock`');

    await duck(warehouse(dir), "update orders set item = '7'", 'alter table orders alter item type integer using 7');
    for (const command of ['plan', 'apply'])
      told(await cli(dir, command), 1, 'error[columns-drifted]: purchases:', 'item');
    await duck(warehouse(dir), 'alter table orders drop column item');
    for (const command of ['plan', 'apply']) told(await cli(dir, command), 1, 'column `item` is missing');
    expect(await sent(dir)).toBe(3);
    await duck(warehouse(dir), 'drop table orders');
    const said = '(orders does not exist, or may not be read: check `relation:`)';
    for (const command of ['plan', 'apply'])
      told(await cli(dir, command), 1, 'error[columns-drifted]: purchases:', said);
    const second = SYNC.replace('syncs:\n', '').replace('purchases', 'sales').replace('orders', 'sold');
    await appendFile(path.join(dir, 'syncs/shop.yml'), second);
    const gone = (sync: string, source: string): string =>
      `${sync}: the source ${source} does not exist or has no columns. Check \`relation:\`.`;
    told(await cli(dir, 'lock'), 1, gone('purchases', 'orders'), gone('sales', 'sold'));
  },
);

test.concurrent('a staging schema of another project or target is refused by plan and apply', async () => {
  const dir = await shop();
  told(await cli(dir, 'apply'), 0, '3 inserts');
  const before = await duck(warehouse(dir), 'from mixpanel.purchases__state');
  await writeFile(path.join(dir, 'syncline.yml'), YML.replace('name: shop', 'name: other'));
  for (const command of ['plan', 'apply', 'setup --execute'])
    told(
      await cli(dir, ...command.split(' ')),
      1,
      'error[state-foreign]',
      'mixpanel is used by shop / dev, this is other / dev. Give this target a staging schema of its own.',
    );
  await writeFile(path.join(dir, 'syncline.yml'), YML.replaceAll('dev', 'prod'));
  told(await cli(dir, 'lock'), 0);
  for (const command of ['plan', 'apply'])
    told(await cli(dir, command), 1, 'is used by shop / dev, this is shop / prod');
  expect(await duck(warehouse(dir), 'from mixpanel.purchases__state')).toEqual(before);
  expect(await sent(dir)).toBe(3);
});

test.concurrent('a changed mapping is told by plan too', async () => {
  const dir = await shop();
  told(await cli(dir, 'apply'), 0, '3 inserts');
  const file = path.join(dir, 'syncs/shop.yml');
  await writeFile(file, (await readFile(file, 'utf8')).replace('event: Purchase', 'event: Bought'));
  const changed = await cli(dir, 'plan');
  const applied = await cli(dir, 'apply');
  told(applied, 1, 'error[mapping-changed]', 'changed since its last run (its event), so rows');
  expect([changed.code, changed.err]).toEqual([1, applied.err]);
  expect(await sent(dir)).toBe(3);
});

describe.concurrent('what was reviewed', () => {
  test('one file of the compiled folder that differs or is missing stops apply', async () => {
    const dir = await shop();
    told(await cli(dir, 'compile'), 0);
    const compiled = path.join(dir, 'compiled/dev');
    await cp(compiled, path.join(dir, 'good'), { recursive: true });
    for (const spoil of [
      () => appendFile(path.join(compiled, 'plan.json'), '\n'),
      () => appendFile(path.join(compiled, 'purchases/capture.sql'), '-- and 1 = 1\n'),
      () => rm(path.join(compiled, 'purchases/capture.sql')),
      () => writeFile(path.join(compiled, 'purchases/more.sql'), 'select 1\n'),
    ]) {
      await spoil();
      told(
        await cli(dir, 'apply'),
        1,
        'error[compiled-differs]: compiled/dev/',
        'Run `syncline compile -t dev` and have the change reviewed.',
      );
      told(await cli(dir, 'compile', '--check'), 1, 'compiled/dev/ differs from the project: ');
      await rm(compiled, { recursive: true });
      await cp(path.join(dir, 'good'), compiled, { recursive: true });
    }
    const plan = await readFile(path.join(compiled, 'plan.json'), 'utf8');
    await writeFile(path.join(compiled, 'plan.json'), plan.replace('"hash": "', '"hash": "0'));
    told(await cli(dir, 'apply'), 1, 'compiled/dev/plan.json differs');
    await writeFile(path.join(compiled, 'plan.json'), plan);
    told(await cli(dir, 'apply'), 0, '3 inserts');
  });

  test('a protected target needs it; without a terminal nobody is asked', async () => {
    const dir = await shop({ yml: YML.replace('dev:\n', 'dev:\n    protected: true\n') });
    told(
      await cli(dir, 'apply'),
      1,
      'error[compiled-differs]: Target dev is protected and compiled/dev/ is missing. Run `syncline compile -t dev`',
    );
    told(await cli(dir, 'compile'), 0);
    const ran = await cli(dir, 'apply');
    told(ran, 0, '3 inserts');
    expect(ran.err).not.toContain('(yes/no)');
  });

  onEngine(missing, 'on a terminal', () => {
    test('only yes goes on, which --yes says as well', async () => {
      const dir = await shop({ yml: YML.replace('dev:\n', 'dev:\n    protected: true\n') });
      told(await cli(dir, 'compile'), 0);
      for (const [answer, code, said] of [
        ['no\n', 1, 'Nothing was sent.'],
        ['y\n', 1, 'Nothing was sent.'],
        ['\u0004', 1, 'Nothing was sent.'],
        ['yes\n', 0, 'run 1 done: 3 inserts'],
      ] as const) {
        const ran = await onTerminal(dir, { answer }, 'apply');
        expect([ran.code, ran.text]).toEqual([code, expect.stringContaining(said)]);
        expect(ran.text).toContain('Apply 1 sync to dev (purchases)? (yes/no)');
        expect(ran.text.includes('Only `yes` goes on.')).toBe(answer === 'y\n');
      }
      for (const flag of ['-y', '--yes']) {
        const ran = await onTerminal(dir, {}, 'apply', flag);
        expect([ran.code, ran.text]).toEqual([0, expect.stringContaining('nothing changed')]);
        expect(ran.text).not.toContain('(yes/no)');
      }
      told(await cli(dir, 'reset', 'purchases'), 2, 'reset of a protected target asks', 'say --yes');
      const unset = await onTerminal(dir, { answer: 'no\n' }, 'reset', 'purchases');
      expect([unset.code, unset.text]).toEqual([1, expect.stringContaining('Nothing was changed.')]);
      expect(unset.text).toContain(
        'Forget what Mixpanel shows for purchases (dev)? The next apply sends the whole table. (yes/no)',
      );
      const question =
        'Destroy the staging tables of purchases in mixpanel (dev), and what it put into Mixpanel? (yes/no)';
      const kept = await onTerminal(dir, { answer: 'no\n' }, 'destroy', 'purchases', '--data');
      expect([kept.code, kept.text]).toEqual([1, expect.stringContaining('Nothing was changed.')]);
      expect(kept.text).toContain(question);
      told(await cli(dir, 'apply', '-y'), 0, 'nothing changed');
      const forgot = await onTerminal(dir, {}, 'reset', 'purchases', '--yes');
      expect([forgot.code, forgot.text]).toEqual([0, expect.stringContaining('purchases: forgotten.')]);
      expect(forgot.text).not.toContain('(yes/no)');
      const gone = await onTerminal(dir, { answer: 'yes\n' }, 'destroy', 'purchases');
      expect([gone.code, gone.text]).toEqual([0, expect.stringContaining('purchases: destroyed.')]);
      expect(gone.text).toContain('Destroy the staging tables of purchases in mixpanel (dev)? (yes/no)');
    });
  });
});
