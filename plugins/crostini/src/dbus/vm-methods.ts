// What the D-Bus does with VMs.

import type { BalloonState } from '@runtime/plugin-vmm/contract';
import { isRuntimeError } from '@runtime/sdk';
import { DBUS_ERRORS, DBusError } from '@runtime/sdk/dbus';
import type { Concierge, TerminaVm } from '../contract.ts';
import type { Disks } from '../contract-disks.ts';
import { dnsSettings } from './dns-settings.ts';
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
  /** Set by StopAllVms: none is started from then on, as ChromeOS has it, which starts concierge anew after the log-out. */
  readonly shutdown: { hasBegun: boolean };
}

const LOG_MAX = 262_144;
/** The first words are those of ChromeOS. */
const SHUTDOWN =
  'Shutdown in progress: StopAllVms was called, and after it no VM is started over the D-Bus. Start the runtime anew, or the VM with runtime start.';

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
      if (deps.shutdown.hasBegun) throw new DBusError(DBUS_ERRORS.failed, SHUTDOWN);
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
      deps.shutdown.hasBegun = true;
      await concierge.stopAllVms();
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
