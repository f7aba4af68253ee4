import { RunError } from '../errors.ts';
import type { Faults } from '../sandbox/faults.ts';
import { parseFaults } from '../sandbox/faults.ts';
import { openSandbox, serveSandbox } from '../sandbox/server.ts';
import { err, FoundBefore } from './context.ts';

/** Serves the local Mixpanel until it is interrupted. */
export async function sandbox(options: Readonly<Record<string, string | boolean>>): Promise<number> {
  const port = Number(options['port']);
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw new FoundBefore('--port must be a port number.');
  const faults = typeof options['faults'] === 'string' ? readFaults(options['faults']) : undefined;
  const store = await openSandbox({
    path: options['discard'] ? ':memory:' : String(options['file']),
    discard: options['discard'] === true,
    ...(faults ? { faults } : {}),
  }).catch((error: unknown) => {
    throw new RunError('mixpanel-unreachable', error instanceof Error ? error.message : String(error), {
      retryable: true,
    });
  });
  const server = await serveSandbox(store, { port }).catch(async (error: unknown) => {
    await store.close();
    throw new RunError('mixpanel-unreachable', error instanceof Error ? error.message : String(error), {
      retryable: false,
    });
  });
  err(
    `sandbox on http://127.0.0.1:${server.port}${options['discard'] ? ' (discarding)' : `, stored in ${String(options['file'])}`}`,
  );
  await new Promise<void>((resolve) => {
    process.once('SIGINT', () => resolve());
    process.once('SIGTERM', () => resolve());
  });
  await server.close();
  await store.close();
  return 0;
}

function readFaults(text: string): Faults {
  try {
    return parseFaults(text);
  } catch (error) {
    throw new FoundBefore(`--faults: ${error instanceof Error ? error.message : String(error)}`);
  }
}
