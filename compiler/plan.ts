import { createHash } from 'node:crypto';
import type { Plan } from '../schemas/types.ts';
import type { Rendered, TemplateValue } from './render.ts';
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
export function withHash(
  statements: Readonly<Record<string, Rendered>>,
  plan: Omit<Plan, 'hash' | 'statements'>,
): Plan {
  const hash = createHash('sha256').update(JSON.stringify(plan));
  // Contexts and templates are shared: each is hashed once, and named by its place in that order.
  const numbers = new Map<unknown, number>();
  const numberOf = (thing: unknown, content: () => string): number => {
    let number = numbers.get(thing);
    if (number === undefined) {
      numbers.set(thing, (number = numbers.size));
      hash.update(content());
    }
    return number;
  };
  for (const file in statements) {
    const statement = statements[file] as Rendered;
    const { template, context, shape } = statement.origin;
    const { returns, expect, failure, repeatable } = statement;
    const made = numberOf(template, () => lengthened(template));
    const of = numberOf(context, () => lengthened(shape) + content(context));
    hash.update(lengthened(`${file} ${made} ${of} ${JSON.stringify([returns, expect, failure, repeatable])}`));
  }
  return { ...plan, statements, hash: hash.digest('hex') };
}

/** No two lists of texts give the same. */
const lengthened = (text: string): string => `${text.length}:${text}`;

function content(value: TemplateValue): string {
  if (typeof value !== 'object') return lengthened(String(value));
  let all = '';
  for (const part of Object.values(value)) all += content(part);
  return all;
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
  'retired',
  'retried',
  'old_checksum',
  'old_key',
];
/** What `pending` keeps for the commit of a run, also of a resumed one. */
const PENDING = ['watermark_to', 'adopted'];

/**
 * Proves that each late value of each statement is given by the run, by the state or by an earlier step.
 * @returns one sentence a violation, with its statement
 */
export function lint(plan: Plan, statements: Readonly<Record<string, Rendered>>): { file: string; text: string }[] {
  const problems: { file: string; text: string }[] = [];
  const check = (sync: { readonly name: string }, file: string, given: ReadonlySet<string>): void => {
    const statement = statements[file];
    if (!statement) return void problems.push({ file, text: `${sync.name}: statement ${file} does not exist` });
    for (const name of statement.lates())
      if (!given.has(name)) problems.push({ file, text: `${file} uses ${name}, which nothing before it gives` });
    for (const result of statement.returns ?? []) (given as Set<string>).add(result.name);
  };
  for (const sync of plan.syncs) {
    const run = new Set([...RUN, ...STATE, ...ALLOWED]);
    for (const s of sync.probe) for (const file of s.run) check(sync, file, run);
    for (const s of [...sync.capture.fill, ...sync.capture.checks]) for (const file of s.run) check(sync, file, run);
    const plus = (names: readonly string[]): Set<string> => new Set([...run, ...names]);
    check(sync, sync.capture.totals, plus(['next_batch']));
    check(sync, sync.preview.changes, run);
    check(sync, sync.preview.pending, plus(['next_batch']));
    if (sync.preview.explain !== '') check(sync, sync.preview.explain, run);
    check(sync, sync.capture.flip, plus(['pending']));
    check(sync, sync.state.settle, plus(['pending']));
    check(sync, sync.state.forget, plus(['names']));
    check(sync, sync.deliver.pages, plus(['batch_from', 'batch_to']));
    const bare = new Set(RUN);
    for (const s of sync.destroy.data ?? []) for (const file of s.run) check(sync, file, run);
    for (const s of sync.destroy.drop) for (const file of s.run) check(sync, file, bare);
    if (sync.rename) {
      const { exists, read, outbox, steps, preview } = sync.rename;
      for (const file of [exists, read, ...outbox, ...steps]) check(sync, file, new Set(RUN));
      check(sync, preview.changes, run);
      check(sync, preview.pending, plus(['next_batch']));
    }
    check(sync, sync.deliver.restart, plus(['next_batch']));
    check(sync, sync.deliver.abandon, plus(['next_batch']));
    check(sync, sync.deliver.outcome, plus(['batch', 'outcome', 'refusals', 'more']));
    check(sync, sync.deliver.checkpoint, plus(['next_batch']));
    for (const s of sync.commit) for (const file of s.run) check(sync, file, new Set([...RUN, ...PENDING]));
    for (const s of sync.cleanup) for (const file of s.run) check(sync, file, bare);
    for (const s of sync.reset) for (const file of s.run) check(sync, file, new Set([...RUN, 'new_epoch']));
    for (const file of [
      sync.state.exists,
      sync.state.owner,
      sync.state.read,
      sync.state.lease,
      sync.state.renew,
      sync.state.release,
      sync.state.unlock,
      sync.rejects,
    ])
      check(sync, file, bare);
  }
  for (const sync of plan.direct) {
    const run = new Set(STATE);
    for (const s of sync.probe) for (const file of s.run) check(sync, file, run);
    for (const file of [sync.deliver.read, sync.preview, sync.show]) check(sync, file, run);
  }
  return problems;
}
