import type { WarehouseSettings } from '../../schemas/types.ts';
import { readSchema } from '../files.ts';

/** Stands for what only dbt's profile says, until a connection is made. */
export const OF_PROFILE = '(of the dbt profile)';

interface Shape {
  readonly required: readonly string[];
  readonly properties: Readonly<Record<string, { readonly const?: string }>>;
}

/** The keys that settings of a warehouse have and must have; none for one that is not known. */
export function settingsOf(type: unknown): { readonly known: readonly string[]; readonly required: readonly string[] } {
  const { $defs } = readSchema('project') as { readonly $defs: Readonly<Record<string, Partial<Shape>>> };
  const shape = Object.values($defs).find((d) => d.properties?.['type']?.const === type && type !== undefined);
  return { known: Object.keys(shape?.properties ?? {}), required: shape?.required ?? [] };
}

/** A warehouse as it is declared, with a word in each place that its profile fills. */
export function withoutProfile(warehouse: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  if (warehouse['dbt_profile'] === undefined) return warehouse;
  const { required } = settingsOf(warehouse['type']);
  return {
    ...Object.fromEntries(required.filter((key) => key !== 'type').map((key) => [key, OF_PROFILE])),
    ...warehouse,
  };
}

/** What the target itself says: it wins over the profile. */
export const ownSettings = (warehouse: WarehouseSettings): Readonly<Record<string, unknown>> =>
  Object.fromEntries(Object.entries(warehouse).filter(([, value]) => value !== OF_PROFILE));
