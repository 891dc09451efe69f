// The vsock device, virtio 1.2 §5.10: stream sockets between the guest and Unix sockets of the host, without a network. It
// runs in a device process; host.ts is its half in the runtime.

import { defineDevice, VIRTIO_VSOCK_F } from '@runtime/sdk/virtio';
import { type VsockOptions, vsockOptions } from './options.ts';
import { VsockDevice, type VsockState } from './vsock-device.ts';

export default defineDevice<VsockOptions, VsockState>({
  name: 'vsock',
  type: 'vsock',
  options: vsockOptions,
  // Front ends that keep the event queue to themselves (QEMU) set up the first two only.
  queues: [{ name: 'rx' }, { name: 'tx' }, { name: 'event', size: 64 }],
  features: [VIRTIO_VSOCK_F.stream],
  config: ({ cid }) => {
    // struct virtio_vsock_config { le64 guest_cid; }, whose upper half is reserved.
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setUint32(0, cid, true);
    return bytes;
  },
  state: { schema: 1 },
  setup: (device) => new VsockDevice(device),
});
