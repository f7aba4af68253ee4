import { writeFile } from 'node:fs/promises';
import { RunError } from '../errors.ts';
import type { Access } from '../sandbox/access.ts';
import type { Faults } from '../sandbox/faults.ts';
import { parseFaults } from '../sandbox/faults.ts';
import { openSandbox, serveSandbox } from '../sandbox/server.ts';
import { err, FoundBefore } from './context.ts';

type Options = Readonly<Record<string, string | boolean | readonly string[]>>;

/** Serves the local Mixpanel until it is interrupted. */
export async function sandbox(options: Options): Promise<number> {
  const port = portOf('--port', options['port']);
  const proxyPort = options['proxyPort'] === undefined ? undefined : portOf('--proxy-port', options['proxyPort']);
  const secure = options['tls'] === true;
  if (!secure && (proxyPort !== undefined || options['caFile'] !== undefined)) {
    throw new FoundBefore('--proxy-port and --ca-file need --tls.');
  }
  const faults = typeof options['faults'] === 'string' ? readFaults(options['faults']) : undefined;
  const lookupTables = pairs('--lookup-table', options['lookupTable'], /^([^=]+)(?:=(.+))?$/);
  const store = await openSandbox({
    path: options['discard'] ? ':memory:' : String(options['file']),
    discard: options['discard'] === true,
    access: accessOf(options),
    ...(faults ? { faults } : {}),
    ...(lookupTables ? { lookupTables: Object.fromEntries(lookupTables.map(([id, name]) => [id, name || id])) } : {}),
  }).catch((error: unknown) => {
    throw new RunError('mixpanel-unreachable', error instanceof Error ? error.message : String(error), {
      retryable: true,
    });
  });
  const closing: (() => Promise<void>)[] = [() => store.close()];
  try {
    const tls = secure ? await (await import('../sandbox/tls.ts')).makeTls(Date.now()) : undefined;
    if (tls && typeof options['caFile'] === 'string') await writeFile(options['caFile'], tls.ca);
    const server = await serveSandbox(store, { port, ...(tls ? { tls } : {}) });
    closing.unshift(() => server.close());
    const where = options['discard'] ? ' (discarding)' : `, stored in ${String(options['file'])}`;
    err(`sandbox on ${tls ? 'https' : 'http'}://127.0.0.1:${server.port}${where}`);
    if (proxyPort !== undefined) {
      const { serveProxy } = await import('../sandbox/proxy.ts');
      const proxy = await serveProxy({ port: proxyPort, target: server.port });
      closing.unshift(() => proxy.close());
      err(`proxy on http://127.0.0.1:${proxy.port}`);
    }
    await new Promise<void>((resolve) => {
      process.once('SIGINT', () => resolve());
      process.once('SIGTERM', () => resolve());
    });
    return 0;
  } catch (error) {
    throw new RunError('mixpanel-unreachable', error instanceof Error ? error.message : String(error), {
      retryable: false,
    });
  } finally {
    for (const close of closing) await close();
  }
}

function portOf(flag: string, value: unknown): number {
  const port = Number(value);
  if (!Number.isInteger(port) || port < 0 || port > 65535) throw new FoundBefore(`${flag} must be a port number.`);
  return port;
}

function accessOf(options: Options): Access {
  const projects = pairs('--project', options['project'], /^([^:]+):([^:]+)(?::([^:]+))?$/);
  const accounts = pairs('--account', options['account'], /^([^:]+):(.+)$/);
  return {
    ...(projects
      ? { projects: projects.map(([id, token, secret]) => ({ id, token, ...(secret ? { secret } : {}) })) }
      : {}),
    ...(accounts ? { accounts: Object.fromEntries(accounts.map(([user, secret]) => [user, secret])) } : {}),
  };
}

function pairs(flag: string, values: unknown, form: RegExp): [string, string, string][] | undefined {
  if (!Array.isArray(values)) return undefined;
  return values.map((value) => {
    const [, first = '', second = '', third = ''] = form.exec(String(value)) ?? [];
    if (first === '') throw new FoundBefore(`${flag} cannot be read; see --help.`);
    return [first, second, third];
  });
}

function readFaults(text: string): Faults {
  try {
    return parseFaults(text);
  } catch (error) {
    throw new FoundBefore(`--faults: ${error instanceof Error ? error.message : String(error)}`);
  }
}
