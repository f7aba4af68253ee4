import { describe, expect, test } from 'vitest';
import { compiledFiles } from '../../compiler/plan.ts';
import { compileFiles, lock, PROJECT, sync } from './project.ts';

/** Each case is one file with every statement in order; the commit that accepts one says what was checked in it. */
const CASES = {
  'mirror-keyed': sync('    key: order_id\n'),
  'mirror-key-list': sync('    key: [customer_id, order_id]\n'),
  'mirror-unkeyed': sync(),
  'mirror-guards': sync(
    '    key: order_id\n    guard: { max_deletes: 10%, max_changes: 1000, on_empty_source: fail }\n',
  ),
  append: sync('    insert_time: loaded_at\n').replace('mirror', 'append'),
};

describe('compiled SQL', () => {
  for (const [name, text] of Object.entries(CASES)) {
    test(name, async () => {
      const files = { 'syncline.yml': PROJECT, 'syncs/shop.yml': text, 'syncline.lock.json': lock() };
      const { plan, diagnostics } = await compileFiles(files);
      expect(diagnostics.filter((d) => d.severity === 'error')).toEqual([]);
      const compiled = compiledFiles(plan!);
      const statements = Object.keys(plan!.statements).map((file) => `-- ${file}\n${compiled[file] ?? ''}`);
      await expect(statements.join('\n')).toMatchFileSnapshot(`expected/${name}.duckdb.sql`);
    });
  }

  test('the plan of the keyed mirror', async () => {
    const files = { 'syncline.yml': PROJECT, 'syncs/shop.yml': CASES['mirror-keyed'], 'syncline.lock.json': lock() };
    const { plan } = await compileFiles(files);
    await expect(JSON.stringify(plan!.syncs, null, 2) + '\n').toMatchFileSnapshot('expected/mirror-keyed.plan.json');
  });

  test('same input, same bytes, whatever the order of the files', async () => {
    const files = {
      'syncline.yml': PROJECT,
      'syncs/shop.yml': CASES.append,
      'syncs/a.yml': 'syncs: []\n',
      'syncline.lock.json': lock(),
    };
    const turned = Object.fromEntries(Object.entries(files).reverse());
    const bytes = async (f: typeof files): Promise<string> =>
      JSON.stringify(compiledFiles((await compileFiles(f)).plan!));
    expect(await bytes(turned as typeof files)).toBe(await bytes(files));
  });
});
