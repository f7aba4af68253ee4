import { RunError } from './errors.ts';

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space is left',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file would be too large',
  EEXIST: 'a file is in its place',
  ENOTDIR: 'a file is where a folder should be',
  EISDIR: 'a folder is in its place',
  EMFILE: 'too many files are open',
};

/** Why the disk refused, in words; undefined when the error is not the disk's. */
export function diskReason(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || !('syscall' in error)) return undefined;
  return REASONS[String(error.code)] ?? String(error.code);
}

/** Runs what writes files; trouble becomes one sentence about `what`. @throws RunError `disk` */
export async function writing<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const reason = diskReason(error);
    if (reason === undefined) throw error;
    throw new RunError(
      'disk',
      `${what} cannot be written: ${reason}. Make room or give the right to write, then run it again.`,
      {
        retryable: true,
        cause: error,
      },
    );
  }
}
