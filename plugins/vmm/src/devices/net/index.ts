// The network device, virtio 1.2 §5.1: Ethernet for the guest, through a tap or passt. It runs in a device process;
// host.ts is its half in the runtime.

import { defineDevice } from '@runtime/sdk/virtio';
import { configOf, featuresOf } from './config-layout.ts';
import { NetDevice, type NetState } from './net-device.ts';
import { type NetOptions, netOptions } from './options.ts';

export default defineDevice<NetOptions, NetState>({
  name: 'net',
  type: 'net',
  options: netOptions,
  queues: ({ queuePairs, queueSize }) => [
    ...Array.from({ length: queuePairs }, (_, i) => [
      { name: `rx${i}`, size: queueSize },
      { name: `tx${i}`, size: queueSize },
    ]).flat(),
    { name: 'control', size: 64 },
  ],
  features: featuresOf,
  config: configOf,
  state: { schema: 1 },
  setup: (device) => new NetDevice(device),
});
