import { spawn, spawnSync } from 'node:child_process';
import { MAIN } from './cli.ts';

const lacks = (program: string, flag: string): string | undefined =>
  process.platform === 'linux' && spawnSync(program, [flag]).status === 0 ? undefined : `${program} is not installed`;

/** Why there is no terminal here: the `script` of util-linux gives a program one, and writes down every byte. */
export const missing = lacks('script', '--version');
/** Why no terminal can be looked at here: tmux is one, and says what is on its screen. */
export const missingTmux = lacks('tmux', '-V');

/**
 * Runs syncline in a tmux of its own, 90 columns wide.
 * @returns its screens, each once, in order; the last one ends with the exit code
 */
export async function onTmux(cwd: string, ...args: string[]): Promise<string[]> {
  const tmux = (...command: string[]): string =>
    spawnSync('tmux', ['-u', '-L', socket, '-f', '/dev/null', ...command], {
      encoding: 'utf8',
      env: { ...process.env, CI: '', GITHUB_ACTIONS: '', SHELL: '/bin/sh' },
    }).stdout;
  const socket = `syncline-${process.pid}-${Date.now()}`;
  const command = [process.execPath, MAIN, ...args].map((a) => `'${a}'`).join(' ');
  tmux('new-session', '-d', '-x', '90', '-y', '24', '-c', cwd, `${command}; echo "exit $?"; sleep 600`);
  const screens: string[] = [];
  try {
    for (let i = 0; i < 1200 && !/^exit \d+$/m.test(screens.at(-1) ?? ''); i++) {
      const screen = tmux('capture-pane', '-p').trimEnd();
      if (screen !== '' && screen !== screens.at(-1)) screens.push(screen);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return screens;
  } finally {
    tmux('kill-server');
  }
}

/** Runs syncline on a terminal of 90 columns, and types the answer once a question is on the screen. */
export function onTerminal(
  cwd: string,
  { env = {}, answer }: { readonly env?: Readonly<Record<string, string>>; readonly answer?: string },
  ...args: string[]
): Promise<{ readonly code: number | null; readonly text: string }> {
  const command = ['exec', process.execPath, MAIN, ...args].map((a) => (a === 'exec' ? a : `'${a}'`)).join(' ');
  const child = spawn('script', ['-qefc', `stty cols 90 rows 24; ${command}`, '/dev/null'], {
    cwd,
    env: { ...process.env, CI: '', TERM: 'xterm', GITHUB_ACTIONS: '', SHELL: '/bin/sh', ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  let asked = false;
  child.stdout.setEncoding('utf8').on('data', (more: string) => {
    text += more;
    if (answer === undefined || asked || !text.includes('(yes/no)')) return;
    asked = true;
    child.stdin.write(answer);
  });
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, text })));
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
