import { closeSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { eventfd } from '../../linux/eventfd.ts';
import { mapAnonymous } from '../../linux/mapping.ts';
import type { DriverQueue } from '../../testing/virtio/driver.ts';
import { createDriverQueue } from '../../testing/virtio/driver-queue.ts';
import { createGuestRam, type GuestRam } from '../../testing/virtio/guest-ram.ts';
import { createIoEngine } from '../device-io-engine.ts';
import { DeviceRunner } from '../device-runner.ts';
import { InflightRegion } from '../inflight.ts';
import type { SplitInflight } from '../inflight-split.ts';
import device from '../test-programs/parallel-device.ts';
import { DeviceTeam } from './device-team.ts';

const PLACE = {
  root: join(import.meta.dirname, '../test-programs'),
  file: join(import.meta.dirname, '../test-programs/parallel-device.ts'),
};

async function team(threads: number, definition: typeof device = device): Promise<DeviceTeam> {
  const log = { info: () => {}, warn: () => {} };
  const base = { id: 'p0', options: {}, fds: {}, log };
  const first = await DeviceRunner.create({
    ...base,
    device: definition,
    io: createIoEngine(),
    request: () => Promise.reject(new Error('nobody answers')),
  });
  const made = await DeviceTeam.create(first, { ...PLACE, ...base, threads, device: definition }).catch(async (e) => {
    await first.close();
    throw e;
  });
  onTestFinished(() => made.close());
  made.setFeatures(1n << 32n);
  return made;
}

function ramAndQueues(): { ram: GuestRam; queues: DriverQueue[] } {
  const ram = createGuestRam(4 * 1024 * 1024);
  const queues = [0, 1, 2, 3].map(() => createDriverQueue(ram, { size: 16 }));
  onTestFinished(() => {
    for (const queue of queues) queue[Symbol.dispose]();
    ram[Symbol.dispose]();
  });
  return { ram, queues };
}

async function answer(queue: DriverQueue, value: number): Promise<readonly [thread: number, value: number]> {
  queue.add([Uint8Array.of(value)], [2]);
  queue.kick();
  const end = Date.now() + 5_000;
  for (;;) {
    const [completion] = queue.used();
    if (completion !== undefined) return [completion.data[0] as number, completion.data[1] as number];
    if (Date.now() > end) throw new Error('the queue is not served');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test('each thread serves its queues, and all answer as one device', async () => {
  const made = await team(3);
  const { queues } = ramAndQueues();
  for (const [index, queue] of queues.entries()) made.startQueue({ setup: queue.setup({ index }), kick: queue.kickFd });
  const first = await Promise.all(queues.map((queue) => answer(queue, 10)));
  expect(first.map(([, value]) => value)).toEqual([11, 11, 11, 11]);
  const [a, b, c, d] = first.map(([thread]) => thread);
  expect(new Set([a, b, c]).size).toBe(3);
  expect(d).toBe(a);

  await made.handle('raise', 5, []);
  expect((await Promise.all(queues.map((queue) => answer(queue, 10)))).map(([, value]) => value)).toEqual([
    15, 15, 15, 15,
  ]);
  const { described, stats } = await made.describe();
  expect(stats).toEqual({ served: 8 });
  expect(described).toMatchObject({
    threads: 3,
    queues: expect.arrayContaining([expect.objectContaining({ index: 1, popped: 2 })]),
  });
  await expect(made.handle('fail', null, [])).rejects.toThrow('as it was told');
});

test('a queue of another thread is stopped, goes on from its base, and interrupts where it is told to', async () => {
  const made = await team(2);
  const { queues } = ramAndQueues();
  const queue = queues[1] as DriverQueue;
  made.startQueue({ setup: queue.setup({ index: 1, call: -1 }), kick: queue.kickFd });
  await answer(queue, 1);
  const call = eventfd();
  made.setCall(1, call);
  // The machine closes its descriptor at once: the thread has a copy of its own.
  closeSync(call);
  await answer(queue, 1);
  const base = await made.stopQueue(1);
  expect(base).toBe(2);
  made.startQueue({ setup: queue.setup({ index: 1, base }), kick: queue.kickFd });
  expect((await answer(queue, 7))[1]).toBe(8);
  expect(queue.interrupted()).toBe(true);
  expect(await made.stopQueue(1)).toBe(3);
});

test('what was in flight is seen by the thread that serves the queue', async () => {
  const made = await team(2);
  const { queues } = ramAndQueues();
  const queue = queues[1] as DriverQueue;
  const region = mapAnonymous(InflightRegion.size(2, 16, false));
  onTestFinished(() => region[Symbol.dispose]());
  const part = (): SplitInflight => InflightRegion.queue(region, 0, 1, 16, false) as SplitInflight;
  // A process before took a request and died.
  const head = queue.add([Uint8Array.of(1)], [2]);
  queue.kick();
  const before = part();
  before.recover(0);
  before.take(head);
  made.startQueue({ setup: queue.setup({ index: 1, base: 1, inflight: part() }), kick: queue.kickFd });
  const end = Date.now() + 5_000;
  let used = queue.used();
  while (used.length === 0 && Date.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    used = queue.used();
  }
  expect(used.map(({ data }) => data[1])).toEqual([2]);
  await made.stopQueue(1);
});

test('nothing is left behind', async () => {
  const fds = () => readdirSync('/proc/self/fd').length;
  const warm = await team(2);
  await warm.close();
  const before = fds();
  const made = await team(4);
  const { queues } = ramAndQueues();
  const withRings = fds();
  for (const [index, queue] of queues.entries()) made.startQueue({ setup: queue.setup({ index }), kick: queue.kickFd });
  await Promise.all(queues.map((queue) => answer(queue, 1)));
  for (const index of queues.keys()) await made.stopQueue(index);
  await made.close();
  expect(fds() - (withRings - before)).toBeLessThanOrEqual(before + 1);
});

test('a device that does not allow it has one thread', async () => {
  const alone = { ...device, parallel: false };
  await expect(team(2, alone)).rejects.toMatchObject({ code: 'SDK_ERR_DEVICE' });
  expect((await (await team(1, alone)).describe()).described).not.toHaveProperty('threads');
});
