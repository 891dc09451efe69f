// The plugin `vmm`: virtual machines, their devices as processes, and `runtime vm`.

import { join } from 'node:path';
import { definePlugin, defineState, type ProcessSupervisor } from '@runtime/sdk';
import { addChecks } from './checks.ts';
import { addCommands } from './cli/index.ts';
import { compiledDevices } from './compiled-devices.ts';
import { vmmConfig } from './config.ts';
import { diskImages, listDevices, machine, resolveDevice, vms, vsockConnect } from './contract.ts';
import { builtInKind, builtInKinds } from './device-kinds.ts';
import { DeviceManager } from './device-manager.ts';
import { DiskCopies } from './disk/copies.ts';
import { bootFiles } from './machine/boot-files.ts';
import { KvmProbe } from './machine/qemu/kvm-probe.ts';
import { findProgram } from './machine/qemu/programs.ts';
import { QemuMachine } from './machine/qemu/qemu-machine.ts';
import { removeEmptyFolder, vmsFolder } from './vms/places.ts';
import type { VmRecord } from './vms/records.ts';
import { closeDesk, newDesk, serve, vmsAt } from './vms/vm-desk.ts';
import { VmManager } from './vms/vm-manager.ts';

export default definePlugin({
  name: 'vmm',
  provides: [vms, machine, diskImages],
  config: vmmConfig,
  state: defineState<{ readonly vms: readonly VmRecord[] }>({ schema: 1 }),
  timeouts: { setupMs: 30_000, disposeMs: 20_000 },
  async setup(ctx) {
    const { config, log } = ctx;
    // Without a state directory nothing can outlive the runtime, and its VMs end with it.
    const persistent = ctx.state.directory !== '';
    const folder = vmsFolder(ctx.state.directory);
    const processes = persistent ? ctx.processes : attached(ctx.processes);
    const qemu = new QemuMachine({ processes, log, program: config.qemu, stop: config.stop });
    const resolve = async (kind: string) => builtInKind(kind) ?? (await ctx.hooks.call(resolveDevice, kind));
    const compiled = compiledDevices(ctx.processes);
    const devices = new DeviceManager({
      processes,
      log,
      resolve,
      findListener: (vm, port) => ctx.hooks.call(vsockConnect, { vm, port }),
      ...(compiled === undefined ? {} : { compiled }),
      onRestart: (vm, id) => manager.deviceRestarted(vm, id),
      onFailure: (vm, id, why) => manager.deviceFailed(vm, id, why),
    });
    const probe = new KvmProbe({ processes: ctx.processes, log });
    const manager: VmManager = new VmManager({
      context: ctx,
      devices,
      machine: qemu,
      vmsFolder: folder,
      logFolder: persistent ? join(ctx.state.directory, 'consoles') : '',
      hasKind: async (kind) => (await resolve(kind)) !== undefined,
      accelerator: async (asked) => {
        if (asked !== 'auto') return asked;
        if (config.accel !== 'auto') return config.accel;
        const program = findProgram(config.qemu);
        return program !== undefined && (await probe.works(program)) ? 'kvm' : 'tcg';
      },
      netBackend: () => (findProgram('passt') === undefined ? 'user' : 'passt'),
      bootFiles,
    });
    addChecks(ctx.checks, config.qemu, probe);
    const images = new DiskCopies();
    const desk = await ctx.keepers.keep('object', 'desk', newDesk);
    ctx.provide(vms, manager);
    ctx.provide(machine, qemu);
    ctx.provide(diskImages, images);
    addCommands(ctx.commands, vmsAt(desk), async () => {
      const offers = await ctx.hooks.call(listDevices, builtInKinds());
      return offers.map(({ kind, type, module }) => ({ kind, type, module: module.file }));
    });
    ctx.events.on('core:reloaded', async ({ plugin, outcome }) => {
      if (outcome === 'swapped') await manager.reloadDevicesOf(plugin);
    });
    await manager.adoptAll(ctx.previous?.state.vms);
    await manager.stopOrphans();
    serve(desk, manager);
    return {
      quiesce() {
        serve(desk, undefined);
        manager.hush(true);
      },
      resume() {
        manager.hush(false);
        serve(desk, manager);
      },
      // The new code takes the VMs over as the next runtime would.
      snapshot: () => ({ vms: manager.records() }),
      async dispose(reason) {
        if (reason !== 'reload') closeDesk(desk);
        if (!persistent && reason === 'stop') await manager.stopAll();
        images.cancelAll();
        manager.release();
        qemu.release();
        // Where VMs go on, theirs are in it.
        if (reason !== 'reload') removeEmptyFolder(folder);
      },
    };
  },
});

function attached(processes: ProcessSupervisor): ProcessSupervisor {
  return {
    list: () => processes.list(),
    spawn: (request) => processes.spawn({ ...request, detached: false }),
  };
}
