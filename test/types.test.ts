import { readFileSync } from 'node:fs';
import path from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterAll, expect, test } from 'vitest';
import { toQuery } from '../runtime/values.ts';
import { compileFiles, lock, PROJECT } from './golden/project.ts';

const instance = await DuckDBInstance.create(':memory:');
const connection = await instance.connect();
afterAll(() => {
  connection.closeSync();
  instance.closeSync();
});

const KINDS = {
  events: 'kind: events, mode: mirror, key: id, event: E, time: t',
  profiles: 'kind: user_profiles, mode: full, user_id: id',
  groups: 'kind: group_profiles, mode: full, group_key: g, group_id: id',
  lookup: 'kind: lookup_table, mode: full, id: id, lookup_table_id: l',
};

/** The payloads of a row whose column `c` has this type and value, as they are sent; the diagnostics where there are any. */
async function sent(
  kind: keyof typeof KINDS,
  type: string,
  value: string,
  setting: string,
): Promise<readonly string[]> {
  const options = setting.startsWith('types:') ? `, properties: { ${setting} }` : setting === '' ? '' : `, ${setting}`;
  const { plan, diagnostics } = await compileFiles({
    'syncline.yml': PROJECT,
    'syncs/s.yml': `syncs:\n  - { name: s, ${KINDS[kind]}, source: { relation: main.orders }${options} }\n`,
    'syncline.lock.json': lock([
      ['id', 'INTEGER'],
      ...(kind === 'events' ? [['t', 'TIMESTAMP'] as const] : []),
      ['c', type],
    ]),
  });
  if (diagnostics.length > 0) return diagnostics.map((d) => d.code);
  const show = plan!.syncs[0]!.show;
  await connection.run(`create or replace table orders (id integer, t timestamp, c ${type})`);
  await connection.run(`insert into orders values (1, '2024-01-01', ${value})`);
  const native = await connection.runAndReadAll(`select data_type from duckdb_columns() where column_name = 'c'`);
  expect(native.getRows()).toEqual([[type]]);
  for (const text of plan!.session) await connection.run(text);
  const { sql, binds } = toQuery(plan!.statements[show]!, { content: 'new', content_from: null, done: 0 }, show);
  const read = await connection.runAndReadAll(sql, Object.fromEntries(binds.map((b) => [b.name, b.value])));
  const rows = read.getRowsJson() as [string][];
  return rows.length === 0 ? ['the row is invalid'] : rows.map(([payload]) => payload);
}

/** What follows a text in the first payload that has it, without the braces that end it; undefined for nothing. */
const after = (payloads: readonly string[], head: RegExp): string | undefined =>
  payloads.map((p) => head.exec(p)?.[1]).find((found) => found !== undefined) || undefined;

const section = readFileSync(path.join(import.meta.dirname, '../compiler/README.md'), 'utf8').split(
  '## How each type arrives\n',
)[1]!;
const plain = (cell: string): string => cell.trim().replace(/^`(.*)`$/, '$1');
const lines = section
  .split('\n')
  .filter((line) => line.startsWith('| `'))
  .map((line) => line.split('|').slice(1, 6).map(plain) as [string, string, string, string, string]);

test('the table has every type', () => {
  expect(new Set(lines.map(([type]) => type.replace(/\(.*/, ''))).size).toBeGreaterThan(19);
});

test.each(lines)('%s %s %s arrives as %s, in a lookup table as %s', async (type, value, setting, wanted, field) => {
  const isBare = setting.startsWith('json_properties');
  const isInvalid = wanted === 'the row is invalid';
  const expected = wanted === 'left out' ? undefined : isBare ? wanted : `"c":${wanted}`;
  const event = await sent('events', type, value, setting);
  if (isInvalid) expect(event).toEqual([wanted]);
  else expect(after(event, /,"id":1,?(.*)\}\}$/)).toEqual(expected);

  for (const kind of isBare ? [] : (['profiles', 'groups'] as const)) {
    const updates = await sent(kind, type, value, setting);
    if (isInvalid) expect(updates).toEqual([wanted]);
    else {
      expect(after(updates, /"\$set":\{(.*)\}\}$/)).toEqual(expected);
      // What is left out is taken away.
      expect(after(updates, /"\$unset":\[(.*)\]\}$/)).toEqual(expected === undefined ? '"c"' : undefined);
    }
  }

  const table = await sent('lookup', type, value, setting);
  if (field === 'refused') expect(table).toEqual(isBare ? ['wrong-value', 'kind-refuses'] : ['column-type']);
  else expect(table).toEqual([`1,${field === 'nothing' ? '' : field}`]);
});
