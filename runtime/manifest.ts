import type { Failure, RunManifest, SyncRecord } from '../schemas/types.ts';
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
      /** The manifest that this one replaces: what failed stays known until its sync ends otherwise. */
      before?: RunManifest | undefined;
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
    const earlier = failuresOf(header.before);
    if (Object.keys(earlier).length > 0) this.#content.earlier = { ...earlier };
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
      this.#end(event.sync, sync);
    } else if (event.type === 'unchanged') {
      sync.status = sync.runs.some((r) => r.counts) ? 'done' : 'unchanged';
      this.#end(event.sync, sync);
    }
    if (event.type !== 'waiting' && event.type !== 'note') void this.write();
  }

  fail(sync: string, code: string, message: string): void {
    const record = this.#content.syncs[sync];
    // A preview that is out of date says nothing of its sync: how that was before stays known.
    const isRefused = code === 'preview-moved';
    if (record) {
      Object.assign(record, { status: isRefused ? 'refused' : 'failed', error: { code, message } });
      if (!isRefused) this.#end(sync, record);
    }
    void this.write();
  }

  #end(name: string, record: SyncRecord): void {
    record.endedAt = new Date(this.#world.now()).toISOString();
    const { earlier } = this.#content;
    if (earlier) this.#content.earlier = Object.fromEntries(Object.entries(earlier).filter(([sync]) => sync !== name));
  }

  /**
   * Schedules a write; writes that wait for one another become one.
   * @returns when what stands here now is written, or could not be: finish() says so
   */
  write(): Promise<void> {
    if (this.#dirty) return this.#writing.catch(() => undefined);
    this.#dirty = true;
    const before = this.#writing.catch(() => undefined);
    this.#writing = before.then(() => {
      this.#dirty = false;
      return this.#world.writeFileAtomic(this.#path, JSON.stringify(this.#content, null, 2) + '\n');
    });
    // The last one is settled in finish(), where a full disk becomes the command's error.
    return this.#writing.catch(() => undefined);
  }

  async finish(): Promise<void> {
    this.#content.finishedAt = new Date(this.#world.now()).toISOString();
    void this.write();
    await this.#writing;
  }
}

/** Reads the manifest of the latest `apply`; undefined when there is none, or none that can be read. */
export async function readManifest(world: World, path: string): Promise<RunManifest | undefined> {
  try {
    const value = JSON.parse((await world.readFile(path)) ?? 'null') as RunManifest | null;
    return value?.manifestVersion === 1 ? value : undefined;
  } catch {
    return undefined;
  }
}

/** How syncs failed, as far as a manifest knows: in its own apply, or in those before it. */
export function failuresOf(manifest: RunManifest | undefined): Readonly<Record<string, Failure>> {
  const own = Object.entries(manifest?.syncs ?? {}).flatMap(([name, { status, error, endedAt }]) =>
    status === 'failed' && error ? [[name, { at: endedAt ?? manifest?.startedAt ?? '', ...error }] as const] : [],
  );
  return { ...manifest?.earlier, ...Object.fromEntries(own) };
}

/** Takes a sync out of the manifest: what failed of one that was destroyed is no news of one that is set up anew. */
export async function forgetSync(world: World, path: string, name: string): Promise<void> {
  const manifest = await readManifest(world, path);
  if (!manifest) return;
  const without = <T>(of: Readonly<Record<string, T>>): Record<string, T> =>
    Object.fromEntries(Object.entries(of).filter(([sync]) => sync !== name));
  const { syncs, earlier, ...rest } = manifest;
  const left = { ...rest, syncs: without(syncs), ...(earlier ? { earlier: without(earlier) } : {}) };
  await world.writeFileAtomic(path, JSON.stringify(left, null, 2) + '\n');
}
