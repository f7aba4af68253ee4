/** A lookup table just under 100 MB, built and sent, against a bare loop over the same text. */
import path from 'node:path';
import { apply, capture, db, dir, megabytes, program, project, ratio, run, say, withSandbox } from './common.mjs';

await withSandbox(async (port) => {
  const file = 'lookup.duckdb';
  await db(file, (c) =>
    c.run(
      `create table products as select i::integer as id, 'product ' || md5(i::varchar) || ', category ' || lpad((i % 97)::varchar, 2, '0') || ', made in country ' || lpad((i % 211)::varchar, 11, '0') as about from range(1, 1000001) as t(i)`,
    ),
  );
  project(
    port,
    file,
    'name: s, kind: lookup_table, mode: full, source: { relation: products }, id: id, lookup_table_id: t',
    '5s',
  );
  await run('lock');
  const { outbox, batches } = await capture(file);
  const [{ bytes }] = await db(file, async (c) =>
    (await c.runAndReadAll(`select sum(strlen(payload) + 1)::double as bytes from ${outbox}`)).getRowObjectsJson(),
  );
  const loop = path.join(import.meta.dirname, 'bare-lookup.mjs');
  const bare = await program(process.execPath, [loop, path.join(dir, file), outbox, batches, port].map(String));
  const resumed = await apply(5000);
  const name = `lookup table of 1,000,000 rows, ${(bytes / 1e6).toFixed(1)} MB`;
  ratio(`${name}, built and sent`, resumed.send, Number(bare.out), 'none');
  say(`memory of an apply that sends it: ${megabytes(resumed.kilobytes)} (the bare loop ${megabytes(bare.kilobytes)})`);
  await run('reset', 's');
  const whole = await apply();
  say(`memory of an apply that captures and sends it: ${megabytes(whole.kilobytes)}, ${Math.round(whole.ms)} ms`);
});
