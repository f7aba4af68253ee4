/** The bare loop of delivery: read batches, join, compress, post, eight at a time. */
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { DuckDBInstance } from '@duckdb/node-api';

const [file, outbox, next, batches, port] = process.argv.slice(2);
const compress = promisify(gzip);
const connection = await (await DuckDBInstance.create(file)).connect();
const started = performance.now();
const pending = new Set();
for (let b = Number(next); b < Number(batches); b += 8) {
  const rows = await connection.runAndReadAll(
    `select batch, string_agg(payload, ',' order by ordinal) as body from ${outbox} where batch >= ${b} and batch < ${b + 8} group by batch order by batch`,
  );
  for (const [, body] of rows.getRows()) {
    const post = compress(`[${body}]`, { level: 1 })
      .then((z) =>
        fetch(`http://127.0.0.1:${port}/import`, {
          method: 'POST',
          body: z,
          headers: { 'content-encoding': 'gzip', authorization: 'Basic eDo=', 'content-type': 'application/json' },
        }),
      )
      .then((r) => r.text())
      .finally(() => pending.delete(post));
    pending.add(post);
    if (pending.size >= 8) await Promise.race(pending);
  }
}
await Promise.all(pending);
console.log(performance.now() - started);
