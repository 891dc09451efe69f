import { closeSync, openSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { drainEventfd, eventfd, signalEventfd } from '../linux/eventfd.ts';
import { mapAnonymous } from '../linux/mapping.ts';
import { driveDevice } from '../testing/virtio/drive-device.ts';
import { type DeviceContext, type DeviceDefinition, defineDevice } from './device.ts';
import { InflightRegion } from './inflight.ts';

interface Options {
  readonly add: number;
}

/** Any value will do: what a schema library does is not tested here. */
const anything: DeviceDefinition<Options, unknown>['options'] = {
  '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: value as Options }) },
};

/** Answers each request with its bytes, each raised by `add`. */
function adder(by: number, over: Partial<DeviceDefinition<Options, { served: number }>> = {}) {
  return defineDevice<Options, { served: number }>({
    name: 'adder',
    type: 'rng',
    options: anything,
    queues: [{ name: 'q', size: 8 }],
    state: { schema: 1 },
    setup(device) {
      let served = device.previous?.state.served ?? 0;
      return {
        process(queue) {
          for (let chain = queue.pop(); chain !== undefined; chain = queue.pop()) {
            const bytes = new Uint8Array(chain.readableBytes);
            chain.read(bytes);
            served += 1;
            device.stats.served = served;
            queue.push(chain.head, chain.write(bytes.map((byte) => byte + by)));
          }
        },
        snapshot: () => ({ served }),
      };
    },
    ...over,
  });
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

test('serves requests in whatever ring the driver sets up', async () => {
  for (const packed of [false, true]) {
    for (const eventIdx of [false, true]) {
      await using driven = await driveDevice(adder(1), { driver: { packed, eventIdx, indirect: true } });
      for (let i = 0; i < 20; i++) {
        const { data } = await driven.exchange([bytes(i), bytes(1, 2)], [1, 5]);
        expect(data).toEqual(bytes(i + 1, 2, 3));
      }
      expect(driven.stats).toEqual({ served: 20 });
    }
  }
});

test('new code goes on where the old one was, with requests in the ring', async () => {
  await using driven = await driveDevice(adder(1));
  await driven.exchange([bytes(1)], [1]);
  const replaced = driven.runner.replace(adder(10));
  const meanwhile = driven.exchange([bytes(1)], [1]);
  await replaced;
  expect((await meanwhile).data).toEqual(bytes(11));
  expect(driven.stats).toEqual({ served: 2 });
});

test('new code has the options as its own schema understands them', async () => {
  const withDefault = (add: number): Partial<DeviceDefinition<Options, { served: number }>> => ({
    options: {
      '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: { add, ...(value as object) } }) },
    },
    setup: ({ options }) => ({
      process(queue) {
        const chain = queue.pop();
        if (chain !== undefined) queue.push(chain.head, chain.write(bytes(options.add)));
      },
    }),
  });
  await using driven = await driveDevice(adder(0, withDefault(1)));
  expect((await driven.exchange([], [1])).data).toEqual(bytes(1));
  await driven.runner.replace(adder(0, withDefault(2)));
  expect((await driven.exchange([], [1])).data).toEqual(bytes(2));
});

test.each([
  [
    'throws',
    {
      setup: () => {
        throw new Error('broken');
      },
    },
    /broken/,
  ],
  ['is of another type', { type: 'block' as const }, /of type block/],
  ['takes another state', { state: { schema: 2 } }, /state of schema 2, not 1/],
  ['has another number of queues', { queues: [{ name: 'q' }, { name: 'r' }] }, /has 2 queues, and the driver knows 1/],
  ['lacks a feature that is in use', { features: [] }, /lacks the features/],
])('new code that %s leaves the old one serving, with its state', async (_what, over, why) => {
  await using driven = await driveDevice(adder(1, { features: [5] }));
  await driven.exchange([bytes(1)], [1]);
  await expect(driven.runner.replace(adder(10, { features: [5], ...over }))).rejects.toThrow(why);
  expect((await driven.exchange([bytes(1)], [1])).data).toEqual(bytes(2));
  expect(driven.stats).toEqual({ served: 2 });
});

test('state goes from one process to the next', async () => {
  await using first = await driveDevice(adder(1));
  await first.exchange([bytes(1)], [1]);
  const state = first.runner.saveState();
  await using second = await driveDevice(adder(1));
  second.runner.loadState(state);
  await second.exchange([bytes(1)], [1]);
  expect(second.stats).toEqual({ served: 2 });
  expect(() => second.runner.loadState(state.subarray(0, 10))).toThrow();
});

test('a device that throws stops its queue, and says so', async () => {
  const device = adder(1, {
    setup: () => ({
      process(queue) {
        queue.pop();
        throw new Error('a bug');
      },
    }),
  });
  await using driven = await driveDevice(device);
  const queue = driven.queue();
  queue.add([bytes(1)], [1]);
  queue.kick();
  await expect.poll(() => driven.log.join()).toMatch(/serves no more: .*a bug/s);
  expect(driven.runner.describe()).toMatchObject({ failure: 'queue 0: Error: a bug' });
});

test.each([false, true])('other code serves what the code that threw has left (packed: %s)', async (packed) => {
  const careless = adder(1, {
    setup: () => ({
      process(queue) {
        queue.pop();
        throw new Error('a bug');
      },
      // It waits for what it has forgotten.
      quiesce: () => new Promise<void>(() => {}),
      snapshot: () => ({ served: 3 }),
    }),
  });
  await using driven = await driveDevice(careless, { driver: { packed } });
  const queue = driven.queue();
  using region = mapAnonymous(4096);
  await driven.runner.stopQueue(0);
  const inflight = InflightRegion.queue(region, 0, 0, 8, packed);
  driven.runner.startQueue({ setup: { ...queue.setup({ index: 0 }), inflight }, kick: queue.kickFd });
  const mended: number[] = [];
  driven.runner.link = { notifyConfigChange: () => {}, queueBroken: () => {}, queueMended: (i) => mended.push(i) };

  for (const value of [1, 2, 3]) queue.add([bytes(value)], [1]);
  queue.kick();
  await expect.poll(() => driven.log.join()).toMatch(/serves no more/);
  await driven.runner.replace(adder(10));
  const answers = await driven.completions(3);
  expect(answers.map(({ data }) => [...data])).toEqual([[11], [12], [13]]);
  expect((await driven.exchange([bytes(4)], [1])).data).toEqual(bytes(14));
  expect([mended, driven.stats.served]).toEqual([[0], 7]);
  expect(driven.runner.describe()).not.toHaveProperty('failure');
});

test.each(['io_uring', 'sync'] as const)('reads and writes files from guest memory with %s', async (io) => {
  const path = join(tmpdir(), `device-io-${process.pid}`);
  writeFileSync(path, 'contents of the file');
  const file = openSync(path, 'r+');
  onTestFinished(() => {
    closeSync(file);
    unlinkSync(path);
  });
  const device = adder(0, {
    setup: ({ io: disk, fds, queue }: DeviceContext<Options, unknown>) => ({
      process(running) {
        for (let chain = running.pop(); chain !== undefined; chain = running.pop()) {
          const isRead = chain.readableBytes === 0;
          const at = chain.address[0] as number;
          const length = chain.length[0] as number;
          if (isRead) disk.read(fds.file as number, at, length, 0, chain.head + 0x10000);
          else disk.write(fds.file as number, at, length, 9, chain.head);
        }
      },
      complete(token, result) {
        queue(0)?.push(token & 0xffff, token > 0xffff ? result : 0);
      },
    }),
  });
  await using driven = await driveDevice(device, { fds: { file }, io });
  expect(driven.runner.describe()).toMatchObject({ io });
  expect(Buffer.from((await driven.exchange([], [8])).data).toString()).toBe('contents');
  await driven.exchange([Buffer.from('in')], []);
  expect(readFileSync(path, 'utf8')).toBe('contents in the file');
});

test('what a device holds back until the outside world has something is published then', async () => {
  const source = eventfd();
  onTestFinished(() => closeSync(source));
  const device = adder(0, {
    setup: ({ watch, fds, queue }: DeviceContext<Options, unknown>) => {
      watch(fds.source as number, { readable: true }, () => {
        drainEventfd(fds.source as number);
        const chain = queue(0)?.pop();
        if (chain !== undefined) queue(0)?.push(chain.head, chain.write(bytes(42)));
      });
      return { process: () => {} };
    },
  });
  await using driven = await driveDevice(device, { fds: { source } });
  driven.queue().add([], [4]);
  driven.queue().kick();
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(driven.queue().used()).toEqual([]);
  signalEventfd(source);
  expect((await driven.completions(1))[0]?.data).toEqual(bytes(42));
});

test('a changed configuration space is told to the driver, an unchanged one is not', async () => {
  const device = adder(0, {
    config: () => bytes(1, 0, 0, 0),
    setup: ({ config }: DeviceContext<Options, unknown>) => ({
      process: () => {},
      handle: (_method, value) => config.update((view) => view.setUint32(0, value as number, true)),
    }),
  });
  await using driven = await driveDevice(device);
  await driven.runner.handle('set', 1, []);
  expect(driven.configChanges).toBe(0);
  await driven.runner.handle('set', 0x0201, []);
  expect(driven.configChanges).toBe(1);
  expect(driven.runner.readConfig(0, 6)).toEqual(bytes(1, 2, 0, 0, 0, 0));
});

test('requests can be watched, and are not once nobody looks', async () => {
  await using driven = await driveDevice(adder(1));
  await driven.exchange([bytes(1)], [1]);
  expect(driven.runner.trace()).toEqual({ records: [], missed: 0 });
  await driven.exchange([bytes(1, 2)], [4]);
  const { records } = driven.runner.trace();
  expect(records).toMatchObject([
    { queue: 0, what: 'pop', readable: 2, writable: 4 },
    { queue: 0, what: 'push', writable: 2, tookUs: expect.any(Number) },
  ]);
  for (let i = 0; i < 300; i++) await driven.exchange([bytes(1)], [1]);
  expect(driven.runner.trace()).toMatchObject({ missed: 88 });
});
