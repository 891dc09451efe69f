import { expect, test } from 'vitest';
import { type DeviceDefinition, defineDevice } from '../../virtio/device.ts';
import { driveDevice } from './drive-device.ts';
import { seededRandom } from './front-end-hostile.ts';
import { attackDevice } from './hostile-guest.ts';

const anything: DeviceDefinition<unknown, unknown>['options'] = {
  '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) },
};

const echo = defineDevice<unknown, undefined>({
  name: 'echo',
  type: 'rng',
  options: anything,
  queues: [{ name: 'a' }, { name: 'b' }],
  setup: () => ({
    process(queue) {
      for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
        const bytes = new Uint8Array(Math.min(chain.readableBytes, 4096));
        chain.read(bytes);
        queue.push(chain.head, chain.write(bytes));
      }
    },
  }),
});

test.each([false, true])('a device is attacked, reset, and serves (packed: %s)', async (packed) => {
  await using driven = await driveDevice(echo, { driver: { packed, indirect: true, eventIdx: true, size: 16 } });
  for (let seed = 0; seed < 5; seed += 1) {
    const request = (): Uint8Array => Uint8Array.of(1, 2, 3, 4);
    await attackDevice(driven, seededRandom(seed), { acts: 100, request });
    for (const queue of [0, 1]) {
      const { data } = await driven.exchange([Uint8Array.of(seed)], [1], queue);
      expect(data).toEqual(Uint8Array.of(seed));
    }
  }
});
