// What maitred tells the host.

import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Protobuf } from '@runtime/sdk/protobuf';
import { vmGuestTable } from '../../../src/wire/vm-guest.ts';
import { vmHostTable } from '../../../src/wire/vm-host.ts';
import { callUnary } from '../rpc/client.ts';
import type { Log } from './log.ts';

export const HOST_PORTS = { startup: 7777, crash: 7779 } as const;

export type Dial = (port: number, signal: AbortSignal) => Promise<Duplex>;

/** vm_crash.proto of platform2/vm_tools/proto, as much as maitred needs. */
const crashTable = {
  messages: { 'vm_tools.EmptyMessage': {}, 'vm_tools.cicerone.FailureReport': { failed_process: [1, 'string'] } },
  enums: {},
  services: {
    'vm_tools.cicerone.CrashListener': {
      SendFailureReport: ['vm_tools.cicerone.FailureReport', 'vm_tools.EmptyMessage'],
    },
  },
} as const;

const hostWire = new Protobuf({
  messages: { 'vm_tools.EmptyMessage': vmGuestTable.messages['vm_tools.EmptyMessage'], ...vmHostTable.messages },
  enums: vmHostTable.enums,
  services: vmHostTable.services,
});
const crashWire = new Protobuf(crashTable);

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
