import type { Column, Dialect, Sql } from '../dialects/dialect.ts';
import { sql } from '../dialects/dialect.ts';
import type { Mapping } from './events.ts';

/** Values that Mixpanel refuses as distinct_id (documentation: Import Events). */
const BANNED = [
  '00000000-0000-0000-0000-000000000000',
  'anon',
  'anonymous',
  'nil',
  'none',
  'null',
  'n/a',
  'na',
  'undefined',
  'unknown',
  '<nil>',
  '0',
  '-1',
  'true',
  'false',
  '[]',
  '{}',
];

/** One event must stay below 1 MB uncompressed (documentation: Import Events). */
export const MAX_EVENT_BYTES = 1_000_000;

/** Events that Mixpanel would refuse, found before they are sent (documentation: Import Events). */
export function invalidEvent(
  dialect: Dialect,
  properties: readonly Column[],
  insertTime: Sql | null,
): Pick<Mapping, 'rules' | 'clockReasons'> {
  // Only JSON from outside and nested floats can make a payload that is no JSON.
  const mayBreak = properties.some((c) => c.type === 'json' || c.type === 'nested');
  const rules: [string, string][] = [
    ['r.time_ms is null', 'time-missing'],
    ['r.time_ms < 31536000000', 'time-before-1971'],
    [`r.time_ms > ${dialect.nowMs()} + 3600000`, 'time-in-future'],
    ["r.event is null or trim(r.event) = ''", 'event-missing'],
    [`lower(trim(r.user_id)) in (${BANNED.map((v) => dialect.text(v)).join(', ')})`, 'user-banned'],
    [`${dialect.bytes(sql('r.payload'))} > ${MAX_EVENT_BYTES}`, 'too-large'],
  ];
  if (insertTime !== null) rules.unshift(['r.insert_time_missing = 1', 'insert-time-missing']);
  if (mayBreak) rules.push([`not ${dialect.jsonValid(sql('r.payload'))}`, 'payload-not-json']);
  return {
    rules: rules.map(([when, reason]): { when: Sql; reason: Sql } => ({
      when: sql(when),
      reason: dialect.text(reason),
    })),
    clockReasons: dialect.text('time-in-future'),
  };
}
