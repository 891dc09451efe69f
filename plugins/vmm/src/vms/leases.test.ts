import { definePlugin, type ResourceAllocator } from '@runtime/sdk';
import { createTestRuntime } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import { planVm } from '../description/resolve.ts';
import type { VmDescription } from '../description/schema.ts';
import { attachLeases, leaseFor, macToNumber, numberToMac } from './leases.ts';

async function withResources(pools: Record<string, never> | object, use: (resources: ResourceAllocator) => void) {
  let resources: ResourceAllocator | undefined;
  const holder = definePlugin({
    name: 'holder',
    version: '1.0.0',
    setup: (ctx) => {
      resources = ctx.resources;
    },
  });
  await using _runtime = await createTestRuntime({ plugins: [holder], pools: pools as never });
  use(resources as ResourceAllocator);
}

const plan = (name: string, description: VmDescription = {}) =>
  planVm({ ...description, name }, { cwd: '/', netBackend: 'passt' });

test('slots in the order of devices, CIDs from 32 and none twice, MACs that are locally administered', async () => {
  await withResources({}, (resources) => {
    using first = leaseFor(resources, plan('a', { block: [{ path: '/a' }], balloon: true }));
    expect(first.holdings).toEqual({
      cid: 32,
      slots: { block0: 2, net0: 3, rng0: 4, vsock0: 5, balloon0: 6 },
      macs: { net0: '02:52:54:00:00:01' },
    });
    leaseFor(resources, plan('b'))[Symbol.dispose]();
    using third = leaseFor(resources, plan('b'));
    expect([third.holdings.cid, third.holdings.macs.net0]).toEqual([34, '02:52:54:00:00:03']);
    using plugged = attachLeases(resources, 'b', 'block7');
    expect([2, 3, 4]).not.toContain(plugged.slot);
  });
});

test('what the user asks for, or held before', async () => {
  await withResources({}, (resources) => {
    const asked = plan('a', { vsock: { cid: 99 }, net: [{ mac: 'aa:bb:cc:dd:ee:0f' }, {}] });
    const leases = leaseFor(resources, asked);
    const { holdings } = leases;
    expect([holdings.cid, holdings.macs.net0]).toEqual([99, 'aa:bb:cc:dd:ee:0f']);
    expect(() => leaseFor(resources, plan('b', { vsock: { cid: 99 } }))).toThrow('99');
    leases[Symbol.dispose]();
    using again = leaseFor(resources, asked, holdings);
    expect(again.holdings).toEqual(holdings);
  });
});

test('all or nothing', async () => {
  const pools = { 'vm-memory': { kind: 'count', total: 1000n }, 'vm-cpus': { kind: 'count', total: 4n } };
  await withResources(pools, (resources) => {
    using _first = leaseFor(resources, plan('a', { mem: 600, cpus: 3 }));
    const before = resources.inspect();
    expect(() => leaseFor(resources, plan('b', { mem: 600 }))).toThrow('vm-memory');
    expect(() => leaseFor(resources, plan('b', { mem: 300, cpus: 2 }))).toThrow('vm-cpus');
    expect(resources.inspect()).toEqual(before);
    using second = leaseFor(resources, plan('b', { mem: 400, cpus: 1 }));
    expect(second.holdings.cid).toBe(33);
  });
});

test('MAC addresses as numbers', () => {
  expect(numberToMac(0x0252_5400_0001n)).toBe('02:52:54:00:00:01');
  expect(macToNumber('02:52:54:00:00:01')).toBe(0x0252_5400_0001n);
});
