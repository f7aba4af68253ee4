import { appendFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
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

test.concurrent('flags and files that are wrong are told before anything is scanned', async () => {
  const dir = await shop();
  told(await cli(dir, 'plan', '--out', '/nope/p.json'), 2, '--out /nope/p.json: there is no folder /nope.');
  told(await cli(dir, 'plan', '--out', 'syncs'), 2, '--out syncs is a folder. Name a file.');
  told(await cli(dir, 'plan', '--markdown', '--output', 'json'), 2, '--markdown and --output json are two forms');
  const declare = (more: string): Promise<void> => writeFile(path.join(dir, 'syncs/shop.yml'), `${SYNC}${more}`);
  await declare('    guard: { max_deletes: 500% }\n');
  told(await cli(dir, 'validate'), 2, '`max_deletes` must be a number of rows, or 0% to 100%');
  await declare('    guard: { max_deletes: 12.5% }\n    decisions: { f3a91c7: forward }\n');
  told(await cli(dir, 'validate'), 0);
  await declare('    decisions: { f3a91c7x: forward, 12e4567: resend }\n');
  told(await cli(dir, 'validate'), 2, '`f3a91c7x` names no change: copy the seven letters and digits', '2 errors');

  await declare('');
  const template = path.join(dir, 'templates/default/create_table.sql.njk');
  await mkdir(path.dirname(template), { recursive: true });
  await writeFile(template, '{% extends "builtin:create_table" %}\n');
  const unlocked = await cli(dir, 'lock', '--check');
  told(unlocked, 1, 'create_table.sql.njk: not locked', 'Templates differ from syncline.lock.json');
  await cli(dir, 'lock', '-q');
  told(await cli(dir, 'lock', '--check'), 0);
  await rm(template);
  told(await cli(dir, 'lock', '--check'), 1, 'locked, and there no more', 'Templates differ from syncline.lock.json');
  await cli(dir, 'lock', '-q');
  await duck(path.join(dir, 'warehouse.duckdb'), 'alter table orders add column note varchar');
  told(
    await cli(dir, 'lock', '--check'),
    1,
    'orders.note: not locked',
    'The warehouse differs from syncline.lock.json',
  );

  // An empty file declares nothing, as one with comments only.
  await writeFile(path.join(dir, 'syncs/shop.yml'), '');
  told(await cli(dir, 'validate'), 0, '0 syncs are valid');
  for (const command of ['plan', 'apply'])
    told(await cli(dir, command), 0, 'no file of syncs/ declares a sync, so there is nothing to do.');
});
