import { readFileSync } from 'node:fs';
import path from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { expect, test } from 'vitest';
import { toQuery } from '../runtime/values.ts';
import { compileFiles, lock, PROJECT } from './golden/project.ts';

/** What the property of a column `c` of this type and value is on the wire; undefined when it is left out. */
async function arrives(type: string, value: string, setting: string): Promise<string | undefined> {
  const options = setting.startsWith('types:') ? `properties: { ${setting} }` : setting;
  const { plan, diagnostics } = await compileFiles({
    'syncline.yml': PROJECT,
    'syncs/s.yml': `syncs:\n  - { name: s, kind: events, mode: mirror, key: id, event: E, time: t, source: { relation: main.orders }, ${options} }\n`,
    'syncline.lock.json': lock([
      ['id', 'INTEGER'],
      ['t', 'TIMESTAMP'],
      ['c', type],
    ]),
  });
  expect(diagnostics).toEqual([]);
  const show = plan!.syncs[0]!.show;
  const instance = await DuckDBInstance.create(':memory:');
  const connection = await instance.connect();
  try {
    await connection.run(`create table orders (id integer, t timestamp, c ${type})`);
    await connection.run(`insert into orders values (1, '2024-01-01', ${value})`);
    const native = await connection.runAndReadAll(`select data_type from duckdb_columns() where column_name = 'c'`);
    expect(native.getRows()).toEqual([[type]]);
    for (const text of plan!.session) await connection.run(text);
    const { sql } = toQuery(plan!.statements[show]!, {}, show);
    const [row] = (await connection.runAndReadAll(sql)).getRowsJson() as [string][];
    if (!row) return 'the row is invalid';
    const [payload] = row;
    return (/,"id":1,?(.*)\}\}$/.exec(payload)?.[1] ?? payload) || undefined;
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
}

const section = readFileSync(path.join(import.meta.dirname, '../compiler/README.md'), 'utf8').split(
  '## How each type arrives\n',
)[1]!;
const plain = (cell: string): string => cell.trim().replace(/^`(.*)`$/, '$1');
const lines = section
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((line) => line.split('|').slice(1, 5).map(plain) as [string, string, string, string]);

test('the table has every type', () => {
  expect(new Set(lines.map(([type]) => type.replace(/\(.*/, ''))).size).toBeGreaterThan(19);
});

test.each(lines)('%s %s %s arrives as %s', async (type, value, setting, wanted) => {
  const isBare = wanted === 'the row is invalid' || setting.startsWith('json_properties');
  const expected = wanted === 'left out' ? undefined : isBare ? wanted : `"c":${wanted}`;
  expect(await arrives(type, value, setting)).toEqual(expected);
});
