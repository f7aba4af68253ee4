import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    testTimeout: 120_000,
    // Engines start in hooks, beside whatever else runs.
    hookTimeout: 120_000,
    // What waits for processes, servers and leases leaves a core to others.
    maxWorkers: 2,
    projects: [
      { extends: true, test: { name: 'unit', include: ['test/*.test.ts'] } },
      { extends: true, test: { name: 'conformance', include: ['test/conformance/*.test.ts'], testTimeout: 300_000 } },
      { extends: true, test: { name: 'golden', include: ['test/golden/*.test.ts'] } },
      {
        extends: true,
        test: {
          name: 'story',
          include: ['test/story/*.test.ts'],
          setupFiles: ['test/story/zlib.ts'],
          testTimeout: 600_000,
        },
      },
      { extends: true, test: { name: 'engines', include: ['test/engines/**/*.test.ts'], testTimeout: 600_000 } },
      { extends: true, test: { name: 'e2e', include: ['test/e2e/*.test.ts'], testTimeout: 600_000 } },
    ],
  },
});
