import { Session } from 'node:inspector/promises';
import { expect, test } from 'vitest';
import type { Template } from '../testing/virtio/driver.ts';
import { createDriverQueue } from '../testing/virtio/driver-queue.ts';
import { createGuestRam } from '../testing/virtio/guest-ram.ts';
import { createVirtqueue } from './virtqueue.ts';

interface ProfileNode {
  readonly selfSize: number;
  readonly callFrame: { readonly url: string };
  readonly children: readonly ProfileNode[];
}

const BATCH = 32;
const HIGH = 2 ** 33;

/** Bytes, by the file whose functions allocated them. */
function sum(node: ProfileNode, counts: (url: string) => boolean): number {
  const own = counts(node.callFrame.url) ? node.selfSize : 0;
  return node.children.reduce((all, child) => all + sum(child, counts), own);
}

test.each([false, true])('a request allocates nothing, also in memory above 4 GiB (packed: %s)', async (packed) => {
  using ram = createGuestRam([
    { guestAddress: 0x1000, size: 1 << 20 },
    { guestAddress: HIGH, size: 1 << 20 },
  ]);
  using driver = createDriverQueue(ram, { size: 256, packed, eventIdx: true });
  const queue = createVirtqueue(driver.setup());
  const templates = Array.from({ length: BATCH }, (_, i): Template => {
    const template = driver.template(
      [
        [ram.alloc(16), 16],
        [HIGH + i * 4096, 4096],
        [ram.alloc(1), 1],
      ],
      1,
    );
    if (template === undefined) throw new Error('the ring is too small');
    return template;
  });
  const run = (batches: number): void => {
    for (let batch = 0; batch < batches; batch += 1) {
      queue.enableNotifications();
      driver.enableInterrupts();
      for (let i = 0; i < BATCH; i += 1) driver.submit(templates[i] as Template);
      driver.kick();
      queue.disableNotifications();
      for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
        chain.readU32(0);
        chain.writeU8(4096, 0);
        queue.push(chain.head, 4097);
      }
      queue.flush();
      while (driver.next());
    }
  };
  // Until it is compiled for good.
  run(5000);
  const session = new Session();
  session.connect();
  const options = { includeObjectsCollectedByMajorGC: true, includeObjectsCollectedByMinorGC: true };
  await session.post('HeapProfiler.startSampling', { samplingInterval: 512, ...options });
  run(3000);
  const { profile } = await session.post('HeapProfiler.stopSampling');
  session.disconnect();
  const bytes = sum(profile.head as ProfileNode, (url) => url === '' || url.includes('/virtio/'));
  // A Number that had to be allocated has 12 bytes or more.
  expect(bytes / (3000 * BATCH)).toBeLessThan(3);
});
