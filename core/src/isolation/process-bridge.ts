// Child processes of a plugin that runs in its own process: they are started and kept here, and known there by number.

import type { AnyContext } from '../context.ts';
import { errors } from '../core-errors.ts';
import type { ManagedProcess, SpawnRequest } from '../processes/types.ts';
import { MAX_REGISTRATIONS } from './limits.ts';
import type { ProcessInfo, RemoteSpawn } from './messages.ts';

export class ProcessBridge {
  readonly #ctx: AnyContext;
  readonly #toPlugin: (method: string, args: readonly unknown[]) => Promise<unknown>;
  readonly #known: Map<number, ManagedProcess> = new Map();
  #last = 0;

  constructor(ctx: AnyContext, toPlugin: (method: string, args: readonly unknown[]) => Promise<unknown>) {
    this.#ctx = ctx;
    this.#toPlugin = toPlugin;
  }

  async spawn({ asks, ready, ...plain }: RemoteSpawn): Promise<ProcessInfo> {
    const request: SpawnRequest = {
      ...plain,
      ...(ready === undefined ? {} : { ready: typeof ready === 'string' ? ready : lineOf(ready.line) }),
      ...(asks ? { ask: async () => void (await this.#toPlugin('ask', [plain.key])) } : {}),
    };
    return this.#describe(await this.#ctx.processes.spawn(request));
  }

  /** Without the process that runs the plugin itself. */
  list(): readonly ProcessInfo[] {
    const own = this.#ctx.processes.list().filter(({ kind }) => kind !== 'plugin-host');
    return own.map((process) => this.#describe(process));
  }

  info(id: number): ProcessInfo {
    return this.#describe(this.get(id));
  }

  /** @throws CORE_ERR_WIRE for a number that was never given */
  get(id: number): ManagedProcess {
    const process = this.#known.get(id);
    if (process === undefined) throw errors.CORE_ERR_WIRE({ details: { why: `there is no process number ${id}` } });
    return process;
  }

  #describe(process: ManagedProcess): ProcessInfo {
    const { key, kind, pid, state, restarts, detached, data, log } = process;
    return { process: this.#number(process), key, kind, pid, state, restarts, detached, data, log };
  }

  #number(process: ManagedProcess): number {
    for (const [id, known] of this.#known) if (known === process) return id;
    this.#last += 1;
    this.#known.set(this.#last, process);
    if (this.#known.size > MAX_REGISTRATIONS) this.#forgetEnded();
    return this.#last;
  }

  #forgetEnded(): void {
    for (const [id, { state }] of this.#known) if (state === 'exited') this.#known.delete(id);
  }
}

function lineOf({ source, flags }: { readonly source: string; readonly flags: string }): { readonly line: RegExp } {
  return { line: new RegExp(source, flags) };
}
