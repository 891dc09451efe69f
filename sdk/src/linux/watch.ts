// Being told in the event loop, again and again, that a descriptor is ready.

import { fstatSync } from 'node:fs';
import { errors } from '../errors.ts';
import { loadKoffi } from './call.ts';

export interface Interest {
  readonly readable?: boolean;
  readonly writable?: boolean;
  /**
   * Whether a peer that sends no more (EPOLLRDHUP) counts as ready, default true. It stays so: whoever goes on writing
   * to such a socket does not want to be told for ever.
   */
  readonly hangup?: boolean;
}

export interface Readiness {
  readonly readable: boolean;
  readonly writable: boolean;
  /** The peer has hung up, or the descriptor has an error; `readable` is true as well, and reading tells which. */
  readonly hangup: boolean;
}

export interface Watch extends Disposable {
  /** Keeps the process alive, as it does at first. */
  ref(): this;
  unref(): this;
  /** Changes what is waited for; nothing pauses it. No effect once disposed. */
  setInterest(interest: Interest): void;
}

interface ReadyEvents {
  readable: boolean;
  writable: boolean;
  disconnect: boolean;
}

type PollHandle = InstanceType<ReturnType<typeof loadKoffi>['node']['PollHandle']>;

/**
 * By descriptor. libuv ends the process when one descriptor is polled twice, and a handle that nothing refers to is
 * closed by the garbage collector: therefore each is here from watch() until it is disposed.
 */
const watched = new Map<number, PollHandle>();

/**
 * Calls `fn` while `fd` is ready (level-triggered: read until EAGAIN, or it is called at once again), from the event
 * loop, never from here. Whatever epoll(7) takes can be watched, once at a time. Dispose of it before closing `fd`.
 * What `fn` throws becomes an uncaught exception of the process, at once. A descriptor with an error (EPOLLERR) is told
 * once, as `hangup`, and not waited for any more until setInterest.
 * @throws SDK_ERR_WATCH
 */
export function watch(fd: number, interest: Interest, fn: (ready: Readiness) => void): Watch {
  refuseUnwatchable(fd);
  let current: Interest = interest;
  const { poll } = loadKoffi().node;
  // ABI: koffi.node.poll over uv_poll_init and uv_poll_start of libuv; close() ends it. The callback gets a negative
  // status once and libuv stops, or 0 and what is ready.
  const called = (status: number, events: ReadyEvents | null): void => {
    if (watched.get(fd) !== handle) return;
    const failed = status < 0 || events === null;
    const hangup = failed || events.disconnect;
    const ready: Readiness = {
      readable: hangup || events.readable,
      writable: failed ? current.writable === true : events.writable,
      hangup,
    };
    try {
      fn(ready);
    } catch (e) {
      // Thrown here it would surface at some later event only.
      setImmediate(() => {
        throw e;
      });
    }
  };
  // koffi's types do not have the status.
  const callback = called as unknown as (ev: ReadyEvents) => void;
  const handle: PollHandle = poll(fd, options(interest), callback);
  watched.set(fd, handle);
  if (!isAny(interest)) handle.stop();
  const result: Watch = {
    ref() {
      if (watched.get(fd) === handle) handle.ref();
      return result;
    },
    unref() {
      if (watched.get(fd) === handle) handle.unref();
      return result;
    },
    setInterest(next) {
      if (watched.get(fd) !== handle) return;
      current = next;
      if (isAny(next)) handle.start(options(next), callback);
      else handle.stop();
    },
    [Symbol.dispose]() {
      if (watched.get(fd) !== handle) return;
      watched.delete(fd);
      handle.close();
    },
  };
  return result;
}

function isAny(interest: Interest): boolean {
  return interest.readable === true || interest.writable === true;
}

function options(interest: Interest): { readable: boolean; writable: boolean; disconnect: boolean } {
  return {
    readable: interest.readable === true,
    writable: interest.writable === true,
    disconnect: interest.hangup !== false,
  };
}

/** libuv ends the process for these instead of answering. */
function refuseUnwatchable(fd: number): void {
  const refuse = (why: string) => errors.SDK_ERR_WATCH({ details: { fd, why } });
  if (watched.has(fd)) throw refuse('it is watched already');
  if (!Number.isInteger(fd) || fd < 0) throw refuse('it is no descriptor');
  let status: ReturnType<typeof fstatSync>;
  try {
    status = fstatSync(fd);
  } catch (e) {
    throw refuse(`it is not open (${(e as NodeJS.ErrnoException).code})`);
  }
  if (status.isFile() || status.isDirectory()) throw refuse('files and folders are always ready');
}
