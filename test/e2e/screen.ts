import { execFile } from 'node:child_process';
import { MAIN } from './cli.ts';

/** What util-linux's `script` gives a program: a terminal of 90 columns. */
export function onTerminal(
  cwd: string,
  env: Readonly<Record<string, string>>,
  ...args: string[]
): Promise<{ readonly code: number; readonly text: string }> {
  const command = `stty cols 90 rows 24; exec "$SYNCLINE_NODE" "$SYNCLINE_MAIN" ${args.join(' ')}`;
  const surroundings = {
    ...process.env,
    CI: '',
    TERM: 'xterm',
    GITHUB_ACTIONS: '',
    SHELL: '/bin/sh',
    SYNCLINE_NODE: process.execPath,
    SYNCLINE_MAIN: MAIN,
    ...env,
  };
  return new Promise((resolve) => {
    execFile('script', ['-qefc', command, '/dev/null'], { cwd, env: surroundings }, (error, text) =>
      resolve({ code: error ? Number(error.code ?? 1) : 0, text }),
    );
  });
}

/** Escape is written as its picture, which a pattern may hold. */
const PIECE = /␛\[(\?2026)?(\d*)([A-Za-z])|\r|\n|[^␛\r\n]+/g;

/** What a terminal showed after each redraw and each line: as much of one as the output of syncline asks for. */
export function frames(text: string): string[] {
  const rows: string[] = [''];
  const shown: string[] = [];
  let row = 0;
  let column = 0;
  const show = (): void => void shown.push(rows.join('\n').trimEnd());
  for (const [piece, synchronized, count, command] of text.replaceAll('\x1b', '␛').matchAll(PIECE)) {
    if (synchronized) {
      if (command === 'l') show();
    } else if (command === 'A') row = Math.max(0, row - Number(count || 1));
    else if (command === 'B') row += Number(count || 1);
    else if (command === 'G') column = Number(count || 1) - 1;
    else if (command === 'K') rows[row] = count === '2' ? '' : (rows[row] ?? '').slice(0, column);
    else if (command !== undefined) throw new Error(`the test's terminal does not know ${JSON.stringify(piece)}`);
    else if (piece === '\r') column = 0;
    else if (piece === '\n') rows[++row] ??= '';
    else {
      rows[row] = (rows[row] ?? '').slice(0, column).padEnd(column) + piece;
      column += piece.length;
    }
  }
  show();
  return shown;
}

/** Without what differs from run to run. */
export const masked = (frame: string): string =>
  frame
    .replace(/[━─]{20}/g, '<bar>')
    .replace(/[\d,]+ of ([\d,]+) {2}\d+%/g, '<n> of $1  <n>%')
    .replace(/[\d,]+ a second/g, '<n> a second')
    .replace(/(?<= {2})(?:\d+h )?(?:\d+m )?\d+[sm](?= left$|$)/gm, '<time>');
