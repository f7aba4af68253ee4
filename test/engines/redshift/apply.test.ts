import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cli, duck, project, start as begin, YML } from '../../e2e/cli.ts';
import { onEngine } from '../engine.ts';
import { CHANGES, received, SYNCS, tables } from '../everything.ts';
import { missing } from '../postgres/cluster.ts';
import type { Compat } from './compat.ts';
import { startCompat } from './compat.ts';

/** Says nothing of how a table is distributed: PostgreSQL knows no such words. */
const OVERRIDE = {
  'templates/redshift/create_table.sql.njk':
    '{% extends "builtin:create_table" %}\n{% block distribution %}\n{% endblock %}\n',
};

onEngine(missing(), 'every kind and mode on the Redshift engine', () => {
  let engine: Compat;
  const dirs: string[] = [];
  beforeAll(async () => {
    engine = await startCompat();
  });
  afterAll(async () => {
    engine.stop();
    for (const dir of dirs) await rm(dir, { recursive: true, force: true });
  });

  const redshift = (more: string): string => {
    const { host, port, user, database } = engine;
    return `{ type: redshift, host: ${host}, port: ${port}, user: ${user}, dbname: ${database}, sslmode: disable, ${more} }`;
  };
  const start = async (
    warehouse: string,
    syncs: string,
    more: Readonly<Record<string, string>> = {},
  ): Promise<string> => {
    const yml = YML.replace('{ type: duckdb, path: warehouse.duckdb }', warehouse);
    const dir = await project({ 'syncline.yml': yml, 'syncs/all.yml': syncs, ...more });
    dirs.push(dir);
    return dir;
  };
  const done = async (dir: string, ...args: string[]): Promise<string> => {
    const ran = await cli(dir, ...args);
    expect(ran.code, ran.err).toBe(0);
    return ran.out + ran.err;
  };

  test('sends what DuckDB sends for the same tables, and nothing when nothing changed', async () => {
    const dir = await start(redshift('statement_timeout: 1m'), SYNCS, OVERRIDE);
    const peer = await start('{ type: duckdb, path: warehouse.duckdb }', SYNCS);
    await engine.query(...tables('super', 'geometry'));
    await duck(path.join(peer, 'warehouse.duckdb'), 'create schema public', ...tables('json', 'varchar'));

    for (const at of [dir, peer]) await done(at, 'lock');
    await done(dir, 'setup', '--execute');
    for (const at of [dir, peer]) await done(at, 'apply');
    const first = await received(dir);
    expect(first).toEqual(await received(peer));
    expect(first['events']).toHaveLength(38);

    for (const at of [dir, peer]) {
      const again = await done(at, 'apply');
      expect(again.match(/nothing changed/g), again).toHaveLength(11);
    }
    expect(await received(dir)).toEqual(await received(peer));

    await engine.query(...CHANGES);
    await duck(path.join(peer, 'warehouse.duckdb'), ...CHANGES);
    for (const at of [dir, peer]) await done(at, 'apply');
    expect(await received(dir)).toEqual(await received(peer));
    expect([...engine.groups]).toEqual(['syncline']);
  });

  const DOCS = (name: string, more = ''): string => `syncs:
  - { name: ${name}, kind: events, mode: mirror, source: { relation: public.docs }, event: Doc, time: t, key: id${more} }
`;

  test('a row that no text holds is invalid, what Mixpanel refuses is kept with its reason, and both are sent when they are mended', async () => {
    const dir = await start(redshift('staging: docs_staging'), DOCS('docs'), OVERRIDE);
    await engine.query(
      'create table public.docs (id varchar(50), t timestamp, body varchar(65535), more varchar(65535), raw super)',
      `insert into public.docs values
        ('fine', '2024-01-02', 'x', null, null),
        ('long', '2024-01-02', repeat('x', 40000), repeat('"', 20000), null),
        ('longest', '2024-01-02', repeat('x', 65535), null, null),
        ('nested', '2024-01-02', 'x', null, '{"a": {"b": {"c": {"d": {"e": 1}}}}}'),
        ('big', '2024-01-02', 'x', null, jsonb_build_array(repeat('x', 40000), repeat('x', 40000)))`,
    );
    await done(dir, 'lock');
    await done(dir, 'setup', '--execute');
    expect(await done(dir, 'apply')).toContain('1 insert, 0 updates, 0 deletes, 1 refused, 3 invalid');
    const ids = async (): Promise<string[]> => {
      const rows = await duck(path.join(dir, 'sandbox.duckdb'), 'select properties::varchar as p from events_raw');
      return rows.map((row) => (JSON.parse(String(row['p'])) as { id: string }).id).sort();
    };
    expect(await ids()).toEqual(['fine']);
    const rejects = await engine.query('select row_key, kind, reason from docs_staging.docs__rejects order by row_key');
    expect(rejects).toEqual([
      { row_key: 'big|', kind: 'invalid', reason: 'too-large' },
      { row_key: 'longest|', kind: 'invalid', reason: 'too-large' },
      { row_key: 'long|', kind: 'invalid', reason: 'too-large' },
      { row_key: 'nested|', kind: 'refused', reason: expect.stringContaining('nested deeper') as string },
    ]);
    await engine.query(
      `update public.docs set body = 'y', more = null, raw = null where id in ('long', 'longest', 'nested', 'big')`,
    );
    await done(dir, 'apply');
    expect(await ids()).toEqual(['big', 'fine', 'long', 'longest', 'nested']);
    expect(await engine.query('select row_key from docs_staging.docs__rejects')).toEqual([]);

    // Another name goes on with the same tables, also after an attempt that made no outbox.
    await engine.query(`update docs_staging.docs__state set names = '1 '`);
    await writeFile(path.join(dir, 'syncs/all.yml'), DOCS('papers', ', renamed_from: docs'));
    expect(await done(dir, 'apply')).toMatch(/renamed from docs[^]*papers: nothing changed/);
    expect(await ids()).toHaveLength(5);
    const doctor = await cli(dir, 'doctor');
    expect(doctor.out + doctor.err).toContain('it is a superuser. Take that right away.');
  });

  test('a line of a lookup table that no text holds stops the run before anything is sent', async () => {
    const syncs = `syncs:
  - { name: lines, kind: lookup_table, mode: full, source: { relation: public.lines }, id: id, lookup_table_id: lines-1 }
`;
    const dir = await start(redshift('staging: lines_staging'), syncs, OVERRIDE);
    await engine.query(
      'create table public.lines (id varchar(50), a varchar(65535), b varchar(65535))',
      `insert into public.lines values ('a', repeat('x', 40000), repeat('x', 40000))`,
    );
    await done(dir, 'lock');
    await done(dir, 'setup', '--execute');
    const ran = await cli(dir, 'apply');
    expect([ran.code, ran.err]).toEqual([1, expect.stringContaining('a row has more than 65,535 bytes')]);
    await engine.query(`update public.lines set b = null`);
    expect(await done(dir, 'apply')).toContain('1 insert,');
  });

  test('processes that are killed anywhere leave each row sent and recorded once', async () => {
    const dir = await start(redshift('staging: killed_staging'), DOCS('killed').replace('docs', 'many'), OVERRIDE);
    const yml = await readFile(path.join(dir, 'syncline.yml'), 'utf8');
    await writeFile(path.join(dir, 'syncline.yml'), `${yml.trimEnd()}\n    lease: { ttl: 2s }\n`);
    await engine.query(
      `create table public.many as select i as id, timestamp '2024-01-01' as t, i % 7 as n from pg_catalog.generate_series(1, 5000) as s(i)`,
    );
    await done(dir, 'lock');
    await done(dir, 'setup', '--execute');
    for (const ms of [1500, 2500, 3500]) {
      const { child, ended } = begin(dir, 'apply');
      await new Promise((resolve) => setTimeout(resolve, ms));
      child.kill('SIGKILL');
      await ended;
      await new Promise((resolve) => setTimeout(resolve, 3200));
      await engine.query(`update public.many set n = n + 1 where id % 50 = ${ms % 50}`);
    }
    await done(dir, 'apply');
    expect(await done(dir, 'apply')).toContain('nothing changed');
    const shown = await duck(
      path.join(dir, 'sandbox.duckdb'),
      `select count(*)::int as n, count(distinct properties ->> 'id')::int as ids from events`,
    );
    expect(shown).toEqual([{ n: 5000, ids: 5000 }]);
    const [ledger] = await engine.query(
      'select count(*) as n, count(distinct row_key) as keys from killed_staging.killed__ledger',
    );
    expect(ledger).toEqual({ n: '5000', keys: '5000' });
  });
});
