import picomatch from 'picomatch';
import type { ResolvedSync } from './resolve.ts';

type Matches = (sync: ResolvedSync) => boolean;

const glob = (pattern: string | readonly string[]): ((text: string) => boolean) => {
  const patterns = [pattern].flat().filter((p) => p !== '');
  return patterns.length === 0 ? () => false : picomatch(patterns);
};

/** A file of the project, or all that is in a folder; both may be globs. */
export function inPath(text: string): (file: string) => boolean {
  const folder = text.replace(/^\.\//, '').replace(/\/+$/, '');
  return glob(folder === '' ? [] : [folder, `${folder}/**`]);
}

/** One part of dbt's selection grammar: a name or glob, or a method and its value. */
function part(text: string): Matches {
  const [, method, value = ''] = /^(tag|kind|mode|path):(.*)$/.exec(text) ?? [];
  const matches = glob(method === undefined ? text : value);
  switch (method) {
    case 'tag':
      return (sync) => sync.tags.some((tag) => matches(tag));
    case 'kind':
      return (sync) => matches(sync.kind);
    case 'mode':
      return (sync) => matches(sync.mode);
    case 'path': {
      const inside = inPath(value);
      return (sync) => inside(sync.file);
    }
    default:
      return (sync) => matches(sync.name);
  }
}

/** Space is union, comma is intersection, as in dbt. */
function union(terms: readonly string[]): Matches {
  const all = terms
    .flatMap((t) => t.split(/\s+/).filter((term) => term !== ''))
    .map((term) => term.split(',').map(part));
  return (sync) => all.some((parts) => parts.every((matches) => matches(sync)));
}

/** The syncs that are selected (all, when nothing is asked for) and not excluded, in their order. */
export function select(
  syncs: readonly ResolvedSync[],
  options: { readonly select: readonly string[]; readonly exclude: readonly string[] },
): readonly ResolvedSync[] {
  const [wanted, unwanted] = [union(options.select), union(options.exclude)];
  return syncs.filter((s) => (options.select.length === 0 || wanted(s)) && !unwanted(s));
}
