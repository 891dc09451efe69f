import { driveDevice } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import device from './index.ts';

test.each([{}, { packed: true, eventIdx: true }, { indirect: true, inOrder: true }])(
  'fills buffers with random bytes (%o)',
  async (driver) => {
    await using driven = await driveDevice(device, { driver });
    const first = await driven.exchange([], [32]);
    const second = await driven.exchange([], [7, 25]);
    expect([first.written, second.written]).toEqual([32, 32]);
    expect(Buffer.compare(first.data, second.data)).not.toBe(0);
    expect(new Set(first.data).size).toBeGreaterThan(8);
    expect(driven.stats).toEqual({ requests: 2, bytes: 64 });
  },
);

test('no byte stays as it was', async () => {
  await using driven = await driveDevice(device);
  // Each of 4096 bytes is zero in 40 answers with a chance of 256^-40.
  const seen = new Uint8Array(4096);
  for (let i = 0; i < 40; i++) {
    const { data } = await driven.exchange([], [4096]);
    for (const [at, byte] of data.entries()) seen[at] = (seen[at] as number) | byte;
  }
  expect(seen.every((byte) => byte !== 0)).toBe(true);
});

test('gives at most 64 KiB for a request, and nothing for one without room', async () => {
  await using driven = await driveDevice(device);
  expect((await driven.exchange([], [1 << 20])).written).toBe(64 * 1024);
  expect((await driven.exchange([Uint8Array.of(1, 2, 3)], [])).written).toBe(0);
  expect(driven.ram.intact).toBe(true);
});

test('a ring full of large requests is served in several turns', async () => {
  await using driven = await driveDevice(device);
  const queue = driven.queue();
  for (let i = 0; i < 64; i++) expect(queue.add([], [100_000])).toBeGreaterThanOrEqual(0);
  queue.kick();
  const completions = await driven.completions(64);
  expect(completions.every(({ written }) => written === 64 * 1024)).toBe(true);
});

test('takes no options', async () => {
  await expect(driveDevice(device, { options: { source: '/dev/random' } })).rejects.toThrow(
    'is no option of the rng device',
  );
});
