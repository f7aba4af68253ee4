import { createHash, randomUUID } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Database } from './database.ts';

/** A row that is refused. Counting rows from the header as 0 is a guess: the documentation does not say. */
export interface FailedRow {
  readonly index: number;
  readonly message: string;
}

/** At most this many are listed. Source: Mixpanel OpenAPI "ingestion". */
const LISTED = 10;

const STRINGS = String.raw`\s*\[\s*("([^"\\]|\\.)*"\s*(,\s*"([^"\\]|\\.)*"\s*)*)?\]\s*`;

/** The JSON of a cell: number, boolean, list of strings or text. Source: Mixpanel docs "Lookup Tables". */
const cell = (column: string): string => `case
  when ${column} is null then null
  when regexp_full_match(${column}, '-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?') then ${column}::json
  when regexp_full_match(${column}, '[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?')
    then to_json(try_cast(${column} as double))
  when lower(${column}) in ('true', 'false') then lower(${column})::json
  when regexp_full_match(${column}, '${STRINGS}') and json_valid(${column}) then ${column}::json
  else to_json(${column}) end`;

/** Lookup tables. The CSV never becomes objects here: DuckDB reads, checks and stores it. */
export class LookupStore {
  static readonly TABLES = `
    create table if not exists lookup_tables (
      id varchar primary key, name varchar not null, columns varchar[], content_hash varchar, updated_ms bigint);
    create table if not exists lookup_rows (
      lookup_table_id varchar not null, row_id varchar not null, properties json not null);`;

  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Makes a table that holds nothing yet, unless there is one. */
  declare(id: string, name: string): Promise<void> {
    return this.#database.serially(async () => {
      await this.#database.writer.run('insert or ignore into lookup_tables (id, name) values ($id, $name)', {
        id,
        name,
      });
    });
  }

  list(): Promise<{ id: string; name: string }[]> {
    return this.#database.query('select id, name from lookup_tables order by id') as Promise<
      { id: string; name: string }[]
    >;
  }

  async exists(id: string): Promise<boolean> {
    return (await this.#database.query('select 1 from lookup_tables where id = $id', { id })).length > 0;
  }

  /** Replaces the whole table, or refuses it whole. @returns the first rows that are wrong, none when it was replaced */
  async replace(id: string, csv: Uint8Array, at: number, signal?: AbortSignal): Promise<FailedRow[]> {
    const header = headerOf(csv);
    const wrong = checkHeader(header);
    if (wrong !== undefined) return [{ index: 0, message: wrong }];
    const file = path.join(tmpdir(), `syncline-lookup-${randomUUID()}.csv`);
    try {
      await writeFile(file, csv);
      const hash = createHash('sha256').update(csv).digest('hex');
      return await this.#database.transaction(() => this.#load(id, file, header, hash, at), signal);
    } finally {
      await rm(file, { force: true });
    }
  }

  async #load(id: string, file: string, header: readonly string[], hash: string, at: number): Promise<FailedRow[]> {
    const { writer } = this.#database;
    const columns = header.map((_, index) => `c${index}: 'VARCHAR'`).join(', ');
    await writer.run(
      'drop table if exists temp.lookup_load; drop table if exists temp.reject_errors; drop table if exists temp.reject_scans',
    );
    await writer.run(
      `create temp table lookup_load as select row_number() over () as n, * from read_csv($file, header = true,
         auto_detect = false, delim = ',', quote = '"', escape = '"', columns = {${columns}}, store_rejects = true,
         nullstr = '', max_line_size = 16777216)`,
      { file },
    );
    const failed = await this.#failures();
    if (failed.length > 0) return failed;
    const properties = header.map((_, index) => `$h${index}::varchar, ${cell(`c${index}`)}`).slice(1);
    const names = Object.fromEntries(header.map((name, index): [string, string] => [`h${index}`, name]).slice(1));
    await writer.run('delete from lookup_rows where lookup_table_id = $id', { id });
    await writer.run(
      `insert into lookup_rows select $id, c0, json_merge_patch('{}'::json, json_object(${properties.join(', ')}))
       from lookup_load`,
      { id, ...names },
    );
    await writer.run(
      `insert into lookup_tables values ($id, $id, from_json($columns::json, '["varchar"]'), $hash, $at)
       on conflict (id) do update set columns = excluded.columns, content_hash = excluded.content_hash,
         updated_ms = excluded.updated_ms`,
      { id, columns: JSON.stringify(header), hash, at: BigInt(at) },
    );
    await writer.run('drop table temp.lookup_load');
    return [];
  }

  async #failures(): Promise<FailedRow[]> {
    const rejected = await this.#database.read(
      `select line::bigint as line, min(error_type::varchar) as why from temp.reject_errors
       group by line order by line limit ${LISTED}`,
    );
    const bad = rejected.map((row) => ({ index: Number(row['line']) - 1, message: reason(String(row['why'])) }));
    const lines = bad.map(({ index }) => index);
    const blank = await this.#database.read(
      `select n from lookup_load where trim(coalesce(c0, '')) in ('', '0') or lower(c0) = 'false' order by n limit ${LISTED}`,
    );
    const failed = [
      ...bad,
      ...blank.map((row) => ({
        index: originalIndex(Number(row['n']), lines),
        message: 'primary key is required and cannot be blank',
      })),
    ];
    if (failed.length > 0) return failed.sort((a, b) => a.index - b.index).slice(0, LISTED);
    const twins = await this.#database.read(
      `select a, b from (select n as b, min(n) over (partition by c0) as a from lookup_load) where a <> b
       order by b limit ${LISTED}`,
    );
    return twins.map(({ a, b }) => ({
      index: Number(b),
      message: `invalid row: row indexes ${Number(a)} and ${Number(b)} have the same primary key`,
    }));
  }
}

/** Only the wrong number of fields has documented words. */
function reason(error: string): string {
  if (error.includes('UNI') || error.includes('ENCODING')) return 'invalid row: string should be valid utf8';
  return error.includes('COLUMNS') ? 'invalid row: wrong number of fields' : `invalid row: ${error.toLowerCase()}`;
}

/** Where a row that was read stood before the rejected ones were left out. */
function originalIndex(n: number, rejected: readonly number[]): number {
  let index = n;
  for (const line of rejected) if (line <= index) index++;
  return index;
}

function checkHeader(header: readonly string[]): string | undefined {
  if (header.length < 2) return 'invalid header: at least two columns are required';
  if (header.some((name) => name.trim() === '')) return 'invalid header: column names cannot be blank';
  return new Set(header).size < header.length ? 'invalid header: column names must be unique' : undefined;
}

/** The fields of the first record, as RFC 4180 quotes them. */
function headerOf(csv: Uint8Array): string[] {
  const text = new TextDecoder().decode(csv.subarray(0, 1024 * 1024));
  const fields: string[] = [];
  let field = '';
  let quoted = false;
  for (let at = 0; at < text.length; at++) {
    const character = text.charAt(at);
    if (quoted) {
      if (character !== '"') field += character;
      else if (text[at + 1] === '"') field += text.charAt(at++);
      else quoted = false;
    } else if (character === '"' && field === '') quoted = true;
    else if (character === ',') {
      fields.push(field);
      field = '';
    } else if (character === '\n' || character === '\r') break;
    else field += character;
  }
  return [...fields, field];
}
