import { defineDevice } from '@runtime/sdk/virtio';
import { z } from 'zod';

/** What `--device example-plugin,sides=6` may say. Unknown keys are refused. */
const options = z.strictObject({
  sides: z.number().int().min(2).max(256).default(6),
});

/** A die for the guest: an entropy device whose bytes are throws. Linux shows it as /dev/hwrng. */
export default defineDevice({
  name: 'example-plugin',
  type: 'rng',
  options,
  queues: [{ name: 'requestq', size: 64 }],
  // Handed to the next version of this code when it is reloaded; raise `schema` when its shape changes.
  state: { schema: 1, validate: z.object({ throws: z.number() }) },

  setup(device) {
    let throws = device.previous?.state.throws ?? 0;

    return {
      // The driver has put buffers into the queue: take each, fill its writable part, give it back.
      process(queue) {
        for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
          const bytes = Uint8Array.from({ length: Math.min(chain.writableBytes, 64) }, () =>
            dice(device.options.sides),
          );
          queue.push(chain.head, chain.write(bytes));
          throws += bytes.length;
          device.stats.throws = throws;
        }
      },

      // A request of a plugin or of a user: runtime vm device request <vm> <device> throws
      handle(method) {
        if (method === 'throws') return throws;
        throw new Error(`there is no request "${method}"`);
      },

      snapshot: () => ({ throws }),
    };
  },
});

function dice(sides: number): number {
  return 1 + Math.floor(Math.random() * sides);
}
