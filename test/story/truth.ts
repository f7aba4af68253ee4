import type { Line, Shape } from './table.ts';
import { LATE_MS, specOf } from './table.ts';

interface Image {
  readonly id: string;
  readonly image: string;
  readonly isProfile: boolean;
}

interface Snapshot {
  readonly lines: readonly Line[];
  readonly until: number;
}

/**
 * What Mixpanel must show of a table, by what each run that went through had read of it:
 * - `table`: every row that is there;
 * - `due`: every row that a run found within its late window;
 * - `newest`: of each id the row with the newest insert time;
 * - `kept`: every row that is there, and of an id that is gone what a run read last;
 * - `first`: what the first run read;
 * - `last`: what the last run read that had something to send.
 */
export class Truth {
  /** Everything that a run read of an id. */
  readonly history = new Map<string, Set<string>>();
  readonly #kind: ReturnType<typeof specOf>['truth'];
  readonly #hasVersions: boolean;
  readonly #snapshots = new Map<number, Snapshot>();
  readonly #due = new Set<number>();
  readonly #kept = new Map<string, Line>();
  #watermark = Number.NEGATIVE_INFINITY;
  #through: readonly Line[] | undefined;

  constructor(shape: Shape) {
    this.#kind = specOf(shape).truth;
    this.#hasVersions = specOf(shape).history !== undefined;
  }

  /** @param until the newest insert time that the run's probe had found */
  captured(run: number, lines: readonly Line[], until: number): void {
    this.#snapshots.set(run, { lines, until });
  }

  /** The run flipped, or had nothing to send. */
  wentThrough(run: number, sends: boolean): void {
    const snapshot = this.#snapshots.get(run);
    if (!snapshot) throw new Error(`run ${run} went through without a capture`);
    const { lines, until } = snapshot;
    for (const { id, image } of lines) {
      const known = this.history.get(String(id)) ?? new Set();
      this.history.set(String(id), image === undefined ? known : known.add(image));
    }
    for (const { row, loaded } of lines)
      if (loaded !== null && loaded > this.#watermark - LATE_MS && loaded <= until) this.#due.add(row);
    this.#watermark = Math.max(this.#watermark, until);
    for (const line of lines) this.#kept.set(line.key ?? String(line.id), line);
    if (this.#kind === 'first') this.#through ??= lines;
    if (this.#kind === 'last' && sends) this.#through = lines;
  }

  wanted(now: readonly Line[]): Image[] {
    switch (this.#kind) {
      case 'table':
        return imagesOf(now);
      case 'due':
        return imagesOf(now.filter((l) => this.#due.has(l.row)));
      case 'newest': {
        const newest = new Map<string, Line>();
        for (const line of now) {
          const known = newest.get(String(line.id));
          if (line.id !== null && line.loaded !== null && line.loaded > (known?.loaded ?? Number.NEGATIVE_INFINITY))
            newest.set(line.id, line);
        }
        return imagesOf([...newest.values()]);
      }
      case 'kept':
        return imagesOf([...this.#kept.values()]);
      case 'first':
      case 'last':
        return imagesOf(this.#through ?? []);
    }
  }

  /** Rows that came later than the window, and are lost. */
  lost(now: readonly Line[]): number {
    return now.filter((l) => l.image !== undefined && !this.#due.has(l.row)).length;
  }

  /** True for an id whose last image Mixpanel may have refused for good, since no later run reads it. */
  isLoose(id: string, now: ReadonlySet<string>): boolean {
    // Of an id with several versions one may be gone that was refused.
    return this.#kind === 'first' || (this.#kind === 'kept' && (this.#hasVersions || !now.has(id)));
  }
}

const imagesOf = (lines: readonly Line[]): Image[] =>
  lines.flatMap(({ id, image, isProfile }) => (image === undefined ? [] : [{ id: String(id), image, isProfile }]));
