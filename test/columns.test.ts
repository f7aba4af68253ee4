import { expect, test } from 'vitest';
import { COLUMNS, compileFiles, lock, PROJECT, sync } from './golden/project.ts';

/** What a compile says of a sync over a table with one more column. */
async function codes(lines: string, native: string, warehouse = 'type: duckdb, path: w.duckdb'): Promise<string[]> {
  const { diagnostics } = await compileFiles({
    'syncline.yml': PROJECT.replace(/type: duckdb, path: \S+/, warehouse),
    'syncs/shop.yml': sync(lines),
    'syncline.lock.json': lock([['odd', native], ...simple(warehouse)]),
  });
  return diagnostics.filter((d) => d.severity === 'error').map((d) => `${d.code}: ${d.message} (${d.hint ?? ''})`);
}
const simple = (warehouse: string): [string, string][] =>
  COLUMNS.filter(([name]) => ['order_id', 'customer_id', 'ordered_at'].includes(name)).map(([name, type]) => [
    name,
    warehouse.includes('duckdb') ? type : name === 'ordered_at' ? 'timestamp without time zone' : 'character varying',
  ]);
const SERVER = 'host: h, user: u, dbname: d';

test.each([
  ['duckdb', 'type: duckdb, path: w.duckdb', 'VARIANT'],
  ['postgres', `type: postgres, ${SERVER}`, 'tsvector'],
  ['redshift', `type: redshift, ${SERVER}`, 'geometry'],
  ['redshift', `type: redshift, ${SERVER}`, 'binary varying'],
])(
  '%s: a column whose type cannot be synced is refused by name, unless it is excluded',
  async (_, warehouse, native) => {
    const key = '    key: order_id\n';
    expect(await codes(key, native, warehouse)).toEqual([
      `column-type-unknown: column \`odd\` has type ${native}, which cannot be synced (leave it out, \`properties: { exclude: [odd] }\`, or cast it in a view)`,
    ]);
    expect(await codes(`${key}    properties: { exclude: [odd] }\n`, native, warehouse)).toEqual([]);
    // What names a row is read whatever is excluded.
    expect(await codes('    key: odd\n    properties: { exclude: [odd] }\n', native, warehouse)).toHaveLength(1);
  },
);

test('redshift: keys of an object are no properties, and that is told', async () => {
  expect(await codes('    json_properties: odd\n', 'super', `type: redshift, ${SERVER}`)).toEqual([
    'column-type: column `odd` is super; json_properties needs another warehouse: the SQL of redshift cannot list the keys of an object. Select them as columns in a view, or send the object as one property ()',
  ]);
  expect(await codes('', 'super', `type: redshift, ${SERVER}`)).toEqual([]);
});
