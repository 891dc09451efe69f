import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { definePlugin } from '@runtime/sdk';
import { createTestRuntime, type TestRuntime } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import type { ConciergeManager } from '../concierge/concierge-manager.ts';
import type { LogKeeper } from '../concierge/log-keeper.ts';
import type { StartTermina } from '../contract.ts';
import { diskRig } from '../disks/test-rig.ts';
import type { CommandParts } from './index.ts';
import { addVmc } from './vmc.ts';
import { addOriginalVsh } from './vsh.ts';

const MIB = 2 ** 20;

async function rig() {
  const stack = new AsyncDisposableStack();
  const disks = stack.use(diskRig());
  const done: (string | StartTermina)[] = [];
  const manager = {
    start: async (request: StartTermina) => void done.push(request),
    stopVm: async (name: string) => void done.push(`stop ${name}`),
    endpoint: async (name: string, { owner = '' } = {}) => {
      done.push(`shell ${name} ${owner}`);
      return { cid: 3, directory: join(disks.folder, 'nowhere') };
    },
  } as unknown as ConciergeManager;
  const logs = { has: ({ name }: { readonly name: string }) => name === 'a', text: async () => 'one\ntwo\n' };
  const parts = { manager, disks: disks.disks, logs: logs as unknown as LogKeeper } as unknown as CommandParts;
  const plugin = definePlugin({
    name: 'vmc',
    setup: ({ commands }) => {
      addVmc(commands, parts);
      addOriginalVsh(commands, manager);
    },
  });
  const runtime: TestRuntime = stack.use(await createTestRuntime({ plugins: [plugin] }));
  const { folder } = disks;
  return { runtime, done, folder, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

test('disks are made, listed, resized, exported, imported and destroyed, and say so as on ChromeOS', async () => {
  await using all = await rig();
  const run = async (command: string, args: string[], options = {}, input = '') =>
    (await all.runtime.run(`vmc ${command}`, { args, options, input })).out;
  const file = join(all.folder, 'a.zst');
  await expect(run('create', ['a'], { 'vm-type': 'BOREALIS' })).rejects.toMatchObject({ code: 'CROSTINI_ERR_USAGE' });
  expect(await run('create', ['a'], { size: '4M' })).toEqual(['Operation completed successfully']);
  expect(await run('list', [])).toEqual([`a (${4 * MIB} bytes, raw)`, `Total Size (bytes): ${4 * MIB}`]);
  const exported = await run('export', ['a', file], { digest: true });
  expect(exported).toEqual([
    expect.stringMatching(/^Export in progress: [\da-f-]{36}$/),
    'Operation completed successfully',
  ]);
  const uuid = exported[0]?.split(' ').at(-1) ?? '';
  expect(await run('disk-op-status', [uuid])).toEqual(['Operation completed successfully']);
  expect(readFileSync(`${file}.sha256.txt`, 'utf8')).toMatch(/^[\dA-F]{64}\n$/);
  expect(await run('import', ['b', file])).toEqual([
    expect.stringMatching(/^Import in progress: /),
    'Operation completed successfully',
  ]);
  expect((await run('resize', ['b', String(8 * MIB)])).at(-1)).toBe('Operation completed successfully');
  expect((await run('destroy', ['b'], {}, 'n\n'))[0]).toBe("WARNING: this will delete all data stored in VM 'b'");
  expect(await run('destroy', ['b'], {}, 'y\n')).toHaveLength(1);
  expect(await run('destroy', ['a'], { yes: true })).toEqual([]);
  expect(await run('list', [])).toEqual(['Total Size (bytes): 0']);
  expect(all.done).toEqual(['stop b', 'stop a']);
  const extra = join(all.folder, 'extra.img');
  expect(await run('create-extra-disk', [extra], { size: '1G' })).toEqual([`A raw disk is created at ${extra}.`]);
  expect(statSync(extra).size).toBe(2 ** 30);
});

test('a VM is started as it is asked for, with a shell unless that is not wanted', async () => {
  await using all = await rig();
  const start = (options: Readonly<Record<string, unknown>>) => all.runtime.run('vmc start', { args: ['a'], options });
  const options = {
    ...{ 'no-shell': true, 'enable-gpu': true, timeout: 90, 'kernel-param': ['quiet'], 'extra-disk': ['/e.img'] },
    ...{ kernel: '/k', rootfs: '/r', 'vm-type': 'CROSTINI' },
  };
  await start(options);
  expect(all.done).toEqual([
    {
      ...{ name: 'a', profile: 'full', timeoutMs: 90_000, kernelParams: ['quiet'] },
      ...{ files: { kernel: '/k', rootfs: '/r' }, disks: [{ path: '/e.img', readOnly: false }] },
    },
  ]);
  // Nobody listens there.
  await expect(start({})).rejects.toMatchObject({ code: 'CROSTINI_ERR_NOT_RUN' });
  expect(all.done.at(-1)).toBe('shell a ');
  for (const refused of [
    { bios: 'x' },
    { timeout: 0 },
    { timeout: 1e6 },
    { 'vtpm-proxy': true },
    { 'vm-type': 'BAGUETTE' },
    { 'oem-string': 'x' },
  ])
    await expect(start(refused)).rejects.toMatchObject({ code: 'CROSTINI_ERR_USAGE' });
});

test('logs are shown or written, never over a file', async () => {
  await using all = await rig();
  const logs = (...args: string[]) => all.runtime.run('vmc logs', { args });
  expect((await logs('a')).out).toEqual(['one\ntwo']);
  const file = join(all.folder, 'log');
  await logs('a', file);
  expect(readFileSync(file, 'utf8')).toBe('one\ntwo\n');
  writeFileSync(file, 'mine');
  await expect(logs('a', file)).rejects.toThrow('EEXIST');
  expect(existsSync(file) && readFileSync(file, 'utf8')).toBe('mine');
  await expect(logs('other')).rejects.toMatchObject({ code: 'CROSTINI_ERR_VM_NOT_FOUND' });
});

test.each(['share', 'usb-attach', 'container', 'adjust'])('vmc %s says why it is not here', async (name) => {
  await using all = await rig();
  const asked = all.runtime.run(`vmc ${name}`, { args: ['a', 'b'] });
  await expect(asked).rejects.toMatchObject({ code: 'CROSTINI_ERR_USAGE' });
});

test('vsh finds the VM of an owner, and knows no containers', async () => {
  await using all = await rig();
  const vsh = (options: Readonly<Record<string, unknown>>) => all.runtime.run('vsh', { args: ['true'], options });
  const asked = vsh({ vm_name: 'a', owner_id: 'ab12', target_container: '/vm_shell' });
  await expect(asked).rejects.toMatchObject({ code: 'CROSTINI_ERR_NOT_RUN' });
  expect(all.done).toEqual(['shell a ab12']);
  await expect(vsh({ target_container: 'penguin' })).rejects.toMatchObject({ code: 'CROSTINI_ERR_USAGE' });
});
