import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { Told } from '../runtime/cli/preview-text.ts';
import { markdown, text } from '../runtime/cli/preview-text.ts';
import { explained, REASONS } from '../runtime/cli/reasons.ts';

const told = (name: string, more: Partial<Told['preview']> = {}): Told => ({
  preview: {
    ...{ sync: name, kind: 'events', mode: 'mirror', strategy: 'checksum', why: 'because', route: 'changes' },
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
const HEAD = { project: 'shop', target: 'prod' };

test('a comment holds whole rows and whole details, and counts what does not fit', () => {
  const some = markdown(
    HEAD,
    Array.from({ length: 400 }, (_, i) => told(`sync_${i}`)),
  );
  expect(some.length).toBeLessThan(65_536);
  expect(some.match(/^\| sync_/gm)).toHaveLength(400);
  const shown = some.match(/^<details>/gm)!.length;
  expect(some).toMatch(new RegExp(`The details of ${400 - shown} syncs did not fit here`));
  expect(some.match(/^<\/details>/gm)).toHaveLength(shown);

  const many = markdown(
    HEAD,
    Array.from({ length: 4000 }, (_, i) => told(`sync_${i}`)),
  );
  expect(many.length).toBeLessThan(65_536);
  const rows = many.match(/^\| sync_/gm)!.length;
  expect(many).toContain(`${(4000 - rows).toLocaleString('en-US')} more syncs did not fit here.`);
});

test('syncs with nothing to say are counted, and names cannot break the table', () => {
  const quiet = told('quiet', { inserts: 0, billable: 0, records: 0 });
  expect(markdown(HEAD, [quiet])).toBe('### syncline plan: shop / prod\n\nNothing to send: 1 sync unchanged.');
  expect(markdown({ project: 'a|b\nc', target: 't' }, [quiet, told('loud')])).toContain('a\\|b c / t');
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
  decisions: { 7f3a91c: forward }  # 0 inserts, 0 updates, 0 deletes; 0 billable events`);
  expect(markdown(HEAD, [open])).toContain('| s | **waits for a decision** |');
  expect(markdown(HEAD, [told('s', { guards: [guard] })])).toContain('| s | **a guard stops it** |');
  const refusal = { code: 'check-failed', message: 'A key column is NULL.' } as const;
  const refused = told('s', { refusals: [refusal], guards: [guard] });
  expect(text(refused)).toContain('  apply will refuse: A key column is NULL.\n  apply will stop: 500 rows');
  expect(markdown(HEAD, [refused])).toContain('| s | **a check refuses it** |');
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
