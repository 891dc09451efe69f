// A hostile front end: sessions of real ones, changed, on connections of their own.

import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
import block from '../../plugins/vmm/src/devices/block/index.ts';
import type { BackendDevice } from '../../sdk/src/virtio/backend-device.ts';
import { createIoEngine } from '../../sdk/src/virtio/device-io-engine.ts';
import { DeviceRunner } from '../../sdk/src/virtio/device-runner.ts';
import { VhostUserBackend, type VhostUserEnd } from '../../sdk/src/virtio/vhost-user/back-end.ts';
import { Found, pick, type Target } from './target.ts';

const CORPUS = new URL('../../sdk/src/virtio/vhost-user/corpus/', import.meta.url);

/** A device behind a back end, and a driver that keeps to the rules. */
interface Served extends AsyncDisposable {
  readonly device: BackendDevice;
  readonly limits: { readonly memorySlots?: number };
  attach?(backend: VhostUserBackend): void;
  serve(fd: number): Promise<void>;
}

/** The protocol, with the simplest device there is. */
export async function frontEndTarget(): Promise<Target> {
  const device = new EchoDevice();
  return target({
    device,
    limits: { memorySlots: 4 },
    async serve(fd) {
      using frontEnd = await VhostUserFrontEnd.connect(fd, { memory: 2 ** 20, queues: [{ size: 8 }, { size: 8 }] });
      frontEnd.queue(1).add([Uint8Array.of(1, 2, 3)], [3]);
      const [completion] = await frontEnd.exchange(1, 1);
      if (String(completion?.data) !== '1,2,3') throw new Error(`got ${completion?.data}`);
    },
    async [Symbol.asyncDispose]() {},
  });
}

/** The same with a disk, as the process of one has it. */
export async function blockFrontEndTarget(): Promise<Target> {
  const folder = mkdtempSync(join(tmpdir(), 'hostile-front-end-'));
  const path = join(folder, 'disk.img');
  writeFileSync(path, Buffer.alloc(64 * 512, 1));
  const fd = openSync(path, 'r+');
  const runner = await DeviceRunner.create({
    id: 'block0',
    device: block,
    options: { queues: 2, queueSize: 64 },
    fds: { disk: fd },
    io: createIoEngine(),
    log: SILENT,
    request: () => Promise.reject(new Error('nobody answers')),
  });
  return target({
    device: runner,
    limits: {},
    attach(backend) {
      runner.link = backend;
    },
    async serve(socket) {
      using frontEnd = await VhostUserFrontEnd.connect(socket, { memory: 2 ** 20, queues: [{ size: 8 }, { size: 8 }] });
      frontEnd.queue(1).add([new Uint8Array(16)], [512, 1]);
      const [completion] = await frontEnd.exchange(1, 1);
      if (completion?.data.length !== 513 || completion.data[512] !== 0) throw new Error(`got ${completion?.data}`);
    },
    async [Symbol.asyncDispose]() {
      await runner.close();
      closeSync(fd);
      rmSync(folder, { recursive: true });
    },
  });
}

const SILENT = { info: () => {}, warn: () => {} };

function target(served: Served): Target {
  const originals = readdirSync(CORPUS).map((name) => {
    return JSON.parse(readFileSync(new URL(name, CORPUS), 'utf8')) as readonly ScriptedMessage[];
  });
  return {
    // A whole set-up of a front end takes as long as what it is to be served after.
    serveEvery: 8,
    async live(random: Random) {
      const session = mutateSession(pick(random, originals), random);
      const { error } = await connect(served, (fd) => playSession(fd, session, random)).catch((cause: unknown) => {
        throw new Found(String(cause), session);
      });
      if (error !== undefined && !isRuntimeError(error)) throw new Found(String(error), session);
      return 1;
    },
    async serve() {
      await connect(served, (fd) => served.serve(fd));
    },
    [Symbol.asyncDispose]: () => served[Symbol.asyncDispose](),
  };
}

async function connect(served: Served, run: (fd: number) => Promise<unknown>): Promise<VhostUserEnd> {
  const [ours, theirs] = socketPair('stream');
  const { device, limits } = served;
  const backend = new VhostUserBackend(theirs, device, { log: SILENT, sharedMemory: [4096], inband: true, limits });
  served.attach?.(backend);
  backend.start();
  const [end] = await Promise.all([backend.closed, run(ours)]);
  return end;
}
