import { PassThrough } from 'node:stream';
import { vi } from 'vitest';

// Time in a story is virtual: a compression on another thread would be over at no known step.
vi.mock('node:zlib', async (original) => ({ ...(await original<object>()), createGzip: () => new PassThrough() }));
