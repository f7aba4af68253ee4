/** What later versions know: named as such instead of as a typo. */
const KEYS = new Set(['exports', 'dbt', 'attach']);
const VALUES: Readonly<Record<string, readonly string[]>> = {
  strategy: ['stream', 'change_feed'],
  type: ['snowflake', 'databricks'],
};

export const isLater = (key: string): boolean => KEYS.has(key);
export const isLaterValue = (key: string, value: unknown): boolean => (VALUES[key] ?? []).some((v) => v === value);
