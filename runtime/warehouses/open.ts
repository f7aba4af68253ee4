import path from 'node:path';
import type { WarehouseSettings } from '../../schemas/types.ts';
import type { World } from '../world.ts';
import type { Warehouse } from './warehouse.ts';

export interface OpenOptions {
  /** Paths in the settings are relative to it. */
  readonly dir: string;
  readonly readOnly: boolean;
  /** How long to wait for a database file that another process holds, milliseconds. */
  readonly lockTimeoutMs: number;
  /** Called once when waiting begins. */
  readonly onWait: (message: string) => void;
}

/** Opens the warehouse of a target. A driver is loaded when its warehouse is opened. */
export async function openWarehouse(
  world: World,
  settings: WarehouseSettings,
  options: OpenOptions,
): Promise<Warehouse> {
  switch (settings.type) {
    case 'bigquery': {
      const { openBigQuery } = await import('./bigquery.ts');
      return openBigQuery(world, settings, options);
    }
    case 'duckdb': {
      const { openDuckDB } = await import('./duckdb.ts');
      const { path: file, settings: own = {} } = settings;
      return openDuckDB(world, { ...options, path: path.resolve(options.dir, file), name: file, settings: own });
    }
    case 'postgres': {
      const { openPostgres } = await import('./postgres.ts');
      return openPostgres(world, settings, options);
    }
    case 'redshift': {
      const { openRedshift } = await import('./redshift.ts');
      return openRedshift(world, settings, options);
    }
  }
}
