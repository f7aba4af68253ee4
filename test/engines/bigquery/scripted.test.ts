import { BigQuery } from '@google-cloud/bigquery';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { Refusal } from './refusal.ts';
import { startScripted, type Script, type Scripted } from './scripted.ts';

let server: Scripted;
beforeAll(() => {
  process.env['METADATA_SERVER_DETECTION'] = 'none';
});
afterEach(() => server.stop());

async function connect(script: Script): Promise<BigQuery> {
  server = await startScripted(script);
  return new BigQuery({ projectId: 'p', apiEndpoint: server.endpoint, retryOptions: { autoRetry: false } });
}
const refused = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => {
      throw new Error('it was not refused');
    },
    (error: unknown) => error,
  );

test('a job is done, fails, or runs until it was asked for', async () => {
  const client = await connect(({ sql }) => {
    if (sql === 'update') return { affected: 3 };
    if (sql === 'rows')
      return {
        rows: [
          { a: 'x', n: '7' },
          { a: null, n: '8' },
        ],
        types: { n: 'INTEGER' },
      };
    if (sql === 'wrong') return { failed: new Refusal('invalidQuery', 'Syntax error') };
    if (sql === 'long') return { runs: 2, then: { rows: [{ a: 'done' }] } };
    return undefined;
  });
  const [update] = await client.createQueryJob({ query: 'update', jobId: 'u' });
  expect(update.metadata).toMatchObject({
    status: { state: 'DONE' },
    statistics: { query: { numDmlAffectedRows: '3' } },
  });
  const [rows] = await client.createQueryJob({ query: 'rows', jobId: 'r' });
  expect((await rows.getQueryResults())[0]).toEqual([
    { a: 'x', n: 7 },
    { a: null, n: 8 },
  ]);
  expect(await refused(client.createQueryJob({ query: 'wrong', jobId: 'w' }))).toMatchObject({
    errors: [{ reason: 'invalidQuery' }],
  });
  expect(await refused(client.job('w').getQueryResults())).toMatchObject({ code: 400 });
  const [long] = await client.createQueryJob({ query: 'long', jobId: 'l' });
  expect(long.metadata).toMatchObject({ status: { state: 'RUNNING' } });
  expect((await long.getQueryResults())[0]).toEqual([{ a: 'done' }]);
  expect(server.asked.filter((call) => call === 'getQueryResults l')).toHaveLength(2);
  expect(await refused(client.createQueryJob({ query: 'update', jobId: 'u' }))).toMatchObject({
    code: 409,
    errors: [{ reason: 'duplicate' }],
  });
});

test('requests are refused, lost and cut; what was lost is on record', async () => {
  const client = await connect(({ call, sql }) => {
    if (call === 'jobs.insert' && sql === 'lost') return { lost: { affected: 1 } };
    if (call === 'jobs.insert' && sql === 'cut') return 'cut';
    if (sql === 'denied') return { refused: new Refusal('accessDenied', 'Access Denied') };
    if (sql === 'rate') return { refused: new Refusal('rateLimitExceeded', 'Exceeded rate limits') };
    if (sql === 'bytes')
      return { failed: new Refusal('bytesBilledLimitExceeded', 'Query exceeded limit for bytes billed') };
    if (call === 'tables.get') return { resource: { kind: 'bigquery#table', numRows: '5' } };
    return undefined;
  });
  expect(await refused(client.createQueryJob({ query: 'lost', jobId: 'a' }))).toMatchObject({
    message: expect.stringMatching(/hang up|ECONNRESET/) as string,
  });
  expect((await client.job('a').getMetadata())[0]).toMatchObject({
    statistics: { query: { numDmlAffectedRows: '1' } },
  });
  await refused(client.createQueryJob({ query: 'cut', jobId: 'b' }));
  expect(await refused(client.job('b').getMetadata())).toMatchObject({ code: 404 });
  for (const [query, code] of Object.entries({ denied: 403, rate: 403 }))
    expect(await refused(client.createQueryJob({ query, jobId: query }))).toMatchObject({ code });
  expect(await refused(client.createQueryJob({ query: 'bytes', jobId: 'c' }))).toMatchObject({
    errors: [{ reason: 'bytesBilledLimitExceeded' }],
  });
  expect((await client.dataset('d').table('t').getMetadata())[0]).toMatchObject({ numRows: '5' });
  expect(await refused(client.dataset('d').getMetadata())).toMatchObject({ code: 404 });
});

test('a job that runs and is cancelled has failed', async () => {
  const client = await connect(({ sql }) => (sql === 'for ever' ? { runs: Infinity, then: {} } : undefined));
  const [job] = await client.createQueryJob({ query: 'for ever', jobId: 'x' });
  await job.cancel();
  expect(await refused(job.getQueryResults())).toMatchObject({ errors: [{ reason: 'stopped' }] });
});
