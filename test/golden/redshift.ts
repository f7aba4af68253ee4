import { duckdb } from '../../compiler/dialects/duckdb.ts';
import type { Dialect } from '../../compiler/dialects/dialect.ts';
import { redshift } from '../../compiler/dialects/redshift.ts';
import { PROJECT, COLUMNS, lock } from './project.ts';

/** The types of the other goldens' columns, as SVV_COLUMNS names them. A BLOB has no counterpart that can be synced. */
const TYPES: Readonly<Record<string, string>> = {
  INTEGER: 'integer',
  TIMESTAMP: 'timestamp without time zone',
  VARCHAR: 'character varying',
  'DECIMAL(9,2)': 'numeric(9,2)',
  DOUBLE: 'double precision',
  BOOLEAN: 'boolean',
  DATE: 'date',
  'TIMESTAMP WITH TIME ZONE': 'timestamp with time zone',
  'VARCHAR[]': 'super',
  JSON: 'super',
};

/** A project as the goldens have it, on Redshift. */
export const onRedshift = (syncs: string, settings = ''): Readonly<Record<string, string>> => ({
  'syncline.yml': PROJECT.replace(
    'type: duckdb, path: warehouse.duckdb',
    `type: redshift, host: h, user: u, dbname: d${settings}`,
  ),
  'syncs/shop.yml': syncs.replaceAll(', photo]', ']').replaceAll('[photo]', '[device]'),
  'syncline.lock.json': lock(
    COLUMNS.filter(([, type]) => TYPES[type] !== undefined).map(([name, type]) => [name, TYPES[type]!]),
  ),
});

/** Redshift with DuckDB's binds, type names and clock: what reads alike then differs in nothing else. */
export const NEUTRAL: Dialect = {
  ...redshift,
  bind: (name, position) => duckdb.bind(name, position),
  types: duckdb.types,
  nowMs: () => duckdb.nowMs(),
};
