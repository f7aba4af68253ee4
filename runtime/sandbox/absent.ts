import type { Family, Refusal } from './http.ts';
import { refusal } from './http.ts';

/**
 * What Mixpanel documents, or its own clients ask for, and the sandbox does not have: what it is called, and in whose
 * words the refusal is. Sources: Mixpanel OpenAPI files, npm `mixpanel-import`.
 */
const ABSENT: readonly (readonly [path: RegExp, family: Family, what: string])[] = [
  [/^\/flags(\/|$)/, 'app', 'feature flags'],
  [/^\/api\/(query|2\.0)\/jql\b/, 'query', 'JQL'],
  [/^\/api\/(query|2\.0)\/cohorts\b/, 'query', 'cohorts'],
  [/^\/api\/(query|2\.0)\/annotations\b/, 'query', 'annotations'],
  [/^\/api\/(query|2\.0)\/engage\/./, 'query', 'list of profile properties'],
  [/^\/api\/(query|2\.0)\/(insights|funnels|retention|segmentation|events|stream)\b/, 'query', 'reports'],
  [/^\/api\/2\.0\/nessie\b/, 'app', 'data pipelines'],
  [/^\/api\/app\/projects\/[^/]+\/annotations\b/, 'app', 'annotations'],
  [/^\/api\/app\/projects\/[^/]+\/(schemas|data-definitions|data-groups)\b/, 'app', 'Lexicon'],
  [/^\/api\/app\/projects\/[^/]+\/warehouse-sources\b/, 'app', 'Warehouse Connectors'],
  [/^\/api\/app\/.*\bservice-accounts\b/, 'app', 'management of service accounts'],
  [/^\/api\/app\/data-(deletions|retrievals)\b/, 'app', 'GDPR requests'],
  [/^\/settings\//, 'app', 'project settings'],
  [/^\/api\/app\//, 'app', ''],
  [/^\/api\//, 'query', ''],
];

const PRESENT =
  '/import, /track, /engage, /groups, /lookup-tables, /api/2.0/export, /api/query/engage, /api/2.0/engage and /api/app/me';

/** Why there is nothing at this path, 404, and the family in whose words it is said. */
export function absent(path: string): { readonly family: Family; readonly refused: Refusal } {
  const [, family, what] = ABSENT.find(([pattern]) => pattern.test(path)) ?? [undefined, 'strict' as const, ''];
  const lacking = what === '' ? path : `${what} (${path})`;
  return { family, refused: refusal(404, `the sandbox has no ${lacking}; it answers ${PRESENT}`) };
}
