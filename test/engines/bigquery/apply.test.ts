import { rm } from 'node:fs/promises';
import path from 'node:path';
import { BigQuery } from '@google-cloud/bigquery';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cli, duck, project, YML } from '../../e2e/cli.ts';
import { onEngine } from '../engine.ts';
import { CHANGES, received, SYNCS, tables } from '../everything.ts';
import { missing, startEmulator } from './emulator.ts';
import type { Proxy } from './proxy.ts';

const TYPES: readonly (readonly [RegExp, string])[] = [
  [/varchar\(\d+\)/g, 'string'],
  [/numeric\(9,2\)/g, 'numeric(20,9)'],
  [/double precision/g, 'float64'],
  [/\bboolean\b/g, 'bool'],
  [/\btimestamp\b/g, 'datetime'],
  [/\btimestamptz\b/g, 'timestamp'],
  [/\binteger\b/g, 'int64'],
  [/''/g, "\\'"],
];
/** A statement of the tables in BigQuery's words. */
const said = (statement: string): string => TYPES.reduce((text, [type, own]) => text.replaceAll(type, own), statement);

onEngine(missing(), 'every kind and mode on the BigQuery emulator', () => {
  let engine: Proxy;
  const dirs: string[] = [];
  beforeAll(async () => {
    engine = await startEmulator();
  });
  afterAll(async () => {
    await engine.stop();
    for (const dir of dirs) await rm(dir, { recursive: true, force: true });
  });

  const bigquery = (more = ''): string =>
    `{ type: bigquery, project: acme, method: oauth-secrets, token: secret-token, api_endpoint: "${engine.endpoint}"${more} }`;
  const start = async (warehouse: string, syncs: string): Promise<string> => {
    const yml = YML.replace('{ type: duckdb, path: warehouse.duckdb }', warehouse);
    const dir = await project({ 'syncline.yml': yml, 'syncs/all.yml': syncs });
    dirs.push(dir);
    return dir;
  };
  const done = async (dir: string, ...args: string[]): Promise<string> => {
    const ran = await cli(dir, ...args);
    expect(ran.code, ran.err).toBe(0);
    return ran.out + ran.err;
  };
  /** Statements of somebody else: they go through the service like every one. */
  const query = async (...statements: string[]): Promise<readonly unknown[]> => {
    const client = new BigQuery({ projectId: 'acme', apiEndpoint: engine.endpoint });
    let rows: readonly unknown[] = [];
    for (const statement of statements) {
      const [job] = await client.createQueryJob(statement);
      [rows] = await job.getQueryResults();
    }
    return rows;
  };

  test('sends what DuckDB sends for the same tables, and nothing when nothing changed', async () => {
    const dir = await start(bigquery(), SYNCS);
    const peer = await start('{ type: duckdb, path: warehouse.duckdb }', SYNCS);
    // What a column of type JSON gives is not the emulator's strength: dialect.test.ts shows it by the reference evaluator.
    const noJson = 'update public.orders set raw = null where true';
    await query('create schema public', ...tables('json', 'geography').map(said), noJson);
    await duck(path.join(peer, 'warehouse.duckdb'), 'create schema public', ...tables('json', 'varchar'), noJson);

    for (const at of [dir, peer]) await done(at, 'lock');
    // Before the dataset is there a plan says what the first load is.
    expect(await done(dir, 'plan', '-s', 'keyed')).toContain('keyed (initial load): ');
    await done(dir, 'setup', '--execute');
    for (const at of [dir, peer]) await done(at, 'apply');
    const first = await received(dir);
    expect(first).toEqual(await received(peer));
    expect(first['events']).toHaveLength(38);

    for (const at of [dir, peer]) {
      const again = await done(at, 'apply', '-s', 'keyed unkeyed late people tiers songs');
      expect(again.match(/nothing changed/g), again).toHaveLength(6);
    }
    await query(...CHANGES.map(said));
    await duck(path.join(peer, 'warehouse.duckdb'), ...CHANGES);
    for (const at of [dir, peer]) await done(at, 'apply');
    expect(await received(dir)).toEqual(await received(peer));
    expect(JSON.stringify(engine.jobs)).not.toContain('secret-token');
  });
});
