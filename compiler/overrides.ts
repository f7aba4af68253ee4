import { createHash } from 'node:crypto';
import nunjucks from 'nunjucks';
import type { Lock } from '../schemas/types.ts';
import type { Diagnostic, Position, Span } from './diagnostics.ts';
import { diagnostic } from './diagnostics.ts';
import type { WarehouseKind } from './dialects/dialect.ts';
import type { Context } from './render.ts';
import { isControl } from './project/text.ts';

/** Templates that a project may override; the others hold what keeps rows from being lost or doubled. */
export const PUBLIC: readonly string[] = [
  'create_table',
  'create_grantee',
  'grant_usage',
  'grant_sources',
  'grant_schemas',
  'grant_future',
  'changes_all',
  'changes_compare',
  'changes_forward',
  'deliver_pages',
];
/** Before the name of one of the package's templates, in a template that extends or includes it. */
export const BUILTIN = 'builtin:';

const FOLDERS: readonly string[] = [
  'default',
  'bigquery',
  'snowflake',
  'databricks',
  'redshift',
  'postgres',
  'duckdb',
] satisfies readonly (WarehouseKind | 'default')[];

/** A project's template in place of the package's. */
export interface Override {
  readonly name: string;
  readonly path: string;
  readonly text: string;
}

/**
 * The project's templates by name, as the dialect finds them: its own folder, then `default`. All of them are judged,
 * those of other warehouses too.
 */
export function overridesOf(
  files: Readonly<Record<string, string>>,
  templates: Readonly<Record<string, string>>,
  warehouse: WarehouseKind,
  report: (d: Diagnostic) => void,
): ReadonlyMap<string, Override> {
  const found = new Map<string, Override>();
  const names = new Set(Object.keys(templates).map((t) => t.replace(/^.*\/|\.sql\.njk$/g, '')));
  for (const path of Object.keys(files).filter(isTemplate).sort()) {
    const text = files[path] ?? '';
    const [, folder = '', name = ''] = /^templates\/([^/]+)\/([^/]+)\.sql\.njk$/.exec(path) ?? [];
    const problem =
      !FOLDERS.includes(folder) || !names.has(name)
        ? diagnostic('template-unknown', { path, known: PUBLIC }, at(path, 1))
        : !PUBLIC.includes(name)
          ? diagnostic('template-refused', { name, known: PUBLIC }, at(path, 1))
          : unfit({ name, path, text }, blocksOf(name, templates));
    if (problem) report(problem);
    // `default` comes before every warehouse in this order: what is narrower replaces it.
    else if (folder === 'default' || folder === warehouse) {
      if (folder === warehouse || !found.has(name)) found.set(name, { name, path, text });
    }
  }
  return found;
}

/** The blocks that the package's template of that name has, for any warehouse. */
const blocksOf = (name: string, templates: Readonly<Record<string, string>>): ReadonlySet<string> =>
  new Set(
    Object.entries(templates)
      .filter(([file]) => file.endsWith(`/${name}.sql.njk`))
      .flatMap(([, text]) => [...text.matchAll(/\{%-? *block (\w+)/g)].map((m) => m[1] ?? '')),
  );

const isTemplate = (file: string): boolean => file.startsWith('templates/');

const at = (file: string, line: number, col = 1): Span => ({ file, start: { line, col }, end: { line, col } });

interface Node {
  readonly typename: string;
  readonly lineno: number;
  readonly colno: number;
  readonly fields: readonly string[];
  readonly [field: string]: unknown;
}

/**
 * What keeps a text from being a template of a project: it must parse, name no template but the package's, and call
 * nothing. The template language would let an expression reach JavaScript; the compiler stays pure all the same.
 */
function unfit({ name, path, text }: Override, blocks: ReadonlySet<string>): Diagnostic | undefined {
  const invalid = (why: string, line = 1, col = 1): Diagnostic =>
    diagnostic('template-invalid', { text: why }, at(path, line, col));
  const bad = text.split('\n').findIndex((line) => isControl(line.replace(/[\t\r]/g, '')));
  if (bad >= 0) return diagnostic('control-character', { key: 'the template' }, at(path, bad + 1));
  let root: Node;
  try {
    // Compiled here, because a mistake in an included template would be thrown when nobody listens.
    new nunjucks.Template(text, new nunjucks.Environment(null, OPTIONS), path, true);
    root = (nunjucks as unknown as { parser: { parse(text: string): Node } }).parser.parse(text);
  } catch (error) {
    const { message, position } = positionOf(error, path);
    return invalid(message, position.line, position.col);
  }
  const macros = new Set<string>();
  const assigned = new Set(CALLABLE);
  let problem: Diagnostic | undefined;
  const walk = (node: Node): void => {
    const refuse = (why: string): void => void (problem ??= invalid(why, node.lineno + 1, node.colno + 1));
    const child = (field: string): Node | undefined => node[field] as Node | undefined;
    const literal = (field: string): unknown =>
      child(field)?.typename === 'Literal' ? child(field)?.['value'] : undefined;
    /** What is called must be what it is called: a name stands for a macro or for a value, not for both. */
    const take = (names: readonly string[], as: Set<string>, other: ReadonlySet<string>): void => {
      for (const taken of names) {
        if (other.has(taken)) refuse(`\`${taken}\` is two things`);
        as.add(taken);
      }
    };
    switch (node.typename) {
      case 'Macro':
        take(symbolsOf(child('name')), macros, assigned);
        take(symbolsOf(child('args')), assigned, new Set([...macros, ...CALLABLE]));
        break;
      case 'Set':
        take(symbolsOf(node['targets']), assigned, new Set([...macros, ...CALLABLE]));
        break;
      case 'For':
        take(symbolsOf(child('name')), assigned, new Set([...macros, ...CALLABLE]));
        break;
      case 'Extends':
        if (literal('template') !== BUILTIN + name) refuse(`it can extend only "${BUILTIN}${name}"`);
        break;
      case 'Include':
        if (!String(literal('template')).startsWith(BUILTIN))
          refuse(`it can include only the package's templates, as "${BUILTIN}<name>"`);
        break;
      case 'Import':
      case 'FromImport':
      case 'AsyncEach':
      case 'AsyncAll':
      case 'IfAsync':
        refuse(`\`${node.typename}\` is not for templates of a project`);
        break;
      case 'LookupVal': {
        const key = literal('val');
        if (key === undefined || ['constructor', 'prototype', '__proto__'].some((name) => name === key))
          refuse('it looks up what only running it would tell');
        break;
      }
      case 'FunCall': {
        const called = child('name');
        const isKnown = called?.typename === 'Symbol' && CALLABLE.includes(String(called['value']));
        if (!isKnown && !(called?.typename === 'Symbol' && macros.has(String(called['value']))))
          refuse(`it can call only ${CALLABLE.join(', ')} and its own macros`);
        break;
      }
      case 'Filter':
        if (child('name')?.['value'] === 'random') refuse('`random` would give another text each time');
        break;
    }
    for (const field of node.fields) {
      const value = node[field];
      for (const part of Array.isArray(value) ? (value as unknown[]) : [value]) if (isNode(part)) walk(part);
    }
  };
  walk(root);
  if (problem) return problem;
  // A block that its parent does not have is never rendered, and nobody would say so.
  const parts = (root['children'] as readonly Node[] | undefined) ?? [];
  const isExtending = parts.some((part) => part.typename === 'Extends');
  for (const part of isExtending ? parts : []) {
    const [block] = part.typename === 'Block' ? symbolsOf(part['name']) : [];
    if (block !== undefined && !blocks.has(block))
      return invalid(
        `${BUILTIN}${name} has no block \`${block}\`; it has ${[...blocks].join(', ')}`,
        part.lineno + 1,
        part.colno + 1,
      );
  }
  return undefined;
}

/** The names in a node, or in a list of nodes. */
function symbolsOf(value: unknown): readonly string[] {
  if (Array.isArray(value)) return value.flatMap(symbolsOf);
  if (!isNode(value)) return [];
  return value.typename === 'Symbol' ? [String(value['value'])] : value.fields.flatMap((f) => symbolsOf(value[f]));
}

const isNode = (value: unknown): value is Node => value !== null && typeof value === 'object' && 'typename' in value;

const CALLABLE: readonly string[] = ['super', 'range'];

/** How every template is rendered. */
export const OPTIONS = { autoescape: false, throwOnUndefined: true, trimBlocks: true, lstripBlocks: true };

/** What the template language says went wrong, without the path that led there, and where in the template. */
function positionOf(error: unknown, path: string): { readonly message: string; readonly position: Position } {
  const text = error instanceof Error ? error.message : String(error);
  const last = text.split('\n').at(-1)?.trim() ?? '';
  const message = last.replace(/^(Template render error|Error|RangeError|TypeError): /, '').replace(/^\(.*?\)\s*/, '');
  const places = [...text.matchAll(/\(([^()\n]+)\) \[Line (\d+), Column (\d+)\]/g)].filter((m) => m[1] === path);
  const [, , line = '1', col = '1'] = places.at(-1) ?? [];
  return {
    message: message.startsWith('Maximum call stack') ? 'it includes itself' : message,
    position: { line: Number(line), col: Math.max(1, Number(col)) },
  };
}

/** The diagnostic of a template that cannot be rendered; undefined when no template of the project has to do with it. */
export function renderProblem(error: unknown, overrides: ReadonlyMap<string, Override>): Diagnostic | undefined {
  const text = error instanceof Error ? error.message : String(error);
  const place = (o: Override): number => text.lastIndexOf(`(${o.path})`);
  const [guilty] = [...overrides.values()].filter((o) => place(o) >= 0).sort((a, b) => place(b) - place(a));
  if (!guilty) return undefined;
  const { message, position } = positionOf(error, guilty.path);
  // A name that does not exist is told without its place.
  const asked = /asks for s\.(?:\w+\.)*(\w+)/.exec(message)?.[1];
  const offset = asked === undefined ? -1 : guilty.text.search(new RegExp(`\\.${asked}\\b`));
  if (offset < 0)
    return diagnostic('template-invalid', { text: message }, at(guilty.path, position.line, position.col));
  const before = guilty.text.slice(0, offset + 1).split('\n');
  return diagnostic(
    'template-invalid',
    { text: message },
    at(guilty.path, before.length, (before.at(-1) ?? '').length + 1),
  );
}

/** A template of the project that renders and lacks something, found in a statement made from it. */
export const overrideProblem = (override: Override, text: string): Diagnostic =>
  diagnostic('template-invalid', { text }, at(override.path, 1));

/** The same when the text lacks a name that other statements rely on. */
export const missingName = ({ path, name }: Override, missing: string, statement: string): Diagnostic =>
  diagnostic('template-incomplete', { name, missing, statement }, at(path, 1));

/** What other statements rely on: the columns of a staging table, or what a template of changes or pages gives. */
export function namesWanted(name: string, context: Context): readonly string[] {
  const named = (key: string): readonly string[] =>
    (context.get(key) as unknown as readonly { readonly name: string }[]).map((c) => c.name);
  switch (name) {
    case 'create_table':
      return named('columns');
    case 'create_grantee':
    case 'grant_usage':
    case 'grant_sources':
    case 'grant_schemas':
    case 'grant_future':
      return [];
    case 'deliver_pages':
      return ['batch', 'records', 'body'];
    default: {
      const own = ['changes', 'syncline_key', 'syncline_checksum', 'syncline_old_insert_id', 'syncline_row_change'];
      if (name === 'changes_all') return own;
      return [...own, 'syncline_old_key', ...named('identity').map((column) => `syncline_old_${column}`)];
    }
  }
}

/** The first of these names that a text of SQL does not hold outside of comments and quoted texts. */
export function missingFrom(sql: string, names: readonly string[]): string | undefined {
  const code = sql.replaceAll(/--[^\n]*|\/\*[\s\S]*?\*\/|'(?:[^']|'')*'/g, ' ');
  return names.find((name) => !new RegExp(`(?<![A-Za-z0-9_])${name}(?![A-Za-z0-9_])`).test(code));
}

/** Digests of the package's templates that the project's stand for, by the project's path. */
export function parentDigests(
  files: Readonly<Record<string, string>>,
  templates: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const digests: Record<string, string> = {};
  for (const path of Object.keys(files).filter(isTemplate).sort()) {
    const [, folder = '', name = ''] = /^templates\/([^/]+)\/([^/]+)\.sql\.njk$/.exec(path) ?? [];
    const own = templates[`${folder}/${name}.sql.njk`] ?? templates[`default/${name}.sql.njk`];
    // One in `default` stands for that of every warehouse.
    const parents =
      folder === 'default'
        ? Object.keys(templates)
            .filter((t) => t.endsWith(`/${name}.sql.njk`))
            .sort()
            .map((t) => `${t}\n${templates[t] ?? ''}`)
        : [own ?? ''];
    if (PUBLIC.includes(name) && FOLDERS.includes(folder))
      digests[path] = createHash('sha256').update(parents.join('\n')).digest('hex');
  }
  return digests;
}

/** Warns where the package's template is not the one that the project's was written against. */
export function checkParents(
  lock: Lock,
  digests: Readonly<Record<string, string>>,
  report: (d: Diagnostic) => void,
): void {
  for (const [path, digest] of Object.entries(digests)) {
    const locked = lock.templates?.[path];
    if (locked === digest) continue;
    report(diagnostic(locked === undefined ? 'template-not-locked' : 'template-parent-changed', { path }, at(path, 1)));
  }
}
