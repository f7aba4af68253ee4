import type { Message } from './wasm.ts';
import type { Column } from './googlesql.ts';

/** What a statement does to the catalog. */
export type Effect =
  | { readonly what: 'dataset'; readonly name: readonly string[]; readonly mode: unknown }
  | {
      readonly what: 'create';
      readonly name: readonly string[];
      readonly mode: unknown;
      readonly columns: readonly Column[];
      /** The table whose columns it has. */
      readonly of: string | undefined;
      readonly isSnapshot: boolean;
    }
  | {
      readonly what: 'drop';
      readonly name: readonly string[];
      readonly ifExists: boolean;
      readonly isSnapshot: boolean;
      readonly isSchema: boolean;
    }
  | {
      readonly what: 'alter';
      readonly name: readonly string[];
      readonly ifExists: boolean;
      readonly added: readonly Column[];
      readonly dropped: readonly string[];
    }
  | { readonly what: 'write'; readonly name: readonly string[] };

const only = (message: unknown): [string, Message] =>
  (Object.entries(message ?? {})[0] ?? ['', {}]) as [string, Message];
const nameOf = (message: Message): string[] => (message['name_path'] ?? []) as string[];
const columnOf = (definition: Message): Column => ({
  name: definition['name'] as string,
  type: typeText(definition['type'] as Message),
});

/** What a resolved statement changes of the catalog, or writes to. */
export function effectOf(statement: Message): Effect | undefined {
  const [kind, body] = only(statement);
  switch (kind) {
    case 'resolved_create_statement_node':
      return creation(body);
    case 'resolved_drop_snapshot_table_stmt_node':
    case 'resolved_drop_stmt_node':
      return {
        what: 'drop',
        name: nameOf(body),
        ifExists: body['is_if_exists'] === true,
        isSnapshot: kind === 'resolved_drop_snapshot_table_stmt_node',
        isSchema: body['object_type'] === 'SCHEMA',
      };
    case 'resolved_alter_object_stmt_node':
      return alteration(body);
    case 'resolved_alter_table_set_options_stmt_node':
      return { what: 'alter', name: nameOf(body), ifExists: body['is_if_exists'] === true, added: [], dropped: [] };
    case 'resolved_insert_stmt_node':
    case 'resolved_update_stmt_node':
    case 'resolved_delete_stmt_node':
    case 'resolved_merge_stmt_node':
    case 'resolved_truncate_stmt_node':
      return { what: 'write', name: [scanned(body['table_scan']) ?? ''] };
    default:
      return undefined;
  }
}

function creation(created: Message): Effect | undefined {
  const [kind, inner] = only(created);
  if (kind === 'resolved_create_snapshot_table_stmt_node') {
    const base = inner['parent'] as Message;
    const of = scanned(inner['clone_from']);
    return { what: 'create', name: nameOf(base), mode: base['create_mode'], columns: [], of, isSnapshot: true };
  }
  const [, table] = only(inner);
  const parent = table['parent'] as Message;
  const base = parent['parent'] as Message;
  if (kind === 'resolved_create_schema_stmt_base_node')
    return { what: 'dataset', name: nameOf(base), mode: base['create_mode'] };
  if (kind !== 'resolved_create_table_stmt_base_node') return undefined;
  const definitions = (parent['column_definition_list'] ?? []) as Message[];
  return {
    what: 'create',
    name: nameOf(base),
    mode: base['create_mode'],
    columns: definitions.map(columnOf),
    of: scanned(table['clone_from'] ?? table['copy_from'] ?? parent['like_table']),
    isSnapshot: false,
  };
}

function alteration(altered: Message): Effect | undefined {
  const [kind, table] = only(altered);
  if (kind !== 'resolved_alter_table_stmt_node') return undefined;
  const parent = table['parent'] as Message;
  const actions = ((parent['alter_action_list'] ?? []) as Message[]).map(only);
  return {
    what: 'alter',
    name: nameOf(parent),
    ifExists: parent['is_if_exists'] === true,
    added: actions
      .filter(([action]) => action === 'resolved_add_column_action_node')
      .map(([, action]) => columnOf(action['column_definition'] as Message)),
    dropped: actions
      .filter(([action]) => action === 'resolved_drop_column_action_node')
      .map(([, action]) => action['name'] as string),
  };
}

/** The full name of the table that is read. */
function scanned(scan: unknown): string | undefined {
  if (typeof scan !== 'object' || scan === null) return undefined;
  if ('full_name' in scan && typeof scan.full_name === 'string') return scan.full_name;
  for (const inner of Object.values(scan)) {
    const name = scanned(inner);
    if (name !== undefined) return name;
  }
  return undefined;
}

const typeText = (type: Message): string => {
  const kind = (type['type_kind'] as string).replace('TYPE_', '');
  const element = (holder: string): string => typeText((type[holder] as Message)['element_type'] as Message);
  if (kind === 'ARRAY') return `ARRAY<${element('array_type')}>`;
  if (kind === 'RANGE') return `RANGE<${element('range_type')}>`;
  if (kind === 'STRUCT') {
    const fields = ((type['struct_type'] as Message)['field'] ?? []) as Message[];
    const each = fields.map((field) => {
      const name = (field['field_name'] ?? '') as string;
      return `${name === '' ? '' : `\`${name}\` `}${typeText(field['field_type'] as Message)}`;
    });
    return `STRUCT<${each.join(', ')}>`;
  }
  return kind === 'DOUBLE' ? 'FLOAT64' : kind;
};

/** Everything below a message. */
function* within(message: unknown): Generator<[string, Message]> {
  if (typeof message !== 'object' || message === null) return;
  for (const [key, value] of Object.entries(message)) {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) yield [key, value as Message];
    yield* within(value);
  }
}
const columnsOf = (scan: unknown): ReadonlySet<unknown> => {
  const base = (only(scan)[1]['parent'] ?? {}) as { column_list?: readonly Message[] };
  return new Set((base.column_list ?? []).map((column) => column['column_id']));
};
const refersTo = (expression: unknown): unknown[] =>
  [...within(expression)]
    .filter(([key]) => key === 'resolved_column_ref_node')
    .map(([, reference]) => (reference['column'] as Message)['column_id']);

/**
 * An outer join whose condition has no equality between its sides: GoogleSQL takes it, BigQuery does not (documentation:
 * "cannot be used without a condition that is an equality of fields from both sides of the join").
 */
export function refusedJoin(statement: Message): string | undefined {
  for (const [key, join] of within(statement)) {
    if (key !== 'resolved_join_scan_node' || !['LEFT', 'RIGHT', 'FULL'].includes(join['join_type'] as string)) continue;
    const [left, right] = [columnsOf(join['left_scan']), columnsOf(join['right_scan'])];
    const isFrom = (side: ReadonlySet<unknown>, expression: unknown): boolean => {
      const columns = refersTo(expression);
      return columns.length > 0 && columns.every((column) => side.has(column));
    };
    const hasEquality = [...within({ on: join['join_expr'] })].some(([, call]) => {
      const [a, b] = (call['argument_list'] ?? []) as unknown[];
      const { name = '' } = (call['function'] ?? {}) as { name?: string };
      return (
        name.endsWith('$equal') && ((isFrom(left, a) && isFrom(right, b)) || (isFrom(left, b) && isFrom(right, a)))
      );
    });
    if (!hasEquality)
      return `${join['join_type'] as string} OUTER JOIN cannot be used without a condition that is an equality of fields from both sides of the join`;
  }
  return undefined;
}
