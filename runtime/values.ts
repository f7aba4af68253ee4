import type { Late, Statement } from '../schemas/types.ts';
import { RunError } from './errors.ts';
import type { Bind, Query } from './warehouses/warehouse.ts';

export type Values = Readonly<Record<string, number | string | null>>;

const invalid = (late: Late, label: string): RunError =>
  new RunError('value-invalid', `${label}: the value of ${late.name} is no ${late.type}. Please report this.`, {
    retryable: false,
  });

function valueOf(late: Late, values: Values, label: string): number | string | null {
  const value = values[late.name];
  if (value === undefined) throw invalid(late, label);
  if (value === null) return null;
  if (late.type === 'integer' ? !Number.isSafeInteger(value) : typeof value !== 'string') throw invalid(late, label);
  return value;
}

/**
 * SQL of an earlier plan, from the state: texts and names are closed, and nothing ends the statement or starts a
 * comment. That it stands in parentheses of its own is the template's doing.
 */
const EXPRESSION = /^(?:'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|`(?:[^`\\]|\\.)*`|(?!--|\/\*)[^'"`;])+$/s;

/** Late values that are inlined: each type has one strict form, and null has none. */
const INLINE: Readonly<Record<Late['type'], RegExp | null>> = {
  integer: /^-?\d+$/,
  word: /^[A-Za-z0-9_./-]+$/,
  text: null,
  ranges: /^-?\d+:-?\d+(?:,-?\d+:-?\d+)*$/,
  expression: EXPRESSION,
};

/** Ranges, `1:3,7:9`, as the plan says one of them. */
function inRanges(text: string, [before = '', between = '', after = '', or = '']: readonly string[]): string {
  return text
    .split(',')
    .map((range) => `${before}${range.replace(':', between)}${after}`)
    .join(or);
}

/** A compiled statement with this run's values: holes inlined after their validator, the rest bound by the driver. */
export function toQuery(statement: Statement, values: Values, label: string): Query {
  const sql = statement.sql
    .map((part) => {
      if (typeof part === 'string') return part;
      const value = valueOf(part, values, label);
      const text = String(value);
      if (value === null || !INLINE[part.type]?.test(text)) throw invalid(part, label);
      return part.item === undefined ? text : inRanges(text, part.item);
    })
    .join('');
  const binds = statement.binds.map((late): Bind => {
    if (late.type !== 'integer' && late.type !== 'text') throw invalid(late, label);
    return { name: late.name, type: late.type, value: valueOf(late, values, label) };
  });
  const { run } = values;
  return { sql, binds, label, ...(typeof run === 'number' ? { run } : {}) };
}
