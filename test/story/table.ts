import { canonical, canonicalProfile, canonicalRow } from './mixpanel.ts';
import type { Database, Engine } from './engine.ts';
import type { Scheduler } from './scheduler.ts';
import { changesOfVersions, linesOfVersions } from './versions.ts';

interface Spec {
  readonly kind: 'events' | 'user_profiles' | 'group_profiles' | 'lookup_table';
  readonly mode: 'mirror' | 'append' | 'full' | 'one_time';
  /** What Mixpanel must show: see `Truth`. */
  readonly truth: 'table' | 'due' | 'newest' | 'kept' | 'first' | 'last';
  readonly onDelete?: 'unset' | 'delete' | 'ignore' | 'fail';
  /** The first plan does not follow a source that became empty. */
  readonly onEmpty?: 'fail';
  /** A table of versions, with starts alone or with ends too. */
  readonly history?: 'starts' | 'ends';
  readonly yml?: string;
}

export const LATE_MS = 30_000;
const OPTIONS = `    key: id
    device_id: dev
    json_properties: j
    where: status <> 'test'
    properties: { exclude: [secret], rename: { a: A b } }
`;

const SPECS = {
  keyed: { kind: 'events', mode: 'mirror', truth: 'table', yml: '    key: id\n' },
  unkeyed: { kind: 'events', mode: 'mirror', truth: 'table' },
  append: { kind: 'events', mode: 'append', truth: 'table' },
  late: { kind: 'events', mode: 'append', truth: 'due', yml: `    late_window: ${LATE_MS / 1000}s\n` },
  ignored: { kind: 'events', mode: 'mirror', truth: 'kept', onDelete: 'ignore', yml: '    key: id\n' },
  stopping: { kind: 'events', mode: 'mirror', truth: 'table', onDelete: 'fail', onEmpty: 'fail', yml: '    key: id\n' },
  guarded: { kind: 'events', mode: 'mirror', truth: 'table', onEmpty: 'fail', yml: '    key: id\n' },
  options: { kind: 'events', mode: 'mirror', truth: 'table', yml: OPTIONS },
  once: { kind: 'events', mode: 'one_time', truth: 'first' },
  users: { kind: 'user_profiles', mode: 'mirror', truth: 'table' },
  'users-delete': { kind: 'user_profiles', mode: 'mirror', truth: 'table', onDelete: 'delete' },
  'users-ignored': { kind: 'user_profiles', mode: 'mirror', truth: 'kept', onDelete: 'ignore' },
  'users-stopping': { kind: 'user_profiles', mode: 'mirror', truth: 'table', onDelete: 'fail', onEmpty: 'fail' },
  'users-guarded': { kind: 'user_profiles', mode: 'mirror', truth: 'table', onEmpty: 'fail' },
  'users-append': { kind: 'user_profiles', mode: 'append', truth: 'newest' },
  'users-full': { kind: 'user_profiles', mode: 'full', truth: 'kept' },
  'users-once': { kind: 'user_profiles', mode: 'one_time', truth: 'first' },
  groups: { kind: 'group_profiles', mode: 'mirror', truth: 'table', onDelete: 'unset' },
  'groups-delete': { kind: 'group_profiles', mode: 'mirror', truth: 'table', onDelete: 'delete' },
  'groups-ignored': { kind: 'group_profiles', mode: 'mirror', truth: 'kept', onDelete: 'ignore' },
  'groups-append': { kind: 'group_profiles', mode: 'append', truth: 'newest' },
  'groups-full': { kind: 'group_profiles', mode: 'full', truth: 'kept' },
  'groups-once': { kind: 'group_profiles', mode: 'one_time', truth: 'first' },
  history: { kind: 'user_profiles', mode: 'mirror', truth: 'table', history: 'ends' },
  'history-delete': { kind: 'user_profiles', mode: 'mirror', truth: 'table', onDelete: 'delete', history: 'ends' },
  'history-ignored': { kind: 'user_profiles', mode: 'mirror', truth: 'kept', onDelete: 'ignore', history: 'ends' },
  'history-stopping': {
    ...{ kind: 'user_profiles', mode: 'mirror', truth: 'table', history: 'ends' },
    ...{ onDelete: 'fail', onEmpty: 'fail' },
  },
  'history-groups': { kind: 'group_profiles', mode: 'mirror', truth: 'table', history: 'ends' },
  'history-starts': { kind: 'group_profiles', mode: 'mirror', truth: 'table', history: 'starts' },
  'history-append': { kind: 'user_profiles', mode: 'append', truth: 'table', history: 'starts' },
  'history-groups-append': { kind: 'group_profiles', mode: 'append', truth: 'table', history: 'starts' },
  'history-once': { kind: 'user_profiles', mode: 'one_time', truth: 'first', history: 'ends' },
  lookup: { kind: 'lookup_table', mode: 'full', truth: 'table' },
  'lookup-once': { kind: 'lookup_table', mode: 'one_time', truth: 'last' },
} as const satisfies Readonly<Record<string, Spec>>;

export type Shape = keyof typeof SPECS;
export const SHAPES = Object.keys(SPECS) as Shape[];
export const specOf = (shape: Shape): Spec => SPECS[shape];

/** The sync of a shape, without tags, guards and limits. @param follows it deletes where the shape would fail */
export function ymlOf(shape: Shape, follows: boolean): string {
  const { kind, mode, history, yml = '', ...spec }: Spec = SPECS[shape];
  const onDelete = follows && spec.onDelete === 'fail' ? undefined : spec.onDelete;
  const own = {
    events: '    event: { column: ev }\n    time: t\n    user_id: u\n',
    user_profiles: '    user_id: id\n',
    group_profiles: '    group_key: company\n    group_id: id\n',
    lookup_table: '    id: id\n    lookup_table_id: songs\n',
  }[kind];
  const times = history && `    history: { start_time: t${history === 'ends' ? ', end_time: v' : ''} }\n`;
  const more = `${times ?? ''}${onDelete ? `    on_delete: ${onDelete}\n` : ''}${mode === 'append' ? '    insert_time: loaded\n' : ''}`;
  return `syncs:\n  - name: s\n    kind: ${kind}\n    mode: ${mode}\n    source: { relation: src }\n${own}${more}${yml}`;
}

/** A value as the warehouse writes it, and what Mixpanel must show for it; undefined is a property that is left out. */
export interface Value {
  readonly sql: string;
  /** Where PostgreSQL has another spelling than DuckDB. */
  readonly postgres?: string;
  readonly shown: unknown;
}

export interface Column {
  readonly name: string;
  readonly type: string;
  /** As the engine names it where that is not how it is declared. */
  readonly native?: string | undefined;
  readonly values: readonly Value[];
  /** The property that it becomes, if not its own name; null where it is excluded. */
  readonly property?: string | null;
}

const INVALID = Symbol('no object');
const as = (sql: string, shown?: unknown, postgres = sql): Value => ({ sql, shown, postgres });
const text = (value: string): Value => as(`'${value.replaceAll("'", "''")}'`, value);
const none = as('null');

const column = (name: string, type: string, ...values: Value[]): Column => ({ name, type, values });

const time = (type: string): Column =>
  column(
    't',
    type,
    as("'2023-05-01 10:00:00'", 1682935200000),
    as("'2023-05-01 10:00:00.123456'", 1682935200123),
    as("'1971-01-01 00:00:00.000999'", 31536000000),
    as("'2023-06-02'", 1685664000000),
    as("'2023-06-02'", 1685664000000),
    none,
  );
const ID = column('id', 'INTEGER');
const USER = column('u', 'VARCHAR', text('alice'), text('bob'), text('🎉 é'), none, text('0'), text(''));
const EVENT = column('ev', 'VARCHAR', text('Buy'), text('Buy'), text('Sell "x"'), text(''));
const TEXT = column(
  'a',
  'VARCHAR',
  text('x'),
  text(''),
  none,
  text('a,null'),
  text('line\nbreak\r\n\t\\ "quoted" \'too\''),
  text('ünï 日本 👩‍👩‍👧 \u0001\u2028'),
);
const DECIMAL = column('n', 'DECIMAL(9,2)', as('1.50', 1.5), as('0', 0), none, as('-2.25', -2.25));

const NARROW: readonly Column[] = [ID, time('TIMESTAMP'), USER, EVENT, TEXT, DECIMAL];
const WIDE: readonly Column[] = [
  ID,
  time('TIMESTAMP WITH TIME ZONE'),
  USER,
  EVENT,
  TEXT,
  DECIMAL,
  column('f', 'DOUBLE', as('0.1', 0.1), none, as('1e10', 1e10), as("'nan'"), as("'-infinity'")),
  column('d', 'DATE', as("'2024-02-29'", '2024-02-29'), none, as("'infinity'")),
  column('b', 'BOOLEAN', as('true', true), as('false', false), none),
  column('o', 'TIME', as("'10:00:00'", '10:00:00'), as("'23:59:59.5'", '23:59:59.5'), none),
  column(
    'j',
    'JSON',
    as(`'{"k":"it''s \\"é\\"","n":[1,2.5,null]}'`, { k: 'it\'s "é"', n: [1, 2.5, null] }),
    as(`'{"a":1}'`, { a: 1 }),
    as(`'{\n  "a": 1\n}'`, { a: 1 }),
    as(`'"text"'`, 'text'),
    as("'null'"),
    none,
  ),
  column(
    'c',
    'STRUCT(x INTEGER, y VARCHAR[])',
    as(
      `{'x': 1, 'y': ['a', null, '', 'q"\n']}`,
      { x: 1, y: ['a', null, '', 'q"\n'] },
      `cast(row(1, array['a', null, '', 'q"\n']) as pair)`,
    ),
    as(`{'x': null, 'y': []}`, { x: null, y: [] }, `cast(row(null, '{}') as pair)`),
    as(`{'x': null, 'y': null}`, { x: null, y: null }, `cast(row(null, null) as pair)`),
    none,
  ),
  column('i', 'INTEGER[]', as('[1, null, 2]', [1, null, 2], "'{1, null, 2}'"), as('[]', [], "'{}'"), none),
  column(
    'z',
    'TIMESTAMP WITH TIME ZONE',
    as("'2024-03-31 01:30:00+02'", '2024-03-30T23:30:00'),
    as("'2024-03-30 23:30:00.25Z'", '2024-03-30T23:30:00.250000'),
    as("'infinity'"),
    none,
  ),
];
const whole = (name: string, type: string, least: string, most: string): Column =>
  column(name, type, as(least, Number(least)), as('0', 0), as(most, Number(most)), none);
const stamps = (name: string, type: string, fraction: string, shown: string): Column =>
  column(
    name,
    type,
    as("'2024-07-01 12:00:00'", '2024-07-01T12:00:00'),
    as(`'2024-07-01 12:00:00${fraction}'`, `2024-07-01T12:00:00${shown}`),
    none,
  );
/** The scalar types that WIDE has not. */
const SCALARS: readonly Column[] = [
  ID,
  time('TIMESTAMP'),
  USER,
  EVENT,
  TEXT,
  whole('i8', 'TINYINT', '-128', '127'),
  whole('i16', 'SMALLINT', '-32768', '32767'),
  whole('i32', 'INTEGER', '-2147483648', '2147483647'),
  whole('i64', 'BIGINT', '-9223372036854775808', '9223372036854775807'),
  whole('i128', 'HUGEINT', '-12345678901234567890123456789', '170141183460469231731687303715884105727'),
  whole('u8', 'UTINYINT', '1', '255'),
  whole('u16', 'USMALLINT', '1', '65535'),
  whole('u32', 'UINTEGER', '1', '4294967295'),
  whole('u64', 'UBIGINT', '9007199254740993', '18446744073709551615'),
  whole('u128', 'UHUGEINT', '1', '340282366920938463463374607431768211455'),
  whole('m', 'DECIMAL(38,10)', '-0.0000000001', '12345678901234567890.0123456789'),
  column('r', 'FLOAT', as('0.5', 0.5), as('-1e10', -1e10), as("'nan'"), as("'infinity'"), none),
  column('y', 'BLOB', as("'\\xFF'", '/w=='), as("'\\x00a'", 'AGE=', "'\\x0061'"), as("''", ''), none),
  column('g', 'UUID', as("'6b1a0a0e-0000-4000-8000-000000000000'", '6b1a0a0e-0000-4000-8000-000000000000'), none),
  column('e', "ENUM('S', 'M', 'it''s')", text('S'), text("it's"), none),
  column('k', 'BIT', as("'101'", '101'), as("'0101'", '0101'), none),
  column('h', 'INTERVAL', as("'1 day 2 hours'", '1 day 02:00:00'), as("'26 minutes'", '00:26:00'), none),
  column('w', 'TIME WITH TIME ZONE', as("'03:04:05+02'", '03:04:05+02'), as("'03:04:05.5-11'", '03:04:05.5-11'), none),
  stamps('s0', 'TIMESTAMP_S', '', ''),
  stamps('s3', 'TIMESTAMP_MS', '.123', '.123000'),
  stamps('s6', 'TIMESTAMP', '.123456', '.123456'),
  stamps('s9', 'TIMESTAMP_NS', '.123456', '.123456'),
];
const LOADED = column('loaded', 'TIMESTAMP');
const OPTIONAL: readonly Column[] = [
  ID,
  time('TIMESTAMP'),
  USER,
  EVENT,
  { ...TEXT, property: 'A b' },
  column('dev', 'VARCHAR', text('dev 1'), text('dev 2'), none, text('0')),
  { ...column('secret', 'VARCHAR', text('s1'), text('s2'), none), property: null },
  column('status', 'VARCHAR', text('live'), text('live'), text('test'), none),
  column(
    'j',
    'JSON',
    as(`'{"k":"v","A b":1,"time":5,"mp_x":1}'`, { k: 'v' }),
    as(`'{"k":[1,null],"status":2,"$city":"x","n":null}'`, { k: [1, null], $city: 'x' }),
    as("'[1]'", INVALID),
    none,
  ),
];
const KEYS = ['p1', 'p2', 'p3', 'p4', 'p5', 'é "🎉"', '', ','];
const NAME = column('id', 'VARCHAR');
const FLAG = column('b', 'BOOLEAN', as('true', true), as('false', false), none);

/** The table has what makes changes; or, besides, nested types and the common scalar ones; or all other scalar types. */
export type Width = 'narrow' | 'wide' | 'scalars';

const timesOf = (history: Spec['history'], width: Width): Column[] =>
  (history === undefined ? [] : history === 'ends' ? ['t', 'v'] : ['t']).map((name) => ({
    ...column(name, width === 'narrow' ? 'TIMESTAMP' : 'TIMESTAMP WITH TIME ZONE'),
    property: null,
  }));

/** The table of a history: most need only what makes changes. */
export function columnsOf(shape: Shape, width: Width): readonly Column[] {
  const { kind, mode, history } = specOf(shape);
  const all = { narrow: NARROW, wide: WIDE, scalars: SCALARS }[width];
  const typed = width === 'narrow' || kind === 'lookup_table' ? [TEXT, DECIMAL, FLAG] : all.slice(4);
  const columns =
    kind !== 'events' ? [NAME, ...timesOf(history, width), ...typed] : shape === 'options' ? OPTIONAL : all;
  return mode === 'append' ? [...columns, LOADED] : columns;
}

/** A row of the table. */
export interface Line {
  readonly row: number;
  readonly id: string | null;
  /** What tells the things apart that Mixpanel shows of one id, where those are several. */
  readonly key?: string;
  readonly isProfile: boolean;
  readonly loaded: number | null;
  /** What Mixpanel must show for it; undefined where it is invalid. */
  readonly image: string | undefined;
}

/** The table, each value told by the literal that it equals and not by the code under test. */
export async function linesOf(
  engine: Engine,
  database: Database,
  shape: Shape,
  now: number,
  columns: readonly Column[],
): Promise<Line[]> {
  const valued = columns.filter((c) => c.values.length > 0);
  const which = valued.map(
    (c) => `case ${c.values.map((v, i) => `when ${engine.is(c, v)} then ${i}`).join(' ')} end as ${c.name}`,
  );
  const { kind, mode, history } = specOf(shape);
  const loaded = mode === 'append' ? 'epoch_ms(loaded)' : '0';
  const us = (name: string): string =>
    `case when isfinite(${name}) then cast(epoch_us(${name}) as float8) when ${name} is not null then cast('infinity' as float8) end`;
  const times = history ? `, ${us('t')} as start, ${history === 'ends' ? us('v') : 'null'} as ended` : '';
  const where = shape === 'options' ? " where status <> 'test'" : '';
  const rows = await database.rows(
    `select rowid as row, id, ${loaded} as loaded_ms${times}, ${which.join(', ')} from src${where}`,
  );
  const shownOf = (row: Readonly<Record<string, unknown>>): Record<string, unknown> =>
    Object.fromEntries(
      valued
        .filter((c) => c.property !== null)
        .map((c) => {
          const value = c.values[Number(row[c.name] ?? -1)];
          if (!value) throw new Error(`a value of ${c.name} that is none of those known`);
          return [c.property ?? c.name, value.shown] as const;
        }),
    );
  if (history)
    return linesOfVersions(
      rows.map((row) => ({
        row: Number(row['row']),
        id: textOf(row['id']),
        inserted: row['loaded_ms'] !== null,
        start: row['start'] as number | null,
        end: row['ended'] as number | null,
        values: shownOf(row),
      })),
      shape,
      now,
    );
  return rows.map((row): Line => {
    const id = textOf(row['id']);
    const key = kind === 'events' && row['id'] !== null ? Number(row['id']) : id;
    return {
      row: Number(row['row']),
      id,
      isProfile: kind === 'user_profiles' || kind === 'group_profiles',
      loaded: row['loaded_ms'] === null ? null : Number(row['loaded_ms']),
      image: row['loaded_ms'] === null ? undefined : imageOf(kind, key, shownOf(row)),
    };
  });
}

const textOf = (value: unknown): string | null =>
  typeof value === 'string' || typeof value === 'number' ? String(value) : null;

function imageOf(
  kind: Spec['kind'],
  id: string | number | null,
  values: Readonly<Record<string, unknown>>,
): string | undefined {
  if (kind === 'lookup_table')
    return canonicalRow([String(id), ...Object.values(values).map((v) => String((v ?? '') as string | number))]);
  const present = (all: object): Record<string, unknown> =>
    Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  if (kind !== 'events') return id === null || id === '' ? undefined : canonicalProfile(String(id), present(values));
  const { t, u, ev, dev, j, ...rest } = values;
  const isFlat = dev !== undefined || 'dev' in values;
  if (t === undefined || ev === '' || u === '0' || dev === '0' || (isFlat && j === INVALID)) return undefined;
  const device = dev === undefined ? undefined : `$device:${JSON.stringify(dev).slice(1, -1)}`;
  return canonical({
    event: String(ev),
    properties: present({
      id: id ?? undefined,
      ...rest,
      ...(isFlat ? { $device_id: dev, ...(j as object | undefined) } : { j }),
      time: t,
      distinct_id: u ?? device ?? '',
    }),
  });
}

/** Inserts, updates of values, time, name and user, deletes, reinserts, twins. */
export function mutations(
  s: Scheduler,
  shape: Shape,
  columns: readonly Column[],
  rng: () => number,
  run: (sql: string) => Promise<unknown>,
): () => Promise<void> {
  if (specOf(shape).history) return changesOfVersions(s, shape, columns, rng, run);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(rng() * list.length)]!;
  const { kind, mode, truth, onDelete, onEmpty } = specOf(shape);
  const valued = columns.filter((c) => c.values.length > 0);
  const isLookup = kind === 'lookup_table';
  const isNamed = kind !== 'events';
  const hasTwins = shape === 'unkeyed' || shape === 'once' || shape === 'late';
  const literal = (key: string | null): string => (key === null ? 'null' : `'${key}'`);
  const name = (): string => {
    const isOdd = rng() < 0.1;
    if (isLookup || (isOdd && mode === 'mirror')) return literal(pick(KEYS.filter((k) => k !== '')));
    return literal(isOdd && mode !== 'mirror' ? null : pick(KEYS));
  };
  let next = 1;
  const at = (ms: number): string => `(epoch_ms(${Math.floor(ms)}::bigint))`;
  const stamp = (id: string): string => {
    const x = rng();
    if (truth === 'due' && x < 0.6) return x < 0.05 ? 'null' : at(s.now + 5_000 - rng() * 1.5 * LATE_MS);
    if (truth === 'newest' && x < 0.2)
      return `((select max(loaded) - interval '1 second' from src where id is not distinct from ${id}))`;
    return at(s.now);
  };
  // A row that is gone comes back, so that a run which its loss stopped goes on.
  const returns = onDelete === 'fail';
  return async () => {
    const x = rng();
    if (onEmpty && rng() < 0.08) return void (await run('delete from src'));
    const any = `rowid = (select rowid from src order by md5(cast(rowid as varchar) || '${Math.floor(rng() * 1e6)}') limit 1)`;
    if (mode === 'append' || x < 0.45) {
      if (mode === 'append') s.setTime(s.now + 1);
      // A third of the rows without key are twins of one another.
      const id = isNamed ? name() : String(hasTwins && rng() < 0.5 ? 0 : returns ? Math.floor(rng() * 6) : next++);
      const row = [id, ...valued.map((c) => pick(c.values).sql)];
      if (mode === 'append') row.push(stamp(id));
      const isFree =
        (isNamed || returns) && mode !== 'append'
          ? ` where not exists (select 1 from src where id is not distinct from ${id})`
          : '';
      await run(`insert into src select ${row.join(', ')}${isFree}`);
      if (hasTwins && rng() < 0.3)
        await run(`insert into src select ${columns.map((c) => c.name).join(', ')} from src where ${any}`);
    } else if (isNamed && x < 0.52) {
      const id = name();
      await run(
        `update src set id = ${id} where ${any} and not exists (select 1 from src where id is not distinct from ${id})`,
      );
    } else if (x < (truth === 'kept' ? 0.65 : returns ? 0.95 : 0.8)) {
      const c = pick(valued);
      await run(`update src set ${c.name} = ${pick(c.values).sql} where ${any}`);
    } else await run(`delete from src where ${any}${isLookup ? ' and (select count(*) from src) > 1' : ''}`);
  };
}
