import { closeSync, readdirSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { mapFile } from '../../linux/mapping.ts';
import { memfdCreate } from '../../linux/memfd.ts';
import { socketPair } from '../../linux/unix-socket.ts';
import { VhostUserBackend } from '../../virtio/vhost-user/back-end.ts';
import type { DriverOptions } from './driver.ts';
import { type FrontEndOptions, VhostUserFrontEnd } from './front-end.ts';
import { EchoDevice } from './front-end-echo.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function serve(device: EchoDevice): { fd: number; backend: VhostUserBackend } {
  const [ours, theirs] = socketPair('stream');
  const backend = new VhostUserBackend(theirs, device, { log: { info: () => {}, warn: () => {} } });
  backend.start();
  cleanups.push(() => backend.close());
  return { fd: ours, backend };
}

async function connect(device: EchoDevice, options: FrontEndOptions = {}) {
  const { fd, backend } = serve(device);
  const frontEnd = await VhostUserFrontEnd.connect(fd, options);
  cleanups.push(() => frontEnd[Symbol.dispose]());
  return { frontEnd, backend };
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const kinds: DriverOptions[] = [];
for (const packed of [false, true])
  for (const indirect of [false, true])
    for (const eventIdx of [false, true])
      for (const inOrder of [false, true]) kinds.push({ packed, indirect, eventIdx, inOrder, size: 16 });

test.each(kinds)('requests go through and back: %o', async (kind) => {
  const { frontEnd } = await connect(new EchoDevice(), { queues: [kind, kind] });
  for (let round = 0; round < 40; round++) {
    const queue = frontEnd.queue(round % 2);
    const tokens = [0, 1, 2].map((i) => queue.add([text(`request ${round}`), text(`.${i}`)], [4, 60]));
    const completions = await frontEnd.exchange(round % 2, 3);
    expect(completions.map(({ token }) => token)).toEqual(tokens);
    expect(completions.map(({ data }) => Buffer.from(data).toString())).toEqual(
      [0, 1, 2].map((i) => `request ${round}.${i}`),
    );
  }
  expect(frontEnd.ram.intact).toBe(true);
});

test('several regions, some of them above 4 GiB', async () => {
  const memory = Array.from({ length: 10 }, (_, i) => ({ guestAddress: i * 2 ** 32, size: 2 ** 20 }));
  const { frontEnd } = await connect(new EchoDevice(), { memory });
  frontEnd.queue(0).add([new Uint8Array(700_000).fill(3)], [700_000]);
  const [completion] = await frontEnd.exchange(0, 1);
  expect(completion?.written).toBe(700_000);
});

test.each([false, true])(
  'what was in flight is finished by the next back end, in order (packed: %s)',
  async (packed) => {
    const first = new EchoDevice();
    const { frontEnd, backend } = await connect(first, { queues: [{ packed, size: 16 }] });
    const queue = frontEnd.queue(0);
    for (let i = 0; i < 20; i++) {
      queue.add([text('before')], [10]);
      await frontEnd.exchange(0, 1);
    }
    first.hold = true;
    const tokens = Array.from({ length: 5 }, (_, i) => queue.add([text(`held ${i}`)], [10]));
    queue.kick();
    await expect.poll(() => first.queue(0)?.outstanding).toBe(5);
    await backend.close();
    // The driver goes on meanwhile.
    tokens.push(queue.add([text('later')], [10]));
    queue.kick();
    await frontEnd.reconnect(serve(new EchoDevice()).fd);
    const completions = await frontEnd.exchange(0, 6);
    expect(completions.map(({ token }) => token)).toEqual(tokens);
    expect(completions.map(({ data }) => Buffer.from(data).toString())).toEqual([
      'held 0',
      'held 1',
      'held 2',
      'held 3',
      'held 4',
      'later',
    ]);
  },
);

test.each([false, true])('a pause and what follows (packed: %s)', async (packed) => {
  const { frontEnd } = await connect(new EchoDevice(), { queues: [{ packed, size: 8 }] });
  for (let round = 0; round < 30; round++) {
    frontEnd.queue(0).add([text(`${round}`)], [10]);
    const [completion] = await frontEnd.exchange(0, 1);
    expect(Buffer.from(completion?.data ?? []).toString()).toBe(`${round}`);
    if (round % 7 !== 0) continue;
    await frontEnd.stop();
    await frontEnd.start();
  }
});

test('the configuration space, and what the back end asks', async () => {
  const device = new EchoDevice();
  const { frontEnd, backend } = await connect(device);
  await frontEnd.writeConfig(4, Uint8Array.of(1, 2));
  expect([...(await frontEnd.readConfig(0, 8))]).toEqual([0, 0, 0, 0, 1, 2, 0, 0]);
  backend.notifyConfigChange();
  await expect.poll(() => frontEnd.asked.map(({ name }) => name)).toEqual(['CONFIG_CHANGE_MSG']);
  expect(frontEnd.broken(0)).toBe(false);
  backend.queueBroken(0);
  expect(frontEnd.broken(0)).toBe(true);
});

test.each([false, true])('pages that the device writes are in the log (packed: %s)', async (packed) => {
  const { frontEnd } = await connect(new EchoDevice(), { queues: [{ packed, size: 8 }] });
  const queue = frontEnd.queue(0);
  const fd = memfdCreate('log', { size: 4096 });
  using log = mapFile(fd, 4096);
  const bits = new Uint8Array(log.buffer);
  const isDirty = (address: number): boolean => ((bits[address >> 15] as number) & (1 << ((address >> 12) & 7))) !== 0;
  await frontEnd.link.request('SET_LOG_BASE', { size: 4096, offset: 0 }, { fds: [fd] });
  closeSync(fd);
  const echo = async (): Promise<number> => {
    const guest = frontEnd.ram.alloc(8192, 4096);
    const template = queue.template(
      [
        [guest, 4096],
        [guest + 4096, 4096],
      ],
      1,
    );
    if (template === undefined || !queue.submit(template)) throw new Error('the ring is full');
    await frontEnd.exchange(0, 1);
    queue.release(template);
    return guest;
  };
  await echo();
  expect(bits.every((byte) => byte === 0)).toBe(true);
  await frontEnd.link.request('SET_FEATURES', frontEnd.features | (1n << 26n));
  const guest = await echo();
  expect([guest, guest + 4096, packed ? queue.desc : queue.device].map(isDirty)).toEqual([false, true, true]);
  await frontEnd.link.request('SET_FEATURES', frontEnd.features);
  bits.fill(0);
  await echo();
  expect(bits.every((byte) => byte === 0)).toBe(true);
});

test('leaves no descriptor behind', async () => {
  const before = readdirSync('/proc/self/fd').length;
  const { frontEnd } = await connect(new EchoDevice(), { queues: [{}, {}] });
  frontEnd.queue(1).add([text('x')], [1]);
  await frontEnd.exchange(1, 1);
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  expect(readdirSync('/proc/self/fd').length).toBe(before);
});
