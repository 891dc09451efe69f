// A short-lived process that looks at a plugin: describes it, checks its configuration, takes over its state. Nothing of
// the plugin is set up in it, and it has no way back into the runtime.

import { type ChildProcess, spawn } from 'node:child_process';
import type { Duplex, Readable } from 'node:stream';
import { type Clock, withDeadline } from '../clock.ts';
import { errors } from '../core-errors.ts';
import type { FoundPlugin } from '../loader/types.ts';
import type { Logger } from '../logging.ts';
import { hostArgv } from './host-argv.ts';
import { FRAME_BYTES, type HostLimits, MESSAGE_FD, PROBE_IDLE_MS, PROBE_MS } from './limits.ts';
import type { ProbeMethod } from './messages.ts';
import { Rpc } from './rpc.ts';

/** Characters of output that are kept for the error. */
const MAX_OUTPUT = 4096;

export interface ProbeOptions {
  readonly found: FoundPlugin;
  /** Package name → URL of a module from which it resolves to the copy that the runtime uses. */
  readonly own: Readonly<Record<string, string>>;
  readonly limits: HostLimits;
  readonly log: Logger;
  readonly clock: Clock;
}

/** Starts a process when it is asked something, and ends it when nothing more is asked for a while. */
export class Probe {
  readonly #options: ProbeOptions;
  #process: ProbeProcess | undefined;
  #idle: Disposable | undefined;
  #asked = 0;

  constructor(options: ProbeOptions) {
    this.#options = options;
  }

  /** @throws (rejects with) what the plugin throws, CORE_ERR_HOST_GONE, CORE_ERR_HOST_UNRESPONSIVE */
  async ask(method: ProbeMethod, ...args: readonly unknown[]): Promise<unknown> {
    const { found, own, clock } = this.#options;
    const { plugin } = found.manifest;
    this.#idle?.[Symbol.dispose]();
    this.#asked += 1;
    this.#process ??= new ProbeProcess(this.#options);
    const asked = this.#process;
    try {
      const late = (): Error => errors.CORE_ERR_HOST_UNRESPONSIVE({ plugin, details: { plugin, ms: PROBE_MS } });
      return await withDeadline(clock, PROBE_MS, asked.rpc.call(method, [{ found, own }, ...args]), late);
    } catch (error) {
      // It may hang, or be gone.
      this.#end(asked);
      throw error;
    } finally {
      this.#asked -= 1;
      if (this.#asked === 0) this.#idle = clock.after(PROBE_IDLE_MS, () => this.#end(asked));
    }
  }

  #end(process: ProbeProcess): void {
    process.end();
    if (this.#process === process) this.#process = undefined;
  }
}

class ProbeProcess {
  readonly rpc: Rpc;
  readonly #child: ChildProcess;
  readonly #plugin: string;
  #output = '';

  constructor({ found, limits, log }: ProbeOptions) {
    const { plugin } = found.manifest;
    this.#plugin = plugin;
    const [file, ...argv] = hostArgv(plugin, limits);
    const { PATH = '', HOME = '', LANG = '', XDG_RUNTIME_DIR = '' } = process.env;
    this.#child = spawn(file, argv, {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      env: { PATH, HOME, LANG, XDG_RUNTIME_DIR },
    });
    const channel = this.#child.stdio[MESSAGE_FD] as Duplex;
    this.rpc = new Rpc({
      write: (frame) => void channel.write(frame),
      // It may ask for nothing.
      handlers: { call: refuse, tell: () => {} },
      frameBytes: FRAME_BYTES,
      maxCalls: 1,
    });
    const keep = (chunk: Buffer): void => {
      this.#output = (this.#output + chunk.toString('utf8')).slice(-MAX_OUTPUT);
    };
    for (const stream of [this.#child.stdout, this.#child.stderr] as Readable[]) stream.on('data', keep);
    channel.on('error', () => {});
    channel.on('data', (chunk: Uint8Array) => {
      try {
        this.rpc.receive(chunk);
      } catch (cause) {
        this.rpc.close(this.#gone('it broke the protocol', cause));
      }
    });
    this.#child.on('error', (cause) => this.rpc.close(this.#gone('it could not be started', cause)));
    this.#child.on('close', (code, signal) => {
      this.rpc.close(this.#gone(signal === null ? `exit code ${code}` : `signal ${signal}`));
      if (this.#output !== '') log.debug({ plugin, output: this.#output }, `${plugin} wrote while it was looked at`);
    });
  }

  end(): void {
    this.#child.kill('SIGKILL');
  }

  #gone(how: string, cause?: unknown): Error {
    const plugin = this.#plugin;
    const output = this.#output.trim();
    const seen = output === '' ? how : `${how}; last output: ${output}`;
    return errors.CORE_ERR_HOST_GONE({ plugin, details: { plugin, how: seen }, cause });
  }
}

function refuse(): never {
  throw errors.CORE_ERR_WIRE({ details: { why: 'a plugin that is merely looked at has no runtime' } });
}
