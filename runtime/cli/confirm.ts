import type { Readable, Writable } from 'node:stream';
import { createInterface } from 'node:readline';
import { FoundBefore } from './context.ts';

type Terminal<T> = T & { readonly isTTY?: boolean };

/** Asks on a terminal; only `yes` goes on. Without a terminal nobody can be asked, and CI goes on. */
export function confirmed(
  question: string,
  input: Terminal<Readable> = process.stdin,
  output: Terminal<Writable> = process.stderr,
): Promise<boolean> {
  if (input.isTTY !== true || output.isTTY !== true) return Promise.resolve(true);
  const lines = createInterface({ input, output, terminal: false });
  return new Promise((resolve) => {
    lines.once('line', (answer) => {
      if (!['yes', 'no'].includes(answer.trim())) output.write('Only `yes` goes on.\n');
      resolve(answer.trim() === 'yes');
      lines.close();
    });
    // The end of the input is no answer.
    lines.once('close', () => resolve(false));
    output.write(`${question} (yes/no) `);
  });
}

/**
 * The same before what no later run makes good.
 * @throws FoundBefore without a terminal
 */
export function insisted(command: string, question: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw new FoundBefore(`${command} asks before it goes on, and nobody can be asked here: say --yes.`);
  return confirmed(question);
}
