import { readdir } from 'node:fs/promises';
import { homedir } from 'node:os';
import path from 'node:path';
import { compile } from '../../compiler/compile.ts';
import type { Profiles } from '../../compiler/dbt/profiles.ts';
import type { Diagnostic } from '../../compiler/diagnostics.ts';
import { nearest } from '../../compiler/diagnostics.ts';
import { readProject } from '../../compiler/files.ts';
import type { ResolvedProject, ResolvedSync } from '../../compiler/project/resolve.ts';
import { renderConnection } from '../../compiler/project/resolve.ts';
import { select } from '../../compiler/project/select.ts';
import { readTemplates } from '../../compiler/templates.ts';
import type { DirectPlan, Plan, PreviewFile, SyncPlan } from '../../schemas/types.ts';
import type { Runner } from '../run.ts';
import { recordOf } from '../setup.ts';
import type { Warehouse } from '../warehouses/warehouse.ts';
import { realWorld } from '../world.ts';
import { diskReason } from '../disk.ts';
import { err, out, printDiagnostic } from './log.ts';

export { err, out };

export interface CommonOptions {
  readonly projectDir: string;
  readonly target?: string;
  readonly vars?: string;
  readonly quiet?: boolean;
  readonly select?: readonly string[];
  readonly exclude?: readonly string[];
  readonly lockTimeout?: string;
}

/** Something in files, flags or environment is wrong, found before any connection (exit code 2). */
export class FoundBefore extends Error {}

/** The same, when diagnostics have said it already. */
export class Reported extends FoundBefore {}

const PACKAGE = path.join(import.meta.dirname, '../..');
/** The folder of the package's templates: beside `runtime/` in the sources, one level up in `dist/`. */
export const templatesDir = (): string =>
  path.basename(PACKAGE) === 'dist' ? path.join(PACKAGE, '../templates') : path.join(PACKAGE, 'templates');

export async function parseVars(text: string | undefined): Promise<Readonly<Record<string, string>>> {
  if (text === undefined) return {};
  const { parseDocument } = await import('yaml');
  const document = parseDocument(text);
  const value: unknown = document.errors.length > 0 ? null : document.toJS();
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new FoundBefore('--vars must be a YAML map, such as "{name: value}".');
  return Object.fromEntries(
    Object.entries(value as Record<string, unknown>).map(([name, v]) => {
      if (typeof v !== 'string' && typeof v !== 'number' && typeof v !== 'boolean')
        throw new FoundBefore(`--vars: ${name} must be a text, a number or a boolean.`);
      return [name, String(v)];
    }),
  );
}

/** Prints diagnostics to stderr. @throws FoundBefore when one is an error */
export function report(
  diagnostics: readonly Diagnostic[],
  files: Readonly<Record<string, string>>,
  dir: string,
  quiet = false,
): void {
  for (const d of diagnostics) {
    if (d.severity !== 'error' && quiet) continue;
    // The compiler knows no folders.
    const found = d.code === 'file-missing' ? { ...d, message: `${d.message} in ${dir}` } : d;
    printDiagnostic(found, files, dir);
  }
  const errors = diagnostics.filter((d) => d.severity === 'error').length;
  if (errors > 0) throw new Reported(`${errors} error${errors === 1 ? '' : 's'}. Nothing was changed.`);
}

/** The project's texts. @throws FoundBefore when a file is there but cannot be read */
export async function readFiles(dir: string): Promise<Readonly<Record<string, string>>> {
  try {
    return (await readProject(dir)).files;
  } catch (error) {
    const reason = diskReason(error);
    if (reason === undefined) throw error;
    const file = error instanceof Error && 'path' in error ? path.relative(dir, String(error.path)) : '';
    throw new FoundBefore(`${file === '' ? 'A file of the project' : file} cannot be read: ${reason}.`);
  }
}

export interface Loaded {
  readonly dir: string;
  readonly project: ResolvedProject;
  readonly plan: Plan;
  /** The syncs that --select and --exclude leave. */
  readonly syncs: readonly SyncPlan[];
  /** Those of a target without write access. */
  readonly direct: readonly DirectPlan[];
  /** Those that say `enabled: false`: the plan does not have them. */
  readonly disabled: readonly ResolvedSync[];
  /** The same with renamed syncs under their former names. */
  readonly formerly: () => Plan | undefined;
}

/**
 * Reads and compiles the project of the common flags.
 * @param destroyed a sync that the plan shall have also when it is not enabled, or not declared any more
 */
export async function load(options: CommonOptions, destroyed?: string): Promise<Loaded> {
  const dir = path.resolve(options.projectDir);
  const files = await readFiles(dir);
  const input = {
    files,
    templates: await readTemplates(templatesDir()),
    vars: await parseVars(options.vars),
    ...(options.target === undefined ? {} : { target: options.target }),
  };
  const result = compile({ ...input, ...(destroyed === undefined ? {} : { destroyed }) });
  report(result.diagnostics, files, dir, options.quiet);
  const { project, plan } = result;
  if (!project || !plan) throw new FoundBefore('The project has no plan.');
  const selection = selected(project, options);
  const chosen = new Set(selection.map((s) => s.name));
  const only = <T extends { readonly name: string }>(syncs: readonly T[]): readonly T[] =>
    syncs.filter((s) => chosen.has(s.name));
  const disabled = selection.filter((s) => !s.enabled);
  const formerly = (): Plan | undefined => compile({ ...input, formerNames: true }).plan;
  return { dir, project, plan, syncs: only(plan.syncs), direct: only(plan.direct), disabled, formerly };
}

/** What --select and --exclude leave. @throws FoundBefore when that is nothing */
export function selected(project: ResolvedProject, options: CommonOptions): readonly ResolvedSync[] {
  const chosen = select(project.syncs, { select: options.select ?? [], exclude: options.exclude ?? [] });
  const terms = (options.select ?? []).flatMap((t) => t.split(/\s+/)).filter((t) => t !== '');
  const unmatched = terms.filter((term) => select(project.syncs, { select: [term], exclude: [] }).length === 0);
  if (chosen.length === 0 && project.syncs.length > 0) {
    const asked = options.exclude === undefined ? terms.join(' ') : '--select and --exclude';
    throw new FoundBefore(`No sync matches ${asked}. ${listed(project.syncs, unmatched)}`);
  }
  for (const term of unmatched) err(`warning: --select ${term} matches no sync. ${listed(project.syncs, [term])}`);
  return chosen;
}

/** Which syncs may have been meant, and where all are listed. */
function listed(syncs: readonly ResolvedSync[], terms: readonly string[]): string {
  const names = syncs.map((s) => s.name);
  const near = new Set(terms.flatMap((term) => nearest(term, names) ?? []));
  const meant = near.size === 0 ? '' : `Did you mean ${[...near].join(' and ')}? `;
  return `${meant}\`syncline ls\` lists them.`;
}

/** The target's connection settings, with environment variables rendered. */
export async function connection(dir: string, project: ResolvedProject, profiles?: Profiles) {
  const { value, diagnostics } = renderConnection(project.target, process.env, profiles);
  // A line of a profile may hold a password: it is named by its place only.
  if (diagnostics.length > 0) report(diagnostics, await readFiles(dir), dir);
  return value;
}

/** dbt's profiles.yml, where dbt looks for it; undefined where the target names no profile. */
async function readProfiles(dir: string, { target }: ResolvedProject): Promise<Profiles | undefined> {
  if (target.warehouse.connection.dbt_profile === undefined) return undefined;
  const { DBT_PROFILES_DIR: own } = process.env;
  const folders = own === undefined ? [dir, path.join(homedir(), '.dbt')] : [path.resolve(own)];
  for (const folder of folders) {
    const text = await realWorld.readFile(path.join(folder, 'profiles.yml'));
    if (text !== undefined) return { file: path.join(folder, 'profiles.yml'), text };
  }
  return { missing: folders };
}

/** How long to wait while another process holds a database file, milliseconds. */
export function lockTimeoutOf({ lockTimeout = '60' }: Pick<CommonOptions, 'lockTimeout'>): number {
  const seconds = lockTimeout.trim() === '' ? NaN : Number(lockTimeout);
  if (!Number.isFinite(seconds) || seconds < 0) throw new FoundBefore('--lock-timeout must be a number of seconds.');
  return seconds * 1000;
}

/** Opens the target's warehouse. */
export async function openWarehouse(
  dir: string,
  project: ResolvedProject,
  options: Pick<CommonOptions, 'lockTimeout' | 'quiet'> & { readonly readOnly: boolean },
): Promise<Warehouse> {
  // Who only reads the warehouse needs no credentials of Mixpanel.
  const target = { ...project.target, mixpanel: 'sandbox' as const };
  const lockTimeoutMs = lockTimeoutOf(options);
  const { openWarehouse: open } = await import('../warehouses/open.ts');
  const profiles = await readProfiles(dir, project);
  const { warehouse } = await connection(dir, { ...project, target }, profiles);
  return open(realWorld, warehouse, {
    dir,
    readOnly: options.readOnly,
    lockTimeoutMs,
    onWait: (message) => err(message),
  });
}

/** The state file of a sync without write access, beside syncline.yml: unlike `target/`, it must last. */
export const stateFile = (dir: string, target: string, sync: string): string =>
  path.join(dir, 'syncline.state', target, `${sync}.json`);

/** The record of the latest `apply`. */
export const manifestFile = (dir: string, target: string): string =>
  path.join(dir, 'target', 'syncline', target, 'manifest.json');

/** The staged sync of that name. @throws FoundBefore when there is none */
export function stagedSync({ plan, project }: Loaded, name: string | undefined): SyncPlan {
  const sync = plan.syncs.find((s) => s.name === name);
  if (sync) return sync;
  if (plan.direct.some((s) => s.name === name))
    throw new FoundBefore(
      `${String(name)} has no staging tables: its state is syncline.state/${plan.target}/${String(name)}.json. Remove that file to send everything again.`,
    );
  throw noSync(project.syncs, name);
}

/** Why the plan has no sync of that name. */
export const noSync = (syncs: readonly ResolvedSync[], name: string | undefined): FoundBefore =>
  new FoundBefore(
    syncs.some((s) => s.name === name)
      ? `${String(name)} says \`enabled: false\`, so the plan does not have it. Enable it first.`
      : `There is no sync ${String(name)}. ${listed(syncs, name === undefined ? [] : [name])}`,
  );

/** Says so when no sync is declared, or all that was selected is not enabled: nothing would look like nothing to do. */
export function warnOfDisabled({ project, syncs, direct, disabled }: Loaded): void {
  if (project.syncs.length === 0) err('warning: no file of syncs/ declares a sync, so there is nothing to do.');
  if (syncs.length + direct.length > 0 || disabled.length === 0) return;
  const names = disabled.map((s) => s.name).join(', ');
  err(`warning: ${names}: \`enabled: false\`, so there is nothing to do.`);
}

/** What the staging schema, or the folder of state files, has of a sync that the project does not declare (any more). */
export type Orphan = PreviewFile['orphans'][number];

/** @throws RunError where the schema is of another project or target, whose syncs are no orphans */
export async function orphansOf(runner: Runner, { plan, project, dir }: Loaded): Promise<readonly Orphan[]> {
  if (plan.states === '') {
    const known = new Set(project.syncs.map((s) => s.name));
    return (await stateFiles(dir, plan.target))
      .filter((name) => !known.has(name))
      .map((name) => ({ name, hasState: true }));
  }
  const [any] = plan.syncs;
  const [found] = any ? await runner.rows(any.state.exists) : [];
  if (any && Number(found?.['runs_exists'] ?? 0) === 1) await recordOf(runner, plan, any);
  const declared = new Set(project.syncs.map((s) => s.name));
  const former = new Set(project.syncs.map((s) => s.renamedFrom));
  return (
    (await runner.rowsIfThere(plan.states))
      .map((r) => ({ name: String(r['name']), hasState: Number(r['has_state']) === 1 }))
      // What a rename leaves behind is nobody's.
      .filter(({ name, hasState }) => !declared.has(name) && !(hasState && former.has(name)))
  );
}

/** The syncs that have a state file. */
async function stateFiles(dir: string, target: string): Promise<readonly string[]> {
  const folder = path.dirname(stateFile(dir, target, 'x'));
  const files = await readdir(folder).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  });
  return files.flatMap((file) => /^(.*)\.json$/.exec(file)?.[1] ?? []).sort();
}

/**
 * With staging tables a sync that ran without them would begin anew: what it sent is known by its file only.
 * @throws FoundBefore while there is such a file
 */
export async function refuseStateFiles({ plan: { target }, syncs, dir }: Loaded): Promise<void> {
  const files = new Set(await stateFiles(dir, target));
  const sync = syncs.find((s) => files.has(s.name));
  if (sync)
    throw new FoundBefore(
      `${sync.name} ran without staging tables, and syncline.state/${target}/${sync.name}.json says how far. With staging tables it would send everything again: say \`staging: none\` as before, or remove that file if everything shall be sent.`,
    );
}

/** Says what to do about each. */
export function warnOfOrphans({ staging, target }: Plan, orphans: readonly Orphan[]): void {
  for (const { name, hasState } of orphans)
    if (staging === 'none')
      err(
        `warning: syncline.state/${target}/${name}.json is the state of ${name}, which the project does not declare. If it was renamed, give the file its new name, so that it goes on from where it is; if it was removed, remove the file.`,
      );
    else if (!hasState)
      err(
        `warning: ${staging} has tables of ${name}, which the project does not declare, and no state of it. Restore its state table if it is still wanted, or drop the tables.`,
      );
    else
      err(
        `warning: ${staging} has the state of ${name}, which the project does not declare. If it was renamed, say \`renamed_from: ${name}\`: otherwise every row is sent again, and events count twice. If it was removed, \`syncline destroy ${name}\` drops its tables; to take back what it sent, too, declare it as it was with \`enabled: false\` and run \`syncline destroy --data ${name}\`.`,
      );
}
