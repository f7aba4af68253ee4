import { expect, test } from 'vitest';
import { DIAGNOSTIC_CODES, formatGithub, formatText } from '../../compiler/diagnostics.ts';
import type { DiagnosticCode } from '../../compiler/diagnostics.ts';
import { loadProject } from '../../compiler/project/load.ts';
import { renderConnection } from '../../compiler/project/resolve.ts';
import { COLUMNS, compileFiles, lock, profiles, PROJECT, sync } from './project.ts';

type Files = Record<string, string>;
const files = (change: Files = {}): Files => ({
  'syncline.yml': PROJECT,
  'syncs/shop.yml': sync('    key: order_id\n'),
  'syncline.lock.json': lock(),
  ...change,
});
const shop = (from: string, to: string): Files =>
  files({ 'syncs/shop.yml': sync('    key: order_id\n').replace(from, to) });
const main = (from: string, to: string): Files => files({ 'syncline.yml': PROJECT.replace(from, to) });
const columns = (name: string, type: string): Files =>
  files({ 'syncline.lock.json': lock([...COLUMNS, [name, type]]) });

/** An append on BigQuery, of a table that is partitioned by that column. */
function onBigQuery(partition: string): Files {
  const columns = ['ordered_at', 'customer_id', 'loaded_at'].map((name) => ({
    name,
    type: name === 'customer_id' ? 'STRING' : 'TIMESTAMP',
    ...(name === partition ? { partition: true } : {}),
  }));
  const sources = { 'main.orders': { columns } };
  return {
    'syncline.yml': PROJECT.replace('type: duckdb, path: warehouse.duckdb', 'type: bigquery, project: acme'),
    'syncs/shop.yml': sync().replace('mode: mirror', 'mode: append\n    insert_time: loaded_at'),
    'syncline.lock.json': JSON.stringify({ lockVersion: 1, targets: { dev: { sources } } }),
  };
}

const CASES: Readonly<Record<Exclude<DiagnosticCode, 'env-var-unset'>, Files>> = {
  'yaml-syntax': shop('{ relation: main.orders }', '{ relation: main.orders'),
  'file-missing': { 'syncs/shop.yml': sync() },
  'unknown-key': shop('user_id', 'user_idd'),
  'not-yet-supported': shop('    key: order_id', '    key: order_id\n    attach: old'),
  'default-refused': main('name: shop', 'name: shop\ndefaults: { kind: { events: { time: ordered_at } } }'),
  'default-unmatched': main('name: shop', 'name: shop\ndefaults: { path: { "sync/finance/**": { tags: [a] } } }'),
  'default-column-not-found': main('name: shop', 'name: shop\ndefaults: { properties: { exclude: [notes] } }'),
  'missing-key': shop('    mode: mirror\n', ''),
  'wrong-value': shop('mode: mirror', 'mode: miror'),
  'var-unset': shop('Purchase Completed', `"{{ var('event') }}"`),
  'env-var-here': shop('Purchase Completed', `"{{ env_var('EVENT') }}"`),
  'expression-invalid': shop('Purchase Completed', '"{{ 1 + 1 }}"'),
  'target-not-found': main('default_target: dev', 'default_target: dve'),
  'target-missing': main('default_target: dev\n', ''),
  'version-unsupported': main('name: shop', 'name: shop\nrequire_syncline: ">=9.0"\nkey_of_version_nine: 1'),
  'duplicate-sync-name': files({ 'syncs/zz.yml': sync('    key: order_id\n') }),
  'renamed-from-living': shop('    key: order_id\n', '    key: order_id\n    renamed_from: purchases\n'),
  'bad-sync-name': shop('purchases', 'Purchases__2'),
  'bad-relation': shop('main.orders', 'a.b.c.d'),
  'control-character': shop('Purchase Completed', '"Purchase\\u0001"'),
  'source-not-locked': shop('main.orders', 'main.other'),
  'lock-invalid': files({ 'syncline.lock.json': '{' }),
  'column-not-found': shop('time: ordered_at', 'time: order_at'),
  'column-reserved': columns('syncline_x', 'VARCHAR'),
  'property-reserved': columns('distinct_id', 'VARCHAR'),
  'column-type': shop('time: ordered_at', 'time: customer_id'),
  'column-type-unknown': columns('odd', 'VARIANT'),
  'mode-unavailable': shop('mode: mirror', 'mode: full'),
  'staging-needed': main('path: warehouse.duckdb', 'path: warehouse.duckdb, staging: none'),
  'kind-needs': shop('    time: ordered_at\n', ''),
  'kind-refuses': shop('    key: order_id', '    key: order_id\n    group_key: company'),
  'credential-missing': {
    ...main('mixpanel: sandbox', 'mixpanel: { project_id: 1 }'),
    'syncs/shop.yml': profiles(),
  },
  'property-twice': shop('    key: order_id', '    key: order_id\n    properties: { rename: { amount: weight } }'),
  'snapshot-unfit': shop('    key: order_id', '    key: order_id\n    strategy: snapshot'),
  'where-invalid': shop('    key: order_id', '    key: order_id\n    where: "true) or (1 = 1"'),
  'mode-needs': shop('mode: mirror', 'mode: append'),
  'mode-refuses': shop('    key: order_id', '    key: order_id\n    insert_time: loaded_at'),
  'template-unknown': files({ 'templates/default/creat_table.sql.njk': '' }),
  'template-refused': files({ 'templates/duckdb/state_commit.sql.njk': 'select 1' }),
  'template-invalid': files({
    'templates/default/create_table.sql.njk': 'create table {{ s.table }} (\n  {{ s.colums }}\n)',
  }),
  'template-incomplete': files({ 'templates/default/deliver_pages.sql.njk': 'select batch, body from {{ s.outbox }}' }),
  'template-not-locked': files({ 'templates/default/create_table.sql.njk': '{% extends "builtin:create_table" %}' }),
  'template-parent-changed': files({
    'templates/default/create_table.sql.njk': '{% extends "builtin:create_table" %}',
    'syncline.lock.json': lock().replace('{', '{ "templates": { "templates/default/create_table.sql.njk": "0" },'),
  }),
  'mirror-without-key': files({ 'syncs/shop.yml': sync() }),
  'insert-time-is-time': shop('mode: mirror', 'mode: append\n    insert_time: ordered_at'),
  'insert-time-not-partition': onBigQuery(''),
};

/** A sync of one kind over columns of these types, by name. */
function over(types: Readonly<Record<string, string>>, declared: string): Files {
  return files({
    'syncs/shop.yml': `syncs:\n  - { name: s, source: { relation: main.orders }, ${declared} }\n`,
    'syncline.lock.json': lock(Object.entries(types)),
  });
}
const EVENTS = 'kind: events, event: E, time: t';
const PEOPLE = 'kind: user_profiles, user_id: u, mode: mirror';
/** Each role that a column can have: a declaration in which `c` has it. */
const ROLES: Readonly<Record<string, string>> = {
  time: 'kind: events, event: E, time: c, mode: one_time',
  event: 'kind: events, event: { column: c }, time: t, mode: one_time',
  user_id: `${EVENTS}, user_id: c, mode: one_time`,
  device_id: `${EVENTS}, device_id: c, mode: one_time`,
  key: `${EVENTS}, key: c, mode: mirror`,
  json_properties: `${EVENTS}, json_properties: c, mode: one_time`,
  insert_time: `${EVENTS}, insert_time: c, mode: append`,
  'user_id of a profile': 'kind: user_profiles, user_id: c, mode: mirror',
  group_id: 'kind: group_profiles, group_key: g, group_id: c, mode: mirror',
  start_time: `${PEOPLE}, history: { start_time: c }`,
  end_time: `${PEOPLE}, history: { start_time: t, end_time: c }`,
  id: 'kind: lookup_table, id: c, lookup_table_id: l, mode: full',
};
const asRole = (declared: string, type: string): Files =>
  over({ t: 'TIMESTAMP', u: 'VARCHAR', p: 'INTEGER', c: type }, declared);
/** A type that makes no sense there. */
const UNFIT: Readonly<Record<string, string>> = {
  time: 'VARCHAR',
  event: 'INTEGER',
  json_properties: 'DECIMAL(9,2)',
  key: 'DOUBLE',
  insert_time: 'TIME',
  start_time: 'BIGINT',
  end_time: 'BOOLEAN',
  user_id: 'TIMESTAMP',
  device_id: 'DOUBLE',
  'user_id of a profile': 'DATE',
  group_id: 'JSON',
  id: 'DECIMAL(9,2)',
};

/** More of what people write, besides one case a code. */
const MORE: readonly (readonly [DiagnosticCode, string, Files])[] = [
  ...['snowflake', 'databricks'].map(
    (type) =>
      [
        'not-yet-supported',
        `type: ${type}`,
        main('type: duckdb, path: warehouse.duckdb', `type: ${type}, account: acme`),
      ] as const,
  ),
  ['not-yet-supported', 'exports', main('name: shop', 'name: shop\nexports: [{ name: raw_events }]')],
  ['wrong-value', 'type: oracle', main('type: duckdb', 'type: oracle')],
  ...Object.entries(ROLES).map(
    ([role, declared]) => ['column-type', role, asRole(declared, UNFIT[role] ?? '')] as const,
  ),
  ['column-type', 'a nested value in a lookup table', over({ c: 'INTEGER', p: 'INTEGER[]' }, ROLES['id'] ?? '')],
];

/** Types that each role takes, of one for each way that DuckDB stores a value. */
const TYPES = [
  'VARCHAR',
  'UUID',
  'BIGINT',
  'DECIMAL(9,2)',
  'DOUBLE',
  'BOOLEAN',
  'DATE',
  'TIME',
  'TIMESTAMP',
  'TIMESTAMP WITH TIME ZONE',
  'BLOB',
  'JSON',
  'INTEGER[]',
  'STRUCT(a INTEGER)',
  'INTERVAL',
];
const STAMPS = ['DATE', 'TIMESTAMP', 'TIMESTAMP WITH TIME ZONE'];
const IDS = ['VARCHAR', 'UUID', 'BIGINT'];

test.each(
  Object.entries({
    time: STAMPS,
    insert_time: STAMPS,
    start_time: STAMPS,
    end_time: STAMPS,
    event: ['VARCHAR', 'UUID'],
    user_id: IDS,
    device_id: IDS,
    'user_id of a profile': IDS,
    group_id: IDS,
    id: IDS,
    key: TYPES.filter((t) => !['DOUBLE', 'JSON', 'INTEGER[]', 'STRUCT(a INTEGER)', 'INTERVAL'].includes(t)),
    json_properties: ['VARCHAR', 'UUID', 'JSON', 'STRUCT(a INTEGER)'],
  }),
)('as %s a column may be %j, and no other type', async (role, fit) => {
  const taken: string[] = [];
  for (const type of TYPES) {
    const { diagnostics } = await compileFiles(asRole(ROLES[role] ?? '', type));
    const errors = diagnostics.filter((d) => d.severity === 'error').map((d) => [d.code, d.message.includes('`c`')]);
    if (errors.length === 0) taken.push(type);
    else expect(errors, type).toEqual([['column-type', true]]);
  }
  expect(taken).toEqual(TYPES.filter((t) => fit.includes(t)));
});

test('every code has a case, and every case reports its code', async () => {
  expect(Object.keys(CASES).sort()).toEqual(DIAGNOSTIC_CODES.filter((c) => c !== 'env-var-unset').sort());
  const texts: string[] = [];
  const cases = Object.entries(CASES).map(([code, input]) => [code as DiagnosticCode, '', input] as const);
  for (const [code, what, input] of [...cases, ...MORE]) {
    const { diagnostics } = await compileFiles(input);
    expect(
      diagnostics.map((d) => d.code),
      code,
    ).toContain(code);
    texts.push(
      `# ${code}${what === '' ? '' : `: ${what}`}`,
      ...diagnostics.map((d) => formatText(d, input)),
      ...diagnostics.slice(0, 1).map(formatGithub),
      '',
    );
  }
  await expect(texts.join('\n')).toMatchFileSnapshot('expected/diagnostics.txt');
});

test('an unset environment variable is named when connecting, and only then', () => {
  const input = main('path: warehouse.duckdb', `path: "{{ env_var('DB') }}"`);
  const { project, diagnostics } = loadProject(input, { needLock: false });
  expect(diagnostics).toEqual([]);
  expect(renderConnection(project!.target, {}).diagnostics.map((d) => d.message)).toEqual([
    'environment variable DB is not set (used by warehouse.path)',
  ]);
  expect(renderConnection(project!.target, { DB: 'x' }).value.warehouse).toMatchObject({ path: 'x' });
});

test('on BigQuery a source names its dataset', async () => {
  const { diagnostics } = await compileFiles({
    ...shop('main.orders', 'orders'),
    'syncline.yml': PROJECT.replace('type: duckdb, path: warehouse.duckdb', 'type: bigquery, project: acme'),
  });
  const found = diagnostics.find((d) => d.code === 'bad-relation');
  expect(found).toMatchObject({ message: 'the relation orders names no dataset', hint: 'write dataset.orders' });
  expect(found?.span?.start).toEqual({ line: 5, col: 25 });
});

test.each([
  ['VIEW', 'a view'],
  ['MATERIALIZED VIEW', 'a materialized view'],
  ['EXTERNAL', 'an external table'],
])('on BigQuery a %s has no snapshots', async (type, word) => {
  const columns = ['order_id', 'ordered_at', 'customer_id'].map((name) => ({
    name,
    type: name === 'ordered_at' ? 'TIMESTAMP' : 'STRING',
  }));
  const { diagnostics } = await compileFiles({
    ...shop('    key: order_id', '    key: order_id\n    strategy: snapshot'),
    'syncline.yml': PROJECT.replace('type: duckdb, path: warehouse.duckdb', 'type: bigquery, project: acme'),
    'syncline.lock.json': JSON.stringify({
      lockVersion: 1,
      targets: { dev: { sources: { 'main.orders': { type, columns } } } },
    }),
  });
  expect(diagnostics.map(({ code, message, hint }) => ({ code, message, hint }))).toEqual([
    {
      code: 'snapshot-unfit',
      message: `\`strategy: snapshot\` cannot be: main.orders is ${word}, and only tables that the warehouse stores have snapshots`,
      hint: 'use checksum or auto',
    },
  ]);
});

test('a column that stands in the lock twice is named', async () => {
  const { diagnostics } = await compileFiles(columns('note', 'VARCHAR'));
  expect(diagnostics.map(({ code, message }) => [code, message])).toEqual([
    ['lock-invalid', 'syncline.lock.json: the column note of main.orders stands in it twice'],
  ]);
});

test('an append by the column that the table is partitioned by is fine', async () => {
  const { diagnostics } = await compileFiles(onBigQuery('loaded_at'));
  expect(diagnostics).toEqual([]);
});
