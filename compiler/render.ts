import nunjucks from 'nunjucks';
import type { Expect, Late, Statement } from '../schemas/types.ts';
import type { Dialect, Sql } from './dialects/dialect.ts';
import { sql } from './dialects/dialect.ts';
import type { Diagnostic } from './diagnostics.ts';
import type { Override } from './overrides.ts';
import { BUILTIN, OPTIONS, renderProblem } from './overrides.ts';

/** Every late value there is, with its type. */
export const LATE = {
  run: 'integer',
  version: 'integer',
  holder: 'text',
  state_version: 'integer',
  state_holder: 'text',
  ttl_ms: 'integer',
  quiet_ms: 'integer',
  mixpanel: 'text',
  names: 'text',
  pending: 'text',
  id_space: 'text',
  epoch: 'integer',
  batch: 'integer',
  batch_from: 'integer',
  batch_to: 'integer',
  next_batch: 'integer',
  outcome: 'text',
  refusals: 'text',
  more: 'integer',
  watermark_from: 'text',
  watermark_to: 'text',
  seen_from: 'text',
  waiting: 'integer',
  content: 'text',
  content_from: 'text',
  done: 'integer',
  again: 'integer',
  backfill: 'integer',
  position: 'text',
  adopted: 'integer',
  new_epoch: 'integer',
  session: 'integer',
  resend: 'integer',
  remapped: 'integer',
  retired: 'text',
  retried: 'text',
  partitions: 'ranges',
  whole: 'integer',
  older: 'integer',
  old_checksum: 'expression',
  old_key: 'expression',
  old_identity: 'expression',
  old_where: 'expression',
  snapshot_from: 'word',
  snapshot_was: 'text',
  snapshot_name: 'word',
  snapshot_there: 'integer',
  source_modified: 'integer',
  source_rows: 'integer',
  probed_ms: 'integer',
  retry: 'integer',
  allow_max_deletes: 'integer',
  allow_max_changes: 'integer',
  allow_max_rejects: 'integer',
  allow_on_empty_source: 'integer',
} as const satisfies Record<string, Late['type']>;
export type LateName = keyof typeof LATE;

/*
 * While a template renders, a late value is a marker between two NULs, and so is every value of the context. No
 * warehouse accepts a NUL in an identifier or a text, and the parser refuses it in every file, so nothing from
 * outside can look like a marker. What a template gives depends on the context's shape only, so it is rendered once
 * a shape and filled in for each sync. The statement that leaves this file is an array of text and holes.
 */
const MARK = '\u0000';
/** A late value inlined into the text, where SQL cannot bind. */
export const hole = (name: LateName): Sql => sql(`${MARK}hole:${name}${MARK}`);
/** A late value bound by the driver, inside a cast. */
export const bound = (dialect: Dialect, name: LateName): Sql =>
  sql(`cast(${MARK}bind:${name}${MARK} as ${dialect.types[LATE[name] === 'integer' ? 'integer' : 'text']})`);

export type TemplateValue =
  Sql | boolean | number | readonly TemplateValue[] | { readonly [name: string]: TemplateValue };

export type Values = Readonly<Record<string, TemplateValue>>;
type Piece = string | { readonly slot: readonly string[] } | { readonly hole: Late } | { readonly bind: Late };
type Options = Pick<Statement, 'returns' | 'expect' | 'failure'> & { readonly repeatable?: boolean };

/** A typo in a template must fail, also inside an `if`. */
function strict(values: Values, path: string): unknown {
  return new Proxy(values, {
    get(target, key) {
      if (typeof key !== 'string') return undefined;
      // Not what every object has, such as its constructor: a template sees values only.
      const value = Object.hasOwn(target, key) ? target[key] : undefined;
      if (value === undefined) throw new Error(`the template asks for ${path}.${key}, which does not exist`);
      return value;
    },
  });
}

/** The context with a marker in place of each text: a template sees which values there are, never what they say. */
function slots(value: TemplateValue, path: string): unknown {
  if (typeof value === 'boolean') return value;
  if (typeof value !== 'object') return `${MARK}slot:${path}${MARK}`;
  if (isList(value)) return value.map((v, i) => slots(v, `${path}.${i}`));
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, slots(v, path === '' ? k : `${path}.${k}`)]));
}

/** True for values that a template renders alike, with the same late values. */
function areAlike(a: TemplateValue, b: TemplateValue): boolean {
  if (a === b) return true;
  if (typeof a === 'boolean' || typeof b === 'boolean') return false;
  if (typeof a !== 'object' || typeof b !== 'object')
    return typeof a !== 'object' && typeof b !== 'object' && latesIn(a) === latesIn(b);
  if (isList(a) || isList(b))
    return isList(a) && isList(b) && a.length === b.length && a.every((v, i) => areAlike(v, b[i] as TemplateValue));
  return haveNamed(a, b, areAlike);
}

type Named = Readonly<Record<string, TemplateValue>>;
/** True when both have the same names, and of each name values that are equal in that sense. */
function haveNamed(a: Named, b: Named, areEqual: (a: TemplateValue, b: TemplateValue) => boolean): boolean {
  for (const name in a) {
    const other = b[name];
    if (other === undefined || !areEqual(a[name] as TemplateValue, other)) return false;
  }
  for (const name in b) if (a[name] === undefined) return false;
  return true;
}

/** True for equal values. */
function isSame(a: TemplateValue | undefined, b: TemplateValue | undefined): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object') return false;
  if (isList(a) || isList(b))
    return isList(a) && isList(b) && a.length === b.length && a.every((v, i) => isSame(v, b[i]));
  return haveNamed(a, b, isSame);
}

/** The late values in a text, each once. */
function latesIn(text: string | number): string {
  if (typeof text === 'number' || !text.includes(MARK)) return '';
  return [...new Set(text.split(MARK).filter((_, i) => i % 2 === 1))].join();
}

const isList = (value: TemplateValue): value is readonly TemplateValue[] => Array.isArray(value);

/** The names of the late values among pieces, each once. */
function latesOf(pieces: readonly Piece[]): readonly string[] {
  const names = pieces.map((p) =>
    typeof p === 'string' || 'slot' in p ? undefined : ('hole' in p ? p.hole : p.bind).name,
  );
  return [...new Set(names.filter((name) => name !== undefined))];
}

/** Contexts that templates render alike, with the same late values. */
export class Shape {
  /** What templates give, by name. */
  readonly rendered = new Map<string, Shaped>();
  readonly #over: { readonly example: Values; readonly shape: Shape }[] = [];

  /** The shape of contexts with such values over those of this shape. */
  with(own: Values): Shape {
    const known = this.#over.find(({ example }) => haveNamed(own, example, areAlike));
    if (known) return known.shape;
    const shape = new Shape();
    this.#over.push({ example: own, shape });
    return shape;
  }
}

/**
 * What templates read: values by name, over those of another context that they do not name. What many statements
 * share stands once beneath what is their own, so it is made, read and hashed once.
 */
export class Context {
  readonly own: Values;
  readonly shape: Shape;
  readonly under: Context | undefined;
  #pieces: Map<string, readonly Piece[]> | undefined;
  #recent: Context[] | undefined;

  constructor(own: Values, shape: Shape, under?: Context) {
    this.own = own;
    this.shape = shape;
    this.under = under;
  }

  /** These values over those of this context; what it has already is not said again. */
  with(values: Values): Context {
    let isNew = true;
    for (const name in values) isNew &&= !isSame(this.#find(name), values[name]);
    if (isNew) return new Context(values, this.shape.with(values), this);
    const own: Record<string, TemplateValue> = {};
    for (const name in values) if (!isSame(this.#find(name), values[name])) own[name] = values[name] as TemplateValue;
    return new Context(own, this.shape.with(own), this);
  }

  /** The same, as one context for all that give the same values. */
  sharing(values: Values): Context {
    this.#recent ??= [];
    const known = this.#recent.find(({ own }) => isSame(own, values));
    if (known) return known;
    const made = new Context(values, this.shape.with(values), this);
    // Values that hardly two syncs have in common are not looked for among all of them.
    if (this.#recent.push(made) > 16) this.#recent.shift();
    return made;
  }

  /** The value of that name, which must be there. */
  get(name: string): TemplateValue {
    const value = this.#find(name);
    if (value === undefined) throw new Error(`there is no value ${name}`);
    return value;
  }

  #find(name: string): TemplateValue | undefined {
    if (Object.hasOwn(this.own, name)) return this.own[name];
    return this.under === undefined ? undefined : this.under.#find(name);
  }

  all(): Values {
    return { ...this.under?.all(), ...this.own };
  }

  /** What stands at a path; a text that holds late values is read into pieces once. */
  at([name = '', ...path]: readonly string[]): string | readonly Piece[] {
    let found: unknown = this.get(name);
    for (const key of path) found = (found as Readonly<Record<string, unknown>>)[key];
    const text = String(found);
    if (!text.includes(MARK)) return text;
    this.#pieces ??= new Map();
    let pieces = this.#pieces.get(text);
    if (!pieces) this.#pieces.set(text, (pieces = toPieces(text)));
    return pieces;
  }
}

function toPieces(text: string): readonly Piece[] {
  return text.split(MARK).flatMap((piece, index): Piece[] => {
    if (index % 2 === 0) return piece === '' ? [] : [piece];
    const [kind, name = ''] = piece.split(':');
    if (kind !== 'hole' && kind !== 'bind') return [{ slot: name.split('.') }];
    const late: Late = { name, type: LATE[name as LateName] };
    return [kind === 'hole' ? { hole: late } : { bind: late }];
  });
}

export interface Renderer {
  /** A context with nothing beneath it. */
  context(values: Values): Context;
  /** A context that syncs share, made once a key. */
  shared(key: string, values: () => Values): Context;
  /** Renders the template of that name. The context is the template's only root, `s`. */
  render(template: string, context: Context, options?: Options): Rendered;
  /** True where the warehouse has a template of that name. */
  has(template: string): boolean;
  /** What is wrong with templates of the project; what was rendered is of no use then. */
  readonly problems: readonly Diagnostic[];
}

/**
 * @param templates text by path below `templates/`, such as `default/capture.sql.njk`
 * @param overrides the project's templates, by name
 */
export function createRenderer(
  dialect: Dialect,
  templates: Readonly<Record<string, string>>,
  overrides: ReadonlyMap<string, Override> = new Map(),
): Renderer {
  const folders = [dialect.name, ...(dialect.family === undefined ? [] : [dialect.family]), 'default'];
  const loader = {
    async: false as const,
    getSource(name: string) {
      const isBuiltin = name.startsWith(BUILTIN);
      const plain = isBuiltin ? name.slice(BUILTIN.length) : name;
      const override = overrides.get(plain);
      // What a template outside of its parent's blocks says is dropped, so the parent is marked too.
      const marked = (text: string): string => (override ? `${mark('from', plain)}${text}${mark('to', plain)}` : text);
      if (override && !isBuiltin) return { src: marked(override.text), path: override.path, noCache: false };
      for (const folder of folders) {
        const path = `${folder}/${plain}.sql.njk`;
        const src = templates[path];
        if (src !== undefined) return { src: marked(src), path, noCache: false };
      }
      throw new Error(`there is no template ${plain} for ${dialect.name}`);
    },
  };
  const environment = new nunjucks.Environment(loader, OPTIONS);
  const values: Record<string, Sql> = {};
  for (const name of Object.keys(LATE) as LateName[]) values[name] = bound(dialect, name);
  const base = {
    v: values,
    text: dialect.types.text,
    integer: dialect.types.integer,
    now_ms: dialect.nowMs(),
    file_lock: dialect.fileLock,
  };
  const problems: Diagnostic[] = [];
  const root = new Shape();
  const context = (values: Values): Context => new Context(values, root.with(values));
  const sharing = new Map<string, Context>();

  const shapedOf = (template: string, context: Context): Shaped => {
    const { rendered } = context.shape;
    let shaped = rendered.get(template);
    if (!shaped) {
      const s = strict({ ...base, ...(slots(context.all(), '') as Values) }, 's');
      try {
        // A template that cannot be rendered may give nothing instead of throwing.
        const text = (environment.getTemplate(template, true).render({ s }) as string | null) ?? '';
        shaped = shapedFrom(text, context, overrides);
      } catch (error) {
        const problem = renderProblem(error, overrides);
        if (!problem) throw error;
        if (problems.every((p) => p.span?.file !== problem.span?.file)) problems.push(problem);
        shaped = { text: '', pieces: [], lates: [], parts: new Map(), overrides: [] };
      }
      rendered.set(template, shaped);
    }
    return shaped;
  };

  return {
    problems,
    context,
    shared(key, values) {
      let made = sharing.get(key);
      if (!made) sharing.set(key, (made = context(values())));
      return made;
    },
    has: (template) => folders.some((folder) => `${folder}/${template}.sql.njk` in templates),
    render(template, context, options = {}) {
      return new Rendered(dialect, shapedOf(template, context), context, options);
    },
  };
}

/** What a template gives for one shape of context. */
interface Shaped {
  readonly text: string;
  readonly pieces: readonly Piece[];
  /** The names of its late values, those that stand in values of the context included. */
  readonly lates: readonly string[];
  /** What templates of the project gave, by their names. */
  readonly parts: ReadonlyMap<string, readonly Piece[]>;
  /** Their names. */
  readonly overrides: readonly string[];
}

const mark = (side: 'from' | 'to', name: string): string => `${MARK}${side}:${name}${MARK}`;

/** Takes the marks of the project's templates out of what was rendered, and what stands between them. */
function shapedFrom(rendered: string, context: Context, overrides: ReadonlyMap<string, Override>): Shaped {
  let text = rendered;
  const raw = new Map<string, string>();
  const unmarked = (marked: string): string => {
    let plain = marked;
    for (const name of overrides.keys())
      plain = plain.replaceAll(mark('from', name), '').replaceAll(mark('to', name), '');
    return plain;
  };
  for (const name of overrides.keys()) {
    const [from, to] = [text.indexOf(mark('from', name)), text.lastIndexOf(mark('to', name))];
    if (from >= 0) raw.set(name, unmarked(text.slice(from, to)));
  }
  text = unmarked(text).trimEnd() + '\n';
  const pieces = toPieces(text);
  if (overrides.size > 0 && (text.split(MARK).length % 2 === 0 || !pieces.every((p) => isKnown(p, context.all())))) {
    const names = [...raw.keys()].map((name) => `(${overrides.get(name)?.path ?? ''})`).join(' ');
    throw new Error(`${names}\na filter changes a value, and values are sealed: templates place them, no more`);
  }
  const lates = latesOf(
    pieces.flatMap((p) => {
      const value = typeof p !== 'string' && 'slot' in p ? context.at(p.slot) : [p];
      return typeof value === 'string' ? [] : value;
    }),
  );
  const parts = new Map([...raw].map(([name, part]) => [name, toPieces(part)]));
  return { text, pieces, lates, parts, overrides: [...raw.keys()] };
}

/** False for what is left of a marker that a template took apart. */
function isKnown(piece: Piece, context: Values): boolean {
  if (typeof piece === 'string') return true;
  if (!('slot' in piece)) return Object.hasOwn(LATE, ('hole' in piece ? piece.hole : piece.bind).name);
  let found: unknown = context;
  for (const key of piece.slot) {
    if (found === null || typeof found !== 'object' || !Object.hasOwn(found, key)) return false;
    found = (found as Readonly<Record<string, unknown>>)[key];
  }
  return true;
}

/** Statements by folder and name; lowering adds to them. */
export class Statements {
  readonly folders = new Map<string, Map<string, Rendered>>();

  /** @returns its file */
  add(folder: string, name: string, statement: Rendered): string {
    let known = this.folders.get(folder);
    if (!known) this.folders.set(folder, (known = new Map<string, Rendered>()));
    known.set(name, statement);
    return `${folder}/${name}.sql`;
  }

  get(file: string): Rendered | undefined {
    const end = file.indexOf('/');
    return this.folders.get(file.slice(0, end))?.get(file.slice(end + 1, -'.sql'.length));
  }

  byFile(): Readonly<Record<string, Rendered>> {
    const files: Record<string, Rendered> = {};
    for (const [folder, all] of this.folders)
      for (const [name, statement] of all) files[`${folder}/${name}.sql`] = statement;
    return files;
  }
}

/** A statement whose text is made when it is first read: most commands read few of a project's statements. */
export class Rendered implements Statement {
  readonly #dialect: Dialect;
  readonly #shaped: Shaped;
  readonly #context: Context;
  readonly returns?: Late[];
  readonly expect?: Expect;
  readonly failure?: string;
  readonly repeatable: boolean;
  #filled: Pick<Statement, 'sql' | 'binds'> | undefined;

  constructor(dialect: Dialect, shaped: Shaped, context: Context, options: Options) {
    this.#dialect = dialect;
    this.#shaped = shaped;
    this.#context = context;
    if (options.returns) this.returns = options.returns;
    if (options.expect) this.expect = options.expect;
    if (options.failure !== undefined) this.failure = options.failure;
    this.repeatable = options.repeatable ?? true;
  }

  get sql(): Statement['sql'] {
    return this.#fill().sql;
  }

  get binds(): Statement['binds'] {
    return this.#fill().binds;
  }

  /** The templates of the project that took part, by name. */
  get overrides(): readonly string[] {
    return this.#shaped.overrides;
  }

  /** What a template of the project gave: its part of the text, for this context. */
  partOf(override: string): string {
    const { sql } = fill(this.#dialect, this.#shaped.parts.get(override) ?? [], this.#context);
    return statementText(sql);
  }

  /** What the text is made of, and what the runtime does with it: two statements that differ differ here. */
  get origin() {
    return { template: this.#shaped.text, context: this.#context };
  }

  /** The names of its late values. */
  get lates(): readonly string[] {
    return this.#shaped.lates;
  }

  toJSON(): Statement {
    const { returns, expect, failure, repeatable } = this;
    return {
      ...this.#fill(),
      ...(returns && { returns }),
      ...(expect && { expect }),
      ...(failure !== undefined && { failure }),
      repeatable,
    };
  }

  #fill(): Pick<Statement, 'sql' | 'binds'> {
    return (this.#filled ??= fill(this.#dialect, this.#shaped.pieces, this.#context));
  }
}

function fill(dialect: Dialect, pieces: readonly Piece[], context: Context): Pick<Statement, 'sql' | 'binds'> {
  const sql: (string | Late)[] = [];
  const binds: Late[] = [];
  let text: string[] = [];
  const end = (): void => {
    if (text.length > 0) sql.push(text.join(''));
    text = [];
  };
  const add = (piece: Piece): void => {
    if (typeof piece === 'string') text.push(piece);
    else if ('slot' in piece) {
      const value = context.at(piece.slot);
      if (typeof value === 'string') text.push(value);
      else value.forEach(add);
    } else if ('hole' in piece) {
      end();
      const { type } = piece.hole;
      const item = type === 'ranges' ? (context.get(`${piece.hole.name}_item`) as readonly Sql[]) : undefined;
      sql.push(item === undefined ? piece.hole : { ...piece.hole, item: [...item] });
    } else {
      let position = binds.findIndex((b) => b.name === piece.bind.name);
      if (position < 0) position = binds.push(piece.bind) - 1;
      text.push(dialect.bind(piece.bind.name, position + 1));
    }
  };
  pieces.forEach(add);
  end();
  return { sql, binds };
}

/** A statement as people review it: holes as `${name}`, ranges with what one of them looks like, binds as the driver takes them. */
export function statementText(sql: Statement['sql']): string {
  const said = ({ name, item }: Late): string =>
    item === undefined ? name : `${name}: ${item.slice(0, 3).join('…')}${item[3] ?? ''}…`;
  return sql.map((part) => (typeof part === 'string' ? part : `\${${said(part)}}`)).join('');
}
