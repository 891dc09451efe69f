// The block device, virtio 1.2 §5.2: a disk image for the guest. It runs in a device process; host.ts is its half in the
// runtime.

import { defineDevice } from '@runtime/sdk/virtio';
import { BlockDevice, type BlockState } from './block-device.ts';
import { configOf, featuresOf } from './config-layout.ts';
import { geometryOf, loadingOptions } from './open-store.ts';
import type { BlockOptions } from './options.ts';

export default defineDevice<BlockOptions, BlockState>({
  name: 'block',
  type: 'block',
  options: loadingOptions,
  queues: (options) =>
    Array.from({ length: options.queues }, (_, i) => ({ name: `request${i}`, size: options.queueSize })),
  features: featuresOf,
  config: (options, fds) => configOf(options, geometryOf(options, fds)),
  state: { schema: 1 },
  // An image format has tables in memory, of which there must be one.
  parallel: (options) => options.format === 'raw',
  setup: (device) => new BlockDevice(device),
});
