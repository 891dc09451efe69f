// Devices that are plugged into running VMs and out of them, and those that come back.

import type { PluginContext, Requires, ServiceTokens } from '@runtime/sdk';
import type { MachineDevice } from '../contract.ts';
import type { PlannedDevice } from '../description/resolve.ts';
import type { DeviceManager } from '../device-manager.ts';
import { errors } from '../errors.ts';
import type { QemuMachine } from '../machine/qemu/qemu-machine.ts';
import { machineDevice } from './assemble.ts';
import { attachLeases } from './leases.ts';
import type { VmRecord, VmRecords } from './records.ts';
import type { Vm } from './vm.ts';

export interface VmDevicesOptions {
  readonly context: Pick<
    PluginContext<Requires, ServiceTokens, unknown, unknown>,
    'events' | 'resources' | 'log' | 'signal'
  >;
  readonly devices: DeviceManager;
  readonly machine: QemuMachine;
  readonly records: VmRecords;
}

export interface PluggedRequest {
  readonly kind: string;
  /** Default: the kind and a number. */
  readonly id?: string;
  readonly options: unknown;
}

export class VmDevices {
  readonly #options: VmDevicesOptions;

  constructor(options: VmDevicesOptions) {
    this.#options = options;
  }

  /** @throws VMM_ERR_DEVICE_KIND, VMM_ERR_DEVICE, VMM_ERR_HOTPLUG, CORE_ERR_POOL_EXHAUSTED; nothing is left of it then */
  async attach(vm: Vm, { kind, id: asked, options }: PluggedRequest): Promise<string> {
    const { context, devices, machine } = this.#options;
    const { name, record } = vm;
    if (record === undefined) throw errors.VMM_ERR_NOT_FOUND({ details: { vm: name } });
    const id = asked ?? freeId(kind, vm);
    const leases = attachLeases(context.resources, name, id);
    const undo = new AsyncDisposableStack();
    undo.use(leases);
    try {
      const place = { name, directory: record.spec.directory, cwd: record.cwd };
      const running = await devices.start(place, { id, kind, options }, context.signal);
      undo.defer(() => running.stop());
      const plugged = machineDevice({}, running, { cid: undefined, macs: {}, slots: { [id]: leases.slot } });
      await machine.attach(name, plugged);
      running.machineStarted();
      const planned = { id, kind, options, optional: false, wantsMac: false, wantsCid: false };
      await this.#write(vm, withDevice(record, planned, plugged));
      vm.devices.set(id, { running, slot: leases.slot, cleanup: undo });
      vm.cleanup.use(undo);
      return id;
    } catch (e) {
      await undo.disposeAsync().catch(() => {});
      throw e;
    }
  }

  /** @throws VMM_ERR_HOTPLUG when its guest does not let go of it */
  async detach(vm: Vm, id: string): Promise<void> {
    const { running, cleanup } = vm.device(id);
    await this.#options.machine.detach(vm.name, id);
    vm.devices.delete(id);
    await running.stop();
    await cleanup?.disposeAsync();
    if (vm.record !== undefined) await this.#write(vm, withoutDevice(vm.record, id));
  }

  /** The process of a device has come back; the machine may have its part in that. */
  returned(vm: Vm, device: string): void {
    const { context, machine } = this.#options;
    context.events.emit('vm:device-restarted', { vm: vm.name, device });
    const recovery = machine.reconnected(vm.name, device).catch((err: unknown) => {
      if (vm.live) context.log.warn({ err, vm: vm.name, device }, `device ${device} is not back in its guest`);
    });
    vm.recoveries.set(device, recovery);
  }

  async #write(vm: Vm, record: VmRecord): Promise<void> {
    vm.record = record;
    await this.#options.records.write(record);
  }
}

function withDevice(record: VmRecord, planned: PlannedDevice, plugged: MachineDevice): VmRecord {
  const { plan, spec, holdings } = record;
  return {
    ...record,
    plan: { ...plan, devices: [...plan.devices, planned] },
    spec: { ...spec, devices: [...spec.devices, plugged] },
    holdings: { ...holdings, slots: { ...holdings.slots, [plugged.id]: plugged.slot } },
  };
}

function withoutDevice(record: VmRecord, id: string): VmRecord {
  const { plan, spec } = record;
  const others = <D extends { readonly id: string }>(devices: readonly D[]): D[] => devices.filter((d) => d.id !== id);
  return {
    ...record,
    plan: { ...plan, devices: others(plan.devices) },
    spec: { ...spec, devices: others(spec.devices) },
  };
}

function freeId(kind: string, vm: Vm): string {
  for (let n = 0; ; n++) if (!vm.devices.has(`${kind}${n}`)) return `${kind}${n}`;
}
