import { readFileSync } from 'node:fs';
import path from 'node:path';
import { ESLint } from 'eslint';
import { expect, test } from 'vitest';
import { VERSION } from '../schemas/version.ts';

const root = path.join(import.meta.dirname, '..');

test('the version is that of the package', () => {
  expect(VERSION).toBe(
    (JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string }).version,
  );
});

/** Findings of the rules about imports. */
const rulesAt = (result: ESLint.LintResult | undefined): string[] =>
  (result?.messages ?? [])
    .filter((m) => m.ruleId?.startsWith('no-restricted-') === true)
    .map((m) => `${m.line} ${m.ruleId ?? ''}`);

test.each([
  ['compiler/plan.ts', '../runtime/world.ts'],
  ['runtime/run.ts', '../compiler/plan.ts'],
  ['runtime/run.ts', './cli/main.ts'],
  ['schemas/version.ts', '../runtime/world.ts'],
  ['schemas/version.ts', '../compiler/plan.ts'],
])('%s must not import %s', async (file, from) => {
  const eslint = new ESLint({ cwd: root });
  const text = `import '${from}';\nvoid import('${from}');\nvoid import(\`${from}\`);\nexport * from '${from}';\n`;
  const [result] = await eslint.lintText(text, { filePath: path.join(root, file) });
  expect(rulesAt(result)).toEqual([
    '1 no-restricted-imports',
    '2 no-restricted-syntax',
    '3 no-restricted-syntax',
    '4 no-restricted-imports',
  ]);
});

test.each([
  ['runtime/cli/apply.ts', '../../compiler/plan.ts'],
  ['runtime/cli/apply.ts', '../sync.ts'],
  ['runtime/run.ts', '../schemas/types.ts'],
])('%s may import %s', async (file, from) => {
  const eslint = new ESLint({ cwd: root });
  const text = `import '${from}';\nvoid import('${from}');\n`;
  const [result] = await eslint.lintText(text, { filePath: path.join(root, file) });
  expect(rulesAt(result)).toEqual([]);
});
