import { readFile } from 'node:fs/promises';
import type { PreviewFile } from '../../schemas/types.ts';
import { RunError } from '../errors.ts';
import type { Loaded } from './context.ts';
import { FoundBefore } from './context.ts';
import { diskReason } from '../disk.ts';

/**
 * The preview that `plan --out` wrote, proven to be of this project and plan.
 * @throws FoundBefore when it cannot be read; RunError `preview-moved` when something has changed since
 */
export async function readPreview(file: string, { plan }: Pick<Loaded, 'plan'>): Promise<PreviewFile> {
  const text = await readFile(file, 'utf8').catch((error: unknown) => {
    throw new FoundBefore(
      error instanceof Error && 'code' in error && error.code === 'ENOENT'
        ? `There is no preview file ${file}: write one with \`syncline plan --out ${file}\`. A sync is named by -s.`
        : `The preview ${file} cannot be read: ${diskReason(error) ?? String(error)}.`,
    );
  });
  const preview = parse(text);
  if (preview === undefined)
    throw new FoundBefore(`${file} is no preview of this syncline: give the file that \`syncline plan --out\` wrote.`);
  if (preview.project !== plan.project || preview.target !== plan.target)
    throw new FoundBefore(
      `The preview ${file} is of ${preview.project} / ${preview.target}, this is ${plan.project} / ${plan.target}. Use -t, or plan again.`,
    );
  if (preview.planHash !== plan.hash)
    throw moved(file, 'the project, its lock or syncline itself changed since it was written');
  const waiting = preview.syncs.filter((s) => s.undecided).map((s) => s.sync);
  if (waiting.length > 0) throw moved(file, `it waits for a decision about the mapping of ${waiting.join(', ')}`);
  return preview;
}

export const moved = (file: string, why: string): RunError =>
  new RunError(
    'preview-moved',
    `The preview ${file} cannot be applied: ${why}. Run \`syncline plan --out ${file}\` again and have it reviewed.`,
    {
      retryable: false,
    },
  );

function parse(text: string): PreviewFile | undefined {
  try {
    const value = JSON.parse(text) as Partial<PreviewFile> | null;
    const isPreview = value?.previewVersion === 1 && Array.isArray(value.syncs) && value.syncs.every(hasMark);
    return isPreview ? (value as PreviewFile) : undefined;
  } catch {
    return undefined;
  }
}

/** Without it nothing would tell that a state has moved. */
const hasMark = (sync: Partial<PreviewFile['syncs'][number]> | null): boolean => typeof sync?.state === 'string';
