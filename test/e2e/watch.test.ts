import { spawn } from 'node:child_process';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { cli, MAIN, shop, SYNC, told } from './cli.ts';

/** A process that watches; `said` waits for what it prints next. */
function watching(cwd: string, ...flags: string[]) {
  const child = spawn(process.execPath, [MAIN, 'compile', '--watch', ...flags], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  child.stderr.setEncoding('utf8').on('data', (more: string) => (text += more));
  const said = async (pattern: RegExp): Promise<string> => {
    for (let i = 0; i < 2000; i++) {
      const found = pattern.exec(text);
      if (found) {
        text = text.slice(found.index + found[0].length);
        return found[0];
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`${String(pattern)} was not said, but ${text}`);
  };
  const ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
  return { child, said, ended, rest: () => text };
}

test('compile --watch answers each change of the project, also of files that come later, and ends at Ctrl-C', async () => {
  const dir = await shop();
  const write = (file: string, text: string): Promise<void> => writeFile(path.join(dir, file), text);
  const { child, said, ended, rest } = watching(dir);
  try {
    await said(/compiled\/dev\/: 1 sync, \d\d files written, 0 removed\.\n/);
    await said(/Watching syncline\.yml, syncline\.lock\.json, syncs, templates; Ctrl-C ends\.\n/);

    await write('syncs/shop.yml', SYNC.replace('kind: events', 'kind: event'));
    await said(/syncs\/shop\.yml:3:11: error\[/);
    await said(/1 error\. Nothing was changed\.\n/);
    // As editors save: another file takes its place.
    await write('syncs/.shop.yml.new', SYNC.replace('event: Purchase', 'event: Order'));
    await rename(path.join(dir, 'syncs/.shop.yml.new'), path.join(dir, 'syncs/shop.yml'));
    await said(/1 sync, \d+ files written, 0 removed\.\n/);
    expect(await readFile(path.join(dir, 'compiled/dev/plan.json'), 'utf8')).toContain('Order');

    await write('syncs/more.yml', SYNC.replace('purchases', 'sales'));
    await said(/2 syncs, \d+ files written, 0 removed\.\n/);
    await rm(path.join(dir, 'syncs/more.yml'));
    await said(/1 sync, \d+ files? written, [1-9]\d+ removed\.\n/);
    await write('syncline.lock.json', 'no lock');
    await said(/error\[/);
    told(await cli(dir, 'lock'), 0);
    await said(/1 sync, 0 files written, 0 removed\.\n/);
    await mkdir(path.join(dir, 'templates'));
    await said(/1 sync, 0 files written, 0 removed\.\n/);
    await write('notes.txt', 'no part of the project');
  } finally {
    child.kill('SIGINT');
  }
  expect(await ended).toEqual({ code: 0, signal: null });
  expect(rest()).toBe('');
  told(await cli(dir, 'compile', '--watch', '--check'), 2, "'--watch' cannot be used with option '--check'");
});
