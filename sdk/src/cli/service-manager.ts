// What a service manager is told that has started the runtime, sd_notify(3): when it is ready, what it does, that it stops.
// systemd waits for it under Type=notify; podman and others listen the same way.

import { closeSync } from 'node:fs';
import type { Runtime } from '@runtime/core';
import { connectUnix, FdSocket } from '../linux/index.ts';

/** Letters that are shown. */
const MAX_STATUS = 1024;

export interface ServiceManager extends Disposable {
  /** Tells of `runtime` from now on. */
  attach(runtime: Runtime): void;
  /** All that it is started for is there. */
  ready(text: string): void;
  /** One line for people, `systemctl status` shows it. */
  status(text: string): void;
}

/** `undefined`: nobody wants to know. The variables are taken out of `env`: they are not meant for our children. */
export function serviceManager(env: NodeJS.ProcessEnv): ServiceManager | undefined {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: watchdog, WATCHDOG_PID: watched } = env;
  delete env.NOTIFY_SOCKET;
  delete env.WATCHDOG_USEC;
  delete env.WATCHDOG_PID;
  // An address of another family (vsock:…) is that of the manager of a whole machine.
  if (socket === undefined || !/^[/@]/.test(socket)) return undefined;
  const isWatched = watched === undefined || Number(watched) === process.pid;
  const everyMs = isWatched ? Math.floor(Number(watchdog ?? 0) / 2_000) : 0;
  try {
    return new Notifier(socket.replace(/^@/, '\0'), everyMs);
  } catch {
    // Whoever was there is gone, and nobody waits.
    return undefined;
  }
}

class Notifier implements ServiceManager {
  readonly #socket: FdSocket;
  readonly #stack = new DisposableStack();
  readonly #everyMs: number;
  #isStopping = false;

  /** @param everyMs between signs of life; 0: none are wanted. @throws LinuxError, SDK_ERR_SOCKET_ADDRESS */
  constructor(path: string, everyMs: number) {
    this.#everyMs = everyMs;
    const fd = this.#stack.adopt(connectUnix(path, { type: 'datagram' }), closeSync);
    this.#socket = this.#stack.use(new FdSocket(fd, { maxFds: 0 }));
  }

  attach(runtime: Runtime): void {
    this.status('starting');
    this.#stack.use(
      runtime.events.on('core:runtime-state', ({ to }) => {
        if (to === 'stopping') this.#stopping();
      }),
    );
    if (this.#everyMs <= 0) return;
    // From the loop that does all the work: when it stands still, so does this.
    const timer = setInterval(() => this.#send({ WATCHDOG: '1' }), this.#everyMs);
    timer.unref();
    this.#stack.defer(() => clearInterval(timer));
  }

  ready(text: string): void {
    if (!this.#isStopping) this.#send({ READY: '1', STATUS: text });
  }

  status(text: string): void {
    this.#send({ STATUS: text });
  }

  [Symbol.dispose](): void {
    this.#stack.dispose();
  }

  #stopping(): void {
    this.#isStopping = true;
    this.#send({ STOPPING: '1', STATUS: 'stopping' });
  }

  #send(lines: Readonly<Record<string, string>>): void {
    const line = ([key, value]: [string, string]): string =>
      `${key}=${value.replace(/[\r\n]+/g, ' ').slice(0, MAX_STATUS)}\n`;
    try {
      this.#socket.send(Buffer.from(Object.entries(lines).map(line).join('')));
    } catch {
      // It does not listen any more; what it is told changes nothing for us.
    }
  }
}
