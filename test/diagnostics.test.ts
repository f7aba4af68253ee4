import { expect, test } from 'vitest';
import { diagnostic, formatText } from '../compiler/diagnostics.ts';
import { canonicalRelation, diffLock, parseLock, writeLock } from '../compiler/lock.ts';
import { loadProject } from '../compiler/project/load.ts';
import { parseRelation, renderConnection } from '../compiler/project/resolve.ts';
import { select } from '../compiler/project/select.ts';

type Files = Readonly<Record<string, string>>;
const COLUMNS = [
  { name: 'Order_ID', type: 'INTEGER' },
  { name: 'ordered_at', type: 'TIMESTAMP' },
];
const PROJECT = `name: shop
default_target: dev
vars: { mode: mirror, budget: 5 }
targets:
  dev: { warehouse: { type: duckdb, path: w.duckdb }, mixpanel: sandbox }
`;
const target = (mixpanel: string): string => PROJECT.replace('mixpanel: sandbox', `mixpanel: ${mixpanel}`);
const entry = (name: string, more = ''): string => `  - name: ${name}
    kind: events
    mode: mirror
    source: { relation: main.orders }
    event: Bought
    time: ordered_at
    key: order_id
${more}`;
const LOCK = writeLock({ lockVersion: 1, targets: { dev: { sources: { 'main.orders': { columns: COLUMNS } } } } });
const files = (syncs: string, project = PROJECT): Files => ({
  'syncline.yml': project,
  'syncs/shop.yml': `syncs:\n${syncs}`,
  'syncline.lock.json': LOCK,
});
const load = (input: Files, options: { vars?: Record<string, string> } = {}) =>
  loadProject(input, { needLock: true, ...options });
const found = (input: Files): string[] =>
  load(input).diagnostics.map((d) => `${d.span?.start.line}:${d.span?.start.col} ${d.code}: ${d.message}`);

test('control characters are shown, not sent', () =>
  expect(diagnostic('bad-relation', { relation: 'a\u001b[2J' }).message).toBe('cannot read the relation a\\x1b[2J'));

test('a line below targets is named by its place only: it may hold a password', () => {
  const shown = (project: string, syncs = ''): string => {
    const input = files(entry('a', syncs), project);
    return load(input)
      .diagnostics.map((d) => formatText(d, input))
      .join('\n');
  };
  const dev = PROJECT.slice(PROJECT.indexOf('targets:'));
  const wrong = dev.replace('path: w.duckdb', 'path: w.duckdb, pasword: hunter2');
  for (const project of [PROJECT.replace(dev, wrong), PROJECT.replace(dev, wrong.replace('targets', '"targets"'))])
    expect(shown(project)).toMatch(/^syncline.yml:5:\d+: error\[unknown-key\]: unknown key `pasword`$/);
  expect(shown(`${PROJECT}vors: { a: b }\n`)).toContain('  6 | vors: { a: b }');
  expect(shown(PROJECT, '    kye: x\n')).toContain('  9 |     kye: x');
});

test('host and database are names: a connection string, with its password, would be shown by each error', () => {
  const to = (host: string, dbname = 'd'): string =>
    PROJECT.replace(
      '{ type: duckdb, path: w.duckdb }',
      `{ type: postgres, host: "${host}", dbname: "${dbname}", user: u }`,
    );
  const codes = (project: string): string[] =>
    found(files(entry('a'), project)).filter((d) => d.includes('wrong-value'));
  for (const host of ['postgres://u:hunter2@db/x', 'u:hunter2@db'])
    expect(codes(to(host))).toEqual([expect.stringMatching(/wrong-value: `host` must be the name of a server alone/)]);
  expect(codes(to('db', 'postgres://u:hunter2@db/x'))).toEqual([expect.stringContaining('`dbname` must be the name')]);
  for (const host of ['db.example.com', '/var/run/postgresql', '::1']) expect(codes(to(host, 'a@b'))).toEqual([]);
  // Where only the environment says it, too.
  const { project } = load(files(entry('a'), to("{{ env_var('H') }}")));
  const { diagnostics } = renderConnection(project!.target, { H: 'postgres://u:hunter2@db/x' });
  expect(diagnostics.map((d) => d.code)).toEqual(['wrong-value']);
});

test('a key that stands twice is named', () => {
  const twice = entry('a', '    decisions: { a123456: resend }\n    decisions: { b123456: forward }\n');
  expect(found(files(twice))).toEqual(['10:5 yaml-syntax: the key `decisions` stands here twice']);
});

test('var stands for a word and for a number; columns take the spelling of the lock', () => {
  const text = entry('a', `    guard: { max_changes: "{{ var('budget') }}" }\n`).replace(
    'mirror',
    `"{{ var('mode') }}"`,
  );
  const { project, diagnostics } = load(files(text), { vars: { budget: '7' } });
  expect(diagnostics).toEqual([]);
  expect(project!.syncs[0]).toMatchObject({ mode: 'mirror', key: ['Order_ID'], guard: { maxChanges: 7 } });
});

test.each([
  ['key: order_id', 'key: [order_id, nope]', '8:21 column-not-found: main.orders has no column `nope`'],
  ['key: order_id', 'key: [order_id, 1]', '8:21 wrong-value: `key` must be text'],
  ['mode: mirror', 'mode: full', '4:11 mode-unavailable: kind events has no mode full'],
  ['{ relation: main.orders }', 'main.orders', '5:13 wrong-value: `source` must be { relation: db.schema.table }'],
  ['event: Bought', 'event: { colum: x }', '6:14 unknown-key: unknown key `colum`'],
])('%s → %s', (from, to, expected) => expect(found(files(entry('a').replace(from, to)))).toContain(expected));

test('a connection is rendered with the environment, and judged then', () => {
  const text = target(`{ region: "{{ env_var('R', 'eu') }}", retry: { attempts: "{{ env_var('N') }}", max: 2m } }`);
  const { project, diagnostics } = load(files(entry('a'), text));
  expect(diagnostics).toEqual([]);
  const render = (env: Record<string, string>) => renderConnection(project!.target, env);
  expect(render({ N: '3' })).toMatchObject({
    diagnostics: [],
    value: { leaseTtlMs: 60_000, mixpanel: { region: 'eu', retry: { initialMs: 2000, maxMs: 120_000, attempts: 3 } } },
  });
  expect(render({}).diagnostics).toMatchObject([
    { code: 'env-var-unset', span: { file: 'syncline.yml', start: { line: 5, col: 122 } } },
  ]);
  expect(load(files(entry('a'), target('sandbx'))).diagnostics).toMatchObject([
    { message: '`mixpanel` must be sandbox or a map', hint: 'did you mean `sandbox`?', span: { start: { line: 5 } } },
  ]);
  expect(render({ N: '3', R: 'mars' }).diagnostics.map((d) => d.message)).toEqual(['`region` must be us or eu or in']);
});

test('a hostile name is refused once, by its place and for its own reason', () => {
  const staging = (name: string): Files => files(entry('a'), PROJECT.replace('w.duckdb', `w.duckdb, staging: ${name}`));
  const problem = 'cannot read the expression {{ x }}';
  expect(found(staging('"{{ x }}"'))).toEqual([`5:62 expression-invalid: ${problem}`]);
  expect(found(staging(`"{{ var('nope') }}"`))).toEqual(['5:62 var-unset: variable `nope` has no value']);
  const here = 'env_var is allowed only under `targets:`, not in';
  // Each of two places is told.
  expect(
    found(
      files(
        entry('a'),
        PROJECT.replace('w.duckdb', `w.duckdb, staging: "{{ env_var('X') }}"`).replace(
          'sandbox',
          `sandbox, protected: "{{ env_var('Y') }}"`,
        ),
      ),
    ),
  ).toEqual([`5:62 env-var-here: ${here} warehouse.staging`, `5:116 env-var-here: ${here} protected`]);
  expect(found(staging('"a\\nb"'))).toEqual(['5:62 control-character: staging contains a control character']);
  const sync = (from: string, to: string): string[] => found(files(entry('a').replace(from, to)));
  expect(sync('main.orders', `'main."{{ x }}"'`)).toEqual([`5:25 expression-invalid: ${problem}`]);
  expect(sync('main.orders', String.raw`"main.\"a\nb\""`)).toEqual([
    '5:25 control-character: relation contains a control character',
  ]);
  expect(sync('Bought', '"{{ x }}"')).toEqual([`6:12 expression-invalid: ${problem}`]);
  expect(sync('Bought', String.raw`"a\nb"`)).toEqual(['6:12 control-character: event contains a control character']);
  for (const [where, says] of [
    ["a = '{{ x }}'", `expression-invalid: ${problem}`],
    ['a = 1; drop table b', 'where-invalid: `where` contains a semicolon'],
    ['a = 1 --', 'where-invalid: `where` contains a comment'],
    ["a = 'b", "where-invalid: `where` has a ' without its end"],
    ['a = "b', 'where-invalid: `where` has a " without its end'],
    ['a = \\', 'where-invalid: `where` contains \\, which reads differently in each warehouse'],
    ['a = ${x}', 'where-invalid: `where` contains $, which reads differently in each warehouse'],
    ['a = 1) or (true', 'where-invalid: `where` closes a parenthesis that it did not open'],
    ['a = \u0001', 'control-character: where contains a control character'],
  ] as const)
    expect(found(files(entry('a', `    where: ${JSON.stringify(where)}\n`)))).toEqual([`9:12 ${says}`]);
});

test.each(['', '[]', 'targets: 3', 'name: a\ntargets: { dev: 3 }', 'a: &a [*a]'])('never thrown: %s', (text) =>
  expect(load(files(entry('a'), text)).diagnostics.length).toBeGreaterThan(0),
);

const PROFILES = `shop:
  target: dev
  outputs:
    dev: { type: postgres, host: h, user: "{{ env_var('NOBODY_HAS_THIS') }}", dbname: d }
    pg:
      type: postgres
      threads: 4
      host: db.example.com
      port: "{{ env_var('PORT') | as_number }}"
      user: sync
      pass: "{{ env_var('SECRET') }}"
      database: analytics
      search_path: main
      keepalives: 1
    rs: { type: redshift, method: iam, cluster_id: c, host: r, user: u, dbname: d, region: eu-west-1, ra3_node: true }
    raw: { type: redshift, host: r, user: u, dbname: d, password: "a{{b" }
    file: { type: duckdb, path: shop.duckdb, schema: main }
    key: { type: bigquery, method: service-account, keyfile: k.json, project: acme, dataset: d, threads: 4, priority: interactive }
    adc: { type: bigquery, method: oauth, database: acme, schema: d, impersonate_service_account: a@b, timeout_seconds: 300, scopes: [x] }
    json: { type: bigquery, method: service-account-json, project: acme, keyfile_json: { type: service_account, private_key: "{{ env_var('SECRET') }}" } }
    token: { type: bigquery, method: oauth-secrets, project: acme, token: "{{ env_var('SECRET') }}" }
    wif: { type: bigquery, method: external-oauth-wif, project: acme, workload_pool_provider_path: p }
    billed: { type: bigquery, project: acme, execution_project: other }
`;

test('a profile of dbt gives the connection, in memory only', () => {
  const connect = (type: string, output: string | undefined, more = '', profiles = PROFILES) => {
    const of = `{ type: ${type}, dbt_profile: shop${output === undefined ? '' : `, dbt_target: ${output}`}${more} }`;
    const project = PROJECT.replace('{ type: duckdb, path: w.duckdb }', of);
    const loaded = loadProject(files(entry('a'), project), { needLock: false });
    expect(loaded.diagnostics).toEqual([]);
    const env = { SECRET: 's3cret', PORT: '6543' };
    const given = { file: 'profiles.yml', text: profiles };
    const { value, diagnostics } = renderConnection(loaded.project!.target, env, given);
    const settings = Object.entries(value.warehouse).filter(([key]) => !/^(dbt_.*|type)$/.test(key));
    return diagnostics.length > 0 ? diagnostics.map((d) => d.message).join('; ') : Object.fromEntries(settings);
  };
  const secret = 's3cret';
  const pg = { host: 'db.example.com', port: 6543, user: 'sync', password: secret, dbname: 'analytics' };
  expect(connect('postgres', 'pg', ', staging: mine')).toEqual({
    ...pg,
    search_path: 'main',
    threads: 4,
    staging: 'mine',
  });
  // What the target says itself wins.
  expect(connect('postgres', 'pg', ', user: reader')).toMatchObject({ ...pg, user: 'reader' });
  expect(connect('redshift', 'rs')).toMatchObject({ method: 'iam', cluster_id: 'c', region: 'eu-west-1' });
  expect(connect('redshift', 'raw')).toMatchObject({ password: 'a{{b' });
  expect(connect('duckdb', 'file')).toEqual({ path: 'shop.duckdb' });
  expect(connect('bigquery', 'key')).toMatchObject({ method: 'service-account', keyfile: 'k.json', project: 'acme' });
  expect(connect('bigquery', 'adc')).toMatchObject({
    project: 'acme',
    dataset: 'd',
    impersonate_service_account: 'a@b',
    job_execution_timeout_seconds: 300,
  });
  expect(connect('bigquery', 'json')).toMatchObject({ keyfile_json: { private_key: secret } });
  expect(connect('bigquery', 'token')).toMatchObject({ method: 'oauth-secrets', token: secret });
  expect(connect('bigquery', 'wif')).toContain('`method` must be oauth or service-account or');
  expect(connect('bigquery', 'billed')).toContain('`execution_project` of shop.billed in profiles.yml is not followed');
  expect(connect('duckdb', 'pg')).toBe(
    'the target says `type: duckdb`, and shop.pg of profiles.yml is of type postgres',
  );
  // Its own target is the one that is rendered, and no other.
  expect(connect('postgres', undefined)).toBe('environment variable NOBODY_HAS_THIS is not set (used by user)');
  expect(connect('postgres', 'prod')).toBe('the profile shop of profiles.yml has no target prod');
  expect(connect('postgres', 'pg', '', 'other: {}')).toContain('profiles.yml has no profile shop');
  expect(connect('postgres', 'pg', '', 'shop: [')).not.toBe('');
});

test('the lock: shape, differences, names', () => {
  expect(parseLock('{"lockVersion":2,"targets":{}}').diagnostics).toMatchObject([
    {
      message: 'syncline.lock.json: it was written by a newer syncline (lockVersion 2)',
      hint: 'upgrade syncline',
    },
  ]);
  expect(parseLock('{"lockVersion":1,"targets":{"a":{}}}').diagnostics.map((d) => d.code)).toEqual(['lock-invalid']);
  const change = LOCK.replace('"TIMESTAMP"', '"DATE"');
  expect(diffLock(parseLock(LOCK).lock, parseLock(change).lock)).toEqual([
    { target: 'dev', source: 'main.orders', column: 'ordered_at', before: 'TIMESTAMP', after: 'DATE' },
  ]);
  const described = (about: string): string => LOCK.replace('"columns"', `${about}"columns"`);
  const [table, view] = ['"type":"BASE TABLE","partitioning":"DATE(t)",', '"type":"VIEW",'].map(described);
  expect(diffLock(parseLock(table).lock, parseLock(view).lock)).toEqual([
    { target: 'dev', source: 'main.orders', column: null, before: 'BASE TABLE partitioned by DATE(t)', after: 'VIEW' },
  ]);
  expect(parseLock(described('"type":1,')).diagnostics.map((d) => d.code)).toEqual(['lock-invalid']);
  expect(canonicalRelation(parseRelation('"a.b".c')!)).toBe('"a.b".c');
});

test.each([
  [['shop_*,tag:nightly'], [], 'shop_b'],
  [['shop_* log'], ['shop_b'], 'shop_a log'],
  [['path:./syncs/shop.yml'], ['log'], 'shop_a shop_b'],
  [['path:', ','], [], ''],
])('select %j, exclude %j → %s', (chosen, exclude, expected) => {
  const { project } = load(files(entry('shop_a') + entry('shop_b', '    tags: [nightly]\n') + entry('log')));
  expect(
    select(project!.syncs, { select: chosen, exclude })
      .map((s) => s.name)
      .join(' '),
  ).toBe(expected);
});
