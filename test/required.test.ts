import { expect, test } from 'vitest';
import { parse } from '../compiler/project/parse.ts';
import { requiredProblem } from '../compiler/project/required.ts';

const problem = (range: string, version: string) =>
  requiredProblem(parse({ 'syncline.yml': `require_syncline: ${range}\n` }, []).project!, version)?.code;

test.each([
  ['">=0.1"', '0.1.0', undefined],
  ['">=0.1"', '0.0.9', 'version-unsupported'],
  ['">=0.1 <0.3"', '0.2.7', undefined],
  ['">=0.1, <0.3"', '0.2.7', 'wrong-value'],
  ['">=0.1 <0.3"', '0.3.0', 'version-unsupported'],
  ['"~0.1.2"', '0.1.9', undefined],
  ['"~0.1.2"', '0.2.0', 'version-unsupported'],
  ['"^0.1"', '0.1.9', undefined],
  ['"^0.1"', '0.2.0', 'version-unsupported'],
  ['"0.1.0"', '0.1.0', undefined],
  ['"0.1.0"', '0.1.1', 'version-unsupported'],
  ['">=0.1"', '0.2.0-rc.1', undefined],
  ['""', '0.1.0', 'wrong-value'],
  ['soon', '0.1.0', 'wrong-value'],
])('require_syncline: %s on %s → %s', (range, version, code) => {
  expect(problem(range, version)).toBe(code);
});
