import path from 'node:path';
import { expect, test } from 'vitest';
import { compile } from '../compiler/compile.ts';
import { duckdb } from '../compiler/dialects/duckdb.ts';
import { writeLock } from '../compiler/lock.ts';
import { readTemplates } from '../compiler/templates.ts';
import { RunError } from '../runtime/errors.ts';
import { compareMapping, routeOf } from '../runtime/mapping.ts';
import { baselineOf } from '../runtime/state.ts';
import type { SyncPlan } from '../schemas/types.ts';

const COLUMNS = {
  id: 'INTEGER',
  t: 'TIMESTAMP',
  t2: 'TIMESTAMP',
  u: 'VARCHAR',
  v: 'VARCHAR',
  ev: 'VARCHAR',
  a: 'VARCHAR',
};
const EVENTS = 'kind: events, mode: mirror, event: E, time: t, user_id: u, key: id';
const GROUPS = 'kind: group_profiles, mode: mirror, group_key: company, group_id: u';

async function planned(declaration: string, columns: Readonly<Record<string, string>> = COLUMNS): Promise<SyncPlan> {
  const source = { columns: Object.entries(columns).map(([name, type]) => ({ name, type })) };
  const { plan, diagnostics } = compile({
    files: {
      'syncline.yml':
        'name: x\ndefault_target: t\ntargets: { t: { warehouse: { type: duckdb, path: x }, mixpanel: sandbox } }\n',
      'syncs/s.yml': `syncs:\n  - { name: s, source: { relation: src }, ${declaration} }\n`,
      'syncline.lock.json': writeLock({ lockVersion: 1, targets: { t: { sources: { src: source } } } }),
    },
    templates: await readTemplates(path.join(import.meta.dirname, '../templates')),
    dialect: duckdb,
  });
  if (!plan) throw new Error(JSON.stringify(diagnostics));
  return plan.syncs[0]!;
}

/** Why the change from one declaration to another cannot be forwarded, in the words of apply; '' where it can. */
async function refusal(from: string, to: string, columns?: Readonly<Record<string, string>>): Promise<string> {
  const baseline = baselineOf(await planned(from), {});
  const after = await planned(to, columns);
  expect(routeOf(after, baseline, 'resend').values['resend']).toBe(to.includes('where') ? 0 : 1);
  try {
    routeOf(after, baseline, 'forward');
    return '';
  } catch (error) {
    if (!(error instanceof RunError)) throw error;
    expect(error.message).toMatch(
      /^The change of s \(.+\) cannot be forwarded: .+\. Decide `[a-f][0-9a-f]{6}: resend`, or restore the mapping\.$/,
    );
    return /: (.+)\. Decide/.exec(error.message)![1]!;
  }
}

const IDENTITY = 'it changes what a record is, so the old records cannot stand for the new ones';

test.each([
  ['the name of the event', EVENTS, EVENTS.replace('event: E', 'event: F'), IDENTITY],
  ['the event as a column', EVENTS, EVENTS.replace('event: E', 'event: { column: ev }'), IDENTITY],
  ['the time', EVENTS, EVENTS.replace('time: t', 'time: t2'), IDENTITY],
  ['the zone of the time', EVENTS, `${EVENTS}, timezone: Europe/Berlin`, IDENTITY],
  ['the user', EVENTS, EVENTS.replace('user_id: u', 'user_id: v'), IDENTITY],
  ['a device', EVENTS, `${EVENTS}, device_id: v`, IDENTITY],
  ['the key', EVENTS, EVENTS.replace('key: id', 'key: [id, a]'), IDENTITY],
  ['no key', EVENTS, EVENTS.replace(', key: id', ''), IDENTITY],
  ['the group key', GROUPS, GROUPS.replace('company', 'team'), IDENTITY],
  ['the id of a group', GROUPS, GROUPS.replace('group_id: u', 'group_id: v'), IDENTITY],
  ['a condition', EVENTS, `${EVENTS}, where: "a <> 'x'"`, 'rows that the condition leaves out would stay in Mixpanel'],
  ['a renamed property', EVENTS, `${EVENTS}, properties: { rename: { a: b } }`, ''],
])('%s is forwarded, or not for its own reason', async (_, from, to, why) => {
  expect(await refusal(from, to)).toBe(why);
});

test('a column that is gone cannot be forwarded, since the old form needs it', async () => {
  const rest = Object.fromEntries(Object.entries(COLUMNS).filter(([name]) => name !== 'ev'));
  expect(await refusal(EVENTS, EVENTS, rest)).toBe('the old form needs column ev, which is gone');
  expect(await refusal(EVENTS, `${EVENTS}, properties: { exclude: [ev] }`)).toBe('');
});

test('a last run that kept no expressions can only be resent', async () => {
  const { mapping } = baselineOf(await planned(EVENTS), {});
  const after = await planned(`${EVENTS}, properties: { rename: { a: b } }`);
  expect(() => routeOf(after, { mapping }, 'forward')).toThrow(
    'cannot be forwarded: its last run was made by a version that did not keep what is needed. Decide',
  );
});

test.each([
  ['with a key', EVENTS],
  ['without one', EVENTS.replace(', key: id', '')],
])(
  'a newer compiler rewrites checksums, and a resend that is asked for sends every row all the same (%s)',
  async (_, declaration) => {
    const sync = await planned(declaration);
    const now = baselineOf(sync, {});
    const older = { ...now, mapping: now.mapping.map((m) => ({ ...m, checksum: `trim(${m.checksum})` })) };
    for (const baseline of [older, { mapping: older.mapping }]) {
      expect(compareMapping(sync, baseline).kind).toBe('rebase');
      expect(routeOf(sync, baseline, 'resend')).toEqual({ forward: false, values: { resend: 1 } });
      const kept = 'expressions' in baseline;
      expect([routeOf(sync, baseline), routeOf(sync, baseline, 'forward')]).toMatchObject([
        { forward: kept, values: { resend: 0 } },
        { forward: kept, values: { resend: 0 } },
      ]);
    }
  },
);
