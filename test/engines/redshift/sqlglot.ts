import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

const VERSION = '30.30.0';
/** Kept between runs; git ignores it. */
const VENV = path.join(import.meta.dirname, '../../../.cache', `sqlglot-${VERSION}`);
const PYTHON = path.join(VENV, 'bin/python');

const run = (program: string, ...args: string[]) => spawnSync(program, args, { encoding: 'utf8', timeout: 300_000 });

/** Installs sqlglot where it is not yet. @returns why it is not there, or undefined */
export function missing(): string | undefined {
  if (existsSync(PYTHON) && run(PYTHON, '-c', 'import sqlglot').status === 0) return undefined;
  if (run('python3', '--version').status !== 0) return 'python3 is not installed';
  const made = run('python3', '-m', 'venv', '--clear', VENV);
  if (made.status !== 0) return `python3 makes no virtual environment: ${made.stdout.trim().split('\n')[0] ?? ''}`;
  const install = ['-m', 'pip', 'install', '--quiet', `sqlglot==${VERSION}`];
  return [1, 2, 3].some(() => run(PYTHON, ...install).status === 0)
    ? undefined
    : `sqlglot ${VERSION} cannot be installed`;
}

const SCRIPT = `
import json, sys, logging
import sqlglot
from sqlglot import exp
logging.disable(logging.CRITICAL)
found = {}
for name, sql in json.load(sys.stdin).items():
    try:
        trees = sqlglot.parse(sql, read='redshift', error_level=sqlglot.ErrorLevel.RAISE)
        found[name] = 'opaque' if any(isinstance(t, exp.Command) for t in trees) or len(trees) != 1 else 'parsed'
    except Exception as error:
        found[name] = str(error)
print(json.dumps(found))
`;

/** How sqlglot's Redshift dialect reads each statement: `parsed`, `opaque` where it looks no further, or an error. */
export function parseAll(statements: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const { status, stdout, stderr } = spawnSync(PYTHON, ['-c', SCRIPT], {
    input: JSON.stringify(statements),
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as Record<string, string>;
}
