import { expect, test } from 'vitest';
import type { Plan } from '../../schemas/types.ts';
import type { Declaration } from './declarations.ts';
import { EVENTS, PROFILES, PROPERTIES } from './declarations.ts';
import { duckdb } from './duckdb.ts';
import type { Engine } from './engine.ts';
import { onEngines } from './engines.ts';
import { differsFrom, isForetold } from './foretold.ts';
import { rangeUntil } from './history.ts';
import type { Range } from '../../runtime/sync.ts';
import { random } from './scheduler.ts';
import { compiled, Story, TTL } from './story.ts';
import { columnsOf, linesOf, mutations, ymlOf } from './table.ts';

const only = process.env['SEED'];
const lives = Math.max(1, Math.ceil(Number(process.env['HISTORIES'] ?? 510) * 0.02));
const LIMITS = { records: 2, bytes: 600 };
const EVERYTHING = { from: '1970-01-01', to: '2030-01-01' };

type Shape = 'append' | 'users-full' | 'lookup' | 'once';
const DECLARATIONS: Readonly<Record<Shape, readonly Declaration[]>> = {
  append: EVENTS.filter((d) => !/^(no|another) key/.test(d.name)),
  'users-full': PROFILES,
  // A table of its own: its values are texts anyway.
  lookup: PROPERTIES.filter((d) => d.name !== 'a number as text'),
  once: EVENTS.filter((d) => !/^(no|another) key/.test(d.name)),
};

const FORETOLD = ['initial', 'changes', 'sending', 'renamed', 'a backfill'].map((what) => `foretold: ${what}`);

let trace: readonly string[] = [];
const told = new Map<string, number>();

/** Years of a sync that has no ledger: nothing is decided, and what was sent stays as it was until it is sent again. */
async function life(engine: Engine, shape: Shape, seed: number): Promise<string | undefined> {
  const rng = random(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(rng() * list.length)]!;
  const columns = columnsOf(shape, 'narrow');
  const declarations = DECLARATIONS[shape];
  const isAppend = shape === 'append';
  const hasKey = isAppend && rng() < 0.5;
  const story = await Story.open(engine, shape, 'narrow', rng, 4_000);
  const { scheduler: s, server, outside } = story;
  const plans = new Map<string, Plan>();
  let [name, now, again] = ['s', declarations[0]!, false];
  /** Declarations under which something may have been sent. */
  const used = new Set<Declaration>();
  const planOf = async (): Promise<Plan> => {
    const id = `${name}: ${now.name}`;
    const yml = now.yml(ymlOf(shape, true)).replace('name: s\n', `name: ${name}\n`);
    const more = `    renamed_from: ${name === 's' ? 'r' : 's'}\n${hasKey ? '    key: id\n' : ''}`;
    const plan = plans.get(id) ?? (await compiled(engine, yml + more, columns, LIMITS));
    plans.set(id, plan);
    used.add(now);
    return plan;
  };
  const apply = async (more: object = {}): Promise<string[]> => {
    const results = await story.apply({ version: 'other', plan: await planOf(), mayCreate: true, again, ...more });
    s.setTime(s.now + 3 * TTL);
    return results;
  };
  /** In peace a preview says what its apply does, whatever is asked for. */
  const foretold = async (backfill?: Range): Promise<string | undefined> => {
    const plan = await planOf();
    const said = await story.preview(plan, backfill).catch((error: unknown) => {
      if (!/has not run yet/.test(String(error))) throw error;
    });
    // What never ran, or was reset, has nothing to fill in.
    if (!said) return foretold();
    again ||= backfill !== undefined;
    const { length } = story.committed;
    const [result] = await apply({ previewed: said.state, ...(backfill ? { backfill } : {}) });
    if (result !== 'ok') return isForetold(said, String(result)) ? undefined : `foretold, and it fails: ${result}`;
    const what = backfill ? 'a backfill' : said.renamedFrom === null ? said.route : 'renamed';
    told.set(`foretold: ${what}`, 1);
    return differsFrom(said, story.committed.slice(length), story.received);
  };
  const calm = { kill: 0, pause: 0, mutate: 0, lostStatement: 0, network: 0 };
  /** What each row must be under a declaration, in rows as they are; those of `once` may have one id. */
  const rowsOf = async (d: Declaration): Promise<(readonly [id: string, image: string])[]> =>
    (await linesOf(engine, outside, shape, s.now, columns.map(d.columns).map(engine.column))).flatMap((l) =>
      l.image === undefined ? [] : [[String(l.id), l.image] as const],
    );
  const imagesOf = async (d: Declaration): Promise<Map<string, string>> => new Map(await rowsOf(d));
  const sorted = async (d: Declaration): Promise<string[]> => (await rowsOf(d)).map(([, image]) => image).sort();
  const shown = (): string[] =>
    server
      .shown()
      .map((x) => x.image)
      .sort();
  /** What gives an event its id besides its row: with a key the row has one name, whatever is read of it. */
  const idOf = ({ name: d }: Declaration): string =>
    d === 'no user' || d === 'one event name' || (!hasKey && d !== 'a renamed property') ? d : 'as it is';

  /** Each row is there once; once more under each other way to name events in which it was sent. */
  const eventsDiffer = async (isWhole: boolean): Promise<string | undefined> => {
    const ways = new Set([...used].map(idOf));
    const images = new Map<Declaration, Map<string, string>>();
    for (const d of used) images.set(d, await imagesOf(d));
    const found = new Map<string, string[]>();
    for (const image of shown()) {
      const [, properties] = JSON.parse(image) as [string, [string, unknown][]];
      const id = String(Object.fromEntries(properties)['id']);
      found.set(id, [...(found.get(id) ?? []), image]);
    }
    const wanted = images.get(now) ?? (await imagesOf(now));
    for (const [id, list] of found) {
      const may = [...used].filter((d) => !isWhole || d === now || idOf(d) !== idOf(now));
      const strange = list.find((image) => !may.some((d) => images.get(d)?.get(id) === image));
      if (strange !== undefined) return `under "${now.name}" there is ${strange}`;
      if (list.length > (again ? ways.size : 1)) return `row ${id} is there ${list.length} times\n${list.join('\n')}`;
    }
    for (const [id, image] of wanted) {
      const list = found.get(id) ?? [];
      const isLost = list.length === 0 && [...used].every((d) => images.get(d)?.has(id));
      if (isLost || (isWhole && !list.includes(image))) return `row ${id} is lost under "${now.name}": ${image}`;
      told.set('left', (told.get('left') ?? 0) + list.filter((other) => other !== image).length);
    }
    return undefined;
  };
  /** Profiles that once had no row: a run that took names of earlier away did not reach them. */
  const absent = new Set<string>();
  const lookAtAbsent = async (): Promise<void> => {
    const rows = await imagesOf(now);
    for (const { id } of server.shown()) if (!rows.has(id)) absent.add(id);
  };
  const profilesDiffer = async (): Promise<string | undefined> => {
    const wanted = await imagesOf(now);
    const mapped = new Set(
      columns.map(now.columns).flatMap((c) => (c.property === null ? [] : [c.property ?? c.name])),
    );
    const ofNow = (image: string): string => {
      const [id, properties] = JSON.parse(image) as [string, [string, unknown][]];
      return JSON.stringify([id, properties.filter(([property]) => mapped.has(property))]);
    };
    const known = new Map(server.shown().map((x) => [x.id, absent.has(x.id) ? ofNow(x.image) : x.image]));
    for (const [id, image] of wanted)
      if (known.get(id) !== image) return `under "${now.name}" ${id} is ${String(known.get(id))} and not ${image}`;
    return undefined;
  };

  try {
    server.own = new Set(['id', 'a', 'A b', 'n', 'ev', 'u', 'b']);
    const mutate = mutations(s, shape, columns.map(engine.column), rng, (sql) => outside.run(sql));
    s.mutate = async () => {
      await mutate();
      if (shape === 'users-full') await lookAtAbsent();
    };
    for (let i = 0; i < 4; i++) await s.mutate();
    now = pick(declarations);
    const first = now;
    const rounds = 3 + Math.floor(rng() * 6);
    let sentOnce: readonly string[] | undefined;
    for (let round = 0; round < rounds; round++) {
      const isFirst = shape === 'once' && sentOnce === undefined;
      s.chaos = { ...calm, kill: 0.03, mutate: isFirst ? 0 : 0.05, network: rng() < 0.5 ? 0.2 : 0 };
      if (!isFirst) {
        if (rng() < 0.6) now = pick(declarations);
        if (rng() < 0.25) name = name === 's' ? 'r' : 's';
      }
      s.log(`declared: ${name}, ${now.name}`);
      const dice = isAppend ? rng() : 1;
      if (dice < 0.3) {
        again = true;
        told.set('backfill', 1);
        await apply({ backfill: rangeUntil(s.now, rng) });
      } else if (dice < 0.5) {
        again = true;
        s.chaos.kill = 0.06;
        const [ended] = await apply({ resets: true });
        told.set(ended === 'ok' ? 'reset' : 'a reset that died', 1);
      } else await apply();
      if (isFirst) {
        s.chaos = calm;
        for (let i = 0; i < 2; i++) await apply();
        sentOnce = shown();
        const wanted = await sorted(first);
        if (JSON.stringify(sentOnce) !== JSON.stringify(wanted)) return `once: ${sentOnce.join('\n')}`;
      }
      for (let i = 0; i < 2; i++) await s.mutate();
      if (rng() < 0.5) continue;
      s.chaos = calm;
      await s.settle();
      s.setTime(s.now + 3 * TTL);
      // What was interrupted is finished first: the preview says what is left of it.
      const problem = await foretold(isAppend && rng() < 0.4 ? rangeUntil(s.now, rng) : undefined);
      if (problem !== undefined) return problem;
      for (let i = 0; i < 2; i++) await s.mutate();
    }
    s.chaos = calm;
    await s.settle();
    s.setTime(s.now + 3 * TTL);
    now = pick(declarations);
    for (let i = 0; i < 2; i++) {
      const [result] = await apply();
      if (result !== 'ok') return `an apply in peace fails: ${String(result)}`;
    }
    if (server.problem !== undefined) return server.problem;
    if (shape === 'users-full') return await profilesDiffer();
    if (shape === 'once')
      return JSON.stringify(shown()) === JSON.stringify(sentOnce) ? undefined : `once: ${shown().join('\n')}`;
    if (shape === 'lookup') {
      const wanted = await sorted(now);
      return JSON.stringify(shown()) === JSON.stringify(wanted)
        ? undefined
        : `under "${now.name}" the table is\n${shown().join('\n')}\n--- and not\n${wanted.join('\n')}`;
    }
    const problem = await eventsDiffer(false);
    if (problem !== undefined) return problem;
    // Every row once more, under the last declaration: what is left of others has another id.
    again = true;
    const [result] = await apply({ backfill: EVERYTHING });
    if (result !== 'ok') return `the backfill ends with ${String(result)}`;
    return await eventsDiffer(true);
  } finally {
    if (server.problem !== undefined) s.log(server.problem);
    trace = s.trace;
    await story.close();
  }
}

const SHARES = { append: 1, 'users-full': 0.5, lookup: 0.5, once: 0.3 };
onEngines((engine) => {
  test.each(Object.keys(SHARES) as Shape[])(
    'long lives of %s: declarations and names change, backfills and resets too, and processes die; what is sent again is in the form of the last declaration, and the rest as it was sent',
    async (shape) => {
      told.clear();
      const count = Math.max(1, Math.ceil(lives * SHARES[shape] * (engine === duckdb ? 1 : 0.1)));
      const seeds = only === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [Number(only)];
      for (const seed of seeds) {
        const problem = await life(engine, shape, seed).catch((error: unknown) =>
          String(error instanceof Error ? error.stack : error),
        );
        expect(problem === undefined ? '' : `SEED=${seed} (modes): ${problem}\n${trace.slice(-80).join('\n')}`).toBe(
          '',
        );
      }
      if (shape === 'append' && seeds.length > 9)
        expect(
          ['left', 'backfill', 'reset', 'a reset that died', ...FORETOLD].filter((what) => !told.get(what)),
        ).toEqual([]);
    },
  );
});
