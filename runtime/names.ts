import type { Plan, SyncPlan, DirectPlan } from '../schemas/types.ts';
import type { Baseline } from './state.ts';

type Mapping = SyncPlan['mapping'];
type Profiles = Pick<SyncPlan | DirectPlan, 'name' | 'kind' | 'mode' | 'mapping'>;

/** Names of properties that profiles may still have from an earlier mapping, each list as members of a JSON list. */
export interface Retired {
  /** What a resend takes away, and what goes with a profile that is gone. */
  readonly retired: string;
  /** The same, and what a refused `$unset` should have taken away. */
  readonly retried: string;
}

/**
 * Names that were sent earlier and that nothing maps any more. What another sync of the project sends to the same
 * profiles is not among them: a property may move from one sync to another.
 */
export function retiredNames(plan: Pick<Plan, 'syncs' | 'direct'>, sync: Profiles, baseline: Baseline | null): Retired {
  const isProfiles = sync.kind === 'user_profiles' || sync.kind === 'group_profiles';
  if (!isProfiles || !baseline || (sync.mode !== 'mirror' && sync.mode !== 'full')) return { retired: '', retried: '' };
  const others = [...plan.syncs, ...plan.direct].filter(
    (o) => o.name !== sync.name && o.kind === sync.kind && groupKey(o.mapping) === groupKey(sync.mapping),
  );
  const owned = new Set([sync, ...others].flatMap((s) => propertiesOf(s.mapping)));
  const listed = (names: readonly string[]): string =>
    [...new Set(names)]
      .filter((name) => !owned.has(name))
      .map((name) => JSON.stringify(name))
      .join(',');
  const retired = [...parsed(baseline.retired), ...propertiesOf(baseline.mapping)];
  return { retired: listed(retired), retried: listed([...parsed(baseline.retried), ...retired]) };
}

const parsed = (list: string | undefined): readonly string[] => JSON.parse(`[${list ?? ''}]`) as string[];

const groupKey = (mapping: Mapping): string | undefined => mapping.find((m) => m.column === '(group_key)')?.means;

/** The names that a mapping list gives, which stand after the roles of a column. */
const propertiesOf = (mapping: Mapping): readonly string[] =>
  mapping.flatMap(({ means }) => {
    const name = /^(?:[a-z_]+, )*property ("(?:[^"\\]|\\.)*")/.exec(means)?.[1];
    return name === undefined ? [] : [JSON.parse(name) as string];
  });
