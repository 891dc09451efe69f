// A device with four queues for tests of threads: it answers with the bytes it got, each raised by what it was told last,
// and says which thread did it.

import { threadId } from 'node:worker_threads';
import { defineDevice } from '../device.ts';

export default defineDevice<unknown>({
  name: 'parallel',
  type: 'rng',
  options: { '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) } },
  queues: ['a', 'b', 'c', 'd'].map((name) => ({ name, size: 16 })),
  parallel: true,
  setup(device) {
    let raise = 1;
    return {
      process(queue) {
        for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
          const bytes = new Uint8Array(chain.readableBytes);
          chain.read(bytes);
          device.stats.served = (device.stats.served ?? 0) + 1;
          queue.push(chain.head, chain.write(Uint8Array.of(threadId, ...bytes.map((byte) => byte + raise))));
        }
      },
      handle(method, params) {
        if (method === 'raise') raise = params as number;
        if (method === 'fail') throw new Error('as it was told');
        return threadId;
      },
    };
  },
});
