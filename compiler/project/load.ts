import type { Diagnostic } from '../diagnostics.ts';
import { parseLock } from '../lock.ts';
import { checkDeclared, joinLock } from './check.ts';
import { parse } from './parse.ts';
import type { ResolvedProject } from './resolve.ts';
import { resolve } from './resolve.ts';

export interface LoadOptions {
  readonly target?: string;
  readonly vars?: Readonly<Record<string, string>>;
  /** False for `lock`, which is about to read the columns. */
  readonly needLock: boolean;
  readonly logicalType: (native: string) => string | undefined;
}

/** parse → resolve → check. */
export function loadProject(
  files: Readonly<Record<string, string>>,
  options: LoadOptions,
): { readonly project?: ResolvedProject; readonly diagnostics: readonly Diagnostic[] } {
  const diagnostics: Diagnostic[] = [];
  const report = (d: Diagnostic): void => void diagnostics.push(d);
  const project = resolve(parse(files, diagnostics), options, diagnostics);
  if (!project) return { diagnostics };
  checkDeclared(project, report);
  if (!options.needLock) return { project, diagnostics };
  const { lock, diagnostics: lockProblems } = parseLock(files['syncline.lock.json']);
  diagnostics.push(...lockProblems);
  if (lockProblems.length > 0) return { diagnostics };
  const syncs = project.syncs
    .map((s) => joinLock(s, project.target.name, lock, options.logicalType, report))
    .filter((s) => s !== undefined);
  return { project: { ...project, syncs }, diagnostics };
}
