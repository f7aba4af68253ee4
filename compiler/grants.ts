import type { SqlStep } from '../schemas/types.ts';
import type { Dialect, Grantee, Sql } from './dialects/dialect.ts';
import { sql } from './dialects/dialect.ts';
import type { ResolvedProject, ResolvedSync } from './project/resolve.ts';
import type { Values } from './render.ts';

/** Whom the admin SQL gives rights, and which ones. */
export type Grants = NonNullable<ResolvedProject['target']['warehouse']['grants']>;
/** Renders statements that share these values, and names their files. */
type Adding = (values: Values) => (name: string) => string;

const steps = (run: readonly string[], unless?: string): SqlStep => ({
  kind: 'sql',
  run: [...run],
  atomic: false,
  ...(unless === undefined ? {} : { unless }),
});

/** What the statements about rights name: the grantee, the sources and their schemas, each once and in order. */
function contextOf(
  grantee: (name: string) => Grantee,
  dialect: Dialect,
  grants: Grants,
  syncs: readonly ResolvedSync[],
): Values {
  const each = (names: readonly Sql[]) => [...new Set(names)].sort().map((name) => ({ name }));
  const listed = (names: Iterable<string>): Sql => sql([...new Set(names)].sort().join(', '));
  const { made } = grantee(grants.to);
  return {
    grantee: grantee(grants.to).to,
    created: made?.created ?? sql(''),
    found: made?.found ?? sql(''),
    owned: grantee(grants.to).tables === 'owned',
    sources: listed(syncs.map((s) => dialect.relation(s.relation))),
    each_source: [
      ...new Map(syncs.map((s) => [dialect.relation(s.relation), dialect.granted?.(s.type) ?? sql('table')])),
    ]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, what]) => ({ name, what, is_view: what === 'view' })),
    each_schema: each(
      syncs.flatMap(({ relation }) => (relation.length < 2 ? [] : [dialect.relation(relation.slice(0, -1))])),
    ),
    schemas: listed(schemasOf(syncs).map((name) => dialect.ident(name))),
    ...projectContext(dialect, grants),
    creator: grants.creator === null ? sql('') : dialect.ident(grants.creator),
  };
}

/** The project that jobs run in; where only the environment says which one, a person puts it in. */
export const projectContext = (dialect: Dialect, grants: Grants | null) => ({
  has_project: (grants?.project ?? null) !== null,
  job_project: dialect.ident(grants?.project ?? ''),
  job_project_text: dialect.text(grants?.project ?? ''),
});

/** A source that names no schema is found by the path of whoever reads it. */
const schemasOf = (syncs: readonly ResolvedSync[]): readonly string[] =>
  syncs.map((s) => s.relation.at(-2)).filter((name) => name !== undefined);

/** The grantee, and its right to read the sources and nothing else. */
export function grantSteps(
  dialect: Dialect,
  grants: Grants | null,
  syncs: readonly ResolvedSync[],
  adding: Adding,
): readonly SqlStep[] {
  if (grants === null || dialect.grantee === null || syncs.length === 0) return [];
  const add = adding(contextOf(dialect.grantee, dialect, grants, syncs));
  const hasSchemas = schemasOf(syncs).length > 0;
  const isMade = dialect.grantee(grants.to).made !== null;
  return [
    ...(isMade ? [steps([add('create_grantee')], add('grantee_exists'))] : []),
    steps([
      ...(hasSchemas && isMade ? [add('grant_usage')] : []),
      ...(grants.scope === 'table' || !hasSchemas ? [add('grant_sources')] : [add('grant_schemas')]),
      ...(hasSchemas && grants.creator !== null ? [add('grant_future')] : []),
    ]),
  ];
}
