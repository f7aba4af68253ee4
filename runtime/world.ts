import { randomBytes } from 'node:crypto';
import { access, constants, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';

export interface Answer {
  readonly status: number;
  readonly headers: { get(name: string): string | null };
  text(): Promise<string>;
}

export interface RequestInit {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Left out: none. */
  readonly body?: Uint8Array | string;
  readonly signal: AbortSignal;
}

/** The one door to clock, sleep, random, network and disk, so that a seed can replay a run. */
export interface World {
  /** Wall clock, milliseconds since the epoch. */
  now(): number;
  /** A clock that is never set, milliseconds. */
  monotonic(): number;
  /** Rejects with the signal's reason when it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  random(): number;
  /** 32 hexadecimal digits. */
  randomId(): string;
  fetch(url: string, init: RequestInit): Promise<Answer>;
  gzip(content: string | Uint8Array): Promise<Uint8Array>;
  /** Undefined when there is no such file; any other trouble is thrown. */
  readFile(file: string): Promise<string | undefined>;
  /** Rejects with the system's error where a file or folder may not be read, and written if that is asked. */
  mayUse(file: string, way: 'read' | 'write'): Promise<void>;
  /** Makes a file that must not exist yet. @returns false when it exists */
  createFile(file: string, text: string): Promise<boolean>;
  removeFile(file: string): Promise<void>;
  /** True when a process of this machine runs. */
  isRunning(pid: number): boolean;
  /** Makes the folder, writes beside, syncs, renames: a reader sees the old text or the new. */
  writeFileAtomic(file: string, text: string): Promise<void>;
}

const compress = promisify(gzip) as (content: string | Uint8Array, options: { level: number }) => Promise<Uint8Array>;

/** What setTimeout can hold; beyond it Node would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export const realWorld: World = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      const abort = (): void => {
        clearTimeout(timer);
        reject(signal?.reason as Error);
      };
      const timer = setTimeout(
        () => {
          signal?.removeEventListener('abort', abort);
          resolve();
        },
        Math.min(ms, LONGEST_TIMER_MS),
      );
      signal?.addEventListener('abort', abort, { once: true });
    }),
  random: () => Math.random(),
  randomId: () => randomBytes(16).toString('hex'),
  // A redirect is an answer: followed, a POST would become a GET whose 200 says nothing about the batch.
  fetch: (url, init) =>
    fetch(url, { ...init, body: (init.body ?? null) as string | Uint8Array<ArrayBuffer> | null, redirect: 'manual' }),
  gzip: (content) => compress(content, { level: 1 }),
  async readFile(file) {
    try {
      return await readFile(file, 'utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
      throw error;
    }
  },
  mayUse: (file, way) => access(file, constants.R_OK | (way === 'write' ? constants.W_OK : 0)),
  async createFile(file, text) {
    await mkdir(path.dirname(file), { recursive: true });
    try {
      await writeFile(file, text, { flag: 'wx' });
      return true;
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
      throw error;
    }
  },
  removeFile: (file) => rm(file, { force: true }),
  isRunning(pid) {
    try {
      return process.kill(pid, 0);
    } catch (error) {
      // Another user's process may not be asked, but it runs.
      return error instanceof Error && 'code' in error && error.code === 'EPERM';
    }
  },
  async writeFileAtomic(file, text) {
    await mkdir(path.dirname(file), { recursive: true });
    const temporary = `${file}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;
    try {
      const handle = await open(temporary, 'wx');
      try {
        await handle.writeFile(text);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, file);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  },
};
