import { expect, test } from 'vitest';
import { spokenKey } from '../runtime/keys.ts';

test.each([
  ['7:version1:a19:2024-01-01 00:00:00', 'id a at 2024-01-01 00:00:00'],
  // DuckDB names a time with a zone by its microseconds.
  ['7:version3:a:116:1704067200123456', 'id a:1 at 2024-01-01T00:00:00.123Z'],
  ['7:version1:a~', 'id a at no time'],
  ['7:closing1:a10:2024-02-01', 'id a with its end at 2024-02-01'],
  ['7:profile2:😀b~', 'id 😀b'],
  // Redshift ends texts with a bar.
  ['7:version|2:a||10:2024-01-01', 'id a| at 2024-01-01'],
  ['1:a0:', 'key a, '],
  ['1:a2:7|~', 'key a, 7|, NULL'],
  ['1:a', '1:a'],
  ['9:a1:b', '9:a1:b'],
  ['order 7:version', 'order 7:version'],
  ['', ''],
])('the row key %j is said as %j', (key, words) => {
  expect(spokenKey(key)).toBe(words);
});
