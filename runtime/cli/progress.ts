import type { RunEvent } from '../events.ts';

const number = new Intl.NumberFormat('en-US');
const BAR = 20;
/** The rate is that of the last seconds: a pause of Mixpanel shows, and old speed is soon forgotten. */
const WINDOW_MS = 5000;
const SAMPLE_MS = 100;

interface Sample {
  readonly at: number;
  readonly records: number;
}

/** Where one sync is. */
interface Line {
  readonly state: 'reading' | 'waiting' | 'sending' | 'recording';
  readonly since: number;
  readonly records: number;
  readonly total: number;
  readonly samples: readonly Sample[];
}

/** What the syncs that run are doing, one line each. It draws nothing and asks no clock. */
export class Progress {
  readonly #lines = new Map<string, Line>();

  /** Takes an event of a run. @returns whether a sync came, went or does something else now */
  take(event: RunEvent, now: number): boolean {
    const before = this.#lines.get(event.sync);
    const after = next(before, event, now);
    if (after) this.#lines.set(event.sync, after);
    else this.#lines.delete(event.sync);
    return before?.state !== after?.state;
  }

  /** A sync that failed runs no more. */
  drop(sync: string): void {
    this.#lines.delete(sync);
  }

  /** One line a sync, none wider than the terminal. */
  lines(now: number, columns: number): string[] {
    const width = Math.max(0, ...[...this.#lines.keys()].map((name) => name.length));
    return [...this.#lines].map(([name, line]) => {
      const start = `${name.padEnd(width)}  `;
      const [full = '', ...shorter] = forms(line, now).map((parts) => start + parts.join('  '));
      return [full, ...shorter].find((text) => text.length < columns) ?? full.slice(0, columns - 1);
    });
  }
}

function next(line: Line | undefined, event: RunEvent, now: number): Line | undefined {
  switch (event.type) {
    case 'begin':
      return enter('reading', now);
    case 'waiting':
      return enter('waiting', now);
    case 'captured':
      return event.records > event.invalid ? enter('sending', now, event.records - event.invalid) : line;
    case 'sent': {
      const { records, total } = event;
      if (records >= total) return enter('recording', now, total);
      const sending = line?.state === 'sending' ? line : enter('sending', now, total);
      return { ...sending, records, total, samples: sampled(sending.samples, { at: now, records }) };
    }
    case 'committed':
    case 'unchanged':
      return undefined;
    case 'step':
    case 'note':
      return line;
  }
}

const enter = (state: Line['state'], now: number, total = 0): Line => ({
  state,
  since: now,
  records: 0,
  total,
  samples: [{ at: now, records: 0 }],
});

function sampled(samples: readonly Sample[], sample: Sample): readonly Sample[] {
  const last = samples.at(-1);
  if (last && sample.at - last.at < SAMPLE_MS) return samples;
  return [...samples.filter((s) => s.at > sample.at - WINDOW_MS), sample];
}

/** What a line says, the widest form first. */
function forms(line: Line, now: number): string[][] {
  const past = duration(now - line.since);
  if (line.state === 'reading') return [['reading the source', past]];
  if (line.state === 'waiting') return [['waiting', past]];
  if (line.state === 'recording') return [['recording what was sent', past]];
  const share = line.total === 0 ? 0 : line.records / line.total;
  const filled = Math.floor(share * BAR);
  const bar = '━'.repeat(filled) + '─'.repeat(BAR - filled);
  const counts = [`${number.format(line.records)} of ${number.format(line.total)}`, `${Math.floor(share * 100)}%`];
  const rate = rateOf(line, now);
  if (rate < 1) return [[bar, ...counts, past], counts];
  const left = `${duration(((line.total - line.records) / rate) * 1000)} left`;
  const speed = `${number.format(Math.round(rate))} a second`;
  return [[bar, ...counts, speed, left], [...counts, speed, left], [...counts, left], counts];
}

function rateOf({ samples, records }: Line, now: number): number {
  const first = samples[0];
  return first && now > first.at ? ((records - first.records) / (now - first.at)) * 1000 : 0;
}

function duration(ms: number): string {
  const seconds = Math.round(ms / 1000);
  const two = (n: number): string => String(n).padStart(2, '0');
  if (seconds < 60) return `${seconds}s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${two(seconds % 60)}s`;
  return `${Math.floor(seconds / 3600)}h ${two(Math.floor(seconds / 60) % 60)}m`;
}
