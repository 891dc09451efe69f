// What a virtio device is: a frozen description with a `setup`. Nothing here runs; the device process does the rest
// (vhost-user, memory, rings, control channel), so that this code can be replaced while the guest uses the device.

import type { Handover, Schema, StateSpec } from '@runtime/core';
import type { VirtioDeviceName } from './constants.ts';
import type { DeviceIo } from './device-io.ts';
import type { Virtqueue } from './virtqueue.ts';

export interface QueueSpec {
  /** For people: `requestq`, `rx`, … */
  readonly name: string;
  /** Largest size offered, a power of two up to 32768; default 256. The driver may choose a smaller one. */
  readonly size?: number;
}

/** The device-specific part of the configuration space, virtio 1.2 §2.5. At most 256 bytes through vhost-user. */
export interface ConfigSpace {
  /** The space itself, little-endian. Change it through `update`. */
  readonly bytes: Uint8Array;
  /** Changes the space and tells the driver (VIRTIO config-change notification). */
  update(change: (view: DataView) => void): void;
}

/** Counters that `runtime vm stats` shows; names are free, values are numbers that only grow or gauges. */
export type DeviceStats = Record<string, number>;

export interface DeviceLog {
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** What came with an answer or a request over the control channel. */
export interface ControlMessage {
  /** JSON. */
  readonly value: unknown;
  /** Close-on-exec, and the receiver's to close. */
  readonly fds: readonly number[];
}

export interface DeviceContext<O, S> {
  /** Of the device in its VM: `block0`. */
  readonly id: string;
  readonly options: O;
  /** Descriptors that the runtime handed over, by name. They belong to the process and stay through a reload. */
  readonly fds: Readonly<Record<string, number>>;
  readonly config: ConfigSpace;
  /** Asynchronous reads and writes of guest memory, io_uring where the kernel offers it. */
  readonly io: DeviceIo;
  /** Own counters, kept through a reload. */
  readonly stats: DeviceStats;
  readonly log: DeviceLog;
  /** Present when this code takes over from older code of the same device. */
  readonly previous: Handover<S> | undefined;
  /** Aborted when this code is replaced or the process ends. */
  readonly signal: AbortSignal;
  /** The feature bits that the driver accepted; 0 before it did. */
  features(): bigint;
  /** `undefined` while the driver has not set it up, or it is stopped. */
  queue(index: number): Virtqueue | undefined;
  /** Has `process` called for all running queues soon: something other than the driver has work for them. */
  wake(): void;
  /**
   * Calls `fn` whenever `fd` is ready (level-triggered), until disposed, replaced or the process ends. Publish used
   * buffers with `queue.flush()`, or leave that to `wake()`.
   */
  watch(fd: number, interest: { readonly readable?: boolean; readonly writable?: boolean }, fn: () => void): Disposable;
  /** Asks the runtime's half of the device. @throws what it answered, coded; RT_ERR when no runtime is connected */
  request(method: string, params: unknown, fds?: readonly number[]): Promise<ControlMessage>;
}

export interface DeviceInstance<S> {
  /**
   * There may be buffers in `queue`: pop, work, push, until `pop()` answers nothing. What is pushed is published after
   * it returns. Work that goes on (`io`, a socket) pushes later; pop nothing that waits for the outside world for long.
   */
  process(queue: Virtqueue): void;
  /** An operation of `io` has ended: bytes or what the call returned, negative errno when it failed. */
  complete?(token: number, result: number): void;
  /** The driver has set up the queue. */
  started?(queue: Virtqueue): void;
  /**
   * The queue is to be stopped, which waits until nothing of it is outstanding: push what was held back for later, such
   * as a buffer for an event that has not come. It is not popped any more. `quiesce` is for all queues and a change of code.
   */
  stopping?(queue: Virtqueue): void;
  /** The queue is about to stop; nothing of it is outstanding any more. */
  stopped?(index: number): void;
  /** The driver has written the configuration space, which holds the new bytes. */
  configWritten?(offset: number, length: number): void;
  /** A request of the runtime's half: `resize`, … */
  handle?(method: string, params: unknown, fds: readonly number[]): unknown;
  /** Finish or give back what is outstanding; nothing is popped meanwhile. */
  quiesce?(): void | Promise<void>;
  /** Called while quiet, for the code that follows (reload) or the device that does (snapshot). */
  snapshot?(): S;
  /** The driver has reset the device: forget what it said. */
  reset?(): void;
  /** For what `signal` and `watch` do not clean up. */
  dispose?(): void;
}

/** A function of the options. Declared as a method, whose parameters are bivariant: what lets every `Device<…>` be an `AnyDevice`. */
type OfOptions<O, R> = { of(options: O, fds: Readonly<Record<string, number>>): R }['of'];

export interface DeviceDefinition<O, S> {
  /** kebab-case: what it is called in `--device`, logs and policies. */
  readonly name: string;
  /** virtio 1.2 §5: `block`, `rng`, … */
  readonly type: VirtioDeviceName;
  /** Checks the options before anything is opened; any Standard Schema. */
  readonly options: Schema<O>;
  readonly queues: readonly QueueSpec[] | OfOptions<O, readonly QueueSpec[]>;
  /** Device-specific feature bits (numbers 0–23 and 50–63). Ring features are offered by the kit. */
  readonly features?: readonly number[] | OfOptions<O, readonly number[]>;
  /** What the configuration space is at first, little-endian. */
  readonly config?: OfOptions<O, Uint8Array>;
  readonly state?: StateSpec<S>;
  /**
   * Its queues may be served by several instances of it, each in a thread of its own, that share options, descriptors and
   * requests of the runtime (each gets `handle`), and nothing else. Default: they may not.
   */
  readonly parallel?: boolean | OfOptions<O, boolean>;
  setup(device: DeviceContext<O, S>): DeviceInstance<S>;
}

export const DEVICE_TYPE = 'runtime.device/v1';

export interface Device<O = unknown, S = unknown> extends DeviceDefinition<O, S> {
  readonly $$type: typeof DEVICE_TYPE;
}

/** A device whose type parameters are of no interest, as the device process sees it. */
export type AnyDevice = Device;

export function defineDevice<O, S = undefined>(definition: DeviceDefinition<O, S>): Device<O, S> {
  return Object.freeze({ ...definition, $$type: DEVICE_TYPE });
}

/** Also true for a device defined with another copy of the sdk. */
export function isDevice(value: unknown): value is AnyDevice {
  return typeof value === 'object' && value !== null && (value as { readonly $$type?: unknown }).$$type === DEVICE_TYPE;
}
