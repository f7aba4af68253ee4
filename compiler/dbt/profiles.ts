import type { WarehouseSettings } from '../../schemas/types.ts';
import type { Diagnostic } from '../diagnostics.ts';
import { diagnostic } from '../diagnostics.ts';
import type { Env } from '../project/expressions.ts';
import { expand } from '../project/expressions.ts';
import type { Locate } from '../project/parse.ts';
import { isRecord, parseFile } from '../project/parse.ts';

/** Text of dbt's profiles.yml, and where it was found; or where it was looked for in vain. */
export type Profiles = { readonly file: string; readonly text: string } | { readonly missing: readonly string[] };
type Output = Readonly<Record<string, unknown>>;
type Type = WarehouseSettings['type'];

/** Other names of one setting (dbt's adapters: field aliases); the first one is ours. */
const NAMES: Readonly<Record<Type, readonly (readonly [string, string])[]>> = {
  bigquery: [
    ['project', 'database'],
    ['dataset', 'schema'],
    ['job_execution_timeout_seconds', 'timeout_seconds'],
  ],
  duckdb: [],
  postgres: [
    ['dbname', 'database'],
    ['password', 'pass'],
  ],
  redshift: [
    ['dbname', 'database'],
    ['password', 'pass'],
  ],
};

/** What would be read otherwise than dbt reads it, and is refused rather than left out. */
const REFUSED: Readonly<Record<Type, Readonly<Record<string, string>>>> = {
  bigquery: {
    execution_project: 'name `project:`, where jobs run, and sources as project.dataset.table',
    quota_project: 'the project of the account pays for its requests',
  },
  duckdb: { attach: 'name the file that has the sources as `path:`' },
  postgres: {},
  redshift: {},
};

/** Besides plain calls dbt knows filters that make a number or a truth value of a text; what is wanted there says which. */
const FILTER = /\|\s*(?:as_number|as_bool|as_native|as_text|int)\s*(?=\}\})/g;

/**
 * The settings of one output of a profile, rendered: other outputs may need variables that are not there.
 * @param known keys that the settings of that warehouse have; dbt's own besides are left out
 * @returns undefined after a report
 */
export function profileOutput(
  profiles: Profiles,
  wanted: { readonly profile: string; readonly target: string | undefined; readonly type: Type },
  known: readonly string[],
  env: Env,
  at: Locate,
  into: Diagnostic[],
): Output | undefined {
  const { profile, target, type } = wanted;
  const refuse = (text: string, allowed: readonly string[] = [], given?: string): undefined =>
    void into.push(
      diagnostic(
        'wrong-value',
        given === undefined ? { text } : { text, given, allowed },
        at(['warehouse', 'dbt_profile']),
      ),
    );
  if ('missing' in profiles) return refuse(`there is no profiles.yml of dbt in ${profiles.missing.join(' or ')}`);
  const parsed = parseFile(profiles.file, profiles.text, into);
  if (!parsed) return undefined;
  const all = isRecord(parsed.value) ? parsed.value : {};
  const found = all[profile];
  if (!isRecord(found) || !isRecord(found['outputs']))
    return refuse(`${profiles.file} has no profile ${profile} with \`outputs:\``, Object.keys(all), profile);
  const { outputs } = found;
  const scope = { vars: {}, env, locate: parsed.locate };
  const chosen = target ?? String(expand(found['target'] ?? 'default', scope, into).value);
  const output = outputs[chosen];
  if (!isRecord(output))
    return refuse(`the profile ${profile} of ${profiles.file} has no target ${chosen}`, Object.keys(outputs), chosen);
  if (output['type'] !== type)
    return refuse(
      `the target says \`type: ${type}\`, and ${profile}.${chosen} of ${profiles.file} is of type ${String(output['type'])}`,
    );
  const rendered = Object.entries(output).map(([key, value]): [string, unknown] => {
    const problems: Diagnostic[] = [];
    const plain = typeof value === 'string' ? value.replace(FILTER, '') : value;
    const result = expand(
      { [key]: plain },
      { ...scope, locate: () => parsed.locate([profile, 'outputs', chosen, key]) },
      problems,
    );
    // A password may look like an expression (dbt: rendering of profiles).
    const isRaw = /pass/.test(key) && problems.some((d) => d.code === 'expression-invalid');
    if (!isRaw) into.push(...problems);
    const made = isRaw ? value : (result.value as Output)[key];
    return [key, /pass/.test(key) && typeof made === 'number' ? String(made) : made];
  });
  const settings = new Map(rendered);
  for (const [ours, theirs] of NAMES[type])
    if (!settings.has(ours) && settings.has(theirs)) settings.set(ours, settings.get(theirs));
  for (const [key, instead] of Object.entries(REFUSED[type]))
    if (settings.has(key))
      return refuse(`\`${key}\` of ${profile}.${chosen} in ${profiles.file} is not followed here: ${instead}`);
  return Object.fromEntries([...settings].filter(([key]) => known.includes(key)));
}
