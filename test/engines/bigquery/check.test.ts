import { expect, test } from 'vitest';
import { bigquery } from '../../../compiler/dialects/bigquery.ts';
import { statementText } from '../../../compiler/render.ts';
import type { Plan } from '../../../schemas/types.ts';
import { compiledOn } from '../../golden/warehouses.ts';
import { onEngine } from '../engine.ts';
import type { GoogleSql, Session } from './googlesql.ts';
import { googlesql, missing } from './googlesql.ts';

const RIGHTS = ', grantee: "serviceAccount:sync@acme.iam.gserviceaccount.com"';

/** What is made before it is read, and dropped after. */
const RANKS: readonly (readonly [RegExp, number])[] = [
  [/create_schema/, 0],
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
          : part.type === 'integer'
            ? '7'
            : expression[part.name as keyof typeof expression],
      )
      .join(''),
    parameters: Object.fromEntries(binds.map((b) => [b.name, b.type === 'integer' ? 'INT64' : 'STRING'])),
  };
}

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
    const all = [
      ...(await compiledOn('bigquery', RIGHTS)),
      ...(await compiledOn('bigquery', RIGHTS, ['mirror-unkeyed', 'mirror-renamed', 'profiles-mirror'], 'snapshot')),
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
});
