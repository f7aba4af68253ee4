import path from 'node:path';
import { compiledFiles } from '../../compiler/plan.ts';
import type { DirectPlan, Plan, SyncPlan } from '../../schemas/types.ts';
import { compareMapping } from '../mapping.ts';
import { readFolder } from './compile.ts';
import type { Loaded } from './context.ts';
import { renamedFrom } from './preview-text.ts';
import { some } from './report.ts';

/** What was reviewed: the committed compilation, beside what the project compiles to now. */
export interface Reviewed {
  /** Statements of a sync whose SQL differs, by name; null where nothing is compiled. */
  differing(sync: string): readonly string[] | null;
  /** What changed in meaning, a line each. */
  readonly lines: readonly string[];
}

export async function reviewed({ dir, plan, disabled, formerly }: Loaded): Promise<Reviewed> {
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
  const lines = [...differences(before, plan, { renames, resting: disabled.map((s) => s.name), differing })];
  // Statements that all syncs share, and what of a plan is read by no person.
  const rest = names.filter((f) => folder[f] !== now[f]).map((f) => `compiled/${plan.target}/${f}`);
  if (lines.length === 0 && rest.length > 0) lines.push(`~ ${some(rest, 5)}, with the same meaning`);
  return { differing, lines };
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
  {
    renames,
    resting,
    differing,
  }: {
    readonly renames: ReadonlyMap<string, string>;
    readonly resting: readonly string[];
    readonly differing: (sync: string) => readonly string[];
  },
) {
  const after = [...plan.syncs, ...plan.direct];
  const kept = new Set([...after.map((s) => s.name), ...renames.values()]);
  for (const old of before)
    if (!kept.has(old.name))
      yield `- ${old.name}: ${resting.includes(old.name) ? 'says `enabled: false`' : 'is not declared any more'}`;
  for (const sync of after) {
    const from = renames.get(sync.name);
    const old = before.find((s) => s.name === (from ?? sync.name));
    if (!old) {
      yield `+ ${sync.name}: ${sync.kind}, ${sync.mode}, from ${sync.source}`;
      continue;
    }
    const fields = [...changesOf(old, sync)];
    const files = differing(sync.name);
    // What a template of the project writes has the meaning that its author gives it.
    const own = files.filter((f) => sync.overridden.includes(f));
    if (own.length > 0) fields.push(`SQL of ${own.join(', ')}, by a template of this project`);
    if (fields.length === 0 && files.length > 0) fields.push(`SQL of ${some(files, 8)}, with the same meaning`);
    if (from !== undefined) fields.unshift(renamedFrom(from));
    if (fields.length > 0) yield `~ ${sync.name}: ${fields.join('; ')}`;
  }
}

/** What a sync means now that it did not mean before. */
function* changesOf(old: Known, sync: SyncPlan | DirectPlan) {
  for (const field of ['kind', 'mode', 'source', 'strategy'] as const)
    if (old[field] !== sync[field]) yield `${field} ${old[field]} → ${sync[field]}`;
  // Only a mirror compares its rows; what another mode sends from now on is sent by the new mapping all the same.
  const verdict = compareMapping({ ...sync, mode: 'mirror' }, { mapping: old.mapping });
  if (verdict.kind === 'changed')
    yield `mapping: ${verdict.change.what} (${
      sync.mode === 'mirror'
        ? 'a mirror that has run waits for a decision: `syncline plan` prices it'
        : 'what is sent from now on has the new form'
    })`;
  if (verdict.kind === 'compatible') yield 'mapping: columns added at the end';
  // A folder that an earlier version compiled does not say what was declared.
  const was = old.declared ?? sync.declared;
  for (const key of [...new Set([...Object.keys(sync.declared), ...Object.keys(was)])].sort())
    if (was[key] !== sync.declared[key]) yield `${key}: ${was[key] ?? 'none'} → ${sync.declared[key] ?? 'none'}`;
  const decided = (of: Partial<SyncPlan>): readonly string[] =>
    Object.entries(of.decisions ?? {}).map(([hash, decision]) => `${hash}: ${decision}`);
  const [then, now] = [decided(old), 'decisions' in sync ? decided(sync) : []];
  for (const decision of now.filter((d) => !then.includes(d))) yield `decides ${decision}`;
  for (const decision of then.filter((d) => !now.includes(d))) yield `decides no more ${decision}`;
  const [templatesWere, templatesAre] = [old.overridden ?? [], sync.overridden];
  if (templatesWere.join() !== templatesAre.join())
    yield `made by templates of this project: ${templatesWere.join(', ') || 'none'} → ${templatesAre.join(', ') || 'none'}`;
}
