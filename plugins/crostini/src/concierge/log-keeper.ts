// All that VMs say, whichever way it comes: listened for, kept, and told to whoever follows.

import type { Vms } from '@runtime/plugin-vmm/contract';
import type { EventBus } from '@runtime/sdk';
import { ConsolePump } from './console-pump.ts';
import { type Crash, listenForCrashes } from './crash-listener.ts';
import { followLogs, type LogBoard, type LogFollower, publish } from './log-board.ts';
import { listenForLogs } from './log-collector.ts';
import { escapeText, type LogRecord } from './log-records.ts';
import type { LogQuery, LogStore } from './log-store.ts';
import { keyText, type VmKey } from './names.ts';
import { HOST_PORTS } from './ports.ts';

export interface LogKeeperOptions {
  readonly store: LogStore;
  readonly board: LogBoard;
  readonly vms: Pick<Vms, 'readConsole'>;
  readonly events: Pick<EventBus, 'emit'>;
}

export interface WatchedVm {
  readonly key: VmKey;
  readonly machine: string;
  /** Of the socket behind a port of the host. */
  readonly socketPath: (port: number) => string;
  readonly isEnding: () => boolean;
}

/** What listens to one VM. Disposing of it lets go of the VM, whose log goes on with the next. */
export interface LogWatch extends Disposable {
  /** When its machine is there. */
  watchConsole(): void;
  /** Resolves when all that the machine has written, which has ended, is in the log. */
  drain(): Promise<void>;
}

/** Kept crashes that are told of one VM. */
const CRASHES_SHOWN = 5;

export class LogKeeper {
  readonly #options: LogKeeperOptions;

  constructor(options: LogKeeperOptions) {
    this.#options = options;
  }

  /** Listens before the machine starts. */
  async watch({ key, machine, socketPath, isEnding }: WatchedVm): Promise<LogWatch> {
    const { vms, board } = this.#options;
    using stack = new DisposableStack();
    const append = (records: readonly LogRecord[]): void => this.#append(key, records);
    stack.use(await listenForLogs(socketPath(HOST_PORTS.logs), { since: Date.now(), append }));
    const report = (crash: Crash): void => this.#crashed(key, crash);
    stack.use(await listenForCrashes(socketPath(HOST_PORTS.crash), { report, isEnding }));
    const owned = stack.move();
    let pump: ConsolePump | undefined;
    return {
      watchConsole: () => {
        const onPosition = (next: number): void => void board.consoles.set(machine, next);
        pump = owned.use(new ConsolePump({ vms, machine, append, onPosition, from: board.consoles.get(machine) }));
      },
      drain: async () => {
        await pump?.drain();
        board.consoles.delete(machine);
      },
      [Symbol.dispose]: () => owned.dispose(),
    };
  }

  /** The VM has ended: nothing more comes. */
  ended(key: VmKey): void {
    this.#options.store.close(key);
    publish(this.#options.board, keyText(key), undefined);
  }

  /** What is known of a VM that did not come from it by itself. */
  note(key: VmKey, records: readonly LogRecord[]): void {
    this.#append(key, records);
  }

  has(key: VmKey): boolean {
    return this.#options.store.has(key);
  }

  remove(key: VmKey): void {
    this.#options.store.remove(key);
  }

  /** In the order of their time, each line once: what the kernel has logged is often on the console, too. */
  async read(key: VmKey, { lines, ...query }: LogQuery = {}): Promise<readonly LogRecord[]> {
    const all = (await this.#options.store.read(key, query)).filter(onceEach());
    return lines === undefined ? all : all.slice(Math.max(0, all.length - lines));
  }

  /** What comes from now on. */
  follow(key: VmKey, signal: AbortSignal): LogFollower {
    return followLogs(this.#options.board, keyText(key), signal);
  }

  /** The last ones that were reported, oldest first. */
  async crashes(key: VmKey): Promise<readonly LogRecord[]> {
    return this.#options.store.read(key, { sources: ['crash'], lines: CRASHES_SHOWN });
  }

  /** For people: one line for each record. */
  async text(key: VmKey): Promise<string> {
    return (await this.read(key)).map((record) => `${lineOf(record)}\n`).join('');
  }

  #append(key: VmKey, records: readonly LogRecord[]): void {
    this.#options.store.append(key, records);
    for (const record of records) publish(this.#options.board, keyText(key), record);
  }

  #crashed(key: VmKey, { process, why }: Crash): void {
    const text = `${process} ${why}`;
    this.#append(key, [{ time: Date.now(), source: 'crash', priority: 'error', text }]);
    this.#options.events.emit('termina:crash', { vm: key.name, owner: key.owner, process, why });
  }
}

/** `2026-12-01T01:02:03.123Z kernel   [    0.000000] Linux version …`; nothing of it can do harm to a terminal. */
export function lineOf({ time, source, text }: LogRecord): string {
  return `${new Date(time).toISOString()} ${source.padEnd(7)} ${escapeText(text)}`;
}

/** As printk writes it, on the console and in /dev/kmsg. */
const STAMPED = /^\[ *\d+\.\d{6}\] /;
/** Within which a line comes both ways; later it is of another start of the VM. */
const SAME_MS = 30_000;
/** Lines that are remembered. */
const MAX_REMEMBERED = 8192;

/** Says of each record whether it is no repetition of one that came from the other of kernel and console. */
export function onceEach(): (record: LogRecord) => boolean {
  const seen = new Map<string, LogRecord>();
  return (record) => {
    const { source, text, time } = record;
    if (!STAMPED.test(text)) return true;
    const before = seen.get(text);
    if (before !== undefined && before.source !== source && Math.abs(time - before.time) < SAME_MS) return false;
    if (seen.size >= MAX_REMEMBERED) seen.delete(seen.keys().next().value ?? '');
    seen.set(text, record);
    return true;
  };
}
