import { DuckDBInstance } from '@duckdb/node-api';
import { beforeAll, describe, expect, test } from 'vitest';
import { bigquery } from '../../../compiler/dialects/bigquery.ts';
import { random } from '../../story/scheduler.ts';
import { onEngine } from '../engine.ts';
import { googlesql, missing } from './googlesql.ts';
import type { Order, Rule } from './partitions.ts';
import { idOf, simulate, statementOf, tablesOf, toRanges } from './partitions.ts';

/** `SEED=…` replays one history, `HISTORIES=…` runs more than CI does. */
const only = process.env['SEED'];
const count = Number(process.env['HISTORIES'] ?? 60);
const AS_IT_IS: Order = { baseline: 'before', compared: 'after' };

describe('partitions that are left unread', () => {
  let statement: string;
  let ruleOf: (text: string) => Rule;
  beforeAll(async () => {
    statement = await statementOf();
    const db = await (await DuckDBInstance.create()).connect();
    // Times are integers in the tables of these tests.
    for (const macro of ['unix_micros(x) as x', `unix_date(x) as datediff('day', date '1970-01-01', x)`])
      await db.run(`create macro ${macro}`);
    ruleOf = (text) => ({
      async ranges(...readings) {
        const tables = Object.entries(tablesOf(...readings)).map(([name, query]) => `${name} as (${query})`);
        const own = text
          .replace('with now_read', `with ${tables.join(',\n')}, now_read`)
          .replaceAll('current_timestamp()', '0')
          .replaceAll('safe.parse_date(', 'try_strptime(')
          .replaceAll(/try_strptime\(('[^']*'), (\w+)\)/g, 'try_strptime($2, $1)')
          .replaceAll(/date_add\((.*?), interval 1 day\)/g, '($1 + interval 1 day)');
        return toRanges(String((await db.runAndReadAll(own)).getRowObjects()[0]?.['partitions']));
      },
    });
  });

  async function lostIn(text: string, order: Order) {
    const all = { lost: 0, read: 0, partitions: 0, seed: 0 };
    const seeds = only === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [Number(only)];
    for (const seed of seeds) {
      const { lost, read, partitions } = await simulate(ruleOf(text), random(seed), order);
      all.read += read;
      all.partitions += partitions;
      Object.assign(all, { lost, seed });
      if (lost > 0) break;
    }
    return all;
  }

  test(
    `${count} histories of writes around each reading and each snapshot lose nothing`,
    { timeout: 600_000 },
    async () => {
      const { lost, seed, read, partitions } = await lostIn(statement, AS_IT_IS);
      expect(lost, `SEED=${seed}`).toBe(0);
      // A rule that reads everything loses nothing either.
      if (only === undefined) expect(read).toBeLessThan(0.95 * partitions);
    },
  );

  test.each<readonly [string, Order, RegExp, string]>([
    ['the reading after the snapshot is the baseline', { ...AS_IT_IS, baseline: 'after' }, /^/, ''],
    ['the reading before the snapshot is compared', { ...AS_IT_IS, compared: 'before' }, /^/, ''],
    ['the number of rows is not compared', AS_IT_IS, / and w\.total_rows = n\.total_rows/, ''],
    ['the time is not compared', AS_IT_IS, / and w\.modified_us = n\.modified_us/, ''],
    ['there is no margin', AS_IT_IS, /w\.modified_us < w\.read_us - \d+/, 'true'],
    ['the streaming buffer is not looked at', AS_IT_IS, / and not exists \(select 1 from (\w+) as b .*/g, ''],
    ['what Mixpanel refused is not looked at', AS_IT_IS, / and not exists \(select 1 from rejects as j .*/, ''],
  ])('they lose rows where %s', { timeout: 600_000 }, async (_, order, what, instead) => {
    expect(statement).toMatch(what);
    expect((await lostIn(statement.replace(what, instead), order)).lost).toBeGreaterThan(0);
  });

  /** Two years by day, read at noon; what was written is a minute younger than its day, or than the reading before. */
  const years = (written: readonly number[], hours: number) => ({
    at: 30_000_000 + hours * 60,
    partitions: new Map(
      Array.from({ length: 731 }, (_, i) => [
        idOf(19_723 + i),
        { rows: 10, modified: written.includes(i) ? 30_000_001 : i },
      ]),
    ),
  });

  test('of two years by day of which five days changed five are read', async () => {
    const changed = [0, 17, 400, 401, 730];
    const ranges = await ruleOf(statement).ranges(years([], 0), years(changed, 24), false);
    const isRead = (day: number): boolean => ranges.some(([from, to]) => day >= from && day <= to);
    expect(Array.from({ length: 731 }, (_, i) => i).filter((i) => isRead(19_723 + i))).toEqual(changed);
    // Days before and after all of them are read besides, whether there are any or not.
    expect([isRead(-1_000), isRead(100_000), ranges.length]).toEqual([true, true, 4]);
  });

  test('what is left unread is bounded by the length of a statement: the largest parts stay so', async () => {
    const days = (all: readonly number[]) => ({
      at: 30_000_000,
      partitions: new Map(all.map((i) => [idOf(19_723 + 2 * i), { rows: 1 + (i % 7), modified: 0 }])),
    });
    const all = Array.from({ length: 1500 }, (_, i) => i);
    const ranges = await ruleOf(statement).ranges(days(all), days(all), false);
    expect(ranges).toHaveLength(1000);
    const unread = all.filter((i) => !ranges.some(([from, to]) => 19_723 + 2 * i >= from && 19_723 + 2 * i <= to));
    expect(unread).toHaveLength(999);
    expect(Math.min(...unread.map((i) => i % 7))).toBeGreaterThan(1);
  });
});

onEngine(missing(), 'partitions, by GoogleSQL', () => {
  test('the rule gives the same ranges', async () => {
    const statement = await statementOf();
    const engine = await googlesql();
    const day = (id: string, rows: number, modified: number) => [id, { rows, modified }] as const;
    const was = {
      at: 10_000,
      partitions: new Map([
        day('20240101', 1, 1),
        day('20240102', 2, 1),
        day('20240104', 2, 9_900),
        day('20240105', 1, 5),
        day('__NULL__', 1, 1),
      ]),
    };
    const now = { at: 11_000, partitions: new Map([...was.partitions, day('20240105', 2, 5), day('20240103', 1, 1)]) };
    const run = (isRejected: boolean) =>
      engine.evaluateQuery(
        statement.replaceAll('unix_micros(p.last_modified_time)', 'p.last_modified_time'),
        tablesOf(was, now, isRejected),
      );
    expect(run(false)).toEqual([{ partitions: '-719162:19722,19725:2932896' }]);
    expect(run(true)).toEqual([{ partitions: '-719162:2932896' }]);
  });

  const c = (native: string) => [{ name: 'At', native }];
  const DAY = 86_400_000_000n;
  const at = (text: string): bigint => BigInt(Date.parse(text)) * 1000n;
  test.each([
    ['at', 'DATE', '20240229', 19_782n, 19_782n],
    ['DATE_TRUNC(at, MONTH)', 'DATE', '202402', 19_754n, 19_782n],
    ['DATE_TRUNC(at, YEAR)', 'DATE', '2024', 19_723n, 20_088n],
    ['DATE(at)', 'TIMESTAMP', '20240229', at('2024-02-29'), at('2024-03-01') - 1n],
    ['TIMESTAMP_TRUNC(at, HOUR)', 'TIMESTAMP', '2024022923', at('2024-02-29T23:00Z'), at('2024-03-01') - 1n],
    ['TIMESTAMP_TRUNC(at, MONTH)', 'TIMESTAMP', '202412', at('2024-12-01'), at('2025-01-01') - 1n],
    ['DATETIME_TRUNC(at, DAY)', 'DATETIME', '20240101', at('2024-01-01'), at('2024-01-02') - 1n],
    ['DATETIME_TRUNC(at, YEAR)', 'DATETIME', '2024', at('2024-01-01'), at('2025-01-01') - 1n],
    ['_PARTITIONDATE', '', '20240101', at('2024-01-01'), at('2024-01-01') + DAY - 1n],
    ['TIMESTAMP_TRUNC(_PARTITIONTIME, HOUR)', '', '2024010100', at('2024-01-01'), at('2024-01-01T01:00Z') - 1n],
    ['RANGE_BUCKET(at, GENERATE_ARRAY(-100, 100, 10))', 'INT64', '-20', -20n, -11n],
  ])('%s of a %s: %s', async (clause, native, id, from, to) => {
    const engine = await googlesql();
    const found = bigquery.partitions?.of(clause, native === '' ? [] : c(native));
    if (!found) throw new Error('not known');
    const other = ['__NULL__', '__UNPARTITIONED__', `${id}0`, id.slice(0, -1)].filter(
      (o) => native !== 'INT64' || o.startsWith('__'),
    );
    const rows = engine.evaluateQuery(
      `select partition_id, cast(${found.from} as string) as a, cast(${found.to} as string) as b from unnest(['${[id, ...other].join("', '")}']) as partition_id`,
    );
    const of = (name: string) => rows.find((r) => r['partition_id'] === name);
    expect(of(id)).toEqual({ partition_id: id, a: String(from), b: String(to) });
    // What has the form of another unit, or none, is no range.
    for (const name of other) expect(of(name), name).toEqual({ partition_id: name, a: null, b: null });
    // The ends of the range are in it, what lies beside them is not, and nothing lies outside of all.
    const [before, between, after] = found.item;
    const value = (n: bigint | string): string => `${between.split(' and ')[1] ?? ''}${n}${after}`;
    const isIn = (n: bigint | string, [lo, hi]: readonly [unknown, unknown]): string =>
      `${before.replace(found.value, value(n))}${String(lo)}${between}${String(hi)}${after}`;
    const all = [found.least, found.most] as const;
    const asked = [
      isIn(from, [from, to]),
      isIn(to, [from, to]),
      isIn(from - 1n, [from, to]),
      isIn(to + 1n, [from, to]),
      isIn(found.least, all),
      isIn(found.most, all),
    ];
    expect(engine.evaluate(`[${asked.join(', ')}]`)).toBe('[true,true,false,false,true,true]');
    expect(found.value).toBe(native === '' ? '_PARTITIONTIME' : '`At`');
  });

  test.each(['TIMESTAMP_TRUNC(other, DAY)', 'DATE(at) + 1', 'TIMESTAMP_TRUNC(at, WEEK)', 'RANGE_BUCKET(at, [1, 2])'])(
    '%s is not known',
    (clause) => {
      expect(bigquery.partitions?.of(clause, c('TIMESTAMP'))).toBeNull();
    },
  );
});
