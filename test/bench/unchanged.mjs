/** A mirror that changed nothing, against a scan that computes the same checksums. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { db, dir, project, ratio, run } from './common.mjs';

const texts = Array.from({ length: 9 }, (_, k) => `'text ${k} ' || (i * ${k + 3} % 9973) as a${k}`);
const numbers = Array.from({ length: 9 }, (_, k) => `(i * ${k + 1} / 7)::decimal(18, 2) as d${k}`);
await db('wide.duckdb', (c) =>
  c.run(
    `create table wide as select i::bigint as id, timestamp '2024-01-01' + to_seconds(i::integer) as t, ${[...texts, ...numbers].join(', ')} from range(1000000) as t(i)`,
  ),
);
const best = async (measure) => {
  const times = [];
  for (let i = 0; i < 3; i++) times.push(await measure());
  return Math.min(...times);
};

for (const [name, key, goal] of [
  ['keyed', ', key: id', 1.5],
  ['unkeyed', '', 2.2],
]) {
  project(
    0,
    'wide.duckdb',
    `name: ${name}, kind: events, mode: mirror, source: { relation: wide }, event: E, time: t${key}`,
  );
  await run('lock');
  await run('apply', '--quiet');
  await run('compile', '-q');
  const sql = readFileSync(path.join(dir, `compiled/dev/${name}/capture.sql`), 'utf8');
  const checksum = /select t\.\*, (md5\(.*\)) as syncline_checksum/.exec(sql)[1];
  const bare = await best(() =>
    db('wide.duckdb', async (c) => {
      await c.run('select count(*) from wide');
      const started = performance.now();
      await c.run(`select max(x) from (select ${checksum} as x from wide)`);
      return performance.now() - started;
    }),
  );
  const empty = await best(async () => (await run('validate', '-q')).ms);
  const ours = await best(async () => (await run('apply', '--quiet')).ms);
  ratio(`unchanged 1,000,000 × 20, ${name}, less start-up`, ours - empty, bare, goal);
}
