// The input device, virtio 1.2 §5.8: a keyboard, mouse, tablet or touchscreen whose events the runtime gives. It runs in a
// device process.

import { defineDevice } from '@runtime/sdk/virtio';
import { CONFIG } from './codes.ts';
import { InputDevice, type InputState } from './input-device.ts';
import { type InputOptions, inputOptions } from './options.ts';

export default defineDevice<InputOptions, InputState>({
  name: 'input',
  type: 'input',
  options: inputOptions,
  queues: [
    { name: 'events', size: 64 },
    { name: 'status', size: 64 },
  ],
  // Nothing is selected.
  config: () => new Uint8Array(CONFIG.bytes),
  state: { schema: 1 },
  setup: (device) => new InputDevice(device),
});
