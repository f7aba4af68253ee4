import type { Expect, SyncPlan } from '../schemas/types.ts';
import type { Dialect } from './dialects/dialect.ts';
import { sql } from './dialects/dialect.ts';
import type { Add } from './lower.ts';
import type { Source } from './mapping/wire.ts';
import type { ResolvedSync } from './project/resolve.ts';
import type { Context, LateName, Values } from './render.ts';
import { bound } from './render.ts';

/** The reason of a row that nothing names. */
const UNNAMED = 'id-missing';
/** One lookup table (documentation: Lookup Tables). */
const MAX_LOOKUP_BYTES = 100_000_000;
/** More deletes than this share, and than this many rows, stop a run unless the sync says otherwise. */
const MAX_DELETES = { percent: 10, rows: 100 };

const none = (otherwise: 'check-failed' | 'columns-drifted', message: string): Expect => ({
  rows: 0,
  otherwise,
  message,
});

/** Checks of the source's columns: they cost no scan, so they come before the capture and once more after it. */
export function probeChecks(
  dialect: Dialect,
  sync: ResolvedSync,
  source: Source,
  add: Add,
  context: Context,
): readonly string[] {
  const locked = source.columns.map((c) => ({
    name: dialect.typed(dialect.text(c.name)),
    native: dialect.typed(dialect.text(c.native)),
  }));
  const probe = [
    add('check_columns', {
      context: context.with({
        locked,
        source_missing: dialect.typed(
          dialect.text(`${sync.relation.join('.')} does not exist, or may not be read: check \`relation:\``),
        ),
      }),
      expect: none(
        'columns-drifted',
        'The source is not what the lock says. Restore it, or run `syncline lock`, review and compile again.',
      ),
    }),
  ];
  if (sync.where !== null)
    probe.push(
      add('check_where', {
        failure: 'The warehouse cannot run the condition `where:`. Mend it, compile again and have it reviewed.',
      }),
    );
  if (sync.onNewColumn === 'fail')
    probe.push(
      add('check_new_columns', {
        context: context.with({ all_locked: sync.columns.map((c) => ({ name: dialect.text(c.name) })) }),
        expect: none(
          'columns-drifted',
          'The source has a column that the lock does not have, and `on_new_column` is fail. Run `syncline lock`, review and compile again.',
        ),
      }),
    );
  return probe;
}

/** Deletes that may go through: so many rows, or so large a share of what Mixpanel shows. */
function deletesOf({ mode, onDelete, guard: { maxDeletes } }: ResolvedSync): SyncPlan['guards']['maxDeletes'] {
  if (mode !== 'mirror' || onDelete === 'ignore' || onDelete === 'fail') return null;
  return maxDeletes === null ? MAX_DELETES : { rows: 0, percent: 0, ...maxDeletes };
}

/** The budgets of the checks below, as a preview measures its counts against them. */
export const guardsOf = (sync: ResolvedSync): SyncPlan['guards'] => ({
  maxDeletes: deletesOf(sync),
  maxChanges: sync.guard.maxChanges,
  onEmptySource: sync.guard.onEmptySource === 'fail' && sync.mode === 'mirror' && sync.onDelete !== 'ignore',
});

const allowedOr = (dialect: Dialect, name: LateName, limit: string): string =>
  `coalesce(${bound(dialect, name)}, ${limit})`;

/**
 * What a preview needs besides to say what those of the checks below will say that its counts do not tell: they read
 * what would be captured in place of the outbox.
 */
export function foretold(dialect: Dialect, sync: ResolvedSync, checks: readonly string[]): Values {
  const has = (name: string): boolean => checks.includes(`${sync.name}/check_${name}.sql`);
  return {
    outbox: sql('measured'),
    limit: sql(allowedOr(dialect, 'allow_max_rejects', String(sync.guard.maxRejects ?? 0))),
    max_bytes: MAX_LOOKUP_BYTES,
    bytes: sql('bytes'),
    unnamed: dialect.text(UNNAMED),
    foretells: {
      null_key: has('null_key'),
      twin_keys: has('twin_keys'),
      lookup_size: has('lookup_size'),
      no_deletes: has('no_deletes'),
      max_rejects: has('max_rejects'),
      empty_lookup: sync.kind === 'lookup_table' && has('on_empty_source'),
    },
  };
}

/** What rows must be for Mixpanel to tell them apart and take them, by the statement that finds those that are not. */
export function rowChecks({ kind, mode, key, history }: ResolvedSync): readonly { name: string; message: string }[] {
  const checks: { name: string; message: string }[] = [];
  const isNamed = key !== null || kind !== 'events';
  if (isNamed && (mode === 'mirror' || kind === 'lookup_table' || key !== null))
    checks.push({
      name: 'check_null_key',
      message:
        kind === 'events'
          ? 'A key column is NULL. Give every row a key, or remove `key:` so that a row is its content.'
          : kind === 'lookup_table'
            ? 'A row has no id: Mixpanel takes none that is empty, 0 or false. Give every row an id, or leave such rows out with `where:`.'
            : 'A row has no id. Give every row an id, or leave such rows out with `where:`.',
    });
  if (isNamed && !(mode === 'append' && kind !== 'events' && !history))
    checks.push({
      name: 'check_twin_keys',
      message:
        kind === 'events'
          ? 'A key occurs more than once. Make `key:` unique in the source, or remove it.'
          : history
            ? 'An id has two versions at one time. Give each version a start of its own.'
            : 'An id occurs more than once. Make it unique in the source.',
    });
  if (kind === 'lookup_table')
    checks.push({
      name: 'check_lookup_size',
      message:
        'Mixpanel takes at most 100 MB a lookup table. Send fewer columns or rows: `properties: { exclude: [...] }`, `where:`.',
    });
  return checks;
}

/** What a run must pass before its flip, `probe` once more; each row that a check returns is a violation. */
export function checksOf(
  dialect: Dialect,
  sync: ResolvedSync,
  probe: readonly string[],
  add: Add,
  context: Context,
): readonly string[] {
  const guard = (name: string, limit?: string): string =>
    add(`check_${name}`, {
      context: context.with({ limit: sql(limit ?? '0') }),
      expect: {
        rows: 0,
        otherwise: 'guard',
        message: `The guard ${name} stopped this run before anything was sent. Check the source; if the change is meant, raise the guard, or once: --allow ${sync.name}.${name}${name === 'on_empty_source' ? '' : '=N'}.`,
        guard: name,
      },
    });
  const allowed = (name: LateName, limit: string): string => allowedOr(dialect, name, limit);

  const rows = context.with({
    unnamed: dialect.text(UNNAMED),
    max_bytes: MAX_LOOKUP_BYTES,
    bytes: dialect.bytes(sql('payload')),
  });
  const checks = [
    ...probe,
    ...rowChecks(sync).map(({ name, message }) => add(name, { context: rows, expect: none('check-failed', message) })),
  ];
  const { maxChanges, maxRejects, onEmptySource } = sync.guard;
  const deletes = deletesOf(sync);
  if (deletes)
    checks.push(
      guard(
        'max_deletes',
        allowed('allow_max_deletes', `greatest(l.shown * ${deletes.percent} / 100.0, ${deletes.rows})`),
      ),
    );
  if (sync.mode === 'mirror' && sync.onDelete === 'fail')
    checks.push(
      add('check_no_deletes', {
        expect: none('check-failed', 'Rows vanished from the source, and `on_delete` is fail. Restore them.'),
      }),
    );
  if (maxChanges !== null) checks.push(guard('max_changes', allowed('allow_max_changes', String(maxChanges))));
  if (maxRejects !== null) checks.push(guard('max_rejects', allowed('allow_max_rejects', String(maxRejects))));
  if (onEmptySource === 'fail') {
    if (sync.mode === 'mirror' && sync.onDelete !== 'ignore') checks.push(guard('on_empty_source'));
    if (sync.kind === 'lookup_table' && sync.mode === 'full')
      checks.push(
        add('check_on_empty_source', {
          template: 'check_empty_lookup',
          expect: {
            rows: 0,
            otherwise: 'guard',
            guard: 'on_empty_source',
            message: 'The source of the lookup table is empty, and Mixpanel takes no empty table. Check the source.',
          },
        }),
      );
  }
  return checks;
}
