// The plugin `crostini`: Termina VMs as ChromeOS has them.

import { definePlugin, type Plugin } from '@runtime/sdk';

const plugin: Plugin = definePlugin({
  name: 'crostini',
  setup() {},
});
export default plugin;
