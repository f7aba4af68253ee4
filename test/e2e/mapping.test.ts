import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { cli, duck, project, YML } from './cli.ts';

const dirs: string[] = [];
afterEach(async () => {
  for (const dir of dirs.splice(0)) await rm(dir, { recursive: true, force: true });
});

const SYNC = `syncs:
  - name: p
    kind: events
    mode: mirror
    source: { relation: p }
    event: E
    time: t
`;
const TABLE = `create table p as select i as id, timestamp '2024-01-01' + to_hours(i::integer) as t, i * 2 as amount, case when i % 2 = 0 then 'n' || i end as note from range(10) as t(i)`;

async function start(more = '    key: id\n', kind = 'events'): Promise<string> {
  const sync = kind === 'events' ? SYNC : SYNC.replace('events', kind).replace('    event: E\n    time: t\n', '');
  const dir = await project({ 'syncline.yml': YML, 'syncs/s.yml': sync + more });
  dirs.push(dir);
  await duck(path.join(dir, 'warehouse.duckdb'), TABLE);
  expect((await cli(dir, 'lock')).code).toBe(0);
  await apply(dir);
  return dir;
}
async function apply(dir: string, ...flags: string[]): Promise<string> {
  const ran = await cli(dir, 'apply', ...flags);
  expect(ran.code, ran.err).toBe(0);
  return ran.err;
}
async function edit(dir: string, from: string, to: string): Promise<void> {
  const file = path.join(dir, 'syncs/s.yml');
  await writeFile(file, (await readFile(file, 'utf8')).replace(from, to));
}
const change = (dir: string, ...sql: string[]): Promise<unknown> => duck(path.join(dir, 'warehouse.duckdb'), ...sql);
const shown = (dir: string, sql: string): Promise<Record<string, unknown>[]> =>
  duck(path.join(dir, 'sandbox.duckdb'), sql);
const hashOf = (text: string): string => /decisions: \{ ([0-9a-f]{7}): resend/.exec(text)![1]!;
const copies = async (dir: string): Promise<number> =>
  Number((await shown(dir, 'select count(*)::int as n from events_raw'))[0]!['n']);

for (const [name, key] of [
  ['with key', '    key: id\n'],
  ['without key', ''],
] as const) {
  test(`a renamed property waits for a decision; forward sends only what changed (${name})`, async () => {
    const dir = await start(key);
    await edit(dir, '    time: t\n', '    time: t\n    properties: { rename: { amount: Amount } }\n');
    const planned = await cli(dir, 'plan');
    expect(planned.code).toBe(1);
    const hash = hashOf(planned.out);
    expect(planned.out).toContain(
      `decisions: { ${hash}: resend }   # 0 inserts, 10 updates, 0 deletes; 10 billable events`,
    );
    expect(planned.out).toContain(
      `decisions: { ${hash}: forward }  # 0 inserts, 0 updates, 0 deletes; 0 billable events`,
    );
    const refused = await cli(dir, 'apply');
    expect([refused.code, refused.err]).toEqual([
      1,
      expect.stringContaining(`\`decisions: { ${hash}: resend }\` or \`decisions: { ${hash}: forward }\` in the sync`),
    ]);

    await change(dir, `update p set amount = 99 where id = 3`, `delete from p where id = 4`);
    // Pasted as it was printed, the comment behind it as well.
    const printed = planned.out.split('\n').find((line) => line.includes(': forward }'));
    await edit(dir, '    time: t\n', `    time: t\n  ${printed}\n`);
    const stale = `p: decision ${hash} is for no change that is there now; it can be removed`;
    expect(await apply(dir)).not.toContain('for no change');
    // It does nothing any more, and both commands say so.
    expect(await apply(dir)).toMatch(new RegExp(`${stale}\n(.*\n)*p: nothing changed`));
    expect((await cli(dir, 'plan')).err).toContain(`${stale}.\n`);
    const rows = await shown(
      dir,
      `select properties ->> 'id' as id, properties ->> 'Amount' as new, properties ->> 'amount' as old from events where properties ->> 'syncline_deleted' is null order by id::integer`,
    );
    expect(rows).toHaveLength(9);
    expect(rows.find((r) => r['id'] === '3')).toEqual({ id: '3', new: '99', old: null });
    expect(rows.find((r) => r['id'] === '5')).toEqual({ id: '5', new: null, old: '10' });
  });

  test(`an excluded column: forward rewrites checksums, resend sends every row (${name})`, async () => {
    const dir = await start(key);
    await edit(dir, '    time: t\n', '    time: t\n    properties: { exclude: [amount] }\n');
    const before = await copies(dir);
    expect(await apply(dir, '--forward', 'p')).toContain('only rows that changed are sent');
    expect(await copies(dir)).toBe(before);
    expect(await apply(dir)).toContain('nothing changed');
    await change(dir, `update p set amount = 1`);
    expect(await apply(dir)).toContain('nothing changed');
    await change(dir, `update p set note = 'x' where id = 1`);
    expect(await apply(dir)).toContain(key === '' ? '1 insert, 0 updates, 1 delete' : '0 inserts, 1 update');

    await edit(dir, '    properties: { exclude: [amount] }\n', '');
    expect(await apply(dir, '--resend', 'p')).toContain(
      key === '' ? '10 inserts, 0 updates, 10 deletes' : '10 updates',
    );
    const rows = await shown(
      dir,
      `select count(*)::int as n, count(properties ->> 'amount')::int as amounts from events where properties ->> 'syncline_deleted' is null`,
    );
    expect(rows).toEqual([{ n: 10, amounts: 10 }]);
    expect(await apply(dir)).toContain('nothing changed');
  });
}

test('a column that is added at the end is compatible: only rows where it has a value are sent', async () => {
  const dir = await start();
  await change(dir, `alter table p add column tag varchar`);
  expect((await cli(dir, 'plan')).out).toContain('new in the source and not sent until `syncline lock`: tag');
  expect(await apply(dir)).toContain('nothing changed');
  expect((await cli(dir, 'lock')).code).toBe(0);
  expect(await apply(dir)).toContain('nothing changed');
  await change(dir, `update p set tag = 'a' where id = 2`);
  expect(await apply(dir)).toContain('1 update');
});

test('a changed identity cannot be forwarded; resend leaves tombstones of the old records', async () => {
  const dir = await start();
  await edit(dir, 'event: E', 'event: F');
  const planned = await cli(dir, 'plan');
  expect(planned.out).not.toContain('forward');
  expect(planned.out).toContain('10 inserts, 0 updates, 10 deletes; 20 billable events');
  const forward = await cli(dir, 'apply', '--forward', 'p');
  expect([forward.code, forward.err]).toEqual([1, expect.stringContaining('it changes what a record is')]);
  await edit(
    dir,
    'event: F',
    `event: F\n    decisions: { ${hashOf(planned.out)}: resend }\n    guard: { max_deletes: 10 }`,
  );
  await apply(dir);
  const rows = await shown(
    dir,
    `select event, count(*)::int as n, count(properties ->> 'syncline_deleted')::int as gone from events group by 1 order by 1`,
  );
  expect(rows).toEqual([
    { event: 'E', n: 10, gone: 10 },
    { event: 'F', n: 10, gone: 0 },
  ]);
  expect(await apply(dir)).toContain('nothing changed');
});

test('a narrower condition makes no deletes unless decided, and the rows that stay are not sent again', async () => {
  const dir = await start();
  await edit(dir, '    time: t\n', '    time: t\n    where: id < 8\n');
  const planned = await cli(dir, 'plan');
  expect([planned.code, planned.out]).toEqual([1, expect.stringContaining('0 inserts, 0 updates, 2 deletes')]);
  expect((await cli(dir, 'apply')).code).toBe(1);
  expect(await apply(dir, '--resend', 'p')).toMatch(
    /rows that stay are not sent again: once more, it sends every row\n(.*\n)*.*0 inserts, 0 updates, 2 deletes/,
  );
  expect(await apply(dir)).toContain('nothing changed');
});

test('a decision approves its own change, and no other', async () => {
  const dir = await start();
  await edit(dir, '    time: t\n', '    time: t\n    properties: { rename: { amount: Amount } }\n');
  const hash = hashOf((await cli(dir, 'plan')).out);
  await edit(dir, '    time: t\n', `    time: t\n    decisions: { ${hash}: resend }\n`);
  await edit(dir, 'amount: Amount', 'amount: Total');
  const before = await copies(dir);
  const refused = await cli(dir, 'apply');
  expect([refused.code, refused.err]).toEqual([1, expect.stringContaining(`decision ${hash} is for no change`)]);
  const other = hashOf(refused.err);
  expect(other).not.toBe(hash);
  expect(await copies(dir)).toBe(before);
  await edit(dir, 'amount: Total', 'amount: Amount');
  await apply(dir);
  expect(await copies(dir)).toBe(before + 10);
});

const USERS = { kind: 'user_profiles', identity: '    user_id: id\n' };
test.each([
  ['events with a key', '    key: id\n', '0 inserts, 10 updates, 0 deletes'],
  ['events without one', '', '10 inserts, 0 updates, 10 deletes'],
  ['user profiles', USERS, '0 inserts, 10 updates, 0 deletes'],
])(
  'a version that writes a value otherwise for its checksum sends nothing, unless a resend is asked for (%s)',
  async (_, declared, resent) => {
    const dir = await (typeof declared === 'string' ? start(declared) : start(declared.identity, declared.kind));
    const [state] = (await change(dir, 'select baseline from mixpanel.p__state')) as { baseline: string }[];
    const now = JSON.parse(state!.baseline) as {
      mapping: { column: string; checksum: string }[];
      expressions: { checksum: string; key: string };
    };
    const earlier = (sql: string): string =>
      sql.replaceAll('cast("amount" as varchar)', 'cast("amount" * 1.5 as varchar)');
    const before = {
      mapping: now.mapping.map((m) => ({ ...m, checksum: earlier(m.checksum) })),
      expressions: { key: earlier(now.expressions.key), checksum: earlier(now.expressions.checksum) },
    };
    expect(before).not.toEqual({ mapping: now.mapping, expressions: now.expressions });
    const baseline = JSON.stringify({ ...now, ...before });
    const sums = async (): Promise<unknown> =>
      change(dir, 'select row_key, row_checksum from mixpanel.p__ledger order by 1');
    const after = await sums();
    // As the earlier version left it.
    const rewrite = async (): Promise<void> => {
      await change(
        dir,
        `update mixpanel.p__state set baseline = '${baseline.replaceAll("'", "''")}'`,
        `create temp table was as select ${now.expressions.key.replaceAll('syncline_was', 'syncline_checksum')} as k, ${before.expressions.key} as old_key, r.syncline_was as old_checksum
          from (select t.*, ${now.expressions.checksum} as syncline_checksum, ${before.expressions.checksum} as syncline_was from p as t) as r`,
        `update mixpanel.p__ledger as l set row_key = w.old_key, row_checksum = w.old_checksum from was as w where w.k = l.row_key`,
      );
      expect(await sums()).not.toEqual(after);
    };
    await rewrite();
    expect((await cli(dir, 'plan')).out).toMatch(
      /^p \(changes\): 0 inserts, 0 updates, 0 deletes(; 0 billable events)?\n/,
    );
    expect(await apply(dir)).toContain('run 2 done: 0 inserts, 0 updates, 0 deletes');
    expect(await copies(dir)).toBe(typeof declared === 'string' ? 10 : 0);
    expect(await sums()).toEqual(after);
    expect(await apply(dir)).toContain('nothing changed');

    await rewrite();
    expect(await apply(dir, '--resend', 'p')).toContain(resent);
    expect(await sums()).toEqual(after);
    expect(await apply(dir)).toContain('nothing changed');
  },
);
