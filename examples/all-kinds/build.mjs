// Makes this example's warehouse.duckdb, here or in another folder: `node examples/all-kinds/build.mjs [folder]`.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';

const folder = path.resolve(process.argv[2] ?? import.meta.dirname);
const instance = await DuckDBInstance.create(path.join(folder, 'warehouse.duckdb'));
const connection = await instance.connect();
await connection.run(readFileSync(path.join(import.meta.dirname, 'warehouse.sql'), 'utf8'));
connection.closeSync();
instance.closeSync();
