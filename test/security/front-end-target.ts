// A hostile front end: sessions of real ones, changed, on connections of their own.

import { readdirSync, readFileSync } from 'node:fs';
import { isRuntimeError } from '@runtime/core';
import { socketPair } from '@runtime/sdk/linux';
import {
  EchoDevice,
  mutateSession,
  playSession,
  type Random,
  type ScriptedMessage,
  VhostUserFrontEnd,
} from '@runtime/sdk/testing';
import { VhostUserBackend, type VhostUserEnd } from '../../sdk/src/virtio/vhost-user/back-end.ts';
import { Found, pick, type Target } from './target.ts';

const CORPUS = new URL('../../sdk/src/virtio/vhost-user/corpus/', import.meta.url);

export async function frontEndTarget(): Promise<Target> {
  const originals = readdirSync(CORPUS).map((name) => {
    return JSON.parse(readFileSync(new URL(name, CORPUS), 'utf8')) as readonly ScriptedMessage[];
  });
  const device = new EchoDevice();
  return {
    async live(random: Random) {
      const session = mutateSession(pick(random, originals), random);
      const { error } = await connect(device, (fd) => playSession(fd, session, random)).catch((cause: unknown) => {
        throw new Found(String(cause), session);
      });
      if (error !== undefined && !isRuntimeError(error)) throw new Found(String(error), session);
      return 1;
    },
    async serve() {
      await connect(device, async (fd) => {
        using frontEnd = await VhostUserFrontEnd.connect(fd, { memory: 2 ** 20, queues: [{ size: 8 }, { size: 8 }] });
        frontEnd.queue(1).add([Uint8Array.of(1, 2, 3)], [3]);
        const [completion] = await frontEnd.exchange(1, 1);
        if (String(completion?.data) !== '1,2,3') throw new Error(`got ${completion?.data}`);
      });
    },
    async [Symbol.asyncDispose]() {},
  };
}

async function connect(device: EchoDevice, run: (fd: number) => Promise<unknown>): Promise<VhostUserEnd> {
  const [ours, theirs] = socketPair('stream');
  const log = { info: () => {}, warn: () => {} };
  const backend = new VhostUserBackend(theirs, device, {
    log,
    sharedMemory: [4096],
    inband: true,
    limits: { memorySlots: 4 },
  });
  backend.start();
  const [end] = await Promise.all([backend.closed, run(ours)]);
  return end;
}
