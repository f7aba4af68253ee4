/** npm `mixpanel`, with its defaults: every function that it has. */
import { readFileSync, writeFileSync } from 'node:fs';
import Mixpanel from 'mixpanel';
import { covered } from './covered.mjs';

const { events, plain } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const errors = [];
const note = (message) => errors.push(message);
const logger = { trace() {}, debug() {}, info() {}, warn() {}, error: note };
const credentials = new Mixpanel.ServiceAccountCredentials('account', 'secret', '7');
const [mixpanel, mixpanelLeft] = covered(
  Mixpanel.init('tok', {
    credentials,
    logger,
    local_flags_config: { enable_polling: false },
    remote_flags_config: {},
  }),
);
const [people, peopleLeft] = covered(mixpanel.people);
const [groups, groupsLeft] = covered(mixpanel.groups);
const [local, localLeft] = covered(mixpanel.local_flags);
const [remote, remoteLeft] = covered(mixpanel.remote_flags);
mixpanel.set_config({ verbose: !plain });
const sent = (send) =>
  new Promise((resolve, reject) =>
    send((error) => ((Array.isArray(error) ? error[0] : error) ? reject(error) : resolve())),
  );

const [first, second, third, ...rest] = events;
const importOne = async (client, { event, properties: { time, ...properties } }) =>
  sent((done) => client.import(event, time, properties, done));
await importOne(mixpanel, first);
await importOne(Mixpanel.init('tok', { secret: 'sec', logger }), second);
await importOne(Mixpanel.init('tok', { key: 'sec', logger }), third);
await sent((done) => mixpanel.import_batch(rest, done));
await sent((done) => mixpanel.track('Tracked', { distinct_id: 'u1', text: '>>>???é' }, done));
const batch = [1, 2, 3].map((n) => ({ event: 'Batch', properties: { distinct_id: 'u1', n } }));
await sent((done) => mixpanel.track_batch(batch.slice(0, 1), done));
await sent((done) => mixpanel.send_event_request('/track', 'Batch', batch[1].properties, done));
const properties = { ...batch[2].properties, token: 'tok' };
await sent((done) => mixpanel.send_request({ endpoint: '/track', data: { event: 'Batch', properties } }, done));
await sent((done) => mixpanel.alias('u1', 'another u1', done));

await sent((done) => people.set('u1', { name: 'Ann', gone: 1, list: ['a'] }, done));
await sent((done) => people.set('u1', 'generic', 1, done));
await sent((done) => people.set('another u1', { own: true }, done));
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
await sent((done) => people.set('u3', { kept: 1 }, { $ignore_time: true, $ip: '0' }, done));
await sent((done) => people.track_charge('u3', '1', { $time: new Date(0) }, { $ignore_time: true }, done));
await sent((done) => people.clear_charges('u3', { $ignore_time: true }, done));

await sent((done) => groups.set('company', 'acme', { plan: 'pro', gone: 1 }, done));
await sent((done) => groups.set('company', 'acme', 'generic', 1, done));
await sent((done) => groups.set_once('company', 'acme', { plan: 'free', since: 2020 }, done));
await sent((done) => groups.union('company', 'acme', { tags: ['a', 'b'] }, done));
await sent((done) => groups.remove('company', 'acme', { tags: 'b' }, done));
await sent((done) => groups.unset('company', 'acme', ['gone'], done));
await sent((done) => groups.set('company', 'old', { a: 1 }, done));
await sent((done) => groups.delete_group('company', 'old', done));

const context = { distinct_id: 'u1' };
await local.startPollingForDefinitions();
const localFlags = {
  ready: await local.areFlagsReady().then(String, ({ message }) => message),
  called: await local.callFlagsEndpoint().then(String, ({ message }) => message),
  variant: local.getVariant('flag', { variant_value: 'mine' }, context),
  value: local.getVariantValue('flag', 'mine', context),
  enabled: local.isEnabled('flag', context),
  all: local.getAllVariants(context),
};
local.stopPollingForDefinitions();
local.shutdown();
const remoteFlags = {
  called: await remote.callFlagsEndpoint({ context: '{}' }).then(String, ({ message }) => message),
  variant: await remote.getVariant('flag', { variant_value: 'mine' }, context),
  value: await remote.getVariantValue('flag', 'mine', context),
  enabled: await remote.isEnabled('flag', context),
  all: await remote.getAllVariants(context),
};
remote.shutdown();
local.trackExposureEvent('flag', { variant_key: 'on' }, context);
remote.trackExposureEvent('flag', { variant_key: 'on' }, context);

const left = { mixpanel: mixpanelLeft(), people: peopleLeft(), groups: groupsLeft() };
writeFileSync(
  process.argv[3],
  JSON.stringify({
    left: { ...left, local: localLeft(), remote: remoteLeft() },
    others: Object.keys(Mixpanel),
    errors,
    localFlags,
    remoteFlags,
  }),
);
