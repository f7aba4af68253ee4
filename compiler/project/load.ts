import type { Diagnostic } from '../diagnostics.ts';
import { diagnostic } from '../diagnostics.ts';
import type { Dialect } from '../dialects/dialect.ts';
import { dialectOf } from '../dialects/dialects.ts';
import { parseLock } from '../lock.ts';
import { checkDeclared, joinLock } from './check.ts';
import { unusedDefaults } from './defaults.ts';
import { parse } from './parse.ts';
import { requiredProblem } from './required.ts';
import type { ResolvedProject } from './resolve.ts';
import { resolve } from './resolve.ts';
import { isControl } from './text.ts';

export interface LoadOptions {
  readonly target?: string;
  readonly vars?: Readonly<Record<string, string>>;
  /** False for `lock`, which is about to read the columns. */
  readonly needLock: boolean;
  /** Another dialect than the target's own. */
  readonly dialect?: Dialect;
}

export interface LoadResult {
  /** The target's. */
  readonly dialect?: Dialect;
  readonly project?: ResolvedProject;
  /** All that was found, by file and place. */
  readonly diagnostics: readonly Diagnostic[];
}

/** parse → resolve → check. The project may be used only when no diagnostic is an error. */
export function loadProject(files: Readonly<Record<string, string>>, options: LoadOptions): LoadResult {
  const diagnostics: Diagnostic[] = [];
  const loaded = load(files, options, diagnostics);
  return { ...loaded, diagnostics: diagnostics.sort(byPlace) };
}

function load(
  files: Readonly<Record<string, string>>,
  options: LoadOptions,
  into: Diagnostic[],
): { readonly project: ResolvedProject; readonly dialect: Dialect } | undefined {
  const parsed = parse(files, into);
  const required = parsed.project && requiredProblem(parsed.project);
  if (required) {
    into.splice(0, Infinity, required);
    return undefined;
  }
  const project = resolve(parsed, options, into);
  if (!project) return undefined;
  const told = new Set<string>();
  const report = (d: Diagnostic): void => {
    // A default reaches many syncs, and is told once.
    const place = d.span?.file === 'syncline.yml' ? JSON.stringify([d.code, d.span]) : undefined;
    if (place !== undefined && told.has(place)) return;
    if (place !== undefined) told.add(place);
    into.push(d);
  };
  checkDeclared(project, report);
  const dialect = options.dialect ?? dialectOf(project.target.warehouse.type);
  const { qualifier: lacks } = dialect;
  if (lacks !== null)
    for (const { relation, locate } of project.syncs)
      if (relation.length === 1)
        report(diagnostic('bad-relation', { relation: relation[0] ?? '', lacks }, locate(['source', 'relation'])));
  if (!options.needLock) return { project, dialect };
  const { lock, diagnostics } = parseLock(files['syncline.lock.json']);
  into.push(...diagnostics);
  if (diagnostics.length > 0) return undefined;
  const syncs = project.syncs
    .filter((s) => !s.relation.some(isControl))
    .map((s) => joinLock(s, project.target.name, lock, dialect, report))
    .filter((s) => s !== undefined);
  if (into.every((d) => d.severity !== 'error')) unusedDefaults(project.defaults, syncs, project.locate, report);
  return { project: { ...project, syncs }, dialect };
}

function byPlace({ span: a }: Diagnostic, { span: b }: Diagnostic): number {
  if (!a || !b) return Number(Boolean(a)) - Number(Boolean(b));
  if (a.file !== b.file) return a.file < b.file ? -1 : 1;
  return a.start.line - b.start.line || a.start.col - b.start.col;
}
