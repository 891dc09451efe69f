// Each VM in a scope of its own, where systemd runs: its processes are seen together (systemd-cgls), can be given limits
// (systemctl set-property), and outlive the unit that the runtime is started by.

import { existsSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { EventBus, Logger } from '@runtime/sdk';
import { type Bus, type BusName, connectBus, DBUS_ERRORS, isRemoteError, type Value, variant } from '@runtime/sdk/dbus';
import { scopeName } from './unit-names.ts';

/** org.freedesktop.systemd1(5) */
const SYSTEMD = 'org.freedesktop.systemd1';
const MANAGER = {
  service: SYSTEMD,
  path: '/org/freedesktop/systemd1',
  interface: 'org.freedesktop.systemd1.Manager',
  autoStart: false,
} as const;
const UNIT_EXISTS = 'org.freedesktop.systemd1.UnitExists';
const NO_SUCH_UNIT = 'org.freedesktop.systemd1.NoSuchUnit';
/** A scope that is not active yet, or any more, takes no process: how often it is asked, and when again, in ms. */
const TRIES = 20;
const AGAIN_MS = 100;
/** A process that ends before systemd looks at it. */
const GONE = ['org.freedesktop.DBus.Error.UnixProcessIdUnknown', 'System.Error.ESRCH'];
/** Errors of a bus or systemd that is not there. */
const ABSENT = [DBUS_ERRORS.nameHasNoOwner, DBUS_ERRORS.serviceUnknown];

export interface ScopeDependencies {
  /** `auto`: systemd of the machine for root, that of the user for others, when the machine was booted with it. */
  readonly mode: 'auto' | 'off' | BusName;
  readonly events: Pick<EventBus, 'on'>;
  readonly log: Pick<Logger, 'debug' | 'warn'>;
  /** What people call a VM. */
  readonly describe: (vm: string) => string;
}

export interface Scopes extends AsyncDisposable {
  /** Resolves when all that was started so far is where it belongs, or cannot be. */
  settled(): Promise<void>;
}

/** Never fails: a VM runs as well where it is. */
export function openScopes(deps: ScopeDependencies): Scopes {
  const bus = scopesBus(deps.mode);
  return bus === undefined
    ? { settled: async () => {}, [Symbol.asyncDispose]: async () => {} }
    : new SystemdScopes(bus, deps);
}

/** `vm/<name>/qemu`, `<name>/<device>` and `<name>/<device>/<helper>`, as the vmm plugin calls them. */
function vmOfProcess(key: string): string | undefined {
  return /^vm\/([^/]+)\/qemu$/.exec(key)?.[1] ?? /^([^/]+)\/[^/]+(\/[^/]+)?$/.exec(key)?.[1];
}

/** Which systemd is asked; `undefined`: none. */
export function scopesBus(mode: ScopeDependencies['mode']): BusName | undefined {
  if (mode === 'off') return undefined;
  if (mode !== 'auto') return mode;
  // sd_booted(3)
  if (!existsSync('/run/systemd/system')) return undefined;
  return process.getuid?.() === 0 ? 'system' : 'session';
}

/** Why no systemd answers on a bus; `undefined`: one does. */
export async function lackOfSystemd(name: BusName): Promise<string | undefined> {
  try {
    await using bus = await connectBus({ bus: name, timeoutMs: 3_000 });
    await bus.credentialsOf(SYSTEMD);
    return undefined;
  } catch (e) {
    return e instanceof Error ? e.message : String(e);
  }
}

class SystemdScopes implements Scopes {
  readonly #name: BusName;
  readonly #deps: ScopeDependencies;
  readonly #stack = new DisposableStack();
  readonly #abort = new AbortController();
  #bus: Bus | undefined;
  /** One after the other: the first process of a VM makes its scope, others join it. */
  #last: Promise<void> = Promise.resolve();
  #warned = false;

  constructor(name: BusName, deps: ScopeDependencies) {
    this.#name = name;
    this.#deps = deps;
    this.#stack.use(
      deps.events.on('process:started', ({ plugin, key, pid }) => {
        const vm = plugin === 'vmm' ? vmOfProcess(key) : undefined;
        if (vm !== undefined) this.#last = this.#last.then(() => this.#put(vm, pid));
      }),
    );
  }

  settled(): Promise<void> {
    return this.#last;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stack.dispose();
    this.#abort.abort();
    await this.#last;
    await this.#bus?.close();
  }

  async #put(vm: string, pid: number): Promise<void> {
    const unit = scopeName(vm);
    try {
      const bus = await this.#connect();
      for (let tries = 1; !(await this.#isPut(bus, unit, vm, pid, tries === TRIES)); tries++)
        await delay(AGAIN_MS, undefined, { signal: this.#abort.signal });
    } catch (e) {
      this.#failed(e, unit, pid);
    }
  }

  /** Into the scope that is there, be it of an earlier runtime, or into a new one; or it is to be tried again. */
  async #isPut(bus: Bus, unit: string, vm: string, pid: number, isLast: boolean): Promise<boolean> {
    try {
      await this.#call(bus, 'AttachProcessesToUnit', 'ssau', [unit, '', [pid]]);
      return true;
    } catch (e) {
      if (isRemoteError(e, DBUS_ERRORS.invalidArgs) && !isLast) return false;
      if (!isRemoteError(e, NO_SUCH_UNIT)) throw e;
    }
    try {
      await this.#call(bus, 'StartTransientUnit', 'ssa(sv)a(sa(sv))', [unit, 'fail', this.#properties(vm, pid), []]);
      return true;
    } catch (e) {
      if (isRemoteError(e, UNIT_EXISTS) && !isLast) return false;
      throw e;
    }
  }

  #properties(vm: string, pid: number): Value {
    return [
      ['Description', variant('s', this.#deps.describe(vm))],
      ['Slice', variant('s', this.#name === 'session' || process.getuid?.() !== 0 ? 'app.slice' : 'machine.slice')],
      ['PIDs', variant('au', [pid])],
      // Only such a scope takes processes later on.
      ['Delegate', variant('b', true)],
      // One that has failed is not kept: its name is that of the next start.
      ['CollectMode', variant('s', 'inactive-or-failed')],
    ];
  }

  async #call(bus: Bus, member: string, signature: string, args: readonly Value[]): Promise<void> {
    await bus.call({ ...MANAGER, member, signature, args, timeoutMs: 5_000, signal: this.#abort.signal });
  }

  async #connect(): Promise<Bus> {
    if (this.#bus !== undefined) return this.#bus;
    const bus = await connectBus({ bus: this.#name, signal: this.#abort.signal, timeoutMs: 5_000 });
    this.#bus = bus;
    void bus.closed.then(() => {
      if (this.#bus === bus) this.#bus = undefined;
    });
    return bus;
  }

  #failed(err: unknown, unit: string, pid: number): void {
    if (this.#abort.signal.aborted) return;
    const { log } = this.#deps;
    if (GONE.some((name) => isRemoteError(err, name))) return;
    // Once: there will be more of the same.
    const isExpected = this.#warned || (this.#deps.mode === 'auto' && ABSENT.some((name) => isRemoteError(err, name)));
    const text = 'a process of a VM is not in a scope of its own; it ends with the unit of the runtime';
    if (isExpected) log.debug({ err, unit, pid }, text);
    else log.warn({ err, unit, pid }, text);
    this.#warned = true;
  }
}
