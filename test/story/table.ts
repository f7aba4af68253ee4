import type { DuckDBConnection } from '@duckdb/node-api';
import { canonical } from './mixpanel.ts';
import type { Scheduler } from './scheduler.ts';

export type Shape = 'keyed' | 'unkeyed' | 'append';

/** A value as the warehouse writes it, and what Mixpanel must show for it; undefined is a property that is left out. */
interface Value {
  readonly sql: string;
  readonly shown: unknown;
}

interface Column {
  readonly name: string;
  readonly type: string;
  readonly values: readonly Value[];
}

const as = (sql: string, shown?: unknown): Value => ({ sql, shown });
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
    as(`{'x': 1, 'y': ['a', null, '', 'q"\n']}`, { x: 1, y: ['a', null, '', 'q"\n'] }),
    as(`{'x': null, 'y': []}`, { x: null, y: [] }),
    as(`{'x': null, 'y': null}`, { x: null, y: null }),
    none,
  ),
  column('i', 'INTEGER[]', as('[1, null, 2]', [1, null, 2]), as('[]', []), none),
  column(
    'z',
    'TIMESTAMP WITH TIME ZONE',
    as("'2024-03-31 01:30:00+02'", '2024-03-30T23:30:00'),
    as("'2024-03-30 23:30:00.25Z'", '2024-03-30T23:30:00.250000'),
    as("'infinity'"),
    none,
  ),
];
const LOADED = column('loaded', 'TIMESTAMP');

/** The table of a history. Wide ones have every logical type; most histories need only what makes changes. */
export function columnsOf(shape: Shape, wide: boolean): readonly Column[] {
  const columns = wide ? WIDE : NARROW;
  return shape === 'append' ? [...columns, LOADED] : columns;
}

export const create = (columns: readonly Column[]): string =>
  `create table src (${columns.map((c) => `${c.name} ${c.type}`).join(', ')})`;

/** What Mixpanel must show of the table: each value is told by the literal that it equals, not by the code under test. */
export async function wanted(connection: DuckDBConnection, columns: readonly Column[]): Promise<string[]> {
  const which = columns.map(({ name, type, values }) =>
    values.length === 0
      ? name
      : `case ${values.map((v, i) => `when ${name} is not distinct from cast(${v.sql} as ${type}) then ${i}`).join(' ')} end as ${name}`,
  );
  const rows = (await connection.runAndReadAll(`select ${which.join(', ')} from src`)).getRowObjectsJS();
  const shownOf = (row: Readonly<Record<string, unknown>>, { name, values }: Column): unknown => {
    if (values.length === 0) return row[name];
    const value = values[Number(row[name] ?? -1)];
    if (!value) throw new Error(`a value of ${name} that is none of those known`);
    return value.shown;
  };
  return rows
    .map((row) => {
      const shown = columns.filter((c) => c !== LOADED).map((c) => [c.name, shownOf(row, c)] as const);
      const { t, u, ev, ...rest } = Object.fromEntries(shown);
      if (t === undefined || ev === '' || u === '0') return undefined;
      const properties = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
      return canonical({ event: String(ev), properties: { time: t, distinct_id: u ?? '', ...properties } });
    })
    .filter((row) => row !== undefined)
    .sort();
}

/** Inserts, updates of values, time, name and user, deletes, reinserts, twins. */
export function mutations(
  s: Scheduler,
  shape: Shape,
  columns: readonly Column[],
  rng: () => number,
  run: (sql: string) => Promise<unknown>,
): () => Promise<void> {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(rng() * list.length)]!;
  const valued = columns.filter((c) => c.values.length > 0);
  let next = 1;
  return async () => {
    const x = rng();
    const any = `rowid = (select rowid from src order by md5(cast(rowid as varchar) || '${Math.floor(rng() * 1e6)}') limit 1)`;
    if (shape === 'append' || x < 0.45) {
      if (shape === 'append') s.setTime(s.now + 1);
      // A third of the unkeyed rows are twins of one another.
      const id = shape === 'unkeyed' && rng() < 0.5 ? 0 : next++;
      const row = [String(id), ...valued.map((c) => pick(c.values).sql)];
      if (shape === 'append') row.push(`(epoch_ms(${s.now}::bigint))`);
      await run(`insert into src values (${row.join(', ')})`);
      if (shape === 'unkeyed' && rng() < 0.3) await run(`insert into src select * from src where ${any}`);
    } else if (x < 0.8) {
      const c = pick(valued);
      await run(`update src set ${c.name} = ${pick(c.values).sql} where ${any}`);
    } else await run(`delete from src where ${any}`);
  };
}
