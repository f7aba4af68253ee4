import type { RunManifest } from '../schemas/types.ts';
import type { RunEvent } from './events.ts';
import type { World } from './world.ts';

/** The record of one `apply`: written before the first step and after every one, by atomic rename. */
export class Manifest {
  readonly #world: World;
  readonly #path: string;
  readonly #content: RunManifest;
  #writing: Promise<void> = Promise.resolve();
  #dirty = false;

  constructor(
    world: World,
    path: string,
    header: {
      project: string;
      target: string;
      planHash: string;
      syncs: readonly string[];
      allowed?: readonly string[];
    },
  ) {
    this.#world = world;
    this.#path = path;
    this.#content = {
      manifestVersion: 1,
      project: header.project,
      target: header.target,
      planHash: header.planHash,
      startedAt: new Date(world.now()).toISOString(),
      finishedAt: null,
      allowed: [...(header.allowed ?? [])],
      syncs: Object.fromEntries(header.syncs.map((s) => [s, { status: 'pending', runs: [], steps: [] }])),
    };
  }

  get content(): RunManifest {
    return this.#content;
  }

  /** Takes an event of a run into the record. */
  take(event: RunEvent): void {
    const sync = this.#content.syncs[event.sync];
    if (!sync) return;
    if (event.type === 'begin') {
      sync.status = 'running';
      sync.runs.push({ run: event.run, resumed: event.resumed });
    } else if (event.type === 'step') sync.steps.push(event.step);
    else if (event.type === 'sent') sync.sent = event.records;
    else if (event.type === 'committed') {
      sync.status = 'done';
      const run = sync.runs.at(-1);
      if (run) run.counts = event.counts;
    } else if (event.type === 'unchanged') sync.status = sync.runs.some((r) => r.counts) ? 'done' : 'unchanged';
    if (event.type !== 'waiting' && event.type !== 'note') this.write();
  }

  fail(sync: string, code: string, message: string): void {
    const record = this.#content.syncs[sync];
    if (record) Object.assign(record, { status: 'failed', error: { code, message } });
    this.write();
  }

  /** Schedules a write; writes that wait for one another become one. */
  write(): void {
    if (this.#dirty) return;
    this.#dirty = true;
    const before = this.#writing.catch(() => undefined);
    this.#writing = before.then(() => {
      this.#dirty = false;
      return this.#world.writeFileAtomic(this.#path, JSON.stringify(this.#content, null, 2) + '\n');
    });
    // The last one is settled in finish(), where a full disk becomes the command's error.
    this.#writing.catch(() => undefined);
  }

  async finish(): Promise<void> {
    this.#content.finishedAt = new Date(this.#world.now()).toISOString();
    this.write();
    await this.#writing;
  }
}
