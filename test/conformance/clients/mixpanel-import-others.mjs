/** npm `mixpanel-import`: its other record types, its stream and its command. */
import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import mixpanel from 'mixpanel-import';

const { events, profiles, groups, other } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const out = path.dirname(process.argv[3]);
const require = createRequire(import.meta.url);
const Job = require('mixpanel-import/components/job.js');
const account = { acct: 'account', pass: 'secret', project: '7', token: 'tok' };
const move = { secret: 'sec', token: 'tok', secondToken: other };
const quiet = { verbose: false, showProgress: false, logs: false, abridged: false };
const results = {};
const tried = new Set(['event', 'table', 'export']); // Those of mixpanel-import.mjs.
const run = async (recordType, credentials, data, options = {}, name = recordType) => {
  tried.add(recordType);
  try {
    const { success, failed } = await mixpanel(credentials, data, { ...quiet, ...options, recordType });
    results[name] = { success, failed };
  } catch (error) {
    results[name] = error.message;
  }
};

await run('user', account, profiles, { fixData: true });
await run('group', { ...account, groupKey: 'company' }, groups, { fixData: true });
const half = events.length / 2;
results.stream = await new Promise((resolve, reject) => {
  const options = { ...quiet, recordType: 'event', responseHandler: resolve };
  mixpanel
    .createMpStream(account, options)
    .then((stream) => Readable.from(events.slice(0, half)).pipe(stream))
    .catch(reject);
});
const file = path.join(out, 'rest.jsonl');
writeFileSync(
  file,
  events
    .slice(half)
    .map((event) => `${JSON.stringify(event)}\n`)
    .join(''),
);
const node = ['--import', path.join(import.meta.dirname, 'redirect.mjs'), require.resolve('mixpanel-import')];
const typed = ['--project', '7', '--acct', 'account', '--pass', 'secret', '--type', 'event', '--format', 'jsonl'];
await promisify(execFile)(process.execPath, [...node, file, ...typed], { cwd: out });

const folders = { users: path.join(out, 'users'), companies: path.join(out, 'companies') };
for (const folder of Object.values(folders)) mkdirSync(folder);
await run('profile-export', account, null, { where: folders.users });
const company = { where: folders.companies, dataGroupId: 'company' };
await run('profile-export', account, null, company, 'profile-export of groups');
const days = { fixData: true, start: '2026-01-01', end: '2026-01-03' };
await run('export-import-event', move, null, days);
await run('export-import-profile', move, null, days);
await run('profile-delete', account, null);
results.validateToken = await mixpanel.validateToken(other).catch(({ message }) => message);
const scd = { scdKey: 'plan', scdLabel: 'Plan', scdType: 'string' };
await run('scd', { acct: 'account', pass: 'secret', token: 'tok', ...scd }, events, scd);
for (const type of ['annotations', 'get-annotations', 'delete-annotations']) {
  await run(type, { ...account, bearer: 'bearer' }, []);
}

const read = (folder) =>
  readdirSync(folder).map((name) =>
    readFileSync(path.join(folder, name), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  );
const { endpoints } = new Job(account, { recordType: 'event' });
writeFileSync(
  process.argv[3],
  JSON.stringify({
    results,
    exported: { users: read(folders.users), companies: read(folders.companies) },
    left: Object.keys(endpoints.us).filter((type) => !tried.has(type)),
    others: Object.keys(mixpanel),
  }),
);
process.exit(0);
