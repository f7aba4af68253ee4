import { rm } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { cli, project, YML } from '../../e2e/cli.ts';
import { Refusal } from './refusal.ts';
import { startScripted } from './scripted.ts';

const SYNCS = `syncs:
  - { name: purchases, kind: events, mode: mirror, source: { relation: shop.orders }, event: Bought, time: t, key: id }
  - { name: log, kind: events, mode: append, source: { relation: shop.log }, event: Log, time: t, insert_time: t }
`;
const COLUMNS = [
  { name: 'id', native: 'INT64' },
  { name: 't', native: 'DATETIME' },
];

test('doctor names rights that lack and rights that no run needs, by estimates, and runs nothing', async () => {
  const denied = new Refusal('accessDenied', 'Access Denied: User does not have permission');
  const ran: string[] = [];
  // Who may read and write the orders, and neither read the log nor write anywhere else.
  const server = await startScripted(({ call, sql = '', body }) => {
    if (call !== 'jobs.insert') return undefined;
    const isDry = (body['configuration'] as { dryRun?: boolean }).dryRun === true;
    if (!isDry) ran.push(sql);
    if (sql.includes('INFORMATION_SCHEMA.COLUMNS') && !sql.includes('violation')) return { rows: COLUMNS };
    if (sql.includes('shop.log') || sql.includes('create table')) return { refused: denied };
    return { bytes: 10 };
  });
  const warehouse = `{ type: bigquery, project: acme, method: oauth-secrets, token: t, api_endpoint: "${server.endpoint}" }`;
  const yml = YML.replace('{ type: duckdb, path: warehouse.duckdb }', warehouse);
  const dir = await project({ 'syncline.yml': yml, 'syncs/all.yml': SYNCS });
  try {
    expect((await cli(dir, 'lock')).code).toBe(0);
    const { out, err, code } = await cli(dir, 'doctor');
    const told = out + err;
    expect(code).toBe(1);
    expect(told).toContain('may write shop.orders, and only reads it. Take that right away.');
    expect(told).toMatch(/log may not be read: .*Access Denied/);
    expect(told).toContain('It may not create tables in mixpanel.');
    expect(told).not.toContain('may write shop.log');
    expect(ran.filter((sql) => !/^(--[^\n]*\n)*\s*select/.test(sql))).toEqual([]);
  } finally {
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  }
});

test.each([
  ['checksum', ['bigquery.tables.setIamPolicy'], true],
  ['checksum', [], false],
  ['snapshot', ['bigquery.tables.setIamPolicy'], false],
] as const)(
  'doctor tells that an account owns the staging tables where no run makes snapshots: %s, %j',
  async (strategy, permissions, isTold) => {
    const tested: unknown[] = [];
    const server = await startScripted(({ call, sql = '', body }) => {
      if (call.endsWith(':testIamPermissions')) {
        tested.push([call, body]);
        return { resource: { permissions } };
      }
      if (call !== 'jobs.insert') return undefined;
      if (sql.includes('INFORMATION_SCHEMA.TABLES') && sql.includes('table_type'))
        return { rows: [{ type: 'BASE TABLE' }] };
      if (sql.includes('INFORMATION_SCHEMA.COLUMNS') && !sql.includes('violation')) return { rows: COLUMNS };
      return sql.includes('delete from') ? { refused: new Refusal('accessDenied', 'Access Denied') } : { bytes: 10 };
    });
    const warehouse = `{ type: bigquery, project: acme, method: oauth-secrets, token: t, api_endpoint: "${server.endpoint}" }`;
    const yml = YML.replace('{ type: duckdb, path: warehouse.duckdb }', warehouse);
    const syncs = SYNCS.replace('mode: mirror', `mode: mirror, strategy: ${strategy}`);
    const dir = await project({ 'syncline.yml': yml, 'syncs/all.yml': syncs });
    try {
      expect((await cli(dir, 'lock')).code).toBe(0);
      const { out } = await cli(dir, 'doctor');
      const told = out.split('\n').filter((line) => line.includes('privileges'));
      expect(told).toEqual([
        isTold
          ? 'warn  privileges: The account that syncline connects as may give others rights on the tables of mixpanel, and no run needs that: without table snapshots roles/bigquery.dataEditor on that dataset is enough. Give it that role in place of the one it has.'
          : 'ok    privileges: The account may do what a run needs, and no more of what was looked at.',
      ]);
      const call = 'datasets/mixpanel/tables/runs:testIamPermissions';
      expect(tested).toEqual(
        strategy === 'snapshot' ? [] : [[call, { permissions: ['bigquery.tables.setIamPolicy'] }]],
      );
    } finally {
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    }
  },
);

test('doctor names the role that makes table snapshots, where they are compared', async () => {
  const made: string[] = [];
  const server = await startScripted(({ call, sql = '' }) => {
    if (call !== 'jobs.insert') return undefined;
    if (sql.includes('INFORMATION_SCHEMA.TABLES') && sql.includes('table_type'))
      return { rows: [{ type: 'BASE TABLE' }] };
    if (sql.includes('INFORMATION_SCHEMA.COLUMNS') && !sql.includes('violation')) return { rows: COLUMNS };
    if (!sql.includes('create snapshot table')) return { bytes: 10 };
    made.push(sql);
    return { refused: new Refusal('accessDenied', 'Access Denied: Permission bigquery.tables.deleteSnapshot denied') };
  });
  const warehouse = `{ type: bigquery, project: acme, method: oauth-secrets, token: t, api_endpoint: "${server.endpoint}" }`;
  const yml = YML.replace('{ type: duckdb, path: warehouse.duckdb }', warehouse);
  const dir = await project({ 'syncline.yml': yml, 'syncs/all.yml': SYNCS });
  try {
    expect((await cli(dir, 'lock')).code).toBe(0);
    const { out, err, code } = await cli(dir, 'doctor');
    expect(out + err).toContain(
      'purchases compares table snapshots, and the account may make none in mixpanel: it needs roles/bigquery.dataOwner on that dataset',
    );
    expect(out + err).not.toContain('log compares');
    expect(made.length).toBe(1);
    expect(code).toBe(1);
  } finally {
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  }
});

test.each([
  [
    'wrong project',
    new Refusal(
      'accessDenied',
      'Access Denied: Project acme: User does not have bigquery.jobs.create permission in project acme.',
    ),
    'error[warehouse-error]: columns of shop.orders: Access Denied: Project acme: User does not have bigquery.jobs.create permission in project acme',
    'hint: Check `project` of the target. If it is the right one, the account lacks roles/bigquery.jobUser in it: `syncline setup` prints the SQL that gives it.',
  ],
  [
    'dataset in another location',
    new Refusal('notFound', 'Not found: Dataset acme:shop was not found in location US'),
    'error[not-found]: columns of shop.orders: Not found: Dataset acme:shop was not found in location US',
    'hint: Check `project` and `location` of the target and the `relation:`: a dataset is found only where it is.',
  ],
  [
    'missing grant',
    new Refusal(
      'accessDenied',
      'Access Denied: Table acme:shop.orders: User does not have permission to query table acme:shop.orders.',
    ),
    'error[warehouse-error]: columns of shop.orders: Access Denied: Table acme:shop.orders: User does not have permission to query table acme:shop.orders',
    'hint: Give the account that syncline connects as this right: `syncline setup` prints what it needs.',
  ],
])('a %s is told in one sentence, and what helps', async (_, refused, sentence, hint) => {
  const server = await startScripted(({ call }) => (call === 'jobs.insert' ? { refused } : undefined));
  const warehouse = `{ type: bigquery, project: acme, method: oauth-secrets, token: t, api_endpoint: "${server.endpoint}" }`;
  const yml = YML.replace('{ type: duckdb, path: warehouse.duckdb }', warehouse);
  const dir = await project({ 'syncline.yml': yml, 'syncs/all.yml': SYNCS });
  try {
    const { err, code } = await cli(dir, 'lock');
    expect(code).toBe(1);
    expect(
      err
        .trim()
        .split('\n')
        .map((line) => line.trim()),
    ).toEqual([sentence, hint]);
    // It is asked once: nothing of it passes by itself.
    expect(server.asked).toHaveLength(1);
  } finally {
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  }
});
