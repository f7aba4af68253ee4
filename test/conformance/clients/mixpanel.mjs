/** npm `mixpanel`, with its defaults: everything it can send. */
import { readFileSync } from 'node:fs';
import Mixpanel from 'mixpanel';

const { events, plain } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const credentials = new Mixpanel.ServiceAccountCredentials('account', 'secret', '7');
const mixpanel = Mixpanel.init('tok', { credentials, verbose: !plain });
const sent = (send) =>
  new Promise((resolve, reject) =>
    send((error) => ((Array.isArray(error) ? error[0] : error) ? reject(error) : resolve())),
  );

const [first, ...rest] = events;
const { time, ...properties } = first.properties;
await sent((done) => mixpanel.import(first.event, time, properties, done));
await sent((done) => mixpanel.import_batch(rest, done));
await sent((done) => mixpanel.track('Tracked', { distinct_id: 'u1', text: '>>>???é' }, done));
await sent((done) =>
  mixpanel.track_batch(
    [1, 2, 3].map((n) => ({ event: 'Batch', properties: { distinct_id: 'u1', n } })),
    done,
  ),
);

const { people, groups } = mixpanel;
await sent((done) => people.set('u1', { name: 'Ann', gone: 1, list: ['a'] }, done));
await sent((done) => people.set_once('u1', { name: 'Bob', first: 'kept' }, done));
await sent((done) => people.increment('u1', { n: 2 }, done));
await sent((done) => people.increment('u1', { n: 3 }, done));
await sent((done) => people.append('u1', { list: 'a' }, done));
await sent((done) => people.union('u1', { list: ['a', 'b'] }, done));
await sent((done) => people.remove('u1', { list: 'b' }, done));
await sent((done) => people.unset('u1', 'gone', done));
await sent((done) => people.track_charge('u1', 9.5, { $time: '2026-01-02T00:00:00' }, done));
await sent((done) => people.set('u2', { name: 'Gone' }, done));
await sent((done) => people.delete_user('u2', done));

await sent((done) => groups.set('company', 'acme', { plan: 'pro', gone: 1 }, done));
await sent((done) => groups.set_once('company', 'acme', { plan: 'free', since: 2020 }, done));
await sent((done) => groups.union('company', 'acme', { tags: ['a', 'b'] }, done));
await sent((done) => groups.remove('company', 'acme', { tags: 'b' }, done));
await sent((done) => groups.unset('company', 'acme', ['gone'], done));
await sent((done) => groups.set('company', 'old', { a: 1 }, done));
await sent((done) => groups.delete_group('company', 'old', done));
