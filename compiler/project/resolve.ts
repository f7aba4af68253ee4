import type { MixpanelSettings, Project, Sync, Target, WarehouseSettings } from '../../schemas/types.ts';
import { VERSION } from '../../schemas/version.ts';
import type { Diagnostic, Span } from '../diagnostics.ts';
import { diagnostic } from '../diagnostics.ts';
import type { Parsed, Path, Source } from './parse.ts';

export interface ResolvedProject {
  readonly name: string;
  readonly target: ResolvedTarget;
  readonly syncs: readonly ResolvedSync[];
}

export interface ResolvedTarget {
  readonly name: string;
  readonly protected: boolean;
  readonly warehouse: { readonly type: 'duckdb'; readonly staging: string };
  /** As written, with env_var not rendered: compile never reads the environment. */
  readonly raw: Target;
  readonly vars: Readonly<Record<string, string>>;
}

export interface ResolvedSync {
  readonly name: string;
  readonly kind: 'events';
  readonly mode: 'mirror' | 'append';
  readonly relation: readonly string[];
  readonly file: string;
  readonly event: { readonly literal: string } | { readonly column: string };
  readonly time: string;
  readonly userId: string | null;
  readonly key: readonly string[] | null;
  readonly insertTime: string | null;
  readonly guard: {
    readonly maxDeletes: { readonly rows: number } | { readonly percent: number } | null;
    readonly maxChanges: number | null;
    readonly onEmptySource: 'fail' | 'allow';
  };
  readonly tags: readonly string[];
  readonly frequency: string | null;
  /** Columns of the lock, in order; empty until the lock is joined. */
  readonly columns: readonly { readonly name: string; readonly native: string }[];
  readonly locate: (path: Path, what?: 'key' | 'value') => Span;
}

type Vars = Readonly<Record<string, string>>;

const EXPRESSION = /\{\{(.*?)\}\}/gs;
const CALL = /^\s*(var|env_var)\(\s*(['"])([^'"]*)\2\s*(?:,\s*(['"])([^'"]*)\4\s*)?\)\s*$/;

/** Replaces `{{ var('x') }}` and, where an environment is given, `{{ env_var('X', 'default') }}`. */
function expand(
  text: string,
  vars: Vars,
  env: Readonly<Record<string, string | undefined>> | 'keep' | 'refuse',
  at: { readonly key: string; readonly span?: Span },
  into: Diagnostic[],
): string {
  return text.replace(EXPRESSION, (whole, inner: string) => {
    const call = CALL.exec(inner);
    const span = at.span;
    if (!call) {
      into.push(diagnostic('expression-invalid', { text: whole }, span));
      return whole;
    }
    const [, kind, , name = '', , fallback] = call;
    if (kind === 'var') {
      const value = vars[name] ?? fallback;
      if (value === undefined) into.push(diagnostic('var-unset', { name }, span));
      return value ?? whole;
    }
    if (env === 'keep') return whole;
    if (env === 'refuse') {
      into.push(diagnostic('env-var-here', { key: at.key }, span));
      return whole;
    }
    const value = env[name] ?? fallback;
    if (value === undefined) into.push(diagnostic('env-var-unset', { name, key: at.key }, span));
    return value ?? whole;
  });
}

function expandAll<T>(value: T, each: (text: string, path: Path) => string, path: Path = []): T {
  if (typeof value === 'string') return (value.includes('{{') ? each(value, path) : value) as T;
  if (Array.isArray(value)) return value.map((v, i) => expandAll(v as unknown, each, [...path, i])) as T;
  if (value !== null && typeof value === 'object')
    return Object.fromEntries(
      Object.entries(value).map(([k, v]) => [k, expandAll(v as unknown, each, [...path, k])]),
    ) as T;
  return value;
}

const strings = (vars: Readonly<Record<string, unknown>> | undefined): Vars =>
  Object.fromEntries(Object.entries(vars ?? {}).map(([k, v]) => [k, String(v)]));

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

const satisfies = (wanted: string): boolean => {
  const found = /^>=\s*(\d+)\.(\d+)(?:\.(\d+))?$/.exec(wanted.trim());
  if (!found) return wanted.trim() === VERSION;
  const numbers = (parts: readonly (string | undefined)[]): number[] => parts.map((p) => Number(p ?? 0));
  const [a, b] = [numbers(VERSION.split('.')), numbers(found.slice(1))];
  for (let i = 0; i < 3; i++) if (a[i] !== b[i]) return (a[i] ?? 0) > (b[i] ?? 0);
  return true;
};

/** Target and variables applied; no optional field is left. */
export function resolve(
  parsed: Parsed,
  options: { readonly target?: string; readonly vars?: Vars },
  into: Diagnostic[],
): ResolvedProject | undefined {
  if (!parsed.project) return undefined;
  const { value, locate } = parsed.project;
  if (value.require_syncline !== undefined && !satisfies(value.require_syncline))
    into.push(
      diagnostic('version-unsupported', { wants: value.require_syncline, is: VERSION }, locate(['require_syncline'])),
    );
  const target = resolveTarget(value, locate, options, into);
  if (!target) return undefined;
  const syncs = parsed.syncs
    .map((s) => resolveSync(s.source, s.path, s.value, target.vars, into))
    .filter((s) => s !== undefined);
  return { name: value.name, target, syncs };
}

function resolveTarget(
  project: Project,
  locate: Source<Project>['locate'],
  options: { readonly target?: string; readonly vars?: Vars },
  into: Diagnostic[],
): ResolvedTarget | undefined {
  const name = options.target ?? project.default_target;
  if (name === undefined) return void into.push(diagnostic('target-missing', {}, locate([])));
  const raw = Object.hasOwn(project.targets, name) ? project.targets[name] : undefined;
  if (!raw)
    return void into.push(
      diagnostic(
        'target-not-found',
        { name, known: Object.keys(project.targets) },
        options.target === undefined ? locate(['default_target']) : undefined,
      ),
    );
  const vars = { ...strings(project.vars), ...strings(raw.vars), ...options.vars };
  const staging = expandAll(raw.warehouse.staging ?? 'mixpanel', (text) =>
    expand(text, vars, 'refuse', { key: 'staging', span: locate(['targets', name, 'warehouse', 'staging']) }, into),
  );
  return { name, protected: raw.protected ?? false, warehouse: { type: raw.warehouse.type, staging }, raw, vars };
}

function resolveSync(
  source: Source<unknown>,
  path: Path,
  raw: Sync,
  vars: Vars,
  into: Diagnostic[],
): ResolvedSync | undefined {
  const locate = (at: Path, what?: 'key' | 'value'): Span => source.locate([...path, ...at], what);
  const sync = expandAll(raw, (text, at) =>
    expand(text, vars, 'refuse', { key: String(at.at(-1)), span: locate(at) }, into),
  );
  const relation = parseRelation(sync.source.relation);
  if (!relation)
    return void into.push(
      diagnostic('bad-relation', { relation: sync.source.relation }, locate(['source', 'relation'])),
    );
  const deletes = sync.guard?.max_deletes;
  return {
    name: sync.name,
    kind: sync.kind,
    mode: sync.mode,
    relation,
    file: source.file,
    event: typeof sync.event === 'string' ? { literal: sync.event } : { column: sync.event.column },
    time: sync.time,
    userId: sync.user_id ?? null,
    key: sync.key === undefined ? null : typeof sync.key === 'string' ? [sync.key] : sync.key,
    insertTime: sync.insert_time ?? null,
    guard: {
      maxDeletes:
        deletes === undefined
          ? null
          : typeof deletes === 'number'
            ? { rows: deletes }
            : { percent: Number(deletes.slice(0, -1)) },
      maxChanges: sync.guard?.max_changes ?? null,
      onEmptySource: sync.guard?.on_empty_source ?? 'allow',
    },
    tags: sync.tags ?? [],
    frequency: sync.frequency ?? null,
    columns: [],
    locate,
  };
}

export interface Connection {
  readonly warehouse: WarehouseSettings;
  readonly mixpanel: 'sandbox' | MixpanelConnection;
  readonly leaseTtlMs: number;
}

export interface MixpanelConnection {
  readonly host?: string;
  readonly region?: MixpanelSettings['region'];
  readonly projectId?: string;
  readonly token?: string;
  readonly serviceAccount?: { readonly username: string; readonly secret: string };
  readonly retry: { readonly initialMs: number; readonly maxMs: number; readonly attempts: number };
  readonly requestTimeoutMs: number;
  readonly rateLimit: { readonly eventsPerSecond: number; readonly bytesPerMinute: number };
}

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
};

function quantity(text: string | number | undefined, fallback: number, key: string, into: Diagnostic[]): number {
  if (text === undefined) return fallback;
  const found = typeof text === 'number' ? null : /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|B|KB|MB|GB)$/.exec(text.trim());
  const value = typeof text === 'number' ? text : Number(found?.[1]) * (UNITS[found?.[2] ?? ''] ?? Number.NaN);
  if (Number.isFinite(value) && value > 0) return value;
  into.push(diagnostic('wrong-value', { text: `\`${key}\` must look like 60s, 2m or 2GB` }));
  return fallback;
}

/** The settings to connect with. Only the CLI calls it: the environment is a parameter. */
export function renderConnection(
  target: ResolvedTarget,
  env: Readonly<Record<string, string | undefined>>,
): { readonly value: Connection; readonly diagnostics: readonly Diagnostic[] } {
  const into: Diagnostic[] = [];
  const raw = expandAll(target.raw, (text, at) => expand(text, target.vars, env, { key: at.join('.') }, into));
  const m = raw.mixpanel;
  const mixpanel: Connection['mixpanel'] =
    m === 'sandbox'
      ? m
      : {
          ...(m.host === undefined ? {} : { host: m.host.replace(/\/+$/, '') }),
          ...(m.region === undefined ? {} : { region: m.region }),
          ...(m.project_id === undefined ? {} : { projectId: String(m.project_id) }),
          ...(m.token === undefined ? {} : { token: m.token }),
          ...(m.service_account === undefined ? {} : { serviceAccount: m.service_account }),
          retry: {
            initialMs: quantity(m.retry?.initial, 2000, 'retry.initial', into),
            maxMs: quantity(m.retry?.max, 60_000, 'retry.max', into),
            attempts: m.retry?.attempts ?? 10,
          },
          requestTimeoutMs: quantity(m.request_timeout, 30_000, 'request_timeout', into),
          rateLimit: {
            eventsPerSecond: m.rate_limit?.events_per_second ?? 30_000,
            bytesPerMinute: quantity(m.rate_limit?.bytes_per_minute, 2e9, 'rate_limit.bytes_per_minute', into),
          },
        };
  const leaseTtlMs = quantity(raw.lease?.ttl, 60_000, 'lease.ttl', into);
  return { value: { warehouse: raw.warehouse, mixpanel, leaseTtlMs }, diagnostics: into };
}
