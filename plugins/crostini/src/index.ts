// The plugin `crostini`: Termina VMs as ChromeOS has them.

import { rmSync } from 'node:fs';
import { vms, vsockConnect } from '@runtime/plugin-vmm/contract';
import { definePlugin, defineState } from '@runtime/sdk';
import { addCommands } from './cli/index.ts';
import { ConciergeManager } from './concierge/concierge-manager.ts';
import { makeSocketFolder, socketFolder } from './concierge/places.ts';
import type { VmRecord } from './concierge/records.ts';
import { crostiniConfig } from './config.ts';
import { concierge } from './contract.ts';

export default definePlugin({
  name: 'crostini',
  requires: { vms },
  provides: [concierge],
  config: crostiniConfig,
  state: defineState<{ readonly vms: readonly VmRecord[] }>({ schema: 1 }),
  timeouts: { setupMs: 30_000, disposeMs: 60_000 },
  async setup(ctx) {
    const { config } = ctx;
    // Without a state directory nothing can outlive the runtime, and its VMs end with it.
    const persistent = ctx.state.directory !== '';
    const folder = socketFolder(ctx.state.directory);
    makeSocketFolder(folder);
    const manager = new ConciergeManager({
      context: ctx,
      vms: ctx.services.vms,
      config,
      socketFolder: folder,
      ensureImage: async (profile, onProgress) => {
        const { ensureTermina } = await import('./image/termina-image.ts');
        return ensureTermina({ profile, onProgress });
      },
    });
    ctx.hooks.tap(vsockConnect, ({ vm, port }) => manager.answer(vm, port));
    ctx.provide(concierge, manager);
    addCommands(ctx.commands, { manager, vms: ctx.services.vms, lastsOnlyHere: !persistent });
    await manager.adoptAll(ctx.previous?.state.vms);
    return {
      snapshot: () => ({ vms: manager.records() }),
      async dispose(reason) {
        if (reason === 'stop' && !persistent) await manager.stopAllVms('SERVICE_SHUTDOWN');
        await manager.release();
        if (!persistent && reason !== 'reload') rmSync(folder, { recursive: true, force: true });
      },
    };
  },
});
