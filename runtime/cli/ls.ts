import type { CommonOptions } from './context.ts';
import { load, out } from './context.ts';

/** Lists the selected syncs. */
export async function ls(options: CommonOptions & { readonly output?: string }): Promise<number> {
  const loaded = await load(options);
  const syncs = [...loaded.syncs, ...loaded.direct];
  if (options.output === 'json')
    out(
      JSON.stringify(
        syncs.map(({ name, kind, mode, strategy, source, tags, why }) => ({
          name,
          kind,
          mode,
          strategy,
          source,
          tags,
          why,
        })),
        null,
        2,
      ),
    );
  else for (const s of syncs) out(`${s.name}  ${s.kind} ${s.mode} (${s.strategy})  from ${s.source}`);
  return 0;
}
