// What a VM holds of what there is only once, taken all at once or not at all.

import type { AnyPoolToken, Lease, LeaseRequest, ResourceAllocator } from '@runtime/sdk';
import { macAddress, pciSlots, vmCpus, vmMemory, vsockCid } from '../contract.ts';
import type { VmPlan } from '../description/resolve.ts';

/** Values, as they are written down and taken again by the next runtime. */
export interface VmHoldings {
  readonly cid: number | undefined;
  /** By device. */
  readonly slots: Readonly<Record<string, number>>;
  readonly macs: Readonly<Record<string, string>>;
}

export interface VmLeases extends Disposable {
  readonly holdings: VmHoldings;
}

/** 0 and 1 are the board's. */
export const FIRST_SLOT = 2;

/**
 * @param before what it held, when it is taken over
 * @param wanted PCI slots, by device; default: one after the other
 * @throws CORE_ERR_POOL_EXHAUSTED, CORE_ERR_LEASE_TAKEN, CORE_ERR_LEASE_RANGE
 */
export function leaseFor(
  resources: ResourceAllocator,
  plan: VmPlan,
  before?: VmHoldings,
  wanted: Readonly<Record<string, number>> = {},
): VmLeases {
  const { name } = plan;
  const key = `vm:${name}`;
  const requests: (readonly [AnyPoolToken, LeaseRequest])[] = [
    [vmMemory, { key, size: BigInt(plan.memoryMib) }],
    [vmCpus, { key, size: BigInt(plan.cpus) }],
  ];
  const slots = pciSlots(name);
  const all = [...plan.devices, ...plan.natives];
  for (const [at, { id, wantsMac, mac }] of all.entries()) {
    const slot = before?.slots[id] ?? wanted[id] ?? FIRST_SLOT + at;
    requests.push([slots, { key: `${key}/${id}`, at: BigInt(slot) }]);
    // One that was chosen by the user may be of a range that is not ours to give.
    if (!wantsMac || mac !== undefined) continue;
    const held = before?.macs[id];
    requests.push([macAddress, { key: `${key}/${id}`, ...(held === undefined ? {} : { at: macToNumber(held) }) }]);
  }
  const socket = plan.devices.find(({ wantsCid }) => wantsCid);
  const cid = before?.cid ?? socket?.cid;
  if (socket !== undefined) requests.push([vsockCid, { key, ...(cid === undefined ? {} : { at: BigInt(cid) }) }]);
  const leases = resources.leaseAll(requests) as readonly Lease<unknown>[];
  return {
    holdings: holdingsOf(plan, leases),
    [Symbol.dispose]: () => {
      for (const lease of leases) lease[Symbol.dispose]();
    },
  };
}

function holdingsOf(plan: VmPlan, leases: readonly Lease<unknown>[]): VmHoldings {
  const all = [...plan.devices, ...plan.natives];
  const value = (pool: string, key: string): bigint | undefined => {
    const found = leases.find((lease) => lease.pool === pool && lease.key === key)?.value;
    return typeof found === 'bigint' ? found : undefined;
  };
  const key = `vm:${plan.name}`;
  const cid = value(vsockCid.id, key);
  const slotPool = pciSlots(plan.name).id;
  const macs = all.flatMap(({ id, mac, wantsMac }) => {
    if (!wantsMac) return [];
    const leased = value(macAddress.id, `${key}/${id}`);
    return [[id, mac ?? (leased === undefined ? '' : numberToMac(leased))] as const];
  });
  return {
    cid: cid === undefined ? undefined : Number(cid),
    slots: Object.fromEntries(all.map(({ id }) => [id, Number(value(slotPool, `${key}/${id}`))])),
    macs: Object.fromEntries(macs),
  };
}

export function numberToMac(value: bigint): string {
  const digits = value.toString(16).padStart(12, '0');
  return (digits.match(/../g) ?? []).join(':');
}

export function macToNumber(mac: string): bigint {
  return BigInt(`0x${mac.replaceAll(':', '')}`);
}

export interface AttachLeases extends Disposable {
  readonly slot: number;
}

/** For a device that is plugged in later. @throws CORE_ERR_POOL_EXHAUSTED */
export function attachLeases(resources: ResourceAllocator, vm: string, id: string): AttachLeases {
  const lease = resources.lease(pciSlots(vm), { key: `vm:${vm}/${id}` });
  return { slot: Number(lease.value), [Symbol.dispose]: () => lease[Symbol.dispose]() };
}
