import { describe, test } from 'vitest';

/**
 * Tests that need an engine: run where it is installed, skipped with a visible line elsewhere, and failed in CI.
 * @param missing why the engine is not there, or undefined
 */
export function onEngine(missing: string | undefined, name: string, tests: () => void): void {
  if (missing === undefined) describe(name, tests);
  else if (process.env['CI'] !== undefined)
    test(name, () => {
      throw new Error(`${missing}: in CI no engine may be missing`);
    });
  else {
    process.stderr.write(`skipped: ${name}: ${missing}\n`);
    describe.skip(name, tests);
  }
}
