import { appendFile, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { cli, duck, shop, SYNC, told } from './cli.ts';

test.concurrent('one is singular, more are plural, and long lists say how many more', async () => {
  const dir = await shop();
  told(await cli(dir, 'lock'), 0, 'syncline.lock.json: 1 source of target dev.');
  told(await cli(dir, 'validate'), 0, '1 sync is valid for target dev.');
  told(await cli(dir, 'setup', '--execute'), 0, 'Set up 1 sync in mixpanel.');
  const first = await cli(dir, 'compile');
  told(first, 0, 'compiled/dev/: 1 sync, ');
  const files = Number(/ (\d+) files written, 0 removed/.exec(first.err)?.[1]);
  told(await cli(dir, 'compile', '--check'), 0);
  await rm(path.join(dir, 'compiled/dev/plan.json'));
  told(await cli(dir, 'compile'), 0, '1 sync, 1 file written, 0 removed.');
  await appendFile(path.join(dir, 'compiled/dev/plan.json'), ' ');
  told(await cli(dir, 'compile', '--check'), 1, 'differs from the project: plan.json. Run');
  await rm(path.join(dir, 'compiled'), { recursive: true });
  told(await cli(dir, 'compile', '--check'), 1, ` and ${files - 5} more. Run`);
  const second = SYNC.replace('syncs:\n', '').replace('purchases', 'sales');
  await writeFile(
    path.join(dir, 'syncs/shop.yml'),
    (await readFile(path.join(dir, 'syncs/shop.yml'), 'utf8')) + second,
  );
  told(await cli(dir, 'validate'), 0, '2 syncs are valid for target dev.');
  told(await cli(dir, 'rejects'), 0, 'Nothing is rejected.');
  expect((await cli(dir, 'rejects', '--output', 'json')).out).toBe('[]\n');
});

test.concurrent(
  'a reject of a sync without key is found by what its record says; a run that died early is told',
  async () => {
    const dir = await shop();
    await writeFile(path.join(dir, 'syncs/shop.yml'), SYNC.replace('    key: id\n', '    user_id: item\n'));
    const file = path.join(dir, 'warehouse.duckdb');
    await duck(file, `update orders set item = 'null' where id = 1`, `update orders set t = '1960-01-02' where id = 2`);
    expect((await cli(dir, 'plan')).out).toContain('  1 invalid row: time-before-1971: Mixpanel takes no event before');
    await cli(dir, 'apply', '-q');
    const { out } = await cli(dir, 'rejects');
    expect(out).toContain('purchases  without key (time 1960-01-02T00:00:00.000Z, event Purchase, user id item 2)');
    expect(out).toContain(
      'event Purchase, user id null)  insert invalid: user-banned: its user id is one that Mixpanel',
    );

    const died = 'an earlier run was begun and did not get to sending';
    expect((await cli(dir, 'plan')).out).not.toContain(died);
    await duck(file, `update mixpanel.purchases__state set version = 2, holder = 'x', lease_until = 1, names = '2 '`);
    expect((await cli(dir, 'plan')).out).toContain(died);
    told(await cli(dir, 'apply'), 0, 'nothing changed');
    expect((await cli(dir, 'plan')).out).not.toContain(died);
  },
);
