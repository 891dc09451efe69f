// One VM: its state, its devices, and what is undone when it has ended.

import {
  type Accelerator,
  type MachineExit,
  type MachineSpec,
  VM_TRANSITIONS,
  type VmDetail,
  type VmDeviceInfo,
  type VmInfo,
  type VmState,
} from '../contract.ts';
import type { RunningDevice } from '../device-manager.ts';
import { errors } from '../errors.ts';
import type { VmHoldings } from './leases.ts';
import type { VmRecord } from './records.ts';

export interface PluggedDevice {
  readonly running: RunningDevice;
  readonly slot: number;
  /** Of one that was plugged in later: what is undone when it is unplugged. */
  readonly cleanup?: AsyncDisposableStack;
}

export class Vm {
  readonly name: string;
  readonly startedAt: string;
  readonly devices: Map<string, PluggedDevice> = new Map();
  /** Device → the machine's part in its coming back, the last time. */
  readonly recoveries: Map<string, Promise<void>> = new Map();
  /** Undoes what was done for it, newest first. */
  readonly cleanup: AsyncDisposableStack;
  /** What the next runtime is told. */
  record: VmRecord | undefined;
  spec: MachineSpec | undefined;
  holdings: VmHoldings | undefined;
  consoleLog = '';
  exit: MachineExit | undefined;
  /** Settles when it has ended and everything of it is undone. */
  readonly ended: PromiseWithResolvers<MachineExit> = Promise.withResolvers<MachineExit>();
  #state: VmState = 'starting';

  constructor(name: string, startedAt: string) {
    this.name = name;
    this.startedAt = startedAt;
    this.cleanup = new AsyncDisposableStack();
    this.ended.promise.catch(() => {});
  }

  get state(): VmState {
    return this.#state;
  }

  get live(): boolean {
    return this.#state !== 'stopped' && this.#state !== 'crashed';
  }

  /** @throws VMM_ERR_STATE */
  move(to: VmState): void {
    if (!VM_TRANSITIONS[this.#state].includes(to)) throw this.#cannot(to);
    this.#state = to;
  }

  /** @throws VMM_ERR_STATE */
  expect(states: readonly VmState[], verb: string): void {
    if (!states.includes(this.#state)) throw this.#cannot(verb);
  }

  /** @throws VMM_ERR_NOT_FOUND of the device */
  device(id: string): PluggedDevice {
    const found = this.devices.get(id);
    if (found === undefined) {
      const ids = [...this.devices.keys()].join(', ') || 'none';
      throw errors.VMM_ERR_DEVICE({ details: { device: id, why: `is not one of VM ${this.name}, which has ${ids}` } });
    }
    return found;
  }

  info(pid: number | undefined): VmInfo {
    const { spec } = this;
    return {
      name: this.name,
      state: this.#state,
      machine: 'qemu',
      accelerator: spec?.accelerator ?? ('tcg' satisfies Accelerator),
      memoryMib: spec?.memoryMib ?? 0,
      cpus: spec?.cpus ?? 0,
      cid: this.holdings?.cid,
      pid: this.live ? pid : undefined,
      startedAt: this.startedAt,
    };
  }

  detail(pid: number | undefined): VmDetail {
    const { spec } = this;
    return {
      ...this.info(pid),
      kernel: spec?.kernel ?? '',
      initrd: spec?.initrd,
      params: spec?.params ?? '',
      directory: spec?.directory ?? '',
      consoleLog: this.consoleLog,
      devices: [...this.devices.values()]
        .map(deviceInfo)
        .concat(this.#natives())
        .toSorted((a, b) => a.slot - b.slot),
      exit: this.exit,
    };
  }

  #natives(): VmDeviceInfo[] {
    return (this.spec?.natives ?? []).map(({ id, kind, slot }) => ({
      id,
      kind,
      type: kind === 'user-net' ? 'net' : kind === 'balloon' ? 'balloon' : 'input',
      slot,
      pid: undefined,
      restarts: 0,
      state: 'in the machine',
    }));
  }

  #cannot(verb: string): Error {
    return errors.VMM_ERR_STATE({ details: { vm: this.name, state: this.#state, verb } });
  }
}

function deviceInfo({ running, slot }: PluggedDevice): VmDeviceInfo {
  const { id, kind, type, pid, restarts, failure } = running;
  return { id, kind, type, slot, pid, restarts, state: failure ?? (pid === undefined ? 'restarting' : 'running') };
}
