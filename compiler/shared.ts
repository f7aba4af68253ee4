import type { SqlStep } from '../schemas/types.ts';
import type { Dialect, Grantee } from './dialects/dialect.ts';
import { sql } from './dialects/dialect.ts';
import { grantSteps, projectContext } from './grants.ts';
import type { Place } from './lower.ts';
import type { ResolvedSync } from './project/resolve.ts';
import type { Renderer, Statements, Values } from './render.ts';

const steps = (run: readonly string[]): SqlStep => ({ kind: 'sql', run: [...run], atomic: false });

/** Steps and statements that every sync of a target shares. */
export function lowerShared(
  dialect: Dialect,
  renderer: Renderer,
  place: Place,
  syncs: readonly ResolvedSync[],
  statements: Statements,
) {
  const isStaged = place.staging !== 'none';
  const runs = dialect.relation([place.staging, 'runs']);
  const owner = handedTo(dialect, place);
  const grantee = place.grants === null ? undefined : dialect.grantee?.(place.grants.to);
  const adding = (values: Values) => {
    const context = renderer.context(values);
    return (name: string): string => statements.add('shared', name, renderer.render(name, context));
  };
  const add = adding({
    staging: dialect.ident(place.staging),
    runs,
    states: dialect.tablesEnding(place.staging, '__state'),
    all_tables: dialect.tablesEnding(place.staging, ''),
    tables: ['__ledger', '__rejects', '__seen'].map((end) => ({ ending: dialect.tablesEnding(place.staging, end) })),
    ...ownerContext(owner),
    ...(grantee && { grantee: grantee.to }),
    ...projectContext(dialect, place.grants),
    has_location: place.location !== null,
    location: dialect.text(place.location ?? ''),
    table: runs,
    staging_name: dialect.text(place.staging),
    is_staged: isStaged,
    snapshots: syncs.some((s) => s.strategy === 'snapshot'),
    sources: sourcesOf(dialect, syncs),
  });
  return {
    setup: [
      ...grantSteps(dialect, place.grants, syncs, adding),
      ...(isStaged
        ? [
            steps([
              add('create_schema'),
              ...(grantee === undefined || grantee.tables === 'owned' ? [] : [add('grant_staging')]),
              add('create_runs'),
              ...(owner === null ? [] : [add('hand_over')]),
            ]),
          ]
        : []),
    ],
    // With the sources' rights, so that a sync that is added asks for no new one.
    jobs: (place.grants?.project ?? null) !== null && renderer.has('grant_jobs') ? add('grant_jobs') : '',
    privileges: renderer.has('privileges') && syncs.length > 0 ? add('privileges') : '',
    cancel: renderer.has('cancel') ? add('cancel') : '',
    runs: isStaged ? add('runs') : '',
    states: isStaged ? add('states') : '',
  };
}

/** The sources, each once and in order, with the conditions by which the catalogs' `n` and `c` name them. */
function sourcesOf(dialect: Dialect, syncs: readonly ResolvedSync[]) {
  const byName = new Map(syncs.map((s) => [dialect.relation(s.relation), s.relation]));
  return [...byName]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, parts]) => ({
      text: dialect.typed(dialect.text(name)),
      cataloged: dialect.cataloged?.(parts) ?? sql(''),
    }));
}

/** Who gets what setup makes, where that is not who runs it. */
export function handedTo(dialect: Dialect, { grants }: Place): Grantee | null {
  const grantee = grants === null ? undefined : dialect.grantee?.(grants.to);
  return grantee === undefined || grantee.tables === 'inherited' ? null : grantee;
}

export const ownerContext = (owner: Grantee | null) => ({
  owned: owner?.tables === 'owned',
  grantee: owner?.to ?? sql(''),
});
