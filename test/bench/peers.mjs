/** The same events sent by other programs. What is not there is skipped with a line that says so. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { apply, db, dir, megabytes, program, project, rate, root, run, say, withSandbox } from './common.mjs';

const ROWS = 200_000;
const file = 'peers.duckdb';
const lines = path.join(dir, 'events.ndjson');
const results = [];
const row = (name, ms, kilobytes) => {
  results.push({ name, ms });
  say(
    `${name}: ${ROWS.toLocaleString('en-US')} events, ${rate(ROWS, ms)} (${Math.round(ms)} ms; ${megabytes(kilobytes)})`,
  );
};

await db(file, async (c) => {
  await c.run(`create table ev as select i::integer as id, timestamp '2024-01-01' + to_seconds(i::integer) as t, 'user-' || (i % 100000) as u,
    'item ' || (i % 1000) as item, i * 1.5 as amount from range(${ROWS}) as t(i)`);
  await c.run(
    `copy (select 'Purchase' as event, {time: epoch(t)::bigint, distinct_id: u, "$insert_id": md5(id::varchar), "$user_id": u, id: id, item: item, amount: amount::double} as properties from ev) to '${lines}' (format json)`,
  );
});

/** drt takes its settings from files; its limiter is off and its batch as large as Mixpanel takes. */
function drtProject(python) {
  const home = path.join(dir, 'drt');
  mkdirSync(path.join(home, '.drt'), { recursive: true });
  mkdirSync(path.join(home, 'syncs'));
  writeFileSync(
    path.join(home, '.drt/profiles.yml'),
    `bench:\n  type: duckdb\n  database: ${path.join(dir, 'drt.duckdb')}\n`,
  );
  writeFileSync(path.join(home, 'drt_project.yml'), 'name: bench\nversion: "0.1"\nprofile: bench\n');
  writeFileSync(
    path.join(home, 'syncs/events.yml'),
    `name: events
model: "select 'Purchase' as event_name, epoch(t)::bigint as event_time, u as user_id, md5(id::varchar) as event_id, id, item, amount::double as amount from ev"
destination: { type: mixpanel, endpoint: import_events, project_id: "1", service_account_username_env: MP_USER, service_account_secret_env: MP_SECRET, distinct_id_field: user_id, event_name_field: event_name, time_field: event_time, insert_id_field: event_id }
sync: { mode: full, batch_size: 2000, on_error: fail, rate_limit: { requests_per_second: 100000 } }
`,
  );
  // The database is made by its own library, so that both read a file of their own version.
  const made = spawnSync(python, [
    '-c',
    `import duckdb; duckdb.connect('${path.join(dir, 'drt.duckdb')}').execute("""create table ev as select i::integer as id, timestamp '2024-01-01' + to_seconds(i::integer) as t, 'user-' || (i % 100000) as u, 'item ' || (i % 1000) as item, i * 1.5 as amount from range(${ROWS}) as t(i)""")`,
  ]);
  if (made.status !== 0) throw new Error(String(made.stderr));
  return home;
}

/** @returns where npm `mixpanel-import` is and its version, or why it is not there */
function mixpanelImport() {
  const home = path.join(root, 'node_modules/mixpanel-import');
  try {
    const { version } = JSON.parse(readFileSync(path.join(home, 'package.json'), 'utf8'));
    return { version, cli: path.join(home, 'index.js') };
  } catch (error) {
    return { why: `npm ci has not installed it (${error.code ?? error.message})` };
  }
}

/** @returns the environment's Python, or why there is none */
function drtPython() {
  const venv = path.join(tmpdir(), 'syncline-bench-drt-core-1.2.1');
  const python = path.join(venv, 'bin/python');
  const imports = () => spawnSync(python, ['-c', 'import drt, duckdb'], { timeout: 60_000 }).status === 0;
  if (existsSync(path.join(venv, 'ready')) && imports()) return { python };
  const steps = [
    ['python3', ['-m', 'venv', '--clear', venv]],
    [python, ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', 'drt-core[duckdb]==1.2.1']],
  ];
  for (const [command, args] of steps) {
    const done = spawnSync(command, args, { encoding: 'utf8', timeout: 300_000 });
    if (done.status !== 0) return { why: (done.error?.message ?? done.stderr).trim().split('\n').at(-1) };
  }
  if (!imports()) return { why: 'it was installed and cannot be imported' };
  writeFileSync(path.join(venv, 'ready'), '');
  return { python };
}

await withSandbox(async (port) => {
  const origin = `http://127.0.0.1:${port}`;
  project(
    port,
    file,
    'name: s, kind: events, mode: mirror, source: { relation: ev }, event: Purchase, time: t, user_id: u, key: id',
  );
  await run('lock');
  const ours = await apply();
  say('all: 2,000 events a request, no rate limit, one sandbox that discards; what differs is named in each line');
  row('syncline, delivery alone (captured events read from DuckDB, gzip)', ours.send, ours.kilobytes);
  row('syncline, whole apply (capture and ledger included)', ours.ms, ours.kilobytes);

  const theirs = mixpanelImport();
  if (theirs.cli === undefined) say(`SKIPPED npm mixpanel-import: ${theirs.why}`);
  else {
    // No option leads mixpanel-import elsewhere; its pool and its client take the origin of the sandbox instead.
    const preload = path.join(import.meta.dirname, 'peer-redirect.mjs');
    const env = { ...process.env, SANDBOX: origin };
    const api = path.join(import.meta.dirname, 'peer-mixpanel-import.mjs');
    const called = await program(process.execPath, ['--import', preload, api, lines], { env });
    const { ms, success } = JSON.parse(called.out.trim().split('\n').at(-1));
    if (success !== ROWS) throw new Error(`mixpanel-import sent ${success}: ${called.out}`);
    const name = `npm mixpanel-import ${theirs.version}`;
    row(`${name}, API, gzip; events parsed in memory before the clock starts`, ms, called.kilobytes);
    const account = ['--project', '1', '--acct', 'u', '--pass', 's', '--token', 'x'];
    const typed = await program(
      process.execPath,
      ['--import', preload, theirs.cli, lines, ...account, '--type', 'event', '--format', 'jsonl'],
      { env },
    );
    row(`${name}, CLI with its defaults; start of the program and reading NDJSON included`, typed.ms, typed.kilobytes);
  }

  const { python, why } = drtPython();
  if (python === undefined) say(`SKIPPED PyPI drt-core 1.2.1: ${why}`);
  else {
    const home = drtProject(python);
    const start = `import drt.destinations.mixpanel as m; m._MIXPANEL_HOSTS['default'] = '${origin}'; from drt.cli.main import app; app()`;
    const synced = await program(python, ['-c', start, 'run'], {
      cwd: home,
      env: { ...process.env, HOME: home, MP_USER: 'u', MP_SECRET: 's' },
    });
    if (!synced.out.includes(String(ROWS))) throw new Error(`drt: ${synced.out}`);
    const said = /synced \(([\d.]+)s\)/.exec(synced.out)?.[1];
    row(
      'PyPI drt-core 1.2.1, batch 2000, limiter off, no gzip; by its own clock, reading DuckDB included',
      said === undefined ? synced.ms : Number(said) * 1000,
      synced.kilobytes,
    );
  }
});

const [mine, whole, ...others] = results;
const [fastest] = others.sort((a, b) => a.ms - b.ms);
const times = (ours) => `${(fastest.ms / ours.ms).toFixed(1)} ×`;
say(
  fastest === undefined
    ? 'nothing to compare with: none of the other programs is here'
    : `against the fastest of those that ran, ${fastest.name.split(';')[0]}: delivery alone ${times(mine)} as fast (goal 10), whole apply ${times(whole)}`,
);
