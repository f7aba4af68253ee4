import type { RunCounts, RunEvent } from './events.ts';
import type { World } from './world.ts';

interface SyncRecord {
  status: 'pending' | 'running' | 'done' | 'unchanged' | 'failed';
  run?: number;
  resumed?: number;
  steps: string[];
  sent?: number;
  counts?: RunCounts;
  error?: { code: string; message: string };
}

/** The record of one `apply`: written before the first step and after every one, by atomic rename. */
export class Manifest {
  readonly #world: World;
  readonly #path: string;
  readonly #content;
  #writing: Promise<void> = Promise.resolve();
  #dirty = false;

  constructor(
    world: World,
    path: string,
    header: { project: string; target: string; planHash: string; syncs: readonly string[] },
  ) {
    this.#world = world;
    this.#path = path;
    this.#content = {
      manifestVersion: 1,
      project: header.project,
      target: header.target,
      planHash: header.planHash,
      startedAt: new Date(world.now()).toISOString(),
      finishedAt: null as string | null,
      syncs: Object.fromEntries(header.syncs.map((s): [string, SyncRecord] => [s, { status: 'pending', steps: [] }])),
    };
  }

  get syncs(): Readonly<Record<string, SyncRecord>> {
    return this.#content.syncs;
  }

  /** Takes an event of a run into the record. */
  take(event: RunEvent): void {
    const sync = this.#content.syncs[event.sync];
    if (!sync) return;
    if (event.type === 'begin') {
      sync.status = 'running';
      if (event.resumed) sync.resumed = event.run;
      else sync.run = event.run;
    } else if (event.type === 'step') sync.steps.push(event.step);
    else if (event.type === 'sent') sync.sent = event.records;
    else if (event.type === 'committed') {
      sync.status = 'done';
      sync.counts = event.counts;
    } else if (event.type === 'unchanged') sync.status = sync.counts ? 'done' : 'unchanged';
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
    this.#writing = this.#writing.then(() => {
      this.#dirty = false;
      return this.#world.writeFileAtomic(this.#path, JSON.stringify(this.#content, null, 2) + '\n');
    });
    // Settled in finish(), where a full disk becomes the command's error.
    this.#writing.catch(() => undefined);
  }

  async finish(): Promise<void> {
    this.#content.finishedAt = new Date(this.#world.now()).toISOString();
    this.write();
    await this.#writing;
  }
}
