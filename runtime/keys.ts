/**
 * A row key that is a list, in words: `id a at 2024-01-01 00:00:00` for a version, `key a, 7` for a key of columns.
 * Any other text stays as it is.
 */
export function spokenKey(text: string): string {
  const parts = partsOf(text);
  if (parts === undefined) return text;
  const [kind, id, time] = parts;
  const of = parts.length === 3 && kind != null ? HISTORY[kind] : undefined;
  return of === undefined ? `key ${parts.map((p) => p ?? 'NULL').join(', ')}` : of(id ?? 'NULL', timeOf(time));
}

/** The rows that a version is (compiler/mapping/history.ts), as people say them. */
const HISTORY: Readonly<Record<string, (id: string, time: string) => string>> = {
  version: (id, time) => `id ${id} at ${time}`,
  closing: (id, time) => `id ${id} with its end at ${time}`,
  profile: (id) => `id ${id}`,
};

/** Where a time with a zone is named by its microseconds, they are its only digits. */
function timeOf(text: string | null | undefined): string {
  if (text == null) return 'no time';
  const ms = Math.floor(Number(text) / 1000);
  return /^-?\d+$/.test(text) && Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : text;
}

/** The parts of a list, each with its length in characters before it, `~` for null; undefined for another text. */
function partsOf(text: string): (string | null)[] | undefined {
  const parts: (string | null)[] = [];
  let rest = text;
  while (rest !== '') {
    const [head, length] = /^(?:~|(\d+):)/.exec(rest) ?? [];
    if (head === undefined) return undefined;
    const after = Array.from(rest.slice(head.length));
    const size = Number(length ?? 0);
    if (after.length < size) return undefined;
    parts.push(length === undefined ? null : after.slice(0, size).join(''));
    // Where trailing blanks do not count, a text ends with a bar.
    rest = after.slice(size).join('').replace(/^\|/, '');
  }
  return parts.length > 1 ? parts : undefined;
}
