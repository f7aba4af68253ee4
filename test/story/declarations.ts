import type { Column } from './table.ts';

/** A declaration, and the table as Mixpanel must show it then. */
export interface Declaration {
  readonly name: string;
  readonly yml: (yml: string) => string;
  readonly columns: (column: Column) => Column;
}

const properties =
  (text: string) =>
  (yml: string): string =>
    `${yml}    properties: ${text}\n`;
const changing =
  (name: string, change: (column: Column) => Column) =>
  (column: Column): Column =>
    column.name === name ? change(column) : column;
const hidden = (column: Column): Column => ({ ...column, property: null });
const same = (column: Column): Column => column;

export const PROPERTIES: readonly Declaration[] = [
  { name: 'as it is', yml: (yml) => yml, columns: same },
  {
    name: 'a renamed property',
    yml: properties("{ rename: { a: 'A b' } }"),
    columns: changing('a', (c) => ({ ...c, property: 'A b' })),
  },
  { name: 'an excluded column', yml: properties('{ exclude: [n] }'), columns: changing('n', hidden) },
  {
    name: 'a number as text',
    yml: properties('{ types: { n: string } }'),
    columns: changing('n', (c) => ({
      ...c,
      values: c.values.map((v) => ({ ...v, shown: v.shown === undefined ? undefined : Number(v.shown).toFixed(2) })),
    })),
  },
];
export const EVENTS: readonly Declaration[] = [
  ...PROPERTIES,
  {
    name: 'no user',
    yml: (yml) => properties('{ exclude: [u] }')(yml.replace('    user_id: u\n', '')),
    columns: changing('u', hidden),
  },
  {
    name: 'one event name',
    yml: (yml) => properties('{ exclude: [ev] }')(yml.replace('event: { column: ev }', 'event: E')),
    columns: changing('ev', (c) => ({ ...c, values: c.values.map((v) => ({ ...v, shown: 'E' })) })),
  },
  { name: 'another key', yml: (yml) => yml.replace('key: id\n', 'key: [id, ev]\n'), columns: same },
  {
    name: 'another key and a renamed property',
    yml: (yml) => properties("{ rename: { a: 'A b' } }")(yml.replace('key: id\n', 'key: [ev, id]\n')),
    columns: changing('a', (c) => ({ ...c, property: 'A b' })),
  },
  { name: 'no key', yml: (yml) => yml.replace('    key: id\n', ''), columns: same },
  {
    name: 'no key and a renamed property',
    yml: (yml) => properties("{ rename: { a: 'A b' } }")(yml.replace('    key: id\n', '')),
    columns: changing('a', (c) => ({ ...c, property: 'A b' })),
  },
];

export const UNKEYED = EVENTS.filter((d) => !/^(no|another) key/.test(d.name));

export const PROFILES: readonly Declaration[] = [
  ...PROPERTIES,
  {
    name: 'names that changed places',
    yml: properties('{ rename: { a: n, n: a } }'),
    columns: (c) => (c.name === 'a' ? { ...c, property: 'n' } : c.name === 'n' ? { ...c, property: 'a' } : c),
  },
  {
    name: 'one property',
    yml: properties("{ exclude: [n, b], rename: { a: 'A b' } }"),
    columns: (c) => (c.name === 'a' ? { ...c, property: 'A b' } : c.name === 'id' ? c : hidden(c)),
  },
];
