import type { Defaults, DefaultsOfKind, DefaultsOfPath, Sync } from '../../schemas/types.ts';
import type { Diagnostic } from '../diagnostics.ts';
import { diagnostic } from '../diagnostics.ts';
import type { Key } from './kinds.ts';
import { COMMON, KINDS, ON_DELETE } from './kinds.ts';
import type { Locate, Path } from './parse.ts';
import { isRecord } from './parse.ts';
import { quantityProblem, toMilliseconds } from './quantities.ts';
import { inPath } from './select.ts';

type Kind = Sync['kind'];

/** A part of `defaults:` with the syncs that it reaches. */
export interface Layer {
  readonly value: DefaultsOfKind;
  /** Null: every kind, and every path. */
  readonly kind: Kind | null;
  readonly glob: string | null;
  /** Where it stands in syncline.yml. */
  readonly path: Path;
}

/**
 * The parts of `defaults:`, from wide to narrow: what is not narrowed, kinds, then paths by the letters before their
 * first wildcard, each followed by its kinds. Of two paths that are equally narrow the later one counts as narrower.
 */
export function layersOf(defaults: Defaults): readonly Layer[] {
  const part = (value: DefaultsOfPath, glob: string | null, path: Path): Layer[] => {
    const { kind = {}, ...own } = value;
    const kinds = (Object.keys(kind) as Kind[]).map((k): Layer => ({
      value: kind[k] ?? {},
      kind: k,
      glob,
      path: [...path, 'kind', k],
    }));
    return [{ value: own, kind: null, glob, path }, ...kinds];
  };
  const { path = {}, ...wide } = defaults;
  const narrowness = (glob: string): number => /^[^*?[\]{}()!+@]*/.exec(glob)?.[0].length ?? 0;
  const paths = Object.entries(path).sort(([a], [b]) => narrowness(a) - narrowness(b));
  return [
    ...part(wide, null, ['defaults']),
    ...paths.flatMap(([glob, value]) => part(value, glob, ['defaults', 'path', glob])),
  ];
}

/** Rules over `defaults:` itself, whatever syncs there are. */
export function checkLayers(layers: readonly Layer[], locate: Locate, report: (d: Diagnostic) => void): void {
  for (const { value, kind, path } of layers) {
    const lateWindow = value.late_window;
    if (lateWindow !== undefined && toMilliseconds(lateWindow) === undefined)
      report(quantityProblem([...path, 'late_window'], false, locate));
    if (kind === null) continue;
    for (const key of Object.keys(value) as Key[])
      if (!takes(kind, key)) report(diagnostic('kind-refuses', { kind, key }, locate([...path, key], 'key')));
    const given = value.on_delete;
    const allowed = ON_DELETE[kind];
    if (given !== undefined && takes(kind, 'on_delete') && !allowed.includes(given))
      report(
        diagnostic(
          'wrong-value',
          { text: `\`on_delete\` of kind ${kind} must be ${allowed.join(' or ')}`, given, allowed },
          locate([...path, 'on_delete']),
        ),
      );
  }
}

const takes = (kind: Kind, key: Key): boolean => [...COMMON, ...KINDS[kind].takes].includes(key);

/** A sync with the defaults that reach it, and where each of its values stands. */
export interface Merged {
  readonly sync: Sync;
  readonly locate: Locate;
  /** True for a value that the sync has from `defaults:`. */
  readonly isDefault: (path: Path) => boolean;
}

/**
 * The sync's own key wins, then the narrower default; maps merge by key, lists add up, the sync's own entries first. A
 * default that a mode has no use for does not apply, nor does one that is not narrowed by path and does not suit the
 * kind: a path names its syncs, so there it is a mistake, which the rules for syncs report.
 */
export function withDefaults(
  sync: Sync,
  file: string,
  own: Locate,
  layers: readonly Layer[],
  locateDefault: Locate,
): Merged {
  const merged = structuredClone(sync) as unknown as Record<string, unknown>;
  const origins = new Map<string, Path>();
  for (const layer of layersFor(layers, file, sync.kind).toReversed())
    fill(merged, suited(layer, sync), [], layer.path, origins);
  /** The place of the default that a path comes from; undefined for what the sync itself says. */
  const originOf = (path: Path): Path | undefined => {
    for (let length = path.length; length > 0; length--) {
      const origin = origins.get(pointer(path.slice(0, length)));
      if (origin) return [...origin, ...path.slice(length)];
    }
    return undefined;
  };
  return {
    sync: merged as unknown as Sync,
    locate: (path, what) => {
      const origin = originOf(path);
      return origin ? locateDefault(origin, what) : own(path, what);
    },
    isDefault: (path) => originOf(path) !== undefined,
  };
}

const layersFor = (layers: readonly Layer[], file: string, kind: Kind): readonly Layer[] =>
  layers.filter((l) => (l.kind === null || l.kind === kind) && (l.glob === null || inPath(l.glob)(file)));

function suited({ value, glob }: Layer, { kind, mode }: Sync): Readonly<Record<string, unknown>> {
  const { guard, ...rest } = value;
  const suits = (key: Key, it: unknown): boolean => {
    if (key === 'on_delete' && mode !== 'mirror') return false;
    if (key === 'late_window' && mode !== 'append') return false;
    if (glob !== null) return true;
    return takes(kind, key) && (key !== 'on_delete' || ON_DELETE[kind].includes(String(it)));
  };
  const kept = Object.entries(rest).filter(([key, it]) => suits(key as Key, it));
  if (!guard) return Object.fromEntries(kept);
  const { max_deletes: maxDeletes, ...others } = guard;
  const isDeleting = maxDeletes !== undefined && mode === 'mirror';
  return { ...Object.fromEntries(kept), guard: isDeleting ? guard : others };
}

/** Adds what is not there yet. */
function fill(
  into: Record<string, unknown>,
  from: Readonly<Record<string, unknown>>,
  at: Path,
  layer: Path,
  origins: Map<string, Path>,
): void {
  for (const [key, value] of Object.entries(from)) {
    const path = [...at, key];
    const there = Object.hasOwn(into, key) ? into[key] : undefined;
    if (there === undefined) {
      into[key] = structuredClone(value);
      origins.set(pointer(path), [...layer, ...path]);
    } else if (Array.isArray(there) && Array.isArray(value)) {
      for (const [i, item] of value.entries()) {
        if (there.includes(item)) continue;
        origins.set(pointer([...path, there.length]), [...layer, ...path, i]);
        there.push(item);
      }
    } else if (isRecord(there) && isRecord(value)) fill(there, value, path, layer, origins);
  }
}

const pointer = (path: Path): string => JSON.stringify(path.map(String));

/** What is written in `defaults:` and does nothing: a typo here would send a column that was meant to stay. */
export function unusedDefaults(
  layers: readonly Layer[],
  syncs: readonly {
    readonly file: string;
    readonly kind: Kind;
    readonly columns: readonly { readonly name: string }[];
  }[],
  locate: Locate,
  report: (d: Diagnostic) => void,
): void {
  for (const layer of layers) {
    const { glob, kind, path, value } = layer;
    const reached = syncs.filter((s) => layersFor([layer], s.file, s.kind).length > 0);
    if (reached.length === 0) {
      if (glob !== null && kind === null) report(diagnostic('default-unmatched', { glob }, locate(path, 'key')));
      continue;
    }
    // A sync that is not enabled may be without columns.
    if (reached.every((s) => s.columns.length === 0)) continue;
    const known = [...new Set(reached.flatMap((s) => s.columns.map((c) => c.name)))];
    const names = new Set(known.map((n) => n.toLowerCase()));
    const { exclude = [], rename = {}, types = {} } = value.properties ?? {};
    const check = (column: string, at: Path, what: 'key' | 'value'): void => {
      if (!names.has(column.toLowerCase()))
        report(diagnostic('default-column-not-found', { column, known }, locate([...path, 'properties', ...at], what)));
    };
    exclude.forEach((column, i) => check(column, ['exclude', i], 'value'));
    for (const column of Object.keys(rename)) check(column, ['rename', column], 'key');
    for (const column of Object.keys(types)) check(column, ['types', column], 'key');
  }
}
