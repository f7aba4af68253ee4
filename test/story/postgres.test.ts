import { onPostgres } from './engines.ts';
import { simulate } from './simulate.ts';
import { SHAPES } from './table.ts';

/** Of these there are more: each is of a kind and mode of its own. */
const MAIN = new Set(['keyed', 'unkeyed', 'append', 'late', 'users', 'groups', 'history', 'lookup']);

onPostgres((engine) => {
  for (const shape of SHAPES) simulate(shape, MAIN.has(shape) ? 0.012 : 0.004, engine);
});
