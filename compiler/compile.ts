import type { Plan } from '../schemas/types.ts';
import type { Diagnostic } from './diagnostics.ts';
import type { Dialect, Sql } from './dialects/dialect.ts';
import { BATCH_BYTES, BATCH_RECORDS, lowerDirect, lowerSync } from './lower.ts';
import { parseLock, writeLock } from './lock.ts';
import { lowerShared } from './shared.ts';
import type { Override } from './overrides.ts';
import {
  checkParents,
  missingFrom,
  missingName,
  namesWanted,
  overrideProblem,
  overridesOf,
  parentDigests,
} from './overrides.ts';
import { lint, withHash } from './plan.ts';
import { loadProject } from './project/load.ts';
import type { ResolvedProject, ResolvedSync } from './project/resolve.ts';
import { createRenderer, Statements } from './render.ts';

export interface CompileInput {
  /** Text by path relative to the project. */
  readonly files: Readonly<Record<string, string>>;
  /** Text by path below `templates/`. */
  readonly templates: Readonly<Record<string, string>>;
  readonly target?: string;
  readonly vars?: Readonly<Record<string, string>>;
  /** Another dialect than the target's own: the simulation shares one database file between holders. */
  readonly dialect?: Dialect;
  /**
   * A sync that is compiled although it says `enabled: false`, or that no file declares any more: enough of it to drop
   * its tables, which need its name only.
   */
  readonly destroyed?: string;
  /** Renamed syncs under their former names, to be compared with what was compiled before. */
  readonly formerNames?: boolean;
  /** Other limits of a batch than Mixpanel's: the simulation needs many batches of few records. */
  readonly limits?: { readonly records: number; readonly bytes: number };
}

export interface Compiled {
  readonly diagnostics: readonly Diagnostic[];
  readonly project?: ResolvedProject;
  readonly plan?: Plan;
}

/** files → parse → resolve → check → lower → render. Pure: same input, same bytes. */
export function compile(input: CompileInput): Compiled {
  const { project, dialect, diagnostics } = loadProject(input.files, {
    ...(input.target === undefined ? {} : { target: input.target }),
    ...(input.vars === undefined ? {} : { vars: input.vars }),
    needLock: true,
    ...(input.dialect === undefined ? {} : { dialect: input.dialect }),
  });
  const { destroyed } = input;
  const isBare = (s: ResolvedSync): boolean => s.columns.length === 0;
  if (
    destroyed !== undefined &&
    project &&
    dialect &&
    project.target.warehouse.staging !== 'none' &&
    project.syncs.every((s) => s.name !== destroyed || isBare(s))
  )
    return compile({ ...input, files: withStandIn(input.files, project.target.name, destroyed, dialect) });
  const found: Diagnostic[] = [];
  const report = (d: Diagnostic): void => void found.push(d);
  if (!project || !dialect) return { diagnostics };
  const overrides = overridesOf(input.files, input.templates, dialect.name, report);
  const failed = (): Compiled => ({
    diagnostics: [...diagnostics, ...found.filter((d) => d.code !== 'template-not-locked')],
  });
  if ([...diagnostics, ...found].some((d) => d.severity === 'error')) return failed();
  if (overrides.size > 0)
    checkParents(
      parseLock(input.files['syncline.lock.json']).lock,
      parentDigests(input.files, input.templates),
      report,
    );

  const renderer = createRenderer(dialect, input.templates, overrides);
  const place = {
    project: project.name,
    target: project.target.name,
    staging: project.target.warehouse.staging,
    idManagement: idManagementOf(project),
    limits: input.limits ?? { records: BATCH_RECORDS, bytes: BATCH_BYTES },
    location: project.target.warehouse.location,
    grants: project.target.warehouse.grants,
  };
  const statements = new Statements();
  const isDirect = place.staging === 'none';
  const enabled = project.syncs
    .filter((s) => s.enabled || s.name === destroyed)
    .map((s) => (input.formerNames === true && s.renamedFrom !== null ? named(s, s.renamedFrom) : s));
  const shared = lowerShared(dialect, renderer, place, enabled, statements);
  const staged = isDirect ? [] : enabled;
  const syncs = staged.map((sync) => lowerSync(dialect, renderer, place, sync, statements));
  const direct = isDirect ? enabled.map((sync) => lowerDirect(dialect, renderer, place, sync, statements)) : [];
  const plan = withHash(statements, {
    planVersion: 1,
    project: place.project,
    target: place.target,
    warehouse: dialect.name,
    staging: place.staging,
    transaction: dialect.transaction,
    embedded: dialect.embedded,
    session: [...dialect.session, ...timeoutOf(dialect, project)],
    ...shared,
    syncs,
    direct,
  });
  found.push(...renderer.problems);
  if (renderer.problems.length > 0) return failed();
  const problems = lint(plan, statements);
  found.push(...judge(statements, problems, overrides));
  if (found.some((d) => d.severity === 'error')) return failed();
  if (problems.length > 0)
    throw new Error(`the compiler made an incomplete plan: ${problems.map((p) => p.text).join('; ')}`);
  return { diagnostics: [...diagnostics, ...found], project, plan };
}

/** The source of a sync that stands for one that is declared no more. */
export const STAND_IN = 'syncline_gone';

/** The project with a declaration for one that is gone: who has no columns has no tables but those of its name. */
function withStandIn(
  files: CompileInput['files'],
  target: string,
  name: string,
  dialect: Dialect,
): CompileInput['files'] {
  const sync = { name, enabled: true, kind: 'user_profiles', mode: 'mirror', user_id: 'gone_id' };
  const columns = ['gone_id', 'gone_value'].map((column) => ({ name: column, type: String(dialect.types.text) }));
  const { targets } = parseLock(files['syncline.lock.json']).lock;
  // Whatever its strategy was: as a table it also has the statements that drop snapshots.
  const relation = dialect.qualifier === null ? STAND_IN : `${STAND_IN}.${STAND_IN}`;
  const type = dialect.snapshots === null ? {} : { type: 'BASE TABLE' };
  const sources = { ...targets[target]?.sources, [relation]: { ...type, columns } };
  return {
    ...Object.fromEntries(Object.entries(files).filter(([file]) => !file.startsWith('syncs/'))),
    'syncs/gone.yml': JSON.stringify({ syncs: [{ ...sync, source: { relation } }] }),
    'syncline.lock.json': writeLock({ lockVersion: 1, targets: { ...targets, [target]: { sources } } }),
  };
}

const named = (sync: ResolvedSync, name: string): ResolvedSync => ({ ...sync, name, renamedFrom: null });

/** What the project's templates lack, once a template: names that other statements rely on, and late values. */
function judge(
  statements: Statements,
  problems: ReturnType<typeof lint>,
  overrides: ReadonlyMap<string, Override>,
): readonly Diagnostic[] {
  if (overrides.size === 0) return [];
  const found = new Map<string, Diagnostic>();
  for (const [file, statement] of Object.entries(statements.byFile()))
    for (const name of statement.overrides) {
      const override = overrides.get(name);
      if (!override || found.has(name)) continue;
      const missing = missingFrom(statement.partOf(name), namesWanted(name, statement.origin.context));
      if (missing !== undefined) found.set(name, missingName(override, missing, file));
      const problem = problems.find((p) => p.file === file);
      if (problem && !found.has(name)) found.set(name, overrideProblem(override, problem.text));
    }
  return [...found.values()];
}

function timeoutOf(dialect: Dialect, { target: { warehouse } }: ResolvedProject): readonly Sql[] {
  return warehouse.statementTimeoutMs === null ? [] : [dialect.statementTimeout(warehouse.statementTimeoutMs)];
}

function idManagementOf({ target: { mixpanel } }: ResolvedProject): 'simplified' | 'original' {
  return mixpanel === 'sandbox' ? 'simplified' : (mixpanel.id_management ?? 'simplified');
}
