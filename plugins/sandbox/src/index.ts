// The plugin `sandbox`: seccomp policies.

import { definePlugin } from '@runtime/sdk';
import { addCommands } from './cli/index.ts';

export default definePlugin({
  name: 'sandbox',
  setup(ctx) {
    addCommands(ctx.commands);
  },
});
