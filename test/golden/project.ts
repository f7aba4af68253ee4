import path from 'node:path';
import { compile } from '../../compiler/compile.ts';
import type { Compiled } from '../../compiler/compile.ts';
import { writeLock } from '../../compiler/lock.ts';
import { readTemplates } from '../../compiler/templates.ts';

export const PROJECT = `name: shop
default_target: dev
targets:
  dev:
    warehouse: { type: duckdb, path: warehouse.duckdb }
    mixpanel: sandbox
`;

export const COLUMNS = [
  ['order_id', 'INTEGER'],
  ['ordered_at', 'TIMESTAMP'],
  ['customer_id', 'VARCHAR'],
  ['amount', 'DECIMAL(9,2)'],
  ['weight', 'DOUBLE'],
  ['gift', 'BOOLEAN'],
  ['shipped', 'DATE'],
  ['loaded_at', 'TIMESTAMP WITH TIME ZONE'],
  ['tags', 'VARCHAR[]'],
  ['raw', 'JSON'],
  ['photo', 'BLOB'],
  ['device', 'VARCHAR'],
  ['note', 'VARCHAR'],
] as const;

export const sync = (lines = ''): string => `syncs:
  - name: purchases
    kind: events
    mode: mirror
    source: { relation: main.orders }
    event: Purchase Completed
    time: ordered_at
    user_id: customer_id
${lines}`;

export const profiles = (lines = ''): string => `syncs:
  - name: customers
    kind: user_profiles
    mode: mirror
    source: { relation: main.orders }
    user_id: customer_id
${lines}`;

export const lock = (columns: readonly (readonly [string, string])[] = COLUMNS): string =>
  writeLock({
    lockVersion: 1,
    targets: { dev: { sources: { 'main.orders': { columns: columns.map(([name, type]) => ({ name, type })) } } } },
  });

const templates = readTemplates(path.join(import.meta.dirname, '../../templates'));

/** Compiles a project given as texts. */
export async function compileFiles(files: Readonly<Record<string, string>>, options = {}): Promise<Compiled> {
  return compile({ files, templates: await templates, ...options });
}
