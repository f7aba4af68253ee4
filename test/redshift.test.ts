import { describe, expect, test } from 'vitest';
import { statementText } from '../compiler/render.ts';
import { CASES } from './golden/cases.ts';
import { compiledOn, compiledOnRedshift } from './golden/warehouses.ts';

/** Without comments, and with nothing of what quotes hold. */
const bare = (text: string): string =>
  text
    .replace(/--[^\n]*/g, '')
    .replace(/'(?:[^']|'')*'/g, "''")
    .replace(/"(?:[^"]|"")*"/g, '""')
    .toLowerCase();

/** What PostgreSQL runs and Redshift does not (documentation: Unsupported PostgreSQL features, functions, data types). */
const DENIED: Readonly<Record<string, RegExp>> = {
  'is distinct from': /\bdistinct\s+from\b/,
  'distinct on': /\bdistinct\s+on\b/,
  filter: /\bfilter\s*\(/,
  lateral: /\blateral\b|\bwith\s+ordinality\b/,
  returning: /\breturning\b/,
  'on conflict': /\bon\s+conflict\b/,
  arrays: /\barray\b|\[|\bunnest\b/,
  jsonb: /jsonb|->/,
  'values as a table': /\bvalues\b/,
  'truncate commits': /\btruncate\b/,
  savepoints: /\bsavepoint\b/,
  'row locks': /\bfor\s+(update|share)\b/,
  materialized: /\bmaterialized\b/,
  'a cast that cuts at 256': /\bvarchar\b(?!\s*\()|\bas\s+(text|char|character varying)\s*\)|::/,
  'rename if exists': /alter\s+table\s+if\s+exists/,
  'constraints that nothing checks': /\bunique\b|\bprimary\s+key\b/,
  'a frame without an order': /over\s*\((?:(?!order\s+by)[^()])*\brows\b/,
  now: /\bcurrent_timestamp\b|\blocaltimestamp\b/,
  'create or replace': /\bor\s+replace\b/,
  'a table made of a query': /\bcreate\s+table\b[^;]*\bas\s+select\b/,
};
/** Functions of Redshift that run beside user tables, and words that stand before a parenthesis. */
const FUNCTIONS =
  'can_json_parse cast chr coalesce count extract farmfingerprint64 floor getdate greatest json_extract_path_text json_serialize json_serialize_to_varbyte json_size lead left length lower max md5 nullif object octet_length repeat replace right row_number rtrim strpos substring sum to_char trim date_trunc decimal varchar numeric'.split(
    ' ',
  );
/** Functions of the leader node: only beside catalogs. */
const LEADER = ['has_table_privilege', 'has_schema_privilege', 'current_schema', 'pg_cancel_backend'];
const WORDS =
  'and as by case distkey else exists from in join not on or over select sortkey then union all when where table with columns'.split(
    ' ',
  );
/** Names that need quotes (documentation: Reserved words), as far as ours could be one. */
const RESERVED =
  'aes128 all analyse analyze and any array as asc backup between binary both case cast check collate column connect constraint create cross current_date current_time current_timestamp current_user default deferrable deflate defrag delta desc disable distinct do else emptyasnull enable encode encrypt end except explicit false for foreign freeze from full grant group having identity ignore ilike in initially inner intersect interval into is isnull join leading left like limit localtime localtimestamp minus natural new not notnull null nulls off offline offset oid old on only open or order outer overlaps parallel partition percent permissions pivot placing primary raw recover references respect rejectlog resort restore right select session_user similar snapshot some sysdate system table tag then timestamp to top trailing true truncatecolumns union unique unnest unpivot user using verbose wallet when where with without'.split(
    ' ',
  );

/** Functions that a statement calls and that were not looked up, or run on the leader node beside tables of ours. */
function unknownCalls(text: string): readonly string[] {
  // What stands after a name and before its columns is no call.
  const code = bare(text)
    .replace(/\binsert into [^\s(]*\s*\(/, '')
    .replace(/\bcreate table (if not exists )?[^\s(]*\s*\(/, '');
  const called = [...code.matchAll(/\b([a-z_][a-z_0-9]*)\s*\(/g)].map((m) => m[1]!);
  return called.filter(
    (f) => !FUNCTIONS.includes(f) && !WORDS.includes(f) && !(LEADER.includes(f) && !code.includes('""."')),
  );
}

/** What a statement names without quotes. */
function namesOf(text: string): readonly string[] {
  const types = ['bigint', 'timestamp', 'timestamptz', 'date', 'double'];
  return [...bare(text).matchAll(/\bas\s+([a-z_]\w*)\b(?!\s*\()/g)].map((m) => m[1]!).filter((n) => !types.includes(n));
}
const reserved = (text: string): readonly string[] => namesOf(text).filter((name) => RESERVED.includes(name));

describe('compiled SQL on Redshift', async () => {
  const statements = await compiledOnRedshift();

  test('has nothing that only PostgreSQL knows', () => {
    const found: string[] = [];
    for (const [name, text] of statements)
      for (const [what, pattern] of Object.entries(DENIED))
        if (pattern.test(bare(text))) found.push(`${name}: ${what}`);
    expect(found).toEqual([]);
    expect(statements.size).toBeGreaterThan(500);
  });

  test.each([
    ['a is distinct from b', 'is distinct from'],
    ['select distinct on (a) a', 'distinct on'],
    ['count(*) filter (where a)', 'filter'],
    ['select a from t, lateral (select t.a) as x', 'lateral'],
    ['delete from a returning b', 'returning'],
    ['insert into a select 1 on conflict do nothing', 'on conflict'],
    ['array_agg(a) = array[1]', 'arrays'],
    ["a ->> 'b'", 'jsonb'],
    ['from (values (1)) as v', 'values as a table'],
    ['truncate table "a"."b"', 'truncate commits'],
    ['savepoint a', 'savepoints'],
    ['select a from t for update', 'row locks'],
    ['with t as materialized (select 1)', 'materialized'],
    ['alter table if exists a rename to b', 'rename if exists'],
    ['create table a (b integer, unique (b))', 'constraints that nothing checks'],
    ['select current_timestamp', 'now'],
    ['create or replace view a as select 1', 'create or replace'],
    ['create table a as select 1', 'a table made of a query'],
    ['cast(a as varchar)', 'a cast that cuts at 256'],
    ['cast(a as text)', 'a cast that cuts at 256'],
    ['sum(a) over (partition by b rows unbounded preceding)', 'a frame without an order'],
  ])('%s is found', (text, what) => {
    expect(DENIED[what]!.test(bare(text))).toBe(true);
  });

  test('calls no function but those that were looked up, and those of the leader node only beside catalogs', () => {
    const unknown = new Set<string>();
    for (const [name, text] of statements) for (const f of unknownCalls(text)) unknown.add(`${name}: ${f}`);
    expect([...unknown].slice(0, 20)).toEqual([]);
  });

  test('names nothing by a reserved word', () => {
    const named = new Set([...statements.values()].flatMap(namesOf));
    expect([...statements].flatMap(([name, text]) => reserved(text).map((word) => `${name}: ${word}`))).toEqual([]);
    expect([...named]).toContain('syncline_key');
  });

  test('what is called or named otherwise is found', () => {
    expect(unknownCalls('select n from generate_series(1, 3) as s(n)')).toEqual(['generate_series', 's']);
    expect(unknownCalls('select string_agg(a) from "x"."y"')).toEqual(['string_agg']);
    expect(unknownCalls('select count(*) from t where has_table_privilege(t.name)')).toEqual([]);
    expect(unknownCalls('select has_table_privilege(a) from "x"."y"')).toEqual(['has_table_privilege']);
    expect(unknownCalls('select count(*) as "now()" /* */ from t where a = \'now()\' -- now()')).toEqual([]);
    expect(reserved('select a as tag, b as fine from t as snapshot')).toEqual(['tag', 'snapshot']);
    expect(reserved('select a as "tag", cast(b as date), cast(c as varchar(9)) from t')).toEqual([]);
  });
});

// Between two statements the source may change, and each sees what is committed by then.
test.each(['postgres', 'redshift'] as const)('on %s one statement reads checksum and payload', async (kind) => {
  // A text is no JSON column on PostgreSQL.
  const cases = (Object.keys(CASES) as (keyof typeof CASES)[]).filter((name) => name !== 'event-options');
  const read = (await compiledOn(kind, '', cases)).flatMap(({ name, plan }) =>
    plan.syncs.flatMap((sync) =>
      [sync.capture.fill, sync.capture.forward ?? []].map((steps) => {
        const files = steps.flatMap((step) => step.run);
        const texts = files.map((file) => statementText(plan.statements[file]!.sql));
        const reading = texts.filter((text) => text.includes('"main"."orders"'));
        return [
          name,
          steps.length > 0,
          reading.length,
          reading.every((t) => /row_checksum[^]*payload/.test(t)),
        ] as const;
      }),
    ),
  );
  expect(read.length).toBeGreaterThan(20);
  expect(read.filter(([, is, count, both]) => is && (count !== 1 || !both))).toEqual([]);
});
