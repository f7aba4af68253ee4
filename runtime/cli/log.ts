import path from 'node:path';
import type { Diagnostic, Finding } from '../../compiler/diagnostics.ts';
import { formatGithub, formatJson, formatText } from '../../compiler/diagnostics.ts';

export type LogFormat = 'text' | 'json';
let format: LogFormat = 'text';

/** How everything on stderr looks from now on: lines for a person, or one JSON object a line. */
export function setLogFormat(to: LogFormat): void {
  format = to;
}
export const logFormat = (): LogFormat => format;

let above: ((write: () => void) => void) | undefined;

/** While something is drawn at the foot of the terminal, lines are written above it. */
export function setAbove(around: ((write: () => void) => void) | undefined): void {
  above = around;
}

function line(text: string): void {
  const write = (): void => void process.stderr.write(`${text}\n`);
  if (above) above(write);
  else write();
}
const json = (value: object): void => line(JSON.stringify(value));
const onGithub = (): boolean => format === 'text' && process.env['GITHUB_ACTIONS'] === 'true';

export const out = (text: string): void => void process.stdout.write(`${text}\n`);
export const err = (text: string): void => (format === 'json' ? json({ type: 'message', message: text }) : line(text));

/** An event of a run, as JSON. */
export const tell = (event: object): void => json({ ...event, at: new Date().toISOString() });

/** Prints a diagnostic of the project in `dir`. */
export function printDiagnostic(d: Diagnostic, files: Readonly<Record<string, string>>, dir: string): void {
  if (format === 'json') return line(formatJson(d));
  line(formatText(d, files));
  if (onGithub()) line(formatGithub(inRepository(d, dir)));
}

/** Prints what ended a command or a sync. */
export function printError(error: { code: string; sync?: string; message: string; hint?: string | undefined }): void {
  const { code, sync, message, hint } = error;
  if (format === 'json') return json({ type: 'error', ...error });
  const text = sync === undefined ? message : `${sync}: ${message}`;
  line(`error[${code}]: ${text}`);
  if (hint !== undefined) line(`  hint: ${hint}`);
  if (onGithub())
    line(formatGithub({ severity: 'error', code, message: text, ...(hint === undefined ? {} : { hint }) }));
}

/** Prints why nothing was tried. */
export function printRefusal(message: string): void {
  if (format === 'json') return json({ type: 'error', code: 'usage', message });
  line(message);
  if (onGithub()) line(formatGithub({ severity: 'error', code: 'usage', message }));
}

/** GitHub wants paths from the root of the checkout, diagnostics have them from the project. */
function inRepository(d: Diagnostic, dir: string): Finding {
  if (!d.span) return d;
  const root = process.env['GITHUB_WORKSPACE'] ?? process.cwd();
  const file = path.relative(root, path.resolve(dir, d.span.file)).replaceAll(path.sep, '/');
  return { ...d, span: { ...d.span, file } };
}
