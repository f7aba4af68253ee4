import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

/** Reads a project: text by path relative to it, in a stable order. The compiler's only disk reader but for templates. */
export async function readProject(dir: string): Promise<{ readonly files: Readonly<Record<string, string>> }> {
  const syncs = await readdir(path.join(dir, 'syncs'), { recursive: true }).catch(() => [] as string[]);
  const names = [
    'syncline.yml',
    'syncline.lock.json',
    ...syncs.filter((n) => /\.ya?ml$/.test(n)).map((n) => path.posix.join('syncs', n.replaceAll(path.sep, '/'))),
  ].sort();
  const texts = await Promise.all(
    names.map(async (name): Promise<[string, string] | undefined> => {
      try {
        return [name, await readFile(path.join(dir, name), 'utf8')];
      } catch {
        return undefined;
      }
    }),
  );
  return { files: Object.fromEntries(texts.filter((t) => t !== undefined)) };
}
