import { readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { cli, duck, project, told, YML } from './cli.ts';

const dirs: string[] = [];
export async function removeStories(): Promise<void> {
  for (const dir of dirs.splice(0)) await rm(dir, { recursive: true, force: true });
}

/** A test for each line of a table of the README, by the line's first cell. */
export type Lines = Readonly<Record<string, () => Promise<void>>>;

/** A locked and applied project with one sync `s` over a table `t`. */
export class Story {
  readonly dir: string;
  constructor(dir: string) {
    this.dir = dir;
  }

  static async of(sync: string, ...tables: string[]): Promise<Story> {
    const dir = await project({
      'syncline.yml': YML,
      'syncs/s.yml': `syncs:\n  - { name: s, source: { relation: t }, ${sync} }\n`,
    });
    dirs.push(dir);
    const story = new Story(dir);
    await story.change(...tables);
    await story.lock();
    await story.apply();
    return story;
  }

  change(...sql: string[]): Promise<unknown> {
    return duck(path.join(this.dir, 'warehouse.duckdb'), ...sql);
  }
  async lock(): Promise<void> {
    told(await cli(this.dir, 'lock'), 0);
  }
  async apply(...expected: string[]): Promise<void> {
    told(await cli(this.dir, 'apply'), 0, ...expected);
  }
  async refused(...expected: string[]): Promise<void> {
    told(await cli(this.dir, 'apply'), 1, ...expected);
  }
  /** Another mapping is refused until it is decided. */
  async remap(from: string, to: string, decision = '--resend'): Promise<void> {
    const file = path.join(this.dir, 'syncs/s.yml');
    await writeFile(file, (await readFile(file, 'utf8')).replace(from, to));
    await this.refused('error[mapping-changed]');
    told(await cli(this.dir, 'apply', decision, 's'), 0);
  }
  async rows(sql: string): Promise<Record<string, unknown>[]> {
    return duck(path.join(this.dir, 'sandbox.duckdb'), sql);
  }
  /** Events as a report shows them: `id v user day deleted`, without what is not there. */
  async events(table = 'events'): Promise<string[]> {
    const rows = await this.rows(
      `select concat_ws(' ', event, properties ->> 'id', properties ->> 'v', nullif(distinct_id, ''), strftime(make_timestamp(time_ms * 1000), '%d'), case when properties ->> 'syncline_deleted' = 'true' then 'deleted' end) as e from ${table} order by 1`,
    );
    return rows.map((r) => String(r['e']));
  }
  /** Profiles by id, without the properties that the sandbox adds. */
  async profiles(): Promise<Record<string, Record<string, unknown>>> {
    const rows = await this.rows(
      `select distinct_id as id, properties::varchar as p from profiles union all select group_id, properties::varchar from groups order by 1`,
    );
    return Object.fromEntries(
      rows.map((r) => {
        const all = Object.entries(JSON.parse(String(r['p'])) as Record<string, unknown>);
        return [String(r['id']), Object.fromEntries(all.filter(([name]) => /^[a-z]/.test(name)))];
      }),
    );
  }
  async lookup(): Promise<unknown[]> {
    return this.rows(`select * from lookup_rows order by 2`);
  }
}

/** One project for lines whose rows do not touch each other: it is set up, changed and applied once for all of them. */
export function shared<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}
