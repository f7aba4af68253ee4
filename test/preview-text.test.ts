import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { Told } from '../runtime/cli/preview-text.ts';
import { comment, isMoving, markdown, text } from '../runtime/cli/preview-text.ts';
import type { SyncPlan } from '../schemas/types.ts';
import { explained, REASONS } from '../runtime/cli/reasons.ts';

const told = (name: string, more: Partial<Told['preview']> = {}): Told => ({
  preview: {
    ...{
      sync: name,
      kind: 'events',
      mode: 'mirror',
      strategy: 'checksum',
      expires: null,
      why: 'because',
      route: 'changes',
    },
    ...{
      renamedFrom: null,
      backfill: null,
      unreleased: false,
      state: '0123456789abcdef',
      decision: null,
      inserts: 1,
      updates: 0,
      deletes: 0,
      invalid: {},
      billable: 1,
      records: 1,
      adopted: 0,
      inexact: 0,
      leftOut: 0,
    },
    ...{ bytes: 100, reads: null, guards: [], refusals: [], newColumns: [], undecided: null, staleDecisions: [] },
    ...more,
  },
  ...{ sync: undefined, differing: [], overridden: [], compressed: 50, egressPrice: null },
});
const HEAD = { project: 'shop', target: 'prod', staging: 'mixpanel' };
const NONE = { refused: [], orphans: [] };
const QUIET = { inserts: 0, billable: 0, records: 0 };

test('a comment holds whole rows and whole details, and counts what does not fit', () => {
  const some = markdown(
    HEAD,
    Array.from({ length: 400 }, (_, i) => told(`sync_${i}`)),
    NONE,
  );
  expect(some.length).toBeLessThan(65_536);
  expect(some.match(/^\| sync_/gm)).toHaveLength(400);
  const shown = some.match(/^<details>/gm)!.length;
  expect(some).toMatch(new RegExp(`The details of ${400 - shown} syncs did not fit here`));
  expect(some.match(/^<\/details>/gm)).toHaveLength(shown);

  const many = markdown(
    HEAD,
    Array.from({ length: 4000 }, (_, i) => told(`sync_${i}`)),
    NONE,
  );
  expect(many.length).toBeLessThan(65_536);
  const rows = many.match(/^\| sync_/gm)!.length;
  expect(many).toContain(`${(4000 - rows).toLocaleString('en-US')} more syncs did not fit here.`);
});

test('syncs with nothing to say are counted, and names cannot break the table', () => {
  const quiet = told('quiet', QUIET);
  expect(markdown(HEAD, [quiet], NONE)).toBe('### syncline plan: shop / prod\n\nNothing to send: 1 sync unchanged.');
  expect(markdown({ ...HEAD, project: 'a|b\nc', target: 't' }, [quiet, told('loud')], NONE)).toContain('a\\|b c / t');
});

test('of a sync that is new to a review some statements are named, and how many more there are', () => {
  const differing = Array.from({ length: 55 }, (_, i) => `s${i}`);
  const line = '  SQL that differs from what was reviewed: s0, s1, s2, s3, s4, s5, s6, s7 and 47 more\n';
  expect(text({ ...told('s'), differing })).toContain(line);
});

test('a guard that stops, invalid rows, an open decision', () => {
  const guard = { name: 'max_deletes', value: 500, limit: 100, stops: true } as const;
  expect(text(told('s', { guards: [guard], invalid: { 'time-missing': 1200 } }))).toContain(
    '1,200 invalid rows: time-missing: its time is NULL, or no time that a calendar has\n  apply will stop: 500 rows where 100 rows may pass (guard max_deletes). If that is meant: --allow s.max_deletes=500',
  );
  const nothing = { inserts: 0, updates: 0, deletes: 0, billable: 0 };
  const open = told('s', {
    undecided: {
      hash: '7f3a91c',
      what: 'columns a',
      choices: [
        { ...nothing, decision: 'resend', updates: 10, billable: 10 },
        { ...nothing, decision: 'forward' },
      ],
    },
  });
  expect(text(open)).toBe(`s: the mapping changed (columns a)
  decisions: { 7f3a91c: resend }   # 0 inserts, 10 updates, 0 deletes; 10 billable events
  decisions: { 7f3a91c: forward }  # 0 inserts, 0 updates, 0 deletes; 0 billable events
  checksum: because`);
  expect(markdown(HEAD, [open], NONE)).toContain('| s | **waits for a decision** |');
  expect(markdown(HEAD, [told('s', { guards: [guard] })], NONE)).toContain('| s | **a guard stops it** |');
  const refusal = { code: 'check-failed', message: 'A key column is NULL.' } as const;
  const refused = told('s', { refusals: [refusal], guards: [guard] });
  expect(text(refused)).toContain('  apply will refuse: A key column is NULL.\n  apply will stop: 500 rows');
  expect(markdown(HEAD, [refused], NONE)).toContain('| s | **a check refuses it** |');
});

test('every reason that compiled rules give is explained, and none that they do not give', () => {
  const folder = path.join(import.meta.dirname, 'golden/expected');
  const rules = readdirSync(folder)
    .filter((file) => file.endsWith('.sql'))
    .flatMap((file) => [
      ...readFileSync(path.join(folder, file), 'utf8').matchAll(/^ {6}when .* then '([a-z0-9]+-[a-z0-9-]+)'$/gm),
    ]);
  expect([...new Set(rules.map(([, reason]) => reason))].sort()).toEqual(Object.keys(REASONS).sort());
  expect(explained('time-missing')).toMatch(/^time-missing: its time is NULL/);
  expect(explained('a sentence of Mixpanel')).toBe('a sentence of Mixpanel');
});

test.each<[string, Partial<Told['preview']>, Partial<Told>, boolean]>([
  ['a rename', { renamedFrom: 'old' }, {}, true],
  ['a decided change that sends nothing', { decision: 'forward' }, {}, true],
  ['rows that are adopted', { route: 'initial', adopted: 3 }, { sync: { adopts: true } as SyncPlan }, true],
  ['the adoption of an empty table', { route: 'initial' }, { sync: { adopts: true } as SyncPlan }, true],
  ['an interrupted run', { route: 'sending' }, {}, true],
  ['a column that is new in the source', { newColumns: ['tag'] }, {}, false],
  ['a decision for no change', { staleDecisions: ['a123456'] }, {}, false],
  ['a run that was begun', { unreleased: true }, {}, false],
  ['a template of the project', {}, { overridden: ['changes'] }, false],
  ['another SQL', {}, { differing: ['changes'] }, false],
])('%s is something to say, though nothing is sent', (_, preview, more, moves) => {
  const it: Told = { ...told('s', { ...QUIET, ...preview }), ...more };
  expect(markdown(HEAD, [it, told('quiet', QUIET)], NONE)).toContain('1 sync with something to say, 1 unchanged.');
  expect(isMoving(it)).toBe(moves);
});

test('as Markdown: a decision, a guard, refusals, a rename and orphans', async () => {
  const guard = { name: 'max_deletes', value: 500, limit: 100, stops: true } as const;
  const nothing = { inserts: 0, updates: 0, deletes: 0, billable: 0 };
  const undecided = {
    hash: 'f3a91cc',
    what: 'columns amount',
    choices: [
      { ...nothing, decision: 'resend' as const, updates: 200_000, billable: 200_000 },
      { ...nothing, decision: 'forward' as const },
    ],
  };
  const refusals = [{ code: 'check-failed' as const, message: 'A key column is NULL. (rows: 2)' }];
  const all = [
    told('carts', { ...QUIET, undecided }),
    told('orders', { inserts: 2, deletes: 500, billable: 502, records: 502, bytes: 80_000, guards: [guard] }),
    told('people', { kind: 'user_profiles', refusals }),
    told('sales', { ...QUIET, renamedFrom: 'purchases', staleDecisions: ['a123456'] }),
    told('signups', QUIET),
  ];
  const rest = {
    refused: [
      { sync: 'visits', code: 'columns-drifted', message: 'The source is not what the lock has. (v: missing)' },
    ],
    orphans: [
      { name: 'old_sales', hasState: true },
      { name: 'rest', hasState: false },
    ],
  };
  await expect(`${markdown(HEAD, all, rest)}\n`).toMatchFileSnapshot('e2e/expected/plan-trouble.md');
});

test('a difference fits a comment too, and says that there is none', () => {
  expect(comment('shop / prod', [], 'No difference.')).toBe('### shop / prod\n\nNo difference.');
  expect(comment('shop / prod', ['~ a: b', '+ c'], '')).toBe('### shop / prod\n\n~~~~diff\n~ a: b\n+ c\n~~~~');
  const lines = Array.from({ length: 900 }, (_, i) => `~ sync_${i}: ${'x'.repeat(100)}`);
  const long = comment('shop / prod', lines, '');
  expect(long.length).toBeLessThan(65_536);
  const shown = long.match(/^~ sync_/gm)!.length;
  expect(long).toMatch(new RegExp(`~~~~\n\n${900 - shown} more differences did not fit here\\.$`));
});

test('plan says what partitions save, and of a large table what they would', () => {
  const reads = (bytes: number, whole: number | null, sync: object): string =>
    text({ ...told('s', { reads: { rows: null, bytes, whole } }), sync: sync as SyncPlan });
  const sync = { mode: 'mirror', source: 'd.t', snapshot: { partitions: null } };
  const parted = { ...sync, snapshot: { partitions: { everything: '1:2', changed: [] } } };
  expect(reads(5e9, 700e9, parted)).toContain(
    "reads about d.t, 5.0 GB of 700 GB: partitions that did not change stay unread, as the warehouse's planner expects",
  );
  const advice =
    'd.t is large, and each run reads all of it: with `strategy: snapshot`, of a table that is partitioned';
  expect(reads(12e9, null, sync)).toContain(advice);
  expect(reads(12e9, null, { ...sync, snapshot: null })).toContain(advice);
  for (const other of [
    reads(9e9, null, sync),
    reads(12e9, null, parted),
    reads(12e9, null, { ...sync, mode: 'append' }),
  ])
    expect(other).not.toContain('is large');
});
