#!/usr/bin/env node
import { VERSION } from '../../schemas/version.ts';

// Everything else is loaded only when a command needs it: --version starts as fast as node does.
if (process.argv.length === 3 && (process.argv[2] === '--version' || process.argv[2] === '-V')) {
  process.stdout.write(`${VERSION}\n`);
} else {
  const { main } = await import('./program.ts');
  process.exitCode = await main(process.argv);
}
