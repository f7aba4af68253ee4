import { DuckDBInstance } from '@duckdb/node-api';
import { describe, expect, test } from 'vitest';
import { compiledFiles } from '../../compiler/plan.ts';
import type { Lock, Statement } from '../../schemas/types.ts';
import { CASES } from './cases.ts';
import { COLUMNS, compileFiles, lock, PROJECT } from './project.ts';
import type { OtherWarehouse } from './warehouses.ts';
import { onWarehouse, WAREHOUSES } from './warehouses.ts';

/** The keyed mirror: the case that the others are read beside. */
async function base(): Promise<Readonly<Record<string, string>>> {
  const files = { 'syncline.yml': PROJECT, 'syncs/shop.yml': CASES['mirror-keyed'], 'syncline.lock.json': lock() };
  return compiledFiles((await compileFiles(files)).plan!);
}

/** Statements that put together what others show. */
const PARTS = /\/(capture_forward|preview_\w+|rename_preview\w*|destroy|show)\.sql$/;

/** What is made before it is read, and what is dropped or renamed after. */
const rank = (file: string): number =>
  /create_schema/.test(file)
    ? 0
    : /create_|state_insert/.test(file)
      ? 1
      : /drop_|rename_(?!exists|preview|read)/.test(file)
        ? 3
        : 2;

/** A statement with a value for each that is late: texts are such that a column of any type takes them. */
function runnable({ sql, binds }: Statement): string {
  const text = sql.map((part) => (typeof part === 'string' ? part : part.type === 'integer' ? '7' : `'x'`)).join('');
  return binds.reduce(
    (so, { name, type }) =>
      so.replaceAll(new RegExp(`\\$${name}\\b`, 'g'), GIVEN[name] ?? (type === 'integer' ? '7' : TEXT)),
    text,
  );
}

const TEXT = `'2024-01-01'`;
const GIVEN: Readonly<Record<string, string>> = {
  watermark_to: `'2024-02-01'`,
  content: `'other'`,
  backfill: '0',
  done: '0',
};
/** How many records three rows give, where it is not one each: closings and profiles of versions; what each profile lacks. */
const CAPTURED: Readonly<Record<string, number>> = {
  'history-mirror': 9,
  'history-groups-append': 6,
  'profiles-full': 6,
};

const ROWS = `insert into orders select i, '2024-01-01', 'u' || i, 1.5, 0.5, true, '2024-01-02', '2024-01-03', ['a'], '{"a": 1}', 'x', 'd', '"n"' from range(3) as t(i)`;

/** Runs statements in a database of their own. */
async function onDuckDB(story: (run: (sql: string) => Promise<Record<string, unknown>[]>) => Promise<void>) {
  const instance = await DuckDBInstance.create(':memory:', { threads: '1' });
  const connection = await instance.connect();
  try {
    await story(async (sql) => (await connection.runAndReadAll(sql)).getRowObjectsJson());
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

const sections = (texts: Readonly<Record<string, string>>): string =>
  Object.entries(texts)
    .map(([name, text]) => `-- ${name}\n${text}`)
    .join('\n');

describe('compiled SQL', () => {
  for (const [name, text] of Object.entries(CASES)) {
    test(name, async () => {
      const target = name.startsWith('direct') ? PROJECT.replace('duckdb }', 'duckdb, staging: none }') : PROJECT;
      const files = { 'syncline.yml': target, 'syncs/shop.yml': text, 'syncline.lock.json': lock() };
      const { plan, diagnostics } = await compileFiles(files);
      expect(diagnostics.filter((d) => d.severity === 'error')).toEqual([]);
      const compiled = compiledFiles(plan!);
      const known = await base();
      // What reads as in the keyed mirror is named only, so that a case shows what is its own.
      const statements = Object.keys(plan!.statements).map((file) =>
        name !== 'mirror-keyed' && known[file] === compiled[file]
          ? `-- ${file}: as in mirror-keyed\n`
          : name !== 'mirror-keyed' && PARTS.test(file)
            ? `-- ${file}: made of the parts of capture\n`
            : `-- ${file}\n${compiled[file] ?? ''}`,
      );
      await expect(statements.join('\n')).toMatchFileSnapshot(`expected/${name}.duckdb.sql`);
    });
  }

  // What syncs have in common is made once, and templates are rendered once for contexts that are alike.
  test('of each sync is the same whatever other syncs there are, in any order', async () => {
    const staged = Object.entries(CASES).filter(([name]) => !name.startsWith('direct'));
    const syncs = staged.map(([name, text]) => [name, text.replace(/name: \w+/, `name: ${name.replaceAll('-', '_')}`)]);
    const compiled = async (some: readonly (readonly string[])[]) => {
      const files = some.map(([, text], i) => [`syncs/${String(i).padStart(2, '0')}.yml`, text ?? ''] as const);
      const { plan, diagnostics } = await compileFiles({
        ...{ 'syncline.yml': PROJECT, 'syncline.lock.json': lock() },
        ...Object.fromEntries(files),
      });
      expect(diagnostics.filter((d) => d.severity === 'error')).toEqual([]);
      const own = Object.entries(compiledFiles(plan!)).filter(([file]) => !/^(shared\/|plan\.json)/.test(file));
      return { sql: Object.fromEntries(own), hash: plan!.hash };
    };
    const alone = await Promise.all(syncs.map((one) => compiled([one])));
    const each = Object.fromEntries(alone.flatMap((a) => Object.entries(a.sql)));
    const [together, reversed] = [await compiled(syncs), await compiled(syncs.toReversed())];
    expect(together.sql).toEqual(each);
    expect(reversed.sql).toEqual(each);
    // Each has a plan of its own name, which is that of what is compiled.
    const hashes = [...alone, together].map((a) => a.hash);
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  test('a plan has another name when only the values of its statements differ', async () => {
    const files = { 'syncline.yml': PROJECT, 'syncs/shop.yml': CASES['mirror-keyed'], 'syncline.lock.json': lock() };
    const hashOf = async (options = {}) => (await compileFiles(files, options)).plan!.hash;
    expect(await hashOf()).toBe(await hashOf());
    expect(await hashOf({ limits: { records: 7, bytes: 1000 } })).not.toBe(await hashOf());
  });

  test.each(Object.entries(CASES))('%s runs on DuckDB', async (name, text) => {
    const target = name.startsWith('direct') ? PROJECT.replace('duckdb }', 'duckdb, staging: none }') : PROJECT;
    const { plan } = await compileFiles({
      'syncline.yml': target,
      'syncs/shop.yml': text,
      'syncline.lock.json': lock(),
    });
    await onDuckDB(async (run) => {
      await run(`create table orders (${COLUMNS.map(([column, type]) => `${column} ${type}`).join(', ')})`);
      await run(ROWS);
      for (const statement of plan!.session) await run(statement);
      const errors: string[] = [];
      const { name: sync } = [...plan!.syncs, ...plan!.direct][0]!;
      let captured: Record<string, unknown>[] | undefined;
      const files = Object.keys(plan!.statements).sort((a, b) => rank(a) - rank(b));
      for (const file of files) {
        const of = runnable(plan!.statements[file]!);
        // A rename's tables are made under the name that they had.
        if (name === 'mirror-renamed' && rank(file) === 1) await run(of.replaceAll('purchases__', 'orders_paid__'));
        // What is written is fenced: the state is that of the run which the values name.
        if (rank(file) === 2 && captured === undefined && plan!.syncs.length > 0)
          await run(`update mixpanel.${sync}__state set version = 7, run = 7, holder = ${TEXT}`);
        await run(of).catch((error: unknown) => void errors.push(`${file}: ${String(error)}`));
        captured ??= [];
        if (/\/capture\.sql$/.test(file))
          captured = await run(`select count(*)::int as n from mixpanel.${sync}__outbox_7`);
      }
      expect(errors).toEqual([]);
      expect(captured).toEqual(plan!.syncs.length > 0 ? [{ n: CAPTURED[name] ?? 3 }] : []);
    });
  });

  const others = (Object.keys(WAREHOUSES) as OtherWarehouse[]).flatMap((kind) =>
    (['mirror-keyed', 'profiles-mirror', 'lookup', ...(kind === 'bigquery' ? (['append'] as const) : [])] as const).map(
      (name) => [name, kind] as const,
    ),
  );
  test.each(others)('%s on %s', async (name, kind) => {
    const of = async (files: Readonly<Record<string, string>>, options = {}) =>
      compiledFiles((await compileFiles(files, options)).plan!);
    const files = onWarehouse(kind, CASES[name]);
    const [real, neutral, keyed] = [
      await of(files),
      await of(files, { dialect: WAREHOUSES[kind].neutral }),
      await of(onWarehouse(kind, CASES['mirror-keyed'])),
    ];
    const duck = await of({
      'syncline.yml': PROJECT,
      'syncs/shop.yml': CASES[name],
      'syncline.lock.json': lock(),
    });
    const said = (file: string): string => {
      if (name !== 'mirror-keyed' && real[file] === keyed[file]) return `-- ${file}: as in mirror-keyed\n`;
      if (neutral[file] === duck[file]) return `-- ${file}: as on DuckDB, but for binds, types and the clock\n`;
      if (PARTS.test(file)) return `-- ${file}: made of the parts of capture\n`;
      return `-- ${file}\n${real[file] ?? ''}`;
    };
    const statements = Object.keys(real).filter((file) => file.endsWith('.sql'));
    await expect(statements.map(said).join('\n')).toMatchFileSnapshot(`expected/${name}.${kind}.sql`);
  });

  test.each([
    ['BASE TABLE', 'table'],
    ['CLONE', 'table'],
    ['VIEW', 'view'],
    ['MATERIALIZED VIEW', 'view'],
    ['EXTERNAL', 'external table'],
    [undefined, 'table'],
  ])('on BigQuery the right to read a %s is one on a %s', async (type, word) => {
    const files = onWarehouse('bigquery', CASES['mirror-keyed'], ', grantee: "user:a@example.com"');
    const written = JSON.parse(files['syncline.lock.json'] ?? '') as Lock;
    const source = written.targets['dev']?.sources['main.orders'];
    Object.assign(source ?? {}, type === undefined ? {} : { type });
    const { plan } = await compileFiles({ ...files, 'syncline.lock.json': JSON.stringify(written) });
    const text = compiledFiles(plan!)['shared/grant_sources.sql'];
    expect(text?.includes('-- a view: ')).toBe(word === 'view');
    expect(text).toContain(`grant \`roles/bigquery.dataViewer\` on ${word} \`main.orders\` to 'user:a@example.com'`);
  });

  test.each(['table', 'schema'])('on BigQuery the right to run jobs is given last, scope %s', async (scope) => {
    const rights = `, grantee: "user:a@example.com", grant_scope: ${scope}`;
    const files = onWarehouse('bigquery', CASES['mirror-keyed'], rights);
    const { plan } = await compileFiles(files);
    expect(compiledFiles(plan!)[plan!.jobs]).toContain(
      [
        "-- gcloud projects add-iam-policy-binding 'acme' --member='user:a@example.com' --role=roles/bigquery.jobUser",
        "grant `roles/bigquery.jobUser` on project `acme` to 'user:a@example.com'\n",
      ].join('\n'),
    );
    // Only the environment says which project it is: a person has to.
    const hidden = files['syncline.yml']?.replace('project: acme', `project: "{{ env_var('P') }}"`) ?? '';
    const other = (await compileFiles({ ...files, 'syncline.yml': hidden })).plan!;
    const sources = `shared/grant_${scope === 'table' ? 'sources' : 'schemas'}.sql`;
    expect([other.jobs, compiledFiles(other)[sources]]).toEqual(['', expect.stringContaining('-binding PROJECT --')]);
    expect(compiledFiles(plan!)[sources]).not.toContain('PROJECT');
  });

  test('snapshots on bigquery, with a key and without: what reads otherwise than with checksums', async () => {
    const of = async (name: 'mirror-keyed' | 'mirror-unkeyed'): Promise<(statement: string) => string> => {
      const syncs = CASES[name].replace('mode: mirror', 'mode: mirror\n    strategy: snapshot');
      const files = { ...onWarehouse('bigquery', CASES[name]), 'syncs/shop.yml': syncs };
      const compiled = compiledFiles((await compileFiles(files)).plan!);
      return (statement) => compiled[`purchases/${statement}.sql`] ?? '';
    };
    const [keyed, unkeyed] = [await of('mirror-keyed'), await of('mirror-unkeyed')];
    // What follows the changes is as with checksums, and long.
    const changes = (text: string): string =>
      text
        .slice(0, text.indexOf('\nselect * from changes'))
        .replaceAll(/to_hex\(md5\(.*(?= as (?:syncline_checksum|insert_id))/g, '…');
    const parts = Object.fromEntries(
      [
        'probe_snapshot',
        'create_snapshot',
        'ledger_exceptions',
        'check_max_deletes',
        'prolong_snapshot',
        'drop_snapshot',
      ]
        .map((statement) => [statement, keyed(statement)])
        .concat([
          ['capture, changes', changes(keyed('capture'))],
          ['capture_forward, changes', changes(keyed('capture_forward'))],
          ['capture without a key, changes', changes(unkeyed('capture'))],
        ]),
    ) as Record<string, string>;
    await expect(sections(parts)).toMatchFileSnapshot('expected/snapshot.bigquery.sql');
  });

  test('partitions on bigquery: what says which are read, and what is read of them', async () => {
    const files = onWarehouse(
      'bigquery',
      CASES['mirror-keyed'].replace('mode: mirror', 'mode: mirror\n    strategy: snapshot'),
    );
    const written = JSON.parse(files['syncline.lock.json'] ?? '') as Lock;
    Object.assign(written.targets['dev']?.sources['main.orders'] ?? {}, {
      type: 'BASE TABLE',
      partitioning: 'TIMESTAMP_TRUNC(loaded_at, DAY)',
    });
    const { plan } = await compileFiles({ ...files, 'syncline.lock.json': JSON.stringify(written) });
    const compiled = compiledFiles(plan!);
    const of = (statement: string): string => compiled[`purchases/${statement}.sql`] ?? '';
    const reads = (text: string): string =>
      [...text.matchAll(/from \((?:select).*? from .*/g)]
        .map(([line]) => line.replace(/select .*? from/, 'select … from'))
        .join('\n');
    expect(plan!.syncs[0]?.capture.fill.map(({ run, unless }) => ({ run, unless }))).toEqual([
      { run: ['create_outbox', 'create_partitions', 'create_snapshot'].map((s) => `purchases/${s}.sql`) },
      { run: ['purchases/changed_partitions.sql'], unless: 'purchases/no_partitions.sql' },
      { run: ['purchases/capture.sql'] },
    ]);
    const parts = {
      create_partitions: of('create_partitions'),
      no_partitions: of('no_partitions'),
      changed_partitions: of('changed_partitions'),
      'capture, what is read': reads(of('capture').split('\nselect * from changes')[0] ?? ''),
      'check_twin_keys, what is read': reads(of('check_twin_keys')),
      explain: of('explain').replace(/select `.*` from/, 'select … from'),
      'show, what is read': reads(of('show')),
    };
    await expect(sections(parts)).toMatchFileSnapshot('expected/partitions.bigquery.sql');
  });

  test.each([
    ['mirror-keyed', 'strategy: snapshot'],
    ['mirror-unkeyed', 'strategy: snapshot'],
    ['mirror-keyed', 'strategy: checksum'],
    ['append-late-window', ''],
    ['profiles-full', ''],
  ] as const)(
    '%s on bigquery, %s: a table that asks for a filter on its partitions gets one wherever it is read',
    async (name, strategy) => {
      const syncs = CASES[name].replace('mode: mirror', `mode: mirror\n    ${strategy}`);
      const files = onWarehouse('bigquery', syncs);
      const written = JSON.parse(files['syncline.lock.json'] ?? '') as Lock;
      Object.assign(written.targets['dev']?.sources['main.orders'] ?? {}, {
        type: 'BASE TABLE',
        partitioning: 'TIMESTAMP_TRUNC(loaded_at, DAY)',
      });
      const { plan, diagnostics } = await compileFiles({ ...files, 'syncline.lock.json': JSON.stringify(written) });
      if (!plan) throw new Error(JSON.stringify(diagnostics));
      const bare: string[] = [];
      let read = 0;
      for (const [file, text] of Object.entries(compiledFiles(plan)))
        for (const [line] of text.matchAll(
          /^.*from `(?:main\.orders|mixpanel\.[^`]*snapshot_[^`]*(?<!_partitions))`.*$/gm,
        )) {
          read++;
          if (!/ where .*`loaded_at`/.test(line)) bare.push(`${file}: ${line.trim()}`);
        }
      expect(bare).toEqual([]);
      expect(read).toBeGreaterThan(3);
    },
  );

  test('a sync that no file declares any more is dropped on bigquery with its snapshots, whatever it was', async () => {
    const files = onWarehouse('bigquery', CASES['mirror-keyed']);
    const { plan, diagnostics } = await compileFiles(files, { destroyed: 'gone' });
    expect(diagnostics.filter((d) => d.severity === 'error')).toEqual([]);
    expect(plan!.syncs.map((s) => [s.name, s.snapshot?.drop])).toEqual([['gone', 'gone/drop_snapshot.sql']]);
  });

  test('the staging dataset on bigquery is made where the sources are, which the target says', async () => {
    const of = async (location: string): Promise<string | undefined> => {
      const { plan } = await compileFiles(onWarehouse('bigquery', CASES['mirror-keyed'], location));
      return compiledFiles(plan!)['shared/create_schema.sql'];
    };
    expect(await of(', location: EU')).toBe(
      [
        '-- where the sources are; nothing in it expires by itself',
        'create schema if not exists `mixpanel`',
        "options (location = 'EU', description = 'State and ledgers of syncline. What is deleted here is sent to Mixpanel again.', max_time_travel_hours = 48)\n",
      ].join('\n'),
    );
    // Only the environment says it: then the job does.
    for (const location of ['', `, location: "{{ env_var('AT') }}"`]) {
      expect(await of(location)).toContain('which has to be where the sources are');
      expect(await of(location)).not.toContain('location =');
    }
  });

  test.each([
    ['checksum', 'table', ['metadataViewer schema `main`', 'dataViewer table `main.orders`'], 'dataEditor'],
    ['snapshot', 'table', ['metadataViewer schema `main`', 'dataViewer table `main.orders`'], 'dataOwner'],
    ['checksum', 'schema', ['dataViewer schema `main`'], 'dataEditor'],
    ['snapshot', 'schema', ['dataViewer schema `main`'], 'dataOwner'],
  ])('rights on bigquery, %s and scope %s: those and no other', async (strategy, scope, sources, staging) => {
    const syncs = CASES['mirror-keyed'].replace('mode: mirror', `mode: mirror\n    strategy: ${strategy}`);
    const files = onWarehouse('bigquery', CASES['mirror-keyed'], `, grantee: "user:a@b.c", grant_scope: ${scope}`);
    const plan = (await compileFiles({ ...files, 'syncs/shop.yml': syncs })).plan!;
    const compiled = compiledFiles(plan);
    const setup = [...plan.setup.flatMap((step) => step.run), plan.jobs];
    const given = setup.flatMap((file) =>
      [...(compiled[file] ?? '').matchAll(/^grant `roles\/bigquery\.(\w+)` on (\w+ `.*`) to 'user:a@b.c';?$/gm)].map(
        ([, role, on]) => `${role ?? ''} ${on ?? ''}`,
      ),
    );
    expect(given).toEqual([...sources, `${staging} schema \`mixpanel\``, 'jobUser project `acme`']);
    // Nowhere else is anything given.
    const all = Object.values(compiled).join('\n');
    expect(all.match(/^grant /gm)).toHaveLength(given.length);
  });

  test('an append on redshift: what is read is compared plainly, so that a sort key leaves blocks unread', async () => {
    const files = compiledFiles((await compileFiles(onWarehouse('redshift', CASES['append-late-window']))).plan!);
    const of = (name: string): string => files[`purchases/${name}.sql`] ?? '';
    const [, sourceRows = ''] = /(source_rows as \([^]*)newer as \(/.exec(of('capture')) ?? [];
    const parts = {
      explain: of('explain'),
      'capture, source_rows': sourceRows.replaceAll(/cast\(cast\(0 as .* as syncline_checksum/g, '…'),
    };
    await expect(sections(parts)).toMatchFileSnapshot('expected/append.redshift.sql');
  });

  test('rights on redshift: a user, a role or a group, of tables or of schemas', async () => {
    const parts: Record<string, string> = {};
    for (const [grantee, scope] of [
      ['sync', 'table'],
      ['role:sync', 'schema'],
      ['group:sync', 'table'],
    ] as const) {
      const rights = `, grantee: "${grantee}", grant_scope: ${scope}, creator: dbt`;
      const { plan } = await compileFiles(onWarehouse('redshift', CASES['mirror-keyed'], rights));
      const files = compiledFiles(plan!);
      const unless = plan!.setup.flatMap((step) => (step.unless === undefined ? [] : [step.unless]));
      const setup = [plan!.setup, plan!.syncs[0]!.setup].flat().flatMap((step) => step.run);
      for (const file of [...unless, ...setup])
        if (!/create_(?!grantee)|state_insert/.test(file)) parts[`${grantee}, ${scope}: ${file}`] = files[file] ?? '';
    }
    await expect(sections(parts)).toMatchFileSnapshot('expected/rights.redshift.sql');
  });

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
