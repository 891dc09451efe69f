// The control socket: how other programs of the same user talk to a runtime that runs.

import { createServer, type Socket } from 'node:net';
import { type Clock, systemClock } from '../clock.ts';
import { errors } from '../core-errors.ts';
import { toErrorRecord } from '../errors.ts';
import type { NativeHost } from '../host.ts';
import type { Logger } from '../logging.ts';
import type { Runtime } from '../runtime-types.ts';
import { CORE_VERSION } from '../version.ts';
import { encodeFrame } from '../wire/frames.ts';
import { ControlConnection } from './connection.ts';
import type { ControlHost } from './host.ts';
import { CONTROL_LIMITS, type ControlLimits, type HelloMessage, PROTOCOL_VERSION } from './protocol.ts';
import { claimSocket } from './socket-claim.ts';

/** How long connections may take to read their last message when the server stops. */
const CLOSE_MS = 2_000;

export interface ControlServerOptions {
  readonly runtime: Runtime;
  readonly host: ControlHost;
  /** Absolute; see controlSocketPath(). */
  readonly socketPath: string;
  /** Tells who connects. Without it the modes of socket and folder are the only guard. */
  readonly native?: NativeHost | undefined;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly limits?: Partial<ControlLimits>;
}

export interface ControlServer extends AsyncDisposable {
  readonly path: string;
  /** Connections now. */
  readonly connections: number;
}

/** @throws CORE_ERR_RUNTIME_RUNNING, CORE_ERR_CONTROL_PATH */
export async function startControlServer(options: ControlServerOptions): Promise<ControlServer> {
  const { runtime, host, log, socketPath } = options;
  const limits: ControlLimits = { ...CONTROL_LIMITS, ...options.limits };
  const clock = options.clock ?? systemClock;
  const hello: HelloMessage = {
    type: 'hello',
    v: PROTOCOL_VERSION,
    version: CORE_VERSION,
    instance: runtime.instance,
    pid: process.pid,
  };
  const open = new Map<Socket, ControlConnection>();

  const accept = (socket: Socket): void => {
    // Without a listener an error would end the runtime; 'close' follows and cleans up.
    socket.on('error', (error) => log.debug({ err: error }, 'a control connection broke'));
    const refusal = refusePeer(socket, options.native, open.size, limits);
    if (refusal !== undefined) {
      log.warn({ err: refusal }, refusal.message);
      socket.end(encodeFrame({ type: 'error', error: toErrorRecord(refusal) }));
      // Not read, so that it is destroyed as soon as the refusal was sent, whatever the peer does.
      socket.destroySoon();
      return;
    }
    const connection = new ControlConnection(socket, { runtime, host, hello, limits, clock, log });
    open.set(socket, connection);
    socket.on('data', (chunk) => connection.receive(chunk));
    socket.on('close', () => {
      connection.close();
      open.delete(socket);
    });
  };

  const server = createServer(accept);
  const claimed = await claimSocket(server, socketPath).catch((error: unknown) => {
    server.close();
    throw error;
  });
  server.on('error', (error) => log.error({ err: error }, 'the control socket failed'));

  const stop = async (): Promise<void> => {
    // While it still listens, so that nobody takes the name for a dead one in between.
    await claimed.release();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    const closing = errors.CORE_ERR_CLOSING({ details: { what: 'a request over the control socket' } });
    for (const connection of open.values()) connection.fail(closing);
    const timer = clock.after(CLOSE_MS, () => {
      for (const socket of open.keys()) socket.destroy();
    });
    await closed;
    timer[Symbol.dispose]();
  };
  let stopping: Promise<void> | undefined;
  return {
    path: socketPath,
    get connections() {
      return open.size;
    },
    [Symbol.asyncDispose]() {
      stopping ??= stop();
      return stopping;
    },
  };
}

function refusePeer(
  socket: Socket,
  native: NativeHost | undefined,
  connections: number,
  limits: ControlLimits,
): Error | undefined {
  if (connections >= limits.connections) {
    return errors.CORE_ERR_CONTROL_LIMIT({ details: { why: `there are ${connections} connections` } });
  }
  if (native === undefined) return undefined;
  const own = process.getuid?.();
  let uid: number;
  try {
    uid = native.peerCredentials(descriptor(socket)).uid;
  } catch (cause) {
    return errors.CORE_ERR_PERMISSION({ details: { who: 'an unknown user', what: 'use this runtime' }, cause });
  }
  if (uid === own || uid === 0) return undefined;
  return errors.CORE_ERR_PERMISSION({ details: { who: `user ${uid}`, what: `use the runtime of user ${own}` } });
}

/** Node has no public way to it. */
function descriptor(socket: Socket): number {
  const { _handle: handle } = socket as Socket & { readonly _handle?: { readonly fd?: unknown } | null };
  const fd = handle?.fd;
  if (typeof fd !== 'number' || fd < 0) throw new TypeError('the socket has no descriptor');
  return fd;
}
