import type { Column, Dialect } from '../../compiler/dialects/dialect.ts';

/** Rows of text columns that must have one checksum: the lookup table of Mixpanel's documentation among them. */
export const EQUAL: readonly (readonly [string[], string[]])[] = [
  [
    ["'12345'", "'One Dance'", "'Drake'", 'null'],
    ["'12345'", "'One Dance'", "'Drake'"],
  ],
  [
    ["'83921'", 'null', 'null', "'Classical'"],
    ["'83921'", 'null', 'null', "'Classical'", 'null'],
  ],
  [['null', 'null'], ['null']],
];

/** Rows of text columns that must not. */
export const UNEQUAL: readonly (readonly [string[], string[]])[] = [
  [
    ["'12345'", "'One Dance'", "'Drake'", 'null', "'tag1'"],
    ["'12345'", "'One Dance'", "'Drake'", "'tag1'"],
  ],
  [
    ["'1'", "'a'"],
    ["'1'", "'a'", "''"],
  ],
  [
    ["'1'", "'a'"],
    ["'1'", "'a'", "'null'"],
  ],
  [
    ["'1'", "'a'"],
    ["'1'", "'a'", "'~'"],
  ],
  [
    ["'1'", "'a,null'"],
    ["'1'", "'a'", 'null'],
  ],
  [
    ["'1'", "'a;1:b'"],
    ["'1'", "'a'", "'b'"],
  ],
  [
    ["'ab'", "'c'"],
    ["'a'", "'bc'"],
  ],
  [
    ["'1'", 'null', "'a'"],
    ["'1'", "'a'"],
  ],
];

/** A select expression: the checksum of a row of these texts, in a column type of the dialect. */
export function checksumOf(dialect: Dialect, native: string, values: readonly string[]): string {
  const columns = values.map((_, i): Column => ({ name: `c${i}`, native, type: 'text' }));
  const row = values.map((v, i) => `cast(${v} as ${native}) as c${i}`).join(', ');
  return `(select ${dialect.checksum(columns)} from (select ${row}) as t)`;
}
