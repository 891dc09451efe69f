// The plugin `crostini`: Termina VMs as ChromeOS has them.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { diskImages, vms, vsockConnect } from '@runtime/plugin-vmm/contract';
import { definePlugin, defineState } from '@runtime/sdk';
import { addChecks } from './checks.ts';
import { CiceroneManager } from './cicerone/cicerone-manager.ts';
import { addCommands } from './cli/index.ts';
import { BalloonController } from './concierge/balloon-controller.ts';
import { watchClock } from './concierge/clock-watch.ts';
import { ConciergeManager } from './concierge/concierge-manager.ts';
import { closeDesk, newDesk, serve } from './concierge/desk.ts';
import { newLogBoard } from './concierge/log-board.ts';
import { LogKeeper } from './concierge/log-keeper.ts';
import { LogStore } from './concierge/log-store.ts';
import { DEFAULT_OWNER, vmKey } from './concierge/names.ts';
import { makeSocketFolder, removeEmptyFolder, socketFolder } from './concierge/places.ts';
import type { VmRecord } from './concierge/records.ts';
import { crostiniConfig } from './config.ts';
import { concierge } from './contract.ts';
import { containers } from './contract-containers.ts';
import { disks } from './contract-disks.ts';
import { checkBus } from './dbus/bus-check.ts';
import { type DbusService, startDbus } from './dbus/index.ts';
import { createDisks } from './disks/index.ts';
import { checksImages } from './image/checking.ts';
import { createNetworks } from './network/index.ts';
import { runtimeId } from './network/names.ts';
import { openScopes } from './systemd/scopes.ts';

export default definePlugin({
  name: 'crostini',
  requires: { vms, diskImages },
  provides: [concierge, disks, containers],
  config: crostiniConfig,
  state: defineState<{ readonly vms: readonly VmRecord[] }>({ schema: 1 }),
  timeouts: { setupMs: 30_000, disposeMs: 60_000 },
  async setup(ctx) {
    const { config } = ctx;
    // Without a state directory nothing can outlive the runtime, and its VMs end with it.
    const persistent = ctx.state.directory !== '';
    const folder = socketFolder(ctx.state.directory);
    makeSocketFolder(folder);
    const { path: diskFolder } = await ctx.keepers.keep('object', 'disk-folder', () => ({
      path: persistent ? ctx.state.directory : mkdtempSync(join(tmpdir(), 'runtime-disks-')),
    }));
    const store = createDisks({
      stateDirectory: diskFolder,
      defaultOwner: DEFAULT_OWNER,
      images: ctx.services.diskImages,
      requestDevice: (vm, device, method, params) => ctx.services.vms.requestDevice(vm, device, method, params),
      running: async (owner, vm) => manager.runningDisk(owner, vm),
      format: async (path, type) => {
        if (type !== 'termina') return;
        const { formatStateDisk } = await import('./image/state-disk.ts');
        await formatStateDisk(path).catch((err: unknown) => ctx.log.warn({ err }, 'the guest is to format its disk'));
      },
      events: {
        progress: ({ uuid, kind, owner, vm, percent }) =>
          ctx.events.emit('disk:progress', { uuid, kind, owner, vm, percent }),
        done: ({ uuid, kind, owner, vm, state, error }) =>
          ctx.events.emit('disk:done', { uuid, kind, owner, vm, state, why: error?.message ?? '' }),
      },
      log: ctx.log,
    });
    const logStore = new LogStore(join(diskFolder, 'logs'), config.logs);
    const board = await ctx.keepers.keep('object', 'logs', newLogBoard);
    const logs = new LogKeeper({ store: logStore, board, vms: ctx.services.vms, events: ctx.events });
    const verity = () => checksImages(config.verity, ctx.services.vms);
    const snapshots =
      config.snapshots === 'off'
        ? undefined
        : (await import('./snapshots/index.ts')).openSnapshots({
            ...{ vms: ctx.services.vms, log: ctx.log, mode: config.snapshots },
          });
    const cicerone: CiceroneManager = new CiceroneManager({
      context: ctx,
      concierge: { endpoint: (name, options) => manager.endpoint(name, options) },
    });
    const manager: ConciergeManager = new ConciergeManager({
      context: ctx,
      vms: ctx.services.vms,
      config,
      socketFolder: folder,
      containers: cicerone,
      ...(snapshots === undefined ? {} : { snapshots }),
      logs,
      networks: createNetworks({
        ...{ mode: config.network, runtime: runtimeId(ctx.state.directory), persistent },
        ...{ resources: ctx.resources, processes: ctx.processes, log: ctx.log },
      }),
      ensureImage: async (profile, onProgress, isReplaced) => {
        const { ensureTermina } = await import('./image/termina-image.ts');
        return ensureTermina({ profile, onProgress, verity: !isReplaced && (await verity()) });
      },
      statefulDisk: async ({ owner, name }, bytes) => {
        const { path, sparse } = await store.ensureStateful({ owner, vm: name, bytes });
        return { path, format: 'raw', sparse };
      },
    });
    ctx.hooks.tap(vsockConnect, ({ vm, port }) => manager.answer(vm, port) ?? cicerone.answer(vm, port));
    const clock = watchClock({
      onJump: async (ms) => {
        const { asked, failures } = await manager.syncVmTimes();
        ctx.log.info({ ms, asked, failures }, 'the time of this computer has jumped, and guests were told');
      },
    });
    const balloons =
      config.balloon.policy === 'off'
        ? undefined
        : new BalloonController({
            list: () => manager.ballooned(),
            balloon: (machine, request) => ctx.services.vms.balloon(machine, request),
            minMib: config.balloon.minMib,
            onChange: ({ name: vm, owner }, { targetMib, why }, actualMib) =>
              ctx.events.emit('termina:balloon', { vm, owner, targetMib, actualMib, why }),
          });
    ctx.provide(concierge, manager);
    ctx.provide(disks, store);
    ctx.provide(containers, cicerone);
    // VMs of a runtime that keeps nothing end with it.
    const scopes = openScopes({
      ...{ mode: persistent ? config.scopes : 'off', events: ctx.events, log: ctx.log },
      describe: (machine) => `VM ${machine} of the runtime`,
    });
    let dbus: DbusService | undefined;
    addChecks(ctx.checks, config, {
      sockets: folder,
      verity,
      dbus: () => dbus?.check() ?? checkBus(config.dbus),
      disks: diskFolder,
    });
    const desk = await ctx.keepers.keep('object', 'desk', newDesk);
    addCommands(ctx.commands, {
      ...{
        manager,
        desk,
        logs,
        disks: store,
        containers: cicerone,
        vms: ctx.services.vms,
        verity,
        lastsOnlyHere: !persistent,
      },
    });
    await manager.adoptAll(ctx.previous?.state.vms);
    serve(desk, manager);
    return {
      async ready() {
        if (!persistent) return;
        dbus = await startDbus({
          ...{ mode: config.dbus, concierge: manager, disks: store, events: ctx.events, log: ctx.log },
          containers: cicerone,
          logs: (name, owner) => logs.text(vmKey(name, owner)),
          removeLogs: (name, owner) => logs.remove(vmKey(name, owner)),
          balloon: (machine) => ctx.services.vms.balloon(machine),
        });
      },
      snapshot: () => ({ vms: manager.records() }),
      async dispose(reason) {
        clock[Symbol.dispose]();
        await scopes[Symbol.asyncDispose]();
        await snapshots?.[Symbol.asyncDispose]();
        balloons?.[Symbol.dispose]();
        await dbus?.[Symbol.asyncDispose]();
        if (reason === 'reload') serve(desk, undefined);
        else closeDesk(desk);
        if (reason === 'stop' && !persistent) await manager.stopAllVms('SERVICE_SHUTDOWN');
        await manager.release();
        logStore[Symbol.dispose]();
        await store[Symbol.asyncDispose]();
        if (reason === 'reload') return;
        removeEmptyFolder(folder);
        if (!persistent) rmSync(diskFolder, { recursive: true, force: true });
      },
    };
  },
});
