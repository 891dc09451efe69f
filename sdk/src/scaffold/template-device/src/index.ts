import { devicePlugin } from '@runtime/sdk';
import device from './device.ts';

export default devicePlugin({
  name: 'example-plugin',
  devices: [{ device, module: new URL('./device.ts', import.meta.url) }],
});
