import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { Plan } from '../../../schemas/types.ts';
import { cli, project, YML } from '../../e2e/cli.ts';
import { Refusal } from './refusal.ts';
import type { Answer } from './scripted.ts';
import { startScripted } from './scripted.ts';

const SYNCS = `syncs:
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
  let baseline: string | null = null;
  let holder: string | null = null;
  let version = 5;
  let isCaptured = false;
  const ran: string[] = [];
  const server = await startScripted(({ call, sql = '', body }) => {
    if (call !== 'jobs.insert') return undefined;
    const { labels, query, dryRun } = body['configuration'] as {
      labels: { statement: string };
      query: { queryParameters?: { name: string; parameterValue: { value: string } }[] };
      dryRun?: boolean;
    };
    if (dryRun === true) return { bytes: 12_345 };
    ran.push(labels.statement);
    switch (labels.statement) {
      case 'state_exists':
        return row({ state_exists: 1, ledger_exists: 1, runs_exists: 1 });
      case 'state_owner':
        return row({ foreign_owner: null, recorded: 1, last_run: 5 });
      case 'state_lease':
        holder = query.queryParameters?.find(({ name }) => name === 'holder')?.parameterValue.value ?? null;
        version = 6;
        return { affected: 1 };
      case 'state_read':
        return row({
          ...{ version, holder, held: 0, lease_until: 0, quiet_left_ms: 0, phase: 'idle', run: null, baseline },
          ...{ pending: null, next_batch: 0, id_space: 'purchases', epoch: 0, layout: 1, project: 'shop' },
          ...{ target: 'dev', mixpanel: '', source: '', names: '5 ' },
        });
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
    if (/^state_|^drop_|^create_/.test(labels.statement)) return { affected: 1 };
    if (sql.includes('INFORMATION_SCHEMA.TABLES')) return { rows: [{ type: 'BASE TABLE' }] };
    if (sql.includes('INFORMATION_SCHEMA.COLUMNS') && !sql.includes('violation'))
      return {
        rows: [['id', 'INT64'] as const, ['t', 'DATETIME'] as const].map(([name, native]) => ({ name, native })),
      };
    return undefined;
  });
  const warehouse = `{ type: bigquery, project: acme, method: oauth-secrets, token: t, api_endpoint: "${server.endpoint}" }`;
  const yml = YML.replace('{ type: duckdb, path: warehouse.duckdb }', warehouse);
  const dir = await project({ 'syncline.yml': yml, 'syncs/all.yml': SYNCS });
  try {
    for (const command of ['lock', 'compile']) expect((await cli(dir, command)).code).toBe(0);
    const plan = JSON.parse(await readFile(path.join(dir, 'compiled/dev/plan.json'), 'utf8')) as Plan;
    const [sync] = plan.syncs;
    baseline = JSON.stringify({
      ...{ kind: 'events', mode: 'mirror', mapping: sync?.mapping, expressions: sync?.expressions },
      snapshot: { name: KEPT, untilMs: Date.now() + 86_400_000, modifiedMs: 100, readMs: 200, rows: 1 },
    });
    ran.length = 0;
    const { code, err } = await cli(dir, 'apply');
    expect([code, err.slice(err.indexOf('error['))]).toEqual([1, expect.stringMatching(said)]);
    expect(ran).toContain('capture');
    expect(ran).not.toContain('state_flip');
    expect(ran.at(-1)).toBe('state_release');
  } finally {
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  }
});
