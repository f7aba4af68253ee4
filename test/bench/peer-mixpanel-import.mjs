/** Sends the events of a file by the API of npm `mixpanel-import`, from memory. */
import { readFileSync } from 'node:fs';
import mixpanel from 'mixpanel-import';

const events = readFileSync(process.argv[2], 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line));
const started = performance.now();
const { success } = await mixpanel({ acct: 'u', pass: 's', project: '1', token: 'x' }, events, {
  recordType: 'event',
  compress: true,
  strict: true,
  abridged: true,
  verbose: false,
  showProgress: false,
  logs: false,
});
console.log(`\n${JSON.stringify({ ms: performance.now() - started, success })}`);
process.exit(0);
