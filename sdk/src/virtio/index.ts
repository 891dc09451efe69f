// The device kit: virtio devices as processes of their own, over vhost-user.

export type { BackendDevice, QueueStart } from './backend-device.ts';
export { Chain } from './chain.ts';
export * from './constants.ts';
export {
  type AnyDevice,
  type ConfigSpace,
  type ControlMessage,
  type Device,
  type DeviceContext,
  type DeviceDefinition,
  type DeviceInstance,
  type DeviceLog,
  type DeviceStats,
  defineDevice,
  isDevice,
  type QueueSpec,
} from './device.ts';
export type { DeviceIo, IoEngine } from './device-io.ts';
export { GuestMemory, MemoryRegion, type MemoryRegionSpec } from './guest-memory.ts';
export { type CompiledHost, CompiledHosts, type CompiledHostsOptions } from './process/compiled-host.ts';
export { ControlLink, type ControlLinkOptions } from './process/control-link.ts';
export { type DeviceProcess, deviceProcess } from './process/host-argv.ts';
export type { QueueRecord, TraceBatch } from './queue-tracer.ts';
export { createVirtqueue, type Virtqueue, type VirtqueueSetup } from './virtqueue.ts';
