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

test.each([
  ['compiler/plan.ts', '../runtime/world.ts'],
  ['runtime/run.ts', '../compiler/plan.ts'],
  ['runtime/run.ts', './cli/main.ts'],
  ['schemas/version.ts', '../runtime/world.ts'],
  ['schemas/version.ts', '../compiler/plan.ts'],
])('%s must not import %s', async (file, from) => {
  const eslint = new ESLint({ cwd: root });
  const [result] = await eslint.lintText(`import '${from}';\n`, { filePath: path.join(root, file) });
  expect(result?.messages.map((m) => m.ruleId)).toContain('no-restricted-imports');
});

test.each([
  ['runtime/cli/apply.ts', '../../compiler/plan.ts'],
  ['runtime/cli/apply.ts', '../sync.ts'],
  ['runtime/run.ts', '../schemas/types.ts'],
])('%s may import %s', async (file, from) => {
  const eslint = new ESLint({ cwd: root });
  const [result] = await eslint.lintText(`import '${from}';\n`, { filePath: path.join(root, file) });
  expect(result?.messages.map((m) => m.ruleId)).not.toContain('no-restricted-imports');
});
