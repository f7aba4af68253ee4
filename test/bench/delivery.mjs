/** Delivery of captured events: time against the bare loop, and memory whatever the size of the table. */
import path from 'node:path';
import { apply, capture, db, dir, megabytes, program, project, ratio, run, say, withSandbox } from './common.mjs';

for (const rows of [1_000_000, 3_000_000])
  await withSandbox(async (port) => {
    const file = `delivery-${rows}.duckdb`;
    const name = `${rows.toLocaleString('en-US')} events`;
    await db(file, (c) =>
      c.run(`create table ev as select i::integer as id, timestamp '2024-01-01' + to_seconds(i::integer) as t, 'user-' || (i % 100000) as u,
        'item ' || (i % 1000) as item, i * 1.5 as amount from range(${rows}) as t(i)`),
    );
    project(
      port,
      file,
      'name: s, kind: events, mode: mirror, source: { relation: ev }, event: Purchase, time: t, user_id: u, key: id',
    );
    await run('lock');
    const { outbox, next, batches } = await capture(file);
    const loop = path.join(import.meta.dirname, 'bare-import.mjs');
    const bare = await program(process.execPath, [loop, path.join(dir, file), outbox, next, batches, port].map(String));
    // An attempt of a run that another process began waits for the request timeout first.
    const resumed = await apply(1000);
    ratio(`delivery of ${name}`, resumed.send, Number(bare.out), 1.5);
    say(
      `memory of an apply that delivers ${name}: ${megabytes(resumed.kilobytes)} (goal below 400 MB; the bare loop ${megabytes(bare.kilobytes)})`,
    );
    ratio(`delivery of ${name}, whole command`, resumed.ms, Number(bare.out), 'none');
  });
