/** npm `mixpanel-import`: events by both of its transports, users, groups, a lookup table, an export. */
import { readFileSync } from 'node:fs';
import mixpanel from 'mixpanel-import';

const { events, profiles, groups, csv, transport, exported } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const account = { acct: 'account', pass: 'secret', project: '7', token: 'tok' };
const options = { verbose: false, showProgress: false, logs: false, strict: true, abridged: false, transport };
const failed = [];
const check = (name, result, expected) => {
  if (result.success !== expected || result.failed !== 0)
    failed.push([name, result.success, result.failed, result.responses]);
};

check('events', await mixpanel(account, events, { ...options, recordType: 'event', compress: true }), events.length);
check('users', await mixpanel(account, profiles, { ...options, recordType: 'user', fixData: true }), profiles.length);
const company = { ...account, groupKey: 'company' };
check('groups', await mixpanel(company, groups, { ...options, recordType: 'group', fixData: true }), groups.length);
const table = { ...account, lookupTableId: 'products' };
await mixpanel(table, csv, { ...options, recordType: 'table' });
await mixpanel(account, null, {
  ...options,
  recordType: 'export',
  start: '2026-01-01',
  end: '2026-01-03',
  where: exported,
});
if (failed.length > 0) throw new Error(JSON.stringify(failed));
process.exit(0);
