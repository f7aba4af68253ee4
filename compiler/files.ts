import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');

/**
 * Reads a project: text by path relative to it, in a stable order. A missing file is left out.
 * The compiler's only disk reader but for templates.
 * @throws the system's error, its `path` set, when a file is there but cannot be read
 */
export async function readProject(
  dir: string,
): Promise<{ readonly files: Readonly<Record<string, string>>; readonly dir: string }> {
  const unlessMissing =
    <T>(instead: T, file: string) =>
    (error: unknown): T => {
      if (isMissing(error)) return instead;
      // A read of an open file, such as a folder, names none.
      throw error instanceof Error ? Object.assign(error, { path: file }) : error;
    };
  const inFolder = async (name: string, wanted: RegExp): Promise<readonly string[]> => {
    const folder = path.join(dir, name);
    const found = await readdir(folder, { recursive: true }).catch(unlessMissing<string[]>([], folder));
    return found.map((n) => path.posix.join(name, n.replaceAll(path.sep, '/'))).filter((n) => wanted.test(n));
  };
  const names = [
    'syncline.yml',
    'syncline.lock.json',
    ...(await inFolder('syncs', /\.ya?ml$/)),
    // One without its second ending would be left out without a word.
    ...(await inFolder('templates', /\.njk$|^templates\/[^/]+\/[^/]+\.sql$/)),
  ].sort();
  const texts = await Promise.all(
    names.map(async (name) => {
      const file = path.join(dir, name);
      return [name, await readFile(file, 'utf8').catch(unlessMissing(null, file))] as const;
    }),
  );
  return { files: Object.fromEntries(texts.filter((t): t is readonly [string, string] => t[1] !== null)), dir };
}

/** A JSON Schema of this package; `schemas/` is beside `compiler/` in the sources and beside `dist/` when installed. */
export function readSchema(name: 'project' | 'sync'): object {
  const root = path.join(import.meta.dirname, '..');
  const home = path.basename(root) === 'dist' ? path.join(root, '..') : root;
  return JSON.parse(readFileSync(path.join(home, 'schemas', `${name}.schema.json`), 'utf8')) as object;
}
