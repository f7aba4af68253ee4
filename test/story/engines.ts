import { afterAll, beforeAll, describe } from 'vitest';
import { onEngine } from '../engines/engine.ts';
import type { Cluster } from '../engines/postgres/cluster.ts';
import { missing, startCluster } from '../engines/postgres/cluster.ts';
import { duckdb } from './duckdb.ts';
import type { Engine } from './engine.ts';
import { postgres, prepare, SETTINGS } from './postgres.ts';

/** Tests on DuckDB, and on a PostgreSQL of their own. */
export function onEngines(tests: (engine: Engine) => void): void {
  describe(duckdb.name, () => tests(duckdb));
  onPostgres(tests);
}

export function onPostgres(tests: (engine: Engine) => void): void {
  onEngine(missing(), 'PostgreSQL', () => {
    let cluster: Cluster | undefined;
    beforeAll(async () => {
      cluster = await startCluster();
      cluster.restart(SETTINGS);
      await prepare(cluster);
    });
    afterAll(() => cluster?.stop());
    tests(
      postgres(() => {
        if (!cluster) throw new Error('the cluster is not started');
        return cluster;
      }),
    );
  });
}
