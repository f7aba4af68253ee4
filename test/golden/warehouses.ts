import { bigquery } from '../../compiler/dialects/bigquery.ts';
import { duckdb } from '../../compiler/dialects/duckdb.ts';
import type { Dialect } from '../../compiler/dialects/dialect.ts';
import { postgres } from '../../compiler/dialects/postgres.ts';
import { redshift } from '../../compiler/dialects/redshift.ts';
import { statementText } from '../../compiler/render.ts';
import { CASES } from './cases.ts';
import { COLUMNS, compileFiles, lock, PROJECT } from './project.ts';

/** A warehouse with DuckDB's binds, type names and clock: what reads alike then differs in nothing else. */
const neutral = (dialect: Dialect): Dialect => ({
  ...dialect,
  bind: (name, position) => duckdb.bind(name, position),
  types: duckdb.types,
  nowMs: () => duckdb.nowMs(),
});

const SHARED: Readonly<Record<string, string>> = {
  INTEGER: 'integer',
  TIMESTAMP: 'timestamp without time zone',
  VARCHAR: 'character varying',
  'DECIMAL(9,2)': 'numeric(9,2)',
  DOUBLE: 'double precision',
  BOOLEAN: 'boolean',
  DATE: 'date',
  'TIMESTAMP WITH TIME ZONE': 'timestamp with time zone',
};

/** Warehouses besides DuckDB, with the types of the goldens' columns as they name them; a type that is missing has no counterpart that can be synced. */
export const WAREHOUSES = {
  bigquery: {
    neutral: neutral(bigquery),
    connection: 'project: acme',
    /** It doubles no quotes. */
    own: (yml: string): string => yml.replace("it''s", 'its'),
    types: {
      INTEGER: 'INT64',
      TIMESTAMP: 'DATETIME',
      VARCHAR: 'STRING',
      'DECIMAL(9,2)': 'NUMERIC(9, 2)',
      DOUBLE: 'FLOAT64',
      BOOLEAN: 'BOOL',
      DATE: 'DATE',
      'TIMESTAMP WITH TIME ZONE': 'TIMESTAMP',
      'VARCHAR[]': 'ARRAY<STRING>',
      JSON: 'JSON',
      BLOB: 'BYTES',
    } as Readonly<Record<string, string>>,
  },
  postgres: {
    neutral: neutral(postgres),
    connection: 'host: h, user: u, dbname: d',
    own: (yml: string): string => yml,
    types: { ...SHARED, 'VARCHAR[]': 'text[]', JSON: 'jsonb', BLOB: 'bytea' } as Readonly<Record<string, string>>,
  },
  redshift: {
    neutral: neutral(redshift),
    connection: 'host: h, user: u, dbname: d',
    /** What it cannot do. */
    own: (yml: string): string => yml.replace(/ {4}json_properties: raw\n/, ''),
    types: { ...SHARED, 'VARCHAR[]': 'super', JSON: 'super' } as Readonly<Record<string, string>>,
  },
} as const;
export type OtherWarehouse = keyof typeof WAREHOUSES;

/** A project as the goldens have it, on another warehouse. */
export function onWarehouse(
  kind: OtherWarehouse,
  syncs: string,
  settings = '',
  more: Columns = [],
): Readonly<Record<string, string>> {
  const { types } = WAREHOUSES[kind];
  const hasBlob = types['BLOB'] !== undefined;
  return {
    'syncline.yml': PROJECT.replace(
      'type: duckdb, path: warehouse.duckdb',
      `type: ${kind}, ${WAREHOUSES[kind].connection}${settings}`,
    ),
    'syncs/shop.yml': hasBlob ? syncs : syncs.replaceAll(', photo]', ']').replaceAll('[photo]', '[device]'),
    'syncline.lock.json': lock(columnsOn(kind, more)),
  };
}

type Columns = readonly (readonly [string, string])[];

/** The goldens' columns, and more, with the types that a warehouse has for them. */
function columnsOn(kind: OtherWarehouse, more: Columns): Columns {
  const { types } = WAREHOUSES[kind];
  return [...COLUMNS, ...more].flatMap(([name, type]) =>
    types[type] === undefined ? [] : [[name, types[type]] as const],
  );
}

/**
 * The golden cases, each compiled on a warehouse; `grants` are settings of one that has a source in a schema. Further
 * columns are given with DuckDB's types, and `written` changes what a case says.
 */
export async function compiledOn(
  kind: OtherWarehouse,
  grants = '',
  cases = Object.keys(CASES) as (keyof typeof CASES)[],
  strategy?: string,
  { more = [], written = (yml) => yml }: { more?: Columns; written?: (yml: string) => string } = {},
) {
  const { own } = WAREHOUSES[kind];
  const columns = columnsOn(kind, more);
  const said = (name: keyof typeof CASES): string =>
    strategy === undefined
      ? CASES[name]
      : CASES[name].replace('mode: mirror', `mode: mirror\n    strategy: ${strategy}`);
  return Promise.all(
    cases.map(async (name) => {
      const settings = name.startsWith('direct') ? ', staging: none' : name === GRANTED ? grants : '';
      const { plan, diagnostics } = await compileFiles(onWarehouse(kind, own(written(said(name))), settings, more));
      if (!plan) throw new Error(JSON.stringify(diagnostics));
      return { name, plan, columns };
    }),
  );
}
const GRANTED = 'mirror-keyed';

/** Every compiled statement of the golden cases, with and without write access, and with rights of each form. */
export async function compiledOnRedshift(): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const grantee of ['role:sync', 'sync', 'group:sync'])
    for (const scope of ['table', 'schema']) {
      const settings = `, grantee: "${grantee}", grant_scope: ${scope}, creator: dbt, statement_timeout: 30m`;
      const cases = await compiledOn('redshift', settings, found.size === 0 ? undefined : [GRANTED]);
      const known = new Set(found.values());
      for (const { name, plan } of cases) {
        for (const [file, { sql }] of Object.entries(plan.statements)) {
          const text = statementText(sql);
          if (!found.has(`${name}: ${file}`)) found.set(`${name}: ${file}`, text);
          else if (!known.has(text)) found.set(`${name} to ${grantee}, ${scope}: ${file}`, text);
        }
        plan.session.forEach((sql, i) => found.set(`${name}: session ${i}`, sql));
      }
    }
  return found;
}
