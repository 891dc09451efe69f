// All through which maitred changes the machine, so that tests can look on without being root.

import { spawn } from 'node:child_process';
import { statfsSync } from 'node:fs';
import {
  addDefaultRoute,
  endMachine,
  type MountOptions,
  mountFilesystem,
  type Resource,
  removeDefaultRoute,
  setClock,
  setHostName,
  setInterfaceAddress,
  setInterfaceUp,
  setResourceLimit,
  syncFilesystems,
  unmount,
} from '@runtime/sdk/linux';

export interface ProgramResult {
  /** Undefined when a signal ended it. */
  readonly code: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
  /** Of both outputs, at most OUTPUT_MAX characters. */
  readonly output: string;
}

/** Free and whole, in bytes. */
export interface Space {
  readonly free: number;
  readonly size: number;
}

export interface System {
  /** Before every path; empty in a guest. */
  readonly root: string;
  mount(options: MountOptions): void;
  unmount(target: string, options?: { readonly detach?: boolean }): void;
  sync(): void;
  endMachine(how: 'power-off' | 'restart'): void;
  setHostName(name: string): void;
  setResourceLimit(resource: Resource, limit: number | undefined): void;
  setClock(seconds: bigint, nanoseconds: number): void;
  setInterfaceUp(name: string, up: boolean): void;
  setInterfaceAddress(name: string, address: string, netmask: string): void;
  addDefaultRoute(gateway: string): void;
  removeDefaultRoute(gateway: string): void;
  /** @throws Error of kill(2) */
  kill(pid: number, signal: NodeJS.Signals): void;
  space(folder: string): Space;
  /** Runs a program to its end. @throws Error when it cannot be started */
  run(argv: readonly string[], options?: RunOptions): Promise<ProgramResult>;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Then it is killed; default 60 s. */
  readonly timeoutMs?: number;
}

export const OUTPUT_MAX = 65_536;
const RUN_TIMEOUT_MS = 60_000;

export const linuxSystem: System = {
  root: '',
  mount: mountFilesystem,
  unmount,
  sync: syncFilesystems,
  ...{ endMachine, setHostName, setResourceLimit, setClock },
  ...{ setInterfaceUp, setInterfaceAddress, addDefaultRoute, removeDefaultRoute },
  kill: (pid, signal) => void process.kill(pid, signal),
  space: (folder) => {
    const { bsize, bavail, blocks } = statfsSync(folder);
    return { free: bsize * bavail, size: bsize * blocks };
  },
  run: runProgram,
};

export function runProgram([file = '', ...args]: readonly string[], options: RunOptions = {}): Promise<ProgramResult> {
  const { promise, resolve, reject } = Promise.withResolvers<ProgramResult>();
  const env = { PATH: process.env.PATH, ...options.env };
  const { timeoutMs = RUN_TIMEOUT_MS } = options;
  const child = spawn(file, args, {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8');
    // What is too much is read and dropped, lest the program waits for ever.
    stream.on('data', (text: string) => {
      output += text.slice(0, OUTPUT_MAX - output.length);
    });
  }
  child.on('error', reject);
  child.on('close', (code, signal) => resolve({ code: code ?? undefined, signal: signal ?? undefined, output }));
  return promise;
}
