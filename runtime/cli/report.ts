import type { RunCounts, RunEvent } from '../events.ts';
import { err, logFormat, tell } from './log.ts';

const number = new Intl.NumberFormat('en-US');
export const count = (n: number, noun: string): string => `${number.format(n)} ${noun}${n === 1 ? '' : 's'}`;

/** The first of them by name, and how many more there are. */
export const some = (names: readonly string[], most: number): string =>
  names.length <= most
    ? names.join(', ')
    : `${names.slice(0, most).join(', ')} and ${number.format(names.length - most)} more`;

/** One line of what a run sent. */
export function describeCounts(c: RunCounts): string {
  const parts = [
    count(c.accepted_inserts, 'insert'),
    count(c.accepted_updates, 'update'),
    count(c.accepted_deletes, 'delete'),
  ];
  if (c.refused > 0) parts.push(`${number.format(c.refused)} refused`);
  if (c.invalid > 0) parts.push(`${number.format(c.invalid)} invalid`);
  return parts.join(', ');
}

/**
 * Prints a run's events on stderr: every one as JSON, or what a person follows as plain lines.
 * @param drawn what is read and sent is drawn elsewhere
 */
export function reporter(quiet: boolean, drawn = false): (event: RunEvent) => void {
  if (logFormat() === 'json') return quiet ? (event) => event.type === 'note' && tell(event) : tell;
  let next = 0;
  return (event) => {
    if (quiet && event.type !== 'note') return;
    switch (event.type) {
      case 'begin':
        next = 0;
        if (event.resumed) err(`${event.sync}: finishing interrupted run ${event.run}`);
        break;
      case 'waiting':
      case 'note':
        err(`${event.sync}: ${event.message}`);
        break;
      case 'captured':
        if (!drawn && event.records > 0)
          err(
            `${event.sync}: captured ${count(event.records, 'record')}${event.invalid > 0 ? `, ${number.format(event.invalid)} of them invalid` : ''}`,
          );
        break;
      case 'sent': {
        const now = Date.now();
        if (drawn || (now < next && event.records < event.total)) break;
        next = now + 2000;
        err(`${event.sync}: sent ${number.format(event.records)} of ${number.format(event.total)}`);
        break;
      }
      case 'committed':
        err(`${event.sync}: run ${event.run} done: ${describeCounts(event.counts)}`);
        break;
      case 'unchanged':
        err(
          event.done
            ? `${event.sync}: one_time, and done; \`syncline reset ${event.sync}\` would send it again`
            : `${event.sync}: nothing changed`,
        );
        break;
      case 'step':
        break;
    }
  };
}
