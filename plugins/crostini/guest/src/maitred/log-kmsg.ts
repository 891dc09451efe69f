// Reads the kernel's log, with what maitred has written into it, from its first line on:
// Documentation/ABI/testing/dev-kmsg of Linux.

import { closeSync, constants, openSync, readSync } from 'node:fs';
import { watch } from '@runtime/sdk/linux';

export interface KernelRecord {
  /** 0: the kernel itself; others: programs. */
  readonly facility: number;
  /** Of syslog(3): 0 to 7. */
  readonly severity: number;
  readonly sequence: number;
  /** Since the machine started. */
  readonly microseconds: number;
  readonly text: string;
}

const HEADER = /^(\d{1,10}),(\d{1,18}),(\d{1,15}),[^;\n]{0,64};([^\n]*)/;
/** Of one record, prefix and dictionary included: CONSOLE_EXT_LOG_MAX. */
const MAX_RECORD = 8192;
/** Then others have their turn. */
const BATCH = 32;

/** `undefined`: it is none. */
export function parseKernelRecord(line: string): KernelRecord | undefined {
  const [, priority, sequence, microseconds, text] = HEADER.exec(line) ?? [];
  if (text === undefined) return undefined;
  const code = Number(priority);
  return {
    ...{ facility: Math.floor(code / 8), severity: code % 8 },
    ...{ sequence: Number(sequence), microseconds: Number(microseconds), text },
  };
}

/** As printk writes it on the console: `[    1.234567] text`. */
export function stamped({ microseconds, text }: KernelRecord): string {
  const seconds = Math.floor(microseconds / 1_000_000);
  return `[${String(seconds).padStart(5)}.${String(microseconds % 1_000_000).padStart(6, '0')}] ${text}`;
}

export interface KernelLogReader extends Disposable {
  /** Reads what there is now, without waiting to be told of it. */
  readNow(): void;
}

/**
 * @param file /dev/kmsg; nothing is told when it cannot be read
 * @param onMissed how many the kernel has overwritten before they were read
 */
export function readKernelLog(
  file: string,
  onRecord: (record: KernelRecord) => void,
  onMissed: (count: number) => void,
): KernelLogReader {
  const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  const buffer = Buffer.alloc(MAX_RECORD);
  let next: number | undefined;
  const read = (): void => {
    for (let i = 0; i < BATCH; i++) {
      let length: number;
      try {
        length = readSync(fd, buffer);
      } catch (e) {
        // The one that was next is overwritten; the read after this gives the oldest that is left.
        if ((e as NodeJS.ErrnoException).code === 'EPIPE') continue;
        return;
      }
      if (length === 0) return;
      const record = parseKernelRecord(buffer.toString('utf8', 0, length));
      if (record === undefined) continue;
      if (next !== undefined && record.sequence > next) onMissed(record.sequence - next);
      next = record.sequence + 1;
      onRecord(record);
    }
  };
  const watching = watch(fd, { readable: true }, read);
  return {
    readNow: read,
    [Symbol.dispose]() {
      watching[Symbol.dispose]();
      closeSync(fd);
    },
  };
}
