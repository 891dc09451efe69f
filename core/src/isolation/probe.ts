// A short-lived process that looks at a plugin: describes it, checks its configuration, takes over its state. Nothing of
// the plugin is set up in it, and it has no way back into the runtime.

import { spawn } from 'node:child_process';
import type { Duplex, Readable } from 'node:stream';
import { type Clock, withDeadline } from '../clock.ts';
import { errors } from '../core-errors.ts';
import type { FoundPlugin } from '../loader/types.ts';
import type { Logger } from '../logging.ts';
import { hostArgv } from './host-argv.ts';
import { FRAME_BYTES, type HostLimits, MESSAGE_FD, PROBE_MS } from './limits.ts';
import type { ProbeMethod } from './messages.ts';
import { Rpc } from './rpc.ts';

/** Characters of output that are kept for the error. */
const MAX_OUTPUT = 4096;

export interface ProbeOptions {
  readonly found: FoundPlugin;
  readonly own: Readonly<Record<string, string>>;
  readonly limits: HostLimits;
  readonly log: Logger;
  readonly clock: Clock;
}

/** @throws what the plugin throws, CORE_ERR_HOST_GONE, CORE_ERR_HOST_UNRESPONSIVE */
export async function probe(options: ProbeOptions, method: ProbeMethod, args: readonly unknown[]): Promise<unknown> {
  const { found, own, limits, log, clock } = options;
  const plugin = found.manifest.plugin;
  const [file, ...argv] = hostArgv(plugin, limits);
  const { PATH = '', HOME = '', LANG = '', XDG_RUNTIME_DIR = '' } = process.env;
  const child = spawn(file, argv, {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    env: { PATH, HOME, LANG, XDG_RUNTIME_DIR },
  });
  let output = '';
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString('utf8')).slice(-MAX_OUTPUT);
  };
  for (const stream of [child.stdout, child.stderr] as Readable[]) stream.on('data', keep);
  const channel = child.stdio[MESSAGE_FD] as Duplex;
  const rpc = new Rpc({
    write: (frame) => void channel.write(frame),
    // It may ask for nothing.
    handlers: { call: refuse, tell: () => {} },
    frameBytes: FRAME_BYTES,
    maxCalls: 1,
  });
  const gone = (how: string, cause?: unknown): Error => {
    const seen = output.trim() === '' ? how : `${how}; last output: ${output.trim()}`;
    return errors.CORE_ERR_HOST_GONE({ plugin, details: { plugin, how: seen }, cause });
  };
  channel.on('error', () => {});
  channel.on('data', (chunk: Uint8Array) => {
    try {
      rpc.receive(chunk);
    } catch (cause) {
      rpc.close(gone('it broke the protocol', cause));
    }
  });
  child.on('error', (cause) => rpc.close(gone('it could not be started', cause)));
  child.on('close', (code, signal) => rpc.close(gone(signal === null ? `exit code ${code}` : `signal ${signal}`)));
  try {
    const late = (): Error => errors.CORE_ERR_HOST_UNRESPONSIVE({ plugin, details: { plugin, ms: PROBE_MS } });
    return await withDeadline(clock, PROBE_MS, rpc.call(method, [{ found, own }, ...args]), late);
  } finally {
    child.kill('SIGKILL');
    if (output !== '') log.debug({ plugin, output }, `${plugin} wrote while it was looked at`);
  }
}

function refuse(): never {
  throw errors.CORE_ERR_WIRE({ details: { why: 'a plugin that is merely looked at has no runtime' } });
}
