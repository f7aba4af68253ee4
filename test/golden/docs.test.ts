import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { writeLock } from '../../compiler/lock.ts';
import { compileFiles } from './project.ts';

const root = path.join(import.meta.dirname, '../..');
const read = (file: string): string => readFileSync(path.join(root, file), 'utf8');

test('the README’s project compiles for both of its targets', async () => {
  const [project, syncs, history, defaults] = [...read('README.md').matchAll(/```yaml\n(.*?)```/gs)].map(
    (m) => m[1] ?? '',
  );
  const table = (columns: string) => ({
    columns: columns.split(', ').map((c) => ({ name: c.split(' ')[0]!, type: c.slice(c.indexOf(' ') + 1) })),
  });
  const sources = {
    'main.orders': table(
      'order_id INTEGER, ordered_at TIMESTAMP, customer_id VARCHAR, device VARCHAR, status VARCHAR, amount DOUBLE, attributes JSON, note VARCHAR, internal_note VARCHAR',
    ),
    'main.log': table('loaded_at TIMESTAMP, event_name VARCHAR, happened_at TIMESTAMP WITH TIME ZONE, user_id BIGINT'),
    'main.customers': table('customer_id VARCHAR, email VARCHAR, name VARCHAR, tier VARCHAR'),
    'main.accounts': table('account_id VARCHAR, name VARCHAR, arr INTEGER'),
    'main.customer_versions': table('customer_id VARCHAR, valid_from TIMESTAMP, valid_to TIMESTAMP, tier VARCHAR'),
    'main.songs': table('song_id INTEGER, song_name VARCHAR, artist VARCHAR'),
  };
  for (const target of ['dev', 'prod']) {
    const lock = writeLock({ lockVersion: 1, targets: { [target]: { sources } } });
    const files = {
      'syncline.yml': project!,
      'syncs/shop.yml': syncs!,
      'syncs/z.yml': history!,
      'syncline.lock.json': lock,
    };
    const { diagnostics, plan } = await compileFiles(files, { target });
    expect(diagnostics).toEqual([]);
    const shared = { ...files, 'syncline.yml': project! + defaults!, 'syncs/finance/x.yml': 'syncs: []\n' };
    const compiled = await compileFiles(shared, { target });
    expect(compiled.diagnostics.map((d) => d.code)).toEqual(['default-unmatched']);
    expect(compiled.plan?.syncs.map((s) => [s.tags, s.frequency])).toEqual([
      [['nightly'], 'hourly'],
      ...Array<unknown>(5).fill([['nightly'], 'daily']),
    ]);
    expect(compiled.project?.syncs.map((s) => s.onDelete)).toEqual([
      'tombstone',
      'tombstone',
      'unset',
      'delete',
      'unset',
      'ignore',
    ]);
    expect(plan?.syncs.map((s) => [s.name, s.strategy])).toEqual([
      ['purchases', 'checksum'],
      ['log_events', 'watermark'],
      ['customers', 'checksum'],
      ['accounts', 'checksum'],
      ['songs', 'all'],
      ['customer_tiers', 'checksum'],
    ]);
  }
});

test.each([
  ['PostgreSQL', 'public.orders', { id: 'bigint', t: 'timestamp with time zone' }],
  ['Redshift', 'public.orders', { id: 'bigint', t: 'timestamp with time zone' }],
  ['BigQuery', 'shop.orders', { id: 'INT64', t: 'TIMESTAMP' }],
])('the README’s target on %s compiles', async (warehouse, relation, types) => {
  const block = read('README.md')
    .split(`## ${warehouse}\n`)[1]!
    .match(/```yaml\n(.*?)```/s)![1]!;
  const columns = Object.entries(types).map(([name, type]) => ({ name, type }));
  // What stands there as a choice is one, too.
  const chosen = block.replaceAll(/^( +)# (?=[a-z_]+: )/gm, '$1');
  const compiled = (yml: string) =>
    compileFiles(
      {
        'syncline.yml': `name: shop\n${yml}`,
        'syncs/shop.yml': `syncs:\n  - { name: s, kind: events, mode: mirror, source: { relation: ${relation} }, event: E, time: t, key: id }\n`,
        'syncline.lock.json': writeLock({
          lockVersion: 1,
          targets: { prod: { sources: { [relation]: { columns } } } },
        }),
      },
      { target: 'prod' },
    );
  const { diagnostics, plan } = await compiled(block);
  expect(diagnostics).toEqual([]);
  expect((await compiled(chosen)).diagnostics).toEqual([]);
  expect(chosen === block).toBe(warehouse === 'PostgreSQL');
  const isBigQuery = warehouse === 'BigQuery';
  if (!isBigQuery) expect(plan?.session.at(-1)).toBe('set statement_timeout to 1800000');
  expect(plan?.setup.flatMap((s) => s.run)).toContain(`shared/${isBigQuery ? 'grant_sources' : 'grant_future'}.sql`);
});

test('the README names every command, and no other', () => {
  const commands = [...read('runtime/cli/program.ts').matchAll(/(?:command\(\s*'|\.command\(')([a-z-]+)'/g)].map(
    (m) => m[1]!,
  );
  const table = read('README.md').split('## Commands')[1]!.split('Exit codes')[0]!;
  const named = [...table.matchAll(/`([a-z-]+)(?: [^`]*)?`/g)].map((m) => m[1]!).filter((n) => commands.includes(n));
  expect([...new Set(named)].sort()).toEqual([...commands].sort());
});

test('every template is used by a golden case or part of one', async () => {
  const texts = readdirSync(path.join(root, 'compiler'))
    .filter((f) => f.endsWith('.ts'))
    .map((f) => read(`compiler/${f}`));
  const templates = readdirSync(path.join(root, 'templates/default')).map((f) => f.replace('.sql.njk', ''));
  const included = templates.flatMap((t) =>
    [...read(`templates/default/${t}.sql.njk`).matchAll(/include "([a-z_]+)"/g)].map((m) => m[1]!),
  );
  const unused = templates.filter(
    (t) =>
      !included.includes(t) && !texts.some((x) => x.includes(`'${t}'`) || x.includes(`'${t.replace('check_', '')}'`)),
  );
  expect(unused).toEqual([]);
  await Promise.resolve();
});
