import { afterEach, describe, expect, test } from 'vitest';
import { drainEventfd } from '../linux/eventfd.ts';
import type { DriverOptions, DriverQueue } from '../testing/virtio/driver.ts';
import { createDriverQueue } from '../testing/virtio/driver-queue.ts';
import { createGuestRam, type GuestRam } from '../testing/virtio/guest-ram.ts';
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
