// What the D-Bus does with VMs.

import { readFileSync } from 'node:fs';
import type { BalloonState } from '@runtime/plugin-vmm/contract';
import { isRuntimeError } from '@runtime/sdk';
import { DBUS_ERRORS, DBusError } from '@runtime/sdk/dbus';
import type { Concierge, TerminaVm } from '../contract.ts';
import type { Disks } from '../contract-disks.ts';
import { checkOwner, checkVmName, orRefused } from './requests.ts';
import { startVm } from './start-vm.ts';
import type { Handlers, Request, Response } from './types.ts';
import { vmInfo, vmStatus } from './vm-info.ts';

export interface VmDependencies {
  readonly concierge: Concierge;
  readonly disks: Disks | undefined;
  /** What a VM has written to its console; at most 256 KiB of it is sent. */
  readonly logs?: ((name: string, owner: string) => Promise<string>) | undefined;
  /** Of the vmm plugin. */
  readonly balloon?: ((machine: string) => Promise<BalloonState>) | undefined;
}

const LOG_MAX = 262_144;

type VmMethods = Pick<
  Handlers,
  | 'StartVm'
  | 'StopVm'
  | 'StopVmWithoutOwnerId'
  | 'StopAllVms'
  | 'SuspendVm'
  | 'ResumeVm'
  | 'ListVms'
  | 'GetBalloonInfo'
  | 'GetVmInfo'
  | 'GetVmLogs'
  | 'GetVmLaunchAllowed'
  | 'GetDnsSettings'
  | 'ListUsbDevices'
  | 'SetCrostiniVmType'
  | 'SyncVmTimes'
>;

type SuccessFailure = Response<'SuccessFailureResponse'>;
const failure = (failure_reason: string): SuccessFailure => ({ success: false, failure_reason });

export function vmMethods(deps: VmDependencies, userOf: (sender: string) => Promise<number>): VmMethods {
  const { concierge } = deps;
  /** While all are being stopped, none may be started behind their backs. */
  let stopsAll = 0;

  const find = async (name: string, owner_id: string): Promise<TerminaVm | undefined> => {
    const owner = checkOwner(owner_id);
    checkVmName(name);
    try {
      return await concierge.getVm(name, { owner });
    } catch (e) {
      if (isRuntimeError(e, 'CROSTINI_ERR_VM_NOT_FOUND')) return undefined;
      throw e;
    }
  };

  /** One that is not there is no error to ChromeOS. */
  const withVm = (
    { name, owner_id }: Request<'StopVmRequest'>,
    act: (vm: TerminaVm) => Promise<void>,
  ): Promise<SuccessFailure> =>
    orRefused<SuccessFailure>(async () => {
      const vm = await find(name, owner_id);
      if (vm !== undefined) await act(vm);
      return { success: true };
    }, failure);

  return {
    async StartVm(request, fds, { sender }) {
      if (stopsAll > 0)
        return { success: false, failure_reason: 'All VMs are being stopped', status: 'VM_STATUS_FAILURE' };
      return startVm({ ...deps, userOf }, request, fds, sender);
    },
    StopVm: (request) =>
      withVm(request, ({ name, owner }) => concierge.stopVm(name, { owner, reason: 'STOP_VM_REQUESTED' })),
    StopVmWithoutOwnerId: ({ name }) =>
      orRefused<SuccessFailure>(async () => {
        checkVmName(name);
        const all = (await concierge.listVms()).filter((vm) => vm.name === name);
        await Promise.all(all.map(({ owner }) => concierge.stopVm(name, { owner, reason: 'STOP_VM_REQUESTED' })));
        return { success: true };
      }, failure),
    async StopAllVms() {
      stopsAll++;
      try {
        await concierge.stopAllVms();
      } finally {
        stopsAll--;
      }
    },
    SuspendVm: (request) => withVm(request, ({ name, owner }) => concierge.suspendVm(name, { owner })),
    ResumeVm: (request) => withVm(request, ({ name, owner }) => concierge.resumeVm(name, { owner })),
    ListVms: ({ owner_id }) =>
      orRefused<Response<'ListVmsResponse'>>(
        async () => ({ success: true, vms: (await concierge.listVms({ owner: checkOwner(owner_id) })).map(extended) }),
        failure,
      ),
    GetVmInfo: ({ name, owner_id }) =>
      orRefused<Response<'GetVmInfoResponse'>>(
        async () => {
          const vm = await find(name, owner_id);
          return vm === undefined ? { success: false } : { success: true, vm_info: vmInfo(vm) };
        },
        // There is no field for the reason.
        () => ({ success: false }),
      ),
    GetBalloonInfo: ({ name, owner_id }) =>
      orRefused<Response<'GetBalloonInfoResponse'>>(
        async () => {
          const vm = await find(name, owner_id);
          if (vm === undefined || deps.balloon === undefined) return { success: false };
          return { success: true, balloon_info: balloonInfo(vm, await deps.balloon(vm.machine)) };
        },
        () => ({ success: false }),
      ),
    async GetVmLogs({ name, owner_id }) {
      if (deps.logs === undefined) throw new DBusError(DBUS_ERRORS.notSupported, 'what VMs write is not kept');
      const vm = await find(name, owner_id);
      if (vm === undefined) throw new DBusError(DBUS_ERRORS.failed, 'Requested VM does not exist');
      const log = await deps.logs(vm.name, vm.owner);
      // The end of it, as that tells what happened last, in whole letters.
      const bytes = Buffer.from(log).subarray(-LOG_MAX);
      return { log: bytes.toString().replace(/^\ufffd+/, '') };
    },
    async SyncVmTimes() {
      const { asked, failures } = await concierge.syncVmTimes();
      return { requests: asked, failures: failures.length, failure_reason: [...failures] };
    },
    GetVmLaunchAllowed: async () => ({ allowed: true }),
    GetDnsSettings: async () => dnsSettings(),
    ListUsbDevices: ({ vm_name, owner_id }) =>
      orRefused<Response<'ListUsbDeviceResponse'>>(
        async () => ({ success: (await find(vm_name, owner_id)) !== undefined }),
        () => ({ success: false }),
      ),
    async SetCrostiniVmType({ vm_type }) {
      if (vm_type === 'TERMINA') return { success: true };
      return { success: false, reason: 'Crostini is made of Termina VMs here' };
    },
  };
}

const MIB = 2n ** 20n;

/** In bytes. */
function balloonInfo({ memoryMib }: TerminaVm, { actualMib, guest }: BalloonState): Response<'BalloonInfo'> {
  const bytes = (mib: number): bigint => BigInt(Math.max(0, Math.floor(mib))) * MIB;
  return {
    balloon_size: bytes(memoryMib - actualMib),
    available_memory: bytes(guest?.availableMib ?? 0),
    free_memory: bytes(guest?.freeMib ?? 0),
  };
}

function extended(vm: TerminaVm): Response<'ExtendedVmInfo'> {
  return { name: vm.name, owner_id: vm.owner, vm_info: vmInfo(vm), status: vmStatus(vm) };
}

const DNS_MAX = 16;

/** Of the host, resolv.conf(5). */
export function dnsSettings(file = '/etc/resolv.conf'): Response<'DnsSettings'> {
  let text = '';
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    // A host without it resolves nothing.
  }
  const lines = text.split('\n').map((line) => line.trim().split(/\s+/));
  const nameservers = lines.filter(([key, value]) => key === 'nameserver' && value).map(([, value]) => value as string);
  // The last one counts.
  const search = lines.findLast(([key]) => key === 'search' || key === 'domain')?.slice(1) ?? [];
  return { nameservers: nameservers.slice(0, DNS_MAX), search_domains: search.slice(0, DNS_MAX) };
}
