// The console device, virtio 1.2 §5.3, with one port: a terminal of the guest between two descriptors. It runs in a device
// process.

import { defineDevice, VIRTIO_CONSOLE_F } from '@runtime/sdk/virtio';
import { ConsoleDevice, type ConsoleState } from './console-device.ts';
import { type ConsoleOptions, consoleOptions } from './options.ts';

/** struct virtio_console_config: cols u16@0, rows u16@2, max_nr_ports u32@4, emerg_wr u32@8. */
const CONFIG_BYTES = 12;

export default defineDevice<ConsoleOptions, ConsoleState>({
  name: 'console',
  type: 'console',
  options: consoleOptions,
  queues: [
    { name: 'rx', size: 64 },
    { name: 'tx', size: 64 },
  ],
  features: [VIRTIO_CONSOLE_F.size],
  config: ({ columns, rows }) => {
    const bytes = new Uint8Array(CONFIG_BYTES);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, columns, true);
    view.setUint16(2, rows, true);
    view.setUint32(4, 1, true);
    return bytes;
  },
  state: { schema: 1 },
  setup: (device) => new ConsoleDevice(device),
});
