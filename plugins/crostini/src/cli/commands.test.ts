import type { Vms } from '@runtime/plugin-vmm/contract';
import { definePlugin } from '@runtime/sdk';
import { createTestRuntime, type RunCommandOptions } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import type { CiceroneManager } from '../cicerone/cicerone-manager.ts';
import type { ConciergeManager } from '../concierge/concierge-manager.ts';
import { newDesk, serve } from '../concierge/desk.ts';
import type { LogKeeper } from '../concierge/log-keeper.ts';
import type { TerminaVm } from '../contract.ts';
import type { ContainerName } from '../contract-containers.ts';
import type { Disks } from '../contract-disks.ts';
import { addCommands } from './index.ts';
import { startRequest } from './start.ts';

const given = { cpus: undefined, mem: undefined, profile: undefined, timeout: undefined };

test('options become a request', () => {
  expect(startRequest('foo', given)).toEqual({ name: 'foo' });
  expect(startRequest('foo', { cpus: 2, mem: '2G', profile: 'fast', timeout: 90 })).toEqual({
    ...{ name: 'foo', cpus: 2, memoryMib: 2048, profile: 'fast', timeoutMs: 90_000 },
  });
  expect(startRequest('foo', { ...given, mem: '300' })).toEqual({ name: 'foo', memoryMib: 300 });
});

test.each([
  [{ mem: '2T' }, 'neither MiB'],
  [{ mem: '64' }, 'whole number from 128'],
  [{ mem: '9999999G' }, 'whole number from 128'],
  [{ cpus: 1.5 }, 'whole number from 1 to 64'],
  [{ timeout: 0 }, 'whole number from 1'],
])('refuses %j', (wrong, why) => {
  expect(() => startRequest('foo', { ...given, ...wrong })).toThrow(why);
});

const vm: TerminaVm = {
  ...{ name: 'foo', owner: 'ab', machine: 't-foo', state: 'running', type: 'termina', profile: 'full' },
  ...{ image: 'i', cid: 32, pid: 1, ipv4: '100.115.92.26', memoryMib: 512, cpus: 1, startedAt: '' },
};

/** One VM with a disk; what is done to them is written down. */
async function run(command: string, options: RunCommandOptions, lastsOnlyHere = false) {
  const done: string[] = [];
  const gone = Promise.withResolvers<boolean>();
  const manager = {
    start: async ({ name }: { readonly name: string }) => {
      done.push(`start ${name}`);
      setTimeout(() => gone.resolve(true), 20);
      return { ...vm, name };
    },
    stopVm: async (name: string) => void done.push(`stop ${name}`),
    stopAllVms: async () => void done.push('stop all'),
    listVms: async () => [vm, { ...vm, name: 'bar', suspended: true, profile: 'fast' }],
    getVm: async () => vm,
    suspendVm: async (name: string) => void done.push(`suspend ${name}`),
    resumeVm: async (name: string) => void done.push(`resume ${name}`),
    untilGone: () => gone.promise,
  } as unknown as ConciergeManager;
  const disks = {
    list: async ({ vm }: { readonly vm: string }) => (vm === 'foo' ? [{ vm }] : []),
    destroy: async ({ vm }: { readonly vm: string }) => void done.push(`destroy ${vm}`),
  } as unknown as Disks;
  const containers = {
    listContainers: async () => [{ name: 'penguin', vm: 'termina', state: 'running', username: 'ada' }],
    stopContainer: async ({ vm, container }: ContainerName) => void done.push(`stop ${container} in ${vm}`),
    deleteContainer: async ({ container }: ContainerName) =>
      done.push(`delete ${container}`) > 0 && container !== 'gone',
  } as unknown as CiceroneManager;
  const logs = {
    has: (key: { readonly name: string }) => key.name === 'gone',
    remove: ({ name }: { readonly name: string }) => void done.push(`remove logs of ${name}`),
    crashes: async () => [{ time: 0, source: 'crash', priority: 'error', text: 'tremplin ended\u0007' }],
  } as unknown as LogKeeper;
  const vms = {
    balloon: async () => ({ actualMib: 300 }),
    inspect: async () => ({ accelerator: 'kvm', directory: '/run/foo', params: '' }),
  } as unknown as Vms;
  const desk = newDesk();
  serve(desk, manager);
  const plugin = definePlugin({
    name: 'test-commands',
    version: '1.0.0',
    setup: (ctx) =>
      addCommands(ctx.commands, {
        ...{ manager, disks, containers, desk, logs, vms, verity: async () => false, lastsOnlyHere },
      }),
  });
  await using runtime = await createTestRuntime({ plugins: [plugin] });
  return { ...(await runtime.run(command, options)), done };
}

test('start tells what runs, and stays only where nothing else keeps the VM', async () => {
  expect(await run('start', {})).toMatchObject({ done: ['start termina'], data: [{ name: 'termina' }], err: [] });
  const alone = await run('start', { args: ['foo'] }, true);
  expect(alone).toMatchObject({
    done: ['start foo'],
    err: [expect.stringContaining('runtime stop foo; what is on its disk')],
  });
});

test('stop takes names, or all', async () => {
  expect(await run('stop', { args: ['foo', 'bar'] })).toMatchObject({ done: ['stop foo', 'stop bar'] });
  expect(await run('stop', { options: { all: true } })).toMatchObject({ done: ['stop all'] });
  const misspelt = await run('stop', { args: ['foo', 'fooo'] });
  expect(misspelt).toMatchObject({ code: 0, err: ['VM fooo does not run'] });
  await expect(run('stop', { args: ['foo'], options: { all: true } })).rejects.toThrow('names, too');
});

test('list shows the VMs, or their names alone', async () => {
  expect(await run('list', {})).toMatchObject({
    data: [
      [
        { name: 'bar', state: 'suspended' },
        { name: 'foo', state: 'running', ipv4: '100.115.92.26', 'mem-mib': 300 },
      ],
    ],
  });
  expect(await run('list', { options: { quiet: true } })).toMatchObject({ out: ['bar', 'foo'], data: [] });
});

test('delete asks, unless told not to', async () => {
  const all = ['stop foo', 'destroy foo', 'remove logs of foo'];
  expect(await run('delete', { args: ['foo'], input: 'n\n' })).toMatchObject({ code: 1, done: [] });
  expect(await run('delete', { args: ['foo'], input: '' })).toMatchObject({ code: 1, done: [] });
  expect(await run('delete', { args: ['foo'], input: 'yes\n' })).toMatchObject({ code: 0, done: all });
  expect(await run('delete', { args: ['foo'], options: { yes: true } })).toMatchObject({ code: 0, done: all });
  const gone = ['stop gone', 'remove logs of gone'];
  expect(await run('delete', { args: ['gone'], options: { yes: true } })).toMatchObject({ code: 0, done: gone });
  await expect(run('delete', { args: ['never'], options: { yes: true } })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_VM_NOT_FOUND',
  });
});

test('list shows those that are asked for', async () => {
  const names = async (...filter: string[]) => (await run('list', { options: { quiet: true, filter } })).out;
  expect(await names('state=running')).toEqual(['foo']);
  expect(await names('state=suspended', 'state=running')).toEqual(['bar', 'foo']);
  expect(await names('state=suspended', 'profile=full')).toEqual([]);
  expect(await names('name=foo')).toEqual(['foo']);
  for (const wrong of ['colour=red', 'state', '=x', '__proto__=x', 'constructor=x']) {
    await expect(names(wrong)).rejects.toMatchObject({ code: 'CROSTINI_ERR_USAGE' });
  }
});

test('info tells what memory a VM has now, and what crashed in it', async () => {
  expect(await run('info', { args: ['foo'] })).toMatchObject({
    data: [
      {
        ...{ name: 'foo', state: 'running', 'memory-mib': 512, 'memory-now-mib': 300, accelerator: 'kvm' },
        crashes: [{ time: '1970-01-01T00:00:00.000Z', what: 'tremplin ended\\x07' }],
      },
    ],
  });
});

test('VMs are suspended and resumed', async () => {
  expect(await run('suspend', { args: ['foo', 'bar'] })).toMatchObject({ done: ['suspend foo', 'suspend bar'] });
  expect(await run('resume', {})).toMatchObject({ done: ['resume termina'] });
});

test('containers are listed, stopped and deleted', async () => {
  expect(await run('container list', {})).toMatchObject({
    data: [[{ name: 'penguin', vm: 'termina', state: 'running', user: 'ada', ipv4: null }]],
  });
  expect(await run('container list', { options: { quiet: true } })).toMatchObject({ out: ['penguin'], data: [] });
  expect(await run('container stop', {})).toMatchObject({ done: ['stop penguin in termina'] });
  expect(await run('container stop', { args: ['x'], options: { vm: 'foo' } })).toMatchObject({
    done: ['stop x in foo'],
  });
  expect(await run('container delete', { args: ['x'], input: 'n\n' })).toMatchObject({ code: 1, done: [] });
  expect(await run('container delete', { args: ['x'], input: 'y\n' })).toMatchObject({ code: 0, done: ['delete x'] });
  await expect(run('container delete', { args: ['gone'], options: { yes: true } })).rejects.toMatchObject({
    code: 'CROSTINI_ERR_CONTAINER_NOT_FOUND',
  });
});
