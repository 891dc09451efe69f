// The plugin `sandbox`: seccomp policies, and jails for the processes of all plugins.

import { beforeSpawn, definePlugin } from '@runtime/sdk';
import { addChecks } from './checks.ts';
import { addCommands } from './cli/index.ts';
import { sandboxConfig } from './config.ts';
import { Jailer } from './jail/tap.ts';

/** Set to anything, no process is jailed. */
const OFF_VARIABLE = 'RUNTIME_NO_SANDBOX';

export default definePlugin({
  name: 'sandbox',
  config: sandboxConfig,
  setup(ctx) {
    addCommands(ctx.commands);
    const enabled = ctx.config.enabled && (process.env[OFF_VARIABLE] ?? '') === '';
    addChecks(ctx.checks, enabled);
    if (!enabled) return;
    const jailer = new Jailer({ log: ctx.log, strength: ctx.config.strength });
    ctx.hooks.tap(beforeSpawn, (plan) => jailer.jail(plan));
  },
});
