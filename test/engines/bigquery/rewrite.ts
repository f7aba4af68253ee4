/** What the proxy before the emulator reads of statements: their heads. Everything else goes on as it is. */

const PIECES =
  /(--[^\n]*|#[^\n]*|\/\*[\s\S]*?\*\/)|('''(?:\\[\s\S]|[^\\])*?'''|"""(?:\\[\s\S]|[^\\])*?"""|'(?:\\[\s\S]|[^'\\])*'|"(?:\\[\s\S]|[^"\\])*"|`(?:\\[\s\S]|[^`\\])*`)|(;)|[^-#/'"`;]+|[\s\S]/g;

/** The statements of a flat script, without comments. */
export function statementsOf(sql: string): string[] {
  const found: string[] = [];
  let statement = '';
  for (const [piece, comment, , end] of sql.matchAll(PIECES)) {
    if (end === undefined) statement += comment === undefined ? piece : ' ';
    else {
      found.push(statement);
      statement = '';
    }
  }
  return [...found, statement].map((text) => text.trim()).filter((text) => text !== '');
}

/** Replaces outside of texts and quoted identifiers. */
export const replaceCode = (sql: string, pattern: RegExp, by: string | ((found: string) => string)): string =>
  [...sql.matchAll(PIECES)]
    .map(([piece, , quoted]) =>
      quoted !== undefined
        ? piece
        : typeof by === 'string'
          ? piece.replaceAll(pattern, by)
          : piece.replaceAll(pattern, by),
    )
    .join('');

/** A parameter as the service gets it. */
export interface Parameter {
  readonly name?: string;
  readonly parameterType?: { readonly type?: string };
  readonly parameterValue?: { readonly value?: string | number | boolean | null };
}

const LITERALS = ['INT64', 'STRING', 'BOOL', 'FLOAT64', 'NUMERIC', 'DATE', 'DATETIME', 'TIMESTAMP'];
const escaped = (text: string): string =>
  text.replace(/[\\'\n\r]/g, (c) => ({ '\n': '\\n', '\r': '\\r' })[c] ?? `\\${c}`);

/**
 * Puts values in the place of scalar parameters: the emulator gives them in their order in the text, also where its
 * translation has another one. @returns the parameters that are left
 */
export function inlined(
  statement: string,
  parameters: readonly Parameter[],
): { readonly text: string; readonly left: readonly Parameter[] } {
  const values = new Map<string, string>();
  const left: Parameter[] = [];
  for (const parameter of parameters) {
    const { name, parameterType: { type = '' } = {}, parameterValue: { value } = {} } = parameter;
    if (name === undefined || !LITERALS.includes(type)) left.push(parameter);
    else values.set(name.toLowerCase(), `cast(${value == null ? 'null' : `'${escaped(String(value))}'`} as ${type})`);
  }
  const text = replaceCode(statement, /(?<!@)@\w+/g, (found) => values.get(found.slice(1).toLowerCase()) ?? found);
  const named = new Set([...code(text).matchAll(/(?<!@)@(\w+)/g)].map(([, name = '']) => name.toLowerCase()));
  return { text, left: left.filter(({ name }) => name === undefined || named.has(name.toLowerCase())) };
}

/** Between the outer commas. */
function listed(text: string): string[] {
  const found: string[] = [];
  let item = '';
  let depth = 0;
  for (const [piece, , quoted] of text.matchAll(PIECES)) {
    for (const c of quoted === undefined ? piece : [piece]) {
      if (c === '(' || c === '[') depth++;
      if (c === ')' || c === ']') depth--;
      if (c === ',' && depth === 0) {
        found.push(item);
        item = '';
      } else item += c;
    }
  }
  return [...found, item].map((each) => each.trim()).filter((each) => each !== '');
}

/** What stands in the brackets that open at `from`, and where they close. */
function bracket(text: string, from: number): { readonly inside: string; readonly end: number } {
  let depth = 0;
  let at = from;
  for (const [piece, , quoted] of text.slice(from).matchAll(PIECES)) {
    for (const c of quoted === undefined ? piece : [piece]) {
      if (c === '(') depth++;
      if (c === ')' && --depth === 0) return { inside: text.slice(from + 1, at), end: at + 1 };
      at += c.length;
    }
  }
  return { inside: text.slice(from + 1), end: text.length };
}

/** A name, with quotes as written. */
export const NAME = '((?:`[^`]+`|[\\w-]+)(?:\\s*\\.\\s*(?:`[^`]+`|\\w+))*)';
const head = (text: string): RegExp => new RegExp(`^${text.replaceAll('NAME', NAME).replaceAll(' ', '\\s+')}`, 'i');

/** A name with its project. */
export function fullName(name: string, project: string, parts = 3): string {
  const given = name
    .replaceAll('`', '')
    .split('.')
    .map((part) => part.trim());
  return [...(given.length < parts ? [project] : []), ...given].join('.');
}

export type Options = Readonly<Record<string, string>>;

export type Statement =
  | {
      readonly what: 'snapshot';
      readonly name: string;
      readonly ifNotExists: boolean;
      readonly of: string;
      readonly options: Options;
    }
  | { readonly what: 'drop snapshot'; readonly name: string; readonly ifExists: boolean }
  | { readonly what: 'drop table'; readonly name: string; readonly ifExists: boolean }
  | { readonly what: 'alter table'; readonly name: string; readonly ifExists: boolean; readonly options: Options }
  | { readonly what: 'alter schema'; readonly name: string; readonly options: Options }
  | { readonly what: 'rights' }
  | { readonly what: 'rename'; readonly name: string; readonly ifExists: boolean; readonly to: string }
  | { readonly what: 'drop schema'; readonly name: string }
  | { readonly what: 'temp table'; readonly name: string; readonly rest: string }
  | {
      readonly what: 'create table';
      readonly name: string;
      readonly ifNotExists: boolean;
      readonly partitionBy: string | undefined;
      readonly clusterBy: readonly string[];
      readonly options: Options;
    }
  | { readonly what: 'insert' | 'update' | 'delete' | 'merge' | 'truncate'; readonly name: string }
  | { readonly what: 'other' };

const HEADS = {
  snapshot: head('create snapshot table (if not exists )?NAME clone NAME'),
  dropSnapshot: head('drop snapshot table (if exists )?NAME'),
  dropTable: head('drop table (if exists )?NAME'),
  alterTable: head('alter table (if exists )?NAME set options'),
  alterSchema: head('alter schema (?:if exists )?NAME set options'),
  rename: head('alter table (if exists )?NAME rename to NAME'),
  dropSchema: head('drop schema (?:if exists )?NAME'),
  rights: head('(?:grant|revoke) '),
  temp: head('create (?:or replace )?temp(?:orary)? table (?:if not exists )?NAME'),
  table: head('create (or replace )?table (if not exists )?NAME'),
  insert: head('insert (?:into )?NAME'),
  update: head('update NAME'),
  delete: head('delete (?:from )?NAME'),
  merge: head('merge (?:into )?NAME'),
  truncate: head('truncate table NAME'),
} as const;

function optionsAt(statement: string, from: number): Options {
  const open = statement.indexOf('(', from);
  if (open < 0) return {};
  return Object.fromEntries(
    listed(bracket(statement, open).inside).map((option) => {
      const at = option.indexOf('=');
      return [option.slice(0, at).trim().toLowerCase(), option.slice(at + 1).trim()];
    }),
  );
}

/** How a table is made: what stands between its columns and its query. */
function clausesOf(statement: string, from: number) {
  let at = from;
  if (/^\s*\(/.test(statement.slice(at))) at = bracket(statement, statement.indexOf('(', at)).end;
  const rest = statement.slice(at);
  const query = /\bas\s*(?:\(|\bselect\b|\bwith\b)/i.exec(rest)?.index ?? rest.length;
  const clauses = rest.slice(0, query);
  const options = /\boptions\s*\(/i.exec(clauses);
  const before = clauses.slice(0, options?.index);
  const [, partitionBy] = /\bpartition\s+by\s+([\s\S]+?)(?=\bcluster\s+by\b|$)/i.exec(before) ?? [];
  const [, clusterBy = ''] = /\bcluster\s+by\s+([\s\S]+)$/i.exec(before) ?? [];
  return {
    partitionBy: partitionBy?.trim(),
    clusterBy: listed(clusterBy).map((column) => column.replaceAll('`', '')),
    options: options === null ? {} : optionsAt(clauses, options.index),
  };
}

/** What a statement is about. Names are as written. */
export function read(statement: string): Statement {
  const is = (name: keyof typeof HEADS): RegExpExecArray | null => HEADS[name].exec(statement);
  let m: RegExpExecArray | null;
  if ((m = is('snapshot'))) {
    const rest = statement.slice(m[0].length);
    const at = /\boptions\s*\(/i.exec(rest)?.index;
    const options = at === undefined ? {} : optionsAt(rest, at);
    return { what: 'snapshot', name: m[2] ?? '', ifNotExists: m[1] !== undefined, of: m[3] ?? '', options };
  }
  if ((m = is('dropSnapshot'))) return { what: 'drop snapshot', name: m[2] ?? '', ifExists: m[1] !== undefined };
  if ((m = is('dropTable'))) return { what: 'drop table', name: m[2] ?? '', ifExists: m[1] !== undefined };
  if ((m = is('alterTable')))
    return {
      what: 'alter table',
      name: m[2] ?? '',
      ifExists: m[1] !== undefined,
      options: optionsAt(statement, m[0].length),
    };
  if ((m = is('alterSchema')))
    return { what: 'alter schema', name: m[1] ?? '', options: optionsAt(statement, m[0].length) };
  if ((m = is('rename')))
    return { what: 'rename', name: m[2] ?? '', ifExists: m[1] !== undefined, to: (m[3] ?? '').replaceAll('`', '') };
  if ((m = is('dropSchema'))) return { what: 'drop schema', name: m[1] ?? '' };
  if (is('rights')) return { what: 'rights' };
  if ((m = is('temp')))
    return { what: 'temp table', name: (m[1] ?? '').replaceAll('`', ''), rest: statement.slice(m[0].length) };
  if ((m = is('table')))
    return {
      what: 'create table',
      name: m[3] ?? '',
      ifNotExists: m[2] !== undefined,
      ...clausesOf(statement, m[0].length),
    };
  for (const what of ['insert', 'update', 'delete', 'merge', 'truncate'] as const)
    if ((m = is(what))) return { what, name: m[1] ?? '' };
  return { what: 'other' };
}

/** Texts and quoted identifiers, as they stand. */
const replaceTexts = (sql: string, from: string, by: string): string =>
  [...sql.matchAll(PIECES)]
    .map(([piece, , text]) => (text === undefined ? piece : piece.replaceAll(from, by)))
    .join('');

/** A statement with blanks in the place of its texts and quoted identifiers, so that each character stays where it is. */
export const code = (sql: string): string =>
  [...sql.matchAll(PIECES)].map(([piece, , text]) => (text === undefined ? piece : ' '.repeat(piece.length))).join('');

/**
 * Calls that the emulator has wrong: of `div` and `mod` it makes operators, and forgets the brackets around them and
 * around what they are asked of.
 */
function bracketed(sql: string): string {
  const call = /(?<![.\w@`])(div|mod|safe\s*\.\s*parse_json|array_to_string)\s*(?=\()/i.exec(code(sql));
  if (call === null) return sql;
  const open = call.index + call[0].length;
  const { inside, end } = bracket(sql, open);
  const given = listed(inside).map((argument) => `(${bracketed(argument)})`);
  let own = `${call[1] ?? ''}(${given.join(', ')})`;
  // Without a cast some plans parse what `safe` should have kept from them.
  if (/^safe/i.test(own)) own = `safe_cast(${given[0] ?? ''} as json)`;
  // A list without a value gives NULL there instead of an empty text.
  if (/^array_to_string/i.test(own)) own = `coalesce(${own}, '')`;
  return `${sql.slice(0, call.index)}(${own})${bracketed(sql.slice(end))}`;
}

/**
 * What the emulator reads otherwise than BigQuery, in words that it reads alike. These stay wrong: the texts of FLOAT64
 * (`1.0`, `100000000000000000000.0`) and NUMERIC (`10.50`, with the zeros of its scale) are equal as numbers of JSON but
 * not as texts; `to_json_string` of TIMESTAMP, DATETIME, BYTES and of INT64 beyond 2^53 is not BigQuery's; JSON keeps the
 * order of its keys; `parse_json` takes some texts that are no JSON (a comma before a bracket); `to_json_string(null)` is
 * NULL; a half is rounded to even by a cast to INT64; a timestamp's text has no zeros at its end.
 */
export function spelled(statement: string): string {
  let text = bracketed(replaceTexts(statement, '%E4Y', '%Y'));
  text = replaceCode(text, /\bcurrent_datetime\s*\(\s*\)/gi, "datetime(current_timestamp(), 'UTC')");
  text = replaceCode(text, /\bcurrent_datetime\s*\(/gi, 'datetime(current_timestamp(), ');
  text = replaceCode(text, /,\s*stringify_wide_numbers\s*=>\s*true/gi, '');
  const [made, columns] = /^create\s+(?:or\s+replace\s+)?table\b[^(]*?(?=\bas\b|(\())/i.exec(text) ?? [];
  if (made === undefined) return text;
  if (columns !== undefined) {
    const { end } = bracket(text, made.length);
    // Without digits they would be DECIMAL(18, 3) and DECIMAL(38, 5).
    const list = replaceCode(text.slice(made.length, end), /\b(numeric|decimal)\b(?!\s*\()/gi, 'numeric(38, 9)');
    text = made + replaceCode(list, /\b(bignumeric|bigdecimal)\b(?!\s*\()/gi, 'bignumeric(38, 19)') + text.slice(end);
  }
  // An integer that comes from a literal would have 32 bits.
  return replaceCode(text, /(?<![\w.'])(-?\d+)(?=\s+as\s+\w)/gi, 'cast($1 as int64)');
}
