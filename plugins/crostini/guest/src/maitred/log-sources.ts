// Where the machine's log comes from, and where it goes.

import { type CrashSign, crashIn } from './crash-signs.ts';
import { type Dial, reportCrash, sendLogs } from './host.ts';
import type { Log } from './log.ts';
import { type KernelLogReader, type KernelRecord, readKernelLog, stamped } from './log-kmsg.ts';
import { LogQueue } from './log-queue.ts';
import { LogShipper } from './log-shipper.ts';

/** What starts the machine has its time first. */
const FIRST_MS = 1000;
/** For the last lines, when the machine ends. */
const FAREWELL_MS = 500;
/** Reports of crashes: so many in half a minute. */
const CRASHES_MAX = 10;
const CRASHES_WINDOW_MS = 30_000;

export interface MachineLogs {
  /** A line of a program. */
  readonly output: (name: string, line: string) => void;
  /** From now on the host is sent what there is. */
  start(): void;
  /** Sends the last of it. It never fails, and is soon over. */
  finish(): Promise<void>;
}

export function machineLogs(dial: Dial, log: Log): MachineLogs {
  const queue = new LogQueue();
  let reader: KernelLogReader | undefined;
  let shipper: LogShipper | undefined;
  const begin = (): void => {
    try {
      const onCrash = limited((sign) => reportCrash(dial, sign));
      reader = readKernelLog(
        '/dev/kmsg',
        (record) => take(queue, record, onCrash),
        (count) => queue.miss(count),
      );
    } catch (e) {
      log('warning', `the kernel's log cannot be read: ${(e as Error).message}`);
    }
    shipper = new LogShipper({ queue, send: (kind, items) => sendLogs(dial, kind, items) });
  };
  return {
    output: (name, text) => queue.push({ kind: 'user', severity: 6, time: Date.now(), text: `${name}: ${text}` }),
    start: () => void setTimeout(begin, FIRST_MS),
    finish: async () => {
      reader?.readNow();
      const late = new Promise<void>((resolve) => setTimeout(resolve, FAREWELL_MS));
      await Promise.race([shipper?.flush(), late]);
    },
  };
}

/** Programs that write to the kernel's log are not the kernel. */
function take(queue: LogQueue, record: KernelRecord, onCrash: (sign: CrashSign) => void): void {
  const kind = record.facility === 0 ? 'kernel' : 'user';
  const ago = process.hrtime()[0] * 1_000 + process.hrtime()[1] / 1_000_000 - record.microseconds / 1_000;
  const time = Math.round(Date.now() - Math.max(0, ago));
  queue.push({ kind, severity: record.severity, time, text: stamped(record) });
  const sign = kind === 'kernel' ? crashIn(record.text) : undefined;
  if (sign !== undefined) onCrash(sign);
}

function limited(report: (sign: CrashSign) => void): (sign: CrashSign) => void {
  let recent: readonly number[] = [];
  return (sign) => {
    const now = Date.now();
    recent = recent.filter((time) => now - time < CRASHES_WINDOW_MS);
    if (recent.length >= CRASHES_MAX) return;
    recent = [...recent, now];
    report(sign);
  };
}
