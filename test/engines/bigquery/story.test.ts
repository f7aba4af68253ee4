import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { Plan } from '../../../schemas/types.ts';
import { cli, project, YML } from '../../e2e/cli.ts';
import { Refusal } from './refusal.ts';
import type { Answer, Asked } from './scripted.ts';
import { startScripted } from './scripted.ts';

const SNAPSHOT = `syncs:
  - { name: purchases, kind: events, mode: mirror, strategy: snapshot, source: { relation: shop.orders }, event: Bought, time: t, key: id }
`;
const KEPT = 'purchases__snapshot_5';
const missing = (what: string): Answer => ({
  failed: new Refusal('notFound', `Not found: Table acme:${what} was not found in location US`),
});
/** A row as the service gives it. */
const row = (values: Readonly<Record<string, string | number | null>>): Answer => ({
  rows: [
    Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value === null ? null : String(value)])),
  ],
  types: Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, typeof value === 'number' ? 'INTEGER' : 'STRING']),
  ),
});

/** What a statement of the plan is asked with: its name, the values that are bound to it, and whether it is only estimated. */
interface Run {
  readonly name: string;
  readonly bound: (name: string) => string | null;
  readonly isDry: boolean;
}

function runOf({ body }: Asked): Run {
  const { labels, query, dryRun } = body['configuration'] as {
    labels: { statement: string };
    query: { queryParameters?: { name: string; parameterValue: { value: string | null } }[] };
    dryRun?: boolean;
  };
  return {
    name: labels.statement,
    bound: (name) => query.queryParameters?.find((p) => p.name === name)?.parameterValue.value ?? null,
    isDry: dryRun === true,
  };
}

/**
 * A sync on a service that says what a test says, and keeps its state: one that ran five times.
 * @param left what its last run left, besides what it was
 */
async function ran(syncs: string, left: object, script: (run: Run) => Answer | undefined) {
  let baseline: string | null = null;
  let holder: string | null = null;
  let version = 5;
  const names: string[] = [];
  const server = await startScripted((asked) => {
    if (asked.call !== 'jobs.insert') return undefined;
    const { sql = '' } = asked;
    const run = runOf(asked);
    if (!run.isDry) names.push(run.name);
    const own = script(run);
    if (own !== undefined) return own;
    switch (run.name) {
      case 'state_exists':
        return row({ state_exists: 1, ledger_exists: 1, runs_exists: 1 });
      case 'state_owner':
        return row({ foreign_owner: null, recorded: 1, last_run: 5 });
      case 'state_lease':
        holder = run.bound('holder');
        version = 6;
        return { affected: 1 };
      case 'state_read':
        return row({
          ...{ version, holder, held: 0, lease_until: 0, quiet_left_ms: 0, phase: 'idle', run: null, baseline },
          ...{ pending: null, next_batch: 0, id_space: 'purchases', epoch: 0, layout: 1, project: 'shop' },
          ...{ target: 'dev', mixpanel: '', source: '', names: '5 ' },
        });
    }
    if (/^state_|^drop_|^create_/.test(run.name)) return { affected: 1 };
    if (sql.includes('INFORMATION_SCHEMA.TABLES')) return { rows: [{ type: 'BASE TABLE' }] };
    if (sql.includes('INFORMATION_SCHEMA.COLUMNS') && !sql.includes('violation'))
      return {
        rows: [['id', 'INT64'] as const, ['t', 'DATETIME'] as const].map(([name, native]) => ({ name, native })),
      };
    return undefined;
  });
  const warehouse = `{ type: bigquery, project: acme, method: oauth-secrets, token: t, api_endpoint: "${server.endpoint}" }`;
  const yml = YML.replace('{ type: duckdb, path: warehouse.duckdb }', warehouse);
  const dir = await project({ 'syncline.yml': yml, 'syncs/all.yml': syncs });
  for (const command of ['lock', 'compile']) expect((await cli(dir, command)).code).toBe(0);
  const plan = JSON.parse(await readFile(path.join(dir, 'compiled/dev/plan.json'), 'utf8')) as Plan;
  const { kind, mode, mapping, expressions } = plan.syncs[0] ?? {};
  baseline = JSON.stringify({ kind, mode, mapping, expressions, ...left });
  names.length = 0;
  return {
    dir,
    names,
    async stop() {
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

test.each([
  [
    'the snapshot ends between the probe and the capture',
    `mixpanel.${KEPT}`,
    /^error\[check-failed\]: purchases: The snapshot that purchases compares with is gone: the warehouse keeps it for 21 days.* `syncline reset purchases` lets the next apply send the whole table \(300 rows, of which 12,345 bytes are read\).* Apply at least every 14 days/,
  ],
  [
    'the table itself is gone by then',
    'shop.orders',
    /^error\[not-found\]: purchases: purchases\/capture.sql: Not found: Table acme:shop.orders/,
  ],
])('%s: one sentence says so, and nothing is sent', async (_, gone, said) => {
  let isCaptured = false;
  const snapshot = { name: KEPT, untilMs: Date.now() + 86_400_000, modifiedMs: 100, readMs: 200, rows: 1 };
  const sync = await ran(SNAPSHOT, { snapshot }, ({ name, isDry }) => {
    if (isDry) return { bytes: 12_345 };
    switch (name) {
      case 'probe_snapshot':
        return row({ probed_ms: 1000, snapshot_there: isCaptured && gone.endsWith(KEPT) ? 0 : 1, retry: 0 });
      case 'probe_modified':
        return row({ source_modified: 900, source_rows: 300 });
      case 'capture':
        isCaptured = true;
        return missing(gone);
      case 'preview_shown':
        return row({ shown: 300 });
    }
    return undefined;
  });
  try {
    const { code, err } = await cli(sync.dir, 'apply');
    expect([code, err.slice(err.indexOf('error['))]).toEqual([1, expect.stringMatching(said)]);
    expect(sync.names).toContain('capture');
    expect(sync.names).not.toContain('state_flip');
    expect(sync.names.at(-1)).toBe('state_release');
  } finally {
    await sync.stop();
  }
});

test.each([
  [14e6, 12e9, '14 MB of 12 GB: partitions outside its window stay unread'],
  [12e9, 12e9, '12 GB, all of it'],
])('a plan says what an append reads of its table: %s of %s bytes', async (window, whole, said) => {
  const appended =
    'syncs:\n  - { name: purchases, kind: events, mode: append, source: { relation: shop.orders }, event: Bought, time: t, insert_time: t }\n';
  const sync = await ran(appended, { watermark_to: '2024-01-02 00:00:00' }, ({ name, isDry, bound }) => {
    if (isDry) return { bytes: bound('older') === '1' ? whole : window };
    if (name === 'probe') return row({ watermark_to: '2024-01-03 00:00:00', waiting: 0 });
    return name === 'older_rows' ? row({ older: 0 }) : undefined;
  });
  try {
    const { code, out, err } = await cli(sync.dir, 'plan');
    expect(code, err).toBe(0);
    expect(out).toContain(`  reads about shop.orders, ${said}, as the warehouse's planner expects`);
  } finally {
    await sync.stop();
  }
});
