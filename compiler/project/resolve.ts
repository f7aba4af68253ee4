import type { Defaults, MixpanelSettings, Sync, Target, WarehouseSettings } from '../../schemas/types.ts';
import type { Diagnostic } from '../diagnostics.ts';
import { diagnostic } from '../diagnostics.ts';
import type { Layer } from './defaults.ts';
import { checkLayers, layersOf, withDefaults } from './defaults.ts';
import type { Expanded, Vars } from './expressions.ts';
import { expand } from './expressions.ts';
import type { Locate, Parsed, Path, Source } from './parse.ts';
import { isRecord } from './parse.ts';
import { quantityProblem, toBytes, toMilliseconds } from './quantities.ts';
import { isControl } from './text.ts';
import { OF_PROFILE, withoutProfile } from './profiled.ts';
import { validate } from './validate.ts';

export { renderConnection } from './connection.ts';

export interface ResolvedProject {
  readonly name: string;
  readonly target: ResolvedTarget;
  readonly syncs: readonly ResolvedSync[];
  /** `defaults:`, which the syncs have taken already. */
  readonly defaults: readonly Layer[];
  /** Where a path stands in syncline.yml. */
  readonly locate: Locate;
}

export interface ResolvedTarget {
  readonly name: string;
  readonly protected: boolean;
  readonly warehouse: {
    readonly type: WarehouseSettings['type'];
    readonly staging: string;
    /** Of a gigabyte that leaves the warehouse. */
    readonly egressPrice: number | null;
    /** Where the sources are, in the warehouse's word for it; null where the target does not say it. */
    readonly location: string | null;
    /** Whom `setup` gives rights, which ones, and who makes the sources anew; null where nobody is named. */
    readonly grants: {
      readonly to: string;
      readonly scope: 'table' | 'schema';
      readonly creator: string | null;
      /** The project that jobs run in, where there is such a thing and the target names it. */
      readonly project: string | null;
    } | null;
    /** What one statement may take. */
    readonly statementTimeoutMs: number | null;
    /** With `env_var` not rendered: compile never reads the environment. So are the next two. */
    readonly connection: WarehouseSettings;
  };
  readonly mixpanel: 'sandbox' | MixpanelSettings;
  readonly lease: NonNullable<Target['lease']>;
  /** Where a path below the target stands in syncline.yml. */
  readonly locate: Locate;
}

export type Kind = Sync['kind'];
export type Mode = Sync['mode'];

export interface ResolvedSync {
  readonly name: string;
  readonly kind: Kind;
  readonly mode: Mode;
  /** False: checked, but neither compiled nor run. */
  readonly enabled: boolean;
  readonly strategy: 'snapshot' | 'checksum' | 'watermark' | 'all';
  /** True where the strategy is chosen here, and not declared. */
  readonly isAuto: boolean;
  readonly relation: readonly string[];
  /** A condition over the source's columns, in the warehouse's SQL. */
  readonly where: string | null;
  readonly file: string;
  /** Events only, as are the next four. */
  readonly event: { readonly literal: string } | { readonly column: string } | null;
  readonly time: string | null;
  readonly deviceId: string | null;
  readonly key: readonly string[] | null;
  /** Zone of naive timestamps. */
  readonly timezone: string | null;
  /** The user of an event, or the id of a user profile. */
  readonly userId: string | null;
  /** Group profiles: Mixpanel's name of the group, and the column with the id. */
  readonly groupKey: string | null;
  readonly groupId: string | null;
  /** Lookup tables: the column with the join key, and Mixpanel's id of the table. */
  readonly id: string | null;
  readonly lookupTableId: string | null;
  readonly insertTime: string | null;
  readonly lateWindowMs: number | null;
  readonly history: { readonly startTime: string; readonly endTime: string | null } | null;
  readonly jsonProperties: string | null;
  readonly properties: {
    readonly exclude: readonly string[];
    readonly rename: Readonly<Record<string, string>>;
    readonly types: Readonly<Record<string, 'string' | 'json'>>;
    readonly case: 'lower' | 'upper' | null;
  };
  readonly onDelete: NonNullable<Sync['on_delete']>;
  readonly onNewColumn: 'ignore' | 'fail';
  readonly guard: {
    /** Null: the default of ten percent and at least a hundred rows. */
    readonly maxDeletes: { readonly rows: number } | { readonly percent: number } | null;
    readonly maxChanges: number | null;
    readonly maxRejects: number | null;
    readonly onEmptySource: 'fail' | 'allow';
  };
  readonly decisions: Readonly<Record<string, 'resend' | 'forward'>>;
  readonly initial: 'send' | 'skip';
  /** The name whose tables and ids this sync goes on with. */
  readonly renamedFrom: string | null;
  readonly tags: readonly string[];
  readonly owner: { readonly name: string | null; readonly email: string | null } | null;
  readonly frequency: 'hourly' | 'daily' | 'weekly' | 'api' | null;
  /** What the relation is and how it is partitioned, as the warehouse says; null until the lock is joined, or where nothing depends on it. */
  readonly type: string | null;
  readonly partitioning: string | null;
  /** Columns of the lock, in order; empty until the lock is joined. */
  readonly columns: readonly { readonly name: string; readonly native: string }[];
  /** Keys that the sync or `defaults:` has: a rule judges what was asked for, not what is so without a word. */
  readonly given: ReadonlySet<string>;
  /** Where a path inside the sync stands: in its file, or in syncline.yml when it is a default. */
  readonly locate: Locate;
  /** True for what the sync has from `defaults:`. */
  readonly isDefault: (path: Path) => boolean;
}

export interface ResolveOptions {
  readonly target?: string;
  readonly vars?: Vars;
}

/** What each mode does when no strategy is asked for; a mirror may take `snapshot` besides, see strategy.ts. */
export const STRATEGIES = { mirror: 'checksum', append: 'watermark', full: 'all', one_time: 'all' } as const;

const strings = (vars: unknown): Vars =>
  isRecord(vars) ? Object.fromEntries(Object.entries(vars).map(([k, v]) => [k, String(v)])) : {};

/** Dotted parts, each optionally double-quoted; undefined when it is no relation. */
export function parseRelation(text: string): readonly string[] | undefined {
  const part = /(?:"((?:[^"]|"")+)"|([^".\s]+))/y;
  const parts: string[] = [];
  let at = 0;
  for (;;) {
    part.lastIndex = at;
    const found = part.exec(text);
    if (!found) return undefined;
    parts.push(found[1]?.replaceAll('""', '"') ?? found[2] ?? '');
    at = part.lastIndex;
    if (at === text.length) break;
    if (text[at] !== '.') return undefined;
    at++;
  }
  return parts.length <= 3 ? parts : undefined;
}

/** Target and variables applied; no optional field is left. Undefined when there is no usable target. */
export function resolve(parsed: Parsed, options: ResolveOptions, into: Diagnostic[]): ResolvedProject | undefined {
  if (!parsed.project) return undefined;
  const { value } = parsed.project;
  const vars = { ...strings(isRecord(value) ? value['vars'] : undefined), ...options.vars };
  const project = resolveProject(parsed.project, options, vars, into);
  const scope = { ...vars, ...project?.vars, ...options.vars };
  const layers = project ? layersOf(project.defaults) : [];
  const { locate } = parsed.project;
  checkLayers(layers, locate, (d) => into.push(d));
  const syncs = parsed.syncs.map((s) => resolveSync(s, scope, { layers, locate }, into)).filter((s) => s !== undefined);
  return project && { name: project.name, target: project.target, syncs, defaults: layers, locate };
}

function resolveProject(
  source: Source,
  options: ResolveOptions,
  vars: Vars,
  into: Diagnostic[],
):
  | { readonly name: string; readonly target: ResolvedTarget; readonly vars: Vars; readonly defaults: Defaults }
  | undefined {
  const { locate } = source;
  const { targets, defaults, ...rest } = isRecord(source.value) ? source.value : {};
  const main = expand(rest, { vars, env: 'refuse', locate }, into);
  const top = main.value as Readonly<Record<string, unknown>>;
  const chosen = options.target ?? (typeof top['default_target'] === 'string' ? top['default_target'] : undefined);

  const value: Record<string, unknown> = { ...top };
  const rendered = new Set(main.rendered);
  const open = new Set(main.open);
  const varsOf = (target: unknown): Vars => ({
    ...vars,
    ...strings(isRecord(target) ? target['vars'] : undefined),
    ...options.vars,
  });
  if (defaults !== undefined) {
    const target = isRecord(targets) && chosen !== undefined ? targets[chosen] : undefined;
    const result = expand({ defaults }, { vars: varsOf(target), env: 'refuse', locate }, into);
    Object.assign(value, result.value);
    for (const p of result.rendered) rendered.add(p);
    for (const p of result.open) open.add(p);
  }
  if (isRecord(targets)) {
    const each = Object.entries(targets).map(([name, target]): [string, unknown] => {
      const own = varsOf(target);
      // Other targets may use variables that only their own runs are given.
      const problems = name === chosen ? into : [];
      const at: Locate = (path, what) => locate(['targets', ...path], what);
      const result = expandTarget({ [name]: target }, own, at, problems);
      for (const p of result.rendered) rendered.add(`/targets${p}`);
      for (const p of result.open) open.add(`/targets${p}`);
      return [name, (result.value as Readonly<Record<string, unknown>>)[name]];
    });
    value['targets'] = Object.fromEntries(each);
  } else if (targets !== undefined) value['targets'] = targets;

  // What a profile says is read when connecting; compile needs none of it.
  for (const target of Object.values(isRecord(value['targets']) ? value['targets'] : {}))
    if (isRecord(target) && isRecord(target['warehouse']))
      Object.assign(target, { warehouse: withoutProfile(target['warehouse']) });
  const project = validate(
    'Project',
    { value: isRecord(source.value) ? value : source.value, rendered, open },
    locate,
    into,
  );
  if (!project) return undefined;
  if (chosen === undefined) return void into.push(diagnostic('target-missing', {}, locate([])));
  const target = Object.hasOwn(project.targets, chosen) ? project.targets[chosen] : undefined;
  if (target)
    return {
      name: project.name,
      target: resolveTarget(chosen, target, (path, what) => locate(['targets', chosen, ...path], what), into),
      vars: strings(target.vars),
      // What could not be rendered is reported already.
      defaults: [...open].some((p) => p.startsWith('/defaults/')) ? {} : (project.defaults ?? {}),
    };
  const known = Object.keys(project.targets);
  const span = options.target === undefined ? locate(['default_target']) : undefined;
  return void into.push(diagnostic('target-not-found', { name: chosen, known }, span));
}

/** `env_var` stays as it is where only a connection needs it, and is refused where compile reads. */
function expandTarget(
  target: Readonly<Record<string, unknown>>,
  vars: Vars,
  locate: Locate,
  into: Diagnostic[],
): Expanded {
  const result = expand(target, { vars, env: 'keep', locate }, into);
  for (const pointer of result.kept) {
    const path = pointer.slice(1).split('/');
    const inside = path.slice(1).join('.');
    if (
      /^(vars\..*|protected|warehouse\.(type|staging|grantee|grant_scope|creator|statement_timeout)|mixpanel\.id_management)$/.test(
        inside,
      )
    )
      into.push(diagnostic('env-var-here', { key: inside }, locate(path)));
  }
  return result;
}

function resolveTarget(name: string, target: Target, locate: Locate, into: Diagnostic[]): ResolvedTarget {
  const { warehouse, mixpanel, lease = {} } = target;
  const staging = warehouse.staging ?? 'mixpanel';
  const grants = grantsOf(warehouse);
  for (const [key, name] of [
    ['staging', staging],
    ['grantee', grants?.to ?? ''],
    ['creator', grants?.creator ?? ''],
  ] as const)
    if (isControl(name)) into.push(diagnostic('control-character', { key }, locate(['warehouse', key])));
  const timeout = 'statement_timeout' in warehouse ? warehouse.statement_timeout : undefined;
  const quantities: readonly (readonly [readonly string[], unknown, (text: string | number) => number | undefined])[] =
    [
      [['lease', 'ttl'], lease.ttl, toMilliseconds],
      [['warehouse', 'statement_timeout'], timeout, toMilliseconds],
      ...(mixpanel === 'sandbox'
        ? []
        : ([
            [['mixpanel', 'request_timeout'], mixpanel.request_timeout, toMilliseconds],
            [['mixpanel', 'retry', 'initial'], mixpanel.retry?.initial, toMilliseconds],
            [['mixpanel', 'retry', 'max'], mixpanel.retry?.max, toMilliseconds],
            [['mixpanel', 'rate_limit', 'bytes_per_minute'], mixpanel.rate_limit?.bytes_per_minute, toBytes],
          ] as const)),
    ];
  for (const [path, value, read] of quantities)
    if (
      (typeof value === 'string' || typeof value === 'number') &&
      !String(value).includes('{{') &&
      read(value) === undefined
    )
      into.push(quantityProblem(path, read === toBytes, locate));
  return {
    name,
    protected: target.protected ?? false,
    warehouse: {
      type: warehouse.type,
      staging,
      egressPrice: warehouse.egress_price ?? null,
      location: locationOf(warehouse),
      grants,
      statementTimeoutMs: timeout === undefined ? null : (toMilliseconds(timeout) ?? null),
      connection: warehouse,
    },
    mixpanel,
    lease,
    locate,
  };
}

/** What only the environment says is said when connecting. */
const locationOf = (warehouse: WarehouseSettings): string | null =>
  'location' in warehouse && !warehouse.location.includes('{{') ? warehouse.location : null;

function grantsOf(warehouse: WarehouseSettings): ResolvedTarget['warehouse']['grants'] {
  if (!('grantee' in warehouse)) return null;
  const isNamed = 'project' in warehouse && !warehouse.project.includes('{{') && warehouse.project !== OF_PROFILE;
  const project = isNamed ? warehouse.project : null;
  return {
    to: warehouse.grantee,
    scope: warehouse.grant_scope ?? 'table',
    creator: ('creator' in warehouse ? warehouse.creator : undefined) ?? null,
    project,
  };
}

function resolveSync(
  entry: Source,
  vars: Vars,
  defaults: { readonly layers: readonly Layer[]; readonly locate: Locate },
  into: Diagnostic[],
): ResolvedSync | undefined {
  const expanded = expand(entry.value, { vars, env: 'refuse', locate: entry.locate }, into);
  const own = validate('Sync', expanded, entry.locate, into);
  if (!own || expanded.open.size > 0) return undefined;
  const { sync, locate, isDefault } = withDefaults(own, entry.file, entry.locate, defaults.layers, defaults.locate);
  const relation = parseRelation(sync.source.relation);
  if (!relation)
    return void into.push(
      diagnostic('bad-relation', { relation: sync.source.relation }, locate(['source', 'relation'])),
    );
  const lateWindowMs = sync.late_window === undefined ? null : (toMilliseconds(sync.late_window) ?? null);
  if (sync.late_window !== undefined && lateWindowMs === null && !isDefault(['late_window']))
    into.push(quantityProblem(['late_window'], false, locate));
  return {
    name: sync.name,
    kind: sync.kind,
    mode: sync.mode,
    enabled: sync.enabled ?? true,
    strategy: sync.strategy === undefined || sync.strategy === 'auto' ? STRATEGIES[sync.mode] : sync.strategy,
    relation,
    where: sync.where ?? null,
    file: entry.file,
    event:
      sync.event === undefined
        ? null
        : typeof sync.event === 'string'
          ? { literal: sync.event }
          : { column: sync.event.column },
    time: sync.time ?? null,
    deviceId: sync.device_id ?? null,
    key: sync.key === undefined ? null : typeof sync.key === 'string' ? [sync.key] : sync.key,
    timezone: sync.timezone ?? null,
    userId: sync.user_id ?? null,
    groupKey: sync.group_key ?? null,
    groupId: sync.group_id ?? null,
    id: sync.id ?? null,
    lookupTableId: sync.lookup_table_id ?? null,
    insertTime: sync.insert_time ?? null,
    lateWindowMs,
    history: sync.history ? { startTime: sync.history.start_time, endTime: sync.history.end_time ?? null } : null,
    jsonProperties: sync.json_properties ?? null,
    properties: {
      exclude: sync.properties?.exclude ?? [],
      rename: sync.properties?.rename ?? {},
      types: sync.properties?.types ?? {},
      case: sync.properties?.case ?? null,
    },
    onDelete: sync.on_delete ?? (sync.kind === 'events' ? 'tombstone' : 'unset'),
    onNewColumn: sync.on_new_column ?? 'ignore',
    guard: resolveGuard(sync.guard),
    decisions: sync.decisions ?? {},
    initial: sync.initial ?? 'send',
    renamedFrom: sync.renamed_from ?? null,
    tags: sync.tags ?? [],
    owner: sync.owner ? { name: sync.owner.name ?? null, email: sync.owner.email ?? null } : null,
    frequency: sync.frequency ?? null,
    isAuto: sync.strategy === undefined || sync.strategy === 'auto',
    type: null,
    partitioning: null,
    columns: [],
    given: new Set(Object.keys(sync)),
    locate,
    isDefault,
  };
}

function resolveGuard(guard: Sync['guard']): ResolvedSync['guard'] {
  const deletes = guard?.max_deletes;
  const maxDeletes =
    deletes === undefined
      ? null
      : typeof deletes === 'number'
        ? { rows: deletes }
        : { percent: Number(deletes.slice(0, -1)) };
  return {
    maxDeletes,
    maxChanges: guard?.max_changes ?? null,
    maxRejects: guard?.max_rejects ?? null,
    onEmptySource: guard?.on_empty_source ?? 'fail',
  };
}
