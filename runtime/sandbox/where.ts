/** What an expression sees of an event or a profile. */
export interface Scope {
  readonly properties: Readonly<Record<string, unknown>>;
  readonly event?: Readonly<Record<string, unknown>>;
}

type Evaluate = (scope: Scope) => unknown;

/** An expression that the sandbox cannot read. */
export class WhereError extends Error {}

const TOKENS =
  /\s*(?:(\d+(?:\.\d+)?)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|([A-Za-z_]\w*)|(==|!=|>=|<=|[-+*/%<>()[\],]))/y;

const LEVELS: readonly (readonly string[])[] = [
  ['or'],
  ['and'],
  ['==', '!=', '>', '>=', '<', '<=', 'in'],
  ['+', '-'],
  ['*', '/', '%'],
];

const FUNCTIONS: Readonly<Record<string, (value: unknown) => unknown>> = {
  floor: (value) => (typeof value === 'number' ? Math.floor(value) : undefined),
  round: (value) => (typeof value === 'number' ? Math.round(value) : undefined),
  ceil: (value) => (typeof value === 'number' ? Math.ceil(value) : undefined),
  boolean: (value) => truthy(value),
  number: (value) => (value === undefined || value === null || Number.isNaN(Number(value)) ? undefined : Number(value)),
  string: (value) => (value === undefined ? undefined : typeof value === 'string' ? value : JSON.stringify(value)),
  defined: (value) => value !== undefined && value !== null,
  datetime: (value) => {
    const ms =
      typeof value === 'number'
        ? value * 1000
        : Date.parse(/Z|[+-]\d\d:?\d\d$/.test(String(value)) ? String(value) : `${String(value)}Z`);
    return Number.isNaN(ms) ? undefined : ms / 1000;
  },
};

/**
 * Compiles a `where` of the export and query APIs. Everything but cohort functions is there; `user[…]` is
 * `properties[…]`, which is right for profiles and not for events.
 * Source: Mixpanel docs "Segmentation Expressions".
 */
export function compileWhere(source: string): (scope: Scope) => boolean {
  const tokens = tokenize(source);
  let at = 0;
  const peek = (): string => tokens[at] ?? '';
  const take = (expected: string): void => {
    if (tokens[at++] !== expected) throw new WhereError(`expected ${expected} in: ${source}`);
  };
  const expression = (level = 0): Evaluate => {
    const operators = LEVELS[level];
    if (!operators) return unary();
    let left = expression(level + 1);
    while (operators.includes(peek())) {
      const operator = tokens[at++] ?? '';
      const before = left;
      const right = expression(level + 1);
      left = (scope) => binary(operator, before(scope), right(scope));
    }
    return left;
  };
  const unary = (): Evaluate => {
    const token = peek();
    if (token !== '-' && token !== 'not') return primary();
    at++;
    const operand = token === 'not' ? expression(2) : unary();
    if (token === 'not') return (scope) => !truthy(operand(scope));
    return (scope) => {
      const value = operand(scope);
      return typeof value === 'number' ? -value : undefined;
    };
  };
  const primary = (): Evaluate => {
    const token = tokens[at++] ?? '';
    if (token === '(') {
      const inner = expression();
      take(')');
      return inner;
    }
    if (token === '[') return list();
    if (/^\d/.test(token)) return () => Number(token);
    if (/^["']/.test(token)) return () => unquote(token);
    if (token === 'true' || token === 'false') return () => token === 'true';
    if (token === 'properties' || token === 'user' || token === 'event') return access(token);
    const call = Object.hasOwn(FUNCTIONS, token) ? FUNCTIONS[token] : undefined;
    if (!call) throw new WhereError(`unexpected ${token === '' ? 'end' : token} in: ${source}`);
    take('(');
    const argument = expression();
    take(')');
    return (scope) => call(argument(scope));
  };
  const list = (): Evaluate => {
    const items: Evaluate[] = [];
    while (peek() !== ']') {
      items.push(expression());
      if (peek() !== ']') take(',');
    }
    take(']');
    return (scope) => items.map((item) => item(scope));
  };
  const access = (of: string): Evaluate => {
    take('[');
    const name = unquote(tokens[at++] ?? '');
    take(']');
    return ({ properties, event }) => (of === 'event' ? event?.[name] : properties[name]);
  };
  const root = expression();
  if (at < tokens.length) throw new WhereError(`unexpected ${peek()} in: ${source}`);
  return (scope) => truthy(root(scope));
}

function tokenize(source: string): string[] {
  const tokens: string[] = [];
  TOKENS.lastIndex = 0;
  const end = source.trimEnd().length;
  while (TOKENS.lastIndex < end) {
    const from = TOKENS.lastIndex;
    const match = TOKENS.exec(source);
    if (!match) throw new WhereError(`cannot read ${source.slice(from)}`);
    tokens.push(match[0].trim());
  }
  return tokens;
}

const unquote = (token: string): string => token.slice(1, -1).replace(/\\(.)/gs, '$1');

/** Undefined counts as false. */
const truthy = (value: unknown): boolean =>
  value !== undefined && value !== null && value !== false && value !== 0 && value !== '';

function binary(operator: string, left: unknown, right: unknown): unknown {
  if (operator === 'and') return truthy(left) && truthy(right);
  if (operator === 'or') return truthy(left) || truthy(right);
  if (operator === '==' || operator === '!=')
    return (JSON.stringify(left) === JSON.stringify(right)) === (operator === '==');
  if (operator === 'in') {
    if (Array.isArray(right)) return right.some((item) => JSON.stringify(item) === JSON.stringify(left));
    return typeof left === 'string' && typeof right === 'string' ? right.includes(left) : undefined;
  }
  if (operator === '+' && typeof left === 'string' && typeof right === 'string') return left + right;
  if (typeof left !== 'number' || typeof right !== 'number') return undefined;
  return arithmetic(operator, left, right);
}

function arithmetic(operator: string, left: number, right: number): number | boolean | undefined {
  switch (operator) {
    case '+':
      return left + right;
    case '-':
      return left - right;
    case '*':
      return left * right;
    case '/':
      return right === 0 ? undefined : left / right;
    case '%':
      return right === 0 ? undefined : left % right;
    case '>':
      return left > right;
    case '>=':
      return left >= right;
    case '<':
      return left < right;
    default:
      return left <= right;
  }
}
