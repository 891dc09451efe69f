// What other plugins may use of this one: tokens and types, no behaviour.

import { cpus, totalmem } from 'node:os';
import { defineHook, definePool, defineService, type HookToken, type PoolToken, type ServiceToken } from '@runtime/sdk';
import type { TraceBatch, VirtioDeviceName } from '@runtime/sdk/virtio';
import type { VmDescription } from './description/schema.ts';

/** How plugins add devices. */
export { listDevices, resolveDevice } from '@runtime/sdk';
export type { VmDescription } from './description/schema.ts';
export type { DeviceKind, HostHalf, HostRequest } from './device-kind.ts';

// States

export const VM_STATES = ['starting', 'running', 'paused', 'stopping', 'stopped', 'crashed'] as const;
export type VmState = (typeof VM_STATES)[number];

/** Every move of a VM; any other is a mistake of ours. */
export const VM_TRANSITIONS: Readonly<Record<VmState, readonly VmState[]>> = {
  starting: ['running', 'paused', 'stopping', 'stopped', 'crashed'],
  running: ['paused', 'stopping', 'stopped', 'crashed'],
  paused: ['running', 'stopping', 'stopped', 'crashed'],
  stopping: ['stopped', 'crashed'],
  stopped: [],
  crashed: [],
};

/** Why a machine ended. */
export type ExitReason =
  /** The guest switched itself off. */
  | 'guest-shutdown'
  /** The guest asked for a reset; a VM does not start anew by itself. */
  | 'guest-reset'
  /** The guest's kernel panicked, by what its pvpanic device said. */
  | 'guest-panic'
  /** Somebody stopped it. */
  | 'stopped'
  /** The machine's process died of itself. */
  | 'crashed';

export interface MachineExit {
  readonly reason: ExitReason;
  /** In words. */
  readonly detail: string;
}

// The machine

/** A virtio device whose back end is a process of its own, speaking vhost-user. */
export interface MachineDevice {
  /** Unique in its VM: `block0`. */
  readonly id: string;
  readonly type: VirtioDeviceName;
  /** Largest size of each queue. */
  readonly queueSizes: readonly number[];
  readonly configSize: number;
  /** Listening stream socket that the machine inherits and accepts vhost-user connections on; −1: it binds `socketPath`. */
  readonly socketFd: number;
  readonly socketPath: string;
  /** PCI slot, 2 to 30. */
  readonly slot: number;
  /** Of a network card. */
  readonly mac?: string;
  /** Of a shared folder. */
  readonly tag?: string;
}

/** IPv4 addresses of a guest behind a user-mode network, dotted. */
export interface GuestAddress {
  /** With the length of its network: `100.115.92.26/30`. */
  readonly address: string;
  readonly gateway: string;
  /** Where the name server of the host answers. */
  readonly dns?: string;
}

/** A device that the machine itself has, without a process. */
export interface NativeDevice {
  readonly id: string;
  readonly kind: 'user-net' | 'balloon' | 'keyboard' | 'tablet' | 'mouse';
  readonly slot: number;
  readonly mac?: string;
  /** Of a network; default: what the machine gives. */
  readonly guest?: GuestAddress;
}

/** A serial port beside the console, whose output goes to a file. */
export interface SerialFile {
  /** 2 to 4; the guest has it as ttyS1 to ttyS3. */
  readonly port: number;
  /** Absolute; appended to. */
  readonly path: string;
}

export type Accelerator = 'kvm' | 'tcg';

export interface MachineSpec {
  readonly name: string;
  /** For sockets; exists, and only the user may enter it. Its path has at most 90 bytes. */
  readonly directory: string;
  /** Where the console is logged. */
  readonly logDirectory: string;
  readonly board: 'pc' | 'q35';
  readonly accelerator: Accelerator;
  readonly memoryMib: number;
  readonly cpus: number;
  /** A bzImage, or an ELF file with a PVH entry. */
  readonly kernel: string;
  readonly initrd?: string;
  readonly params: string;
  readonly devices: readonly MachineDevice[];
  readonly natives: readonly NativeDevice[];
  readonly serials: readonly SerialFile[];
}

/** Where a machine goes on instead of beginning at its firmware. */
export interface MachineState {
  /** Of the folder that `save` has written. */
  readonly path: string;
  /** What `save` answered. */
  readonly program: string;
}

export interface ConsoleChunk {
  readonly bytes: Uint8Array;
  /** Where the next read goes on. */
  readonly next: number;
  /** Bytes between what was asked for and the oldest that is kept. */
  readonly missed: number;
  /** Nothing more will come. */
  readonly ended: boolean;
}

/** Both may be left out, to look only. */
export interface BalloonRequest {
  /** What the guest is to have from now on, its own kernel included; at most its memory. It takes its time. */
  readonly targetMib?: number;
  /** How often the guest is to tell what it has; 0: never. */
  readonly statsSeconds?: number;
}

export interface BalloonState {
  /** What the guest has now, MiB. */
  readonly actualMib: number;
  /** What it has told last; nothing of it can be relied on. `undefined`: nothing yet. */
  readonly guest?: {
    /** When; seconds since 1970. */
    readonly at: number;
    /** Less than its memory: its kernel is not counted, but what is in the balloon is. */
    readonly totalMib: number;
    /** What programs could still get without swapping. */
    readonly availableMib: number;
    readonly freeMib: number;
    /** Bytes and faults since its start. */
    readonly swappedIn: number;
    readonly majorFaults: number;
  };
}

/**
 * A kind of machine. VMs are known by name; arguments and answers can be cloned, so that it can be in another process.
 * The native KVM machine offers the same.
 */
export interface Machine {
  /**
   * Makes it, with all its devices, and does not let the guest run.
   * @throws VMM_ERR_MACHINE, VMM_ERR_QEMU_MISSING; VMM_ERR_SNAPSHOT when it cannot go on from that state
   */
  create(spec: MachineSpec, from?: MachineState): Promise<void>;
  /**
   * Writes memory and devices of one that is paused into a new folder of mode 0700. The answer stands for the program
   * that wrote them: another may not be able to load them. @throws VMM_ERR_SNAPSHOT; nothing is left at `path` then
   */
  save(vm: string, path: string): Promise<string>;
  /** Takes over a machine that outlived the runtime. False when it is gone. */
  adopt(spec: MachineSpec): Promise<boolean>;
  /** Lets the guest run for the first time. */
  boot(vm: string): Promise<void>;
  pause(vm: string): Promise<void>;
  resume(vm: string): Promise<void>;
  /** Asks the guest, then insists. With `force` the guest is not asked. */
  stop(vm: string, options?: { readonly force?: boolean }): Promise<MachineExit>;
  /** Resolves when it has ended. */
  exited(vm: string): Promise<MachineExit>;
  running(vm: string): Promise<boolean>;
  /** Hot-plug, also before the guest runs. @throws VMM_ERR_HOTPLUG */
  attach(vm: string, device: MachineDevice | NativeDevice): Promise<void>;
  /** Waits until the guest has let go of it. @throws VMM_ERR_HOTPLUG */
  detach(vm: string, id: string): Promise<void>;
  /** The back end of a device has come back, and this kind of machine may have to help. */
  reconnected(vm: string, id: string): Promise<void>;
  stats(vm: string): Promise<Readonly<Record<string, number>>>;
  /** @throws VMM_ERR_BALLOON when there is none */
  balloon(vm: string, request: BalloonRequest): Promise<BalloonState>;
  /** What is there from `from` on (default: all that is kept), waiting up to `waitMs` for the first byte. */
  readConsole(vm: string, request?: { readonly from?: number; readonly waitMs?: number }): Promise<ConsoleChunk>;
  /** @throws VMM_ERR_CONSOLE when the guest does not read */
  writeConsole(vm: string, bytes: Uint8Array): Promise<void>;
}

/** What guests run on. The provider that comes with this plugin is QEMU. */
export const machine: ServiceToken<Machine> = defineService<Machine>('machine', { version: '1.0.0' });

// Virtual machines

export interface VmDeviceInfo {
  readonly id: string;
  readonly kind: string;
  readonly type: string;
  readonly slot: number;
  readonly pid: number | undefined;
  readonly restarts: number;
  readonly state: string;
}

export interface VmInfo {
  readonly name: string;
  readonly state: VmState;
  readonly machine: string;
  readonly accelerator: Accelerator;
  readonly memoryMib: number;
  readonly cpus: number;
  readonly cid: number | undefined;
  readonly pid: number | undefined;
  /** ISO 8601. */
  readonly startedAt: string;
}

export interface VmDetail extends VmInfo {
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly params: string;
  readonly directory: string;
  readonly consoleLog: string;
  readonly devices: readonly VmDeviceInfo[];
  readonly exit: MachineExit | undefined;
}

export interface StartOptions {
  /** What relative paths are relative to; default: where the runtime was started. */
  readonly cwd?: string;
  /** Its guest goes on from there instead of booting. */
  readonly restore?: VmSnapshot;
}

/** A VM at one moment, for others to go on from: its memory and its devices, not what is on its disks. */
export interface VmSnapshot {
  /** Absolute; a folder. */
  readonly path: string;
  /** What saved it. */
  readonly program: string;
  /** What a VM has to be like, to the letter, to go on from it. */
  readonly shape: string;
  /** Devices that are in it, and their PCI slots; others that a VM has are plugged in. */
  readonly slots: Readonly<Record<string, number>>;
}

export interface Vms {
  /**
   * All or nothing: what was begun is undone when a part fails.
   * @throws VMM_ERR_DESCRIPTION, VMM_ERR_EXISTS, VMM_ERR_MACHINE, VMM_ERR_DEVICE, CORE_ERR_POOL_EXHAUSTED, …;
   *   VMM_ERR_SNAPSHOT when the guest cannot go on from there
   */
  start(description: VmDescription, options?: StartOptions): Promise<VmInfo>;
  /**
   * Writes down a VM, which is paused then. Network cards, vsock and rng cannot be written down: start it without.
   * @param path absolute; a folder that is made, with mode 0700. @throws VMM_ERR_SNAPSHOT, VMM_ERR_STATE
   */
  save(vm: string, path: string): Promise<VmSnapshot>;
  stop(vm: string, options?: { readonly force?: boolean }): Promise<MachineExit>;
  list(): Promise<readonly VmInfo[]>;
  inspect(vm: string): Promise<VmDetail>;
  /** What a VM would run on whose description does not say. */
  accelerator(): Promise<Accelerator>;
  pause(vm: string): Promise<void>;
  resume(vm: string): Promise<void>;
  /** Counters of the machine and of each device. */
  stats(vm: string): Promise<Readonly<Record<string, Readonly<Record<string, number>>>>>;
  /**
   * Why it ended; `undefined` when it has not after `waitMs` (default and at most 60,000), or the plugin's code is about
   * to be replaced: ask again.
   */
  wait(vm: string, options?: { readonly waitMs?: number }): Promise<MachineExit | undefined>;
  /** Takes one that has ended off the list. @throws VMM_ERR_STATE */
  remove(vm: string): Promise<void>;
  /** As that of the machine. A reader from a place that is yet to come gets all there is: the count has begun anew. */
  readConsole(vm: string, request?: { readonly from?: number; readonly waitMs?: number }): Promise<ConsoleChunk>;
  writeConsole(vm: string, bytes: Uint8Array): Promise<void>;
  attach(
    vm: string,
    device: { readonly kind: string; readonly id?: string; readonly options: unknown },
  ): Promise<string>;
  detach(vm: string, id: string): Promise<void>;
  /** Its requests since the last call; the first one begins to collect them, for about two seconds. */
  traceDevice(vm: string, id: string): Promise<TraceBatch>;
  describeDevice(vm: string, id: string): Promise<Readonly<Record<string, unknown>>>;
  reloadDevice(vm: string, id: string): Promise<{ readonly ms: number }>;
  restartDevice(vm: string, id: string): Promise<void>;
  /** Memory that is given back by the guest, or to it. @throws VMM_ERR_BALLOON when it has none */
  balloon(vm: string, request?: BalloonRequest): Promise<BalloonState>;
  /** To the device's own code: `resize`, … */
  requestDevice(vm: string, id: string, method: string, params: unknown): Promise<unknown>;
}

/** All VMs of this runtime: what `runtime vm` and other plugins start, look at and end them by. */
export const vms: ServiceToken<Vms> = defineService<Vms>('vms', { version: '1.0.0' });

// Disk images

export interface ConvertDiskImage {
  readonly from: {
    /** Absolute. */
    readonly path: string;
    readonly format: 'raw' | 'qcow2';
    /** Whether it is kept from being changed meanwhile; default true. */
    readonly lock?: boolean;
    /** Whether it may lie on other files; default false, as a stranger's image could name any file of this computer. */
    readonly backing?: boolean;
    /** Refuse one that is larger, in bytes. */
    readonly maxSize?: number;
  };
  /** Must not exist yet. */
  readonly to: { readonly path: string; readonly format: 'raw' | 'qcow2' };
}

export interface DiskImages {
  /**
   * Copies a disk into a new image, in a thread of its own. What reads as zeroes takes no space in the copy; a copy that
   * is not finished is removed. @param id what it is called while it goes on, by whoever asks
   * @throws VMM_ERR_DISK_…
   */
  convert(id: string, request: ConvertDiskImage): Promise<void>;
  /** How much is done, 0 to 1; `undefined`: no such copy goes on. */
  progress(id: string): Promise<number | undefined>;
  /** convert() then rejects, when nothing is left. One that does not go on is no error. */
  cancel(id: string): Promise<void>;
}

/** Copies images of disks from one format into another. */
export const diskImages: ServiceToken<DiskImages> = defineService<DiskImages>('disk-images', { version: '1.0.0' });

// Hooks

export interface VmVeto {
  /** Why not, for the user. */
  readonly deny: string;
}

/** Asked before a VM is started, with everything filled in; a tap may return a changed description. */
export const beforeStart: HookToken<'waterfall', readonly [description: VmDescription], VmDescription> = defineHook<
  readonly [description: VmDescription],
  VmDescription
>()('vm/before-start', 'waterfall', ['description']);

/** Asked after that: the first tap with an objection keeps the VM from starting. */
export const admitStart: HookToken<'bail', readonly [description: VmDescription], VmVeto> = defineHook<
  readonly [description: VmDescription],
  VmVeto
>()('vm/admit-start', 'bail', ['description']);

export interface VsockCall {
  readonly vm: string;
  /** Of the host, as the guest calls it. */
  readonly port: number;
}

/**
 * A guest calls a port of the host: who answers? The first answer counts, a Unix socket that listens. Without one it is
 * `vsock.sock_<port>` in the folder of the VM, if somebody listens there.
 */
export const vsockConnect: HookToken<'bail', readonly [call: VsockCall], { readonly path: string }> = defineHook<
  readonly [call: VsockCall],
  { readonly path: string }
>()('vm/vsock-connect', 'bail', ['call']);

// Pools

/** Context ids of vsock, from 32 as in ChromeOS. One that was released is not met again soon: the next one is handed out. */
export const vsockCid: PoolToken<'id'> = definePool('vsock-cid', { kind: 'id', from: 32n, to: 0xffff_fffen });

/** /30 networks 100.115.92.24 to .63 for guests, as patchpanel has them for Termina; in units of addresses. */
export const ipv4Subnet: PoolToken<'range'> = definePool('ipv4-subnet', {
  kind: 'range',
  base: 0x6473_5c18n,
  size: 40n,
  align: 4n,
});

/** MAC addresses as numbers, locally administered: 02:52:54:00:00:01 and following. */
export const macAddress: PoolToken<'id'> = definePool('mac', {
  kind: 'id',
  from: 0x0252_5400_0001n,
  to: 0x0252_54ff_ffffn,
});

/** Memory of all guests together, MiB; default: what this computer has. */
export const vmMemory: PoolToken<'count'> = definePool('vm-memory', {
  kind: 'count',
  total: BigInt(Math.floor(totalmem() / 2 ** 20)),
});

/** Virtual CPUs of all guests together; default: eight for each CPU of this computer. */
export const vmCpus: PoolToken<'count'> = definePool('vm-cpus', { kind: 'count', total: BigInt(cpus().length * 8) });

/** PCI slots of the root bus of one VM; 0 and 1 are the board's, 31 is on some boards. */
export function pciSlots(vm: string): PoolToken<'id'> {
  return definePool(`pci-slot:${vm}`, { kind: 'id', from: 2n, to: 30n });
}

// Events

declare module '@runtime/core' {
  interface EventMap {
    /** Its processes are there; the guest does not run yet. */
    'vm:created': { readonly vm: string; readonly cid: number | undefined };
    /** Its guest runs. */
    'vm:started': { readonly vm: string; readonly cid: number | undefined };
    /** It has ended, and all that it held is free again; `reason` and `detail` say why. */
    'vm:stopped': { readonly vm: string; readonly reason: ExitReason; readonly detail: string };
    /** The same, in place of `vm:stopped`, when its machine's process died of itself. */
    'vm:crashed': { readonly vm: string; readonly reason: ExitReason; readonly detail: string };
    /** Its CPUs stand still. */
    'vm:paused': { readonly vm: string };
    /** Its CPUs go on. */
    'vm:resumed': { readonly vm: string };
    /** Its process died and came back. */
    'vm:device-restarted': { readonly vm: string; readonly device: string };
    /** Its code was replaced. */
    'vm:device-reloaded': { readonly vm: string; readonly device: string; readonly ms: number };
    /** Its process died too often; the guest sees a device that does not answer. */
    'vm:device-failed': { readonly vm: string; readonly device: string; readonly why: string };
  }
}
