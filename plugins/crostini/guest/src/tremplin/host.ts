// What tremplin tells the host, TremplinListener, in the order in which it happens.

import { setTimeout as sleep } from 'node:timers/promises';
import type { MessageInit } from '@runtime/sdk/protobuf';
import { Protobuf } from '@runtime/sdk/protobuf';
import { callUnary } from '../../../src/rpc/unary.ts';
import { tremplinTable } from '../../../src/wire/tremplin.ts';
import type { Dial } from '../maitred/host.ts';
import type { Log } from '../maitred/log.ts';

export const TREMPLIN_LISTENER_PORT = 7778;
const SERVICE = 'vm_tools.tremplin.TremplinListener';
const DEADLINE_MS = 10_000;
/** Between calls that were not answered: twice as long each time. */
const RETRY_MS = { first: 50, last: 1_000 } as const;
/** Calls that wait; the host is slow or gone when there are so many, and the oldest of them say the least. */
const WAITING_MAX = 256;

type Methods = (typeof tremplinTable.services)[typeof SERVICE];
export type HostMethod = keyof Methods & string;
export type HostNews<M extends HostMethod> = MessageInit<typeof tremplinTable, Methods[M][0]>;

/** Never throws, and nobody waits for it. */
export type TellHost = <M extends HostMethod>(method: M, news: HostNews<M>) => void;

export const tremplinWire: Protobuf<typeof tremplinTable> = new Protobuf(tremplinTable);

/** Each is told when the one before it has been. */
export function hostTeller(dial: Dial, log: Log): TellHost {
  const waiting: (() => Promise<void>)[] = [];
  let isTelling = false;
  const tellAll = async (): Promise<void> => {
    isTelling = true;
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await next();
    isTelling = false;
  };
  return (method, news) => {
    if (waiting.length >= WAITING_MAX) waiting.shift();
    waiting.push(async () => {
      try {
        await callHost(dial, method, news);
      } catch (e) {
        log('warning', `the host was not told ${method}: ${(e as Error).message}`);
      }
    });
    if (!isTelling) void tellAll();
  };
}

/** Calls until somebody answers. */
export async function tellTremplinReady(dial: Dial, log: Log): Promise<void> {
  let wait: number = RETRY_MS.first;
  for (let tries = 1; ; tries++) {
    try {
      return await callHost(dial, 'TremplinReady', {});
    } catch (e) {
      if (tries === 1) log('warning', `the host does not answer yet: ${(e as Error).message}`);
    }
    await sleep(wait);
    wait = Math.min(wait * 2, RETRY_MS.last);
  }
}

async function callHost<M extends HostMethod>(dial: Dial, method: M, news: HostNews<M>): Promise<void> {
  await callUnary({
    ...{ wire: tremplinWire, service: SERVICE, method, request: news as never },
    ...{ dial: (signal) => dial(TREMPLIN_LISTENER_PORT, signal), deadlineMs: DEADLINE_MS },
  });
}
