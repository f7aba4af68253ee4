import { expect, test } from 'vitest';
import { compiledOnRedshift } from '../../golden/warehouses.ts';
import { onEngine } from '../engine.ts';
import { missing, parseAll } from './sqlglot.ts';

onEngine(missing(), "sqlglot's Redshift dialect", () => {
  test('reads every compiled statement', async () => {
    const statements = Object.fromEntries(
      [...(await compiledOnRedshift())].map(([name, text]) => [name, text.replaceAll(/\$\{\w+\}/g, '7')]),
    );
    // It looks no further than the word `explain`; what is explained is a statement like others.
    const bare = Object.entries(statements).map(([name, text]) => [name, text.replace(/^explain$/m, '')] as const);
    const read = Object.entries(parseAll(Object.fromEntries(bare)));
    expect(read.filter(([, how]) => how !== 'parsed' && how !== 'opaque')).toEqual([]);
    // What it takes as a whole and looks no further at.
    const opaque = new Set(read.filter(([, how]) => how === 'opaque').map(([name]) => name.replace(/^.*\//, '')));
    expect([...opaque].sort()).toEqual(['create_grantee.sql', 'grant_future.sql', 'lock_runs.sql']);
    expect(read.length).toBeGreaterThan(500);
  });

  test('refuses what is no SQL', () => {
    expect(parseAll({ x: 'select from (where', y: 'select 1' })).toMatchObject({ y: 'parsed' });
    expect(parseAll({ x: 'select case when 1 then' })['x']).not.toBe('parsed');
  });
});
