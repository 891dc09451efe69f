// The two back ends that a driver of vhost-user-blk is put in front of: our device process as the runtime starts it, and
// qemu-storage-daemon. BENCH_CPU_PROF names a folder for CPU profiles of ours.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { connectUnix, listenUnix, socketPair } from '@runtime/sdk/linux';
import { type DriverOptions, VhostUserFrontEnd } from '@runtime/sdk/testing';
import { ControlLink, deviceProcess } from '@runtime/sdk/virtio';
import { ROOT } from './start-process.ts';

const PLUGIN = join(ROOT, 'plugins/vmm');
const DEVICE = join(PLUGIN, 'src/devices/block/index.ts');
const GUEST_BYTES = 64 * 2 ** 20;
/** As Linux sets it up. */
const QUEUES: readonly DriverOptions[] = [{ size: 256, eventIdx: true }];
const START_MS = 10_000;

export interface BackEnd extends AsyncDisposable {
  readonly frontEnd: VhostUserFrontEnd;
}

/** @param disk path of the image @param folder for sockets */
export async function startOurs(disk: number, folder: string): Promise<BackEnd> {
  const path = join(folder, 'control.sock');
  const listener = listenUnix(path, { type: 'seqpacket' });
  const { argv, env } = deviceProcess('bench');
  const [file, ...args] = argv;
  const profile = process.env.BENCH_CPU_PROF;
  const child = spawn(file, [...(profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]), ...args], {
    stdio: ['ignore', 'inherit', 'inherit', listener],
    env: { ...process.env, ...env },
  });
  closeSync(listener);
  const link = new ControlLink(connectUnix(path, { type: 'seqpacket' }), {
    name: 'bench',
    handle: () => ({ value: null }),
  });
  await link.request('load', { id: 'bench', root: PLUGIN, file: DEVICE, options: {}, names: ['disk'] }, [disk]);
  const [ours, theirs] = socketPair('stream');
  await link.request('connect', null, [theirs]);
  closeSync(theirs);
  const frontEnd = await VhostUserFrontEnd.connect(ours, { memory: GUEST_BYTES, queues: QUEUES });
  return {
    frontEnd,
    async [Symbol.asyncDispose]() {
      frontEnd[Symbol.dispose]();
      await link.request('stop', null).catch(() => {});
      link[Symbol.dispose]();
      await ended(child);
    },
  };
}

export type AioMode = 'threads' | 'io_uring';

/** @param image path of the image; locks are off, as the other back end has it open too */
export async function startStorageDaemon(image: string, folder: string, aio: AioMode): Promise<BackEnd> {
  const path = join(folder, `qsd-${aio}.sock`);
  const blockdev = `driver=file,node-name=disk,filename=${image},locking=off,cache.direct=off,aio=${aio}`;
  const server = `id=export,node-name=disk,writable=on,num-queues=1,addr.type=unix,addr.path=${path}`;
  const child = spawn('qemu-storage-daemon', ['--blockdev', blockdev, '--export', `type=vhost-user-blk,${server}`], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const socket = await Promise.race([answering(path), once(child, 'spawn').then(() => failed(child))]).catch((e) => {
    child.kill();
    throw e;
  });
  const frontEnd = await VhostUserFrontEnd.connect(socket, { memory: GUEST_BYTES, queues: QUEUES });
  return {
    frontEnd,
    async [Symbol.asyncDispose]() {
      frontEnd[Symbol.dispose]();
      child.kill('SIGTERM');
      await ended(child);
    },
  };
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

async function failed(child: ChildProcess): Promise<never> {
  await once(child, 'exit');
  throw new Error(`qemu-storage-daemon ended with exit code ${child.exitCode}`);
}

/** The socket is there a moment before anybody listens on it. */
async function answering(path: string): Promise<number> {
  const until = performance.now() + START_MS;
  for (;;) {
    try {
      return connectUnix(path);
    } catch (e) {
      if (performance.now() > until) throw e;
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
