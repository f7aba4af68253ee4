/** Delivery of profiles as a share of that of events of the same rows. */
import { apply, db, megabytes, project, rate, run, say, withSandbox } from './common.mjs';

const ROWS = 300_000;
const KINDS = {
  events: 'kind: events, mode: mirror, event: Purchase, time: t, user_id: u, key: id',
  'user profiles': 'kind: user_profiles, mode: mirror, user_id: u',
  'group profiles': 'kind: group_profiles, mode: mirror, group_key: company, group_id: u',
};

await withSandbox(async (port) => {
  let events;
  for (const [kind, declared] of Object.entries(KINDS)) {
    const file = `${kind.replace(' ', '-')}.duckdb`;
    await db(file, (c) =>
      c.run(`create table source as select i::integer as id, timestamp '2024-01-01' + to_seconds(i::integer) as t, 'user-' || i as u,
        'item ' || (i % 1000) as item, i * 1.5 as amount, 'city ' || (i % 77) as city from range(${ROWS}) as t(i)`),
    );
    project(port, file, `name: s, source: { relation: source }, ${declared}`);
    await run('lock');
    const { send, sent, kilobytes } = await apply();
    events ??= send;
    const share = kind === 'events' ? '' : `, ${(events / send).toFixed(2)} of the events' rate (goal 0.33)`;
    say(`${sent.toLocaleString('en-US')} ${kind}: ${rate(sent, send)}${share}; memory ${megabytes(kilobytes)}`);
  }
});
