import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { compiledFiles } from '../../compiler/plan.ts';
import type { CommonOptions, Loaded } from './context.ts';
import { err, load } from './context.ts';
import { writing } from '../disk.ts';
import { count, some } from './report.ts';

interface CompileOptions extends CommonOptions {
  readonly check?: boolean;
  readonly watch?: boolean;
}

/** Writes the compiled folder, or compares it; once, or at each change. */
export async function compileCommand(options: CompileOptions): Promise<number> {
  if (!options.watch) return compileOnce(options);
  const { watchProject } = await import('./watch.ts');
  return watchProject(path.resolve(options.projectDir), () => compileOnce(options));
}

async function compileOnce(options: CompileOptions): Promise<number> {
  const { dir, plan } = await load(options);
  const compiled = compiledFiles(plan);
  const folder = path.join(dir, 'compiled', plan.target);
  const before = await readFolder(folder);
  const differing = Object.keys(compiled).filter((f) => before[f] !== compiled[f]);
  const extra = Object.keys(before).filter((f) => compiled[f] === undefined);
  if (options.check) {
    if (differing.length + extra.length === 0) return 0;
    err(
      `compiled/${plan.target}/ differs from the project: ${some([...differing, ...extra], 5)}. Run \`syncline compile\` and review the change.`,
    );
    return 1;
  }
  await writing(`compiled/${plan.target}/`, async () => {
    await Promise.all(
      [...new Set(differing.map((f) => path.dirname(f)))].map((d) => mkdir(path.join(folder, d), { recursive: true })),
    );
    await someAtOnce(differing, (f) => writeFile(path.join(folder, f), compiled[f] ?? ''));
    await someAtOnce(extra, (f) => rm(path.join(folder, f)));
  });
  if (!options.quiet)
    err(
      `compiled/${plan.target}/: ${count(plan.syncs.length + plan.direct.length, 'sync')}, ${count(differing.length, 'file')} written, ${extra.length} removed.`,
    );
  return 0;
}

/** Text by path below a folder; empty when there is none. */
export async function readFolder(folder: string): Promise<Readonly<Record<string, string>>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((e) => e.isFile()).map((e) => path.relative(folder, path.join(e.parentPath, e.name)));
  const texts: Record<string, string> = Object.fromEntries(files.sort().map((f) => [f, '']));
  await someAtOnce(files, async (f) => void (texts[f] = await readFile(path.join(folder, f), 'utf8')));
  return texts;
}

/** A process may have only so many files open, and a project has fifty for each sync. */
async function someAtOnce(files: readonly string[], work: (file: string) => Promise<unknown>): Promise<void> {
  const left = files.values();
  const worker = async (): Promise<void> => {
    for (const file of left) await work(file);
  };
  await Promise.all(Array.from({ length: 16 }, worker));
}

/** Why what was reviewed is not what would run, in a sentence; undefined when it is, or where no review is asked for. */
export async function differsFromReviewed({ dir, plan, project }: Loaded): Promise<string | undefined> {
  const reviewed = await readFolder(path.join(dir, 'compiled', plan.target));
  const command = `\`syncline compile -t ${plan.target}\``;
  if (reviewed['plan.json'] === undefined)
    return project.target.protected
      ? `Target ${plan.target} is protected and compiled/${plan.target}/ is missing. Run ${command} and have it reviewed.`
      : undefined;
  const compiled = compiledFiles(plan);
  const differing = [...new Set([...Object.keys(compiled), ...Object.keys(reviewed)])].find(
    (file) => reviewed[file] !== compiled[file],
  );
  if (differing === undefined) return undefined;
  return `compiled/${plan.target}/${differing} differs from what this project compiles to. Run ${command} and have the change reviewed.`;
}
