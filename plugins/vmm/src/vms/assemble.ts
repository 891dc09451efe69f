// Makes the parts of a VM, or takes them over, in the order in which they need each other. Each part made is put on the
// stack of what is undone later, so that a failure half-way undoes what there is.

import { mkdirSync } from 'node:fs';
import type { Accelerator, MachineDevice, MachineSpec, NativeDevice } from '../contract.ts';
import type { PlannedDevice, VmPlan } from '../description/resolve.ts';
import type { DeviceManager, RunningDevice } from '../device-manager.ts';
import type { VmHoldings } from './leases.ts';
import { makeVmFolder, removeVmFolder } from './places.ts';
import type { Vm } from './vm.ts';

/** What the guest is booted with. */
export interface BootFiles {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly params: string;
}

export interface AssembleOptions {
  readonly devices: DeviceManager;
  readonly vmsFolder: string;
  readonly logFolder: string;
  readonly signal: AbortSignal;
}

export interface VmParts {
  readonly holdings: VmHoldings;
  readonly boot: BootFiles;
  readonly accelerator: Accelerator;
  readonly cwd: string;
}

/** A machine that is yet to get its devices. */
export function makePlace(vm: Vm, plan: VmPlan, parts: VmParts, options: AssembleOptions): MachineSpec {
  const { boot } = parts;
  const directory = makeVmFolder(options.vmsFolder, plan.name);
  vm.cleanup.defer(() => removeVmFolder(options.vmsFolder, plan.name));
  const logDirectory = options.logFolder === '' ? directory : options.logFolder;
  mkdirSync(logDirectory, { recursive: true, mode: 0o700 });
  return {
    name: plan.name,
    directory,
    logDirectory,
    board: plan.board,
    accelerator: parts.accelerator,
    memoryMib: plan.memoryMib,
    cpus: plan.cpus,
    kernel: boot.kernel,
    ...(boot.initrd === undefined ? {} : { initrd: boot.initrd }),
    params: boot.params,
    devices: [],
    natives: [],
    serials: plan.serials,
  };
}

/** Starts the device processes, all at once. The answer is what the machine is to have. */
export async function startParts(
  vm: Vm,
  plan: Pick<VmPlan, 'devices' | 'natives'>,
  { directory }: MachineSpec,
  { holdings, cwd }: VmParts,
  options: AssembleOptions,
): Promise<Pick<MachineSpec, 'devices' | 'natives'>> {
  const place = { name: vm.name, directory, cwd };
  const settled = await Promise.allSettled(
    plan.devices.map(async (device) => {
      const running = await options.devices.start(place, deviceSpec(device, holdings), options.signal);
      keepDevice(vm, running, holdings);
      return machineDevice(device, running, holdings);
    }),
  );
  const failed = settled.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  const devices = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  return {
    devices,
    natives: plan.natives.map((native): NativeDevice => {
      const { id, kind, guest } = native;
      const slot = slotOf(holdings, id);
      return { id, kind, slot, ...macOf(holdings, id), ...(guest === undefined ? {} : { guest }) };
    }),
  };
}

/** The device processes of a VM that outlived the runtime. */
export async function adoptDevices(
  vm: Vm,
  plan: VmPlan,
  parts: { readonly holdings: VmHoldings; readonly directory: string; readonly cwd: string },
  options: Pick<AssembleOptions, 'devices' | 'signal'>,
): Promise<void> {
  const place = { name: plan.name, directory: parts.directory, cwd: parts.cwd };
  await Promise.all(
    plan.devices.map(async (device) => {
      const running = await options.devices.adopt(place, deviceSpec(device, parts.holdings), options.signal);
      keepDevice(vm, running, parts.holdings);
    }),
  );
}

export function keepDevice(vm: Vm, running: RunningDevice, holdings: VmHoldings): void {
  vm.devices.set(running.id, { running, slot: slotOf(holdings, running.id) });
  vm.cleanup.defer(() => running.stop());
}

export function deviceSpec({ id, kind, options, wantsCid }: PlannedDevice, holdings: VmHoldings) {
  const own = typeof options === 'object' && options !== null ? options : {};
  const mac = holdings.macs[id];
  return {
    id,
    kind,
    options: {
      ...own,
      ...(mac === undefined ? {} : { mac }),
      ...(wantsCid && holdings.cid !== undefined ? { cid: holdings.cid } : {}),
    },
  };
}

export function machineDevice(
  { tag }: Pick<PlannedDevice, 'tag'>,
  running: RunningDevice,
  holdings: VmHoldings,
): MachineDevice {
  const { id, type, queueSizes, configSize, socketFd, socketPath } = running;
  return {
    ...{ id, type, queueSizes, configSize, socketFd, socketPath },
    slot: slotOf(holdings, id),
    ...macOf(holdings, id),
    ...(tag === undefined ? {} : { tag }),
  };
}

function slotOf({ slots }: VmHoldings, id: string): number {
  return slots[id] ?? 0;
}

function macOf({ macs }: VmHoldings, id: string): { readonly mac?: string } {
  const mac = macs[id];
  return mac === undefined ? {} : { mac };
}
