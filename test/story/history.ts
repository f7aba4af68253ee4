import type { Manner } from './mixpanel.ts';
import { random } from './scheduler.ts';
import type { Version } from './story.ts';
import { Story, TTL } from './story.ts';
import type { Shape } from './table.ts';
import { columnsOf, mutations } from './table.ts';

export interface Told {
  readonly problem: string | undefined;
  readonly trace: readonly string[];
  readonly runs: number;
  readonly swapped: number;
}

/** One random history of a sync: processes, faults, a source that moves, and at the end the question whether all is right. */
export async function history(shape: Shape, seed: number): Promise<Told> {
  const rng = random(seed * 3 + { keyed: 0, unkeyed: 1, append: 2 }[shape]);
  const story = await Story.open(shape, rng() < 0.2, rng, rng() < 0.5 ? 4_000 : 12_000);
  try {
    const problem = await live(story, rng).catch((error: unknown) =>
      error instanceof Error ? (error.stack ?? error.message) : String(error),
    );
    return { problem, trace: story.scheduler.trace, runs: story.runs, swapped: story.swapped };
  } finally {
    story.close();
  }
}

async function live(story: Story, rng: () => number): Promise<string | undefined> {
  const { scheduler: s, server, outside } = story;
  s.mutate = mutations(s, story.shape, columnsOf(story.shape, story.wide), rng, (sql) => outside.run(sql));

  // The tables are made in peace: a crash in between is the setup's own transaction.
  await story.apply({ mayCreate: true });
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
    server.manner = s.pick<Manner>(['names', 'names', 'nameless', 'too-large']);
    const version = swaps ? await another(story) : 'first';
    await story.apply({ processes: rng() < 0.25 ? 2 : 1, version });
    s.setTime(
      s.now + s.pick([90 * 86_400_000, ...[1, 1, 1, 2 * TTL, 2 * TTL, 2 * TTL].map((ms) => Math.floor(rng() * ms))]),
    );
  }
  s.chaos = { kill: 0, pause: 0, mutate: 0, lostStatement: 0, network: 0 };
  server.refusing = null;
  server.manner = 'names';
  await s.settle();
  s.setTime(s.now + 100_000);
  return rest(story, swaps);
}

/** Another plan where a run is `sending`, and now and then; a changed mapping only where it cannot become the first one. */
async function another(story: Story): Promise<Version> {
  const { sending, committed } = await story.state();
  // An append takes another mapping for the rows to come.
  if (story.shape === 'append') return story.scheduler.pick<Version>(['first', 'other']);
  if (sending) return story.scheduler.pick<Version>(['other', 'changed']);
  return story.scheduler.pick<Version>(committed ? ['first', 'first', 'other', 'changed'] : ['first', 'other']);
}

/** In peace it comes to rest, with the table and Mixpanel equal. */
async function rest(story: Story, swaps: boolean): Promise<string | undefined> {
  const { scheduler: s, server } = story;
  let stopped = 0;
  for (let i = 0; i < 8; i++) {
    const before = server.records;
    const [result] = await story.apply({ version: stopped < 2 ? 'first' : 'other' });
    s.setTime(s.now + 1000);
    // A guard that failed stays failed; a plan without it goes on.
    const guarded = result?.startsWith('guard:') === true;
    if (stopped === 1 && (!guarded || server.records > before)) return `the guard let it pass: ${String(result)}`;
    if (guarded) stopped++;
    else if (result !== 'ok') return `an apply in peace fails: ${String(result)}`;
    else if (server.records === before) {
      const problem = await story.problem();
      if (problem !== undefined || !swaps || i === 7 || story.shape === 'append') return problem;
      const [refused] = await story.apply({ version: 'changed' });
      if (refused?.startsWith('mapping-changed:') !== true || server.records > before)
        return `another mapping is not refused: ${String(refused)}`;
      swaps = false;
    }
  }
  return 'it never comes to rest';
}
