import { createHash } from 'node:crypto';
import type { Plan, SqlStep } from '../schemas/types.ts';
import type { Context, Statements } from './render.ts';
import { statementText } from './render.ts';

/** JSON with sorted keys: same value, same bytes. */
export function stableJson(value: unknown, indent = 0): string {
  return JSON.stringify(sorted(value), null, indent);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(
      Object.entries(value)
        .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
        .map(([k, v]) => [k, sorted(v)]),
    );
  }
  return value;
}

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

/**
 * Names the plan by its content: what every statement is made of and what the runtime does with it. The texts
 * themselves need not be made for that: they are a function of a template and the values of its context.
 */
export function withHash(statements: Statements, plan: Omit<Plan, 'hash' | 'statements'>): Plan {
  const [templates, contexts] = [new Map<string, number>(), new Map<Context, number>()];
  const hash = createHash('sha256');
  // The whole is large, and most of it is of no use afterwards: it is said in pieces of some hundred values.
  let waiting: unknown[] = [plan];
  const say = (...content: readonly unknown[]): void => {
    waiting.push(content);
    if (waiting.length > 500) flush();
  };
  const flush = (): void => {
    hash.update(JSON.stringify(waiting));
    waiting = [];
  };
  // Templates and contexts are shared: each is said where it is first met, and named by its place from there.
  const templateOf = (text: string): number => {
    const known = templates.get(text);
    if (known !== undefined) return known;
    say(text);
    templates.set(text, templates.size);
    return templates.size - 1;
  };
  const contextOf = (context: Context): number => {
    const known = contexts.get(context);
    if (known !== undefined) return known;
    say(context.under ? contextOf(context.under) : null, context.own);
    contexts.set(context, contexts.size);
    return contexts.size - 1;
  };
  for (const [folder, all] of statements.folders) {
    say(folder);
    for (const [name, { origin, returns, expect, failure, repeatable }] of all)
      say(name, templateOf(origin.template), contextOf(origin.context), repeatable, returns, expect, failure);
  }
  flush();
  let record: Plan['statements'] | undefined;
  return {
    ...plan,
    hash: hash.digest('hex'),
    // A dictionary of so many names takes a while, too.
    get statements() {
      return (record ??= statements.byFile());
    },
  };
}

/**
 * The compiled folder: text by path. Each statement is a file; plan.json names it by its digest, so that a review
 * shows a change of SQL once.
 */
export function compiledFiles(plan: Plan): Readonly<Record<string, string>> {
  const files: Record<string, string> = {};
  const statements: Record<string, unknown> = {};
  for (const [file, { sql, binds, returns, expect, failure, repeatable }] of Object.entries(plan.statements)) {
    files[file] = statementText(sql);
    const sha256 = digest(JSON.stringify(sql));
    statements[file] = { binds, returns, expect, failure, repeatable, sha256 };
  }
  return { 'plan.json': stableJson({ ...plan, statements }, 2) + '\n', ...files };
}

/** Late values that the runtime itself gives, by the part of the run that gives them. */
const RUN = ['run', 'version', 'holder', 'ttl_ms', 'quiet_ms', 'mixpanel', 'state_version', 'state_holder'];
const ALLOWED = ['allow_max_deletes', 'allow_max_changes', 'allow_max_rejects', 'allow_on_empty_source'];
const STATE = [
  'id_space',
  'epoch',
  'watermark_from',
  'seen_from',
  'content_from',
  'done',
  'again',
  'backfill',
  'position',
  'resend',
  'remapped',
  'retired',
  'retried',
  'old_checksum',
  'old_key',
  'old_identity',
  'old_where',
  'snapshot_from',
  'partitions',
  'whole',
  'snapshot_was',
];
/** What `pending` keeps for the commit of a run, also of a resumed one. */
const PENDING = ['watermark_to', 'adopted'];

const GIVEN = {
  bare: new Set(RUN),
  run: new Set([...RUN, ...STATE, ...ALLOWED]),
  commit: new Set([...RUN, ...PENDING]),
  reset: new Set([...RUN, 'new_epoch']),
  direct: new Set(STATE),
} as const;

/**
 * Proves that each late value of each statement is given by the run, by the state or by an earlier step.
 * @returns one sentence a violation, with its statement
 */
export function lint(plan: Plan, statements: Statements): { file: string; text: string }[] {
  const problems: { file: string; text: string }[] = [];
  // Statements of one template share the list of their late values.
  const asked = new Map<string, Map<readonly string[], readonly string[]>>();
  const askedFor = (part: keyof typeof GIVEN, lates: readonly string[]): readonly string[] => {
    const known = asked.get(part) ?? new Map<readonly string[], readonly string[]>();
    asked.set(part, known);
    const names = known.get(lates) ?? lates.filter((name) => !GIVEN[part].has(name));
    known.set(lates, names);
    return names;
  };
  const linterOf = ({ name: sync }: { readonly name: string }) => {
    // What statements of the run return, in the run's order.
    const returned: string[] = [];
    const check = (part: keyof typeof GIVEN, file: string, ...more: readonly string[]): void => {
      const statement = statements.get(file);
      if (!statement) return void problems.push({ file, text: `${sync}: statement ${file} does not exist` });
      const isGiven = (name: string): boolean =>
        more.includes(name) || ((part === 'run' || part === 'direct') && returned.includes(name));
      for (const name of askedFor(part, statement.lates))
        if (!isGiven(name)) problems.push({ file, text: `${file} uses ${name}, which nothing before it gives` });
      for (const result of statement.returns ?? []) returned.push(result.name);
    };
    const steps = (part: keyof typeof GIVEN, all: readonly SqlStep[]): void => {
      for (const { run } of all) for (const file of run) check(part, file);
    };
    return { check, steps };
  };
  for (const sync of plan.syncs) {
    const { check, steps } = linterOf(sync);
    steps('run', sync.probe);
    if (sync.snapshot) for (const file of [sync.snapshot.probe, sync.snapshot.modified]) check('run', file);
    steps('run', sync.capture.fill);
    steps('run', sync.capture.checks);
    check('run', sync.capture.totals, 'next_batch');
    check('run', sync.preview.changes);
    check('run', sync.preview.pending, 'next_batch');
    if (sync.preview.explain !== '') check('run', sync.preview.explain);
    check('run', sync.capture.flip, 'pending');
    check('run', sync.state.settle, 'pending');
    check('run', sync.state.forget, 'names');
    check('run', sync.deliver.pages, 'batch_from', 'batch_to');
    steps('run', sync.destroy.data ?? []);
    steps('bare', sync.destroy.drop);
    if (sync.rename) {
      const { exists, read, outbox, steps: renames, preview } = sync.rename;
      for (const file of [exists, read, ...outbox, ...renames]) check('bare', file);
      check('run', preview.changes);
      check('run', preview.pending, 'next_batch');
    }
    if (sync.deliver.hold !== null) check('run', sync.deliver.hold);
    check('run', sync.deliver.restart, 'next_batch');
    check('run', sync.deliver.abandon, 'next_batch');
    check('run', sync.deliver.outcome, 'batch', 'outcome', 'refusals', 'more');
    check('run', sync.deliver.checkpoint, 'next_batch');
    steps('commit', sync.commit);
    steps('bare', sync.cleanup);
    if (sync.snapshot) {
      const { drop, quiet, anew } = sync.snapshot;
      check('bare', drop, 'snapshot_name');
      steps('run', quiet);
      for (const part of [anew.fill, anew.forward, anew.destroy]) steps('run', part ?? []);
      for (const part of [anew.preview, anew.renamed]) if (part) check('run', part.changes);
    }
    steps('reset', sync.reset);
    const { exists, owner, read, lease, renew, release, unlock } = sync.state;
    for (const file of [exists, owner, read, lease, renew, release, unlock, sync.rejects]) check('bare', file);
  }
  for (const sync of plan.direct) {
    const { check, steps } = linterOf(sync);
    steps('direct', sync.probe);
    for (const file of [sync.deliver.read, sync.preview, sync.show]) check('direct', file);
  }
  return problems;
}
