import type { DirectPlan, RunCounts, SyncPlan } from '../../schemas/types.ts';
import type { Due } from '../due.ts';
import { readManifest } from '../manifest.ts';
import { Runner } from '../run.ts';
import { readStateFile } from '../state-file.ts';
import { stateMissing } from '../setup.ts';
import { nearEnd } from '../snapshot.ts';
import type { Baseline } from '../state.ts';
import { toState, verifyState } from '../state.ts';
import { realWorld } from '../world.ts';
import type { Row } from '../warehouses/warehouse.ts';
import type { CommonOptions, Loaded } from './context.ts';
import { dueOfDirect, dueOfStaged, timeOf } from './due.ts';
import { load, manifestFile, openWarehouse, orphansOf, out, stateFile, warnOfOrphans } from './context.ts';
import type { Health, Known } from './health.ts';
import { healthOf } from './health.ts';
import { count, describeCounts } from './report.ts';
import { REJECTS } from './rejects.ts';
import { nextOf } from './reset.ts';

/** `status --output json`, one sync. */
interface Status extends Health {
  readonly sync: string;
  readonly phase: 'idle' | 'sending' | 'not set up';
  readonly holder: string | null;
  /** Until when the lease of a run that may go on lasts, unless it is renewed. */
  readonly runsUntil: string | null;
  readonly version: number | null;
  readonly frequency: string | null;
  readonly due: boolean;
  /** When `apply --due` runs it next; null when it is due, or only asked for. */
  readonly nextDue: string | null;
  /** What a report in Mixpanel filters by. */
  readonly filter: string | null;
  /** Rows that are invalid or were refused, as many as `rejects` shows. */
  readonly rejects: number;
  /** True when it ran, and was reset or set up anew since: the next apply takes the whole table. */
  readonly forgotten: boolean;
  /** With snapshots: when the one that is compared with is dropped, once that is near. */
  readonly expires: string | null;
  /** The name that the state still has, until the next apply. */
  readonly renamedFrom: string | null;
  readonly runs: readonly Row[];
}

/** What the warehouse or the state file says of a sync. */
interface Read {
  readonly shown: Omit<Status, keyof Health>;
  /** Whether a run of it was committed. */
  readonly ran: boolean;
  readonly isSetUp: boolean;
  readonly lost?: Known['lost'];
}

/** Whether each selected sync is well, since when, what to do, and its last runs. */
export async function status(options: CommonOptions & { readonly output?: string }): Promise<number> {
  const loaded = await load(options);
  const manifest = await readManifest(realWorld, manifestFile(loaded.dir, loaded.plan.target));
  const command = commandOf(options);
  const result = (await readAll(loaded, options)).map(({ shown, ran, isSetUp, lost }): Status => {
    const { sync, phase, holder, rejects, runs, runsUntil, forgotten } = shown;
    const finished = runs[0]?.['finished_ms'] ?? null;
    const known = { sync, ran, sending: phase === 'sending', held: holder !== null, rejects, isSetUp, forgotten, lost };
    const runsUntilMs = runsUntil === null ? null : Date.parse(runsUntil);
    return {
      ...shown,
      ...healthOf(
        { ...known, runsUntilMs, finishedMs: finished === null ? null : Number(finished) },
        manifest,
        command,
      ),
    };
  });
  const adopting = new Set(loaded.syncs.filter((s) => s.adopts).map((s) => s.name));
  if (options.output === 'json') out(JSON.stringify(result, null, 2));
  else for (const s of result) out(text(s, Date.now(), adopting.has(s.sync)));
  return 0;
}

async function readAll(loaded: Loaded, options: CommonOptions): Promise<readonly Read[]> {
  const warehouse = await openWarehouse(loaded.dir, loaded.project, { ...options, readOnly: true });
  try {
    const runner = await Runner.open(loaded.plan, warehouse);
    warnOfOrphans(loaded.plan, await orphansOf(runner, loaded));
    const result: Read[] = [];
    for (const sync of loaded.syncs) result.push(await readStaged(runner, loaded, sync));
    for (const sync of loaded.direct) result.push(await readDirect(loaded, sync));
    await runner.close();
    return result;
  } finally {
    await warehouse.close();
  }
}

const filterOf = ({ kind, name }: SyncPlan | DirectPlan): string | null =>
  kind === 'events' ? `syncline_sync = "${name}"` : null;

async function readStaged(runner: Runner, { plan }: Loaded, sync: SyncPlan): Promise<Read> {
  const [found] = await runner.rows(sync.state.exists);
  const has = (name: string): boolean => Number(found?.[name] ?? 0) === 1;
  const former = has('state_exists') ? null : await formerOf(runner, sync);
  const renamedFrom = former?.from ?? null;
  const [row] = has('state_exists') || former ? await runner.rows(former?.read ?? sync.state.read) : [];
  const runs = has('runs_exists') ? await runner.rows(plan.runs) : [];
  const state = row ? toState(row) : null;
  const name = renamedFrom ?? sync.name;
  if (state) verifyState(name, state, { project: plan.project, target: plan.target, mixpanel: state.mixpanel });
  // Who can open a database file has it alone: whoever holds a lease there is dead.
  const isRunning = state?.held === true && !plan.embedded;
  const own = runs.filter((r) => r['sync'] === name).slice(0, 5);
  const ran = state !== null && state.baseline !== null;
  const shown = {
    sync: sync.name,
    phase: state?.phase ?? ('not set up' as const),
    holder: state?.holder ?? null,
    runsUntil: isRunning ? timeOf(state.leaseUntil) : null,
    version: state?.version ?? null,
    ...nextDue(sync, dueOfStaged(sync, renamedFrom === null ? state : null, runs)),
    filter: filterOf(sync),
    rejects: has('state_exists') ? (await runner.rows(sync.rejects)).length : 0,
    expires: nearEnd(sync, state?.baseline == null ? null : (JSON.parse(state.baseline) as Baseline), realWorld.now()),
    renamedFrom,
    forgotten: state?.phase === 'idle' && !ran && own.length > 0,
    runs: own,
  };
  const hasLedger = renamedFrom !== null || sync.mode !== 'mirror' || has('ledger_exists');
  const { code, message } = stateMissing(plan, sync);
  // Without a ledger either, only its runs are on record: so destroy leaves it, and a set-up may begin anew.
  const remedy = has('ledger_exists') ? 'plan' : 'setup --execute';
  const isLost = !state && (own.length > 0 || has('ledger_exists'));
  return { shown, ran, isSetUp: state !== null && hasLedger, ...(isLost ? { lost: { code, message, remedy } } : {}) };
}

/** Where the state of a renamed sync is, as long as nothing was applied. */
async function formerOf(runner: Runner, { rename }: SyncPlan): Promise<SyncPlan['rename']> {
  const [found] = rename ? await runner.rows(rename.exists) : [];
  return Number(found?.['state_exists'] ?? 0) === 1 ? rename : null;
}

async function readDirect({ dir, plan }: Loaded, sync: DirectPlan): Promise<Read> {
  const { project, target } = plan;
  const file = stateFile(dir, target, sync.name);
  const state = await readStateFile(realWorld, file, { project, target, mixpanel: null });
  const shown = {
    sync: sync.name,
    phase: !state ? ('not set up' as const) : state.pending ? ('sending' as const) : ('idle' as const),
    holder: null,
    runsUntil: null,
    version: state?.run ?? null,
    ...nextDue(sync, dueOfDirect(sync, state)),
    filter: filterOf(sync),
    rejects: state?.rejects.length ?? 0,
    expires: null,
    renamedFrom: null,
    forgotten: false,
    runs: [],
  };
  return { shown, ran: state !== undefined && state.baseline !== null, isSetUp: state !== undefined };
}

/** What `apply --due` would do with a sync: run it, or wait until a time; without a time it must be asked for. */
const nextDue = ({ frequency }: SyncPlan | DirectPlan, due: Due) => ({
  frequency,
  due: due.isDue,
  nextDue: due.isDue || due.nextMs === null ? null : timeOf(due.nextMs),
});

/** Commands of the same project and target, to paste. */
function commandOf({ projectDir, target, vars }: CommonOptions): (verb: string, sync: string) => string {
  const quoted = (text: string): string => (/^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const flags = [
    ...(projectDir === '.' ? [] : [`--project-dir ${quoted(projectDir)}`]),
    ...(target === undefined ? [] : [`-t ${quoted(target)}`]),
    ...(vars === undefined ? [] : [`--vars ${quoted(vars)}`]),
  ];
  return (verb, sync) => ['syncline', verb, ...flags, ...(verb === 'doctor' ? [] : ['-s', sync])].join(' ');
}

function text(s: Status, now: number, adopts: boolean): string {
  const said = {
    ok: s.since === null ? 'ok' : `ok, last run ${when(s.since, now)}`,
    running: `running, until ${minute(s.runsUntil ?? '')} unless its lease is renewed`,
    failed: s.since === null ? 'failed' : `failed ${when(s.since, now)}`,
    interrupted: `interrupted${s.phase === 'sending' ? ' while sending' : ' before anything was sent'}${s.since === null ? '' : ` ${when(s.since, now)}`}`,
    'never run': 'never run',
  }[s.status];
  const rejected =
    s.rejects > 0 ? `; ${count(s.rejects, 'record')}${s.rejects === REJECTS ? ' or more' : ''} rejected` : '';
  const forgotten = s.forgotten ? `; forgotten since, by reset or a new set-up. ${nextOf({ adopts })}` : '';
  const next = s.next === null ? '' : `${s.forgotten ? '' : '.'} Next: ${s.next}`;
  const lines = [`${s.sync}: ${said}${rejected}${forgotten}${next}`];
  if (s.error) lines.push(`  ${s.error.code}: ${s.error.message}`);
  if (s.renamedFrom !== null) lines.push(`  its state is that of ${s.renamedFrom} until the next apply renames it`);
  if (s.status === 'running')
    lines.push(`  if its process is dead, \`syncline force-unlock ${s.sync}\` ends its lease now`);
  else if (s.holder !== null) lines.push('  its lease was not released');
  if (s.frequency !== null)
    lines.push(`  ${s.due ? 'due now' : `next due: ${s.nextDue ?? 'never by --due'}`} (frequency: ${s.frequency})`);
  if (s.expires !== null)
    lines.push(
      `  its snapshot is dropped on ${s.expires.slice(0, 10)}: apply before, or the whole table is to be sent again`,
    );
  if (s.filter !== null) lines.push(`  in Mixpanel: filter by ${s.filter}`);
  for (const r of s.runs) {
    const at = minute(new Date(Number(r['finished_ms'])).toISOString());
    lines.push(`  run ${String(r['run'])}, ${at}: ${sent(r as unknown as RunCounts)}`);
  }
  return lines.join('\n');
}

function sent(counts: RunCounts): string {
  const { accepted_inserts, accepted_updates, accepted_deletes, refused, invalid } = counts;
  const any = accepted_inserts + accepted_updates + accepted_deletes + refused + invalid > 0;
  return any ? describeCounts(counts) : 'nothing changed';
}

const minute = (iso: string): string => `${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC`;

/** `18 minutes ago (2026-11-25 14:02 UTC)` */
function when(iso: string | null, now: number): string {
  if (iso === null) return '';
  const minutes = Math.max(0, Math.floor((now - Date.parse(iso)) / 60_000));
  const ago =
    minutes < 1
      ? 'just now'
      : minutes < 60
        ? `${count(minutes, 'minute')} ago`
        : minutes < 48 * 60
          ? `${count(Math.floor(minutes / 60), 'hour')} ago`
          : `${count(Math.floor(minutes / 1440), 'day')} ago`;
  return `${ago} (${minute(iso)})`;
}
