/** Diagnostics are values: found all at once, never thrown, printed by whoever has a terminal. */

/** One-based, as editors count. */
export interface Position {
  readonly line: number;
  readonly col: number;
}

/** A stretch of a file; `end` is the place after its last character. */
export interface Span {
  readonly file: string;
  readonly start: Position;
  readonly end: Position;
}

/** What a report shows of a diagnostic, or of an error of a run. */
export interface Finding {
  readonly code: string;
  readonly severity: 'error' | 'warning';
  readonly message: string;
  readonly hint?: string;
  readonly span?: Span;
}

export interface Diagnostic extends Finding {
  readonly code: DiagnosticCode;
}

type Text = { readonly message: string; readonly hint?: string | undefined };

const near = (name: string, names: readonly string[]): string | undefined => {
  const found = nearest(name, names);
  return found === undefined ? undefined : `did you mean \`${found}\`?`;
};

/** Every code with its parameters: a call site cannot pass wrong data. */
const TEXTS = {
  'yaml-syntax': (p: { text: string; hint?: string }): Text => ({ message: p.text, hint: p.hint }),
  'file-missing': (p: { file: string }): Text => ({
    message: `there is no ${p.file}`,
    hint: 'run `syncline init` in an empty folder, or give --project-dir',
  }),
  'unknown-key': (p: { key: string; known: readonly string[] }): Text => ({
    message: `unknown key \`${p.key}\``,
    hint: near(p.key, p.known),
  }),
  'not-yet-supported': (p: { key: string; known?: readonly string[] }): Text => ({
    message: `\`${p.key}\` is not supported by this version`,
    hint: `${p.known === undefined ? 'remove it' : `use ${p.known.join(' or ')}`}, or wait for a release that has it in its CHANGELOG`,
  }),
  'default-refused': (p: { key: string }): Text => ({
    message: `\`${p.key}\` cannot be a default: it says what one sync is`,
    hint: 'write it in each sync',
  }),
  'default-unmatched': (p: { glob: string }): Text => ({
    message: `no sync is declared in a file that matches ${p.glob}`,
    hint: 'a path starts at the folder of the project, such as "syncs/finance/**"',
  }),
  'default-column-not-found': (p: { column: string; known: readonly string[] }): Text => ({
    message: `no source that this default reaches has a column \`${p.column}\``,
    hint: near(p.column, p.known) ?? 'remove it, or run `syncline lock` if the column is new',
  }),
  'missing-key': (p: { key: string }): Text => ({ message: `\`${p.key}\` is missing` }),
  'wrong-value': (p: { text: string; given?: string; allowed?: readonly string[] }): Text => ({
    message: p.text,
    hint: p.given === undefined ? undefined : near(p.given, p.allowed ?? []),
  }),
  'var-unset': (p: { name: string }): Text => ({
    message: `variable \`${p.name}\` has no value`,
    hint: 'set it under `vars:` or with --vars',
  }),
  'env-var-unset': (p: { name: string; key: string }): Text => ({
    message: `environment variable ${p.name} is not set (used by ${p.key})`,
    hint: `export ${p.name}, or give env_var a default`,
  }),
  'env-var-here': (p: { key: string }): Text => ({
    message: `env_var is allowed only under \`targets:\`, not in ${p.key}`,
    hint: 'use var instead: compiled SQL must not depend on the environment',
  }),
  'expression-invalid': (p: { text: string }): Text => ({
    message: `cannot read the expression ${p.text}`,
    hint: "use {{ var('name') }} or {{ env_var('NAME', 'default') }}",
  }),
  'target-not-found': (p: { name: string; known: readonly string[] }): Text => ({
    message: `there is no target \`${p.name}\``,
    hint: near(p.name, p.known) ?? `targets: ${p.known.join(', ')}`,
  }),
  'target-missing': (): Text => ({
    message: 'no target is given and there is no `default_target:`',
    hint: 'use --target',
  }),
  'version-unsupported': (p: { wants: string; is: string }): Text => ({
    message: `this project requires syncline ${p.wants}, and this is ${p.is}: install a version that it takes`,
  }),
  'duplicate-sync-name': (p: { name: string; other: string }): Text => ({
    message: `sync \`${p.name}\` is already declared in ${p.other}`,
    hint: 'names are ids: give one of them another name',
  }),
  'renamed-from-living': (p: { name: string; from: string }): Text => ({
    message: `\`${p.name}\` is renamed from \`${p.from}\`, which is still declared`,
    hint: `remove one of them: both would use the state and the ids of ${p.from}`,
  }),
  'bad-sync-name': (p: { name: string }): Text => ({
    message: `\`${p.name}\` is no sync name`,
    hint: 'a to z, digits and single underscores, a letter first, at most 40 characters',
  }),
  'bad-relation': (p: { relation: string; lacks?: string }): Text => ({
    message: p.lacks ? `the relation ${p.relation} names no ${p.lacks}` : `cannot read the relation ${p.relation}`,
    hint: p.lacks ? `write ${p.lacks}.${p.relation}` : 'one to three dotted parts, each optionally double-quoted',
  }),
  'control-character': (p: { key: string; hint?: string }): Text => ({
    message: `${p.key} contains a control character`,
    hint: p.hint,
  }),
  'source-not-locked': (p: { source: string; target: string }): Text => ({
    message: `the lock has no columns of ${p.source} for target ${p.target}`,
    hint: `run \`syncline lock -t ${p.target}\``,
  }),
  'lock-invalid': (p: { text: string; hint?: string }): Text => ({
    message: `syncline.lock.json: ${p.text}`,
    hint: p.hint ?? 'run `syncline lock` to write it anew',
  }),
  'column-not-found': (p: { column: string; source: string; known: readonly string[] }): Text => ({
    message: `${p.source} has no column \`${p.column}\``,
    hint: near(p.column, p.known) ?? 'run `syncline lock` if it is new',
  }),
  'column-reserved': (p: { column: string }): Text => ({
    message: `source column \`${p.column}\` starts with syncline_, which is for syncline's own`,
    hint: 'rename it in a view',
  }),
  'property-reserved': (p: { column: string }): Text => ({
    message: `column \`${p.column}\` would become a property that Mixpanel reserves`,
    hint: 'map it, or rename it in a view',
  }),
  'column-type': (p: { column: string; role: string; native: string; wants: string }): Text => ({
    message: `column \`${p.column}\` is ${p.native}; ${p.role} needs ${p.wants}`,
  }),
  'column-type-unknown': (p: { column: string; native: string }): Text => ({
    message: `column \`${p.column}\` has type ${p.native}, which cannot be synced`,
    hint: `leave it out, \`properties: { exclude: [${p.column}] }\`, or cast it in a view`,
  }),
  'mode-unavailable': (p: { kind: string; mode: string; use: string }): Text => ({
    message: `kind ${p.kind} has no mode ${p.mode}`,
    hint: p.use,
  }),
  'staging-needed': (p: { what: string }): Text => ({
    message: `${p.what} needs a staging schema, and the target says \`staging: none\``,
    hint: 'give the target a staging schema, or use mode append, full or one_time',
  }),
  'kind-needs': (p: { kind: string; key: string }): Text => ({ message: `kind ${p.kind} needs \`${p.key}:\`` }),
  'kind-refuses': (p: { kind: string; key: string }): Text => ({
    message: `kind ${p.kind} has no use for \`${p.key}:\``,
    hint: 'remove it',
  }),
  'credential-missing': (p: { kind: string; key: string; target: string }): Text => ({
    message: `kind ${p.kind} is sent with \`${p.key}\`, which target ${p.target} does not have`,
    hint: `set \`mixpanel: { ${p.key}: … }\` of the target`,
  }),
  'property-twice': (p: { name: string; columns: readonly string[] }): Text => ({
    message: `columns ${p.columns.join(' and ')} would both become the property \`${p.name}\``,
    hint: 'rename or exclude one of them under `properties:`',
  }),
  'where-invalid': (p: { text: string }): Text => ({
    message: `\`where\` ${p.text}`,
    hint: 'write one condition, such as "status <> \'test\'"',
  }),
  'snapshot-unfit': (p: { problem: string }): Text => ({
    message: `\`strategy: snapshot\` cannot be: ${p.problem}`,
    hint: 'use checksum or auto',
  }),
  'mode-needs': (p: { mode: string; key: string }): Text => ({ message: `mode ${p.mode} needs \`${p.key}:\`` }),
  'mode-refuses': (p: { mode: string; key: string; use: string }): Text => ({
    message: `mode ${p.mode} has no use for \`${p.key}:\``,
    hint: p.use,
  }),
  'template-unknown': (p: { path: string; known: readonly string[] }): Text => ({
    message: `${p.path} stands for no template of the package`,
    hint:
      near(/([^/]+?)(\.sql)?(\.njk)?$/.exec(p.path)?.[1] ?? '', p.known) ??
      `a template is templates/<default or warehouse>/<name>.sql.njk; names: ${p.known.join(', ')}`,
  }),
  'template-refused': (p: { name: string; known: readonly string[] }): Text => ({
    message: `the template \`${p.name}\` is not open to projects: state, checks, rejects and ledger keep rows from being lost or doubled`,
    hint: `open are ${p.known.join(', ')}`,
  }),
  'template-invalid': (p: { text: string }): Text => ({ message: `the template cannot be used: ${p.text}` }),
  'template-incomplete': (p: { name: string; missing: string; statement: string }): Text => ({
    message: `the template leaves out \`${p.missing}\`, which ${p.statement} needs`,
    hint: `write it, or extend the package's template: {% extends "builtin:${p.name}" %}`,
  }),
  'template-not-locked': (p: { path: string }): Text => ({
    message: `the lock does not say which template of the package ${p.path} stands for`,
    hint: 'run `syncline lock`, so that a later version can tell you when its template changed',
  }),
  'template-parent-changed': (p: { path: string }): Text => ({
    message: `the package's template that ${p.path} stands for changed since the lock was written`,
    hint: 'compare both, then run `syncline lock`',
  }),
  'mirror-without-key': (): Text => ({
    message: 'mirror without `key:`: a changed row is a tombstone and a new event, which costs two',
    hint: 'give a unique key if the source has one',
  }),
  'insert-time-not-partition': (p: { column: string; source: string }): Text => ({
    message: `${p.source} is not partitioned by the insert time ${p.column}, so each run reads the whole table`,
    hint: 'partition it by that column: a daily run over two years of days then reads about one part in 700; `plan` says what it reads of this one',
  }),
  'insert-time-is-time': (): Text => ({
    message: '`insert_time` is the same column as `time`',
    hint: 'a row that arrives late has an old time and would be missed; use a load timestamp',
  }),
} as const;

export type DiagnosticCode = keyof typeof TEXTS;
export const DIAGNOSTIC_CODES = Object.keys(TEXTS) as DiagnosticCode[];
const WARNINGS: readonly DiagnosticCode[] = [
  'template-not-locked',
  'template-parent-changed',
  'default-unmatched',
  'default-column-not-found',
  'mirror-without-key',
  'insert-time-is-time',
  'insert-time-not-partition',
];

/** Makes a diagnostic of a code. */
export function diagnostic<C extends DiagnosticCode>(
  code: C,
  params: Parameters<(typeof TEXTS)[C]> extends [infer P] ? P : object,
  span?: Span,
): Diagnostic {
  const text = (TEXTS[code] as (p: unknown) => Text)(params);
  return {
    code,
    severity: WARNINGS.includes(code) ? 'warning' : 'error',
    message: printable(text.message),
    ...(text.hint === undefined ? {} : { hint: printable(text.hint) }),
    ...(span ? { span } : {}),
  };
}

/** Names come from files: they must not move a terminal's cursor or end a line. */
const printable = (text: string): string =>
  Array.from(text, (c) =>
    (c < ' ' && c !== '\t') || c === '\u007f' ? `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}` : c,
  ).join('');

/**
 * A line below `targets:` may hold a password, also under a misspelt key, and logs of CI are read by many: it is named
 * by its place only. @param lines of the file, up to the one in question
 */
const mayHoldSecrets = (file: string, lines: readonly string[]): boolean =>
  file === 'syncline.yml' && /^(targets|["'{?])/.test(lines.filter((l) => /^[^\s#}]/.test(l)).at(-1) ?? '');

/** `file:line:col: error[code]: message`, the line with a mark under it, and the hint. */
export function formatText(d: Diagnostic, sources: Readonly<Record<string, string>>): string {
  const head = `${d.severity}[${d.code}]: ${d.message}`;
  const lines: string[] = [];
  if (d.span) {
    const { file } = d.span;
    const { line, col } = d.span.start;
    lines.push(`${file}:${line}:${col}: ${head}`);
    const above = sources[file]?.split(/\r?\n/).slice(0, line) ?? [];
    const source = above.at(-1);
    if (source !== undefined && !mayHoldSecrets(file, above)) {
      const number = String(line);
      lines.push(
        `  ${number} | ${printable(source)}`,
        `  ${' '.repeat(number.length)} | ${source.slice(0, col - 1).replaceAll(/[^\t]/g, ' ')}^`,
      );
    }
  } else lines.push(head);
  if (d.hint !== undefined) lines.push(`  hint: ${d.hint}`);
  return lines.join('\n');
}

/** One line of JSON. */
export const formatJson = (d: Finding): string => JSON.stringify({ type: 'diagnostic', ...d });

/** A workflow command of GitHub Actions (documentation: Workflow commands). */
export function formatGithub(d: Finding): string {
  const escape = (text: string): string => text.replaceAll('%', '%25').replaceAll('\r', '%0D').replaceAll('\n', '%0A');
  const value = (text: string): string => escape(text).replaceAll(':', '%3A').replaceAll(',', '%2C');
  const at = d.span ? ` file=${value(d.span.file)},line=${d.span.start.line},col=${d.span.start.col}` : '';
  return `::${d.severity}${at}::${escape(`[${d.code}] ${d.message}${d.hint === undefined ? '' : ` (${d.hint})`}`)}`;
}

/** The name that differs least, when it differs by at most a third of its letters. */
export function nearest(name: string, names: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = Math.max(1, Math.floor(name.length / 3)) + 1;
  for (const candidate of names) {
    const d = distance(name.toLowerCase(), candidate.toLowerCase());
    if (d < least) [best, least] = [candidate, d];
  }
  return best;
}

/** Edits between two words; two letters swapped count one. */
function distance(a: string, b: string): number {
  let last: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1] ? 0 : 1;
      let d = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + same);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) d = Math.min(d, (last[j - 2] ?? 0) + 1);
      next.push(d);
    }
    [last, row] = [row, next];
  }
  return row[b.length] ?? 0;
}
