import type { RunEvent } from '../events.ts';
import { logFormat, setAbove } from './log.ts';
import { Progress } from './progress.ts';
import { reporter } from './report.ts';

/** Draws ten times a second at most: what a run reports in between costs no more than an addition. */
const DRAW_MS = 100;

/** How a person follows the runs of one `apply`. */
export interface Follower {
  readonly take: (event: RunEvent) => void;
  /** A sync failed: its events end without an end. */
  readonly drop: (sync: string) => void;
  readonly close: () => void;
}

type Terminal = NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };

/** Plain lines, JSON lines, or on a terminal that nobody records a line a sync that moves. */
export async function follow(quiet: boolean, terminal: Terminal = process.stderr): Promise<Follower> {
  if (quiet || logFormat() === 'json' || !isAlive(terminal))
    return { take: reporter(quiet), drop: () => undefined, close: () => undefined };
  const { createLogUpdate } = await import('log-update');
  // It hides the cursor by listening to signals, and Ctrl-C is ours.
  return new Live(terminal, createLogUpdate(terminal, { showCursor: true }));
}

/** CI keeps what it gets: redrawn lines would be one line each. */
function isAlive({ isTTY }: Terminal): boolean {
  const ci = process.env['CI'] ?? '';
  return isTTY === true && process.env['TERM'] !== 'dumb' && (ci === '' || ci === 'false' || ci === '0');
}

interface Draw {
  (text: string): void;
  clear(): void;
}

class Live implements Follower {
  readonly #terminal: Terminal;
  readonly #draw: Draw;
  readonly #progress = new Progress();
  readonly #timer: NodeJS.Timeout;
  readonly #print = reporter(false, true);
  #shown = 0;

  constructor(terminal: Terminal, draw: Draw) {
    this.#terminal = terminal;
    this.#draw = draw;
    this.#timer = setInterval(() => this.#redraw(), DRAW_MS).unref();
    setAbove((write) => {
      this.#clear();
      write();
      this.#redraw();
    });
  }

  readonly take = (event: RunEvent): void => {
    const moved = this.#progress.take(event, performance.now());
    this.#print(event);
    if (moved) this.#redraw();
  };

  readonly drop = (sync: string): void => {
    this.#progress.drop(sync);
    this.#redraw();
  };

  readonly close = (): void => {
    clearInterval(this.#timer);
    this.#clear();
    setAbove(undefined);
  };

  #redraw(): void {
    const lines = this.#progress.lines(performance.now(), this.#terminal.columns ?? 80);
    // It redraws by the difference of two frames, which leaves a gap where a line is gone.
    if (lines.length !== this.#shown) this.#clear();
    if (lines.length > 0) this.#draw(lines.join('\n'));
    this.#shown = lines.length;
  }

  #clear(): void {
    if (this.#shown > 0) this.#draw.clear();
    this.#shown = 0;
  }
}
