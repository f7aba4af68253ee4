import { expect, test } from 'vitest';
import { formatText } from '../../compiler/diagnostics.ts';
import { COLUMNS, compileFiles, lock, PROJECT } from './project.ts';

const TOKEN = PROJECT.replace(
  'mixpanel: sandbox',
  'mixpanel: { project_id: 1, token: x, service_account: { username: u, secret: s } }',
);
const OWN = {
  events: 'event: E, time: ordered_at, user_id: customer_id',
  user_profiles: 'user_id: customer_id',
  group_profiles: 'group_key: company, group_id: customer_id',
  lookup_table: 'id: order_id, lookup_table_id: x, properties: { exclude: [tags, raw, photo] }',
} as const;
type Kind = keyof typeof OWN;
const MODES = ['mirror', 'append', 'full', 'one_time'] as const;

/** What a cell refuses, and the mode that its hint names; every other cell compiles. */
const REFUSED: Readonly<Record<string, string>> = {
  'events full': 'use mirror to keep them equal to the table, or one_time to send it once',
  'lookup_table mirror': 'use full',
  'lookup_table append': 'use full',
  'user_profiles full history': 'use mirror',
  'group_profiles full history': 'use mirror',
};

async function told(
  kind: Kind,
  mode: string,
  more = '',
  columns = COLUMNS as readonly (readonly [string, string])[],
  project = TOKEN,
) {
  const inserted = mode === 'append' ? ', insert_time: loaded_at' : '';
  const yml = `syncs:\n  - { name: s, kind: ${kind}, mode: ${mode}, source: { relation: main.orders }, ${OWN[kind]}${inserted}${more} }\n`;
  const files = { 'syncline.yml': project, 'syncs/s.yml': yml, 'syncline.lock.json': lock(columns) };
  const { plan, diagnostics } = await compileFiles(files);
  return {
    plan,
    text: diagnostics
      .filter((d) => d.severity === 'error')
      .map((d) => formatText(d, files))
      .join('\n'),
  };
}

const cells = (Object.keys(OWN) as Kind[]).flatMap((kind) => MODES.map((mode) => [kind, mode] as const));

test.each(cells)('%s in mode %s compiles, or says which mode to use instead', async (kind, mode) => {
  const { plan, text } = await told(kind, mode);
  const hint = REFUSED[`${kind} ${mode}`];
  expect(plan === undefined).toBe(hint !== undefined);
  if (hint !== undefined) expect(text).toMatch(new RegExp(`error\\[mode-unavailable\\].*\n[^]*hint: .*${hint}`));
});

test.each(cells.filter(([kind]) => kind.endsWith('profiles')))('%s in mode %s with history', async (kind, mode) => {
  const { plan, text } = await told(kind, mode, ', history: { start_time: ordered_at }');
  const hint = REFUSED[`${kind} ${mode} history`];
  expect([plan === undefined, text.includes(hint ?? '')]).toEqual([hint !== undefined, true]);
});

test.each<[string, Kind, string, string, readonly (readonly [string, string])[]]>([
  [
    'a lookup table of one column',
    'lookup_table',
    'full',
    'a lookup table needs a second column, and main.orders has only its id',
    [
      ['order_id', 'INTEGER'],
      ['tags', 'VARCHAR[]'],
      ['raw', 'JSON'],
      ['photo', 'BLOB'],
    ],
  ],
  [
    'nested values in a lookup table',
    'lookup_table',
    'full',
    '`order` is VARCHAR[]; a lookup table needs plain values: exclude it',
    [
      ['order_id', 'INTEGER'],
      ['tags', 'VARCHAR[]'],
      ['raw', 'JSON'],
      ['photo', 'BLOB'],
      ['order', 'VARCHAR[]'],
    ],
  ],
  [
    'a time as user id',
    'user_profiles',
    'mirror',
    'column `customer_id` is TIMESTAMP; user_id needs text or an integer',
    [
      ['customer_id', 'TIMESTAMP'],
      ['n', 'INTEGER'],
    ],
  ],
  [
    'a time as group id',
    'group_profiles',
    'mirror',
    'column `customer_id` is TIMESTAMP; group_id needs text or an integer',
    [
      ['customer_id', 'TIMESTAMP'],
      ['n', 'INTEGER'],
    ],
  ],
  [
    'a text as time',
    'events',
    'mirror',
    'column `ordered_at` is VARCHAR; time needs',
    [
      ['ordered_at', 'VARCHAR'],
      ['customer_id', 'VARCHAR'],
    ],
  ],
])('%s is refused in one sentence', async (_, kind, mode, sentence, columns) => {
  const { plan, text } = await told(kind, mode, '', columns);
  expect(plan).toBe(undefined);
  expect(text).toContain(sentence);
});

test('a group kind without token names what is missing', async () => {
  const { plan, text } = await told('group_profiles', 'mirror', '', COLUMNS, TOKEN.replace('token: x, ', ''));
  expect([plan, text]).toEqual([
    undefined,
    expect.stringMatching(
      /error\[credential-missing\]: kind group_profiles is sent with `token`[^]*hint: set `mixpanel: \{ token: … \}` of the target/,
    ),
  ]);
});
