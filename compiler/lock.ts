import type { Lock } from '../schemas/types.ts';
import type { Diagnostic } from './diagnostics.ts';
import { diagnostic } from './diagnostics.ts';
import { stableJson } from './plan.ts';

const FILE = 'syncline.lock.json';
const EMPTY: Lock = { lockVersion: 1, targets: {} };

type Source = Lock['targets'][string]['sources'][string];

/** The name of a relation in the lock: dotted parts, quoted where a part itself holds a dot, quote or space. */
export const canonicalRelation = (relation: readonly string[]): string =>
  relation.map((part) => (/[".\s]/.test(part) ? `"${part.replaceAll('"', '""')}"` : part)).join('.');

/** A relation as last read, its columns in order; undefined when the lock does not have it. */
export function lockedSource(lock: Lock, target: string, relation: readonly string[]): Source | undefined {
  const sources = own(lock.targets, target)?.sources ?? {};
  return own(sources, canonicalRelation(relation)) ?? own(sources, relation.join('.'));
}

const own = <T>(values: Readonly<Record<string, T>>, key: string): T | undefined =>
  Object.hasOwn(values, key) ? values[key] : undefined;

/** Reads the lock's text; a missing file is an empty lock. */
export function parseLock(text: string | undefined): {
  readonly lock: Lock;
  readonly diagnostics: readonly Diagnostic[];
} {
  if (text === undefined) return { lock: EMPTY, diagnostics: [] };
  const bad = (why: string, line = 1, hint?: string) => {
    const at = { line, col: 1 };
    const span = { file: FILE, start: at, end: at };
    return {
      lock: EMPTY,
      diagnostics: [diagnostic('lock-invalid', hint === undefined ? { text: why } : { text: why, hint }, span)],
    };
  };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    const conflict = text.split('\n').findIndex((line) => line.startsWith('<<<<<<< '));
    return conflict >= 0 ? bad('it has a merge conflict', conflict + 1) : bad('it is not JSON');
  }
  if (isRecord(value) && Number(value['lockVersion']) > 1)
    return bad(
      `it was written by a newer syncline (lockVersion ${String(value['lockVersion'])})`,
      1,
      'upgrade syncline',
    );
  const problem = problemOf(value);
  return problem === undefined ? { lock: value as Lock, diagnostics: [] } : bad(problem);
}

/** What is wrong with a value that should be a lock. By hand: the lock is large and its shape is small. */
function problemOf(value: unknown): string | undefined {
  if (!isRecord(value)) return 'it is not a map';
  if (value['lockVersion'] !== 1) return 'its lockVersion is not 1';
  if (!isRecord(value['targets'])) return 'it has no targets';
  const { templates = {} } = value;
  if (!isRecord(templates) || !Object.values(templates).every((digest) => typeof digest === 'string'))
    return 'its templates are not digests by path';
  for (const [name, target] of Object.entries(value['targets'])) {
    if (!isRecord(target) || !isRecord(target['sources'])) return `target ${name} has no sources`;
    for (const [relation, source] of Object.entries(target['sources'])) {
      const { columns, type = '', partitioning = '' } = isRecord(source) ? source : {};
      if (!Array.isArray(columns)) return `${relation} has no columns`;
      if (typeof type !== 'string' || typeof partitioning !== 'string')
        return `the type or the partitioning of ${relation} is no text`;
      const isColumn = (c: unknown): boolean =>
        isRecord(c) && typeof c['name'] === 'string' && typeof c['type'] === 'string';
      if (!columns.every(isColumn)) return `a column of ${relation} lacks its name or type`;
      const names = (columns as readonly { readonly name: string }[]).map((c) => c.name);
      const twice = names.find((name, i) => names.indexOf(name) < i);
      if (twice !== undefined) return `the column ${twice} of ${relation} stands in it twice`;
    }
  }
  return undefined;
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** The lock's text: same lock, same bytes. */
export const writeLock = (lock: Lock): string => stableJson(lock, 2) + '\n';

/** One difference between two locks; `before` or `after` is null where the column is not there. */
export interface LockChange {
  readonly target: string;
  readonly source: string;
  /** Null for what the relation is. */
  readonly column: string | null;
  readonly before: string | null;
  readonly after: string | null;
}

/** The columns that came, went or changed type, and relations that are another thing, in a stable order. A change of order alone is none. */
export function diffLock(before: Lock, after: Lock): readonly LockChange[] {
  const [old, now] = [flat(before), flat(after)];
  return [...new Set([...old.keys(), ...now.keys()])]
    .sort()
    .map((id) => {
      const [target = '', source = '', column = null] = id.split('\u0000');
      return { target, source, column, before: old.get(id) ?? null, after: now.get(id) ?? null };
    })
    .filter((change) => change.before !== change.after);
}

const flat = (lock: Lock): ReadonlyMap<string, string> =>
  new Map(
    Object.entries(lock.targets).flatMap(([target, { sources }]) =>
      Object.entries(sources).flatMap(([source, { columns, type, partitioning }]) => [
        ...(type === undefined ? [] : [entry([target, source], kindOf(type, partitioning))]),
        ...columns.map((c) => entry([target, source, c.name], c.type)),
      ]),
    ),
  );

const entry = (id: readonly string[], text: string): [string, string] => [id.join('\u0000'), text];
const kindOf = (type: string, partitioning: string | undefined): string =>
  partitioning === undefined ? type : `${type} partitioned by ${partitioning}`;
