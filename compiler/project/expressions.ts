import type { Diagnostic, Span } from '../diagnostics.ts';
import { diagnostic } from '../diagnostics.ts';
import type { Path } from './parse.ts';

export type Vars = Readonly<Record<string, string>>;
export type Env = Readonly<Record<string, string | undefined>>;

const EXPRESSION = /\{\{(.*?)\}\}/gs;
const CALL = /^\s*(var|env_var)\(\s*(['"])([^'"]*)\2\s*(?:,\s*(['"])([^'"]*)\4\s*)?\)\s*$/;

/** How expressions are replaced. */
export interface Scope {
  readonly vars: Vars;
  /** The environment, or what to do with `env_var`: leave it for later, or report it. */
  readonly env: Env | 'keep' | 'refuse';
  readonly locate: (path: Path) => Span;
}

export interface Expanded {
  /** A copy, with the expressions replaced. */
  readonly value: unknown;
  /** JSON pointers of the texts that held an expression: they may stand for a number or a boolean. */
  readonly rendered: ReadonlySet<string>;
  /** JSON pointers of the texts that hold one still. */
  readonly open: ReadonlySet<string>;
  /** JSON pointers of the texts that hold an `env_var` which was left for later. */
  readonly kept: ReadonlySet<string>;
}

/** Replaces `{{ var('x') }}` and `{{ env_var('X', 'default') }}` in every text of a value, once. */
export function expand(value: unknown, scope: Scope, into: Diagnostic[]): Expanded {
  const rendered = new Set<string>();
  const open = new Set<string>();
  const kept = new Set<string>();
  const path: (string | number)[] = [];
  const below = (key: string | number, value: unknown): unknown => {
    path.push(key);
    const walked = walk(value);
    path.pop();
    return walked;
  };
  const walk = (at: unknown): unknown => {
    if (typeof at === 'string') {
      if (!at.includes('{{')) return at;
      const result = expandText(at, [...path], scope, into);
      (result.open ? open : rendered).add(pointer(path));
      if (result.kept) kept.add(pointer(path));
      return result.text;
    }
    if (Array.isArray(at)) return at.map((v: unknown, i) => below(i, v));
    if (at !== null && typeof at === 'object')
      return Object.fromEntries(Object.entries(at).map(([k, v]) => [k, below(k, v)]));
    return at;
  };
  return { value: walk(value), rendered, open, kept };
}

/** As Ajv writes paths. */
const pointer = (path: Path): string =>
  path.map((p) => '/' + String(p).replaceAll('~', '~0').replaceAll('/', '~1')).join('');

function expandText(
  text: string,
  path: Path,
  scope: Scope,
  into: Diagnostic[],
): { text: string; open: boolean; kept: boolean } {
  let open = false;
  let kept = false;
  const leave = (whole: string, problem?: Diagnostic): string => {
    open = true;
    if (problem) into.push(problem);
    else kept = true;
    return whole;
  };
  const result = text.replace(EXPRESSION, (whole, inner: string) => {
    const call = CALL.exec(inner);
    const span = scope.locate(path);
    if (!call) return leave(whole, diagnostic('expression-invalid', { text: whole }, span));
    const [, kind, , name = '', , fallback] = call;
    if (kind === 'var')
      return own(scope.vars, name) ?? fallback ?? leave(whole, diagnostic('var-unset', { name }, span));
    if (scope.env === 'keep') return leave(whole);
    if (scope.env === 'refuse') return leave(whole, diagnostic('env-var-here', { key: String(path.at(-1)) }, span));
    const key = path.join('.');
    return own(scope.env, name) ?? fallback ?? leave(whole, diagnostic('env-var-unset', { name, key }, span));
  });
  return { text: result, open, kept };
}

const own = (values: Env, name: string): string | undefined => (Object.hasOwn(values, name) ? values[name] : undefined);
