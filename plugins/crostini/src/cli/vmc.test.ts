import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { definePlugin } from '@runtime/sdk';
import { createTestRuntime, type TestRuntime } from '@runtime/sdk/testing';
import { expect, test } from 'vitest';
import type { GlobalValues } from '../../../../sdk/src/cli/context.ts';
import { parseForeign } from '../../../../sdk/src/cli/parse.ts';
import type { ConciergeManager } from '../concierge/concierge-manager.ts';
import type { LogKeeper } from '../concierge/log-keeper.ts';
import type { StartTermina } from '../contract.ts';
import type { ContainerImage, ContainerName } from '../contract-containers.ts';
import { diskRig } from '../disks/test-rig.ts';
import { errors } from '../errors.ts';
import type { CommandParts } from './index.ts';
import { pathOf } from './removable-media.ts';
import { addVmc } from './vmc.ts';
import { addOriginalVsh } from './vsh.ts';

const MIB = 2 ** 20;
const GLOBALS: GlobalValues = {
  ...{ plugins: undefined, config: undefined, set: [], isolation: [], logLevel: undefined, name: undefined },
  ...{ format: 'table', debug: false },
};

async function rig() {
  const stack = new AsyncDisposableStack();
  const disks = stack.use(diskRig());
  const done: (string | StartTermina)[] = [];
  const endpoint = { cid: 3, directory: join(disks.folder, 'nowhere') };
  const manager = {
    start: async (request: StartTermina) => void done.push(request),
    stopVm: async (name: string, { owner = '' } = {}) => void done.push(`stop ${name}${owner}`),
    getVm: async () => ({ profile: 'full' }),
    endpoint: async (name: string, { owner = '' } = {}) => {
      done.push(`shell ${name} ${owner}`);
      return endpoint;
    },
  } as unknown as ConciergeManager;
  const containers = {
    openShell: async ({ vm, owner = '', container }: ContainerName) => {
      done.push(`container ${vm} ${owner} ${container}`);
      throw errors.CROSTINI_ERR_CONTAINER_STATE({ details: { vm, container, verb: 'entered' } });
    },
    inTurn: (_name: ContainerName, work: () => Promise<unknown>) => work(),
    listContainers: async () => [{ vm: 'a', name: 'penguin', state: 'running' }],
    startLxd: async (vm: string) => void done.push(`lxd in ${vm}`),
    createContainer: async (_name: ContainerName, image: ContainerImage) => void done.push(JSON.stringify(image)),
    setUpContainerUser: async () => void done.push('user'),
    startContainer: async ({ container }: ContainerName) => void done.push(`start ${container}`),
  };
  const logs = { has: ({ name }: { readonly name: string }) => name === 'a', text: async () => 'one\ntwo\n' };
  const parts = {
    manager,
    disks: disks.disks,
    logs: logs as unknown as LogKeeper,
    containers,
  } as unknown as CommandParts;
  const plugin = definePlugin({
    name: 'vmc',
    setup: ({ commands }) => {
      addVmc(commands, parts);
      addOriginalVsh(commands, { manager, containers });
    },
  });
  const runtime: TestRuntime = stack.use(await createTestRuntime({ plugins: [plugin] }));
  const { folder } = disks;
  return { runtime, done, folder, endpoint, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

const AT_TERMINAL = { inputIsTTY: true };

test('disks are made, listed, resized, exported, imported and destroyed, and say so as on ChromeOS', async () => {
  await using all = await rig();
  const run = async (command: string, args: string[], options = {}, input = '') =>
    (await all.runtime.run(`vmc ${command}`, { args, options, input, terminal: AT_TERMINAL })).out;
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

test('a disk is only destroyed when somebody says so', async () => {
  await using all = await rig();
  await all.runtime.run('vmc create', { args: ['a'], options: { size: '1M' } });
  const destroy = (input: string, terminal = {}) =>
    all.runtime.run('vmc destroy', { args: ['a'], input, terminal }).then(({ code }) => code);
  // Not even by what is piped in.
  await expect(destroy('y\n')).rejects.toThrow('no terminal to ask at: say it with -y, or with VMC_NONINTERACTIVE=1');
  expect(await destroy('n\n', AT_TERMINAL)).toBe(1);
  expect(await destroy('', AT_TERMINAL)).toBe(1);
  expect(all.done).toEqual([]);
  expect(await destroy('yes\n', AT_TERMINAL)).toBe(0);
});

test('all of it is done with the VMs of an owner', async () => {
  await using all = await rig();
  const owner_id = 'ab12';
  const run = async (command: string, args: string[], options = {}) =>
    (await all.runtime.run(`vmc ${command}`, { args, options: { owner_id, ...options } })).out;
  const file = join(all.folder, 'a.zst');
  await run('create', ['a'], { size: '1M' });
  await run('resize', ['a', '2M']);
  await run('export', ['a', file]);
  await run('import', ['b', file]);
  await expect(run('list', [])).resolves.toHaveLength(3);
  await expect(run('list', [], { owner_id: '' })).resolves.toEqual(['Total Size (bytes): 0']);
  await run('destroy', ['b'], { yes: true });
  await run('start', ['a'], { 'no-shell': true });
  await run('stop', ['a']);
  expect(all.done).toEqual([
    'stop bab12',
    { name: 'a', owner: 'ab12', profile: 'full', kernelParams: [], disks: [] },
    'stop aab12',
  ]);
  await expect(run('list', [], { owner_id: 'me' })).rejects.toThrow('CROS_USER_ID_HASH');
});

test('a file can lie on a removable medium', async () => {
  await using all = await rig();
  const places = [join(all.folder, 'none'), all.folder];
  mkdirSync(join(all.folder, 'stick'));
  expect(pathOf('/home/me', 'a.zst')).toBe('/home/me/a.zst');
  expect(pathOf('/home/me', 'b/a.zst', 'stick', places)).toBe(join(all.folder, 'stick/b/a.zst'));
  for (const [file, medium, why] of [
    ['a.zst', '..', 'no name of a medium'],
    ['a.zst', 'a/b', 'no name of a medium'],
    ['../a.zst', 'stick', 'below the medium'],
    ['/etc/passwd', 'stick', 'below the medium'],
    ['a.zst', 'other', `there is no medium "other" in ${places[0]}`],
  ] as const)
    expect(() => pathOf('/', file, medium, places)).toThrow(why);
  const exported = all.runtime.run('vmc export', { args: ['a', 'a.zst', 'no-such-stick'] });
  await expect(exported).rejects.toThrow('there is no medium "no-such-stick"');
});

/** What ChromeOS' vmc takes that is about VMs, and what became of it here. */
const TAKEN: readonly (readonly [line: string, outcome: string])[] = [
  ['start --no-shell a', 'ok'],
  ['start --no-shell --enable-gpu --enable-big-gl --enable-virtgpu-native-context --enable-audio-capture a', 'ok'],
  ['start --no-shell --no-start-lxd --dlc-id d --tools-dlc t a', 'ok'],
  ['start --no-shell --kernel k --initrd i --rootfs r --extra-disk e a', 'ok'],
  ['start --no-shell --kernel-param a=1 --kernel-param b --timeout 90 --vm-type TERMINA a', 'ok'],
  ['start --no-shell --user ada a', 'ok'],
  ['start a', 'CROSTINI_ERR_NOT_RUN'],
  ['start --user ada --user-uid 1001 --user-groups a,b a', 'CROSTINI_ERR_VSH_UNREACHABLE'],
  ['start --user-uid 1001 a', '--user-uid: it goes with --user'],
  ['start --user-groups x a', '--user-groups: it goes with --user and --user-uid'],
  ['start --enable-dgpu-passthrough a', '--enable-dgpu-passthrough: VMs cannot be given a GPU'],
  ['start --vtpm-proxy a', '--vtpm-proxy: VMs have no TPM'],
  ['start --writable-rootfs a', '--writable-rootfs: the root file system'],
  ['start --bios b a', '--bios: VMs boot their kernel'],
  ['start --pflash p a', '--pflash: VMs boot their kernel'],
  ['start --bios-dlc d a', '--bios-dlc: VMs boot their kernel'],
  ['start --oem-string s --oem-string t a', '--oem-string: VMs have no OEM strings'],
  ['start --vm-type BOREALIS a', '--vm-type: there are no VMs of type "BOREALIS"'],
  ['start --timeout x a', 'SDK_ERR_USAGE'],
  ['start', 'SDK_ERR_USAGE'],
  ['start a b', 'SDK_ERR_USAGE'],
  ['start --unknown a', 'SDK_ERR_USAGE'],
  ['stop a', 'ok'],
  ['stop', 'SDK_ERR_USAGE'],
  ['create --size 4M a', 'ok'],
  ['create --size 4M --vm-type termina a', 'ok'],
  ['create --size x a', 'CROSTINI_ERR_DISK_SIZE'],
  ['create -p a', '--pluginvm: there are no VMs'],
  ['create --source s a', '--source: only the VMs of other types'],
  ['create a disk.iso', '--media: there are no VMs'],
  ['create a disk.iso stick', '--media: there are no VMs'],
  ['create a -- param', '--media: there are no VMs'],
  ['create', 'SDK_ERR_USAGE'],
  ['create-extra-disk --size 1M FOLDER/e.img', 'ok'],
  ['create-extra-disk --size 1M e.img no-such-stick', '--removable: there is no medium'],
  ['create-extra-disk e.img', 'SDK_ERR_USAGE'],
  ['destroy -y a', 'CROSTINI_ERR_DISK_NOT_FOUND'],
  ['destroy --yes a', 'CROSTINI_ERR_DISK_NOT_FOUND'],
  ['destroy a', '--yes: there is no terminal'],
  ['disk-op-status 00000000-0000-0000-0000-000000000000', 'CROSTINI_ERR_DISK_JOB_NOT_FOUND'],
  ['disk-op-status', 'SDK_ERR_USAGE'],
  ['export a FOLDER/a.zst', 'CROSTINI_ERR_DISK_NOT_FOUND'],
  ['export -d -f a FOLDER/a.zst', 'CROSTINI_ERR_DISK_NOT_FOUND'],
  ['export a a.zst no-such-stick', '--removable: there is no medium'],
  ['export a', 'SDK_ERR_USAGE'],
  ['import --vm-type termina a FOLDER/a.zst', 'CROSTINI_ERR_DISK_FILE'],
  ['import a a.zst no-such-stick', '--removable: there is no medium'],
  ['import a', 'SDK_ERR_USAGE'],
  ['resize a 8388608', 'CROSTINI_ERR_DISK_NOT_FOUND'],
  ['resize a', 'SDK_ERR_USAGE'],
  ['list', 'ok'],
  ['logs a', 'ok'],
  ['logs b', 'CROSTINI_ERR_VM_NOT_FOUND'],
  ['adjust a op x', 'it is for the VMs of ChromeOS'],
  ['launch desc', 'those of ChromeOS'],
  ['inspect-backup a.zst stick', 'when it is imported'],
  ['set-crostini-vm-type baguette', 'made of Termina VMs'],
  ['share a /home', 'folders cannot be shared'],
  ['unshare a /home', 'folders cannot be shared'],
  ['container a', 'SDK_ERR_USAGE'],
  ['container a penguin', 'CROSTINI_ERR_CONTAINER_STATE'],
  ['container a penguin --privileged false --timeout 5', 'CROSTINI_ERR_CONTAINER_STATE'],
  ['container a penguin --privileged true', 'never privileged'],
  ['container a penguin --timeout 0', '--timeout'],
  ['container a penguin https://images debian/trixie', 'CROSTINI_ERR_CONTAINER_STATE'],
  ['container a penguin https://images', 'told by two arguments'],
  ['container a penguin /rootfs /metadata --timeout 5', 'CROSTINI_ERR_CONTAINER_STATE'],
  ['update-container-devices a penguin dev:enable', 'devices cannot be given to containers'],
  ['usb-attach a 1:2 penguin', 'USB devices cannot be given'],
  ['usb-detach a 3', 'USB devices cannot be given'],
  ['usb-list a', 'USB devices cannot be given'],
  ['key-attach a /dev/hidraw0', 'USB devices cannot be given'],
  ['allow-all-io-devices', 'USB devices cannot be given'],
  ['list-primary-io-devices', 'USB devices cannot be given'],
  ['unset-primary-keyboard', 'USB devices cannot be given'],
  ['unset-primary-mouse', 'USB devices cannot be given'],
];

test.each(TAKEN)('vmc %s: %s', async (line, outcome) => {
  await using all = await rig();
  expect(await typed(all, `vmc ${line}`)).toContain(outcome);
});

/** As the command line parses it. @returns ok, or the error with its code */
async function typed(all: Awaited<ReturnType<typeof rig>>, line: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const [program, ...rest] = line.replace('FOLDER', all.folder).split(' ');
  const command = program === 'vsh' ? 'vsh' : `${program} ${rest.shift()}`;
  const spec = all.runtime.commands.list().find(({ name }) => name === command);
  if (spec === undefined) return `no ${command}`;
  const before = { ...process.env };
  Object.assign(process.env, env);
  try {
    const parsed = parseForeign(spec, rest, GLOBALS, { columns: 80, color: false });
    if ('text' in parsed) return parsed.text;
    const { args, options } = parsed.call;
    const { code } = await all.runtime.run(command, { args, options });
    return code === 0 ? 'ok' : `exit code ${code}`;
  } catch (e) {
    return `${(e as { readonly code?: string }).code}: ${(e as Error).message}`;
  } finally {
    for (const name of Object.keys(env)) if (before[name] === undefined) delete process.env[name];
  }
}

test('the environment has the owner, and can answer for who is not there', async () => {
  await using all = await rig();
  const env = { CROS_USER_ID_HASH: 'ab12', VMC_NONINTERACTIVE: '1' };
  expect(await typed(all, 'vmc create --size 1M a', env)).toBe('ok');
  expect(await typed(all, 'vmc destroy a', { VMC_NONINTERACTIVE: '' })).toContain('CROSTINI_ERR_DISK_NOT_FOUND');
  expect(await typed(all, 'vmc destroy a', env)).toBe('ok');
  expect(await typed(all, 'vsh --vm_name=b -- true', env)).toContain('CROSTINI_ERR_NOT_RUN');
  expect(await typed(all, 'vsh --vm_name=b --owner_id=cd34 -- true', env)).toContain('CROSTINI_ERR_NOT_RUN');
  expect(all.done).toEqual(['stop a', 'stop aab12', 'shell b ab12', 'shell b cd34']);
});

test('vmc makes a container of the image that it is told', async () => {
  await using all = await rig();
  await typed(all, 'vmc container a penguin https://images debian/trixie');
  expect(all.done).toEqual([
    ...['lxd in a', '{"server":"https://images","alias":"debian/trixie"}', 'user', 'start penguin'],
    'container a  penguin',
  ]);
});

test('vsh finds the VM of an owner, and a container of it', async () => {
  await using all = await rig();
  const vsh = (options: Readonly<Record<string, unknown>>) => all.runtime.run('vsh', { args: ['true'], options });
  const asked = vsh({ vm_name: 'a', owner_id: 'ab12', target_container: '/vm_shell' });
  await expect(asked).rejects.toMatchObject({ code: 'CROSTINI_ERR_NOT_RUN' });
  expect(all.done).toEqual(['shell a ab12']);
  const inside = vsh({ vm_name: 'a', owner_id: 'ab12', target_container: 'penguin' });
  await expect(inside).rejects.toMatchObject({ code: 'CROSTINI_ERR_CONTAINER_STATE' });
  expect(all.done.at(-1)).toBe('container a ab12 penguin');
});
