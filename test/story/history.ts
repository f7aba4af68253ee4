import path from 'node:path';
import { DuckDBInstance } from '@duckdb/node-api';
import { compile } from '../../compiler/compile.ts';
import { duckdb } from '../../compiler/dialects/duckdb.ts';
import { writeLock } from '../../compiler/lock.ts';
import { readTemplates } from '../../compiler/templates.ts';
import { createMixpanel } from '../../runtime/mixpanel/import.ts';
import { RunError as RunError_ } from '../../runtime/errors.ts';
import { applySync } from '../../runtime/sync.ts';
import type { Plan } from '../../schemas/types.ts';
import { random, Scheduler } from './scheduler.ts';

export type Shape = 'keyed' | 'unkeyed' | 'append';

const COLUMNS = [
  ['id', 'INTEGER'],
  ['t', 'TIMESTAMP'],
  ['u', 'VARCHAR'],
  ['ev', 'VARCHAR'],
  ['a', 'VARCHAR'],
  ['n', 'DECIMAL(9,2)'],
  ['f', 'DOUBLE'],
  ['d', 'DATE'],
  ['b', 'BOOLEAN'],
  ['loaded', 'TIMESTAMP'],
] as const;
const TTL = 10_000;
const TIMEOUT = 4_000;

const plans = new Map<Shape, Plan>();
async function planOf(shape: Shape): Promise<Plan> {
  const known = plans.get(shape);
  if (known) return known;
  const columns = COLUMNS.filter(([name]) => shape === 'append' || name !== 'loaded').map(([name, type]) => ({
    name,
    type,
  }));
  const result = compile({
    files: {
      'syncline.yml':
        'name: sim\ndefault_target: t\ntargets: { t: { warehouse: { type: duckdb, path: x }, mixpanel: sandbox } }\n',
      'syncs/s.yml': `syncs:
  - name: s
    kind: events
    mode: ${shape === 'append' ? 'append' : 'mirror'}
    source: { relation: src }
    event: { column: ev }
    time: t
    user_id: u
${shape === 'keyed' ? '    key: id\n' : ''}${shape === 'append' ? '    insert_time: loaded\n' : '    guard: { max_changes: 14 }\n'}`,
      'syncline.lock.json': writeLock({ lockVersion: 1, targets: { t: { sources: { src: { columns } } } } }),
    },
    templates: await readTemplates(path.join(import.meta.dirname, '../../templates')),
    dialect: { ...duckdb, fileLock: false },
    limits: { records: 2, bytes: 600 },
  });
  if (!result.plan) throw new Error(JSON.stringify(result.diagnostics));
  plans.set(shape, result.plan);
  return result.plan;
}

interface Stored {
  event: string;
  properties: Record<string, unknown>;
}

/** Mixpanel in memory: the newest copy of an id is shown; what it refuses comes and goes, but never for what it once took. */
class Mixpanel {
  readonly view = new Map<string, Stored>();
  readonly ever = new Set<string>();
  readonly #taken = new Set<string>();
  refusing: ((insertId: string, tombstone: boolean) => boolean) | null = null;
  records = 0;
  bad: string | undefined;

  store(body: string): { status: number; body: string } {
    const batch = JSON.parse(body) as Stored[];
    const failed: { index: number; message: string }[] = [];
    for (const [index, record] of batch.entries()) {
      this.records++;
      const p = record.properties;
      const id = [record.event, p['distinct_id'], p['time'], p['$insert_id']].join('\n');
      const text = JSON.stringify(record);
      const tombstone = p['syncline_deleted'] === true;
      // A record that was refused after an attempt without answer counts as maybe shown, so its tombstone is right.
      if (tombstone && !this.ever.has(id)) this.bad ??= `tombstone for what was never sent: ${text}`;
      this.ever.add(id);
      if (this.refusing?.(String(p['$insert_id']), tombstone) && !this.#taken.has(text)) {
        failed.push({ index, message: 'refused' });
        continue;
      }
      this.#taken.add(text);
      this.view.set(id, record);
    }
    if (failed.length === 0)
      return { status: 200, body: JSON.stringify({ code: 200, num_records_imported: batch.length }) };
    return {
      status: 400,
      body: JSON.stringify({ code: 400, failed_records: failed, num_records_imported: batch.length - failed.length }),
    };
  }

  shown(): string[] {
    return [...this.view.values()]
      .filter((r) => r.properties['syncline_deleted'] !== true)
      .map((r) => canonical(r))
      .sort();
  }
}

function canonical({ event, properties: p }: Stored): string {
  const own = new Set(['$insert_id', 'syncline_sync', 'syncline_warehouse', 'ip', '$user_id']);
  return JSON.stringify([
    event,
    Object.entries(p)
      .filter(([k]) => !own.has(k))
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  ]);
}

/** One random history of a sync: processes, faults, a source that moves, and at the end the question whether all is right. */
export async function history(
  shape: Shape,
  seed: number,
): Promise<{ readonly problem?: string; readonly trace: readonly string[]; readonly runs: number }> {
  const rng = random(seed * 3 + { keyed: 0, unkeyed: 1, append: 2 }[shape]);
  const plan = await planOf(shape);
  const sync = plan.syncs[0]!;
  const instance = await DuckDBInstance.create(':memory:', { threads: '1' });
  const outside = await instance.connect();
  const server = new Mixpanel();
  const s = new Scheduler(rng, outside, server, TIMEOUT);
  try {
    await outside.run("set timezone = 'UTC'");
    await outside.run('create table clock (t timestamptz)');
    await outside.run("insert into clock values (epoch_ms(1700000000000) at time zone 'UTC')");
    await outside.run('create macro main.now() as (select max(t) from clock)');
    const columns = COLUMNS.filter(([name]) => shape === 'append' || name !== 'loaded');
    await outside.run(`create table src (${columns.map(([n, t]) => `${n} ${t}`).join(', ')})`);
    s.mutate = source(s, shape, rng, (sql) => outside.run(sql).then((r) => r.rowsChanged));

    let runs = 0;
    const apply = async (processes: number): Promise<string[]> => {
      const results: string[] = [];
      const finished = new Set<string>();
      const actors = Array.from({ length: processes }, (_, i) => s.actor(`p${s.actors.length}-${i}`));
      for (const actor of actors) {
        runs++;
        const world = s.world(actor);
        void applySync({
          plan,
          sync,
          world,
          warehouse: s.warehouse(actor, instance),
          mixpanel: createMixpanel(world, {
            host: 'http://m',
            projectId: '1',
            token: 'x',
            retry: { initialMs: 500, maxMs: 2000, attempts: 3 },
            requestTimeoutMs: TIMEOUT,
            concurrency: 2,
          }),
          concurrency: 2,
          leaseTtlMs: TTL,
          requestTimeoutMs: TIMEOUT,
          emit: (e) => {
            if (e.type === 'unchanged' || e.type === 'committed') s.log(`${actor.name} ${e.type}`);
          },
          stop: new AbortController().signal,
          mayCreate: runs <= processes,
        })
          .then(
            () => results.push('ok'),
            (error: unknown) => {
              const text = error instanceof RunError_ ? error.message : String(error);
              s.log(`${actor.name} fails: ${text.split('\n')[0] ?? ''}`);
              results.push(text);
            },
          )
          .finally(() => finished.add(actor.name));
      }
      await s.until(() => actors.every((a) => a.dead || finished.has(a.name)));
      for (const a of actors) a.dead = true;
      return results;
    };

    // The tables are made in peace: a crash in between is the setup's own transaction.
    await apply(1);
    for (let i = 0; i < 3; i++) await s.mutate();
    const rounds = 2 + Math.floor(rng() * 4);
    for (let round = 0; round < rounds; round++) {
      s.chaos = {
        kill: rng() < 0.6 ? 0.02 : 0,
        pause: rng() < 0.4 ? 0.02 : 0,
        mutate: 0.08,
        lostStatement: rng() < 0.4 ? 0.03 : 0,
        network: rng() < 0.6 ? 0.3 : 0,
      };
      const mod = Math.floor(rng() * 4);
      server.refusing =
        rng() < 0.4 ? (id, tombstone) => parseInt(id.slice(0, 4), 16) % 4 === mod && (mod !== 1 || tombstone) : null;
      await apply(rng() < 0.25 ? 2 : 1);
      if (rng() < 0.1) await s.setTime(s.now + 90 * 86_400_000);
      else await s.setTime(s.now + Math.floor(rng() * 2 * TTL));
    }
    s.chaos = { kill: 0, pause: 0, mutate: 0, lostStatement: 0, network: 0 };
    server.refusing = null;
    await s.settle();
    await s.setTime(s.now + 100_000);
    let quiet = false;
    for (let i = 0; i < 8 && !quiet; i++) {
      const before = server.records;
      const results = await apply(1);
      // A guard that failed stays failed until the source is within it again.
      if (results[0]?.includes('max_changes') === true && server.records === before) {
        if (i > 0) return { trace: s.trace, runs };
        continue;
      }
      if (results[0] !== 'ok')
        return { problem: `an apply in peace fails: ${String(results[0])}`, trace: s.trace, runs };
      quiet = server.records === before;
      await s.setTime(s.now + 1000);
    }
    if (!quiet) return { problem: 'it never comes to rest', trace: s.trace, runs };
    if (server.bad !== undefined) return { problem: server.bad, trace: s.trace, runs };
    const rows = (
      await outside.runAndReadAll(
        `select * replace (epoch_ms(t) as t, cast(d as varchar) as d, cast(n as double) as n) from src`,
      )
    ).getRowObjectsJS();
    const wanted = rows.filter(valid).map(expected).sort();
    const shown = server.shown();
    if (JSON.stringify(wanted) !== JSON.stringify(shown)) {
      const problem = `Mixpanel differs from the table\nlost:  ${minus(wanted, shown).join('\n       ')}\nextra: ${minus(shown, wanted).join('\n       ')}`;
      return { problem, trace: s.trace, runs };
    }
    return { trace: s.trace, runs };
  } finally {
    outside.closeSync();
    instance.closeSync();
  }
}

const minus = (a: readonly string[], b: readonly string[]): string[] => {
  const rest = [...b];
  return a.filter((x) => {
    const at = rest.indexOf(x);
    if (at >= 0) rest.splice(at, 1);
    return at < 0;
  });
};

const valid = (row: Record<string, unknown>): boolean =>
  row['t'] !== null && row['ev'] !== null && row['ev'] !== '' && row['u'] !== '0';

function expected(row: Record<string, unknown>): string {
  const properties: Record<string, unknown> = { time: Number(row['t']), distinct_id: row['u'] ?? '' };
  for (const name of ['id', 'a', 'n', 'f', 'd', 'b']) if (row[name] !== null) properties[name] = row[name];
  return canonical({ event: String(row['ev']), properties });
}

/** Inserts, updates of values, time, name and user, deletes, reinserts, twins. */
function source(
  s: Scheduler,
  shape: Shape,
  rng: () => number,
  run: (sql: string) => Promise<number>,
): () => Promise<void> {
  const one = (list: readonly string[]): string => list[Math.floor(rng() * list.length)]!;
  const value = {
    t: () => one(["'2023-05-01 10:00:00'", "'2023-05-01 10:00:00.123456'", "'2023-06-02'", "'2023-06-02'", 'null']),
    u: () => one(["'alice'", "'bob'", "'🎉 é'", 'null', "'0'", "''"]),
    ev: () => one(["'Buy'", "'Buy'", '\'Sell "x"\'', "''"]),
    a: () => one(["'x'", "''", 'null', "'a,null'", "'line\nbreak'", "'ünï'"]),
    n: () => one(['1.50', '0', 'null', '-2.25']),
    f: () => one(['0.1', 'null', '1e10']),
    d: () => one(["'2024-02-29'", 'null']),
    b: () => one(['true', 'false', 'null']),
  };
  let next = 1;
  return async () => {
    const x = rng();
    const any = `rowid = (select rowid from src order by md5(cast(rowid as varchar) || '${Math.floor(rng() * 1e6)}') limit 1)`;
    if (shape === 'append' || x < 0.45) {
      if (shape === 'append') await s.setTime(s.now + 1);
      // A third of the unkeyed rows are twins of one another.
      const id = shape === 'keyed' ? next++ : shape === 'unkeyed' && rng() < 0.5 ? 0 : next++;
      const row = [String(id), ...Object.values(value).map((v) => v())];
      if (shape === 'append') row.push(`(epoch_ms(${s.now}::bigint))`);
      await run(`insert into src values (${row.join(', ')})`);
      if (shape === 'unkeyed' && rng() < 0.3) await run(`insert into src select * from src where ${any}`);
    } else if (x < 0.8) {
      const name = one(Object.keys(value)) as keyof typeof value;
      await run(`update src set ${name} = ${value[name]()} where ${any}`);
    } else await run(`delete from src where ${any}`);
  };
}
