// The entropy device, virtio 1.2 §5.4: random numbers from the kernel of the host. It runs in a device process.

import { defineDevice } from '@runtime/sdk/virtio';
import { checkedOptions } from '../checked-options.ts';
import { RngDevice } from './rng-device.ts';

export default defineDevice<Record<never, never>>({
  name: 'rng',
  type: 'rng',
  options: checkedOptions('rng', {}, {}),
  queues: [{ name: 'requestq' }],
  setup: (device) => new RngDevice(device),
});
