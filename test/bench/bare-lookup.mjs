/** The bare loop of a lookup table: read its lines, compress, put. */
import { once } from 'node:events';
import { createGzip } from 'node:zlib';
import { DuckDBInstance } from '@duckdb/node-api';

const [file, outbox, batches, port] = process.argv.slice(2);
const connection = await (await DuckDBInstance.create(file)).connect();
const started = performance.now();
const zip = createGzip();
const parts = [];
zip.on('data', (part) => parts.push(part));
for (let b = 0; b < Number(batches); b += 8) {
  const rows = await connection.runAndReadAll(
    `select batch, string_agg(payload, chr(10) order by ordinal) as body from ${outbox} where batch >= ${b} and batch < ${b + 8} group by batch order by batch`,
  );
  for (const [, body] of rows.getRows()) if (!zip.write(`${body}\n`)) await once(zip, 'drain');
}
zip.end();
await once(zip, 'end');
const answer = await fetch(`http://127.0.0.1:${port}/lookup-tables/t?project_id=1`, {
  method: 'PUT',
  body: Buffer.concat(parts),
  headers: { 'content-encoding': 'gzip', authorization: 'Basic dTpz', 'content-type': 'text/csv' },
});
if (answer.status !== 200) throw new Error(await answer.text());
console.log(performance.now() - started);
