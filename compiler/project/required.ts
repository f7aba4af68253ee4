import { createRequire } from 'node:module';
import type * as Semver from 'semver';
import { VERSION } from '../../schemas/version.ts';
import type { Diagnostic } from '../diagnostics.ts';
import { diagnostic } from '../diagnostics.ts';
import type { Source } from './parse.ts';
import { isRecord } from './parse.ts';

const require = createRequire(import.meta.url);

/**
 * What keeps this version from reading a project that says `require_syncline: <range>`. A project of another version
 * may have keys that this one does not know, so nothing else of it is judged.
 */
export function requiredProblem({ value, locate }: Source, version = VERSION): Diagnostic | undefined {
  const wants = isRecord(value) ? value['require_syncline'] : undefined;
  if (typeof wants !== 'string') return undefined;
  // Loaded here: a project that asks for no version does not wait for it.
  const { satisfies, validRange } = require('semver') as typeof Semver;
  const span = locate(['require_syncline']);
  if (wants.trim() === '' || validRange(wants) === null) {
    const text = `\`require_syncline\` must be a range of versions, such as ">=0.1" or "^0.1"`;
    return diagnostic('wrong-value', { text }, span);
  }
  return satisfies(version, wants, { includePrerelease: true })
    ? undefined
    : diagnostic('version-unsupported', { wants, is: version }, span);
}
