import { BigQuery } from '@google-cloud/bigquery';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseFaults } from '../../../runtime/sandbox/faults.ts';
import type { Sandbox } from '../../../runtime/sandbox/server.ts';
import { openSandbox, serveSandbox } from '../../../runtime/sandbox/server.ts';
import { cli, project, start } from '../../e2e/cli.ts';
import * as fleet from '../../e2e/fleet.ts';
import { random } from '../../story/scheduler.ts';
import { onEngine } from '../engine.ts';
import { missing, startEmulator } from './emulator.ts';
import type { Proxy } from './proxy.ts';

const ROUNDS = Number(process.env['ROUNDS'] ?? 30);
const SEED = Number(process.env['SEED'] ?? 11);

const SYNCS = `syncs:
  - { name: purchases, kind: events, mode: mirror, strategy: snapshot, source: { relation: shop.orders }, event: Purchase, time: t, user_id: u, key: id, guard: { max_deletes: 100% } }
  - { name: customers, kind: user_profiles, mode: mirror, strategy: checksum, source: { relation: shop.customers }, user_id: id, guard: { max_deletes: 100% } }
`;
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

onEngine(missing(), 'BigQuery', () => {
  let engine: Proxy;
  let sandbox: Sandbox;
  let server: { port: number; close(): Promise<void> };
  const rng = random(SEED);
  let isRefusing = true;
  let refused = 0;
  beforeAll(async () => {
    process.env['METADATA_SERVER_DETECTION'] = 'none';
    engine = await startEmulator();
    const faults = parseFaults('429=0.1,5xx=0.1,reset-before=0.1,reset-after=0.15');
    const refuse = ({ event }: { event: string }): string | undefined =>
      isRefusing && event === 'Purchase' && rng() < 0.03 && ++refused > 0 ? 'not now' : undefined;
    sandbox = await openSandbox({ path: ':memory:', faults: { ...faults, refuse }, random: rng });
    server = await serveSandbox(sandbox, { port: 0 });
  });
  afterAll(async () => {
    await server.close();
    await sandbox.close();
    await engine.stop();
  }, 60_000);

  // Jobs of a process that is killed go on, and end after another one has taken the lease.
  test(`${ROUNDS} rounds of applies that are killed or suspended, with a faulty server, end in equality (seed ${SEED})`, async () => {
    const client = new BigQuery({ projectId: 'acme', apiEndpoint: engine.endpoint });
    const query = async (...statements: string[]): Promise<Record<string, unknown>[]> => {
      let rows: Record<string, unknown>[] = [];
      for (const statement of statements) {
        const [job] = await client.createQueryJob(statement);
        [rows] = (await job.getQueryResults()) as unknown as [Record<string, unknown>[]];
      }
      return rows;
    };
    const dir = await project({
      'syncline.yml': fleet.project(
        `{ type: bigquery, project: acme, method: oauth-secrets, token: t, api_endpoint: "${engine.endpoint}" }`,
        server.port,
      ),
      'syncs/shop.yml': SYNCS,
    });
    const numbers = (from: number, to: number): string => `unnest(generate_array(${from}, ${to - 1})) as i`;
    await query(
      'create schema shop',
      'create table shop.orders (id int64, t datetime, u string, v int64)',
      `insert into shop.orders select i, datetime_add(datetime '2024-01-01 00:00:00', interval i second), 'u' || cast(mod(i, 99) as string), 0 from ${numbers(0, 5000)}`,
      'create table shop.customers (id string, name string, v int64)',
      `insert into shop.customers select 'c' || cast(i as string), if(mod(i, 3) > 0, 'n' || cast(i as string), null), i from ${numbers(0, 2000)}`,
    );
    for (const args of [['lock'], ['setup', '--execute']]) expect((await cli(dir, ...args)).code).toBe(0);

    const seen = { 'finishing interrupted run': 0, 'lease-held': 0, 'lease-lost': 0 };
    const isPart = (column: string, modulus: number): string =>
      `mod(abs(farm_fingerprint(cast(${column} as string))), ${modulus}) = ${Math.floor(rng() * modulus)}`;
    for (let round = 0; round < ROUNDS; round++) {
      await query(
        `update shop.orders set v = v + 1 where ${isPart('id', 97)}`,
        `update shop.orders set u = 'v' || cast(v as string) where ${isPart('id', 211)}`,
        `delete from shop.orders where ${isPart('id', 307)}`,
        `update shop.customers set name = if(name is null, 'again', null), v = v + 1 where ${isPart('id', 50)}`,
        `delete from shop.customers where ${isPart('id', 101)}`,
        `insert into shop.customers values ('new ${round}', null, -1)`,
      );
      const holders = Array.from({ length: rng() < 0.5 ? 2 : 1 }, () => start(dir, 'apply', '--threads', '2'));
      await Promise.all(
        holders.map(async ({ child, ended, err, told }) => {
          // A process that has told nothing yet holds nothing: to end it shows little.
          await Promise.race([told, ended, wait(5000)]);
          await wait(rng() * 2000);
          if (rng() < 0.4) {
            child.kill('SIGSTOP');
            await wait(3500 * rng());
            child.kill('SIGCONT');
            if (rng() < 0.5) await wait(400);
          }
          // Some live until they end by themselves.
          if (rng() < 0.75) child.kill('SIGKILL');
          else await Promise.race([ended, wait(15_000)]);
          child.kill('SIGKILL');
          await ended;
          for (const what of Object.keys(seen) as (keyof typeof seen)[]) seen[what] += err().split(what).length - 1;
        }),
      );
    }
    process.stderr.write(`${ROUNDS} rounds: ${JSON.stringify(seen)}\n`);
    // What the rounds are for did happen.
    if (ROUNDS >= 30) for (const [what, times] of Object.entries(seen)) expect([what, times]).not.toEqual([what, 0]);

    isRefusing = false;
    let last = { code: 1, err: '', out: '' };
    const still = (): number => last.err.split('nothing changed').length - 1;
    for (let i = 0; i < 10 && still() < 2; i++) last = await cli(dir, 'apply', '--threads', '2');
    expect(still(), last.err).toBe(2);

    const compare = async (what: string, ofTable: string, ofMixpanel: string): Promise<void> => {
      const a = (await query(ofTable)).map((r) => String(r['line'])).sort();
      const b = (await sandbox.query(ofMixpanel)).map((r) => String(r['line'])).sort();
      expect(a.length, what).toBeGreaterThan(0);
      const [inTable, inMixpanel] = [new Set(a), new Set(b)];
      const lost = a.filter((x) => !inMixpanel.has(x)).slice(0, 5);
      const extra = b.filter((x) => !inTable.has(x)).slice(0, 5);
      expect({ what, lost, extra, rows: b.length }).toEqual({ what, lost: [], extra: [], rows: a.length });
    };
    const p = (name: string): string => `coalesce((properties ->> '${name}'), '')`;
    const cast = (column: string): string => `cast(${column} as string)`;
    await compare(
      'events',
      `select ${cast('id')} || '|' || ${cast("unix_millis(timestamp(t, 'UTC'))")} || '|' || u || '|' || ${cast('v')} as line from shop.orders`,
      `select ${p('id')} || '|' || time_ms || '|' || distinct_id || '|' || ${p('v')} as line from events where event = 'Purchase' and (properties ->> 'syncline_deleted') is null`,
    );
    await compare(
      'user profiles',
      `select id || '|' || coalesce(name, '') || '|' || ${cast('v')} as line from shop.customers`,
      `select distinct_id || '|' || ${p('name')} || '|' || ${p('v')} as line from profiles where (properties ->> 'v') is not null`,
    );
    // The ledger has each row once, and only known ones; that of snapshots has nothing that the table does not say.
    const [ledger] = await query(
      'select count(*) as n, count(distinct row_key) as names, count(row_checksum) as known, (select count(*) from shop.customers) as total from mixpanel.customers__ledger',
    );
    expect(ledger).toEqual({
      n: ledger?.['total'],
      names: ledger?.['total'],
      known: ledger?.['total'],
      total: ledger?.['total'],
    });
    const wrong = await query(
      `select l.row_key, l.insert_id from mixpanel.purchases__ledger as l left join shop.orders as o on ${cast('o.id')} = l.row_key where (o.id is null) = (l.insert_id is not null)`,
    );
    expect(wrong).toEqual([]);
    // One snapshot is kept, and the state knows no other: one more is there only where the job of a dead holder made it
    // after its last successor had looked, and the next one would drop it.
    const kept = await query(
      "select table_name as name from mixpanel.INFORMATION_SCHEMA.TABLES where table_name like 'purchases__snapshot%'",
    );
    const [state] = await query('select baseline, names from mixpanel.purchases__state');
    const { snapshot } = JSON.parse(String(state?.['baseline'])) as { snapshot: { name: string } };
    expect(String(state?.['names']).trim()).toBe(snapshot.name.replace('purchases__snapshot_', ''));
    const all = kept.map(({ name }) => String(name));
    expect(all).toContain(snapshot.name);
    const late = all.filter((name) => name !== snapshot.name);
    for (const name of late) {
      const about = engine.jobs.filter(({ sql }) => new RegExp(`\\b${name}\\b`).test(sql));
      const made = about.find(({ sql }) => sql.includes('create snapshot table'));
      const dropped = about.find(({ sql }) => sql.includes('drop snapshot table'));
      expect(dropped?.startMs ?? Infinity, name).toBeLessThanOrEqual(made?.endMs ?? 0);
      expect(made?.sql, name).toContain('expiration_timestamp = timestamp_add(');
    }
    process.stderr.write(`snapshots made too late: ${late.length}, refused on the way: ${refused}\n`);
    if (ROUNDS >= 30) expect(refused).toBeGreaterThan(0);
    // Every id of a job was used once: nothing ran twice.
    const names = engine.jobs.filter((job) => job.id.startsWith('syncline_')).map((job) => job.id);
    expect(new Set(names).size).toBe(names.length);
  });
});
