import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { CommonOptions } from './context.ts';
import { err, FoundBefore } from './context.ts';
import { writing } from '../disk.ts';

const PROJECT = `name: shop
require_syncline: ">=0.1"
default_target: dev
targets:
  dev:
    warehouse: { type: duckdb, path: warehouse.duckdb, staging: mixpanel }
    mixpanel: sandbox # in process, kept in sandbox.duckdb beside this file
`;

const SYNCS = `syncs:
  - name: purchases
    kind: events
    mode: mirror
    source: { relation: main.orders }
    event: Purchase Completed
    time: ordered_at
    user_id: customer_id
    key: order_id
    on_delete: tombstone
`;

const IGNORE = `target/
*.duckdb
*.duckdb.wal
`;

/** Writes a project that runs at once on DuckDB and the sandbox, with a small warehouse of its own. */
export async function init(options: CommonOptions): Promise<number> {
  const dir = path.resolve(options.projectDir);
  const files = { 'syncline.yml': PROJECT, 'syncs/shop.yml': SYNCS, '.gitignore': IGNORE };
  const present = [...Object.keys(files), 'warehouse.duckdb'].filter(
    (f) => f !== '.gitignore' && existsSync(path.join(dir, f)),
  );
  if (present.length > 0)
    throw new FoundBefore(
      `There is already a ${present[0] ?? ''} in ${dir}. Nothing was written; choose an empty folder.`,
    );
  await writing(`The project in ${options.projectDir}`, async () => {
    await mkdir(path.join(dir, 'syncs'), { recursive: true });
    for (const [file, text] of Object.entries(files))
      if (!existsSync(path.join(dir, file))) await writeFile(path.join(dir, file), text);
  });
  const { writeSampleWarehouse } = await import('./sample.ts');
  await writeSampleWarehouse(path.join(dir, 'warehouse.duckdb'));
  err(`Wrote syncline.yml, syncs/shop.yml and a warehouse.duckdb with two orders.
Next: syncline lock && syncline compile && syncline plan && syncline apply`);
  return 0;
}
