import type { Column, Dialect, Sql } from './dialects/dialect.ts';
import { sql } from './dialects/dialect.ts';
import type { ResolvedSync } from './project/resolve.ts';
import type { LateName, Values } from './render.ts';
import { bound } from './render.ts';

/** The bounds of an append: rows after the last run's newest, up to the newest that is there now. */
export function windowContext(dialect: Dialect, sync: ResolvedSync, insertTime: Column): Values {
  const bind = (n: LateName): Sql => bound(dialect, n);
  const watermark = dialect.watermark(insertTime);
  const fromText = (value: Sql): Sql => watermark.fromText(value);
  const minus = (stamp: Sql, ms: number): Sql => watermark.minus(stamp, ms);
  const column = dialect.ident(insertTime.name);
  const [from, to] = [fromText(bind('watermark_from')), fromText(bind('watermark_to'))];
  const lateMs = sync.lateWindowMs;
  // The first and a last moment, whatever time zone a session has.
  const [least, most] = ['0001-01-01', '9999-12-31'].map((day) =>
    dialect.text(insertTime.type === 'timestamp_utc' ? `${day} 00:00:00+00` : day),
  );
  const [since, seen] = [bind('watermark_from'), bind('seen_from')];
  const after = (stamp: string, bound: Sql, limit: Sql): string => `(${bound} is null or ${stamp} > ${limit})`;
  const partsOf = (row: string) => {
    const stamp = `${row}.${column}`;
    const lower =
      lateMs === null
        ? after(stamp, since, from)
        : `${after(stamp, since, minus(from, lateMs))} and ${after(stamp, seen, fromText(seen))}`;
    // A backfill's range is a person's: its start belongs to it, its end does not. What lies after the position is the next run's.
    const again = `${stamp} >= ${from} and ${stamp} < ${to} and ${stamp} <= ${fromText(bind('position'))}`;
    return { again, next: `${lower} and ${stamp} <= ${to}` };
  };
  const isBackfill = `${bind('backfill')} = 1`;
  const inWindow = (row: string): Sql => {
    const { again, next } = partsOf(row);
    return sql(`case when ${isBackfill} then ${again} else ${next} end`);
  };
  const { again, next } = partsOf('syncline_source');
  return {
    insert_time: column,
    watermark: { toText: watermark.toText, now: watermark.now },
    watermark_to: to,
    in_window: inWindow('syncline_row'),
    in_window_n: inWindow('n'),
    in_window_t: inWindow('syncline_source'),
    // Whether older rows are read is asked before, where a bound that is known then leaves partitions of them unread.
    asks_older: dialect.readsPartitions,
    older_from: fromText(sql(`case when ${bind('older')} = 1 then ${least} else ${most} end`)),
    // What was read before stays read: partitions of it are not looked at for a newer insert time.
    reached_from: fromText(sql(`coalesce(${bind('watermark_from')}, ${least})`)),
    // What is read at all: plain comparisons of the column where only such leave blocks of a table unread.
    parts: (dialect.prunesPlainly
      ? [`not ${isBackfill} and ${next}`, `${isBackfill} and ${again}`, `syncline_source.${column} is null`]
      : [`syncline_source.${column} is null or ${inWindow('syncline_source')}`]
    ).map((condition) => ({ condition: sql(condition) })),
    ...(lateMs === null
      ? {}
      : {
          position: sql(`cast(syncline_image.${column} as ${dialect.types.text})`),
          still_late: sql(`${fromText(sql('position'))} > ${minus(to, lateMs)}`),
        }),
  };
}
