import type { Preview, RunCounts } from '../../schemas/types.ts';

/** A preview says what the apply then does, to the record; of an interrupted run it says what is left of it. */
export function differsFrom(foretold: Preview, runs: readonly RunCounts[]): string | undefined {
  if (foretold.route === 'sending') return undefined;
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

/** What stops an apply is one of what its preview names; without any it goes on. */
export function isForetold({ guards, refusals }: Preview, result: string): boolean {
  const stopping = guards.filter((g) => g.stops).map((g) => `guard: The guard ${g.name} `);
  // Which rows are shown may differ where there are many.
  const refusing = refusals.map((r) => `${r.code}: ${r.message.replace(/ \([^()]*\)$/, '')}`);
  const named = [...stopping, ...refusing];
  if (named.length > 0) return named.some((text) => result.startsWith(text));
  return !result.startsWith('guard:') && !result.startsWith('check-failed:');
}
