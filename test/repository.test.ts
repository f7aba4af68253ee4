import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';

const root = path.join(import.meta.dirname, '..');
const read = (file: string): string => readFileSync(path.join(root, file), 'utf8');

test.skipIf(!existsSync(path.join(root, '.git')))(
  'the root holds the parts of the house, the package’s files and dotfiles of tools, and nothing else',
  () => {
    const tracked = execFileSync('git', ['ls-files'], { cwd: root, encoding: 'utf8' }).split('\n').filter(Boolean);
    const top = [...new Set(tracked.map((file) => file.split('/')[0]!))].filter((name) => !name.startsWith('.'));
    expect(top.sort()).toEqual(
      [
        ...['compiler', 'runtime', 'schemas', 'templates', 'examples', 'test'],
        ...['package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json'],
        ...['eslint.config.mjs', 'vitest.config.ts', 'README.md', 'LICENSE', 'CHANGELOG.md'],
      ].sort(),
    );
    expect(read('LICENSE')).toContain('Apache License');
  },
);

test('scripts, engine and module form are those that were promised', () => {
  const { scripts, engines, type, bin } = JSON.parse(read('package.json')) as {
    scripts: Record<string, string>;
    engines: { node: string };
    type: string;
    bin: { syncline: string };
  };
  expect(Object.keys(scripts)).toEqual(
    expect.arrayContaining('build typecheck lint format test golden gen bench demo check'.split(' ')),
  );
  expect([type, engines.node, bin.syncline]).toEqual(['module', '>=20.19', 'dist/runtime/cli/main.js']);
});

test('CI runs the README’s test command and the static checks, each once, and what it downloads is tried again', () => {
  const run = read('.ci/run');
  for (const command of ['node test/gen.mjs --check', 'npm run typecheck', 'npm run lint', 'npm test'])
    expect(run.split('\n').filter((line) => line === command)).toHaveLength(1);
  // Node 20 and the newest of 24 run the unit and golden tests.
  expect(run).toMatch(/^\.cache\/node-24\/\S+\/node \S+\/vitest\.mjs run --project unit --project golden$/m);
  const retry = run.split('\n').find((line) => line.startsWith('retry() {')) ?? '';
  const tried = spawnSync('bash', ['-c', `sleep() { :; }\n${retry}\nfail() { echo tried; false; }\nretry fail`]);
  expect([tried.status, tried.stdout.toString()]).toEqual([1, 'tried\n'.repeat(4)]);
  const commands = run.split('\n').map((line) => line.trim());
  const downloads = commands.filter((line) => !line.startsWith('#') && /apt-get|npm (?:ci|install)|pip /.test(line));
  expect(downloads.length).toBeGreaterThan(5);
  expect(downloads.filter((line) => !line.startsWith('retry '))).toEqual([]);
  // What is no download fails at once.
  expect(commands.filter((line) => line.startsWith('retry ') && !downloads.includes(line))).toEqual([]);
  expect(read('README.md')).toContain('npm ci && npm test');
});

test('what a test downloads is tried three times, too', () => {
  const files = sources('test').filter(([, text]) => /'pip', '(?:install|download)'/.test(text));
  expect(files.map(([file]) => file).sort()).toEqual([
    ...['conformance/clients.test.ts', 'engines/bigquery/emulator.ts', 'engines/bigquery/wasm.ts'],
    'engines/redshift/sqlglot.ts',
  ]);
  expect(files.filter(([, text]) => !text.includes('[1, 2, 3]'))).toEqual([]);
});

test('types that are not those of the schemas fail the check of CI', () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'syncline-'));
  for (const part of ['schemas', 'test/gen.mjs', 'package.json'])
    cpSync(path.join(root, part), path.join(dir, part), { recursive: true });
  symlinkSync(path.join(root, 'node_modules'), path.join(dir, 'node_modules'));
  const check = (): number | null => spawnSync(process.execPath, ['test/gen.mjs', '--check'], { cwd: dir }).status;
  expect(check()).toBe(0);
  const file = path.join(dir, 'schemas/manifest.schema.json');
  writeFileSync(file, readFileSync(file, 'utf8').replace('"planHash": {', '"planHashes": {'));
  expect(check()).toBe(1);
  rmSync(dir, { recursive: true });
});

/** The TypeScript files of a folder, with their texts. */
const sources = (folder: string): (readonly [file: string, text: string])[] =>
  readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => [file, read(path.join(folder, file))]);

/** Clock, chance, waiting, environment, network and disk. */
const OUTSIDE =
  /Date\.now\(|new Date\(\)|Math\.random|performance\.now|process\.env|(?<!\.)\bset(?:Timeout|Interval)\(|(?<!\.)\bfetch\(|randomUUID|randomBytes|node:(?:fs|http|https|net|child_process)\b/g;

test('only world.ts and the command line reach the outside in the runtime, and only what reads files in the compiler', () => {
  const reaching = (folder: string, but: (file: string) => boolean): string[] =>
    sources(folder)
      .filter(([file]) => !but(file))
      .flatMap(([file, text]) => [...text.matchAll(OUTSIDE)].map(([match]) => `${file}: ${match}`));
  expect(reaching('runtime', (file) => file === 'world.ts' || /^(?:cli|sandbox)\b/.test(file))).toEqual([]);
  expect(reaching('compiler', (file) => ['files.ts', 'templates.ts'].includes(file))).toEqual([]);
  expect(reaching('runtime', (file) => file !== 'world.ts').length).toBeGreaterThan(5);
});

/** A text that begins as a statement does, and not as a sentence that starts with such a word. */
const STATEMENT =
  /['"`]\s*(?:(?:select|begin|commit|merge|truncate|pragma|attach)\s|insert into\s|update \S+ set\s|delete from\s|(?:create|drop|alter) (?:or replace )?(?:table|schema|view|temp)\s|with \S+ as\s|set \S+ ?=)[^'"`\n]*/gi;

test('the runtime contains no SQL, its sandbox and its sample aside', () => {
  const files = sources('runtime').filter(
    ([file]) => !file.startsWith('sandbox') && file !== path.join('cli', 'sample.ts'),
  );
  expect(files.length).toBeGreaterThan(60);
  const found = files.flatMap(([file, text]) => [...text.matchAll(STATEMENT)].map(([match]) => `${file}: ${match}`));
  // How much an embedded engine may hold is no part of a plan: it is a setting of the machine that runs it.
  expect(found.filter((statement) => !/memory_limit|current_setting/.test(statement))).toEqual([]);
});
