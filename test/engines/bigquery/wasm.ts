import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { WASI } from 'node:wasi';
import protobuf from 'protobufjs';

/** The wheels that hold GoogleSQL as WebAssembly and its messages; fetched, never committed. */
const WHEELS = ['zetasql==0.1.5', 'googlesql==0.2.0'];
/** Kept between runs; git ignores it. */
const CACHE = path.join(import.meta.dirname, '../../../.cache', WHEELS.join('_').replaceAll('==', '-'));
const WASM = path.join(CACHE, 'zetasql/wasi/zetasql.wasm');
const PROTOS = path.join(CACHE, 'googlesql');
const ZONES = '/usr/share/zoneinfo';

const run = (program: string, ...args: string[]): boolean =>
  spawnSync(program, args, { stdio: 'ignore', timeout: 300_000 }).status === 0;

const UNPACK = `
import glob, sys, zipfile
for wheel in glob.glob(sys.argv[1] + '/wheels/*.whl'):
    zipfile.ZipFile(wheel).extractall(sys.argv[1])
`;

/** Fetches GoogleSQL where it is not yet. @returns why it is not there, or undefined */
export function missing(): string | undefined {
  if (existsSync(WASM)) return undefined;
  if (!run('python3', '--version')) return 'python3 is not installed';
  const into = `${CACHE}.${process.pid}`;
  try {
    // A system's python may have no pip; an environment has one.
    if (!run('python3', '-m', 'venv', path.join(into, 'venv'))) return 'python3 makes no virtual environment';
    const python = path.join(into, 'venv/bin/python');
    const download = ['-m', 'pip', 'download', '--quiet', '--no-deps', '-d', path.join(into, 'wheels'), ...WHEELS];
    if (![1, 2, 3].some(() => run(python, ...download))) return `${WHEELS.join(' and ')} cannot be fetched`;
    if (!run(python, '-c', UNPACK, into)) return 'the wheels of GoogleSQL cannot be unpacked';
    rmSync(path.join(into, 'venv'), { recursive: true });
    renameSync(into, CACHE);
  } catch (error) {
    // Another test file may have been faster.
    if (!existsSync(WASM)) return `GoogleSQL cannot be kept: ${String(error)}`;
  } finally {
    rmSync(into, { recursive: true, force: true });
  }
  return undefined;
}

/** What protobufjs makes of a message. */
export type Message = Record<string, unknown>;

/** What is used of it: the types of Node have none. */
declare const WebAssembly: {
  compile(bytes: Uint8Array): Promise<object>;
  readonly Instance: new (module: object, imports: object) => { readonly exports: object };
  readonly RuntimeError: new () => Error;
};

interface Wasm {
  readonly memory: { readonly buffer: ArrayBuffer };
  wasm_malloc(size: number): number;
  wasm_free(at: number): void;
  wasm_get_last_error(): number;
  wasm_get_last_error_size(): number;
  readonly [rpc: `ZetaSqlLocalService_${string}`]: (at: number, size: number, resultSize: number) => number;
}

let messages: protobuf.Root | undefined;
let program: object | undefined;

/** protobufjs has google's own messages in a folder of its package. */
async function loadMessages(): Promise<protobuf.Root> {
  // A long row of `||` is as deep a tree.
  protobuf.Reader.recursionLimit = protobuf.util.recursionLimit = 2000;
  const root = new protobuf.Root();
  const google = path.dirname(createRequire(import.meta.url).resolve('protobufjs/package.json'));
  root.resolvePath = (_, target) =>
    path.isAbsolute(target) ? target : path.join(target.startsWith('google/') ? google : CACHE, target);
  return root.load(path.join(PROTOS, 'local_service/local_service.proto'), { keepCase: true });
}

/** An instance; after a crash (a failed check inside is a trap) a new one is made. */
export class Engine {
  private wasm: Wasm | undefined;
  /** Counts instances: what is registered in one is not in the next. */
  generation = 0;
  private readonly root: protobuf.Root;
  private readonly module: object;

  constructor(root: protobuf.Root, module: object) {
    this.root = root;
    this.module = module;
  }

  private instance(): Wasm {
    if (this.wasm === undefined) {
      const wasi = new WASI({ version: 'preview1', preopens: existsSync(ZONES) ? { [ZONES]: ZONES } : {} });
      const made = new WebAssembly.Instance(this.module, wasi.getImportObject());
      wasi.initialize(made);
      this.wasm = made.exports as unknown as Wasm;
      this.generation++;
    }
    return this.wasm;
  }

  /** @throws with the service's message */
  call(rpc: string, request: string, response: string, content: Message): Message {
    const wasm = this.instance();
    const type = this.root.lookupType(`googlesql.${request}`);
    const bytes = type.encode(type.fromObject(content)).finish();
    try {
      const at = wasm.wasm_malloc(bytes.length || 1);
      const size = wasm.wasm_malloc(4);
      new Uint8Array(wasm.memory.buffer).set(bytes, at);
      const result = wasm[`ZetaSqlLocalService_${rpc}`]?.(at, bytes.length, size) ?? 0;
      if (result === 0) {
        const text = Buffer.from(wasm.memory.buffer, wasm.wasm_get_last_error(), wasm.wasm_get_last_error_size());
        throw new Error(short(text.toString()));
      }
      const length = new DataView(wasm.memory.buffer).getUint32(size, true);
      const copy = new Uint8Array(wasm.memory.buffer, result, length).slice();
      for (const used of [at, size, result]) wasm.wasm_free(used);
      const answer = this.root.lookupType(`googlesql.${response}`);
      return answer.toObject(answer.decode(copy), { longs: String, enums: String, arrays: true });
    } catch (error) {
      if (error instanceof WebAssembly.RuntimeError) {
        this.wasm = undefined;
        throw new Error(`GoogleSQL crashed: ${error.message}`, { cause: error });
      }
      throw error;
    }
  }
}

/** The engine's message on one line: what is wrong and where, without the signatures that it tried. */
function short(message: string): string {
  const [first = '', ...rest] = message.replace(/^Code: \d+, Message: /, '').split('\n');
  const types = rest[0]?.startsWith('  Argument types') === true ? `;${rest[0].slice(1)}` : '';
  const place = rest.length > 0 ? (/ \[at \d+:\d+\]$/.exec(message)?.[0] ?? '') : '';
  return `${first}${types}${place}`;
}

/** Loads program and messages once. @returns an instance of its own */
export async function engine(): Promise<Engine> {
  messages ??= await loadMessages();
  program ??= await WebAssembly.compile(readFileSync(WASM));
  return new Engine(messages, program);
}
