import { createRequire } from 'node:module';
import type { ErrorObject, ValidateFunction } from 'ajv';
import type * as Ajv from 'ajv/dist/2020.js';
import type { Project, Sync, Target } from '../../schemas/types.ts';
import type { Diagnostic } from '../diagnostics.ts';
import { diagnostic } from '../diagnostics.ts';
import { readSchema } from '../files.ts';
import type { Expanded } from './expressions.ts';
import { isLater, isLaterValue } from './later.ts';
import type { Locate } from './parse.ts';

/** What a key must be, where a pattern says it. */
const PATTERNS: Readonly<Record<string, string>> = {
  max_deletes: 'must be a number of rows, or 0% to 100%',
  // Errors name host and database: a connection string would bring its password along.
  host: 'must be the name of a server alone: `user`, `password`, `port` and `dbname` are keys of their own',
  dbname: 'must be the name of a database alone, and no connection string',
};

/** What the schemas describe. */
export interface Shapes {
  readonly Project: Project;
  readonly Target: Target;
  readonly Sync: Sync;
}

let validators: Readonly<Record<keyof Shapes, ValidateFunction>> | undefined;

/** Loaded on first use: small commands do not need it. */
function validatorsOnce(): Readonly<Record<keyof Shapes, ValidateFunction>> {
  if (validators) return validators;
  const { Ajv2020 } = createRequire(import.meta.url)('ajv/dist/2020.js') as typeof Ajv;
  const ajv = new Ajv2020({ allErrors: true, strict: true, verbose: true, allowUnionTypes: true, discriminator: true });
  const sync = readSchema('sync');
  ajv.addSchema(sync, 'sync.schema.json');
  ajv.addSchema(readSchema('project'), 'project');
  validators = {
    Project: ajv.compile({ $ref: 'project' }),
    Target: ajv.compile({ $ref: 'project#/$defs/Target' }),
    Sync: ajv.compile({ $ref: 'sync.schema.json' }),
  };
  return validators;
}

/**
 * The value as its schema describes it, or undefined after a report. Texts that hold an expression still are not
 * judged; texts that came from one may stand for a number or a boolean.
 */
export function validate<K extends keyof Shapes>(
  shape: K,
  input: Omit<Expanded, 'kept'>,
  locate: Locate,
  into: Diagnostic[],
): Shapes[K] | undefined {
  const check = validatorsOnce()[shape];
  const isValid = (): boolean => check(input.value);
  if (isValid() || (convert(check.errors ?? [], input) && isValid())) return input.value as Shapes[K];
  const errors = meant(check.errors ?? []);
  const isOpen = (e: ErrorObject): boolean => input.open.has(e.instancePath) && e.params['type'] !== 'object';
  const found = new Map<string, Diagnostic>();
  for (const error of errors.filter((e) => !isOpen(e))) {
    const d = describe(error, locate, mayBeMap(error, check.errors ?? []));
    if (d) found.set(JSON.stringify(d), d);
  }
  if (found.size === 0 && errors.some(isOpen)) return input.value as Shapes[K];
  // A kind or warehouse that is not supported has other keys: that they are missing is no news.
  const isLaterHere = [...found.values()].some((d) => d.code === 'not-yet-supported');
  into.push(...[...found.values()].filter((d) => !isLaterHere || d.code !== 'missing-key'));
  return undefined;
}

/** Turns rendered texts into the number or boolean that is wanted there. */
function convert(errors: readonly ErrorObject[], input: Omit<Expanded, 'kept'>): boolean {
  let changed = false;
  for (const { keyword, instancePath, params, data } of errors) {
    if (keyword !== 'type' || typeof data !== 'string' || !input.rendered.has(instancePath)) continue;
    const wanted = [params['type'] as string | string[]].flat();
    const isNumber = wanted.some((t) => t === 'number' || t === 'integer') && /^-?\d+(\.\d+)?$/.test(data);
    const isBoolean = wanted.includes('boolean') && /^(true|false)$/.test(data);
    if (!isNumber && !isBoolean) continue;
    const path = split(instancePath);
    let parent = input.value as Record<string, unknown>;
    for (const step of path.slice(0, -1)) parent = parent[step] as Record<string, unknown>;
    parent[path.at(-1) ?? ''] = isNumber ? Number(data) : data === 'true';
    changed = true;
  }
  return changed;
}

const split = (pointer: string): string[] =>
  pointer
    .split('/')
    .slice(1)
    .map((p) => p.replaceAll('~1', '/').replaceAll('~0', '~'));

/** Whether a map may stand where a word is wrong. */
const mayBeMap = ({ instancePath }: ErrorObject, errors: readonly ErrorObject[]): boolean =>
  errors.some((e) => e.instancePath === instancePath && e.keyword === 'type' && e.params['type'] === 'object');

function describe(error: ErrorObject, locate: Locate, orMap: boolean): Diagnostic | undefined {
  const path = split(error.instancePath);
  const key = path.findLast((p) => !/^\d+$/.test(p)) ?? 'it';
  if (error.propertyName !== undefined) {
    const text =
      key === 'decisions'
        ? `\`${error.propertyName}\` names no change: copy the seven letters and digits that \`syncline plan\` prints`
        : `\`${error.propertyName}\` is no name: use letters, digits, \`_\`, \`-\` and \`.\``;
    return diagnostic('wrong-value', { text }, locate([...path, error.propertyName], 'key'));
  }
  switch (error.keyword) {
    case 'additionalProperties': {
      const name = String(error.params['additionalProperty']);
      const span = locate([...path, name], 'key');
      if (isLater(name)) return diagnostic('not-yet-supported', { key: name }, span);
      if (isRefusedDefault(error, name)) return diagnostic('default-refused', { key: name }, span);
      const known = Object.keys((error.parentSchema?.['properties'] as object | undefined) ?? {});
      return diagnostic('unknown-key', { key: name, known }, span);
    }
    case 'required':
      return diagnostic('missing-key', { key: String(error.params['missingProperty']) }, locate(path));
    case 'enum':
    case 'const':
      return describeEnum(error, key, locate(path), orMap);
    case 'discriminator':
      return describeChoice(error, locate);
    case 'pattern':
      return diagnostic(
        'wrong-value',
        { text: `\`${key}\` ${PATTERNS[key] ?? error.message ?? 'is wrong'}` },
        locate(path),
      );
    case 'anyOf':
    case 'propertyNames':
      return undefined;
    case 'type':
      return describeType(error, key, locate(path));
    default:
      return diagnostic('wrong-value', { text: `\`${key}\` ${error.message ?? 'is wrong'}` }, locate(path));
  }
}

/** A key that syncs have and `defaults:` does not. */
function isRefusedDefault({ parentSchema }: ErrorObject, name: string): boolean {
  if (!String(parentSchema?.['title']).startsWith('Defaults')) return false;
  const { properties } = readSchema('sync') as { readonly properties: object };
  return Object.hasOwn(properties, name);
}

function describeEnum(error: ErrorObject, key: string, span: ReturnType<Locate>, orMap = false): Diagnostic {
  const values = (error.params['allowedValues'] ?? [error.params['allowedValue']]) as unknown[];
  const allowed = values.map(String);
  if (isLaterValue(key, error.data))
    return diagnostic('not-yet-supported', { key: `${key}: ${String(error.data)}`, known: allowed }, span);
  const text = `\`${key}\` must be ${[...allowed, ...(orMap ? ['a map'] : [])].join(' or ')}`;
  return typeof error.data === 'string'
    ? diagnostic('wrong-value', { text, given: error.data, allowed }, span)
    : diagnostic('wrong-value', { text }, span);
}

/** A map whose kind is named by one of its keys, such as a warehouse by its type. */
function describeChoice(error: ErrorObject, locate: Locate): Diagnostic | undefined {
  const { tag, tagValue } = error.params as { tag: string; tagValue: unknown };
  // That it is missing is told already.
  if (tagValue === undefined) return undefined;
  const { oneOf } = error.parentSchema as { oneOf: readonly { readonly $ref: string }[] };
  const { $defs } = readSchema('project') as {
    $defs: Record<string, { properties: Record<string, { const: string }> }>;
  };
  const known = oneOf.map(({ $ref }) => $defs[$ref.split('/').at(-1) ?? '']?.properties[tag]?.const);
  const span = locate([...split(error.instancePath), tag]);
  return describeEnum({ ...error, params: { allowedValues: known }, data: tagValue }, tag, span);
}

function describeType(error: ErrorObject, key: string, span: ReturnType<Locate>): Diagnostic {
  if (key === 'source' && typeof error.data === 'string') {
    const call = /^\s*(ref|source)\s*\(/.exec(error.data)?.[1];
    if (call !== undefined) return diagnostic('not-yet-supported', { key: `source: ${call}(…)` }, span);
    return diagnostic('wrong-value', { text: '`source` must be { relation: db.schema.table }' }, span);
  }
  const names: Readonly<Record<string, string>> = {
    object: 'a map',
    array: 'a list',
    string: 'text',
    integer: 'an integer',
  };
  const wanted = [error.params['type'] as string | string[]].flat().map((t) => names[t] ?? `a ${t}`);
  return diagnostic('wrong-value', { text: `\`${key}\` must be ${wanted.join(' or ')}` }, span);
}

/** Ajv reports every branch of an `anyOf`; the branch of the value's own type is the one that was meant. */
function meant(errors: readonly ErrorObject[]): readonly ErrorObject[] {
  const isChoice = (keyword: string): boolean => ['type', 'const', 'enum'].includes(keyword);
  return errors.filter((e) => {
    const choice = errors.find((c) => c.keyword === 'anyOf' && c.instancePath === e.instancePath);
    if (!choice || e === choice || !isChoice(e.keyword)) return true;
    const here = errors.filter((o) => o.instancePath === e.instancePath && o !== choice);
    const isMap = choice.data !== null && typeof choice.data === 'object';
    if (!isMap) return e.keyword !== 'type' || here.every((o) => o.keyword === 'type');
    const isInside = errors.some((o) => o.instancePath.startsWith(`${e.instancePath}/`));
    return !isInside && here.every((o) => isChoice(o.keyword));
  });
}
