import { expect, test } from 'vitest';
import type { Known } from '../runtime/cli/health.ts';
import { healthOf } from '../runtime/cli/health.ts';
import { failuresOf, Manifest, readManifest } from '../runtime/manifest.ts';
import type { RunManifest, SyncRecord } from '../schemas/types.ts';
import { realWorld } from '../runtime/world.ts';

const at = (minute: number): string => new Date(minute * 60_000).toISOString();
const KNOWN: Known = {
  sync: 'a',
  ran: true,
  sending: false,
  held: false,
  runsUntilMs: null,
  finishedMs: 600_000,
  rejects: 0,
  isSetUp: true,
  forgotten: false,
};
const manifest = (record: Partial<SyncRecord>, more: Partial<RunManifest> = {}): RunManifest => ({
  manifestVersion: 1,
  project: 'p',
  target: 't',
  planHash: '',
  startedAt: at(20),
  finishedAt: at(30),
  allowed: [],
  syncs: { a: { status: 'pending', runs: [], steps: [], ...record } },
  ...more,
});
const judge = (known: Partial<Known>, of?: RunManifest) =>
  healthOf({ ...KNOWN, ...known }, of, (verb, sync) => `${verb} ${sync}`);
const failed = (code: string): RunManifest =>
  manifest({ status: 'failed', endedAt: at(25), error: { code, message: 'why' } });

test('a sync that never ran, also where its first run failed or its tables are there', () => {
  const never = { ran: false, finishedMs: null };
  expect(judge(never)).toEqual({ status: 'never run', since: null, error: null, next: 'apply a' });
  expect(judge(never, manifest({}))).toMatchObject({ status: 'never run' });
  expect(judge(never, failed('guard'))).toMatchObject({ status: 'failed', since: at(25), next: 'plan a' });
});

test('ok since its last run; a record that was rejected is the next thing to look at', () => {
  expect(judge({})).toEqual({ status: 'ok', since: at(10), error: null, next: null });
  expect(judge({ rejects: 3 })).toMatchObject({ status: 'ok', next: 'rejects a' });
  // Without staging tables only the manifest knows when.
  const done = manifest({ status: 'unchanged', endedAt: at(22) });
  expect(judge({ finishedMs: null }, done)).toMatchObject({ status: 'ok', since: at(22) });
  expect(judge({ finishedMs: null })).toMatchObject({ status: 'ok', since: null });
});

test('failed until a later run is on record, also when other applies came after', () => {
  const error = { code: 'columns-drifted', message: 'why' };
  expect(judge({}, failed('columns-drifted'))).toEqual({ status: 'failed', since: at(25), error, next: 'lock a' });
  expect(judge({}, failed('retries-exhausted'))).toMatchObject({ status: 'failed', next: 'apply a' });
  expect(judge({}, failed('mixpanel-unauthorized'))).toMatchObject({ status: 'failed', next: 'doctor a' });
  expect(judge({ finishedMs: 26 * 60_000 }, failed('guard'))).toMatchObject({
    status: 'ok',
    since: at(26),
    error: null,
  });
  const later = manifest({}, { syncs: {}, earlier: { a: { at: at(15), ...error } } });
  expect(judge({}, later)).toMatchObject({ status: 'failed', since: at(15), error });
});

test('a state that is gone, and a failure for want of one that is there now; what was forgotten is applied next', () => {
  const lost = { code: 'state-missing', message: 'gone', remedy: 'setup --execute' };
  const { remedy: next, ...error } = lost;
  const none = { ran: false, finishedMs: null };
  expect(judge({ ...none, isSetUp: false, lost })).toEqual({ status: 'failed', since: null, error, next: `${next} a` });
  expect(judge(none, failed('state-missing'))).toEqual({
    status: 'never run',
    since: null,
    error: null,
    next: 'apply a',
  });
  expect(judge({ ...none, isSetUp: false }, failed('state-missing'))).toMatchObject({
    status: 'failed',
    next: 'plan a',
  });
  expect(judge(none, failed('guard'))).toMatchObject({ status: 'failed' });
  expect(judge({ ran: false, forgotten: true })).toEqual({ status: 'ok', since: at(10), error: null, next: 'apply a' });
});

test('interrupted while sending, with the reason where one is known, or before anything was sent', () => {
  expect(judge({ sending: true })).toEqual({ status: 'interrupted', since: null, error: null, next: 'apply a' });
  const error = { code: 'retries-exhausted', message: 'why' };
  expect(judge({ sending: true }, failed('retries-exhausted'))).toMatchObject({ since: at(25), error });
  const killed = manifest({ status: 'running' }, { finishedAt: null });
  expect(judge({ sending: true }, killed)).toMatchObject({ status: 'interrupted', since: at(20) });
  expect(judge({ held: true }, killed)).toMatchObject({ status: 'interrupted', since: at(20), next: 'apply a' });
  expect(judge({ held: true })).toMatchObject({ status: 'interrupted', since: null });
  expect(judge({ held: true }, manifest({ status: 'done', endedAt: at(22) }))).toMatchObject({ status: 'ok' });
});

test('running while the lease of another process lasts, whatever the manifest says; afterwards interrupted', () => {
  const running = { status: 'running', since: null, error: null, next: null };
  const held = { sending: true, held: true, runsUntilMs: 3_600_000 };
  expect(judge(held)).toEqual(running);
  expect(judge({ ...held, sending: false }, failed('guard'))).toEqual(running);
  expect(judge({ ...held, ran: false, finishedMs: null })).toEqual(running);
  expect(judge({ ...held, runsUntilMs: null })).toMatchObject({ status: 'interrupted', next: 'apply a' });
});

test('a manifest keeps failures of those before it until their syncs end otherwise', async () => {
  const header = { project: 'p', target: 't', planHash: '' };
  const world = { ...realWorld, writeFileAtomic: () => Promise.resolve(), now: () => 1_800_000 };
  const one = new Manifest(world, 'm', { ...header, syncs: ['a', 'b'] });
  one.fail('a', 'guard', 'too much');
  one.fail('b', 'disk', 'full');
  expect(failuresOf(one.content)).toEqual({
    a: { at: at(30), code: 'guard', message: 'too much' },
    b: { at: at(30), code: 'disk', message: 'full' },
  });
  const two = new Manifest(world, 'm', { ...header, syncs: ['a', 'b', 'c'], before: one.content });
  two.take({ type: 'begin', sync: 'a', run: 2, resumed: false });
  expect(Object.keys(failuresOf(two.content))).toEqual(['a', 'b']);
  two.take({ type: 'unchanged', sync: 'a', run: 2, done: false });
  expect(Object.keys(failuresOf(two.content))).toEqual(['b']);
  const three = new Manifest(world, 'm', { ...header, syncs: ['c'], before: two.content });
  expect(three.content.earlier).toEqual({ b: { at: at(30), code: 'disk', message: 'full' } });
  for (const text of [undefined, '', '{"manifestVersion":2}', 'null'])
    expect(await readManifest({ ...world, readFile: () => Promise.resolve(text) }, 'm')).toBeUndefined();
});
