import path from 'node:path';
import { compiledFiles } from '../../compiler/plan.ts';
import type { Plan, SyncPlan } from '../../schemas/types.ts';
import { compareMapping } from '../mapping.ts';
import { readFolder } from './compile.ts';
import type { Loaded } from './context.ts';
import { renamedFrom } from './preview-text.ts';

/** What was reviewed: the committed compilation, beside what the project compiles to now. */
export interface Reviewed {
  /** Statements of a sync whose SQL differs, by name; null where nothing is compiled. */
  differing(sync: string): readonly string[] | null;
  /** What changed in meaning, a line each. */
  readonly lines: readonly string[];
}

export async function reviewed({ dir, plan, formerly }: Loaded): Promise<Reviewed> {
  const folder = await readFolder(path.join(dir, 'compiled', plan.target));
  const text = folder['plan.json'];
  if (text === undefined)
    return { differing: () => null, lines: [`compiled/${plan.target}/ is missing: every sync is new to a review`] };
  const before = parse(text);
  const was = (name: string): boolean => before.some((s) => s.name === name);
  const renames = new Map(
    plan.syncs.flatMap(({ name, rename }) => (rename && was(rename.from) && !was(name) ? [[name, rename.from]] : [])),
  );
  // Under its former name a renamed sync has the tables that were reviewed: what differs then is more than a name.
  const former = renames.size > 0 ? formerly() : undefined;
  const now = { ...(former ? compiledFiles(former) : {}), ...compiledFiles(plan) };
  const names = [...new Set([...Object.keys(folder), ...Object.keys(now)])].sort();
  const files = names.filter((f) => f !== 'plan.json' && folder[f] !== now[f]);
  const differing = (sync: string): readonly string[] =>
    files.filter((f) => f.startsWith(`${renames.get(sync) ?? sync}/`)).map((f) => path.posix.basename(f, '.sql'));
  return { differing, lines: [...differences(before, plan, renames, differing)] };
}

type Known = Pick<SyncPlan, 'name' | 'kind' | 'mode' | 'source' | 'strategy' | 'mapping'> & Partial<SyncPlan>;

function parse(text: string): readonly Known[] {
  try {
    const { syncs, direct } = JSON.parse(text) as Pick<Plan, 'syncs' | 'direct'>;
    return [...syncs, ...(direct as unknown as Known[])];
  } catch {
    return [];
  }
}

function* differences(
  before: readonly Known[],
  plan: Plan,
  renames: ReadonlyMap<string, string>,
  differing: (sync: string) => readonly string[],
) {
  const after = [...plan.syncs, ...plan.direct];
  const kept = new Set([...after.map((s) => s.name), ...renames.values()]);
  for (const old of before) if (!kept.has(old.name)) yield `- ${old.name}: is not declared any more`;
  for (const sync of after) {
    const from = renames.get(sync.name);
    const old = before.find((s) => s.name === (from ?? sync.name));
    if (!old) {
      yield `+ ${sync.name}: ${sync.kind}, ${sync.mode}, from ${sync.source}`;
      continue;
    }
    const fields = (['kind', 'mode', 'source', 'strategy'] as const)
      .filter((f) => old[f] !== sync[f])
      .map((f) => `${f} ${old[f]} → ${sync[f]}`);
    const verdict = compareMapping(sync, { mapping: old.mapping });
    const files = differing(sync.name);
    if (verdict.kind === 'changed')
      fields.push(
        `mapping: ${verdict.change.what} (a mirror that has run waits for a decision: \`syncline plan\` prices it)`,
      );
    if (verdict.kind === 'compatible') fields.push('mapping: columns added at the end');
    if (fields.length === 0 && files.length > 0) fields.push(`SQL of ${files.join(', ')}, with the same meaning`);
    if (from !== undefined) fields.unshift(renamedFrom(from));
    if (fields.length > 0) yield `~ ${sync.name}: ${fields.join('; ')}`;
  }
}
