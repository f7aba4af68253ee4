import { access, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { cli, project, shop, SYNC, told, YML } from './cli.ts';

test.concurrent('a project for another version is refused in one sentence by every command', async () => {
  const dir = await project({ 'syncline.yml': `require_syncline: ">=9"\n${YML}later: 1\n`, 'syncs/s.yml': SYNC });
  for (const command of ['lock', 'validate', 'compile', 'apply']) {
    const ran = await cli(dir, command);
    told(ran, 2, 'this project requires syncline >=9, and this is 0.1.0');
    expect(ran.err).not.toContain('unknown-key');
  }
});

const edit = async (dir: string, file: string, change: (text: string) => string): Promise<void> =>
  writeFile(path.join(dir, file), change(await readFile(path.join(dir, file), 'utf8')));
const OTHER = `  - { name: other, kind: events, mode: mirror, source: { relation: orders }, event: Other, time: t, key: id }
`;

test.concurrent(
  'a sync that is not enabled is checked and listed, and neither compiled nor run nor an orphan',
  async () => {
    const dir = await shop({ extra: OTHER });
    told(await cli(dir, 'apply'), 0, 'purchases: run 1 done: 3 inserts', 'other: run 1 done: 3 inserts');
    await edit(dir, 'syncs/shop.yml', (t) => t.replace('name: other,', 'name: other, enabled: false,'));

    told(await cli(dir, 'compile'), 0, '1 syncs');
    await expect(access(path.join(dir, 'compiled/dev/other'))).rejects.toThrow();
    expect((await cli(dir, 'ls')).out).toBe(
      'purchases  events mirror (checksum)  from orders\nother  events mirror (checksum)  from orders  not enabled\n',
    );
    const listed = JSON.parse((await cli(dir, 'ls', '--output', 'json')).out) as { name: string; enabled: boolean }[];
    expect(listed.map((s) => [s.name, s.enabled])).toEqual([
      ['purchases', true],
      ['other', false],
    ]);
    for (const command of ['plan', 'status', 'apply']) {
      const ran = await cli(dir, command);
      told(ran, 0);
      expect(ran.err + ran.out).not.toContain('other');
    }
    told(await cli(dir, 'apply', '-s', 'other'), 0, 'warning: other: `enabled: false`, so there is nothing to do.');
    told(await cli(dir, 'show', 'other'), 2, 'other says `enabled: false`');
    told(await cli(dir, 'reset', 'other'), 2, 'other says `enabled: false`');

    await edit(dir, 'syncs/shop.yml', (t) => t.replace('time: t, key: id }', 'time: tt, key: id }'));
    told(await cli(dir, 'validate'), 2, 'error[column-not-found]');
    await edit(dir, 'syncs/shop.yml', (t) =>
      t.replace('time: tt', 'time: t').replace('enabled: false', 'enabled: true'),
    );
    told(await cli(dir, 'compile'), 0);
    told(await cli(dir, 'apply'), 0, 'other: nothing changed');

    await edit(dir, 'syncs/shop.yml', (t) => t.replace(OTHER.replace('other,', 'other, enabled: true,'), ''));
    told(await cli(dir, 'status'), 0, 'mixpanel has the state of other, which the project does not declare');
  },
);

test.concurrent('the source of a sync that is not enabled may be gone', async () => {
  const dir = await project({
    'syncline.yml': YML,
    'syncs/s.yml': 'syncs:\n' + OTHER.replace('name: other,', 'name: other, enabled: false,'),
  });
  told(await cli(dir, 'validate'), 0);
});
