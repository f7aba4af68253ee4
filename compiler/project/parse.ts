import type { Node } from 'yaml';
import { isMap, isPair, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { Diagnostic, Span } from '../diagnostics.ts';
import { diagnostic } from '../diagnostics.ts';
import { isLater } from './later.ts';

export type Path = readonly (string | number)[];
export type Locate = (path: Path, what?: 'key' | 'value') => Span;

/** A parsed file, or one entry of `syncs:` in it, not yet validated. */
export interface Source {
  readonly file: string;
  readonly value: unknown;
  /** The span of a path inside the value; of its nearest parent when the path is not there. */
  readonly locate: Locate;
}

export interface Parsed {
  readonly project?: Source;
  readonly syncs: readonly Source[];
}

export const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** YAML with positions kept. Guarantees nothing about the values but that they are YAML and finite. */
export function parse(files: Readonly<Record<string, string>>, into: Diagnostic[]): Parsed {
  const text = files['syncline.yml'];
  if (text === undefined) {
    into.push(diagnostic('file-missing', { file: 'syncline.yml' }));
    return { syncs: [] };
  }
  const project = parseFile('syncline.yml', text, into);
  const syncs = Object.keys(files)
    .filter((file) => file.startsWith('syncs/'))
    .sort()
    .flatMap((file) => parseSyncs(file, files[file] ?? '', into));
  return { ...(project ? { project } : {}), syncs };
}

function parseSyncs(file: string, text: string, into: Diagnostic[]): readonly Source[] {
  const source = parseFile(file, text, into);
  if (!source || source.value === null) return [];
  const { value, locate } = source;
  if (!isRecord(value)) {
    into.push(diagnostic('wrong-value', { text: 'the file must be a map with `syncs:`' }, locate([])));
    return [];
  }
  for (const key of Object.keys(value).filter((k) => k !== 'syncs')) {
    const span = locate([key], 'key');
    into.push(
      isLater(key)
        ? diagnostic('not-yet-supported', { key }, span)
        : diagnostic('unknown-key', { key, known: ['syncs', 'exports'] }, span),
    );
  }
  const list: unknown = value['syncs'] ?? [];
  if (!Array.isArray(list)) {
    into.push(diagnostic('wrong-value', { text: '`syncs` must be a list' }, locate(['syncs'])));
    return [];
  }
  return list.map((entry: unknown, i) => ({
    file,
    value: entry,
    locate: (path, what) => locate(['syncs', i, ...path], what),
  }));
}

const OPTIONS = { prettyErrors: false, uniqueKeys: true } as const;

/** A file of YAML, positions kept; undefined after a report. */
export function parseFile(file: string, text: string, into: Diagnostic[]): Source | undefined {
  const counter = new LineCounter();
  const document = parseDocument(text, { ...OPTIONS, lineCounter: counter });
  const span = (start: number, end: number): Span => ({
    file,
    start: counter.linePos(start),
    end: counter.linePos(Math.max(start, end)),
  });
  // What follows the first error of a file is mostly its echo.
  const error = document.errors[0];
  if (error) {
    const twice = error.code === 'DUPLICATE_KEY' ? /^[\w.-]+/.exec(text.slice(error.pos[0]))?.[0] : undefined;
    into.push(
      diagnostic(
        'yaml-syntax',
        twice === undefined
          ? { text: error.message }
          : { text: `the key \`${twice}\` stands here twice`, hint: 'put what both say into one, or remove one' },
        span(...error.pos),
      ),
    );
    return undefined;
  }
  // Few places are ever asked for, and the nodes of a file are large: they are read again for the first one.
  let root: Node | null | undefined;
  const rootOf = (): Node | null => (root ??= parseDocument(text, OPTIONS).contents);
  try {
    // The library throws for a file that unfolds into a very large one.
    const value = document.toJS() as unknown;
    // An alias inside its own anchor makes a value without end; this throws.
    if (text.includes('*')) JSON.stringify(value);
    return { file, value, locate: (path, what) => span(...rangeOf(rootOf(), path, what)) };
  } catch {
    into.push(diagnostic('yaml-syntax', { text: 'an alias makes the file endless, or very large' }, span(0, 0)));
    return undefined;
  }
}

/** Offsets of the node at a path, or of the nearest parent that is there. */
function rangeOf(root: Node | null, path: Path, what: 'key' | 'value' = 'value'): readonly [number, number] {
  const offsets = (node: Node | null | undefined): readonly [number, number] | undefined =>
    node?.range ? [node.range[0], node.range[1]] : undefined;
  let node: Node | null = root;
  let range = offsets(root) ?? [0, 0];
  for (const [i, step] of path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find((p) => isPair(p) && isScalar(p.key) && String(p.key.value) === String(step));
      if (!pair) return range;
      const key = pair.key as Node;
      node = pair.value as Node | null;
      range = (what === 'key' && i === path.length - 1 ? undefined : offsets(node)) ?? offsets(key) ?? range;
    } else if (isSeq(node)) {
      node = (node.items[Number(step)] as Node | undefined) ?? null;
      range = offsets(node) ?? range;
    } else return range;
  }
  return range;
}
