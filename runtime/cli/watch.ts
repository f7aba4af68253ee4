import path from 'node:path';
import { err } from './context.ts';
import { printFailure } from './failure.ts';

/** What a plan is made of, in a project's folder. */
const PARTS = new Set(['syncline.yml', 'syncline.lock.json', 'syncs', 'templates']);

/** An editor that saves several files, or one in several steps, is answered once. */
const SETTLE_MS = 50;

/** Compiles a project now and after each change of it, until Ctrl-C. What is wrong is printed and waited for. */
export async function watchProject(dir: string, compile: () => Promise<unknown>): Promise<number> {
  const { watch } = await import('chokidar');
  const watcher = watch(dir, {
    ignoreInitial: true,
    ignored: (file) => !isPart(path.relative(dir, file)),
  });
  const queue = new RunAgain(() => compile().catch(printFailure));
  watcher.on('all', () => queue.ask());
  watcher.on('error', (error) => printFailure(error));
  await new Promise<void>((resolve) => watcher.once('ready', resolve));
  const interrupted = new Promise<void>((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
  queue.ask();
  await queue.idle();
  err(`Watching ${[...PARTS].join(', ')}; Ctrl-C ends.`);
  await interrupted;
  await watcher.close();
  await queue.idle();
  return 0;
}

const isPart = (file: string): boolean => file === '' || PARTS.has(file.split(path.sep)[0] ?? '');

/** Runs one at a time; what is asked for meanwhile is one run more. */
class RunAgain {
  readonly #run: () => Promise<unknown>;
  #asked = false;
  #running: Promise<void> | undefined;

  constructor(run: () => Promise<unknown>) {
    this.#run = run;
  }

  ask(): void {
    this.#asked = true;
    this.#running ??= this.#work().finally(() => (this.#running = undefined));
  }

  async idle(): Promise<void> {
    while (this.#running) await this.#running;
  }

  async #work(): Promise<void> {
    while (this.#asked) {
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
      this.#asked = false;
      await this.#run();
    }
  }
}
