import { appendFile } from 'node:fs/promises';
import type { RunManifest } from '../../schemas/types.ts';

const number = new Intl.NumberFormat('en-US');
const cell = (text: string): string => text.replaceAll('\\', '\\\\').replaceAll('|', '\\|').replace(/\s+/g, ' ');

/** One table of syncs and counts, as Markdown. */
export function summary(manifest: RunManifest): string {
  const counts = ['inserts', 'updates', 'deletes', 'refused', 'invalid'];
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const lines = Object.entries(manifest.syncs).map(([name, sync]) => {
    const total = (pick: (c: NonNullable<(typeof sync.runs)[number]['counts']>) => number): string =>
      number.format(sync.runs.reduce((n, r) => n + (r.counts ? pick(r.counts) : 0), 0));
    return row([
      cell(name),
      sync.error ? cell(`${sync.status}: ${sync.error.message}`) : sync.status,
      total((c) => c.accepted_inserts),
      total((c) => c.accepted_updates),
      total((c) => c.accepted_deletes),
      total((c) => c.refused),
      total((c) => c.invalid),
    ]);
  });
  return [
    `### syncline apply: ${cell(manifest.project)} / ${cell(manifest.target)}`,
    '',
    row(['sync', 'result', ...counts]),
    row(['---', '---', ...counts.map(() => '---:')]),
    ...lines,
    '',
  ].join('\n');
}

/** Adds the table to a job's summary (GitHub documentation: Workflow commands, Adding a job summary). */
export async function writeSummary(manifest: RunManifest): Promise<void> {
  const file = process.env['GITHUB_STEP_SUMMARY'];
  if (file !== undefined && file !== '') await appendFile(file, `${summary(manifest)}\n`);
}
