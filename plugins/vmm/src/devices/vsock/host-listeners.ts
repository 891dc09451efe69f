// Who on the host answers when a guest calls a port: what others have put here, else the Unix socket of that port in the
// folder of the VM.

import { connectUnix, isLinuxError, socketPair } from '@runtime/sdk/linux';
import { closeFd } from './close-fd.ts';

/** A Unix socket, or a function that gives the descriptor of a connected stream socket, which is the caller's from then on. */
export type HostListener = { readonly path: string } | { readonly connect: () => number | Promise<number> };

/** How long it is tried again when the backlog of a socket is full, in ms. */
const BUSY_MS = 1_000;
const BUSY_STEP_MS = 10;

/** Of all VMs of this runtime. */
export class HostListeners {
  readonly #byVm = new Map<string, Map<number, HostListener>>();

  /**
   * Calls of the guest of `vm` to `port` (0 to 0xfffffffe) go to `listener` until that is disposed. The one that came
   * last counts.
   */
  listen(vm: string, port: number, listener: HostListener): Disposable {
    const ports = this.#byVm.get(vm) ?? new Map<number, HostListener>();
    this.#byVm.set(vm, ports);
    ports.set(port, listener);
    return {
      [Symbol.dispose]: () => {
        if (ports.get(port) !== listener) return;
        ports.delete(port);
        if (ports.size === 0 && this.#byVm.get(vm) === ports) this.#byVm.delete(vm);
      },
    };
  }

  find(vm: string, port: number): HostListener | undefined {
    return this.#byVm.get(vm)?.get(port);
  }
}

/** For code that wants the socket itself: `onConnection` gets its end, non-blocking, close-on-exec, and its own to close. */
export function toCallback(onConnection: (fd: number) => void): HostListener {
  return {
    connect: () => {
      const [ours, theirs] = socketPair('stream');
      try {
        onConnection(ours);
        return theirs;
      } catch (e) {
        closeFd(ours);
        closeFd(theirs);
        throw e;
      }
    },
  };
}

/** A connected socket of the listener, the caller's. @throws LinuxError, what the listener throws */
export async function dial(listener: HostListener, signal: AbortSignal): Promise<number> {
  if ('connect' in listener) {
    const fd = await listener.connect();
    if (!signal.aborted) return fd;
    closeFd(fd);
    signal.throwIfAborted();
  }
  const { path } = listener as { readonly path: string };
  const until = performance.now() + BUSY_MS;
  for (;;) {
    try {
      return connectUnix(path);
    } catch (e) {
      // The backlog is full: whoever listens is there, and behind.
      if (!isLinuxError(e, 'EAGAIN') || performance.now() > until) throw e;
    }
    await new Promise((resolve) => setTimeout(resolve, BUSY_STEP_MS));
    signal.throwIfAborted();
  }
}
