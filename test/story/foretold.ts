import type { Preview, RunCounts } from '../../schemas/types.ts';
import type { Received } from './mixpanel.ts';

/**
 * A preview says what the apply then does, to the record; of an interrupted run it says what is left of it.
 * @param received what Mixpanel was sent until the first of the runs was committed
 */
export function differsFrom(
  foretold: Preview,
  runs: readonly RunCounts[],
  received: readonly Received[] = [],
): string | undefined {
  if (foretold.route === 'sending') return differsFromRest(foretold, received);
  const [run] = runs;
  const did = run
    ? [run.accepted_inserts, run.accepted_updates, run.accepted_deletes, run.invalid, run.billable]
    : [0, 0, 0, 0, 0];
  const invalid = Object.values(foretold.invalid).reduce((a, b) => a + b, 0);
  const said = [foretold.inserts, foretold.updates, foretold.deletes, invalid, foretold.billable];
  const adopted = run ? run.captured_inserts - run.invalid : 0;
  if (foretold.adopted > 0 && foretold.adopted !== adopted)
    return `the preview said that ${foretold.adopted} rows are adopted, apply adopted ${adopted}`;
  return JSON.stringify(said) === JSON.stringify(did)
    ? undefined
    : `the preview said ${JSON.stringify(said)}, apply did ${JSON.stringify(did)}`;
}

/** Previews of interrupted runs that were compared, and those of them that had something left to send. */
export const rests = { compared: 0, loud: 0 };

function differsFromRest(foretold: Preview, received: readonly Received[]): string | undefined {
  const { kind, inserts, updates, deletes, billable, records } = foretold;
  const events = received.filter((r) => r.isEvent).map((r) => r.line);
  const tombstones = events.filter((line) => line.includes('"syncline_deleted":true')).length;
  // Of profiles only the outbox knows which records are of one row.
  const rows = (n: readonly number[]): readonly number[] => (kind === 'events' ? n : []);
  const said = [records, billable, ...rows([inserts + updates, deletes])];
  const did = [received.length, events.length, ...rows([events.length - tombstones, tombstones])];
  rests.compared++;
  if (records > 0) rests.loud++;
  return JSON.stringify(said) === JSON.stringify(did)
    ? undefined
    : `the preview said that ${JSON.stringify(said)} is left of an interrupted run, Mixpanel was sent ${JSON.stringify(did)}`;
}

/** What stops an apply is one of what its preview names; without any it goes on. */
export function isForetold({ guards, refusals }: Preview, result: string): boolean {
  const stopping = guards.filter((g) => g.stops).map((g) => `guard: The guard ${g.name} `);
  // Which rows are shown may differ where there are many.
  const refusing = refusals.map((r) => `${r.code}: ${r.message.replace(/ \([^()]*\)$/, '')}`);
  const named = [...stopping, ...refusing];
  if (named.length > 0) return named.some((text) => result.startsWith(text));
  return !result.startsWith('guard:') && !result.startsWith('check-failed:');
}
