import type { Plan, Preview, PreviewFile, SyncPlan } from '../../schemas/types.ts';
import { isStale } from '../mapping.ts';
import { explained } from './reasons.ts';
import { count, some } from './report.ts';

/** What the CLI adds to a preview. */
export interface Told {
  readonly preview: Preview;
  readonly sync: SyncPlan | undefined;
  /** Statements that templates of the project took part in. */
  readonly overridden: readonly string[];
  /** Statements whose SQL is not what was reviewed; null where nothing was compiled. */
  readonly differing: readonly string[] | null;
  /** Compressed bytes, as a sample compresses; null where they are sent as they are, or nothing is. */
  readonly compressed: number | null;
  /** Price of a gigabyte that leaves the warehouse. */
  readonly egressPrice: number | null;
}

const NO_DELETE =
  'Mixpanel has no per-event delete and does not guarantee that the newest copy wins: updates and tombstones (syncline_deleted) are best effort; only its own connector truly deletes events.';
/** A row of the ledger or the outbox besides its payload: keys, checksum, identity (about; engines compress differently). */
const LEDGER_ROW = 200;
const OUTBOX_ROW = 300;

/** The preview of one sync, as lines. */
export function text(told: Told): string {
  const p = told.preview;
  if (p.undecided) {
    const { hash, what, choices } = p.undecided;
    return [
      `${p.sync}: the mapping changed (${what})`,
      ...before(told),
      ...choices.map((c) => `  ${`decisions: { ${hash}: ${c.decision} }`.padEnd(33)}# ${price(c)}`),
      why(p),
    ].join('\n');
  }
  const lines = [`${p.sync} (${routeOf(p)}): ${headline(p)}`, ...before(told)];
  for (const [reason, n] of Object.entries(p.invalid)) lines.push(`  ${count(n, 'invalid row')}: ${explained(reason)}`);
  if (p.adopted > 0)
    lines.push(`  ${count(p.adopted, 'row')} taken for what Mixpanel shows (initial: skip): nothing is sent for them`);
  if (p.leftOut > 0)
    lines.push(
      `  ${count(p.leftOut, 'row')} with keys in \`json_properties\` whose names are reserved: those keys are left out`,
    );
  if (p.inexact > 0)
    lines.push(
      `  ${count(p.inexact, 'row')} with a number beyond 2^53: Mixpanel keeps the nearest double (\`properties: { types: { column: string } }\` keeps its digits)`,
    );
  for (const reason of stopping(p)) lines.push(`  ${reason}`);
  if (p.expires !== null)
    lines.push(
      `  the snapshot that it is compared with is dropped on ${p.expires.slice(0, 10)}: apply before, or the whole table is to be sent again`,
    );
  if (told.sync && !p.backfill) lines.push(...missed(told.sync).map((line) => `  ${line}`));
  if (p.newColumns.length > 0)
    lines.push(`  new in the source and not sent until \`syncline lock\`: ${p.newColumns.join(', ')}`);
  if (told.overridden.length > 0) lines.push(`  made by templates of this project: ${told.overridden.join(', ')}`);
  if (p.reads) lines.push(...readBy(p.reads, told.sync));
  if (p.records > 0) lines.push(`  ${sizes(told)}`);
  if (told.differing && told.differing.length > 0)
    lines.push(`  SQL that differs from what was reviewed: ${some(told.differing, 8)}`);
  if (p.kind === 'events' && p.updates + p.deletes > 0) lines.push(`  ${NO_DELETE}`);
  lines.push(why(p));
  return lines.join('\n');
}

const why = (p: Preview): string => `  ${p.strategy}: ${p.why}`;

function routeOf({ route, backfill }: Preview): string {
  if (route === 'sending') return 'finishes an interrupted run first; it has still to send';
  if (backfill) return `backfill of ${backfill.from}..${backfill.to}`;
  return route === 'initial' ? 'initial load' : 'changes';
}

/** What becomes of a sync under another name. */
export const renamedFrom = (name: string): string =>
  `renamed from ${name}: state and ids are kept, nothing is resent for it`;

/** What was so before: another name, a run that ended without a word. */
function before({ preview: { renamedFrom: from, unreleased } }: Told): string[] {
  return [
    ...(from === null ? [] : [`  ${renamedFrom(from)}`]),
    ...(unreleased
      ? ['  an earlier run was begun and did not get to sending: it died, or still goes on; apply begins anew']
      : []),
  ];
}

const price = (c: Pick<Preview, 'inserts' | 'updates' | 'deletes' | 'billable'>): string =>
  `${count(c.inserts, 'insert')}, ${count(c.updates, 'update')}, ${count(c.deletes, 'delete')}; ${count(c.billable, 'billable event')}`;

function headline(p: Preview): string {
  // It is replaced as a whole or left alone: single rows are neither inserted nor updated.
  if (p.kind === 'lookup_table') return p.inserts === 0 ? 'nothing to send' : `whole table, ${count(p.inserts, 'row')}`;
  const changes = `${count(p.inserts, 'insert')}, ${count(p.updates, 'update')}, ${count(p.deletes, 'delete')}`;
  return p.billable > 0 || p.kind === 'events' ? `${changes}; ${count(p.billable, 'billable event')}` : changes;
}

/** The guards and checks that would stop apply, each with what to do. */
function stopping(p: Preview): string[] {
  const guards = p.guards
    .filter((g) => g.stops)
    .map((g) =>
      g.name === 'on_empty_source'
        ? `apply will stop: the source is empty and Mixpanel shows ${count(g.value, 'row')} (guard on_empty_source). If that is meant: --allow ${p.sync}.on_empty_source`
        : `apply will stop: ${count(g.value, 'row')} where ${count(Math.floor(g.limit), 'row')} may pass (guard ${g.name}). If that is meant: --allow ${p.sync}.${g.name}=${g.value}`,
    );
  return [...p.refusals.map((r) => `apply will ${r.code === 'guard' ? 'stop' : 'refuse'}: ${r.message}`), ...guards];
}

function sizes({ preview: p, compressed, egressPrice, sync }: Told): string {
  const outbox = p.route === 'sending' || !sync ? 0 : p.bytes + p.records * OUTBOX_ROW;
  const ledger = p.mode === 'mirror' ? p.inserts * LEDGER_ROW : 0;
  const sent = `sends ${bytes(p.bytes)}${compressed === null ? '' : `, about ${bytes(compressed)} compressed`}`;
  const cost =
    egressPrice === null ? '' : ` (egress about ${(((compressed ?? p.bytes) / 1e9) * egressPrice).toFixed(2)})`;
  const stored = [
    ...(outbox > 0 ? [`about ${bytes(outbox)} in the outbox until it is done`] : []),
    ...(ledger > 0 ? [`${bytes(ledger)} more in the ledger`] : []),
  ].join(', ');
  return `${sent}${cost}${stored === '' ? '' : `; ${stored}`}`;
}

const SIZES = [
  ['GB', 1e9],
  ['MB', 1e6],
  ['KB', 1e3],
] as const;

function bytes(n: number): string {
  const [unit, size] = SIZES.find(([, s]) => n >= s) ?? ['B', 1];
  return `${(n / size).toFixed(unit === 'B' || n / size >= 10 ? 0 : 1)} ${unit}`;
}

/** A table of that size is worth its partitions. */
const LARGE_BYTES = 10e9;

function readBy({ rows, bytes: read, whole }: NonNullable<Preview['reads']>, sync: SyncPlan | undefined): string[] {
  const source = sync?.source ?? 'the source';
  const unread = sync?.mode === 'append' ? 'partitions outside its window' : 'partitions that did not change';
  const of =
    whole === null
      ? ''
      : sync?.mode === 'append' && read >= whole
        ? ', all of it'
        : ` of ${bytes(whole)}: ${unread} stay unread`;
  const line = `  reads about ${rows === null ? '' : `${count(rows, 'row')} of `}${source}, ${bytes(read)}${of}, as the warehouse's planner expects`;
  // Only where reading is what is paid for are bytes told and rows are not.
  const isWhole = sync?.mode === 'mirror' && rows === null && read >= LARGE_BYTES && !sync.snapshot?.partitions;
  if (!isWhole) return [line];
  return [
    line,
    `  ${source} is large, and each run reads all of it: with \`strategy: snapshot\`, of a table that is partitioned by day, a run reads the days that changed (of two years of which five days change, one part in 146)`,
  ];
}

/** What an append cannot see: it reads rows by their insert time. */
function missed({ mode, lateWindowMs }: SyncPlan): string[] {
  if (mode !== 'append') return [];
  if (lateWindowMs === null) return ['missed: rows that arrive later with an older or equal insert time'];
  const [unit, ms] = UNITS.find(([, size]) => lateWindowMs % size === 0) ?? ['ms', 1];
  return [
    `missed: rows that arrive with an insert time ${lateWindowMs / ms}${unit} or more older than the newest one sent`,
  ];
}

const UNITS: readonly (readonly [string, number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1000],
];

/** A comment of a pull request may have 65,536 characters (GitHub documentation: REST API, Issue comments). */
const COMMENT = 60_000;
const number = new Intl.NumberFormat('en-US');
const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
const cell = (t: string): string => t.replaceAll('\\', '\\\\').replaceAll('|', '\\|').replace(/\s+/g, ' ');
const html = (t: string): string => t.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
const sum = (invalid: Readonly<Record<string, number>>): number => Object.values(invalid).reduce((a, b) => a + b, 0);

/**
 * All previews as one comment of a pull request; what does not fit is counted.
 * @param unseen syncs of which nothing could be counted, and what belongs to none that is declared
 */
export function markdown(
  head: Pick<Plan, 'project' | 'target' | 'staging'>,
  all: readonly Told[],
  { refused, orphans }: Pick<PreviewFile, 'refused' | 'orphans'>,
): string {
  const loud = all.filter((t) => !isQuiet(t));
  const quiet = all.length - loud.length;
  const table = [
    ...refused.map((r) => row([cell(r.sync), '**apply refuses it**', '', '', '', '', ''])),
    ...loud.map(({ preview: p }) =>
      row([
        cell(p.sync),
        verdictOf(p),
        ...[p.inserts, p.updates, p.deletes, sum(p.invalid), p.billable].map((n) => number.format(n)),
      ]),
    ),
  ];
  const details = [
    ...refused.map((r) => detail(r.sync, `apply will refuse: ${r.message}`)),
    ...loud.map((t) => detail(t.preview.sync, [text(t), ...staleOf(t.preview)].join('\n'))),
  ];
  const title = [
    `### syncline plan: ${cell(head.project)} / ${cell(head.target)}`,
    '',
    table.length === 0
      ? `Nothing to send: ${count(quiet, 'sync')} unchanged.`
      : `${count(table.length, 'sync')} with something to say, ${number.format(quiet)} unchanged.`,
  ];
  if (orphans.length > 0) {
    const names = some(
      orphans.map((o) => o.name),
      20,
    );
    title.push(
      '',
      `${head.staging === 'none' ? `syncline.state/${cell(head.target)} has files` : `${cell(head.staging)} has tables`} of ${cell(names)}, which the project does not declare: \`syncline plan\` says what to do.`,
    );
  }
  if (table.length > 0)
    title.push(
      '',
      row(['sync', 'route', 'inserts', 'updates', 'deletes', 'invalid', 'billable events']),
      row(['---', '---', '---:', '---:', '---:', '---:', '---:']),
    );
  return fit(title, table, details);
}

const detail = (sync: string, lines: string): string =>
  `<details><summary>${html(sync)}</summary>\n\n~~~~\n${lines}\n~~~~\n</details>`;

const staleOf = (p: Preview): string[] => p.staleDecisions.map((hash) => `  ${isStale(hash)}`);

function verdictOf(p: Preview): string {
  if (p.undecided) return '**waits for a decision**';
  if (isRefused(p)) return '**a check refuses it**';
  if (stopping(p).length > 0) return '**a guard stops it**';
  return p.renamedFrom === null ? routeOf(p) : `renamed from ${cell(p.renamedFrom)}; ${routeOf(p)}`;
}

/** True for what no flag lets pass. */
const isRefused = (p: Preview): boolean => p.refusals.some((r) => r.code !== 'guard');

/** True where an apply would send something, or make a state that later runs go on from. */
export const isMoving = ({ preview: p, sync }: Told): boolean =>
  p.records > 0 ||
  p.route === 'sending' ||
  p.renamedFrom !== null ||
  p.decision !== null ||
  (p.route === 'initial' && sync?.adopts === true);

const isQuiet = (told: Told): boolean => {
  const { preview: p, differing, overridden } = told;
  return (
    !isMoving(told) &&
    !p.undecided &&
    !p.unreleased &&
    stopping(p).length === 0 &&
    sum(p.invalid) === 0 &&
    [p.newColumns, p.staleDecisions, overridden, differing ?? []].every((list) => list.length === 0)
  );
};

/** Lines of a difference as one comment of a pull request; what does not fit is counted. */
export function comment(title: string, lines: readonly string[], none: string): string {
  const head = `### ${cell(title)}\n\n`;
  if (lines.length === 0) return head + none;
  let left = COMMENT - head.length - 200;
  const end = lines.findIndex((line) => (left -= line.length + 1) < 0);
  const shown = end < 0 ? lines : lines.slice(0, end);
  const more = lines.length - shown.length;
  const rest = more === 0 ? [] : ['', `${count(more, 'more difference')} did not fit here.`];
  return head + ['~~~~diff', ...shown, '~~~~', ...rest].join('\n');
}

/** The table comes first, in whole rows; then as many details as fit. */
function fit(head: readonly string[], table: readonly string[], details: readonly string[]): string {
  let left = COMMENT - head.join('\n').length - 200;
  const take = (parts: readonly string[]): readonly string[] => {
    const end = parts.findIndex((part) => (left -= part.length + 2) < 0);
    return end < 0 ? parts : parts.slice(0, end);
  };
  const rows = take(table);
  const texts = rows.length < table.length ? [] : take(details);
  const cut = [
    ...(rows.length < table.length ? [`${count(table.length - rows.length, 'more sync')} did not fit here.`] : []),
    ...(texts.length < details.length
      ? [`The details of ${count(details.length - texts.length, 'sync')} did not fit here: \`syncline plan\` has them.`]
      : []),
  ];
  return [...head, ...rows, '', ...texts.flatMap((t) => [t, '']), ...cut].join('\n').trimEnd();
}
