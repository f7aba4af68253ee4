import type { Range } from '../../runtime/sync.ts';
import { differsFrom, isForetold } from './foretold.ts';
import type { Manner } from './mixpanel.ts';
import type { Scheduler } from './scheduler.ts';
import { random } from './scheduler.ts';
import type { Version } from './story.ts';
import { stopsFor, Story, TTL } from './story.ts';
import type { Engine } from './engine.ts';
import type { Shape } from './table.ts';
import { mutations, SHAPES, specOf } from './table.ts';

export interface Told {
  readonly problem: string | undefined;
  readonly trace: readonly string[];
  readonly runs: number;
  readonly swapped: number;
  /** Rows that came later than a late window. */
  readonly lost: number;
}

/** One random history of a sync: processes, faults, a source that moves, and at the end the question whether all is right. */
export async function history(engine: Engine, shape: Shape, seed: number): Promise<Told> {
  const rng = random(seed * SHAPES.length + SHAPES.indexOf(shape));
  const x = rng();
  const width = x < 0.1 ? 'wide' : x < 0.2 ? 'scalars' : 'narrow';
  const story = await Story.open(engine, shape, width, rng, rng() < 0.5 ? 4_000 : 12_000);
  try {
    const problem = await live(story, rng).catch((error: unknown) =>
      error instanceof Error ? (error.stack ?? error.message) : String(error),
    );
    const lost = specOf(shape).truth === 'due' ? story.truth.lost(await story.lines()) : 0;
    return { problem, trace: story.scheduler.trace, runs: story.runs, swapped: story.swapped, lost };
  } finally {
    await story.close();
  }
}

async function live(story: Story, rng: () => number): Promise<string | undefined> {
  const { scheduler: s, server, outside } = story;
  s.mutate = mutations(s, story.shape, story.columns, rng, (sql) => outside.run(sql));

  // The tables are made in peace: a crash in between is the setup's own transaction.
  const foretold = await story.preview('first');
  await story.apply({ mayCreate: true });
  const problem = differsFrom(foretold, story.committed, story.received);
  if (problem !== undefined) return problem;
  for (let i = 0; i < 3; i++) await s.mutate();
  const rounds = 2 + Math.floor(rng() * 4);
  const swaps = rng() < 0.5;
  for (let round = 0; round < rounds; round++) {
    s.chaos = {
      kill: rng() < 0.6 ? 0.02 : 0,
      pause: rng() < 0.4 ? 0.02 : 0,
      mutate: 0.08,
      lostStatement: rng() < 0.4 ? 0.03 : 0,
      network: rng() < 0.6 ? 0.3 : 0,
    };
    const mod = Math.floor(rng() * 4);
    server.refusing =
      rng() < 0.4 ? (id, tombstone) => parseInt(id.slice(0, 4), 16) % 4 === mod && (mod !== 1 || tombstone) : null;
    server.manner = s.pick<Manner>(['names', 'names', 'nameless', 'too-large', 'names-alone']);
    const version = swaps ? await another(story) : 'first';
    const processes = rng() < 0.25 ? 2 : 1;
    const backfill = story.shape === 'append' && rng() < 0.3 ? rangeUntil(s.now, rng) : undefined;
    const isAmid = s.locks !== undefined && s.chance(0.5);
    if (isAmid) s.crash = amid(s);
    await story.apply({ processes, version, backfill, leave: s.locks !== undefined && s.chance(0.6) });
    // The next one finds its lease run out and its locks still held.
    if (isAmid && !s.crash) s.setTime(s.now + TTL + 1);
    s.crash = undefined;
    s.setTime(
      s.now + s.pick([90 * 86_400_000, ...[1, 1, 1, 2 * TTL, 2 * TTL, 2 * TTL].map((ms) => Math.floor(rng() * ms))]),
    );
  }
  s.chaos = { kill: 0, pause: 0, mutate: 0, lostStatement: 0, network: 0 };
  server.refusing = null;
  server.manner = 'names';
  await story.ended();
  await s.settle();
  // What is equal now stays equal: no version begins or ends any more.
  s.setTime(s.now + (specOf(story.shape).history ? 86_400_000 : 100_000));
  return rest(story, swaps);
}

/** A process dies or pauses in the middle of a transaction that holds locks. */
function amid(s: Scheduler): Scheduler['crash'] {
  const at = s.pick(['s/rejects_insert.sql', 's/run_record.sql', 's/state_commit.sql', 'commit']);
  return { at, when: 'before', ...(s.chance(0.5) ? { pauses: 4 * TTL } : {}) };
}

/** Insert times up to now, or a little later. */
export function rangeUntil(now: number, rng: () => number): Range {
  const text = (ms: number): string => new Date(ms).toISOString().replace('T', ' ').replace('Z', '');
  return { from: text(now - Math.floor(rng() * 300_000)), to: text(now + Math.floor(rng() * 1000)) };
}

/** Another plan where a run is `sending`, and now and then; a changed mapping only where it cannot become the first one. */
async function another(story: Story): Promise<Version> {
  const { sending, committed } = await story.state();
  // Only a mirror refuses another mapping; any other mode takes it for the rows to come.
  const changed: Version[] = specOf(story.shape).mode === 'mirror' ? ['other', 'changed'] : ['other'];
  if (sending) return story.scheduler.pick<Version>(changed);
  return story.scheduler.pick<Version>(committed ? ['first', 'first', ...changed] : ['first', 'other']);
}

/** In peace it comes to rest, with the table and Mixpanel equal. */
async function rest(story: Story, swaps: boolean): Promise<string | undefined> {
  const { scheduler: s, server } = story;
  const { kind, mode } = specOf(story.shape);
  const isNeverStill = mode === 'full' && kind !== 'lookup_table';
  let stopped = 0;
  for (let i = 0; i < 8; i++) {
    const before = server.records;
    const version = stopped < 2 ? 'first' : 'other';
    const foretold = await story.preview(version);
    const { length } = story.committed;
    const [result] = await story.apply({ version, previewed: foretold.state });
    s.setTime(s.now + 1000);
    const after = await story.preview(version);
    if (result === 'ok') {
      const problem = differsFrom(foretold, story.committed.slice(length), story.received);
      if (problem !== undefined) return problem;
    }
    // A preview is of one run: what was stopped may be allowed, what was done is done.
    if ((after.state === foretold.state) !== (result !== 'ok' && foretold.route !== 'sending'))
      return `after ${String(result)} the preview is ${after.state === foretold.state ? 'as good as' : 'no better than'} before`;
    if (foretold.route !== 'sending' && !isForetold(foretold, String(result)))
      return `the preview said ${JSON.stringify([foretold.guards, foretold.refusals])}, apply ${String(result)}`;
    // A guard that failed stays failed; a plan without it goes on.
    const guarded = result !== undefined && (result.startsWith('guard:') || stopsFor(result));
    if (stopped === 1 && (!guarded || server.records > before)) return `the guard let it pass: ${String(result)}`;
    if (guarded) stopped++;
    else if (result !== 'ok') return `an apply in peace fails: ${String(result)}`;
    else if (server.records === before || (isNeverStill && i > 0)) {
      const left = await story.outboxes();
      const problem = (await story.problem()) ?? (left.length > 0 ? `${left.join()} is left` : undefined);
      if (problem !== undefined) return problem;
      const refuses = swaps && mode === 'mirror';
      return (
        (refuses ? await refusesAnother(story) : undefined) ??
        (mode === 'one_time' ? await staysDone(story) : undefined) ??
        (story.shape === 'append' ? await fillsIn(story) : undefined)
      );
    }
  }
  return 'it never comes to rest';
}

async function refusesAnother(story: Story): Promise<string | undefined> {
  const before = story.server.records;
  const [refused] = await story.apply({ version: 'changed' });
  return refused?.startsWith('mapping-changed:') !== true || story.server.records > before
    ? `another mapping is not refused: ${String(refused)}`
    : undefined;
}

/** A backfill sends what its preview said, and changes nothing. */
async function fillsIn(story: Story): Promise<string | undefined> {
  const backfill = { from: '2023-11-01', to: '2030-01-01' };
  const foretold = await story.preview('other', backfill);
  const { length } = story.committed;
  const [result] = await story.apply({ version: 'other', backfill, previewed: foretold.state });
  if (result !== 'ok') return `a backfill in peace fails: ${String(result)}`;
  return differsFrom(foretold, story.committed.slice(length), story.received) ?? story.problem();
}

async function staysDone(story: Story): Promise<string | undefined> {
  const before = story.server.records;
  for (let i = 0; i < 3; i++) await story.scheduler.mutate();
  await story.apply();
  return story.server.records > before ? 'a sync of one time sends again' : story.problem();
}
