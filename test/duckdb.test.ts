import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lockTimeoutOf } from '../runtime/cli/context.ts';
import { openDuckDB } from '../runtime/warehouses/duckdb.ts';
import type { Query, Warehouse } from '../runtime/warehouses/warehouse.ts';
import { realWorld } from '../runtime/world.ts';

/** A text of 48 MB cannot spill, and is made in more than one piece. */
const LONG: Query = {
  sql: `insert into long select string_agg(repeat(md5(i::varchar), 1000), '') from range(1500) as t(i)`,
  binds: [],
  label: 's/capture.sql',
};
const query = (sql: string): Query => ({ sql, binds: [], label: 'test' });

let dir: string;
let warehouse: Warehouse;
const open = async (settings: Readonly<Record<string, string>>): Promise<Warehouse> =>
  (warehouse = await openDuckDB(realWorld, {
    path: path.join(dir, 'd.duckdb'),
    name: 'd.duckdb',
    readOnly: false,
    lockTimeoutMs: 0,
    onWait: () => undefined,
    settings,
  }));

beforeEach(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'syncline-duckdb-'));
  const instance = await DuckDBInstance.create(path.join(dir, 'd.duckdb'));
  const connection = await instance.connect();
  await connection.run('create table long (text varchar)');
  connection.closeSync();
  instance.closeSync();
});
afterEach(async () => {
  await warehouse.close();
  rmSync(dir, { recursive: true, force: true });
});

test('a statement that cannot spill is run again with more memory', async () => {
  const connection = await (await open({})).connect();
  const limit = query(`select current_setting('memory_limit') as value`);
  expect(await connection.rows(limit)).toEqual([{ value: '122.0 MiB' }]);
  expect(await connection.execute(LONG)).toBe(1);
  expect(await connection.rows(limit)).toEqual([{ value: '488.2 MiB' }]);
  expect(await connection.rows(query('select length(text) as n from long'))).toEqual([{ n: 48_000_000 }]);
});

test('inside a transaction it is begun again from what is on record, with more memory', async () => {
  const connection = await (await open({})).connect();
  await connection.execute(query('begin transaction'));
  await expect(connection.execute(LONG)).rejects.toMatchObject({
    code: 'warehouse-conflict',
    message: 's/capture.sql needs more memory',
  });
  await connection.execute(query('rollback'));
  await connection.execute(query('begin transaction'));
  expect(await connection.execute(LONG)).toBe(1);
  await connection.execute(query('commit'));
});

test('a limit that a person chose is the only one', async () => {
  const connection = await (await open({ memory_limit: '128MB' })).connect();
  await expect(connection.execute(LONG)).rejects.toMatchObject({
    code: 'warehouse-error',
    hint: expect.stringContaining('memory_limit: 1GB') as string,
  });
  expect(await connection.rows(query('select count(*) as n from long'))).toEqual([{ n: 0 }]);
});

test('a file in use is waited for 60 seconds, or as long as --lock-timeout says', () => {
  expect(lockTimeoutOf({})).toBe(60_000);
  expect(lockTimeoutOf({ lockTimeout: '0.3' })).toBe(300);
  for (const lockTimeout of ['', 'soon', '-1', 'Infinity'])
    expect(() => lockTimeoutOf({ lockTimeout })).toThrow('--lock-timeout must be a number of seconds.');
});
