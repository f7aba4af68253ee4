import { access, mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { cli, project, sent, shop, SYNC, told, YML } from './cli.ts';

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

    told(await cli(dir, 'compile'), 0, '1 sync,');
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

test.concurrent('a project’s templates run, are named by plan, and are compared with their parents', async () => {
  const newer =
    '{% extends "builtin:changes_compare" %}\n{% block newer %}\n{{ super() -}}\n  where syncline_row.id <> 1\n{% endblock %}\n';
  const dir = await shop();
  const put = async (file: string, text: string): Promise<void> => {
    await mkdir(path.dirname(path.join(dir, 'templates', file)), { recursive: true });
    await writeFile(path.join(dir, 'templates', file), text);
  };
  await put('duckdb/changes_compare.sql.njk', newer);
  await put(
    'default/create_table.sql.njk',
    '{% extends "builtin:create_table" %}\n{% block options %}\n-- ours\n{% endblock %}\n',
  );
  told(await cli(dir, 'validate'), 0, 'warning[template-not-locked]');
  const relocked = await cli(dir, 'lock');
  told(relocked, 0);
  expect(relocked.err).not.toContain('changed');
  expect((await cli(dir, 'validate')).err).not.toContain('warning');
  told(await cli(dir, 'lock', '--check'), 0);

  told(await cli(dir, 'compile'), 0);
  const compiled = (file: string): Promise<string> => readFile(path.join(dir, 'compiled/dev', file), 'utf8');
  expect(await compiled('purchases/create_ledger.sql')).toMatch(/\)\n-- ours\n$/);
  const { syncs } = JSON.parse(await compiled('plan.json')) as { syncs: { overridden: string[] }[] };
  const statements = [
    'capture',
    'create_outbox',
    'create_state',
    'create_ledger',
    'create_rejects',
    'preview',
    'preview_initial',
    'show',
    'destroy',
  ];
  expect(syncs[0]!.overridden.toSorted()).toEqual(statements.toSorted());
  const planned = await cli(dir, 'plan');
  expect(planned.out).toContain('purchases (initial load): 2 inserts');
  expect(planned.out).toContain(`  made by templates of this project: ${syncs[0]!.overridden.join(', ')}`);
  told(await cli(dir, 'apply'), 0, 'run 1 done: 2 inserts');
  expect(await sent(dir)).toBe(2);
  told(await cli(dir, 'apply'), 0, 'nothing changed');

  // A later version of the package has another parent.
  await edit(dir, 'syncline.lock.json', (t) =>
    t.replace(/("templates\/default\/create_table.sql.njk": ")[0-9a-f]{8}/, '$100000000'),
  );
  told(await cli(dir, 'compile'), 0, 'warning[template-parent-changed]', 'templates/default/create_table.sql.njk');
  told(await cli(dir, 'lock', '--check'), 1, "create_table.sql.njk: the package's template that it stands for changed");
  told(
    await cli(dir, 'lock'),
    0,
    "create_table.sql.njk: the package's template that it stands for changed; compare both.",
  );
  expect((await cli(dir, 'validate')).err).not.toContain('warning');

  await put('default/create_table.sql.njk', 'create table {{ s.table }} (\n  batch {{ s.integer }}\n)\n');
  for (const command of ['compile', 'plan', 'apply'])
    told(
      await cli(dir, command),
      2,
      'create_table.sql.njk:1:1: error[template-incomplete]: the template leaves out `ordinal`',
      '1 error.',
    );
  await put('default/create_table.sql.njk', 'create table {{ s.tabel }} ()');
  told(
    await cli(dir, 'apply'),
    2,
    'create_table.sql.njk:1:19: error[template-invalid]',
    's.tabel, which does not exist',
    '1 error.',
  );
  await put('default/create_table.sql.njk', 'create table {% if %}');
  told(await cli(dir, 'apply'), 2, 'error[template-invalid]', 'unexpected token', '1 error.');
  await put('default/create_table.sql', 'create table x ()');
  told(await cli(dir, 'validate'), 2, 'templates/default/create_table.sql:1:1: error[template-unknown]');
  await put('default/state_commit.sql.njk', 'select 1');
  told(await cli(dir, 'apply'), 2, 'error[template-refused]: the template `state_commit` is not open');
  expect(await sent(dir)).toBe(2);
});

test.concurrent('defaults reach what is selected, guarded and sent', async () => {
  const dir = await shop({ extra: OTHER });
  await edit(
    dir,
    'syncline.yml',
    (t) => `${t}defaults:
  tags: [nightly]
  properties: { exclude: [item, internal_note] }
  kind: { events: { guard: { max_changes: 2 } } }
  path: { "syncs/finance/**": { tags: [finance] } }
`,
  );
  await mkdir(path.join(dir, 'syncs/finance'));
  await writeFile(path.join(dir, 'syncs/finance/f.yml'), `syncs:\n${OTHER.replace('other', 'third')}`);
  const validated = await cli(dir, 'validate');
  told(validated, 0, 'syncline.yml:9:33: warning[default-column-not-found]', '`internal_note`');
  expect((await cli(dir, 'ls', '-s', 'tag:finance')).out).toMatch(/^third .*\n$/);
  expect((await cli(dir, 'ls', '-s', 'tag:nightly')).out.split('\n')).toHaveLength(4);
  const shown = await cli(dir, 'show', 'third');
  expect(shown.out).toContain('"event":"Other"');
  expect(shown.out).not.toContain('item');
  told(await cli(dir, 'apply', '-s', 'third'), 1, 'error[guard]: third: The guard max_changes stopped this run');
  await edit(dir, 'syncline.yml', (t) => t.replace('tags: [finance]', 'tag: [finance]'));
  told(await cli(dir, 'apply'), 2, 'syncline.yml:11:33: error[unknown-key]: unknown key `tag`', 'did you mean `tags`?');
});
