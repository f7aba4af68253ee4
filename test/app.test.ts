import { expect, test } from 'vitest';
import { appHost } from '../runtime/cli/mixpanel.ts';
import { createAppApi, groupKeysOf, projectsOf } from '../runtime/mixpanel/app.ts';
import { realWorld } from '../runtime/world.ts';

test('the App API of each region has a host of its own; another host serves it itself', () => {
  expect(
    [
      'https://api.mixpanel.com',
      'https://api-eu.mixpanel.com',
      'https://api-in.mixpanel.com',
      'http://127.0.0.1:8765',
    ].map(appHost),
  ).toEqual(['https://mixpanel.com', 'https://eu.mixpanel.com', 'https://in.mixpanel.com', 'http://127.0.0.1:8765']);
});

test('what is read of an answer, in the forms that are known and in none', () => {
  expect(projectsOf({ projects: { 7: { role: 'admin' }, 8: {} } })).toEqual(
    new Map([
      ['7', 'admin'],
      ['8', undefined],
    ]),
  );
  for (const other of [undefined, null, 'x', {}, { projects: 1 }]) expect(projectsOf(other)).toBeUndefined();
  expect(groupKeysOf([{ property_name: 'company' }])).toEqual(['company']);
  expect(groupKeysOf({ 1: { property_name: 'company' } })).toEqual(['company']);
  expect(groupKeysOf([])).toEqual([]);
  for (const other of [undefined, 'x', [{}], [1]]) expect(groupKeysOf(other)).toBeUndefined();
});

test('a GET with the account, whose secret is in no message', async () => {
  const seen: unknown[] = [];
  const answer = (text: string) => ({ status: 200, headers: { get: () => null }, text: () => Promise.resolve(text) });
  const api = (text: string | Error) =>
    createAppApi(
      {
        ...realWorld,
        fetch: (url, { method, headers, body }) => {
          seen.push([url, method, headers['authorization'], body]);
          return typeof text === 'string' ? Promise.resolve(answer(text)) : Promise.reject(text);
        },
      },
      { host: 'https://mixpanel.com', account: { username: 'bot', secret: 'hush' }, requestTimeoutMs: 1000 },
    );
  expect(await api('{"results":{"a":1}}').get('/api/app/me')).toEqual({ status: 200, results: { a: 1 } });
  expect(await api('<html>').get('/x')).toEqual({ status: 200, results: undefined });
  expect(seen[0]).toEqual(['https://mixpanel.com/api/app/me', 'GET', `Basic ${btoa('bot:hush')}`, undefined]);
  await expect(api(new Error('no hush', { cause: new Error('hush') })).get('/x')).rejects.toThrow(
    'https://mixpanel.com cannot be reached: ***.',
  );
});
