import { duckdb } from '../../compiler/dialects/duckdb.ts';
import type { Dialect } from '../../compiler/dialects/dialect.ts';
import { redshift } from '../../compiler/dialects/redshift.ts';
import { statementText } from '../../compiler/render.ts';
import { CASES } from './cases.ts';
import { COLUMNS, compileFiles, lock, PROJECT } from './project.ts';

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

/** Every compiled statement of the golden cases, with and without rights and write access. */
export async function compiledOnRedshift(): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  const grants = ', grantee: "role:sync", creator: dbt, statement_timeout: 30m';
  for (const [name, text] of Object.entries(CASES)) {
    const isDirect = name.startsWith('direct');
    const yml = text.replace(/ {4}json_properties: raw\n/, '');
    const settings = isDirect ? ', staging: none' : name === 'mirror-keyed' ? grants : '';
    const { plan, diagnostics } = await compileFiles(onRedshift(yml, settings));
    if (!plan) throw new Error(JSON.stringify(diagnostics));
    for (const [file, { sql }] of Object.entries(plan.statements)) found.set(`${name}: ${file}`, statementText(sql));
    plan.session.forEach((sql, i) => found.set(`${name}: session ${i}`, sql));
  }
  return found;
}
