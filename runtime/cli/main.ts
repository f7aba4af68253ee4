#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8';
import { VERSION } from '../../schemas/version.ts';

// A reader such as `head` may end first: that is no failure of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

// Everything else is loaded only when a command needs it: --version starts as fast as node does.
if (process.argv.length === 3 && (process.argv[2] === '--version' || process.argv[2] === '-V')) {
  process.stdout.write(`${VERSION}\n`);
} else {
  // What passes through is garbage soon: collecting it early costs little, and the process stays small.
  setFlagsFromString('--heap-growing-percent=50');
  const { main } = await import('./program.ts');
  process.exitCode = await main(process.argv);
}
