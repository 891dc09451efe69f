// What maitred tells the host.

import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Protobuf } from '@runtime/sdk/protobuf';
import { callUnary } from '../../../src/rpc/unary.ts';
import { vmCrashTable } from '../../../src/wire/vm-crash.ts';
import { vmGuestTable } from '../../../src/wire/vm-guest.ts';
import { vmHostTable } from '../../../src/wire/vm-host.ts';
import type { CrashSign } from './crash-signs.ts';
import type { Log } from './log.ts';
import type { LogItem } from './log-queue.ts';

export const HOST_PORTS = { startup: 7777, crash: 7779, logs: 9999 } as const;

export type Dial = (port: number, signal: AbortSignal) => Promise<Duplex>;

const hostWire = new Protobuf({
  messages: { 'vm_tools.EmptyMessage': vmGuestTable.messages['vm_tools.EmptyMessage'], ...vmHostTable.messages },
  enums: vmHostTable.enums,
  services: vmHostTable.services,
});
const crashWire = new Protobuf({
  ...vmCrashTable,
  messages: { 'vm_tools.EmptyMessage': {}, ...vmCrashTable.messages },
});

const DEADLINE_MS = 10_000;
/** Between calls that were not answered: twice as long each time. */
const RETRY_MS = { first: 50, last: 1000 } as const;

/** Calls until somebody answers. */
export async function tellReady(dial: Dial, log: Log, signal?: AbortSignal): Promise<void> {
  let wait: number = RETRY_MS.first;
  for (let tries = 1; signal?.aborted !== true; tries++) {
    try {
      await callUnary({
        ...{ wire: hostWire, service: 'vm_tools.StartupListener', method: 'VmReady', request: {} },
        ...{ dial: (aborted) => dial(HOST_PORTS.startup, aborted), deadlineMs: DEADLINE_MS },
      });
      return;
    } catch (e) {
      if (tries === 1) log('warning', `the host does not answer yet: ${(e as Error).message}`);
    }
    await sleep(wait);
    wait = Math.min(wait * 2, RETRY_MS.last);
  }
}

/** Once, and nobody waits for it. */
export function reportFailure(dial: Dial, name: string): void {
  callUnary({
    ...{ wire: crashWire, service: 'vm_tools.cicerone.CrashListener', method: 'SendFailureReport' },
    request: { failed_process: name },
    ...{ dial: (aborted) => dial(HOST_PORTS.crash, aborted), deadlineMs: DEADLINE_MS },
  }).catch(() => {});
}

/** Once, and nobody waits for it. */
export function reportCrash(dial: Dial, { process, pid, reason }: CrashSign): void {
  const metadata = new Map([
    ['exec_name', process],
    ['pid', pid],
    ['reason', reason],
  ]);
  callUnary({
    ...{ wire: crashWire, service: 'vm_tools.cicerone.CrashListener', method: 'SendCrashReport' },
    request: { metadata },
    ...{ dial: (aborted) => dial(HOST_PORTS.crash, aborted), deadlineMs: DEADLINE_MS },
  }).catch(() => {});
}

/** Of syslog(3), by their number. */
const SEVERITIES = ['EMERGENCY', 'ALERT', 'CRITICAL', 'ERROR', 'WARNING', 'NOTICE', 'INFO', 'DEBUG'] as const;

/** @throws when the host did not take them */
export async function sendLogs(dial: Dial, kind: LogItem['kind'], items: readonly LogItem[]): Promise<void> {
  const records = items.map(({ severity, time, text }) => ({
    severity: SEVERITIES[severity] ?? 'INFO',
    timestamp: { seconds: BigInt(Math.floor(time / 1_000)), nanos: (time % 1_000) * 1_000_000 },
    content: Buffer.from(text),
  }));
  await callUnary({
    ...{ wire: hostWire, service: 'vm_tools.LogCollector', deadlineMs: DEADLINE_MS },
    method: kind === 'kernel' ? 'CollectKernelLogs' : 'CollectUserLogs',
    request: { records },
    dial: (aborted) => dial(HOST_PORTS.logs, aborted),
  });
}
