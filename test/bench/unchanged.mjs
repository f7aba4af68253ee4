/** A mirror that changed nothing, less the same run over one row, against a scan that computes the same checksums. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { db, dir, project, ratio, run } from './common.mjs';

const texts = Array.from({ length: 9 }, (_, k) => `'text ${k} ' || (i * ${k + 3} % 9973) as a${k}`);
const numbers = Array.from({ length: 9 }, (_, k) => `(i * ${k + 1} / 7)::decimal(18, 2) as d${k}`);
await db('wide.duckdb', async (c) => {
  await c.run(
    `create table wide as select i::bigint as id, timestamp '2024-01-01' + to_seconds(i::integer) as t, ${[...texts, ...numbers].join(', ')} from range(1000000) as t(i)`,
  );
  await c.run('create table narrow as from wide limit 1');
});
const best = async (measure) => {
  const times = [];
  for (let i = 0; i < 3; i++) times.push(await measure());
  return Math.min(...times);
};

for (const [name, key, goal] of [
  ['keyed', ', key: id', 1.5],
  ['unkeyed', '', 2.2],
]) {
  const sync = (table) =>
    `name: ${name}_${table}, kind: events, mode: mirror, source: { relation: ${table} }, event: E, time: t${key}`;
  project(0, 'wide.duckdb', `${sync('wide')} }\n  - { ${sync('narrow')}`);
  await run('lock');
  await run('apply', '--quiet');
  await run('compile', '-q');
  const sql = readFileSync(path.join(dir, `compiled/dev/${name}_wide/capture.sql`), 'utf8');
  const checksum = /select t\.\*, (md5\(.*\)) as syncline_checksum/.exec(sql)[1];
  const bare = await best(() =>
    db('wide.duckdb', async (c) => {
      await c.run('select count(*) from wide');
      const started = performance.now();
      await c.run(`select max(x) from (select ${checksum} as x from wide)`);
      return performance.now() - started;
    }),
  );
  const timed = (table) => best(async () => (await run('apply', '--quiet', '-s', `${name}_${table}`)).ms);
  const empty = await timed('narrow');
  const ours = await timed('wide');
  ratio(`unchanged 1,000,000 × 20, ${name}, less start-up`, ours - empty, bare, goal);
}
