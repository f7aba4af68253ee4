import { createHash } from 'node:crypto';
import type { Late, Plan, Statement } from '../schemas/types.ts';
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

/** No text can look like a hole: NUL is refused in every file. */
const partText = (part: string | Late): string => (typeof part === 'string' ? part : `\u0000${part.name}\u0000`);
const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Names the plan by its content: every statement's text and what the runtime does with it. */
export function withHash(plan: Omit<Plan, 'hash'>): Plan {
  const hash = createHash('sha256').update(JSON.stringify({ ...plan, statements: {} }));
  let chunk = '';
  for (const file in plan.statements) {
    const { sql, binds, returns, expect, failure, repeatable } = plan.statements[file] as Statement;
    chunk += `\u0000${file}\u0000${JSON.stringify([binds, returns, expect, failure, repeatable])}\u0000`;
    for (const part of sql) chunk += partText(part);
    if (chunk.length < 65536) continue;
    hash.update(chunk);
    chunk = '';
  }
  hash.update(chunk);
  return { ...plan, hash: hash.digest('hex') };
}

/**
 * The compiled folder: text by path. Each statement is a file; plan.json names it by its digest, so that a review
 * shows a change of SQL once.
 */
export function compiledFiles(plan: Plan): Readonly<Record<string, string>> {
  const files: Record<string, string> = {};
  const statements: Record<string, unknown> = {};
  for (const [file, { sql, ...rest }] of Object.entries(plan.statements)) {
    files[file] = statementText({ sql, ...rest });
    statements[file] = { ...rest, sha256: digest(JSON.stringify(sql)) };
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
  'resend',
  'old_checksum',
  'old_key',
];
/** What `pending` keeps for the commit of a run, also of a resumed one. */
const PENDING = ['watermark_to'];

/**
 * Proves that each late value of each statement is given by the run, by the state or by an earlier step.
 * @returns one sentence a violation
 */
export function lint(plan: Plan): string[] {
  const problems: string[] = [];
  const check = (sync: { readonly name: string }, file: string, given: ReadonlySet<string>): void => {
    const statement = plan.statements[file];
    if (!statement) return void problems.push(`${sync.name}: statement ${file} does not exist`);
    const names = [...statement.binds, ...statement.sql.filter((p) => typeof p !== 'string')].map((l) => l.name);
    for (const name of new Set(names))
      if (!given.has(name)) problems.push(`${file} uses ${name}, which nothing before it gives`);
    for (const result of statement.returns ?? []) (given as Set<string>).add(result.name);
  };
  for (const sync of plan.syncs) {
    const run = new Set([...RUN, ...STATE, ...ALLOWED]);
    for (const s of sync.probe) for (const file of s.run) check(sync, file, run);
    for (const s of [...sync.capture.fill, ...sync.capture.checks]) for (const file of s.run) check(sync, file, run);
    const plus = (names: readonly string[]): Set<string> => new Set([...run, ...names]);
    check(sync, sync.capture.totals, plus(['next_batch']));
    check(sync, sync.preview.changes, run);
    check(sync, sync.capture.flip, plus(['pending']));
    check(sync, sync.state.settle, plus(['pending']));
    check(sync, sync.state.forget, plus(['names']));
    check(sync, sync.deliver.pages, plus(['batch_from', 'batch_to']));
    check(sync, sync.deliver.restart, plus(['next_batch']));
    check(sync, sync.deliver.outcome, plus(['batch', 'outcome', 'refusals']));
    check(sync, sync.deliver.checkpoint, plus(['next_batch']));
    const bare = new Set(RUN);
    for (const s of sync.commit) for (const file of s.run) check(sync, file, new Set([...RUN, ...PENDING]));
    for (const s of [...sync.cleanup, ...sync.reset]) for (const file of s.run) check(sync, file, bare);
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
