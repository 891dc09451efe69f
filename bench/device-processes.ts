// Device processes as the runtime starts them, without a machine: through its supervisor, which puts a shell before each,
// and the device manager, which opens the disk and loads the device. With the cache of compiled code that `runtime` uses.

import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import module from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { compiledDevices } from '../plugins/vmm/src/compiled-devices.ts';
import { builtInKind } from '../plugins/vmm/src/device-kinds.ts';
import { DeviceManager, type DeviceSpec, type RunningDevice } from '../plugins/vmm/src/device-manager.ts';
import { makeFolder } from './fixtures.ts';
import { startPlugin } from './plugin-context.ts';

const DISK_BYTES = 64 * 2 ** 20;
const KIB = 1024;

export class DeviceProcesses implements AsyncDisposable {
  readonly #folder = makeFolder();
  readonly #manager: DeviceManager;
  readonly #end: () => Promise<void>;
  readonly #signal: AbortSignal;
  #next = 0;

  static async open(): Promise<DeviceProcesses> {
    module.enableCompileCache(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'runtime/compile'));
    const { ctx, end } = await startPlugin();
    const compiled = compiledDevices(ctx.processes);
    const manager = new DeviceManager({
      ...(compiled === undefined ? {} : { compiled }),
      processes: {
        list: () => ctx.processes.list(),
        // This runtime has no folder in which the next one could find them.
        spawn: (request) => ctx.processes.spawn({ ...request, detached: false }),
      },
      log: ctx.log,
      resolve: async (kind) => builtInKind(kind),
      onRestart: () => {},
      onFailure: () => {},
    });
    return new DeviceProcesses(manager, ctx.signal, end);
  }

  private constructor(manager: DeviceManager, signal: AbortSignal, end: () => Promise<void>) {
    this.#manager = manager;
    this.#signal = signal;
    this.#end = end;
  }

  /** Resolves when the process has its device. @param kind `block` has a sparse disk of its own */
  async start(kind: string): Promise<RunningDevice> {
    const directory = join(this.#folder.path, String(this.#next++));
    mkdirSync(directory);
    const spec: DeviceSpec = { id: kind, kind, options: kind === 'block' ? { path: makeDisk(directory) } : {} };
    return this.#manager.start({ name: `vm${this.#next}`, directory, cwd: directory }, spec, this.#signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    this.#folder.remove();
  }
}

function makeDisk(directory: string): string {
  const path = join(directory, 'disk.img');
  writeFileSync(path, '');
  truncateSync(path, DISK_BYTES);
  return path;
}

/** Bytes of the proportional set size: pages shared with n processes count for an n-th. proc_pid_smaps_rollup(5) */
export function proportionalSetSize(pid: number | undefined): number {
  const found = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1'));
  return Number(found?.[1]) * KIB;
}
