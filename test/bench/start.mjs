/** The smallest command against a bare start of Node. */
import { spawnSync } from 'node:child_process';
import { least, main, ratio } from './common.mjs';

const time = (args) => least(9, () => spawnSync(process.execPath, args));
ratio('--version', time([main, '--version']), time(['-e', '']), 3);
