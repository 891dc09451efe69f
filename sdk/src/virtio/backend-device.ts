// What a vhost-user back end drives: the device behind the protocol. The back end knows messages, memory and rings;
// this knows what the buffers mean.

import type { VirtqueueSetup } from './virtqueue.ts';

export interface QueueStart {
  readonly setup: VirtqueueSetup;
  /** eventfd of the driver's kicks; −1 when the queue must be polled. It stays the back end's to close, after stopQueue. */
  readonly kick: number;
}

export interface BackendDevice {
  /** Virtio feature bits offered, ring features included; without VHOST_USER_F_PROTOCOL_FEATURES. */
  readonly features: bigint;
  readonly queueCount: number;
  /** Largest size of each queue. */
  readonly queueSizes: readonly number[];
  /** Bytes of the device-specific configuration space; 0 to 256. */
  readonly configSize: number;
  readConfig(offset: number, length: number): Uint8Array;
  writeConfig(offset: number, bytes: Uint8Array): void;
  setFeatures(features: bigint): void;
  startQueue(start: QueueStart): void;
  /** Finishes what is outstanding. The base as VRING_BASE has it. */
  stopQueue(index: number): Promise<number>;
  setCall(index: number, fd: number): void;
  /** VHOST_USER_RESET_DEVICE, or the front end went away for good. */
  reset(): void;
  /** VHOST_USER_SET_DEVICE_STATE_FD: the device's own state while it is stopped; bounded by the caller. */
  saveState(): Uint8Array;
  /** @throws when the state is not one */
  loadState(bytes: Uint8Array): void;
}
