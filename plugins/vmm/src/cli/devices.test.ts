import { definePlugin } from '@runtime/sdk';
import { createTestRuntime } from '@runtime/sdk/testing';
import type { TraceBatch } from '@runtime/sdk/virtio';
import { expect, test } from 'vitest';
import type { Vms } from '../contract.ts';
import { addDevices } from './devices.ts';

/** Traces until the fake has been looked at `looks` times. */
async function trace(looks: number, fake: Partial<Vms>, options: Readonly<Record<string, unknown>>) {
  const end = new AbortController();
  let count = 0;
  const counting = <T>(call: () => Promise<T>) => {
    count += 1;
    if (count > looks) end.abort();
    return call();
  };
  const vms = {
    traceDevice: () => counting(async () => fake.traceDevice?.('dev', 'block0')),
    stats: () => counting(async () => fake.stats?.('dev')),
  } as unknown as Vms;
  const plugin = definePlugin({ name: 'fake', setup: (ctx) => addDevices(ctx.commands, vms, async () => []) });
  await using runtime = await createTestRuntime({ plugins: [plugin] });
  const call = { args: ['dev', 'block0'], options: { interval: 0.1, ...options }, signal: end.signal };
  return (await runtime.run('vm device trace', call)).out;
}

test('requests are shown as they are taken and given back, and those that were too quick are counted', async () => {
  const batches: TraceBatch[] = [
    { records: [], missed: 0 },
    {
      records: [
        { us: 1_500_000, queue: 0, what: 'pop', head: 3, readable: 16, writable: 513 },
        { us: 1_500_250, queue: 0, what: 'push', head: 3, readable: 0, writable: 513, tookUs: 250 },
      ],
      missed: 0,
    },
    { records: [], missed: 7 },
  ];
  const out = await trace(3, { traceDevice: async () => batches.shift() ?? { records: [], missed: 0 } }, {});
  expect(out).toEqual([
    '1.500000 queue 0 < 3 reads 16, room for 513',
    '1.500250 queue 0 > 3 wrote 513, took 250 µs',
    '… 7 more were not shown …',
  ]);
});

test('counters are shown by how much they have changed', async () => {
  let reads = 10;
  const stats = async () => {
    reads += 5;
    return { block0: { reads, errors: 0 } };
  };
  const out = await trace(2, { stats }, { counters: true });
  expect(out.map((line) => line.slice(13))).toEqual(['reads +5', 'reads +5']);
});

test('the path of a device that is plugged in is where the command was called, not where the runtime is', async () => {
  const asked: unknown[] = [];
  const vms = { attach: async (_vm: string, device: unknown) => asked.push(device) } as unknown as Vms;
  const plugin = definePlugin({ name: 'fake', setup: (ctx) => addDevices(ctx.commands, vms, async () => []) });
  await using runtime = await createTestRuntime({ plugins: [plugin] });
  const attach = (text: string) => runtime.run('vm device attach', { args: ['dev', text], cwd: '/home/someone' });
  await attach('block,path=disks/more.img,id=more');
  await attach('block,path=/srv/more.img');
  await attach('rng');
  expect(asked).toEqual([
    { kind: 'block', id: 'more', options: { path: '/home/someone/disks/more.img' } },
    { kind: 'block', options: { path: '/srv/more.img' } },
    { kind: 'rng', options: {} },
  ]);
});
