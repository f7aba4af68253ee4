import { createHash } from 'node:crypto';
import nunjucks from 'nunjucks';
import type { Late, Statement } from '../schemas/types.ts';
import type { Dialect, Sql } from './dialects/dialect.ts';
import { sql } from './dialects/dialect.ts';

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
  watermark_from: 'text',
  watermark_to: 'text',
} as const satisfies Record<string, Late['type']>;
export type LateName = keyof typeof LATE;

/*
 * While a template renders, a hole is a marker between two NULs. No warehouse accepts a NUL in an identifier or a
 * text, and the parser refuses it in every file, so nothing from outside can look like one. The statement that
 * leaves this file is an array of text and holes.
 */
const MARK = '\u0000';
/** A late value inlined into the text, where SQL cannot bind. */
export const hole = (name: LateName): Sql => sql(`${MARK}hole:${name}${MARK}`);
/** A late value bound by the driver, inside a cast. */
export const bound = (dialect: Dialect, name: LateName): Sql =>
  sql(`cast(${MARK}bind:${name}${MARK} as ${dialect.types[LATE[name] === 'integer' ? 'integer' : 'text']})`);

export type TemplateValue =
  Sql | boolean | number | readonly TemplateValue[] | { readonly [name: string]: TemplateValue };

/** A typo in a template must fail, also inside an `if`. */
function strict(values: Readonly<Record<string, TemplateValue>>, path: string): unknown {
  return new Proxy(values, {
    get(target, key) {
      if (typeof key !== 'string') return undefined;
      const value = target[key];
      if (value === undefined) throw new Error(`the template asks for ${path}.${key}, which does not exist`);
      return value;
    },
  });
}

export interface Renderer {
  /** Renders the template of that name. The context is the template's only root, `s`. */
  render(
    template: string,
    context: Readonly<Record<string, TemplateValue>>,
    options?: Pick<Statement, 'returns' | 'expect'> & { readonly repeatable?: boolean },
  ): Statement;
}

/**
 * @param templates text by path below `templates/`, such as `default/capture.sql.njk`
 */
export function createRenderer(dialect: Dialect, templates: Readonly<Record<string, string>>): Renderer {
  const loader = {
    async: false as const,
    getSource(name: string) {
      for (const folder of [dialect.name, 'default']) {
        const path = `${folder}/${name}.sql.njk`;
        const src = templates[path];
        if (src !== undefined) return { src, path, noCache: false };
      }
      throw new Error(`no template ${name} for ${dialect.name}`);
    },
  };
  const environment = new nunjucks.Environment(loader, {
    autoescape: false,
    throwOnUndefined: true,
    trimBlocks: true,
    lstripBlocks: true,
  });
  const compiled = new Map<string, nunjucks.Template>();
  const values: Record<string, Sql> = {};
  for (const name of Object.keys(LATE) as LateName[]) values[name] = bound(dialect, name);
  const base = {
    v: values,
    text: dialect.types.text,
    integer: dialect.types.integer,
    now_ms: dialect.nowMs(),
    file_lock: dialect.fileLock,
  };

  return {
    render(template, context, options = {}) {
      let ready = compiled.get(template);
      if (!ready) {
        ready = environment.getTemplate(template, true);
        compiled.set(template, ready);
      }
      const text = ready.render({ s: strict({ ...base, ...context }, 's') }).trimEnd() + '\n';
      return toStatement(dialect, text, options);
    },
  };
}

function toStatement(
  dialect: Dialect,
  text: string,
  options: Pick<Statement, 'returns' | 'expect'> & { readonly repeatable?: boolean },
): Statement {
  const parts: (string | Late)[] = [''];
  const binds: Late[] = [];
  const push = (piece: string): void => {
    const last = parts.length - 1;
    if (typeof parts[last] === 'string') parts[last] += piece;
    else parts.push(piece);
  };
  text.split(MARK).forEach((piece, index) => {
    if (index % 2 === 0) return push(piece);
    const [kind, name] = piece.split(':') as ['hole' | 'bind', LateName];
    const late: Late = { name, type: LATE[name] };
    if (kind === 'hole') return void parts.push(late);
    let position = binds.findIndex((b) => b.name === name);
    if (position < 0) position = binds.push(late) - 1;
    push(dialect.bind(name, position + 1));
  });
  const content = parts.filter((p) => p !== '');
  return {
    sql: content,
    binds,
    sha256: createHash('sha256').update(JSON.stringify(content)).digest('hex'),
    ...(options.returns ? { returns: options.returns } : {}),
    ...(options.expect ? { expect: options.expect } : {}),
    repeatable: options.repeatable ?? true,
  };
}

/** A statement as people review it: holes as `${name}`, binds as the driver takes them. */
export function statementText(statement: Statement): string {
  return statement.sql.map((part) => (typeof part === 'string' ? part : `\${${part.name}}`)).join('');
}
