export type Properties = Record<string, unknown>;

const NAMES = ['$set', '$set_once', '$add', '$union', '$append', '$remove', '$unset', '$delete'] as const;

type Name = (typeof NAMES)[number];

/** What one record does to one profile. */
export interface Operation {
  readonly name: Name;
  readonly value: unknown;
}

/** Sources: Mixpanel docs "User Profiles" and "Data Types". */
const LIMITS = { properties: 2000, name: 255, textBytes: 255 } as const;

/** Group profiles have no `$add` and no `$append`. Source: Mixpanel docs "User Profiles". */
const USER_ONLY: ReadonlySet<string> = new Set(['$add', '$append']);

/** The operations that make a profile that does not exist. The docs say so of set, set_once and union only. */
const CREATES: ReadonlySet<Name> = new Set(['$set', '$set_once', '$union', '$add', '$append']);

/** The one operation of a record, or what is wrong with it, in the sandbox's own words. */
export function operationOf(record: Properties, forGroups: boolean): Operation | { readonly error: string } {
  const present = NAMES.filter((name) => name in record);
  const [name] = present;
  if (name === undefined) return { error: `one of ${NAMES.join(', ')} is required` };
  if (present.length > 1) return { error: `${present.join(' and ')} cannot be in one record` };
  if (forGroups && USER_ONLY.has(name)) return { error: `${name} is not supported for group profiles` };
  const value = record[name];
  const error = name === '$delete' ? undefined : name === '$unset' ? checkNames(value) : checkObject(name, value);
  return error === undefined ? { name, value } : { error };
}

function checkNames(value: unknown): string | undefined {
  const names = Array.isArray(value) && value.length > 0 && value.every((item) => typeof item === 'string');
  return names ? undefined : '$unset, must be a list of property names';
}

function checkObject(name: Name, value: unknown): string | undefined {
  if (!isObject(value)) return `${name}, must be an object`;
  const values = Object.values(value);
  if (name === '$add' && !values.every((item) => typeof item === 'number')) return '$add, must be an object of numbers';
  if (name === '$union' && !values.every((item) => Array.isArray(item))) return '$union, must be an object of lists';
  return undefined;
}

/** The profile after the operation; undefined when there is none. Source: Mixpanel docs "User Profiles". */
export function apply(before: Properties | undefined, { name, value }: Operation): Properties | undefined {
  if (name === '$delete') return undefined;
  if (!before && !CREATES.has(name)) return undefined;
  const after = new Map(Object.entries(before ?? {}));
  if (name === '$unset') {
    for (const property of value as string[]) after.delete(property);
    return Object.fromEntries(after);
  }
  for (const [long, given] of Object.entries(value as Properties)) {
    const property = Array.from(long).slice(0, LIMITS.name).join('');
    if (!after.has(property) && after.size >= LIMITS.properties) continue;
    const next = combine(name, after.get(property), given);
    if (next !== undefined) after.set(property, next);
  }
  return Object.fromEntries(after);
}

/** The property's new value; undefined leaves it alone. A property of another type is left alone: undocumented. */
function combine(name: Name, old: unknown, given: unknown): unknown {
  const list = Array.isArray(old) ? (old as unknown[]) : undefined;
  switch (name) {
    case '$set':
      return truncate(given);
    case '$set_once':
      return old === undefined ? truncate(given) : undefined;
    case '$add':
      return old === undefined || typeof old === 'number' ? (old ?? 0) + (given as number) : undefined;
    case '$append':
      return old === undefined ? [truncate(given)] : list && [...list, truncate(given)];
    case '$remove':
      return list?.filter((item) => !same(item, given));
    case '$union':
      return old === undefined || list ? union(list ?? [], given as unknown[]) : undefined;
    default:
      return undefined;
  }
}

/** Adds what is not there; duplicates that were there stay. */
function union(list: readonly unknown[], added: readonly unknown[]): unknown[] {
  const seen = new Set(list.map((item) => JSON.stringify(item)));
  const fresh = new Map(added.map(truncate).map((item) => [JSON.stringify(item), item]));
  return [...list, ...[...fresh].filter(([text]) => !seen.has(text)).map(([, item]) => item)];
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Texts are cut at 255 bytes, never within a character. Source: Mixpanel docs "Data Types". */
function truncate(value: unknown): unknown {
  if (typeof value !== 'string' || value.length * 3 <= LIMITS.textBytes) return value;
  const bytes = Buffer.from(value);
  if (bytes.length <= LIMITS.textBytes) return value;
  let end: number = LIMITS.textBytes;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end);
}

export const isObject = (value: unknown): value is Properties =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
