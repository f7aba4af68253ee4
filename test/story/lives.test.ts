import { expect, test } from 'vitest';
import type { Plan } from '../../schemas/types.ts';
import { duckdb } from './duckdb.ts';
import type { Engine } from './engine.ts';
import { onEngines } from './engines.ts';
import { random } from './scheduler.ts';
import { compiled, Story, TTL } from './story.ts';
import type { Column } from './table.ts';
import { columnsOf, linesOf, mutations, ymlOf } from './table.ts';

const only = process.env['SEED'];
const lives = Math.max(1, Math.ceil(Number(process.env['HISTORIES'] ?? 510) * 0.06));
const LIMITS = { records: 2, bytes: 600 };

/** A declaration, and the table as Mixpanel must show it then. */
interface Declaration {
  readonly name: string;
  readonly yml: (yml: string) => string;
  readonly columns: (column: Column) => Column;
}

const properties =
  (text: string) =>
  (yml: string): string =>
    `${yml}    properties: ${text}\n`;
const changing =
  (name: string, change: (column: Column) => Column) =>
  (column: Column): Column =>
    column.name === name ? change(column) : column;
const hidden = (column: Column): Column => ({ ...column, property: null });
const same = (column: Column): Column => column;

const PROPERTIES: readonly Declaration[] = [
  { name: 'as it is', yml: (yml) => yml, columns: same },
  {
    name: 'a renamed property',
    yml: properties("{ rename: { a: 'A b' } }"),
    columns: changing('a', (c) => ({ ...c, property: 'A b' })),
  },
  { name: 'an excluded column', yml: properties('{ exclude: [n] }'), columns: changing('n', hidden) },
  {
    name: 'a number as text',
    yml: properties('{ types: { n: string } }'),
    columns: changing('n', (c) => ({
      ...c,
      values: c.values.map((v) => ({ ...v, shown: v.shown === undefined ? undefined : Number(v.shown).toFixed(2) })),
    })),
  },
];
const EVENTS: readonly Declaration[] = [
  ...PROPERTIES,
  {
    name: 'no user',
    yml: (yml) => properties('{ exclude: [u] }')(yml.replace('    user_id: u\n', '')),
    columns: changing('u', hidden),
  },
  {
    name: 'one event name',
    yml: (yml) => properties('{ exclude: [ev] }')(yml.replace('event: { column: ev }', 'event: E')),
    columns: changing('ev', (c) => ({ ...c, values: c.values.map((v) => ({ ...v, shown: 'E' })) })),
  },
  { name: 'no key', yml: (yml) => yml.replace('    key: id\n', ''), columns: same },
  {
    name: 'no key and a renamed property',
    yml: (yml) => properties("{ rename: { a: 'A b' } }")(yml.replace('    key: id\n', '')),
    columns: changing('a', (c) => ({ ...c, property: 'A b' })),
  },
];

const PROFILES: readonly Declaration[] = [
  ...PROPERTIES,
  {
    name: 'names that changed places',
    yml: properties('{ rename: { a: n, n: a } }'),
    columns: (c) => (c.name === 'a' ? { ...c, property: 'n' } : c.name === 'n' ? { ...c, property: 'a' } : c),
  },
  {
    name: 'one property',
    yml: properties("{ exclude: [n, b], rename: { a: 'A b' } }"),
    columns: (c) => (c.name === 'a' ? { ...c, property: 'A b' } : c.name === 'id' ? c : hidden(c)),
  },
];
type Kind = 'keyed' | 'users' | 'groups';

/** Years of one sync: its declaration changes, each change is resent or forwarded, processes die in between. */
async function life(engine: Engine, shape: Kind, seed: number): Promise<string | undefined> {
  const rng = random(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(rng() * list.length)]!;
  const declarations = shape === 'keyed' ? EVENTS : PROFILES;
  const columns = columnsOf(shape, false);
  const plans = new Map<string, Plan>();
  const story = await Story.open(engine, shape, false, rng, 4_000);
  const { scheduler: s, server, outside } = story;
  let name = 's';
  const planOf = async (d: Declaration): Promise<Plan> => {
    const guard = '    guard: { max_deletes: 100%, on_empty_source: allow }\n';
    const yml = d.yml(ymlOf(shape, true)).replace('name: s\n', `name: ${name}\n`);
    const from = `    renamed_from: ${name === 's' ? 'r' : 's'}\n`;
    const plan = plans.get(`${name}: ${d.name}`) ?? (await compiled(engine, yml + from + guard, columns, LIMITS));
    plans.set(`${name}: ${d.name}`, plan);
    return plan;
  };
  // A profile that lost its last property stays in Mixpanel, and shows nothing.
  const visible = (image: string): boolean => shape === 'keyed' || !image.endsWith(',[]]');
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
  const settle = async (decision: 'resend' | 'forward' | undefined): Promise<string[]> => {
    s.setTime(s.now + 100_000);
    return story.apply({ version: 'other', plan: await planOf(now), decision, mayCreate: true });
  };
  /** `reset`, where nothing vanished unseen before it: what Mixpanel shows of such rows would stay. */
  const forget = async (): Promise<void> => {
    await peace();
    await settle('resend');
    s.log('reset');
    for (const sql of ['delete from $__ledger', 'delete from $__rejects', 'update $__state set baseline = null'])
      await outside.run(sql.replace('$', `mixpanel.${name}`));
    await settle(undefined);
  };
  let now = declarations[0]!;
  try {
    server.own = new Set(['id', 'a', 'A b', 'n', 'ev', 'u', 'b']);
    s.mutate = mutations(s, shape, columns.map(engine.column), rng, (sql) => outside.run(sql));
    await story.apply({ version: 'other', mayCreate: true, plan: await planOf(now) });
    for (let i = 0; i < 3; i++) await s.mutate();
    const rounds = 3 + Math.floor(rng() * 6);
    for (let round = 0; round < rounds; round++) {
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
      if (shape !== 'keyed') server.refusing = rng() < 0.4 ? (id) => id.slice(0, 2) < dial.padStart(2, '0') : null;
      const decision = pick([undefined, 'resend', 'forward', 'forward'] as const);
      s.log(`declared: ${now.name}, decided: ${String(decision)}`);
      if (rng() < 0.25) name = name === 's' ? 'r' : 's';
      await story.apply({ version: 'other', plan: await planOf(now), decision, mayCreate: true });
      s.setTime(s.now + 3 * TTL);
      if (rng() < 0.1) await forget();
    }
    await peace();
    // What was forwarded may be in its old form, but each row is there once.
    now = pick(declarations.filter((d) => d !== now));
    if (!(await settle('forward')).every((r) => r === 'ok')) await settle('resend');
    const quiet = server.records;
    await settle(undefined);
    if (server.records > quiet) return 'what was decided is sent by the run after it';
    if (server.problem !== undefined) return server.problem;
    const [rows, events] = [await shouldBe(now), shown()];
    // A profile that shows nothing under one name may have shown something under another.
    if (shape === 'keyed' && rows.length !== events.length)
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

const SHARES = [
  ['keyed', 1],
  ['users', 0.5],
  ['groups', 0.3],
] as const;
onEngines((engine) => {
  for (const [shape, share] of SHARES) {
    const count = Math.max(1, Math.ceil(lives * share * (engine === duckdb ? 1 : 0.1)));
    test(
      `long lives of ${shape}: declarations change, are resent or forwarded, and processes die; each row is there once, and a resend makes all equal, names of earlier included`,
      { timeout: Math.max(600_000, count * 10_000) },
      async () => {
        const seeds = only === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [Number(only)];
        for (const seed of seeds) {
          const problem = await life(engine, shape, seed).catch((error: unknown) =>
            String(error instanceof Error ? error.stack : error),
          );
          expect(problem === undefined ? '' : `SEED=${seed} (lives): ${problem}\n${trace.slice(-120).join('\n')}`).toBe(
            '',
          );
        }
      },
    );
  }
});
