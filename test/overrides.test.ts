import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { compile } from '../compiler/compile.ts';
import { PUBLIC, parentDigests } from '../compiler/overrides.ts';
import { compiledFiles } from '../compiler/plan.ts';
import { readTemplates } from '../compiler/templates.ts';
import { compileFiles, lock, PROJECT, sync } from './golden/project.ts';
import { onWarehouse } from './golden/warehouses.ts';

const root = path.join(import.meta.dirname, '..');
const templates = await readTemplates(path.join(root, 'templates'));
type Files = Readonly<Record<string, string>>;
const BASE: Files = {
  'syncline.yml': PROJECT,
  'syncs/shop.yml': sync('    key: order_id\n'),
  'syncline.lock.json': lock(),
};
const run = (files: Files) => compile({ files: { ...BASE, ...files }, templates });
const errors = (files: Files): readonly string[] =>
  run(files)
    .diagnostics.filter((d) => d.severity === 'error')
    .map((d) => `${d.span!.file}:${d.span!.start.line}:${d.span!.start.col} ${d.code} ${d.message}`);
const plain = compiledFiles(run({}).plan!);

/** What the project's templates make of a statement, and the other statements that they changed. */
function made(files: Files, statement: string) {
  const result = run(files);
  expect(result.diagnostics.filter((d) => d.severity === 'error')).toEqual([]);
  const compiled = compiledFiles(result.plan!);
  const changed = Object.keys(compiled).filter((f) => f !== 'plan.json' && compiled[f] !== plain[f]);
  return { text: compiled[`purchases/${statement}.sql`]!, changed, overridden: result.plan!.syncs[0]!.overridden };
}
const extending = (name: string, block: string, text: string): string =>
  `{% extends "builtin:${name}" %}\n{% block ${block} %}\n${text}\n{% endblock %}\n`;

describe('a template of the project', () => {
  test('stands for the package’s wherever it is used, and no other text changes', () => {
    const text =
      'create table {{ s.table }} (\n{% for c in s.columns %}\n  {{ c.name }} {{ c.type }}{{ "" if loop.last else "," }}\n{% endfor %}\n) -- ours\n';
    const {
      text: outbox,
      changed,
      overridden,
    } = made({ 'templates/default/create_table.sql.njk': text }, 'create_outbox');
    expect(outbox).toBe(plain['purchases/create_outbox.sql']!.replace(/\)\n$/, ') -- ours\n'));
    expect(overridden).toEqual(['create_outbox', 'create_state', 'create_ledger', 'create_rejects']);
    expect(changed.sort()).toEqual(overridden.map((s) => `purchases/${s}.sql`).sort());
  });

  test('extends a block of the package’s, with and without what it says', () => {
    const extended = made(
      { 'templates/duckdb/create_table.sql.njk': extending('create_table', 'options', 'with (fillfactor = 70)') },
      'create_ledger',
    );
    expect(extended.text).toBe(plain['purchases/create_ledger.sql']!.replace(/\)\n$/, ')\nwith (fillfactor = 70)\n'));
    const newer = made(
      {
        'templates/default/changes_compare.sql.njk': extending('changes_compare', 'newer', '-- first\n{{ super() -}}'),
      },
      'capture',
    );
    expect(newer.text).toBe(plain['purchases/capture.sql']!.replace('newer as (\n', 'newer as (\n-- first\n'));
    expect(newer.overridden).toEqual(['capture', 'preview_initial', 'preview', 'destroy', 'show']);
  });

  test('of the warehouse comes before that of every warehouse; another warehouse’s does nothing', () => {
    const files = {
      'templates/default/create_table.sql.njk': extending('create_table', 'options', '-- default'),
      'templates/duckdb/create_table.sql.njk': extending('create_table', 'options', '-- duckdb'),
      'templates/postgres/create_table.sql.njk': extending('create_table', 'options', '-- postgres'),
    };
    expect(made(files, 'create_state').text).toMatch(/\)\n-- duckdb\n$/);
    expect(made({ 'templates/postgres/create_table.sql.njk': 'anything' }, 'create_state').overridden).toEqual([]);
  });

  test('sees values sealed, and places them as they are for each sync', () => {
    const odd = `main."odd {% name's"`;
    const second = sync('    key: order_id\n')
      .replace('syncs:\n', '')
      .replace('purchases', 'more')
      .replace('main.orders', `'${odd.replace("'", "''")}'`);
    const locked = JSON.parse(lock()) as { targets: { dev: { sources: Record<string, unknown> } } };
    locked.targets.dev.sources[odd] = locked.targets.dev.sources['main.orders'];
    const files = {
      'syncs/shop.yml': sync('    key: order_id\n') + second,
      'syncline.lock.json': JSON.stringify(locked),
      'templates/default/deliver_pages.sql.njk': extending(
        'deliver_pages',
        'where',
        '{{ super() }}  and {{ s.source_text }} is not null',
      ),
    };
    const { plan, diagnostics } = run(files);
    expect(diagnostics.map((d) => d.code)).toEqual(['template-not-locked']);
    const compiled = compiledFiles(plan!);
    expect(compiled['purchases/deliver_pages.sql']).toContain("and 'main.orders' is not null");
    expect(compiled['more/deliver_pages.sql']).toContain("and 'main.odd {% name''s' is not null");
  });
});

const table = (text: string): Files => ({ 'templates/default/create_table.sql.njk': text });
const AT = 'templates/default/create_table.sql.njk';
const GOOD = '{% extends "builtin:create_table" %}';
test.each([
  ['a syntax error', '\n{% if %}', `${AT}:2:7 template-invalid the template cannot be used: unexpected token: %}`],
  [
    'a name that does not exist',
    '\n  {{ s.tabel }}',
    `${AT}:2:8 template-invalid the template cannot be used: the template asks for s.tabel, which does not exist`,
  ],
  [
    'another root',
    '\n\n{{ table }}',
    `${AT}:3:1 template-invalid the template cannot be used: attempted to output null or undefined value`,
  ],
  [
    'an unknown filter',
    '{{ s.table | quote }}',
    `${AT}:1:1 template-invalid the template cannot be used: filter not found: quote`,
  ],
  [
    'two blocks of one name',
    '{% block a %}{% endblock %}{% block a %}{% endblock %}',
    `${AT}:1:1 template-invalid the template cannot be used: Block "a" defined more than once.`,
  ],
  [
    'another parent',
    '{% extends "builtin:state_read" %}',
    `${AT}:1:4 template-invalid the template cannot be used: it can extend only "builtin:create_table"`,
  ],
  [
    'itself as parent',
    '{% extends "create_table" %}',
    `${AT}:1:4 template-invalid the template cannot be used: it can extend only "builtin:create_table"`,
  ],
  [
    'a file of the project',
    '{% include "x" %}',
    `${AT}:1:4 template-invalid the template cannot be used: it can include only the package's templates, as "builtin:<name>"`,
  ],
  [
    'a name that is computed',
    '{% include "built" ~ "in:x" %}',
    `${AT}:1:4 template-invalid the template cannot be used: it can include only the package's templates, as "builtin:<name>"`,
  ],
  [
    'no such template',
    '{% include "builtin:zz" %}',
    `${AT}:1:1 template-invalid the template cannot be used: there is no template zz for duckdb`,
  ],
  [
    'macros of others',
    '{% import "builtin:fence" as f %}',
    `${AT}:1:4 template-invalid the template cannot be used: \`Import\` is not for templates of a project`,
  ],
  ['a way into JavaScript', '{{ "".constructor.constructor("return process")() }}', `${AT}:1:48 template-invalid`],
  [
    'a constructor',
    '{{ s.constructor }}',
    `${AT}:1:5 template-invalid the template cannot be used: it looks up what only running it would tell`,
  ],
  [
    'a computed name',
    '{{ s["con" ~ "structor"] }}',
    `${AT}:1:5 template-invalid the template cannot be used: it looks up what only running it would tell`,
  ],
  [
    'a call',
    '{{ s.table.toString() }}',
    `${AT}:1:20 template-invalid the template cannot be used: it can call only super, range and its own macros`,
  ],
  [
    'a value called as a macro',
    '{% macro m() %}{% endmacro %}{% set m = s.columns.map %}{{ m(1) }}',
    `${AT}:1:33 template-invalid the template cannot be used: \`m\` is two things`,
  ],
  [
    'a value called as a function',
    '{% for range in s.columns %}{{ range(1) }}{% endfor %}',
    `${AT}:1:4 template-invalid the template cannot be used: \`range\` is two things`,
  ],
  [
    'chance',
    '{{ [1, 2] | random }}',
    `${AT}:1:13 template-invalid the template cannot be used: \`random\` would give another text each time`,
  ],
  [
    'a value in upper case',
    'create table {{ s.table | upper }}',
    `${AT}:1:1 template-invalid the template cannot be used: a filter changes a value, and values are sealed: templates place them, no more`,
  ],
  [
    'a value cut in two',
    'create table {{ s.table | truncate(4, true, "") }}',
    `${AT}:1:1 template-invalid the template cannot be used: a filter changes a value, and values are sealed: templates place them, no more`,
  ],
  [
    'a control character',
    `${GOOD}\n\u0000hole:run\u0000`,
    `${AT}:2:1 control-character the template contains a control character`,
  ],
  [
    'a late value of another part of the run',
    `${GOOD}{% block options %} {{ s.v.batch }}{% endblock %}`,
    `${AT}:1:1 template-invalid`,
  ],
  [
    'a block that its parent does not have',
    `${GOOD}\n{% block option %} x{% endblock %}`,
    `${AT}:2:4 template-invalid the template cannot be used: builtin:create_table has no block \`option\`; it has `,
  ],
  [
    'no text',
    '',
    `${AT}:1:1 template-incomplete the template leaves out \`batch\`, which purchases/create_outbox.sql needs`,
  ],
  [
    'a column in a comment only',
    `create table {{ s.table }} ({% for c in s.columns %}{{ c.name if loop.first else "-- " ~ c.name }} {{ c.type }}\n{% endfor %})`,
    `${AT}:1:1 template-incomplete the template leaves out \`ordinal\`, which purchases/create_outbox.sql needs`,
  ],
])('%s is refused in one sentence', (_, text, problem) => {
  const found = errors(table(text));
  expect(found).toHaveLength(1);
  expect(found[0]!.slice(0, problem.length)).toBe(problem);
});

test('what may be called and included', () => {
  const text = `{% macro column(c) %}{{ c.name }} {{ c.type }}{% endmacro %}
create table {{ s.table }} (
{% for c in s.columns %}
  {{ column(c) }}{{ "" if loop.last else "," }}
{% endfor %}
) -- {% for i in range(3) %}{{ i }}{% endfor %}
`;
  expect(made(table(text), 'create_state').text).toContain('-- 012');
  expect(errors(table('{% include "builtin:create_table" %}'))).toEqual([]);
});

test.each([
  ['templates/default/changes_compare.sql.njk', 'changes as (select 1 as syncline_key)', 'syncline_checksum'],
  [
    'templates/default/changes_compare.sql.njk',
    extending('changes_compare', 'changes', 'select d.* from differing as d'),
    'syncline_old_insert_id',
  ],
  ['templates/default/changes_forward.sql.njk', 'changes as (select 1)', 'syncline_key'],
  ['templates/default/deliver_pages.sql.njk', "select batch, 'records' from {{ s.outbox }}", 'records'],
])('%s that gives %s is told what it lacks', (file, text, missing) => {
  expect(errors({ [file]: text })).toEqual([
    expect.stringContaining(`${file}:1:1 template-incomplete the template leaves out \`${missing}\``),
  ]);
});

test.each([
  ['templates/default/state_read.sql.njk', 'template-refused'],
  ['templates/default/check_twin_keys.sql.njk', 'template-refused'],
  ['templates/default/ledger_insert.sql.njk', 'template-refused'],
  ['templates/default/rejects_insert.sql.njk', 'template-refused'],
  ['templates/default/capture.sql.njk', 'template-refused'],
  ['templates/default/mine.sql.njk', 'template-unknown'],
  ['templates/create_table.sql.njk', 'template-unknown'],
  ['templates/mysql/create_table.sql.njk', 'template-unknown'],
  ['templates/default/create_table.njk', 'template-unknown'],
])('%s → %s', (file, code) => {
  expect(run({ [file]: 'x' }).diagnostics.map((d) => d.code)).toEqual([code]);
});

test('the lock knows the parents, and a parent that changed is told', () => {
  const files = {
    ...BASE,
    ...table(GOOD),
    'templates/snowflake/create_table.sql.njk': GOOD,
    'templates/default/x.sql.njk': '',
  };
  const digests = parentDigests(files, templates);
  expect(Object.keys(digests)).toEqual([AT, 'templates/snowflake/create_table.sql.njk']);
  expect(digests[AT]).toMatch(/^[0-9a-f]{64}$/);
  const parent = 'default/create_table.sql.njk';
  const changed = { ...templates, [parent]: `${templates[parent]!} ` };
  expect(parentDigests(files, changed)[AT]).not.toBe(digests[AT]);
  expect(digests['templates/snowflake/create_table.sql.njk']).toBe(
    createHash('sha256').update(templates[parent]!).digest('hex'),
  );
});

test('the SQL of rights is a project’s to change', async () => {
  const { plan, diagnostics } = await compileFiles(
    {
      ...onWarehouse('postgres', sync('    key: order_id\n'), ', grantee: sync, creator: dbt'),
      'templates/default/grant_sources.sql.njk':
        '{% extends "builtin:grant_sources" %}\n{% block grant %}\n{{ super() }}\nwith grant option\n{% endblock %}\n',
    },
    {},
  );
  expect(diagnostics.filter((d) => d.severity === 'error')).toEqual([]);
  expect(compiledFiles(plan!)['shared/grant_sources.sql']).toMatch(
    /^grant select on table "main"."orders" to "sync"\s+with grant option\s*$/,
  );
});

const BLOCK = /\{% block (\w+)/g;
const isRight = (name: string): boolean => name.includes('grant');
const textOf = (folder: string, name: string): string | undefined => templates[`${folder}/${name}.sql.njk`];

// Those that warehouses share are run where they are short: on DuckDB, and on PostgreSQL those of rights.
describe.each([
  ['duckdb', '', PUBLIC.filter((name) => !isRight(name))],
  ['postgres', ', grantee: sync, creator: dbt', PUBLIC.filter((name) => isRight(name) || textOf('postgres', name))],
  ['redshift', ', grantee: "role:sync", creator: dbt', PUBLIC.filter((name) => textOf('redshift', name))],
  [
    'bigquery',
    ', grantee: "serviceAccount:sync@acme.iam.gserviceaccount.com"',
    PUBLIC.filter((name) => textOf('bigquery', name)),
  ],
] as const)('on %s each open template', (warehouse, grantee, names) => {
  const MARK = '-- ours';
  const syncs =
    sync('    key: order_id\n') +
    sync('    insert_time: loaded_at\n')
      .replace('syncs:\n', '')
      .replace('purchases', 'added')
      .replace('mode: mirror', 'mode: append');
  async function compiled(scope: string, more: Files): Promise<Readonly<Record<string, string>>> {
    const settings = grantee === '' ? '' : `${grantee}, grant_scope: ${scope}`;
    const files =
      warehouse === 'duckdb' ? { ...BASE, 'syncs/shop.yml': syncs } : onWarehouse(warehouse, syncs, settings);
    const { plan, diagnostics } = await compileFiles({ ...files, ...more }, {});
    expect(diagnostics.filter((d) => d.severity === 'error')).toEqual([]);
    return compiledFiles(plan!);
  }
  const words = (text: string): string => text.replaceAll(MARK, '').replaceAll(/\s+/g, ' ').trim();

  test.each(names)('%s is extended block by block, and replaced', async (name) => {
    const parent = (textOf(warehouse, name) ?? textOf('default', name))!;
    const scope = name === 'grant_schemas' ? 'schema' : 'table';
    const before = await compiled(scope, {});
    const blocks = [...parent.matchAll(BLOCK)].map((m) => m[1]!);
    expect(blocks.length).toBeGreaterThan(0);
    const extended = blocks.map((block) => extending(name, block, `{{ super() }}\n${MARK}`));
    const texts = [...extended, `${MARK}\n${parent}`];
    for (const text of texts) {
      const after = await compiled(scope, { [`templates/${warehouse}/${name}.sql.njk`]: text });
      const changed = Object.keys(after).filter((file) => file !== 'plan.json' && after[file] !== before[file]);
      expect([text, changed]).not.toEqual([text, []]);
      for (const file of changed) {
        expect(after[file]).toContain(MARK);
        expect(words(after[file]!)).toBe(words(before[file]!));
      }
    }
  });
});

test('templates/README.md lists the public blocks', () => {
  const text = readFileSync(path.join(root, 'templates/README.md'), 'utf8');
  const listed = [...text.matchAll(/^\| `(\w+)` \| (.*?) \|/gm)].map((m) => [
    m[1]!,
    [...m[2]!.matchAll(/`(\w+)`/g)].map((b) => b[1]!),
  ]);
  const there = PUBLIC.map((name) => [
    name,
    [
      ...(templates[`default/${name}.sql.njk`] ?? templates[`postgres/${name}.sql.njk`]!).matchAll(/\{% block (\w+)/g),
    ].map((m) => m[1]!),
  ]);
  expect(listed).toEqual(there);
});
