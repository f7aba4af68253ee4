import { readFileSync } from 'node:fs';
import type { ErrorObject, ValidateFunction } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { Node } from 'yaml';
import { isMap, isPair, isScalar, LineCounter, parseDocument } from 'yaml';
import type { Project, Sync } from '../../schemas/types.ts';
import type { Diagnostic, Span } from '../diagnostics.ts';
import { diagnostic } from '../diagnostics.ts';

export type Path = readonly (string | number)[];

/** A parsed file: its value, and where each path of it stands. */
export interface Source<T> {
  readonly file: string;
  readonly value: T;
  readonly locate: (path: Path, what?: 'key' | 'value') => Span;
}

/** Keys that later versions know: named as such instead of as typos. */
const LATER = new Set([
  'device_id',
  'json_properties',
  'properties',
  'where',
  'timezone',
  'late_window',
  'history',
  'group_key',
  'group_id',
  'id',
  'lookup_table_id',
  'exports',
  'defaults',
  'dbt',
  'renamed_from',
  'decisions',
  'initial',
  'enabled',
  'dbt_profile',
  'dbt_target',
  'grantee',
  'grant_scope',
  'on_new_column',
  'max_rejects',
  'egress_price',
  'attach',
]);
const LATER_VALUES: Readonly<Record<string, readonly string[]>> = {
  '/kind': ['user_profiles', 'group_profiles', 'lookup_table'],
  '/mode': ['full', 'one_time'],
  '/strategy': ['snapshot', 'stream', 'change_feed', 'all'],
  '/on_delete': ['ignore', 'fail', 'unset', 'delete'],
};

const schema = (name: string): object => {
  const here = new URL(import.meta.url).pathname;
  const root = here.includes('/dist/') ? '../../../schemas/' : '../../schemas/';
  return JSON.parse(readFileSync(new URL(`${root}${name}.schema.json`, import.meta.url), 'utf8')) as object;
};
let validators: { project: ValidateFunction; sync: ValidateFunction } | undefined;
const validatorsOnce = () => {
  const ajv = new Ajv2020({ allErrors: true, strict: true, verbose: true, allowUnionTypes: true });
  validators ??= { project: ajv.compile(schema('project')), sync: ajv.compile(schema('sync')) };
  return validators;
};

function parseFile(file: string, text: string, diagnostics: Diagnostic[]): Source<unknown> | undefined {
  const counter = new LineCounter();
  const document = parseDocument(text, { lineCounter: counter, prettyErrors: false, uniqueKeys: true });
  const at = (offset: number): Span => ({ file, ...counter.linePos(offset) });
  // What follows the first error of a file is mostly its echo.
  for (const e of document.errors.slice(0, 1))
    diagnostics.push(diagnostic('yaml-syntax', { text: e.message }, at(e.pos[0])));
  if (document.errors.length > 0) return undefined;
  const locate = (path: Path, what: 'key' | 'value' = 'value'): Span => {
    let node: Node | null = document.contents;
    let start = node?.range?.[0] ?? 0;
    for (const [i, step] of path.entries()) {
      if (isMap(node)) {
        const pair = node.items.find((p) => isPair(p) && isScalar(p.key) && String(p.key.value) === String(step));
        const key = pair?.key as Node | undefined;
        if (!pair || !key) return at(start);
        node = pair.value as Node | null;
        const last = i === path.length - 1;
        start = (last && what === 'key' ? key.range?.[0] : (node?.range?.[0] ?? key.range?.[0])) ?? start;
      } else {
        const items: unknown[] | undefined = (node as { items?: unknown[] } | null)?.items;
        node = (items?.[Number(step)] as Node | undefined) ?? null;
        start = node?.range?.[0] ?? start;
      }
    }
    return at(start);
  };
  return { file, value: document.toJS() as unknown, locate };
}

const split = (pointer: string): (string | number)[] =>
  pointer
    .split('/')
    .slice(1)
    .map((p) => p.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((p) => (/^\d+$/.test(p) ? Number(p) : p));

function describe(error: ErrorObject, locate: Source<unknown>['locate'], prefix: Path): Diagnostic | undefined {
  const path = [...prefix, ...split(error.instancePath)];
  const key = String(path.at(-1) ?? 'file');
  switch (error.keyword) {
    case 'additionalProperties': {
      const name = String(error.params['additionalProperty']);
      const span = locate([...path, name], 'key');
      if (LATER.has(name)) return diagnostic('not-yet-supported', { key: name }, span);
      const known = Object.keys((error.parentSchema?.['properties'] as object | undefined) ?? {});
      return diagnostic('unknown-key', { key: name, known }, span);
    }
    case 'required':
      return diagnostic('missing-key', { key: String(error.params['missingProperty']) }, locate(path));
    case 'enum':
    case 'const': {
      const allowed = (error.params['allowedValues'] ?? [error.params['allowedValue']]) as unknown[];
      const given = String(error.data);
      if (LATER_VALUES[error.instancePath]?.includes(given))
        return diagnostic('not-yet-supported', { key: `${key}: ${given}` }, locate(path));
      return diagnostic(
        'wrong-value',
        { text: `\`${key}\` must be ${allowed.map(String).join(' or ')}`, given, allowed: allowed.map(String) },
        locate(path),
      );
    }
    case 'anyOf':
      return undefined;
    default:
      return diagnostic('wrong-value', { text: `\`${key}\` ${error.message ?? 'is wrong'}` }, locate(path));
  }
}

/** Ajv reports every branch of an `anyOf`; the branch of the value's own type is the one that was meant. */
function meant(errors: readonly ErrorObject[]): ErrorObject[] {
  const branches = errors.filter((e) => e.keyword === 'anyOf');
  const inside = (e: ErrorObject): boolean => /\/anyOf\/\d+/.test(e.schemaPath);
  return errors.filter((e) => {
    if (!inside(e)) return true;
    const isObject = branches.some((b) => e.instancePath.startsWith(b.instancePath) && typeof b.data === 'object');
    if (isObject)
      return e.keyword !== 'type' && e.keyword !== 'const' && e.keyword !== 'enum'
        ? true
        : !branches.some((b) => b.instancePath === e.instancePath);
    return (
      e.keyword !== 'type' ||
      !errors.some((o) => o !== e && o.instancePath === e.instancePath && o.keyword !== 'type' && o.keyword !== 'anyOf')
    );
  });
}

function validate(
  check: ValidateFunction,
  value: unknown,
  source: Source<unknown>,
  prefix: Path,
  into: Diagnostic[],
): boolean {
  if (check(value)) return true;
  const seen = new Set<string>();
  for (const error of meant(check.errors ?? [])) {
    const d = describe(error, source.locate, prefix);
    const id = JSON.stringify(d);
    if (d && !seen.has(id)) into.push(d);
    seen.add(id);
  }
  return false;
}

export interface Parsed {
  readonly project?: Source<Project>;
  readonly syncs: readonly { readonly source: Source<unknown>; readonly path: Path; readonly value: Sync }[];
}

/** YAML with positions kept, validated against the schemas. */
export function parse(files: Readonly<Record<string, string>>, diagnostics: Diagnostic[]): Parsed {
  const text = files['syncline.yml'];
  const syncs: Parsed['syncs'][number][] = [];
  if (text === undefined) {
    diagnostics.push(diagnostic('file-missing', { file: 'syncline.yml' }));
    return { syncs };
  }
  const { project: checkProject, sync: checkSync } = validatorsOnce();
  const project = parseFile('syncline.yml', text, diagnostics);
  const valid = project && validate(checkProject, project.value, project, [], diagnostics);
  for (const file of Object.keys(files)
    .filter((f) => f.startsWith('syncs/'))
    .sort()) {
    const source = parseFile(file, files[file] ?? '', diagnostics);
    if (!source || source.value === null) continue;
    const value = source.value as Record<string, unknown>;
    if (typeof value !== 'object' || Array.isArray(value)) {
      diagnostics.push(diagnostic('wrong-value', { text: 'the file must be a map with `syncs:`' }, source.locate([])));
      continue;
    }
    for (const key of Object.keys(value).filter((k) => k !== 'syncs'))
      diagnostics.push(
        LATER.has(key)
          ? diagnostic('not-yet-supported', { key }, source.locate([key], 'key'))
          : diagnostic('unknown-key', { key, known: ['syncs', 'exports'] }, source.locate([key], 'key')),
      );
    const list = value['syncs'] ?? [];
    if (!Array.isArray(list)) {
      diagnostics.push(diagnostic('wrong-value', { text: '`syncs` must be a list' }, source.locate(['syncs'])));
      continue;
    }
    list.forEach((entry: unknown, i) => {
      const path = ['syncs', i] as const;
      if (validate(checkSync, entry, source, path, diagnostics)) syncs.push({ source, path, value: entry as Sync });
    });
  }
  return { ...(valid ? { project: project as Source<Project> } : {}), syncs };
}
