import { expect, test } from 'vitest';
import { cli, project, SYNC, told, YML } from './cli.ts';

test.concurrent('a project for another version is refused in one sentence by every command', async () => {
  const dir = await project({ 'syncline.yml': `require_syncline: ">=9"\n${YML}later: 1\n`, 'syncs/s.yml': SYNC });
  for (const command of ['lock', 'validate', 'compile', 'apply']) {
    const ran = await cli(dir, command);
    told(ran, 2, 'this project requires syncline >=9, and this is 0.1.0');
    expect(ran.err).not.toContain('unknown-key');
  }
});
