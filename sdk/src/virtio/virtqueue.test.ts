import { isRuntimeError } from '@runtime/core';
import { afterEach, describe, expect, test } from 'vitest';
import { drainEventfd } from '../linux/eventfd.ts';
import { mapAnonymous } from '../linux/mapping.ts';
import type { DriverOptions, DriverQueue } from '../testing/virtio/driver.ts';
import { createDriverQueue } from '../testing/virtio/driver-queue.ts';
import { createGuestRam, type GuestRam } from '../testing/virtio/guest-ram.ts';
import { DirtyLog } from './dirty-log.ts';
import { createVirtqueue, type Virtqueue, type VirtqueueSetup } from './virtqueue.ts';

const open: Disposable[] = [];
afterEach(() => {
  for (const one of open.splice(0).reverse()) one[Symbol.dispose]();
});

function pair(
  options: DriverOptions,
  over: Partial<VirtqueueSetup> = {},
): { ram: GuestRam; driver: DriverQueue; queue: Virtqueue } {
  const ram = createGuestRam(1 << 20);
  const driver = createDriverQueue(ram, options);
  open.push(ram, driver);
  return { ram, driver, queue: createVirtqueue(driver.setup(over)) };
}

/** Answers each chain with its own bytes, reversed. */
function echo(queue: Virtqueue): number {
  let count = 0;
  for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
    const bytes = new Uint8Array(chain.readableBytes);
    chain.read(bytes);
    queue.push(chain.head, chain.write(bytes.reverse()));
    count += 1;
  }
  return count;
}

const rings: [string, DriverOptions][] = [];
for (const packed of [false, true])
  for (const indirect of [false, true])
    for (const eventIdx of [false, true])
      for (const inOrder of [false, true]) {
        const name = [
          packed ? 'packed' : 'split',
          indirect && 'indirect',
          eventIdx && 'event index',
          inOrder && 'in order',
        ];
        rings.push([name.filter(Boolean).join(', '), { packed, indirect, eventIdx, inOrder, size: 8 }]);
      }

const small = { size: 8, packed: false };

test.each<[string, DriverOptions, Partial<VirtqueueSetup>, RegExp]>([
  ['no descriptors', {}, { size: 0 }, /virtqueue 0 cannot be started: its size is 0/],
  ['half a descriptor', {}, { size: 1.5 }, /its size is 1.5/],
  ['too many descriptors', {}, { size: 65_536 }, /its size is 65536/],
  ['a split ring of odd size', {}, { size: 7 }, /its size 7 is no power of two/],
  ['a table that is not aligned', {}, { desc: 0x1008 }, /its descriptor table at 0x1008 is not aligned to 16/],
  ['a table that is nowhere', {}, { desc: 0x8000_0000 }, /is not in one region/],
  ['a used ring that is not aligned', {}, { device: 0x1002 }, /its used ring at 0x1002 is not aligned to 4/],
  ['a packed event structure that is nowhere', { packed: true }, { driver: 0 }, /its driver event structure at 0x0/],
  ['a base that is no number', {}, { base: Number.NaN }, /its base is NaN/],
  ['a packed base past the ring', { packed: true }, { base: 64 }, /its base 0x40 is not in 64 slots/],
])('a ring with %s is refused', (_what, options, over, why) => {
  let error: unknown;
  try {
    pair(options, over);
  } catch (e) {
    error = e;
  }
  expect(isRuntimeError(error, 'SDK_ERR_VIRTIO_QUEUE')).toBe(true);
  expect(String(error)).toMatch(why);
});

test('a base is where the ring goes on', () => {
  const { driver, queue, ram } = pair(small);
  for (let i = 0; i < 3; i += 1) driver.add([Uint8Array.of(i)], [1]);
  driver.kick();
  queue.push(queue.pop()?.head as number, 0);
  expect(queue.stop()).toBe(1);
  const again = createVirtqueue(driver.setup({ base: 1 }));
  expect([again.pop()?.readU8(0), again.pop()?.readU8(0), again.pop()]).toEqual([1, 2, undefined]);
  expect(again.base()).toBe(3);
  expect(ram.intact).toBe(true);
});

test('a packed base has both positions and their laps', () => {
  const { driver, queue } = pair({ size: 4, packed: true });
  expect(queue.base()).toBe(0x8000_8000);
  for (let i = 0; i < 3; i += 1) {
    driver.add([Uint8Array.of(i)], [1]);
    driver.kick();
    queue.push(queue.pop()?.head as number, 0);
    queue.flush();
    driver.used();
  }
  // Six descriptors: both are at slot 2 of the second lap.
  expect(queue.stop()).toBe(0x0002_0002);
  const again = createVirtqueue(driver.setup({ base: 0x0002_0002 }));
  driver.add([Uint8Array.of(9)], [1]);
  driver.kick();
  const chain = again.pop();
  expect(chain?.readU8(0)).toBe(9);
  // Outstanding chains count as taken: the third lap begins.
  expect(again.base()).toBe(0x0002_8000);
});

test('the call descriptor can change, and what was meant for none is not lost', () => {
  const { driver, queue } = pair(small, { call: -1 });
  driver.add([Uint8Array.of(1)], [1]);
  driver.kick();
  echo(queue);
  expect(queue.flush()).toBe(false);
  queue.setCall(driver.callFd);
  expect(driver.interrupted()).toBe(true);
});

test.each([false, true])('giving back more than there was room for is a mistake (packed: %s)', (packed) => {
  const { driver, queue } = pair({ size: 8, packed });
  driver.add([Uint8Array.of(1)], [4]);
  driver.kick();
  const head = queue.pop()?.head as number;
  for (const wrong of [5, -1, Number.NaN])
    expect(() => queue.push(head, wrong)).toThrow(`${wrong} bytes were written into 4`);
  for (const wrong of [head + 1, -1, 0.5, 70_000]) expect(() => queue.push(wrong, 0)).toThrow('not outstanding');
  queue.push(head, 4);
  expect(() => queue.push(head, 4)).toThrow('not outstanding');
});

test.each([false, true])('a dirty log gets what was written, after it was (packed: %s)', (packed) => {
  const mapping = mapAnonymous(0x1000);
  open.push(mapping);
  const bits = new Uint8Array(mapping.buffer);
  const ram = createGuestRam([{ guestAddress: 0, size: 1 << 20 }]);
  const driver = createDriverQueue(ram, { size: 8, packed });
  open.push(ram, driver);
  const queue = createVirtqueue(driver.setup({ log: new DirtyLog(mapping) }));
  const first = driver.template(
    [
      [0x4_0000, 16],
      [0x5_0000, 4096],
      [0x6_0000, 8192],
    ],
    1,
  );
  if (first === undefined) throw new Error('no room');
  driver.submit(first);
  driver.kick();
  const pages = (): number[] => {
    const dirty: number[] = [];
    for (let page = 0; page < 256; page += 1) if (((bits[page >> 3] as number) >> (page & 7)) & 1) dirty.push(page);
    bits.fill(0);
    return dirty;
  };
  const chain = queue.pop();
  expect(pages()).toEqual([]);
  queue.push(chain?.head as number, 4097);
  queue.flush();
  // The ring, all of the first buffer and the beginning of the second.
  expect(pages()).toEqual([0, 0x50, 0x60]);
  queue.enableNotifications();
  expect(pages()).toEqual([0]);
});

describe.each(rings)('%s', (_name, options) => {
  test('serves requests over many laps of the ring', () => {
    const { driver, queue } = pair(options);
    for (let i = 0; i < 50; i += 1) {
      const first = driver.add([Uint8Array.of(i, 1, 2), Uint8Array.of(3)], [2, 7]);
      const second = driver.add([Uint8Array.of(i)], [1]);
      driver.kick();
      expect(echo(queue)).toBe(2);
      queue.flush();
      expect(driver.used()).toEqual([
        { token: first, written: 4, data: Uint8Array.of(3, 2, 1, i) },
        { token: second, written: 1, data: Uint8Array.of(i) },
      ]);
    }
    expect(driver.outstanding).toBe(0);
    expect(queue.outstanding).toBe(0);
    expect(queue.stats).toMatchObject({ popped: 100, pushed: 100, refused: 0 });
  });

  test('shows nothing before flush, and kicks and interrupts when asked', () => {
    const { driver, queue } = pair(options);
    expect(queue.enableNotifications()).toBe(true);
    driver.enableInterrupts();
    driver.add([Uint8Array.of(1)], [1]);
    expect(driver.kick()).toBe(true);
    expect(drainEventfd(driver.kickFd)).toBe(true);
    echo(queue);
    expect(driver.used()).toEqual([]);
    expect(queue.flush()).toBe(true);
    expect(driver.interrupted()).toBe(true);
    expect(driver.used()).toHaveLength(1);
    queue.disableNotifications();
    driver.disableInterrupts();
    driver.add([Uint8Array.of(1)], [1]);
    expect(driver.kick()).toBe(false);
    expect(queue.enableNotifications()).toBe(false);
    echo(queue);
    expect(queue.flush()).toBe(false);
    expect(driver.interrupted()).toBe(false);
  });
});
