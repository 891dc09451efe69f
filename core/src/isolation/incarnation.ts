// One process of a plugin and the connection to it, from its start to its end.

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { AnyContext } from '../context.ts';
import { errors } from '../core-errors.ts';
import type { ExitStatus, ManagedProcess } from '../processes/types.ts';
import { traceChannels } from '../tracing.ts';
import { hostArgv } from './host-argv.ts';
import { HostLink } from './host-link.ts';
import { type HostLimits, MEMORY_BESIDE_HEAP, MESSAGE_FD, SYNC_FD } from './limits.ts';
import type { Session } from './session.ts';
import { createSocketPair } from './socket-pair.ts';

/** Milliseconds. One that does not leave at once spins. */
const STOP_MS = { ask: 500, term: 500 };

export interface Incarnation {
  readonly child: ManagedProcess;
  readonly link: HostLink;
  readonly session: Session;
}

export interface IncarnationOptions {
  readonly ctx: AnyContext;
  readonly limits: HostLimits;
  readonly session: Session;
  /** Called once. The link is closed by then. */
  readonly onEnd: (incarnation: Incarnation, error: Error) => void;
}

/** @throws CORE_ERR_SPAWN, CORE_ERR_SPAWN_PLAN */
export async function startIncarnation(options: IncarnationOptions): Promise<Incarnation> {
  const { ctx, limits, session, onEnd } = options;
  const { name: plugin } = ctx;
  const messages = await createSocketPair();
  const sync = await createSocketPair();
  const started: { link?: HostLink } = {};
  let child: ManagedProcess;
  try {
    child = await ctx.processes.spawn({
      // Never that of a process which a reload left parked.
      key: `plugin-host-${randomBytes(4).toString('hex')}`,
      kind: 'plugin-host',
      argv: hostArgv(plugin, limits),
      fds: [
        { child: MESSAGE_FD, parent: messages.farFd },
        { child: SYNC_FD, parent: sync.farFd },
      ],
      ask: () => started.link?.tell('exit', []),
      stopMs: STOP_MS,
    });
  } catch (error) {
    messages.near.destroy();
    sync.near.destroy();
    throw error;
  } finally {
    messages.closeFar();
    sync.closeFar();
  }
  const link = new HostLink({
    plugin,
    limits,
    clock: ctx.clock,
    messages: messages.near,
    sync: sync.near,
    handlers: session,
    answerSync: (method, args, context) => session.answerSync(method, args, context),
    tracing: () => Object.values(traceChannels).some((channel) => channel.hasSubscribers),
    inspect: () => tooLarge(plugin, child.pid, limits),
    onFailure: (error) => onEnd(incarnation, error),
  });
  started.link = link;
  const incarnation: Incarnation = { child, link, session };
  void child.exited.then((status) => {
    link.fail(errors.CORE_ERR_HOST_GONE({ plugin, details: { plugin, how: describeExit(status) } }));
  });
  return incarnation;
}

function describeExit({ code, signal }: ExitStatus): string {
  return signal === null ? `exit code ${code}` : `signal ${signal}`;
}

function tooLarge(plugin: string, pid: number | undefined, limits: HostLimits): Error | undefined {
  const used = pid === undefined ? undefined : residentMb(pid);
  const most = limits.memoryMb + MEMORY_BESIDE_HEAP;
  if (used === undefined || used <= most) return undefined;
  const why = `it took ${used} MiB of memory, more than ${most}`;
  return errors.CORE_ERR_HOST_FLOOD({ plugin, details: { plugin, why } });
}

/** Resident memory in MiB, proc_pid_status(5). */
function residentMb(pid: number): number | undefined {
  try {
    const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1')) ?? [];
    return kilobytes === undefined ? undefined : Math.round(Number(kilobytes) / 1024);
  } catch {
    return undefined;
  }
}
