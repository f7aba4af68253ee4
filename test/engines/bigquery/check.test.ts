import { expect, test } from 'vitest';
import { bigquery } from '../../../compiler/dialects/bigquery.ts';
import { statementText } from '../../../compiler/render.ts';
import type { Plan } from '../../../schemas/types.ts';
import { compiledOn } from '../../golden/warehouses.ts';
import { onEngine } from '../engine.ts';
import type { GoogleSql, Session } from './googlesql.ts';
import { googlesql, missing } from './googlesql.ts';
import { planOf } from './partitions.ts';

const RIGHTS = ', grantee: "serviceAccount:sync@acme.iam.gserviceaccount.com", location: EU';

/** What is made before it is read, and dropped after. */
const RANKS: readonly (readonly [RegExp, number])[] = [
  [/create_schema/, 0],
  [/create_runs/, 0.5],
  [/create_/, 1],
  [/drop_|rename_outbox|rename_state|rename_ledger|rename_rejects|rename_seen/, 3],
];
const rank = (file: string): number => RANKS.find(([pattern]) => pattern.test(file))?.[1] ?? 2;

/** A statement with a value in each hole, and the types of its parameters. */
function runnable({ sql, binds }: Plan['statements'][string], identity = '') {
  const expression = {
    old_checksum: "'x'",
    old_key: "'x'",
    old_where: 'true',
    old_identity: identity,
    snapshot_from: 'before__snapshot_6',
    snapshot_name: 'before__snapshot_6',
  };
  return {
    sql: sql
      .map((part) =>
        typeof part === 'string'
          ? part
          : part.item
            ? `${part.item[0] ?? ''}1${part.item[1] ?? ''}2${part.item[2] ?? ''}`
            : part.type === 'integer'
              ? '7'
              : expression[part.name as keyof typeof expression],
      )
      .join(''),
    parameters: Object.fromEntries(binds.map((b) => [b.name, b.type === 'integer' ? 'INT64' : 'STRING'])),
  };
}

const TYPES: Readonly<Record<string, string>> = {
  c: 'TIMESTAMP',
  e: 'JSON',
  n: 'TIMESTAMP',
  r: 'TIMESTAMP WITH TIME ZONE',
  t: 'VARCHAR',
};
/**
 * Columns that are named like an alias, or like the table: GoogleSQL reads such a name as the whole row. Their types are
 * such that a row in their place is an error.
 */
const LETTERS = 'abcdefghijklmnopqrstuvwxyz'
  .split('')
  .concat('orders')
  .map((name) => [name, TYPES[name] ?? 'DATE'] as const);
const lettered = (yml: string): string =>
  yml
    .replace(
      'key: [customer_id, order_id]',
      `key: [${LETTERS.flatMap(([name]) => (name === 'e' ? [] : [`"${name}"`])).join(', ')}]`,
    )
    .replace('start_time: ordered_at', 'start_time: "n"')
    .replaceAll('time: ordered_at', 'time: c')
    .replaceAll('insert_time: loaded_at', 'insert_time: r')
    .replaceAll('key: order_id', 'key: r')
    .replaceAll('user_id: customer_id', 'user_id: t')
    .replaceAll('group_id: customer_id', 'group_id: t')
    .replaceAll('json_properties: raw', 'json_properties: e')
    .replace('exclude: [tags, raw, photo]', 'exclude: [tags, raw, photo, e]');

const EACH = /\/(?:create_partitions|create_snapshot|changed_partitions|capture)\.sql$/;

function sessionOf(sql: GoogleSql, columns: readonly (readonly [string, string])[]): Session {
  return sql.session({
    project: 'acme',
    datasets: ['acme.mixpanel'],
    tables: { 'acme.main.orders': columns.map(([name, type]) => ({ name, type })) },
  });
}

onEngine(missing(), 'GoogleSQL', () => {
  test('parses and types every compiled statement', async () => {
    const sql = await googlesql();
    const errors: string[] = [];
    const known = new Set<string>();
    let checked = 0;
    const names = { more: LETTERS, written: lettered };
    const all = [
      ...(await compiledOn('bigquery', RIGHTS, undefined, undefined, names)),
      ...(await compiledOn(
        'bigquery',
        RIGHTS,
        ['mirror-unkeyed', 'mirror-key-list', 'profiles-mirror'],
        'snapshot',
        names,
      )),
    ];
    for (const { name, plan, columns } of all) {
      const session = sessionOf(sql, columns);
      const files = Object.keys(plan.statements).sort((a, b) => rank(a) - rank(b));
      const run = (file: string, text: string, parameters = {}): void => {
        const error = session.run(text, parameters);
        if (error !== undefined) errors.push(`${name} ${file}: ${error}`);
        checked++;
      };
      run('before', 'create snapshot table mixpanel.before__snapshot_6 clone main.orders');
      for (const file of files) {
        const statement = plan.statements[file];
        if (!statement) continue;
        const { sql: text, parameters } = runnable(statement, plan.syncs[0]?.expressions?.identity);
        // What is the same word for word needs no second look, unless it makes a table.
        if (rank(file) === 2 && known.has(text)) continue;
        known.add(text);
        run(file, text, parameters);
        // A rename's tables are made under the name that they had.
        if (name === 'mirror-renamed' && rank(file) === 1)
          run(file, statementText(statement.sql).replaceAll('purchases__', 'orders_paid__').replaceAll('${run}', '7'));
      }
    }
    const described = sessionOf(sql, []).run(bigquery.described?.(['main', "it's"]) ?? '');
    if (described !== undefined) errors.push(`described: ${described}`);
    expect(errors).toEqual([]);
    expect(checked).toBeGreaterThan(350);
  });

  test.each([
    ['part', 'DATE'],
    ['TIMESTAMP_TRUNC(part, HOUR)', 'TIMESTAMP'],
    ['DATETIME_TRUNC(part, MONTH)', 'DATETIME'],
    ['RANGE_BUCKET(part, GENERATE_ARRAY(0, 100, 10))', 'INT64'],
    ['_PARTITIONDATE', 'STRING'],
  ])('parses and types what a run says of a table partitioned by %s', async (partitioning, type) => {
    const plan = await planOf(partitioning, [['part', type]]);
    const columns = [
      ['id', 'INT64'],
      ['happened', 'TIMESTAMP'],
      ['part', type],
    ].map(([name = '', of = '']) => ({ name, type: of }));
    const own = type === 'STRING' ? [{ name: '_PARTITIONTIME', type: 'TIMESTAMP', pseudo: true }] : [];
    const table = [...columns, ...own];
    const session = (await googlesql()).session({
      project: 'acme',
      datasets: ['acme.mixpanel'],
      // Whether a snapshot has the pseudo-column of its table is not written anywhere: it is taken to be so.
      tables: { 'acme.ds.t': table, 'acme.mixpanel.s__snapshot_6': table, 'acme.mixpanel.s__snapshot_7': table },
    });
    const errors: string[] = [];
    const files = Object.keys(plan.statements)
      .filter((file) => EACH.test(file) || /create_|preview|no_part|explain|excess|check_twin|shown/.test(file))
      .filter((file) => type === 'DATE' || EACH.test(file) || /create_(?:runs|state|outbox|rejects|ledger)/.test(file))
      .filter((file) => !file.endsWith('/create_snapshot.sql'))
      .sort((a, b) => rank(a) - rank(b));
    for (const file of [...files.filter((f) => rank(f) < 3), ...files.filter((f) => rank(f) === 3)]) {
      const statement = plan.statements[file];
      if (!statement) continue;
      if (file.endsWith('/changed_partitions.sql'))
        session.run(
          'create table mixpanel.s__snapshot_6_partitions as select * from mixpanel.s__snapshot_7_partitions',
        );
      const { sql, parameters } = runnable(statement, plan.syncs[0]?.expressions?.identity);
      const error = session.run(sql.replaceAll('before__snapshot_6', 's__snapshot_6'), parameters);
      if (error !== undefined) errors.push(`${file}: ${error}\n${sql}`);
    }
    expect(errors).toEqual([]);
    expect(files.length).toBeGreaterThan(6);
  });

  test.each([
    ['loaded_at', 'timestamp'],
    ['ordered_at', 'datetime'],
    ['shipped', 'date'],
  ])(
    'the position of an append by %s, a %s, is looked for from where it is on, and never goes back',
    async (by, type) => {
      const written = (yml: string): string => yml.replace('insert_time: loaded_at', `insert_time: ${by}`);
      const [made] = await compiledOn('bigquery', '', ['append'], undefined, { written });
      // East of Greenwich the first day of the first year begins before there are times.
      const engine = await googlesql({ zone: 'Asia/Tokyo' });
      const textOf = (file: string): string => statementText(made?.plan.statements[`purchases/${file}.sql`]?.sql ?? []);
      const probe = textOf('probe').replaceAll(
        /\(select [^()]* from `main\.orders` as syncline_source\)/g,
        '(select * from t)',
      );
      const found = (from: string | null, ...days: readonly string[]): unknown => {
        const rows = ['2999-01-01', ...days].map((day) => `select cast('${day}' as ${type}) as ${by}`);
        const own = probe.replaceAll('@watermark_from', from === null ? 'null' : `'${from}'`);
        const [row] = engine.evaluateQuery(own, { t: rows.join(' union all ') });
        return [String(row?.['watermark_to']).slice(0, 10), row?.['waiting']];
      };
      expect(found(null)).toEqual(['null', 1]);
      expect(found(null, '2024-01-01', '2024-01-03')).toEqual(['2024-01-03', 1]);
      expect(found('2024-01-03', '2024-01-01', '2024-01-03', '2024-01-05')).toEqual(['2024-01-05', 1]);
      // Nothing is newer; rows were deleted; the table is empty.
      for (const days of [['2024-01-01', '2024-01-03'], ['2024-01-01'], []])
        expect(found('2024-01-03', ...days)).toEqual(['2024-01-03', 1]);
      // What keeps partitions unread is a comparison with a value that is known before.
      expect(probe).toContain(`\`${by}\` >= cast(coalesce(cast(@watermark_from as string), '0001-01-01`);
      for (const older of [0, 1]) {
        const [bound = ''] =
          /cast\(case when [^()]*cast\(@older as int64\) = 1 [^()]* end as \w+\)/.exec(textOf('capture')) ?? [];
        const value = engine.evaluate(`cast(${bound.replace('@older', String(older))} as string)`);
        expect(value).toMatch(older === 1 ? /^"0001-01-01/ : /^"9999-12-31/);
      }
    },
  );
});
