import { type Effect, effectOf, refusedJoin } from './effects.ts';
import { informationSchema, optionsOf } from './known.ts';
import { engine as newEngine, type Message } from './wasm.ts';

export { missing } from './wasm.ts';

/** A declared column; `pseudo` ones (`_PARTITIONTIME`, `_PARTITIONDATE`) are no part of `select *`. */
export interface Column {
  readonly name: string;
  /** As in DDL: `INT64`, `NUMERIC(10, 2)`, `ARRAY<STRUCT<a INT64, b STRING>>`. */
  readonly type: string;
  readonly pseudo?: boolean;
}
/** Columns by `project.dataset.table`. */
export type Tables = Readonly<Record<string, readonly Column[]>>;

export interface Known {
  readonly tables?: Tables;
  /** Datasets besides those of the tables, as `project.dataset`; `project.region-eu` for views of a region. */
  readonly datasets?: readonly string[];
  /** Types of the named parameters. */
  readonly parameters?: Readonly<Record<string, string>>;
  /** The project of names without one; default: that of the first table or dataset. */
  readonly project?: string;
}

/** Statements checked in order: what one creates, alters or drops, the next ones know or miss. */
export interface Session {
  /** Checks a statement, or some separated by semicolons. @returns the first error with `[at line:column]`, or undefined */
  run(sql: string, parameters?: Readonly<Record<string, string>>): string | undefined;
  /** Checks without changing what is known, and without asking whether what is created or dropped exists. */
  check(sql: string): string | undefined;
  /** What is known now. */
  readonly tables: Tables;
}

export interface GoogleSql {
  session(known: Known): Session;
  /** Checks statements against declared tables. @returns the first error with `[at line:column]`, or undefined */
  analyze(sql: string, tables?: Tables, more?: Omit<Known, 'tables'>): string | undefined;
  /** @returns the value as BigQuery's JSON text (`to_json_string`). @throws with the engine's message */
  evaluate(expression: string): string;
  /**
   * Runs a query over tables, each given as a query without tables (`select 1 as id union all …`).
   * @returns its rows as BigQuery's JSON (INT64 beyond 2^53, NUMERIC with a fraction: strings), in no order. @throws with the engine's message
   */
  evaluateQuery(query: string, tables?: Readonly<Record<string, string>>): Record<string, unknown>[];
}

/** Every way to write a path in backticks: each dot parts identifiers or stands within one. */
function spellings(names: readonly string[]): string[][] {
  const [first, ...rest] = names;
  if (first === undefined) return [];
  if (rest.length === 0) return [[first]];
  return spellings(rest).flatMap((tail) => [
    [first, ...tail],
    [`${first}.${tail[0] ?? ''}`, ...tail.slice(1)],
  ]);
}

interface Node {
  readonly tables: Map<string, Message>;
  readonly catalogs: Map<string, Node>;
}
const node = (): Node => ({ tables: new Map(), catalogs: new Map() });
const asCatalog = (name: string, { tables, catalogs }: Node): Message => ({
  name,
  table: [...tables.values()],
  catalog: [...catalogs].map(([inner, content]) => asCatalog(inner, content)),
});

const OPTION_TARGETS = /^\s*(?:create|alter)\s+(?:or\s+replace\s+)?(snapshot\s+table|schema|table|view)\b/i;

/**
 * GoogleSQL itself, which BigQuery parses and types statements with.
 * @param zone the session's default time zone
 */
export async function googlesql({ zone = 'UTC' }: { zone?: string } = {}): Promise<GoogleSql> {
  const engine = await newEngine();
  const call = engine.call.bind(engine);

  const language = call('GetLanguageOptions', 'local_service.LanguageOptionsRequest', 'LanguageOptionsProto', {
    maximum_features: true,
  });
  const features = new Set(language['enabled_language_features'] as string[]);
  for (const more of ['FEATURE_CREATE_TABLE_CLONE', 'FEATURE_ALTER_COLUMN_SET_DATA_TYPE']) features.add(more);
  const languageOptions = {
    ...language,
    product_mode: 'PRODUCT_EXTERNAL',
    enabled_language_features: [...features],
    // None named: all of them.
    supported_statement_kinds: [],
  };
  const builtins = { builtin_function_options: { language_options: languageOptions } };

  // Types are read by the engine itself, from a cast.
  const types = new Map<string, Message>();
  const typeOf = (text: string): Message => {
    const read = types.get(text);
    if (read !== undefined) return read;
    const { resolved_expression: found } = call(
      'Analyze',
      'local_service.AnalyzeRequest',
      'local_service.AnalyzeResponse',
      {
        options: { language_options: languageOptions, error_message_mode: 'ERROR_MESSAGE_ONE_LINE' },
        simple_catalog: builtins,
        sql_expression: `cast(null as ${text})`,
      },
    );
    const type = findType(found);
    if (type === undefined) throw new Error(`"${text}" is no type of BigQuery`);
    types.set(text, type);
    return type;
  };

  const options = (sql: string, parameters: Readonly<Record<string, string>>): Message => {
    const target = OPTION_TARGETS.exec(sql.replace(/^(?:\s*--[^\n]*\n)*/, ''))?.[1]
      ?.toLowerCase()
      .replace(/\s+/g, ' ');
    const typed = ([name, type]: readonly [string, string]): Message => ({ name, type: typeOf(type) });
    return {
      language_options: languageOptions,
      default_timezone: zone,
      error_message_mode: 'ERROR_MESSAGE_ONE_LINE',
      parameter_mode: 'PARAMETER_NAMED',
      query_parameters: Object.entries(parameters).map(([name, type]) => typed([name.toLowerCase(), type])),
      ddl_pseudo_columns: [typed(['_PARTITIONTIME', 'TIMESTAMP']), typed(['_PARTITIONDATE', 'DATE'])],
      system_variables: [
        ['project_id', 'STRING'],
        ['dataset_id', 'STRING'],
        ['dataset_project_id', 'STRING'],
        ['row_count', 'INT64'],
        ['time_zone', 'STRING'],
        ['query_label', 'STRING'],
        ['session_id', 'STRING'],
      ].map(([name = '', type = '']) => ({ name_path: [name], type: typeOf(type) })),
      allowed_hints_and_options: {
        disallow_unknown_options: true,
        disallow_duplicate_option_names: true,
        option: Object.entries(optionsOf(target)).map(typed),
      },
    };
  };

  const catalogOf = (tables: Tables, datasets: readonly string[], project: string | undefined): Message => {
    const top = node();
    const add = (name: string, columns: readonly Column[]): void => {
      const names = name.split('.');
      const all = spellings(names);
      if (names[0] === project) all.push(...spellings(names.slice(1)));
      for (const spelt of all) {
        let at = top;
        for (const step of spelt.slice(0, -1)) {
          const next = at.catalogs.get(step) ?? node();
          at.catalogs.set(step, next);
          at = next;
        }
        const last = spelt.at(-1) ?? '';
        at.tables.set(last, {
          name: last,
          full_name: name,
          column: columns.map(({ name: column, type, pseudo = false }) => ({
            name: column,
            type: typeOf(type),
            is_pseudo_column: pseudo,
            is_writable_column: !pseudo,
          })),
        });
      }
    };
    for (const [name, columns] of Object.entries(tables)) add(name, columns);
    for (const dataset of datasets)
      for (const [view, columns] of Object.entries(informationSchema(dataset)))
        add(
          `${dataset}.${view}`,
          Object.entries(columns).map(([name, type]) => ({ name, type })),
        );
    return { ...asCatalog('bigquery', top), ...builtins };
  };

  const session = (known: Known): Session => {
    const tables: Record<string, readonly Column[]> = { ...known.tables };
    const datasets = new Set(known.datasets);
    for (const name of Object.keys(tables)) datasets.add(name.split('.').slice(0, 2).join('.'));
    const project = known.project ?? [...datasets][0]?.split('.')[0];
    const snapshots = new Set<string>();
    let registered: { readonly id: string; readonly generation: number } | undefined;
    /** Tables that changed since; registering takes longer than most statements. */
    const changed = new Set<string>();
    const mentionsChanged = (sql: string): boolean => {
      const text = sql.toLowerCase();
      return [...changed].some((name) => text.includes((name.split('.').at(-1) ?? '').toLowerCase()));
    };
    const catalog = (sql: string): string => {
      const isHeld = registered?.generation === engine.generation;
      if (registered !== undefined && isHeld && !mentionsChanged(sql)) return registered.id;
      if (registered !== undefined && isHeld)
        call('UnregisterCatalog', 'local_service.UnregisterRequest', 'local_service.AnalyzeResponse', {
          registered_id: registered.id,
        });
      const { registered_id: id } = call(
        'RegisterCatalog',
        'local_service.RegisterCatalogRequest',
        'local_service.RegisterResponse',
        { simple_catalog: catalogOf(tables, [...datasets], project) },
      );
      registered = { id: id as string, generation: engine.generation };
      changed.clear();
      return registered.id;
    };
    /** @param length the number of parts of a name with its project */
    const full = (names: readonly string[], length: number): string => {
      const parts = names.join('.').split('.');
      return [...(parts.length < length && project !== undefined ? [project] : []), ...parts].join('.');
    };
    const datasetOf = (name: string): string => name.split('.').slice(0, 2).join('.');

    const create = (name: string, effect: Extract<Effect, { what: 'create' }>): void => {
      if (!datasets.has(datasetOf(name))) throw new Error(`Not found: Dataset ${datasetOf(name)}`);
      if (name in tables && effect.mode === 'CREATE_IF_NOT_EXISTS') return;
      if (name in tables && effect.mode !== 'CREATE_OR_REPLACE') throw new Error(`Already Exists: Table ${name}`);
      tables[name] = effect.of === undefined ? effect.columns : (tables[effect.of] ?? []);
      snapshots.delete(name);
      if (effect.isSnapshot) snapshots.add(name);
    };
    const drop = (name: string, effect: Extract<Effect, { what: 'drop' }>): void => {
      if (effect.isSchema) {
        if (!datasets.delete(name) && !effect.ifExists) throw new Error(`Not found: Dataset ${name}`);
        for (const table of Object.keys(tables)) if (datasetOf(table) === name) Reflect.deleteProperty(tables, table);
        return;
      }
      if (name in tables && effect.isSnapshot !== snapshots.has(name))
        throw new Error(`${name} is ${snapshots.has(name) ? 'a' : 'no'} snapshot: it is dropped by another statement`);
      if (!(name in tables) && !effect.ifExists) throw new Error(`Not found: Table ${name}`);
      Reflect.deleteProperty(tables, name);
    };
    /** Takes what a statement changes into account. @throws where BigQuery would refuse it for what there is */
    const follow = (statement: Message): void => {
      const effect = effectOf(statement);
      if (effect === undefined) return;
      const isSchema = effect.what === 'dataset' || (effect.what === 'drop' && effect.isSchema);
      // Only a temporary table has no dataset.
      const isTemporary = effect.what === 'create' && !effect.name.join('.').includes('.');
      const name = isTemporary ? (effect.name[0] ?? '') : full(effect.name, isSchema ? 2 : 3);
      if (effect.what === 'dataset') {
        if (datasets.has(name) && effect.mode !== 'CREATE_IF_NOT_EXISTS')
          throw new Error(`Already Exists: Dataset ${name}`);
        datasets.add(name);
      } else if (isTemporary) tables[name] = effect.columns;
      else if (effect.what === 'create') create(name, effect);
      else if (effect.what === 'drop') drop(name, effect);
      else if (effect.what === 'write') {
        if (snapshots.has(name)) throw new Error(`Cannot run DML against snapshot ${name}`);
        return;
      } else {
        const columns = tables[name];
        if (columns === undefined && effect.ifExists) return;
        if (columns === undefined) throw new Error(`Not found: Table ${name}`);
        tables[name] = [...columns.filter((column) => !effect.dropped.includes(column.name)), ...effect.added];
      }
      changed.add(name);
    };
    const run = (
      sql: string,
      parameters: Readonly<Record<string, string>>,
      isFollowed: boolean,
    ): string | undefined => {
      const input = sql.trimEnd().replace(/;$/, '');
      const size = Buffer.byteLength(input);
      try {
        for (let at = 0; at < size;) {
          const rest = at === 0 ? input : Buffer.from(input).subarray(at).toString();
          const answer = call('Analyze', 'local_service.AnalyzeRequest', 'local_service.AnalyzeResponse', {
            options: options(rest, { ...known.parameters, ...parameters }),
            registered_catalog_id: catalog(rest),
            parse_resume_location: { input, byte_position: at },
          });
          const refused = refusedJoin(answer['resolved_statement'] as Message);
          if (refused !== undefined) return refused;
          if (isFollowed) follow(answer['resolved_statement'] as Message);
          at = Number(answer['resume_byte_position'] ?? size);
        }
      } catch (error) {
        return (error as Error).message;
      } finally {
        for (const name of Object.keys(tables))
          if (!name.includes('.')) {
            Reflect.deleteProperty(tables, name);
            changed.add(name);
          }
      }
      return undefined;
    };
    return { tables, run: (sql, parameters = {}) => run(sql, parameters, true), check: (sql) => run(sql, {}, false) };
  };

  const ask = (sql: string, content: Message): { rows: Message[][]; columns: Message[] } => {
    const answer = call('EvaluateQuery', 'local_service.EvaluateQueryRequest', 'local_service.EvaluateQueryResponse', {
      // A value is wanted of each system variable that is declared.
      options: { ...options(sql, {}), system_variables: [] },
      sql,
      ...content,
    });
    const data = (answer['content'] as Message | undefined)?.['table_data'] as Message | undefined;
    const rows = (data?.['row'] ?? []) as Message[];
    const { columns = [] } = (answer['prepared'] ?? {}) as { columns?: Message[] };
    return { rows: rows.map((row) => row['cell'] as Message[]), columns };
  };

  return {
    session,
    analyze: (sql, tables = {}, more = {}) => session({ tables, ...more }).check(sql),
    evaluate(expression) {
      const { rows } = ask(`select to_json_string(${expression})`, { simple_catalog: builtins });
      return rows[0]?.[0]?.['string_value'] as string;
    },
    evaluateQuery(query, tables = {}) {
      const content: Record<string, Message> = {};
      const table: Message[] = [];
      for (const [name, rows] of Object.entries(tables)) {
        const { rows: data, columns } = ask(rows, { simple_catalog: builtins });
        content[name] = { table_data: { row: data.map((cell) => ({ cell })) } };
        table.push({ name, column: columns.map(({ name: column, type }) => ({ name: column, type })) });
      }
      const { rows } = ask(`select to_json_string(syncline_row) from (${query}\n) as syncline_row`, {
        simple_catalog: { ...builtins, name: 'bigquery', table },
        table_content: content,
      });
      return rows.map((row) => JSON.parse(row[0]?.['string_value'] as string) as Record<string, unknown>);
    },
  };
}

/** The type of a resolved expression: the first one on the way down. */
function findType(found: unknown): Message | undefined {
  if (typeof found !== 'object' || found === null) return undefined;
  if ('type_kind' in found) return found;
  for (const inner of Object.values(found)) {
    const type = findType(inner);
    if (type !== undefined) return type;
  }
  return undefined;
}
