import path from 'node:path';
import { parentDigests } from '../../compiler/overrides.ts';
import { canonicalRelation, diffLock, parseLock, writeLock } from '../../compiler/lock.ts';
import { loadProject } from '../../compiler/project/load.ts';
import { readTemplates } from '../../compiler/templates.ts';
import type { Lock } from '../../schemas/types.ts';
import { RunError } from '../errors.ts';
import { realWorld } from '../world.ts';
import type { CommonOptions } from './context.ts';
import { err, FoundBefore, openWarehouse, parseVars, readFiles, report, selected, templatesDir } from './context.ts';
import { writing } from '../disk.ts';
import { count } from './report.ts';

/** Reads the columns of the sources into the lock, or compares them with it. */
export async function lock(options: CommonOptions & { readonly check?: boolean }): Promise<number> {
  const dir = path.resolve(options.projectDir);
  const files = await readFiles(dir);
  const { project, dialect, diagnostics } = loadProject(files, {
    ...(options.target === undefined ? {} : { target: options.target }),
    vars: await parseVars(options.vars),
    needLock: false,
  });
  report(diagnostics, files, dir, true);
  if (!project || !dialect) throw new FoundBefore('The project cannot be read.');
  const syncs = selected(project, options).filter((s) => s.enabled);
  const warehouse = await openWarehouse(dir, project, { ...options, readOnly: true });
  const missing: string[] = [];
  const sources: Record<string, Lock['targets'][string]['sources'][string]> = {};
  try {
    const connection = await warehouse.connect();
    for (const sync of syncs) {
      const source = canonicalRelation(sync.relation);
      const rows = await connection.rows({
        sql: dialect.columns(sync.relation),
        binds: [],
        label: `columns of ${source}`,
      });
      if (rows.length === 0) {
        missing.push(`${sync.name}: the source ${source} does not exist or has no columns. Check \`relation:\`.`);
        continue;
      }
      const [about] = dialect.described
        ? await connection.rows({ sql: dialect.described(sync.relation), binds: [], label: `kind of ${source}` })
        : [];
      const [type, partitioning] = [about?.['type'] ?? null, about?.['partitioning'] ?? null];
      sources[source] = {
        ...(type === null ? {} : { type: String(type) }),
        ...(partitioning === null ? {} : { partitioning: String(partitioning) }),
        columns: rows.map((r) => ({
          name: String(r['name']),
          type: String(r['native']),
          ...(r['is_partition'] === 1 ? { partition: true } : {}),
        })),
      };
    }
    await connection.close();
    if (missing.length > 0) throw new RunError('source-unreadable', missing.join('\n'), { retryable: false });
  } finally {
    await warehouse.close();
  }
  const old = parseLock(files['syncline.lock.json']).lock;
  const target = project.target.name;
  const templates = parentDigests(files, await readTemplates(templatesDir()));
  const locked = {
    lockVersion: 1 as const,
    ...(Object.keys(templates).length > 0 ? { templates } : {}),
    targets: { ...old.targets, [target]: { sources: { ...old.targets[target]?.sources, ...sources } } },
  };
  const text = writeLock(locked);
  const moved = Object.keys(templates).filter((t) => (old.templates?.[t] ?? templates[t]) !== templates[t]);
  if (options.check) {
    // A lock of before does not say what its sources are, and is none the worse for it.
    const known = Object.values(old.targets[target]?.sources ?? {}).some((s) => s.type !== undefined);
    const now = known ? locked : withoutTypes(locked, target);
    if (writeLock(now) === files['syncline.lock.json']) return 0;
    const columns = diffLock(old, now);
    const unlocked = Object.keys(templates).filter((t) => old.templates?.[t] === undefined);
    const unused = Object.keys(old.templates ?? {}).filter((t) => templates[t] === undefined);
    for (const { source, column, before, after } of columns)
      err(`  ${source}${column === null ? '' : `.${column}`}: ${before ?? 'not locked'} → ${after ?? 'gone'}`);
    for (const file of moved) err(`  ${file}: the package's template that it stands for changed`);
    for (const file of unlocked) err(`  ${file}: not locked`);
    for (const file of unused) err(`  ${file}: locked, and there no more`);
    const ofTemplates = moved.length + unlocked.length + unused.length > 0;
    const what = columns.length === 0 && ofTemplates ? 'Templates differ' : 'The warehouse differs';
    err(`${what} from syncline.lock.json. Run \`syncline lock\` and review the change.`);
    return 1;
  }
  for (const file of moved) err(`${file}: the package's template that it stands for changed; compare both.`);
  await writing('syncline.lock.json', () => realWorld.writeFileAtomic(path.join(dir, 'syncline.lock.json'), text));
  if (!options.quiet) err(`syncline.lock.json: ${count(Object.keys(sources).length, 'source')} of target ${target}.`);
  return 0;
}

/** The lock as a version wrote it that did not ask what sources are. */
function withoutTypes(lock: Lock, target: string): Lock {
  const { sources = {} } = lock.targets[target] ?? {};
  const plain = Object.entries(sources).map(([name, { columns }]) => [name, { columns }] as const);
  return { ...lock, targets: { ...lock.targets, [target]: { sources: Object.fromEntries(plain) } } };
}
