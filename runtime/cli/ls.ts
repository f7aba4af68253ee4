import type { CommonOptions } from './context.ts';
import { load, out } from './context.ts';

/** Lists the selected syncs, those that are not enabled too. */
export async function ls(options: CommonOptions & { readonly output?: string }): Promise<number> {
  const { project, syncs, direct, disabled } = await load(options);
  const planned = [...syncs, ...direct].map(({ name, kind, mode, strategy, source, tags, why }) => ({
    name,
    kind,
    mode,
    strategy,
    source,
    tags,
    why,
    enabled: true,
  }));
  const idle = disabled.map(({ name, kind, mode, strategy, relation, tags }) => ({
    name,
    kind,
    mode,
    strategy,
    source: relation.join('.'),
    tags,
    why: null,
    enabled: false,
  }));
  const order = project.syncs.map((s) => s.name);
  const listed = [...planned, ...idle].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  if (options.output === 'json') out(JSON.stringify(listed, null, 2));
  else
    for (const s of listed)
      out(`${s.name}  ${s.kind} ${s.mode} (${s.strategy})  from ${s.source}${s.enabled ? '' : '  not enabled'}`);
  return 0;
}
