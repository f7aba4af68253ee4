import { afterAll, beforeAll, expect, test } from 'vitest';
import { parseFaults } from '../../runtime/sandbox/faults.ts';
import type { Sandbox } from '../../runtime/sandbox/server.ts';
import { openSandbox, serveSandbox } from '../../runtime/sandbox/server.ts';
import { onEngine } from '../engines/engine.ts';
import type { Cluster } from '../engines/postgres/cluster.ts';
import { missing, startCluster } from '../engines/postgres/cluster.ts';
import { random } from '../story/scheduler.ts';
import { cli, project, start } from './cli.ts';
import * as fleet from './fleet.ts';

const ROUNDS = Number(process.env['ROUNDS'] ?? 50);
const SEED = Number(process.env['SEED'] ?? 7);

const WORDS: fleet.Words = {
  series: (from, to) => `generate_series(${from}, ${to - 1}) as t(i)`,
  after: (time, count, unit) => `${time} + (${count}) * interval '1 ${unit}'`,
  hash: (value) => `(hashtextextended(cast(${value} as text), 0) & 1073741823)`,
  ms: (time) => `cast(floor(extract(epoch from ${time}) * 1000) as bigint)`,
};
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

onEngine(missing(), 'PostgreSQL', () => {
  let cluster: Cluster;
  let sandbox: Sandbox;
  let server: { port: number; close(): Promise<void> };
  const rng = random(SEED);
  beforeAll(async () => {
    cluster = await startCluster();
    const faults = parseFaults('429=0.1,5xx=0.1,reset-before=0.1,reset-after=0.15');
    sandbox = await openSandbox({ path: ':memory:', faults, random: rng });
    server = await serveSandbox(sandbox, { port: 0 });
  });
  afterAll(async () => {
    await server.close();
    await sandbox.close();
    cluster.stop();
  }, 60_000);

  // Nothing but the lease keeps two holders apart here: no file is locked.
  test(`${ROUNDS} rounds of two applies, kill -9, SIGSTOP past the lease and a faulty server end in equality of six syncs (seed ${SEED})`, async () => {
    const outboxes = async (): Promise<unknown[]> =>
      (await query(`select tablename as t from pg_tables where tablename like '%outbox%' order by 1`)).map(
        (r) => r['t'],
      );
    const query = (...statements: string[]) => cluster.query('postgres', ...statements);
    const { host, port, user } = cluster;
    const dir = await project({
      'syncline.yml': fleet.project(
        `{ type: postgres, host: ${host}, port: ${port}, user: ${user}, dbname: postgres, sslmode: disable }`,
        server.port,
      ),
      'syncs/shop.yml': fleet.SYNCS('public.'),
    });
    await query(...fleet.tables(WORDS));
    for (const args of [['lock'], ['setup', '--execute']]) expect((await cli(dir, ...args)).code).toBe(0);

    const seen = { 'error[lease-lost]': 0, 'error[lease-held]': 0, 'finishing interrupted run': 0 };
    for (let round = 0; round < ROUNDS; round++) {
      await query(...fleet.changes(WORDS, round, rng));
      const holders = Array.from({ length: rng() < 0.6 ? 2 : 1 }, () => start(dir, 'apply', '--threads', '3'));
      await Promise.all(
        holders.map(async ({ child, ended, err, told }) => {
          // A process that has told nothing yet holds nothing: to end it shows little.
          await Promise.race([told, ended, wait(3000)]);
          await wait(rng() * 1000);
          if (rng() < 0.4) {
            child.kill('SIGSTOP');
            await wait(3500 * rng());
            child.kill('SIGCONT');
            if (rng() < 0.5) await wait(400);
          }
          // Some live until they end by themselves.
          if (rng() < 0.8) child.kill('SIGKILL');
          else await Promise.race([ended, wait(10_000)]);
          child.kill('SIGKILL');
          await ended;
          for (const what of Object.keys(seen) as (keyof typeof seen)[]) seen[what] += err().split(what).length - 1;
        }),
      );
    }
    process.stderr.write(`${ROUNDS} rounds: ${JSON.stringify(seen)}\n`);
    // What the rounds are for did happen.
    if (ROUNDS >= 50) for (const [what, times] of Object.entries(seen)) expect([what, times]).not.toEqual([what, 0]);
    process.stderr.write(`outboxes before the end: ${JSON.stringify(await outboxes())}\n`);
    let last = { code: 1, err: '', out: '' };
    const still = (): number => last.err.split('nothing changed').length - 1;
    for (let i = 0; i < 10 && still() < fleet.COUNT; i++) last = await cli(dir, 'apply', '--threads', '3');
    expect(still(), last.err).toBe(fleet.COUNT);
    await query(fleet.tooLate(WORDS));
    last = await cli(dir, 'apply');
    expect(still(), last.err).toBe(fleet.COUNT);
    await fleet.expectEqual(WORDS, query, sandbox);
    // Nobody holds a lease, and no outbox is left, also none that a process made after it had been paused past its
    // lease and that no state names.
    expect(await outboxes()).toEqual([]);
    for (const sync of fleet.NAMES) {
      const [state] = await query(`select holder, phase, names from mixpanel.${sync}__state`);
      expect(state).toMatchObject({ holder: null, phase: 'idle', names: '' });
    }
  });
});
