// `runtime vm device …`.

import { resolve } from 'node:path';
import { type CommandRegistry, sleep, systemClock } from '@runtime/sdk';
import type { Vms } from '../contract.ts';
import { parseKeyValues } from './key-values.ts';
import { guessed } from './run-options.ts';

const VM = { name: 'vm', summary: 'name of the VM', required: true } as const;
const DEVICE = {
  name: 'device',
  summary: 'such as block0; runtime vm device list names them',
  required: true,
} as const;
const DEFAULT_INTERVAL = 0.5;

export interface KindListing {
  readonly kind: string;
  readonly type: string;
  readonly module: string;
}

export function addDevices(commands: CommandRegistry, vms: Vms, kinds: () => Promise<readonly KindListing[]>): void {
  commands.add(
    {
      name: 'vm device list',
      summary: 'list the devices of VMs',
      args: [{ name: 'vm', summary: 'only of this VM' }],
    },
    async ({ args: [only], io }) => {
      const names = only === undefined ? (await vms.list()).map(({ name }) => name) : [only];
      const details = await Promise.all(names.map((name) => vms.inspect(name)));
      await io.data(
        details.flatMap(({ name, devices }) =>
          devices.map(({ id, kind, type, slot, pid, restarts, state }) => {
            return { vm: name, device: id, kind, type, slot, pid: pid ?? null, restarts, state };
          }),
        ),
      );
    },
  );

  commands.add({ name: 'vm device kinds', summary: 'list the kinds of devices there are' }, async ({ io }) => {
    await io.data(await kinds());
  });

  commands.add(
    { name: 'vm device inspect', summary: 'show what a device says of itself', args: [VM, DEVICE] },
    async ({ args: [vm = '', device = ''], io }) => {
      await io.data(await vms.describeDevice(vm, device));
    },
  );

  commands.add(
    {
      name: 'vm device reload',
      summary: 'put the code of a device as it is now into its running process',
      description:
        'The guest does not notice: rings, memory and requests stay, and the state of the old code is handed over.',
      args: [VM, DEVICE],
    },
    async ({ args: [vm = '', device = ''], io }) => {
      const { ms } = await vms.reloadDevice(vm, device);
      await io.data({ vm, device, ms: Math.round(ms * 10) / 10 });
    },
  );

  commands.add(
    {
      name: 'vm device restart',
      summary: 'end the process of a device and have it come back',
      description: 'Requests that are in flight are done again by the new process.',
      args: [VM, DEVICE],
    },
    async ({ args: [vm = '', device = ''], io }) => {
      const began = performance.now();
      await vms.restartDevice(vm, device);
      await io.data({ vm, device, ms: Math.round(performance.now() - began) });
    },
  );

  commands.add(
    {
      name: 'vm device request',
      summary: 'ask something of the code of a device',
      description:
        'For example, to have a disk take the new size of its file: runtime vm device request dev block0 resize',
      args: [VM, DEVICE, { name: 'method', summary: 'up to the kind of device', required: true }],
      options: { params: { type: 'string', summary: 'key=value,…' } },
    },
    async ({ args: [vm = '', device = '', method = ''], options, io }) => {
      const params = options.params === undefined ? {} : guessed(parseKeyValues(options.params, '--params'));
      await io.data((await vms.requestDevice(vm, device, method, params)) ?? null);
    },
  );

  commands.add(
    {
      name: 'vm device trace',
      summary: 'show the requests of a device as they happen, until ^C',
      description:
        'One line when a request is taken (<), one when it is given back (>), by its number in the queue. ' +
        'What comes too quickly to be shown is counted.',
      args: [VM, DEVICE],
      options: {
        counters: { type: 'boolean', summary: 'how its counters change instead' },
        interval: { type: 'number', summary: 'seconds between two looks', default: DEFAULT_INTERVAL },
      },
    },
    async ({ args: [vm = '', device = ''], options, io, signal }) => {
      const look = options.counters ? watchCounters(vms, vm, device) : watchRequests(vms, vm, device);
      await look();
      // Requests are forgotten after two seconds.
      const ms = Math.min(Math.max(options.interval, 0.1), options.counters ? 3600 : 1) * 1000;
      for (;;) {
        await sleep(systemClock, ms, signal).catch(() => {});
        if (signal.aborted) return;
        for (const line of await look()) await io.out(line);
      }
    },
  );

  commands.add(
    {
      name: 'vm device attach',
      summary: 'plug a device into a running VM',
      args: [VM, { name: 'device', summary: 'KIND[,key=value…]', required: true }],
    },
    async ({ args: [vm = '', text = ''], io }) => {
      const { kind, id, ...given } = guessed(parseKeyValues(text, 'device', 'kind'));
      // The runtime works in another folder.
      const options = typeof given.path === 'string' ? { ...given, path: resolve(io.cwd, given.path) } : given;
      const named = typeof id === 'string' ? { id } : {};
      const device = await vms.attach(vm, { kind: String(kind), ...named, options });
      await io.data({ vm, device });
    },
  );

  commands.add(
    { name: 'vm device detach', summary: 'unplug a device from a running VM', args: [VM, DEVICE] },
    async ({ args: [vm = '', device = ''], io }) => {
      await io.progress('waiting for the guest to let go of it');
      await vms.detach(vm, device);
    },
  );
}

/** What to print at each look. */
type Look = () => Promise<readonly string[]>;

function watchRequests(vms: Vms, vm: string, device: string): Look {
  return async () => {
    const { records, missed } = await vms.traceDevice(vm, device);
    const lines = records.map(({ us, queue, what, head, readable, writable, tookUs }) => {
      const sizes = what === 'pop' ? `reads ${readable}, room for ${writable}` : `wrote ${writable}`;
      const took = tookUs === undefined ? '' : `, took ${tookUs} µs`;
      return `${(us / 1e6).toFixed(6)} queue ${queue} ${what === 'pop' ? '<' : '>'} ${head} ${sizes}${took}`;
    });
    return missed === 0 ? lines : [...lines, `… ${missed} more were not shown …`];
  };
}

function watchCounters(vms: Vms, vm: string, device: string): Look {
  let before: Readonly<Record<string, number>> | undefined;
  return async () => {
    const now = (await vms.stats(vm))[device] ?? {};
    const changed = Object.entries(now).flatMap(([name, value]) => {
      const difference = value - (before?.[name] ?? 0);
      return difference === 0 ? [] : [`${name} ${difference > 0 ? '+' : ''}${difference}`];
    });
    before = now;
    return [`${new Date().toISOString().slice(11, 23)} ${changed.join(', ') || 'nothing'}`];
  };
}
