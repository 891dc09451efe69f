// A guest that others go on from: it comes as far as it can without a host, is saved, and is woken as many times as there
// are VMs that are to be it. Until then it is called by nobody and calls nobody.

import { closeSync, openSync, writeSync } from 'node:fs';
import { ioctlBuffer, ioctlNumber, ioctlRequest } from '@runtime/sdk/linux';
import { Protobuf } from '@runtime/sdk/protobuf';
import { TEMPLATE_READY, templateTable } from '../../../src/wire/template.ts';
import type { RpcServer } from '../rpc/server.ts';
import { setTime } from './clock.ts';
import { failed, invalid, unready } from './refusal.ts';
import type { System } from './system.ts';

/** What the kernel's generator is keyed with. */
const SEED_MIN = 32;
const SEED_MAX = 4096;
/** include/uapi/linux/random.h: RNDADDENTROPY takes `struct rand_pool_info`, whose size is that of its two numbers. */
const ADD_ENTROPY = ioctlRequest('write', 'R', 0x03, 8);
const RESEED = ioctlRequest('none', 'R', 0x07);
/** Modules are still loaded beside maitred, and V8 tidies up. */
const SETTLE_MS = 1_000;

/** @param goOn once, when it is a machine of its own: it has the time, and random numbers like no other */
export function serveTemplate(server: RpcServer, system: System, goOn: () => void): void {
  let isAwake = false;
  server.add(new Protobuf(templateTable), 'runtime.Template', {
    Wake: async ({ seed, seconds, nanos }) => {
      if (isAwake) throw unready('it is awake already');
      if (seed.length < SEED_MIN || seed.length > SEED_MAX) throw invalid(`a seed has no ${seed.length} bytes`);
      // First of all: whatever comes later may want random numbers.
      addEntropy(system, seed);
      setTime(system, { seconds, nanos });
      isAwake = true;
      goOn();
      return {};
    },
  });
  setTimeout(() => writeTo(`${system.root}/dev/console`, `${TEMPLATE_READY}\n`), SETTLE_MS);
}

function addEntropy({ root }: System, seed: Uint8Array): void {
  const info = Buffer.alloc(8 + seed.length);
  info.writeInt32LE(seed.length * 8, 0);
  info.writeInt32LE(seed.length, 4);
  info.set(seed, 8);
  let fd: number | undefined;
  try {
    fd = openSync(`${root}/dev/urandom`, 'w');
    ioctlBuffer(fd, ADD_ENTROPY, info);
    ioctlNumber(fd, RESEED, 0);
  } catch (e) {
    throw failed('the kernel does not take the seed', e);
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function writeTo(path: string, text: string): void {
  const fd = openSync(path, 'w');
  writeSync(fd, text);
  closeSync(fd);
}
