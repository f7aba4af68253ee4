import picomatch from 'picomatch';
import type { ResolvedSync } from './resolve.ts';

/** One term of dbt's selection grammar, for a sync. */
function matches(sync: ResolvedSync, term: string): boolean {
  const [, method = '', value] = /^(tag|kind|mode|path):(.*)$/.exec(term) ?? [];
  switch (method) {
    case 'tag':
      return sync.tags.includes(value ?? '');
    case 'kind':
      return sync.kind === value;
    case 'mode':
      return sync.mode === value;
    case 'path':
      return picomatch.isMatch(sync.file, [value ?? '', `${value ?? ''}/**`]);
    default:
      return picomatch.isMatch(sync.name, term);
  }
}

/** Space is union, comma is intersection, as in dbt. */
export function select(
  syncs: readonly ResolvedSync[],
  options: { readonly select: readonly string[]; readonly exclude: readonly string[] },
): readonly ResolvedSync[] {
  const any = (sync: ResolvedSync, terms: readonly string[]): boolean =>
    terms.flatMap((t) => t.split(/\s+/).filter(Boolean)).some((t) => t.split(',').every((part) => matches(sync, part)));
  return syncs.filter((s) => (options.select.length === 0 || any(s, options.select)) && !any(s, options.exclude));
}
