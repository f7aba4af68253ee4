import type { Diagnostic } from '../diagnostics.ts';
import { diagnostic } from '../diagnostics.ts';
import type { Locate, Path } from './parse.ts';

const MILLISECONDS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const BYTES: Readonly<Record<string, number>> = { B: 1, KB: 1e3, MB: 1e6, GB: 1e9 };

const read = (text: string | number, units: Readonly<Record<string, number>>): number | undefined => {
  if (typeof text === 'number') return text > 0 ? text : undefined;
  const [, count, unit = ''] = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text.trim()) ?? [];
  const value = Number(count) * ((Object.hasOwn(units, unit) ? units[unit] : undefined) ?? Number.NaN);
  return value > 0 ? value : undefined;
};

/** `60s`, `2m`, `1h`, `500ms`. */
export const toMilliseconds = (text: string | number): number | undefined => read(text, MILLISECONDS);
/** `2GB`, `500KB`; a bare number is bytes. */
export const toBytes = (text: string | number): number | undefined =>
  read(/^\d+$/.test(String(text)) ? Number(text) : text, BYTES);

/** The report of a text that is no duration, or no size. */
export function quantityProblem(path: Path, isSize: boolean, locate: Locate): Diagnostic {
  const like = isSize ? '500KB or 2GB' : '500ms, 60s or 2m';
  return diagnostic('wrong-value', { text: `\`${path.slice(-2).join('.')}\` must look like ${like}` }, locate(path));
}
