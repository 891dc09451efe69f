// A process that an earlier runtime started and left running.

import { closeSync } from 'node:fs';
import type { Clock } from '../clock.ts';
import type { NativeHost } from '../host.ts';
import { members, signalProcess } from './descendants.ts';
import { isAlive, type ProcessIdentity } from './identity.ts';
import type { Incarnation } from './incarnation.ts';
import type { ExitStatus } from './types.ts';

/** Milliseconds between looks where there is no descriptor to wait on. */
const LOOK_MS = 250;

export class AdoptedProcess implements Incarnation {
  readonly identity: ProcessIdentity;
  readonly ended: Promise<ExitStatus>;
  readonly stdin: undefined = undefined;
  readonly stdout: undefined = undefined;
  readonly #native: NativeHost | undefined;
  #live = true;
  #watch: Disposable | undefined;

  /** `undefined` when it does not run any more. */
  static adopt(identity: ProcessIdentity, clock: Clock, native: NativeHost | undefined): AdoptedProcess | undefined {
    if (native === undefined) {
      return isAlive(identity) ? new AdoptedProcess(identity, undefined, clock, undefined) : undefined;
    }
    let pidfd: number;
    try {
      pidfd = native.pidfdOpen(identity.pid);
    } catch {
      return undefined;
    }
    // The descriptor names whatever had the number; only now is it certain that this is the one that was meant.
    if (isAlive(identity)) return new AdoptedProcess(identity, pidfd, clock, native);
    closeSync(pidfd);
    return undefined;
  }

  private constructor(
    identity: ProcessIdentity,
    pidfd: number | undefined,
    clock: Clock,
    native: NativeHost | undefined,
  ) {
    this.identity = identity;
    this.#native = native;
    this.ended = new Promise((resolve) => {
      // It is nobody's child here, so its exit code is not to be had.
      const end = (): void => {
        this.#live = false;
        this.release();
        resolve({ code: null, signal: null });
      };
      this.#watch =
        native === undefined || pidfd === undefined ? poll(identity, clock, end) : watch(native, pidfd, end);
    });
  }

  get live(): boolean {
    return this.#live;
  }

  signal(signal: NodeJS.Signals): boolean {
    return this.#live && signalProcess(this.identity, signal, this.#native);
  }

  async signalGroup(signal: NodeJS.Signals): Promise<void> {
    if (!this.#live) return;
    // One by one: the number of a group could change hands between a look at it and kill(2).
    const others = (await members(this.identity)).filter(({ pid }) => pid !== this.identity.pid);
    for (const target of [this.identity, ...others]) signalProcess(target, signal, this.#native);
  }

  release(): void {
    this.#watch?.[Symbol.dispose]();
    this.#watch = undefined;
  }
}

function watch(native: NativeHost, pidfd: number, end: () => void): Disposable {
  const readable = native.onReadable(pidfd, end);
  return {
    [Symbol.dispose]: () => {
      readable[Symbol.dispose]();
      closeSync(pidfd);
    },
  };
}

function poll(identity: ProcessIdentity, clock: Clock, end: () => void): Disposable {
  let timer: Disposable;
  const look = (): void => {
    if (!isAlive(identity)) end();
    else timer = clock.after(LOOK_MS, look);
  };
  timer = clock.after(LOOK_MS, look);
  return { [Symbol.dispose]: () => timer[Symbol.dispose]() };
}
