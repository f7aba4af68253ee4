import { expect, test } from 'vitest';
import type { Plan, Preview, SyncPlan } from '../../schemas/types.ts';
import type { Declaration } from './declarations.ts';
import { EVENTS, PROFILES, PROPERTIES, UNKEYED } from './declarations.ts';
import { duckdb } from './duckdb.ts';
import type { Engine } from './engine.ts';
import { onEngines } from './engines.ts';
import { differsFrom } from './foretold.ts';
import { canonicalProfile } from './mixpanel.ts';
import { random } from './scheduler.ts';
import { compiled, Story, TTL } from './story.ts';
import { columnsOf, linesOf, mutations, ymlOf } from './table.ts';

const only = process.env['SEED'];
const lives = Math.max(1, Math.ceil(Number(process.env['HISTORIES'] ?? 510) * 0.045));
const LIMITS = { records: 2, bytes: 600 };

/** A profile that is set under new names: what it has under others stays. */
function over(before: string | undefined, image: string, names: readonly string[]): string {
  const [id, properties] = JSON.parse(image) as [string, [string, unknown][]];
  const [, others] = JSON.parse(before ?? '["",[]]') as [string, [string, unknown][]];
  const kept = others.filter(([name]) => !names.includes(name));
  return canonicalProfile(id, Object.fromEntries([...kept, ...properties]));
}
type Price = Pick<Preview, 'decision' | 'inserts' | 'updates' | 'deletes' | 'billable'>;
type Kind = 'keyed' | 'unkeyed' | 'users' | 'groups' | 'history';

/** Years of one sync: its declaration changes, each change is resent or forwarded, processes die in between. */
async function life(engine: Engine, shape: Kind, seed: number): Promise<string | undefined> {
  const rng = random(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(rng() * list.length)]!;
  const declarations = { keyed: EVENTS, unkeyed: UNKEYED, history: PROPERTIES }[shape as string] ?? PROFILES;
  // The events of a history are named like the sync.
  const isRenamed = shape !== 'history';
  const isEvents = shape === 'keyed' || shape === 'unkeyed';
  const columns = columnsOf(shape, 'narrow');
  const plans = new Map<string, Plan>();
  const story = await Story.open(engine, shape, 'narrow', rng, 4_000);
  const { scheduler: s, server, outside } = story;
  let name = 's';
  const planOf = async (d: Declaration, more = ''): Promise<Plan> => {
    const guard = '    guard: { max_deletes: 100%, on_empty_source: allow }\n';
    const yml = d.yml(ymlOf(shape, true)).replace('name: s\n', `name: ${name}\n`);
    const from = `    renamed_from: ${name === 's' ? 'r' : 's'}\n`;
    const id = `${name}: ${d.name}${more}`;
    const plan = plans.get(id) ?? (await compiled(engine, yml + from + guard + more, columns, LIMITS));
    plans.set(id, plan);
    return plan;
  };
  // A profile that lost its last property stays in Mixpanel, and shows nothing.
  const visible = (image: string): boolean => isEvents || !image.endsWith(',[]]');
  const shouldBe = async (d: Declaration): Promise<string[]> =>
    (await linesOf(engine, outside, shape, s.now, columns.map(d.columns).map(engine.column)))
      .flatMap((l) => (l.image === undefined ? [] : [l.image]))
      .filter(visible)
      .sort();
  const shown = (): string[] =>
    server
      .shown()
      .map((x) => x.image)
      .filter(visible)
      .sort();
  const peace = (): Promise<unknown> => {
    server.refusing = null;
    s.chaos = { kill: 0, pause: 0, mutate: 0, lostStatement: 0, network: 0 };
    return s.settle();
  };
  /** Nobody is left behind, either. */
  const rest = async (): Promise<void> => {
    await story.ended();
    s.setTime(s.now + 3 * TTL);
    await peace();
  };
  const settle = async (decision: 'resend' | 'forward' | undefined): Promise<string[]> => {
    s.setTime(s.now + 100_000);
    return story.apply({ version: 'other', plan: await planOf(now), decision, mayCreate: true });
  };
  /** `reset`, where nothing vanished unseen before it: what Mixpanel shows of such rows would stay. */
  const forget = async (): Promise<void> => {
    await rest();
    await settle('resend');
    // It happens at once or not at all, wherever it dies.
    for (let i = 0; i < 3; i++) {
      s.chaos = { kill: 0.1, pause: 0, mutate: 0, lostStatement: 0, network: 0 };
      const [ended] = await story.apply({ version: 'other', plan: await planOf(now), resets: true });
      s.log(`reset: ${String(ended)}`);
      told.set(ended === 'ok' ? 'reset' : 'a reset that died', 1);
      s.setTime(s.now + 3 * TTL);
    }
    await peace();
    await settle(undefined);
  };
  /**
   * What the preview says of a plan is what its apply does, where nobody changes anything in between; a change that
   * waits for a decision is decided in the declaration, by what it is priced at.
   */
  const foretold = async (plan: Plan, remainder?: Remainder): Promise<string | undefined> => {
    let [said, decided] = [await story.preview(plan), plan];
    const { undecided } = said;
    if (undecided) {
      const choice = rng() < 0.7 ? undecided.choices.at(-1)! : undecided.choices[0]!;
      const [sync] = plan.syncs as [SyncPlan];
      decided = { ...plan, syncs: [{ ...sync, decisions: { [undecided.hash]: choice.decision } }] };
      said = await story.preview(decided);
      const pricesOf = (p: Price): unknown[] => [p.decision, p.inserts, p.updates, p.deletes, p.billable];
      const prices = [choice, said].map((p) => JSON.stringify(pricesOf(p)));
      if (prices[0] !== prices[1]) return `a change priced at ${prices.join(' is decided at ')}`;
    }
    s.log(`foretold: ${said.route}, ${String(said.decision)}, ${said.renamedFrom ?? 'its own name'}`);
    const { length } = story.committed;
    const [result] = await story.apply({ version: 'other', plan: decided, previewed: said.state, mayCreate: true });
    if (result !== 'ok') return `foretold, and it fails: ${String(result)}`;
    for (const what of [said.decision, said.renamedFrom && 'renamed', said.adopted > 0 && 'adopted', said.route])
      if (typeof what === 'string') told.set(what, (told.get(what) ?? 0) + 1);
    s.setTime(s.now + 100_000);
    const problem = differsFrom(said, story.committed.slice(length), story.received);
    // Of a history time alone begins and ends versions.
    const next = shape === 'history' ? 0 : (await story.preview(decided)).records;
    if (problem !== undefined || next > 0) return problem ?? `after it the preview says ${next} records more`;
    if (said.decision !== 'forward' || !undecided || !remainder) return undefined;
    // Each row that a resend would send and the forward does not is left as it was.
    const [resent, forwarded] = undecided.choices.map((c) => c.inserts + c.updates) as [number, number];
    return remainder(resent - forwarded);
  };
  /** What a forward leaves as it was, by what Mixpanel shows before it and how rows change until then. */
  type Remainder = (stated: number) => Promise<string | undefined>;
  const imagesOf = async (d: Declaration): Promise<Map<string, string>> =>
    new Map(
      (await linesOf(engine, outside, shape, s.now, columns.map(d.columns).map(engine.column))).flatMap((l) =>
        l.image === undefined ? [] : [[String(l.id), l.image]],
      ),
    );
  const quietly = async (): Promise<string | undefined> => {
    await rest();
    // What was interrupted is finished first; the preview is of what comes then.
    for (const decision of [undefined, 'forward', 'resend'] as const)
      if ((await settle(decision)).every((r) => r === 'ok')) break;
    const was = now;
    const before = new Map(server.shown().map((x) => [x.id, x.image]));
    const old = await imagesOf(was);
    for (let i = 0; i < 3; i++) await s.mutate();
    const then = await imagesOf(was);
    if (rng() < 0.8) now = pick(rng() < 0.6 ? PROPERTIES : declarations);
    if (isRenamed && rng() < 0.25) name = name === 's' ? 'r' : 's';
    s.log(`declared: ${now.name} after ${was.name}, and previewed`);
    // Rows without a key, and the events of a history, have no name by which they could be told from one another.
    if (shape === 'history') s.setTime(s.now + 86_400_000);
    if (shape === 'unkeyed' || shape === 'history') return foretold(await planOf(now));
    return foretold(await planOf(now), async (stated) => {
      const names = columns.map(now.columns).flatMap((c) => (c.property === null ? [] : [c.property ?? c.name]));
      const rows = [...(await imagesOf(now))];
      const isLeft = ([id]: readonly [string, string]): boolean => before.has(id) && then.get(id) === old.get(id);
      const left = rows.filter(isLeft).length;
      told.set('left', (told.get('left') ?? 0) + left);
      if (left !== stated) return `${stated} rows are stated to stay as they are, and ${left} do`;
      const wanted = rows
        .map((row) => (isLeft(row) ? before.get(row[0])! : isEvents ? row[1] : over(before.get(row[0]), row[1], names)))
        .filter(visible)
        .sort();
      return JSON.stringify(wanted) === JSON.stringify(shown())
        ? undefined
        : `a forward to "${now.name}" leaves\n${shown().join('\n')}\n--- and not\n${wanted.join('\n')}`;
    });
  };
  let now = declarations[0]!;
  try {
    server.own = new Set(['id', 'a', 'A b', 'n', 'ev', 'u', 'b']);
    s.mutate = mutations(s, shape, columns.map(engine.column), rng, (sql) => outside.run(sql));
    if (rng() < 0.2) {
      for (let i = 0; i < 4; i++) await s.mutate();
      const problem = await foretold(await planOf(now, '    initial: skip\n'));
      if (problem !== undefined || server.records > 0) return problem ?? 'what is adopted is sent';
      await settle('resend');
    } else await story.apply({ version: 'other', mayCreate: true, plan: await planOf(now) });
    for (let i = 0; i < 3; i++) await s.mutate();
    const rounds = 4 + Math.floor(rng() * 7);
    for (let round = 0; round < rounds; round++) {
      if (rng() < 0.4) {
        const problem = await quietly();
        if (problem !== undefined) return problem;
        continue;
      }
      s.chaos = {
        kill: rng() < 0.5 ? 0.02 : 0,
        pause: 0,
        mutate: 0.05,
        lostStatement: 0,
        network: rng() < 0.5 ? 0.2 : 0,
      };
      if (rng() < 0.6) now = pick(declarations);
      // Only profiles: an event that is refused may stay in its old form, under another id.
      const dial = Math.floor(rng() * 256).toString(16);
      if (shape === 'users' || shape === 'groups')
        server.refusing = rng() < 0.4 ? (id) => id.slice(0, 2) < dial.padStart(2, '0') : null;
      const decision = pick([undefined, 'resend', 'forward', 'forward'] as const);
      s.log(`declared: ${now.name}, decided: ${String(decision)}`);
      if (isRenamed && rng() < 0.25) name = name === 's' ? 'r' : 's';
      const plan = await planOf(now);
      // Its plan may be of before when it goes on, and another one's of now.
      const isLeft = rng() < 0.3;
      if (isLeft) s.chaos.pause = 0.03;
      await story.apply({ version: 'other', plan, decision, mayCreate: true, leave: isLeft });
      s.setTime(s.now + (isLeft ? Math.floor(rng() * 2 * TTL) : 3 * TTL));
      if (rng() < 0.1) await forget();
    }
    await rest();
    // What was forwarded may be in its old form, but each row is there once.
    now = pick(declarations.filter((d) => d !== now));
    if (!(await settle('forward')).every((r) => r === 'ok')) await settle('resend');
    const quiet = server.records;
    await settle(undefined);
    if (server.records > quiet) return 'what was decided is sent by the run after it';
    if (server.problem !== undefined) return server.problem;
    const [rows, events] = [await shouldBe(now), shown()];
    // A profile that shows nothing under one name may have shown something under another.
    if (isEvents && rows.length !== events.length)
      return `${rows.length} rows, ${events.length} events under "${now.name}"\n${rows.join('\n')}\n---\n${events.join('\n')}`;
    // A resend brings everything into the form of the last declaration.
    const results = await settle('resend');
    if (results.some((r) => r !== 'ok')) return `the resend ends with ${results.join()}`;
    if (JSON.stringify(await shouldBe(now)) !== JSON.stringify(shown()))
      return `Mixpanel differs under "${now.name}"\n${(await shouldBe(now)).join('\n')}\n---\n${shown().join('\n')}`;
    const before = server.records;
    await settle(undefined);
    return server.records > before ? 'it sends again what is equal' : server.problem;
  } finally {
    const problem = server.problem;
    if (problem !== undefined) s.log(problem);
    trace = s.trace;
    await story.close();
  }
}

let trace: readonly string[] = [];
/** How often the preview of what was compared with its apply. */
const told = new Map<string, number>();

const SHARES = [
  ['keyed', 1],
  ['unkeyed', 0.2],
  ['users', 0.5],
  ['groups', 0.3],
  ['history', 0.2],
] as const;
onEngines((engine) => {
  for (const [shape, share] of SHARES) {
    const count = Math.max(1, Math.ceil(lives * share * (engine === duckdb ? 1 : 0.1)));
    test(
      `long lives of ${shape}: declarations change, are resent or forwarded, and processes die; each row is there once, and a resend makes all equal, names of earlier included`,
      { timeout: Math.max(600_000, count * 10_000) },
      async () => {
        told.clear();
        const seeds = only === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [Number(only)];
        for (const seed of seeds) {
          const problem = await life(engine, shape, seed).catch((error: unknown) =>
            String(error instanceof Error ? error.stack : error),
          );
          expect(problem === undefined ? '' : `SEED=${seed} (lives): ${problem}\n${trace.slice(-120).join('\n')}`).toBe(
            '',
          );
        }
        const measured = { history: [], unkeyed: ['renamed'] }[shape as string] ?? ['renamed', 'left'];
        const whats = ['resend', 'forward', 'adopted', 'initial', 'changes', 'reset', 'a reset that died', ...measured];
        if (seeds.length > 9) expect(whats.filter((what) => !told.has(what))).toEqual([]);
      },
    );
  }
});
