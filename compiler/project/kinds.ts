import type { Sync } from '../../schemas/types.ts';

type Kind = Sync['kind'];
type Mode = Sync['mode'];

/** A key of a sync, as people write it. */
export type Key = keyof Sync;
/** What every kind takes. */
export const COMMON: readonly Key[] = [
  'name',
  'kind',
  'mode',
  'enabled',
  'strategy',
  'source',
  'where',
  'timezone',
  'insert_time',
  'properties',
  'on_new_column',
  'guard',
  'tags',
  'owner',
  'frequency',
  'decisions',
  'initial',
  'renamed_from',
];
const PROFILES: readonly Key[] = ['on_delete', 'history', 'event'];

/** What each kind needs and takes, and what to use instead of a mode that it does not have. */
export const KINDS: Readonly<
  Record<Kind, { needs: readonly Key[]; takes: readonly Key[]; without: Readonly<Partial<Record<Mode, string>>> }>
> = {
  events: {
    needs: ['event', 'time'],
    takes: ['user_id', 'device_id', 'key', 'json_properties', 'on_delete', 'late_window'],
    without: {
      full: 'events cannot be replaced as a whole: use mirror to keep them equal to the table, or one_time to send it once',
    },
  },
  user_profiles: { needs: ['user_id'], takes: PROFILES, without: {} },
  group_profiles: { needs: ['group_key', 'group_id'], takes: PROFILES, without: {} },
  lookup_table: {
    needs: ['id', 'lookup_table_id'],
    takes: [],
    without: {
      mirror: 'a lookup table is replaced as a whole: use full, which sends it only when its content changed',
      append: 'a lookup table is replaced as a whole: use full, which sends it only when its content changed',
    },
  },
};

/** What each kind can do when a row is gone. */
export const ON_DELETE: Readonly<Record<Kind, readonly string[]>> = {
  events: ['tombstone', 'ignore', 'fail'],
  user_profiles: ['unset', 'delete', 'ignore', 'fail'],
  group_profiles: ['unset', 'delete', 'ignore', 'fail'],
  lookup_table: [],
};
