import { canonical, canonicalProfile } from './mixpanel.ts';
import type { Scheduler } from './scheduler.ts';
import type { Column, Line, Shape } from './table.ts';
import { specOf } from './table.ts';

/** A row of a table of versions; times in microseconds. */
export interface Version {
  readonly row: number;
  readonly id: string | null;
  /** False where an append has no insert time. */
  readonly inserted: boolean;
  readonly start: number | null;
  readonly end: number | null;
  /** Properties, undefined where one is left out. */
  readonly values: Readonly<Record<string, unknown>>;
}

const HOUR = 3_600_000;
const BEFORE_1971 = 31_536_000_000;

/**
 * What Mixpanel must show of a table of versions: an event at the start of each, an event where one has ended and no
 * other had begun by then, and of each id the newest that has begun, or nothing once that one has ended. A version
 * without start, id or insert time is none.
 */
export function linesOfVersions(versions: readonly Version[], shape: Shape, now: number): Line[] {
  const isGroup = specOf(shape).kind === 'group_profiles';
  const line = ({ row, id }: Version, kind: string, image: string | undefined): Line => ({
    row,
    id,
    key: JSON.stringify([kind, id]),
    isProfile: kind === 'profile',
    loaded: null,
    image,
  });
  const event = (v: Version, kind: string, us: number, values: Version['values']): Line => {
    const time = Math.floor(us / 1000);
    const isSent = time >= BEFORE_1971 && time <= now + HOUR && (isGroup || v.id !== '0');
    const who = isGroup ? { company: v.id, distinct_id: '' } : { distinct_id: v.id };
    const image = canonical({ event: 's', properties: { ...present(values), ...who, time } });
    return line(v, `${kind} ${us}`, isSent ? image : undefined);
  };
  return [...byId(versions)].flatMap(([id, own]) => {
    const begun = own.filter((v) => v.start <= now * 1000);
    const ended = (v: Version): boolean => v.end !== null && v.end <= now * 1000;
    const newest = begun.at(-1);
    return [
      ...own.map((v) => event(v, 'version', v.start, v.values)),
      ...own.flatMap((v, i) => {
        const isLast = (own[i + 1]?.start ?? Number.POSITIVE_INFINITY) > (v.end ?? 0);
        return ended(v) && isLast ? [event(v, 'closing', v.end!, {})] : [];
      }),
      ...(newest ? [line(newest, 'profile', canonicalProfile(id, ended(newest) ? {} : present(newest.values)))] : []),
    ];
  });
}

type Begun = Version & { readonly start: number };

/** Versions by id, in the order of their starts. */
function byId(versions: readonly Version[]): Map<string, Begun[]> {
  const all = new Map<string, Begun[]>();
  const isBegun = (v: Version): v is Begun => v.start !== null && v.inserted;
  for (const v of [...versions].filter(isBegun).sort((a, b) => a.start - b.start))
    if (v.id !== null && v.id !== '') all.set(v.id, [...(all.get(v.id) ?? []), v]);
  return all;
}

const present = (values: Version['values']): Version['values'] =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));

const IDS = ['p1', 'p2', 'p3', 'p4', 'é "🎉"', ',', '0'];
/** Some of one millisecond, some around 1971, and one that nobody lives to see. */
const TIMES = [
  ...[1682935200123000, 1682935200123456, 1682935200123999, 1685664000000000, 1690000000000000],
  ...[31536000000999, 31535999999999, 4102444800000000],
];

/**
 * Versions that come, change, end, go on, move, and go; an append only grows. Kept out, because there is no telling
 * what they mean: two versions of an id with one start (a run refuses them), an end before its start. Kept out of an
 * append, because it reads a row once, when it comes: ends, starts that are not reached, rows that come late; and
 * of one_time starts that are not reached.
 */
export function changesOfVersions(
  s: Scheduler,
  shape: Shape,
  columns: readonly Column[],
  rng: () => number,
  run: (sql: string) => Promise<unknown>,
): () => Promise<void> {
  const { mode, history, onEmpty } = specOf(shape);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(rng() * list.length)]!;
  const valued = columns.filter((c) => c.values.length > 0);
  const hasEnds = history === 'ends';
  const isPast = mode !== 'mirror';
  const soon = (): number => (s.now + pick([-5_000, -1, 0, 5_000, 0.5 * HOUR, 2 * HOUR])) * 1000;
  const at = (us: number): string => `make_timestamp(${us}::bigint)`;
  const time = (): number => (!isPast && rng() < 0.4 ? soon() : pick(TIMES.slice(0, isPast ? -1 : undefined)));
  const start = (): string => (rng() < 0.05 ? 'null' : at(time()));
  const end = (): string => {
    const x = rng();
    if (x < 0.4) return 'null';
    return x < 0.45 ? `'infinity'` : x < 0.5 ? `'9999-12-31'` : at(time());
  };
  const id = (): string => {
    const x = rng();
    if (x < 0.05) return `''`;
    return x < 0.1 && mode !== 'mirror' ? 'null' : `'${pick(IDS)}'`;
  };
  const any = (): string =>
    `rowid = (select rowid from src order by md5(cast(rowid as varchar) || '${Math.floor(rng() * 1e6)}') limit 1)`;
  const isFree = (who: string, when: string): string =>
    `not exists (select 1 from src as o where o.id is not distinct from ${who} and o.t is not distinct from ${when})`;
  const fits = (from: string, to: string): string => `coalesce(${to} >= ${from}, true)`;

  const insert = async (who: string, from: string): Promise<void> => {
    if (mode === 'append') s.setTime(s.now + 1);
    const to = hasEnds ? end() : 'null';
    const loaded = mode === 'append' ? [rng() < 0.05 ? 'null' : at(s.now * 1000)] : [];
    const row = [who, from, ...(hasEnds ? [to] : []), ...valued.map((c) => pick(c.values).sql), ...loaded];
    await run(
      `insert into src select ${row.join(', ')} where ${isFree(who, from)} and ${fits(`cast(${from} as timestamp)`, `cast(${to} as timestamp)`)}`,
    );
  };
  /** As a warehouse does it: what was open ends, and the next one begins there. */
  const succeed = async (): Promise<void> => {
    const [who, when] = [id(), at(pick([s.now * 1000, time()]))];
    if (hasEnds) await run(`update src set v = ${when} where id = ${who} and v is null and t <= ${when}`);
    if (rng() < 0.7) await insert(who, when);
  };
  return async () => {
    const x = mode === 'append' ? 0 : rng();
    if (onEmpty && rng() < 0.03) return void (await run('delete from src'));
    if (x < 0.35) return insert(id(), start());
    if (x < 0.5) return succeed();
    if (x < 0.65) {
      const c = pick(valued);
      await run(`update src set ${c.name} = ${pick(c.values).sql} where ${any()}`);
    } else if (x < 0.75 && hasEnds) {
      const to = end();
      await run(`update src set v = ${to} where ${any()} and ${fits('t', to)}`);
    } else if (x < 0.82) {
      const from = start();
      await run(
        `update src as m set t = ${from} where ${any()} and ${isFree('m.id', from)}${hasEnds ? ` and ${fits(from, 'v')}` : ''}`,
      );
    } else if (x < 0.87) {
      const who = id();
      await run(`update src as m set id = ${who} where ${any()} and ${isFree(who, 'm.t')}`);
    } else await run(`delete from src where ${x < 0.97 ? any() : `id = ${id()}`}`);
  };
}
