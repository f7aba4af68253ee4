import type { SqlStep, SyncPlan } from '../schemas/types.ts';
import type { Dialect, Sql } from './dialects/dialect.ts';
import { sql } from './dialects/dialect.ts';
import type { Add } from './lower.ts';
import type { ResolvedSync } from './project/resolve.ts';
import type { Context, TemplateValue } from './render.ts';
import { hole } from './render.ts';

const steps = (run: string[], atomic: boolean): SqlStep[] => [{ kind: 'sql', run, atomic }];
type Table = 'state' | 'ledger' | 'rejects' | 'seen';

/** How a sync's objects go, and what it put into Mixpanel where a ledger knows that. */
export function destroyOf(
  sync: ResolvedSync,
  add: Add,
  context: Context,
  outbox: string,
  analyzed: readonly string[],
): SyncPlan['destroy'] {
  const keeps = whyKept(sync);
  const drop = (name: Table): string =>
    add(`drop_${name}`, { template: 'drop_table', values: { table: context.get(name) } });
  return {
    keeps,
    data:
      keeps === null
        ? steps(
            [
              outbox,
              add('destroy', { template: 'capture', context: nothingOf(context), repeatable: false }),
              ...analyzed,
            ],
            false,
          )
        : null,
    // Whatever its declaration was before. The state is the last: a sync that has one can be destroyed again.
    drop: steps((['ledger', 'rejects', 'seen', 'state'] as const).map(drop), true),
  };
}

/** No row is there any more: everything that Mixpanel shows vanished. */
export function nothingOf(context: Context): Context {
  const nothing = sql(`(select * from ${context.get('source') as Sql} as e where 1 = 0)`);
  return context.with({
    twins: false,
    source: nothing,
    ...(context.get('snapshot') === true ? { compared_source: nothing } : {}),
  });
}

function whyKept({ kind, mode, onDelete }: ResolvedSync): string | null {
  if (kind === 'lookup_table') return 'Mixpanel takes no empty lookup table: delete it in the settings of its project';
  if (mode !== 'mirror') return `mode ${mode} keeps no ledger of what Mixpanel shows: delete it there`;
  return onDelete === 'ignore' ? 'it says `on_delete: ignore`, so nothing of it is ever taken back' : null;
}

/** How a sync takes over the tables of its former name, and how it is previewed until then. */
export function renameOf(
  dialect: Dialect,
  staging: string,
  sync: ResolvedSync,
  tables: readonly Table[],
  { name: from, context, preview }: { readonly name: string; readonly context: Context; readonly preview: Context },
  mayForward: boolean,
  add: Add,
): NonNullable<SyncPlan['rename']> {
  const isMirror = tables.includes('ledger');
  const rename = (name: string, table: TemplateValue, to: Sql): string =>
    add(`rename_${name}`, { template: 'rename_table', values: { from: table, to }, repeatable: false });
  const outbox = dialect
    .ident(`${sync.name}__outbox_0`)
    .replace(/0(.)$/, (_, quote: string) => String(hole('run')) + quote);
  return {
    from,
    exists: add('rename_exists', {
      values: { state_exists: dialect.tableExists(staging, dialect.text(`${from}__state`)) },
    }),
    read: add('rename_read', { template: 'state_read', context }),
    outbox: [
      // An attempt that ended before it made its outbox has none.
      ...(dialect.renamesIfThere
        ? []
        : [add('create_missing', { values: { table: context.get('outbox') }, repeatable: false })]),
      rename('outbox', context.get('outbox'), sql(outbox)),
    ],
    steps: tables.map((t) => rename(t, context.get(t), dialect.ident(`${sync.name}__${t}`))),
    preview: {
      changes: add('rename_preview', { template: 'preview', context: preview }),
      forward: mayForward
        ? add('rename_preview_forward', { template: 'preview', context: preview.with({ forward: true }) })
        : null,
      pending: add('rename_preview_pending', { template: 'preview_pending', context }),
      shown: isMirror ? add('rename_preview_shown', { template: 'preview_shown', context }) : null,
    },
  };
}
