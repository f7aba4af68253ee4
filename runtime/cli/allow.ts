import type { Values } from '../values.ts';
import { FoundBefore } from './context.ts';

const COUNTED = ['max_deletes', 'max_changes', 'max_rejects'];

/**
 * `--allow purchases.max_deletes=12000`: a ceiling of a guard for this run only; `--allow purchases.on_empty_source`
 * lets an empty source pass. @returns late values by sync
 */
export function parseAllowed(
  given: readonly string[],
  syncs: readonly { readonly name: string }[],
): ReadonlyMap<string, Values> {
  const allowed = new Map<string, Values>();
  for (const text of given) {
    const [, name = '', guard = '', count] = /^([a-z0-9_]+)\.([a-z_]+)(?:=(\d+))?$/.exec(text) ?? [];
    const isCounted = COUNTED.includes(guard);
    if (!isCounted && guard !== 'on_empty_source')
      throw new FoundBefore(
        `--allow ${text} is not understood: write SYNC.GUARD=N with the guard ${COUNTED.join(', ')}, or SYNC.on_empty_source.`,
      );
    if (isCounted !== (count !== undefined))
      throw new FoundBefore(`--allow ${text}: ${guard} ${isCounted ? 'needs =N' : 'takes no number'}.`);
    if (!syncs.some((s) => s.name === name))
      throw new FoundBefore(`--allow ${text}: no selected sync is named ${name}. \`syncline ls\` lists them.`);
    allowed.set(name, { ...allowed.get(name), [`allow_${guard}`]: isCounted ? Number(count) : 1 });
  }
  return allowed;
}
