// What outlives the code of the plugin: who follows the logs of VMs, and how far their consoles have been read. Plain data,
// since the code that made it is replaced.

import type { LogRecord } from './log-records.ts';

/** `undefined`: the VM has ended. */
export type LogListener = (record: LogRecord | undefined) => void;

export interface LogBoard {
  /** By keyText() of the VM. */
  readonly listeners: Map<string, Set<LogListener>>;
  /** By the name of the machine: where the next read of its console goes on. */
  readonly consoles: Map<string, number>;
}

export function newLogBoard(): LogBoard {
  return { listeners: new Map(), consoles: new Map() };
}

export function publish(board: LogBoard, key: string, record: LogRecord | undefined): void {
  for (const listener of [...(board.listeners.get(key) ?? [])]) listener(record);
}

export interface LogFollower extends AsyncIterable<LogRecord>, Disposable {}

/** Records that wait for a reader that is slow; older ones are then left out. */
const MAX_WAITING = 4096;

/**
 * All from now on, until the VM ends, `signal` is aborted or it is disposed of. A reader that is slow is told how many it
 * has missed. To be read by one loop.
 */
export function followLogs(board: LogBoard, key: string, signal: AbortSignal): LogFollower {
  const waiting: LogRecord[] = [];
  let missed = 0;
  let over = signal.aborted;
  let wake = Promise.withResolvers<void>();
  const listener: LogListener = (record) => {
    if (record === undefined) over = true;
    else if (waiting.push(record) > MAX_WAITING) {
      waiting.shift();
      missed += 1;
    }
    wake.resolve();
  };
  const listeners = board.listeners.get(key) ?? new Set();
  board.listeners.set(key, listeners.add(listener));
  const end = (): void => {
    over = true;
    listeners.delete(listener);
    if (listeners.size === 0 && board.listeners.get(key) === listeners) board.listeners.delete(key);
    wake.resolve();
  };
  signal.addEventListener('abort', end, { once: true });
  return {
    async *[Symbol.asyncIterator]() {
      for (;;) {
        const record = waiting.shift();
        if (record === undefined) {
          if (over) return;
          await wake.promise;
          wake = Promise.withResolvers();
          continue;
        }
        if (missed > 0) {
          const text = `(${missed} lines were left out: they came faster than they could be shown)`;
          missed = 0;
          yield { ...record, priority: 'warning', text };
        }
        yield record;
      }
    },
    [Symbol.dispose]() {
      signal.removeEventListener('abort', end);
      end();
    },
  };
}
