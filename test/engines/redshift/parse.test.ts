import { expect, test } from 'vitest';
import { statementText } from '../../../compiler/render.ts';
import { compileFiles, sync } from '../../golden/project.ts';
import { compiledOnRedshift, onWarehouse } from '../../golden/warehouses.ts';
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
    // What it takes as a whole and looks no further at is of these forms, as the documentation has them.
    const opaque = read.filter(([, how]) => how === 'opaque').map(([name]) => statements[name]!);
    const forms = opaque.map((text) =>
      text
        .replace(/^--.*\n/gm, '')
        .trim()
        .replaceAll(/"[^"]*"/g, 'x'),
    );
    expect([...new Set(forms)].sort()).toEqual(
      [
        'create user x password disable',
        'create role x',
        'create group x',
        'create schema if not exists x authorization x',
        'alter table x.x owner to x',
        'lock table x.x',
        ...['x', 'role x', 'group x'].flatMap((grantee) => [
          `grant select on all tables in schema x to ${grantee}`,
          `alter default privileges for user x in schema x grant select on tables to ${grantee}`,
        ]),
      ].sort(),
    );
    expect(read.length).toBeGreaterThan(500);
  });

  test('reads names of up to 127 bytes, which every statement says whole', async () => {
    const [table, column, staging] = ['d'.repeat(127), 'é'.repeat(63), 's'.repeat(127)];
    const files = onWarehouse('redshift', sync('    key: order_id\n'), `, staging: ${staging}`);
    const { plan } = await compileFiles(
      Object.fromEntries(
        Object.entries(files).map(([name, text]) => [
          name,
          text.replaceAll('main.orders', `main.${table}`).replaceAll('"note"', `"${column}"`),
        ]),
      ),
      {},
    );
    const texts = Object.entries(plan!.statements).map(
      ([name, { sql }]) =>
        [
          name,
          statementText(sql)
            .replaceAll(/\$\{\w+\}/g, '7')
            .replace(/^explain$/m, ''),
        ] as const,
    );
    const read = Object.entries(parseAll(Object.fromEntries(texts)));
    expect(read.filter(([, how]) => how !== 'parsed' && how !== 'opaque')).toEqual([]);
    const named = new Set(texts.flatMap(([, text]) => [...text.matchAll(/"([^"]*)"/g)].map((m) => m[1]!)));
    expect([table, column, staging].filter((name) => !named.has(name))).toEqual([]);
    const cut = [...named].filter((n) =>
      [table, column, staging].some((name) => n !== '' && name !== n && name.startsWith(n)),
    );
    expect(cut).toEqual([]);
  });

  test('refuses what is no SQL', () => {
    expect(parseAll({ x: 'select from (where', y: 'select 1' })).toMatchObject({ y: 'parsed' });
    expect(parseAll({ x: 'select case when 1 then' })['x']).not.toBe('parsed');
  });
});
