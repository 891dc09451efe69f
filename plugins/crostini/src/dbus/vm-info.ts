// A VM as concierge tells of it.

import type { TerminaState, TerminaType, TerminaVm } from '../contract.ts';
import type { Response } from './types.ts';

export type VmStatus =
  | 'VM_STATUS_UNKNOWN'
  | 'VM_STATUS_RUNNING'
  | 'VM_STATUS_STARTING'
  | 'VM_STATUS_FAILURE'
  | 'VM_STATUS_STOPPED';

/** There is no status for one that stops: until it has, it runs. */
const STATUS: Readonly<Record<TerminaState, VmStatus>> = {
  starting: 'VM_STATUS_STARTING',
  running: 'VM_STATUS_RUNNING',
  stopping: 'VM_STATUS_RUNNING',
  stopped: 'VM_STATUS_STOPPED',
  failure: 'VM_STATUS_FAILURE',
};

export const VM_TYPES = { termina: 'TERMINA', baguette: 'BAGUETTE' } as const satisfies Record<TerminaType, string>;

export function vmStatus({ state }: TerminaVm): VmStatus {
  return STATUS[state];
}

export function vmInfo(vm: TerminaVm): Response<'VmInfo'> {
  return {
    ipv4_address: vm.ipv4 === undefined ? 0 : inAddr(vm.ipv4),
    pid: vm.pid ?? 0,
    cid: BigInt(vm.cid),
    vm_type: VM_TYPES[vm.type],
    status: vmStatus(vm),
    allocated_memory: BigInt(vm.memoryMib) * 1_048_576n,
  };
}

/** As it lies in memory, in_addr(3type), read little-endian: 100.115.92.26 is 442266468. */
export function inAddr(dotted: string): number {
  const octets = dotted.split('.').map(Number);
  const isAddress = octets.length === 4 && octets.every((one) => Number.isInteger(one) && one >= 0 && one <= 255);
  return isAddress ? Buffer.from(octets).readUInt32LE() : 0;
}
