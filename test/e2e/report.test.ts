import { createRequire } from 'node:module';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type * as Ajv from 'ajv/dist/2020.js';
import { expect, test } from 'vitest';
import { cli, cliIn, duck, sent, shop, start, SYNC, told } from './cli.ts';

const schema = path.join(import.meta.dirname, '../../schemas/manifest.schema.json');
const TYPO = '    user_idd: u\n';

async function manifestOf(dir: string) {
  const { Ajv2020 } = createRequire(import.meta.url)('ajv/dist/2020.js') as typeof Ajv;
  const check = new Ajv2020({
    strict: true,
    allErrors: true,
    allowUnionTypes: true,
    formats: { 'date-time': true },
  }).compile(JSON.parse(await readFile(schema, 'utf8')) as object);
  const manifest = JSON.parse(await readFile(path.join(dir, 'target/syncline/dev/manifest.json'), 'utf8')) as {
    finishedAt: string | null;
    syncs: Record<
      string,
      { status: string; runs: { run: number; resumed: boolean; counts?: object }[]; sent?: number }
    >;
  };
  check(manifest);
  return { errors: check.errors ?? null, ...manifest };
}
const objects = (text: string): Record<string, unknown>[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

test.concurrent('--log-format json: every line of stderr is one object', async () => {
  const dir = await shop();
  const ran = await cli(dir, 'apply', '--log-format', 'json');
  const events = objects(ran.err);
  expect(ran).toMatchObject({ code: 0, out: '' });
  expect(new Set(events.map((e) => e['type']))).toEqual(new Set(['begin', 'step', 'captured', 'sent', 'committed']));
  expect(events.find((e) => e['type'] === 'committed')).toMatchObject({
    sync: 'purchases',
    run: 1,
    counts: { accepted_inserts: 3 },
  });
  expect(Date.parse(String(events[0]?.['at']))).toBeGreaterThan(0);
  expect(objects((await cli(dir, 'apply', '--log-format=json')).err)).toContainEqual(
    expect.objectContaining({ type: 'unchanged', sync: 'purchases' }),
  );

  await duck(path.join(dir, 'warehouse.duckdb'), 'alter table orders drop column item');
  const failed = await cli(dir, 'apply', '--log-format', 'json');
  expect([failed.code, objects(failed.err).at(-1)]).toMatchObject([
    1,
    { type: 'error', code: 'columns-drifted', sync: 'purchases' },
  ]);
  const used = await cli(dir, 'apply', '--log-format', 'json', '--bogus');
  expect([used.code, objects(used.err)]).toMatchObject([
    2,
    [{ type: 'error', code: 'usage', message: "unknown option '--bogus'" }],
  ]);
  const none = await cli(dir, 'apply', '--log-format', 'json', '-s', 'x');
  expect([none.code, objects(none.err)]).toMatchObject([2, [{ type: 'error', code: 'usage' }]]);

  const bad = await shop();
  await writeFile(path.join(bad, 'syncs/shop.yml'), (await readFile(path.join(bad, 'syncs/shop.yml'), 'utf8')) + TYPO);
  const diagnosed = await cli(bad, 'validate', '--log-format', 'json');
  expect([diagnosed.code, objects(diagnosed.err)]).toMatchObject([
    2,
    [
      {
        type: 'diagnostic',
        code: 'unknown-key',
        severity: 'error',
        hint: 'did you mean `user_id`?',
        span: { file: 'syncs/shop.yml', start: { line: 9, col: 5 } },
      },
      { type: 'message' },
    ],
  ]);
});

test.concurrent('on GitHub Actions: annotations with paths of the repository, and a job summary', async () => {
  const dir = await shop();
  const summary = path.join(dir, 'summary.md');
  const env = { GITHUB_ACTIONS: 'true', GITHUB_WORKSPACE: path.dirname(dir), GITHUB_STEP_SUMMARY: summary };
  const ran = await cliIn({ cwd: dir, env }, 'apply');
  told(ran, 0, '3 inserts');
  expect(ran.err).not.toContain('::');
  await duck(
    path.join(dir, 'warehouse.duckdb'),
    "update orders set item = 'x' where id = 1",
    'delete from orders where id = 2',
    'update orders set t = null where id = 0',
  );
  told(await cliIn({ cwd: dir, env }, 'apply'), 0, '0 inserts, 1 update, 2 deletes, 1 invalid');
  told(await cliIn({ cwd: dir, env }, 'apply'), 0, 'nothing changed');
  await duck(path.join(dir, 'warehouse.duckdb'), 'alter table orders drop column item');
  const failed = await cliIn({ cwd: dir, env }, 'apply');
  told(failed, 1, '\n::error::[columns-drifted] purchases: ');
  const table = await readFile(summary, 'utf8');
  expect(table.match(/^### syncline apply: shop \/ dev$/gm)).toHaveLength(4);
  expect(table.split('\n').filter((line) => line.startsWith('| purchases'))).toEqual([
    '| purchases | done | 3 | 0 | 0 | 0 | 0 |',
    '| purchases | done | 0 | 1 | 2 | 0 | 1 |',
    '| purchases | unchanged | 0 | 0 | 0 | 0 | 0 |',
    expect.stringMatching(/^\| purchases \| failed: [^|]*column `item` is missing[^|]* \| 0 \| 0 \| 0 \| 0 \| 0 \|$/),
  ]);

  const file = path.join(dir, 'syncs/shop.yml');
  await writeFile(file, (await readFile(file, 'utf8')) + TYPO);
  const typo = await cliIn({ cwd: dir, env }, 'validate');
  told(typo, 2, 'syncs/shop.yml:9:5: error[unknown-key]');
  expect(typo.err).toContain(
    `\n::error file=${path.basename(dir)}/syncs/shop.yml,line=9,col=5::[unknown-key] unknown key \`user_idd\` (did you mean \`user_id\`?)\n`,
  );
  expect(typo.err.match(/^::error/gm)).toHaveLength(1);
  await writeFile(file, SYNC.replace('    key: id\n', ''));
  const warned = await cliIn({ cwd: dir, env }, 'validate');
  told(
    warned,
    0,
    `\n::warning file=${path.basename(dir)}/syncs/shop.yml,line=4,col=11::[mirror-without-key] mirror without`,
  );
  expect(warned.err.match(/^::/gm)).toHaveLength(1);
  told(await cliIn({ cwd: dir, env }, 'apply', '-t', 'nope'), 2, '::error::[target-not-found]');
  await mkdir(path.join(dir, 'folder'));
  const unwritable = await shop();
  told(
    await cliIn({ cwd: unwritable, env: { ...env, GITHUB_STEP_SUMMARY: path.join(dir, 'folder') } }, 'apply'),
    0,
    'The job summary cannot be written: a folder is in its place.',
  );
});

test.concurrent(
  'the manifest is what its schema says, also after a kill -9, and sums up a run that was finished',
  async () => {
    const rows = 30_000;
    const dir = await shop({
      table: `create table orders as select i::integer as id, timestamp '2024-01-01' as t, 'x' as item from range(${rows}) as t(i)`,
    });
    told(await cli(dir, 'apply'), 0);
    expect(await manifestOf(dir)).toMatchObject({
      errors: null,
      finishedAt: expect.any(String) as string,
      syncs: { purchases: { status: 'done', runs: [{ run: 1, resumed: false, counts: { accepted_inserts: rows } }] } },
    });
    await duck(path.join(dir, 'warehouse.duckdb'), "update orders set item = 'y'");
    const { child, ended } = start(dir, 'apply', '--quiet');
    const read = async () => (await manifestOf(dir)).syncs['purchases'];
    for (let i = 0; i < 4000; i++) {
      const now = await read();
      if (now?.runs[0]?.run === 2 && (now.sent ?? 0) > 0) break;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    child.kill('SIGKILL');
    await ended;
    const killed = await manifestOf(dir);
    expect(killed).toMatchObject({
      errors: null,
      finishedAt: null,
      syncs: { purchases: { status: 'running', runs: [{ run: 2, resumed: false }] } },
    });
    expect(killed.syncs['purchases']?.sent).toBeGreaterThan(0);
    await duck(path.join(dir, 'warehouse.duckdb'), 'delete from orders where id = 5');
    const summary = path.join(dir, 'summary.md');
    told(await cliIn({ cwd: dir, env: { GITHUB_STEP_SUMMARY: summary } }, 'apply'), 0, 'finishing interrupted run 2');
    expect(await manifestOf(dir)).toMatchObject({
      errors: null,
      syncs: {
        purchases: {
          status: 'done',
          runs: [
            { run: 2, resumed: true, counts: { accepted_updates: rows } },
            { run: 4, resumed: false, counts: { accepted_deletes: 1 } },
          ],
        },
      },
    });
    expect(await readFile(summary, 'utf8')).toContain(`| purchases | done | 0 | 30,000 | 1 | 0 | 0 |`);
    await duck(path.join(dir, 'warehouse.duckdb'), 'alter table orders drop column item');
    told(await cli(dir, 'apply'), 1);
    expect(await manifestOf(dir)).toMatchObject({
      errors: null,
      syncs: { purchases: { status: 'failed', error: { code: 'columns-drifted' } } },
    });
    expect(await sent(dir)).toBeGreaterThanOrEqual(2 * rows + 1);
  },
);
