// What a plugin author imports: the core, as it is, and how to offer devices.

export * from '@runtime/core';
export type { RuntimeClient } from './client/runtime-client.ts';
export { connect } from './connect.ts';
export {
  type DeviceModule,
  type DeviceOffer,
  devicePlugin,
  listDevices,
  type OfferedDevice,
  offerOf,
  resolveDevice,
} from './virtio/device-offer.ts';
