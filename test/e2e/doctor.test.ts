import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { appendFile, chmod, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { openSandbox, serveSandbox } from '../../runtime/sandbox/server.ts';
import type { Ran } from './cli.ts';
import { cli, cliIn, duck, ORDINARY, SECRET, sent, shop, told, YML } from './cli.ts';

const cleanups: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const PROFILES = `  - { name: customers, kind: user_profiles, mode: mirror, source: { relation: orders }, user_id: id }
  - { name: accounts, kind: group_profiles, mode: mirror, source: { relation: orders }, group_key: company, group_id: id }
`;
/** Findings without those that are ok, as a level and the rest of the line. */
const trouble = ({ out }: Ran): string[] => out.split('\n').filter((line) => line !== '' && !line.startsWith('ok '));
const hash = async (file: string): Promise<string> =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex');

test('with the sandbox in the process all is well, before the first apply and after it, and nothing is written', async () => {
  const dir = await shop();
  const file = path.join(dir, 'warehouse.duckdb');
  const before = await hash(file);
  const first = await cli(dir, 'doctor');
  expect([first.code, first.out, first.err]).toEqual([
    0,
    `ok    project: 1 sync for target dev.
ok    compiled: Nothing is compiled yet, so nothing was reviewed; \`syncline compile\` writes what would run.
ok    environment: No variable is missing.
ok    warehouse: warehouse.duckdb opens.
ok    sources: 1 sync can read what the lock says.
ok    rights: warehouse.duckdb may be written.
ok    staging: mixpanel has the tables of 0 syncs; \`apply\` makes those of 1 more.
ok    mixpanel: The sandbox in this process; \`apply\` makes its file sandbox.duckdb.
`,
    '',
  ]);
  expect([await hash(file), existsSync(path.join(dir, 'sandbox.duckdb'))]).toEqual([before, false]);
  told(await cli(dir, 'apply'), 0);
  told(await cli(dir, 'compile'), 0);
  const after = await hash(file);
  const second = await cli(dir, 'doctor');
  expect([second.code, trouble(second)]).toEqual([0, []]);
  expect(second.out).toContain('ok    compiled: Nothing that was reviewed differs from what would run.\n');
  expect(second.out).toMatch(/ok {4}service account: .* knows sandbox as a member of project 1\.\n/);
  expect([await hash(file), await sent(dir)]).toEqual([after, 3]);
  expect(await cli(dir, 'doctor', '--quiet')).toMatchObject({ code: 0, out: '', err: '' });
});

test('a condition that the warehouse cannot run is told, and no row is read for it', async () => {
  for (const [where, why] of [
    ['nothing > 1', /^fail {2}source: purchases: The warehouse cannot run the condition `where:`. .*nothing/],
    ["item < to_days('x')", /^fail {2}source: purchases: The warehouse cannot run the condition `where:`/],
    ["item <> 'x'", undefined],
  ] as const) {
    const ran = await cli(await shop({ extra: `    where: "${where}"\n` }), 'doctor');
    expect([ran.code, trouble(ran)]).toEqual(why ? [1, [expect.stringMatching(why)]] : [0, []]);
  }
});

test('what is not well in the warehouse: each finding is a line that says what to do', async () => {
  const dir = await shop({ extra: PROFILES });
  const file = path.join(dir, 'warehouse.duckdb');
  await duck(file, 'alter table orders drop column item', 'alter table orders alter id type bigint');
  told(await cli(dir, 'compile'), 0);
  await appendFile(path.join(dir, 'compiled/dev/plan.json'), ' ');
  const changed = await cli(dir, 'doctor', '-s', 'purchases');
  expect([changed.code, trouble(changed)]).toEqual([
    1,
    [
      'fail  compiled: compiled/dev/plan.json differs from what this project compiles to. Run `syncline compile -t dev` and have the change reviewed.',
      'fail  source: purchases: id, item of orders are not as the lock says. Run `syncline lock` and compile again.',
    ],
  ]);
  await rm(path.join(dir, 'compiled'), { recursive: true });
  await duck(file, 'drop table orders');
  const gone = await cli(dir, 'doctor', '-s', 'purchases', '--output', 'json');
  expect([gone.code, JSON.parse(gone.out)]).toEqual([
    1,
    expect.arrayContaining([
      {
        level: 'fail',
        check: 'source',
        message: 'purchases: orders does not exist or may not be read. Check `relation:`.',
      },
    ]),
  ]);
  await chmod(file, 0o444);
  const readOnly = await cliIn({ cwd: dir, under: ORDINARY }, 'doctor');
  expect(trouble(readOnly)).toContain(
    'fail  rights: warehouse.duckdb may not be written: permission denied. Give the right to write, or use `staging: none` with the modes append, full and one_time.',
  );
  await rm(file);
  expect(trouble(await cli(dir, 'doctor'))).toEqual([
    'fail  warehouse: There is no database file warehouse.duckdb. Check `path:` of the target.',
  ]);
});

test('what is not well in Mixpanel: credentials, region, project, token, group keys, variables', async () => {
  const sandbox = await openSandbox({
    path: ':memory:',
    access: { projects: [{ id: '7', token: 'tok' }], accounts: { bot: SECRET } },
  });
  const groups = { status: 404, body: '{}' };
  const server = await serveSandbox(
    {
      exchange: (request) =>
        request.url === '/api/app/projects/7/data-groups/'
          ? Promise.resolve({ ...groups, headers: {} })
          : sandbox.exchange(request),
    },
    { port: 0 },
  );
  cleanups.push(() => server.close().then(() => sandbox.close()));
  const dir = await shop({ extra: PROFILES });
  const host = `http://127.0.0.1:${server.port}`;
  const yml = YML.replace(
    'mixpanel: sandbox',
    `mixpanel: { host: '${host}', project_id: 7, service_account: { username: bot, secret: "{{ env_var('MP_SECRET') }}" }, token: tok, retry: { initial: 1ms, max: 2ms, attempts: 2 } }`,
  );
  const doctor = async (text: string, env: Record<string, string> = { MP_SECRET: SECRET }): Promise<Ran> => {
    await writeFile(path.join(dir, 'syncline.yml'), text);
    const ran = await cliIn({ cwd: dir, env }, 'doctor');
    expect(ran.out + ran.err).not.toContain(SECRET);
    expect(ran.code).toBe(ran.out.includes('\nfail') ? 1 : 0);
    return ran;
  };

  const well = await doctor(yml);
  expect(trouble(well)).toEqual([
    'warn  group keys: Mixpanel does not say which it has. Look whether Project Settings, Group Keys has company.',
  ]);
  expect(well.out).toContain(`ok    service account: ${host} knows bot as a member of project 7.\n`);
  expect(well.out).toContain('ok    ingestion: Mixpanel takes records with these credentials');
  Object.assign(groups, { status: 200, body: '{"status":"ok","results":[{"property_name":"team"}]}' });
  expect(trouble(await doctor(yml))).toEqual([
    'fail  group keys: The project has no company: group profiles would be lost. Add it in Project Settings, Group Keys.',
  ]);
  groups.body = '{"status":"ok","results":[{"property_name":"team"},{"property_name":"company"}]}';
  expect(trouble(await doctor(yml))).toEqual([]);

  const [account, ingestion] = trouble(await doctor(yml, { MP_SECRET: 'another' }));
  expect(account).toBe(
    `fail  service account: ${host} refuses bot (status 401). Check its secret and whether it expired, and the region: an account of a project in another region gets the same answer.`,
  );
  expect(ingestion).toMatch(
    /^fail {2}ingestion: Mixpanel refused the credentials \(status 401\)\..* in the region of /,
  );
  expect(trouble(await doctor(yml.replace('project_id: 7', 'project_id: 8')))[0]).toBe(
    'fail  service account: bot is no member of project 8 (it sees 7). Check project_id.',
  );
  const empty = yml.replace('token: tok', `token: "{{ env_var('MP_TOKEN') }}"`);
  expect(trouble(await doctor(empty, { MP_SECRET: SECRET, MP_TOKEN: '' }))[0]).toBe(
    "fail  token: Profiles are sent with the project's token, and the target has none (customers, accounts). Set token.",
  );
  // A key that is not there at all is a mistake of the files, which every command tells first.
  await writeFile(path.join(dir, 'syncline.yml'), yml.replace(' token: tok,', ''));
  told(await cli(dir, 'doctor'), 2, 'error[credential-missing]');
  const unset = await doctor(yml, { MP_SECRET_OTHER: '' });
  expect(trouble(unset)).toEqual([
    expect.stringMatching(
      /^fail {2}environment: environment variable MP_SECRET is not set \(.*\): export MP_SECRET, .*\.$/,
    ),
  ]);
  expect(unset.out).toContain('ok    warehouse: warehouse.duckdb opens.\n');
  expect(trouble(await doctor(yml.replace(host, 'http://127.0.0.1:9'))).join('\n')).toMatch(
    /^fail {2}service account: http:\/\/127\.0\.0\.1:9 cannot be reached: .*\nfail {2}ingestion: .*\nwarn {2}group keys/,
  );
  expect(sandbox.counts.records).toBe(0);
});
