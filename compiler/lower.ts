import type { Expect, Late, SqlStep, Statement, SyncPlan } from '../schemas/types.ts';
import type { Column, Dialect, Sql } from './dialects/dialect.ts';
import { sql } from './dialects/dialect.ts';
import { joined, mapEvents } from './mapping/events.ts';
import type { ResolvedSync } from './project/resolve.ts';
import type { LateName, Renderer, TemplateValue } from './render.ts';
import { LATE, bound, hole } from './render.ts';

/** Version of the staging tables' layout. A newer one in the warehouse is refused. */
export const LAYOUT = 1;
/** Limits of one delivered batch: Mixpanel takes 2,000 records and 10 MB a request (documentation: Import Events). */
export const BATCH_RECORDS = 2000;
/** Bytes in a batch before its last record; with that record (at most 1 MB) a batch stays within 8 MB. */
export const BATCH_BYTES = 7_000_000;

export interface Place {
  readonly project: string;
  readonly target: string;
  readonly staging: string;
  readonly limits: { readonly records: number; readonly bytes: number };
}

/** Statements by file; lowering adds to them. */
type Statements = Record<string, Statement>;

const late = (name: LateName): Late => ({ name, type: LATE[name] });
const step = (run: readonly string[], atomic = false): SqlStep => ({ kind: 'sql', run: [...run], atomic });
const LEASE_LOST: Expect = { affected: 1, otherwise: 'lease-lost' };
const none = (
  otherwise: 'check-failed' | 'guard' | 'columns-drifted' | 'accounts-differ',
  message: string,
  guard?: string,
): Expect => ({
  rows: 0,
  otherwise,
  message,
  ...(guard === undefined ? {} : { guard }),
});

/** Steps and statements that every sync of a target shares. */
export function lowerShared(dialect: Dialect, renderer: Renderer, place: Place, statements: Statements) {
  const context = { staging: dialect.ident(place.staging), runs: dialect.relation([place.staging, 'runs']) };
  const add = (name: string): string => {
    const file = `shared/${name}.sql`;
    statements[file] = renderer.render(name, context);
    return file;
  };
  return { setup: [step([add('create_schema'), add('create_runs')])], runs: add('runs') };
}

/** Kind × mode × strategy → the steps of one sync, with its statements rendered. */
export function lowerSync(
  dialect: Dialect,
  renderer: Renderer,
  place: Place,
  sync: ResolvedSync,
  statements: Statements,
): SyncPlan {
  const typed: readonly Column[] = sync.columns.map((c) => ({ ...c, type: dialect.logicalType(c.native) ?? 'text' }));
  const mapped = new Set([sync.time, sync.userId, sync.insertTime, 'column' in sync.event ? sync.event.column : null]);
  const properties = typed.filter((c) => !mapped.has(c.name));
  const mirror = sync.mode === 'mirror';
  const name = (suffix: string): Sql => dialect.relation([place.staging, `${sync.name}__${suffix}`]);
  const outboxName = dialect
    .ident(`${sync.name}__outbox_0`)
    .replace(/0(.)$/, (_, quote: string) => hole('run') + quote);
  const bind = (n: LateName): Sql => bound(dialect, n);

  const known = mapEvents(dialect, sync, typed, properties, { idSpace: bind('id_space'), epoch: bind('epoch') });
  const first = mapEvents(dialect, sync, typed, properties, { idSpace: dialect.text(sync.name), epoch: sql('0') });
  const checksum = dialect.checksum(typed);
  const key = sync.key
    ? keyOf(dialect, typed, sync.key)
    : sql(
        `r.syncline_checksum || ':' || cast(row_number() over (partition by r.syncline_checksum) as ${dialect.types.text})`,
      );
  const ledgerColumns = [
    { name: sql('row_key'), type: dialect.types.text },
    { name: sql('row_checksum'), type: dialect.types.text },
    ...known.identity.map((c) => ({ name: sql(c.name), type: dialect.types[c.type] })),
    { name: sql('insert_id'), type: dialect.types.text },
  ];
  const insertTime = typed.find((c) => c.name === sync.insertTime);
  const watermark = insertTime && { ...dialect.watermark(insertTime), column: dialect.ident(insertTime.name) };

  const base: Record<string, TemplateValue> = {
    sync: dialect.text(sync.name),
    project: dialect.text(place.project),
    target: dialect.text(place.target),
    id_space: dialect.text(sync.name),
    layout: LAYOUT,
    source_text: dialect.text(sync.relation.join('.')),
    state: name('state'),
    ledger: name('ledger'),
    rejects: name('rejects'),
    runs: dialect.relation([place.staging, 'runs']),
    outbox: sql(`${dialect.ident(place.staging)}.${outboxName}`),
    source: dialect.relation(sync.relation),
    checksum,
    key,
    mirror,
    ledger_columns: ledgerColumns,
    identity_names: sql(known.identity.map((c) => c.name).join(', ')),
    identity_nulls: sql(known.identity.map(() => 'null').join(', ')),
    payload_bytes: dialect.bytes(sql('j.payload')),
    batch_records: place.limits.records,
    batch_bytes: place.limits.bytes,
    lines: dialect.lines(sql('payload'), sql('ordinal')),
    refusals: dialect.refusals(bind('refusals')),
    positions: sql(
      `(select b.ordinal, row_number() over (order by b.ordinal) as position from ${dialect.ident(place.staging)}.${outboxName} as b where b.batch = ${bind('batch')})`,
    ),
    shown_image: sql(
      `i.change in ('insert', 'update') and i.reason is null and (i.outcome is null or (i.outcome = 'maybe' and (i.old_insert_id is null or i.old_insert_id = i.insert_id or (d.row_key is not null and d.outcome is null))))`,
    ),
    columns_query: dialect.columns(sync.relation),
    locked: typed.map((c) => ({ name: dialect.text(c.name), native: dialect.text(c.native) })),
    state_exists: dialect.tableExists(place.staging, dialect.text(`${sync.name}__state`)),
    ledger_exists: dialect.tableExists(place.staging, dialect.text(`${sync.name}__ledger`)),
    runs_exists: dialect.tableExists(place.staging, sql("'runs'")),
    ...(watermark
      ? {
          insert_time: watermark.column,
          watermark: { toText: watermark.toText, now: watermark.now },
          watermark_from: watermark.fromText(bind('watermark_from')),
          watermark_to: watermark.fromText(bind('watermark_to')),
        }
      : {}),
  };
  const mapping = (m: typeof known) => ({
    identity: m.identity.map((c) => ({ name: sql(c.name), type: dialect.types[c.type], sql: c.sql })),
    insert_id: m.insertId,
    image_payload: m.imagePayload,
    tombstone_payload: m.tombstonePayload,
    rules: m.rules,
    clock_reasons: m.clockReasons,
  });
  const later = { ...base, ...mapping(known), initial: false };
  const initial = { ...base, ...mapping(first), initial: true };

  const add = (
    statement: string,
    options: Parameters<Renderer['render']>[2] & { template?: string; context?: Record<string, TemplateValue> } = {},
  ): string => {
    const file = `${sync.name}/${statement}.sql`;
    statements[file] = renderer.render(options.template ?? statement, options.context ?? later, options);
    return file;
  };
  const table = (statement: string, relation: Sql, columns: TemplateValue, repeatable = false): string =>
    add(statement, { template: 'create_table', context: { table: relation, columns }, repeatable });

  const text = dialect.types.text;
  const integer = dialect.types.integer;
  const identityColumns = known.identity.map((c) => ({ name: sql(c.name), type: dialect.types[c.type] }));
  const columns = (names: string, type: Sql) => names.split(' ').map((n) => ({ name: sql(n), type }));
  const stateColumns = [
    ...columns('version', integer),
    ...columns('holder', text),
    ...columns('lease_until quiet_until', integer),
    ...columns('phase', text),
    ...columns('run', integer),
    ...columns('baseline pending', text),
    ...columns('next_batch', integer),
    ...columns('id_space', text),
    ...columns('epoch layout', integer),
    ...columns('project target mixpanel source names', text),
  ];
  const rejectColumns = [
    ...columns('row_key insert_id kind change reason row_checksum', text),
    ...identityColumns,
    ...columns('shown run', integer),
  ];
  const outboxColumns = [
    ...columns('batch ordinal', integer),
    ...columns('row_change change row_key row_checksum', text),
    ...identityColumns,
    ...columns('insert_id old_insert_id payload reason outcome outcome_reason', text),
  ];

  const checkColumns = add('check_columns', {
    expect: none(
      'columns-drifted',
      'The source no longer has the columns of the lock. Run `syncline lock`, review and compile again.',
    ),
  });
  const checks = [checkColumns];
  if (sync.key) {
    checks.push(
      add('check_null_key', {
        expect: none(
          'check-failed',
          'A key column is NULL. Give every row a key, or remove `key:` so that a row is its content.',
        ),
      }),
    );
    checks.push(
      add('check_twin_keys', {
        expect: none('check-failed', 'A key occurs more than once. Make `key:` unique in the source, or remove it.'),
      }),
    );
  }
  if (mirror) checks.push(...guards(sync, add, later));

  const record = add('run_record');
  return {
    name: sync.name,
    kind: sync.kind,
    mode: sync.mode,
    strategy: mirror ? 'checksum' : 'watermark',
    why: mirror
      ? `${dialect.name} has no change feed that a sync could read, so every row's checksum is compared with the ledger`
      : 'append reads the rows whose insert time lies after the last run',
    source: sync.relation.join('.'),
    tags: [...sync.tags],
    frequency: sync.frequency ?? null,
    mapping: typed.map((c) => ({ column: c.name, checksum: dialect.keyText(c), payload: payloadOf(dialect, c, sync) })),
    columns: typed.map((c) => ({ name: c.name, native: c.native })),
    discover: add('columns'),
    state: {
      exists: add('state_exists'),
      owner: add('state_owner'),
      read: add('state_read'),
      lease: add('state_lease', { expect: { affected: 1, otherwise: 'lease-held' }, repeatable: false }),
      renew: add('state_renew', { expect: LEASE_LOST }),
      release: add('state_release', { expect: LEASE_LOST }),
      unlock: add('state_unlock', { expect: { affected: 1, otherwise: 'lease-held' }, repeatable: false }),
      forget: add('state_forget', { expect: LEASE_LOST }),
      settle: add('state_settle', { expect: LEASE_LOST }),
    },
    setup: [
      step(
        [
          table('create_state', name('state'), stateColumns),
          ...(mirror ? [table('create_ledger', name('ledger'), ledgerColumns)] : []),
          table('create_rejects', name('rejects'), rejectColumns),
          add('state_insert'),
        ],
        true,
      ),
    ],
    probe: [
      step([
        checkColumns,
        ...(watermark ? [add('probe', { template: 'probe_watermark', returns: [late('watermark_to')] })] : []),
      ]),
    ],
    capture: {
      fill: [
        step([table('create_outbox', base['outbox'] as Sql, outboxColumns), add('capture', { repeatable: false })]),
      ],
      totals: add('totals'),
      checks: [step(checks)],
      flip: add('state_flip', { expect: LEASE_LOST, repeatable: false }),
    },
    deliver: {
      kind: 'deliver',
      endpoint: 'import',
      pages: add('deliver_pages'),
      restart: add('deliver_restart'),
      outcome: add('deliver_outcome', { context: later }),
      checkpoint: add('checkpoint', { expect: LEASE_LOST }),
    },
    commit: [
      step(
        [
          add('check_accounts', {
            expect: none(
              'accounts-differ',
              'Accepted, refused and invalid records do not add up to the captured ones. Nothing was recorded; please report this.',
            ),
          }),
          ...(mirror ? [add('ledger_remove'), add('ledger_insert'), add('ledger_unknown')] : []),
          add('rejects_remove'),
          add('rejects_insert'),
          record,
          add('state_commit', { expect: LEASE_LOST, repeatable: false }),
        ],
        true,
      ),
    ],
    cleanup: [step([add('drop_outbox')])],
    record: { write: record, read: add('run_read') },
    preview: {
      initial: add('preview_initial', { template: 'preview', context: initial }),
      changes: add('preview'),
    },
    show: add('show', { context: initial }),
    rejects: add('rejects'),
    reset: [
      step(
        [
          ...(mirror
            ? [add('reset_ledger', { template: 'reset_table', context: { ...later, table: name('ledger') } })]
            : []),
          add('reset_rejects', { template: 'reset_table', context: { ...later, table: name('rejects') } }),
          add('reset_state', { expect: LEASE_LOST }),
        ],
        true,
      ),
    ],
  };
}

function guards(
  sync: ResolvedSync,
  add: (statement: string, options: { context: Record<string, TemplateValue>; expect: Expect }) => string,
  context: Record<string, TemplateValue>,
): string[] {
  const files: string[] = [];
  const { maxDeletes, maxChanges, onEmptySource } = sync.guard;
  const message = (guard: string): string =>
    `The guard ${guard} stopped this run before anything was sent. Check the source; raise the guard if the change is meant.`;
  if (maxDeletes) {
    const limit = 'rows' in maxDeletes ? sql(String(maxDeletes.rows)) : sql(`l.shown * ${maxDeletes.percent} / 100.0`);
    files.push(
      add('check_max_deletes', {
        context: { ...context, limit },
        expect: none('guard', message('max_deletes'), 'max_deletes'),
      }),
    );
  }
  if (maxChanges !== null)
    files.push(
      add('check_max_changes', {
        context: { ...context, limit: maxChanges },
        expect: none('guard', message('max_changes'), 'max_changes'),
      }),
    );
  if (onEmptySource === 'fail')
    files.push(
      add('check_empty_source', { context, expect: none('guard', message('on_empty_source'), 'on_empty_source') }),
    );
  return files;
}

function keyOf(dialect: Dialect, columns: readonly Column[], key: readonly string[]): Sql {
  const parts = key.map((name) => {
    const column = columns.find((c) => c.name === name);
    if (!column) throw new Error(`key column ${name} was not checked against the lock`);
    return dialect.keyText(column);
  });
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  // A list with a null in it is no key: the check for null keys must see it.
  const anyNull = parts.map((p) => `${p} is null`).join(' or ');
  return sql(`case when ${anyNull} then null else ${joined(dialect, parts)} end`);
}

/** How a column reaches Mixpanel, for the comparison of mappings: its role decides, not only its type. */
function payloadOf(dialect: Dialect, column: Column, sync: ResolvedSync): string {
  const roles = [
    column.name === sync.time ? `time: ${dialect.epochMs(column)}` : null,
    'column' in sync.event && column.name === sync.event.column ? 'event' : null,
    column.name === sync.userId ? 'user_id' : null,
    column.name === sync.insertTime ? 'insert_time' : null,
  ].filter((role) => role !== null);
  return roles.length > 0 ? roles.join(', ') : dialect.jsonValue(column);
}
