import { bigquery } from './bigquery.ts';
import type { Dialect, WarehouseKind } from './dialect.ts';
import { duckdb } from './duckdb.ts';
import { postgres } from './postgres.ts';
import { redshift } from './redshift.ts';

/** The dialects that there are. */
export const DIALECTS = { bigquery, duckdb, postgres, redshift } as const satisfies Partial<
  Record<WarehouseKind, Dialect>
>;

export const dialectOf = (kind: keyof typeof DIALECTS): Dialect => DIALECTS[kind];
