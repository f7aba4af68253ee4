import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

/** Reads the package's templates: text by path below `templates/`. */
export async function readTemplates(root: string): Promise<Readonly<Record<string, string>>> {
  const templates: Record<string, string> = {};
  for (const folder of (await readdir(root, { withFileTypes: true })).filter((f) => f.isDirectory())) {
    const names = (await readdir(path.join(root, folder.name))).filter((n) => n.endsWith('.njk')).sort();
    await Promise.all(
      names.map(async (n) => {
        templates[`${folder.name}/${n}`] = await readFile(path.join(root, folder.name, n), 'utf8');
      }),
    );
  }
  return templates;
}
