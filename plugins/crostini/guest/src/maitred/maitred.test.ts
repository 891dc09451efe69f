// All of maitred on a machine that is a folder, called over a socket as the host calls it.

import { once } from 'node:events';
import { existsSync, lstatSync, mkdirSync, readFileSync, readlinkSync, statSync, symlinkSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { GrpcStatus } from '@runtime/sdk/errors';
import { LinuxError, MOUNT } from '@runtime/sdk/linux';
import { Protobuf } from '@runtime/sdk/protobuf';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RpcClient } from '../../../src/rpc/rpc.ts';
import { vmGuestTable } from '../../../src/wire/vm-guest.ts';
import { RpcServer } from '../rpc/server.ts';
import { parseKernelParameters } from './cmdline.ts';
import { finishMachine, hostNameOf, initialiseMachine } from './init.ts';
import { kernelLines } from './log.ts';
import { Processes } from './processes.ts';
import { maitredHandlers } from './service.ts';
import { endEverything, mountPoints } from './shutdown.ts';
import { StatefulDisk } from './storage.ts';
import { type TestSystem, testSystem } from './test-system.ts';

const wire = new Protobuf(vmGuestTable);
const { invalidArgument, failedPrecondition, internal } = GrpcStatus;
let stack: AsyncDisposableStack;
let machine: TestSystem;
let isShutDown: boolean;
let call: RpcClient<typeof vmGuestTable, 'vm_tools.Maitred'>['call'];

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  machine = stack.use(testSystem());
  isShutDown = false;
  const { system, log } = machine;
  const server = new RpcServer((e) => machine.lines.push(String(e)));
  const parts = {
    ...{ system, log, disk: new StatefulDisk(system, log), processes: new Processes({ log, onFailure: () => {} }) },
    shutDown: async () => {
      isShutDown = true;
    },
    dialHost: (port: number) =>
      port === 16_384
        ? Promise.resolve({ fd: 42, close: () => void machine.calls.push(['close']) })
        : Promise.reject(new LinuxError('connect', 104)),
  };
  server.add(wire, 'vm_tools.Maitred', maitredHandlers(parts));
  const sockets = new Set<Socket>();
  const path = `${system.root}/socket`;
  const listening = createServer((socket) => {
    sockets.add(socket);
    server.accept(socket);
  }).listen(path);
  await once(listening, 'listening');
  const client = stack.use(new RpcClient(wire, 'vm_tools.Maitred', `unix:${path}`));
  ({ call } = client);
  stack.defer(() => {
    for (const socket of sockets) socket.destroy();
    listening.close();
  });
});
afterEach(() => stack.disposeAsync());

const at = (path: string): string => machine.system.root + path;
const read = (path: string): string => readFileSync(at(path), 'utf8');

test('the network is what the host says', async () => {
  machine.write('/proc/sys/net/ipv4/ip_forward', '0');
  mkdirSync(at('/run'));
  const ipv4_config = { address: 442_266_468, netmask: 0xfcff_ffff, gateway: 0x195c_7364 };
  const resolv_config = { nameservers: ['100.115.92.25'], search_domains: ['example.org'] };
  machine.failures.set('addDefaultRoute', [new LinuxError('ioctl', 17)]);
  await call.ConfigureNetwork({ ipv4_config, resolv_config });
  expect(machine.calls).toEqual([
    ['setInterfaceAddress', 'eth0', '100.115.92.26', '255.255.255.252'],
    ['setInterfaceUp', 'eth0', true],
    ['setInterfaceUp', 'lo', true],
    ['addDefaultRoute', '100.115.92.25'],
  ]);
  expect(read('/proc/sys/net/ipv4/ip_forward')).toBe('1');
  expect(read('/run/resolv.conf')).toBe(
    'nameserver 100.115.92.25\nsearch example.org\noptions single-request timeout:1 attempts:5\n',
  );
  for (const field of ['address', 'netmask', 'gateway'])
    await expect(call.ConfigureNetwork({ ipv4_config: { ...ipv4_config, [field]: 0 } })).rejects.toMatchObject({
      code: invalidArgument,
    });
  await expect(call.ConfigureNetwork({})).rejects.toMatchObject({ code: invalidArgument });
  machine.failures.set('setInterfaceAddress', [new LinuxError('ioctl', 19)]);
  await expect(call.ConfigureNetwork({ ipv4_config })).rejects.toMatchObject({ code: internal });
});

test('name servers have their defaults, and nothing but addresses and names gets into the file', async () => {
  mkdirSync(at('/run'));
  await call.SetResolvConfig({ resolv_config: {} });
  expect(read('/run/resolv.conf')).toContain('nameserver 8.8.8.8\n');
  for (const resolv_config of [
    { nameservers: ['1.2.3.4\noptions x'] },
    { nameservers: ['example.org'] },
    { search_domains: ['a b'] },
    { search_domains: ['a\nnameserver 6.6.6.6'] },
    { nameservers: Array<string>(17).fill('1.1.1.1') },
  ])
    await expect(call.SetResolvConfig({ resolv_config })).rejects.toMatchObject({ code: invalidArgument });
  await expect(call.SetResolvConfig({})).rejects.toMatchObject({ code: invalidArgument });
});

test('IPv6 begins anew, and dnsmasq hears of it', async () => {
  machine.write('/proc/sys/net/ipv6/conf/eth0/disable_ipv6', '1');
  machine.write('/proc/77/comm', 'dnsmasq\n');
  machine.write('/proc/78/comm', 'sh\n');
  await call.ResetIPv6({});
  await call.OnHostNetworkChanged({});
  expect(read('/proc/sys/net/ipv6/conf/eth0/disable_ipv6')).toBe('0');
  expect(machine.calls).toEqual([
    ['kill', 77, 'SIGHUP'],
    ['kill', 77, 'SIGHUP'],
  ]);
});

test('the clock and the time zone are set', async () => {
  await call.SetTime({ time: { seconds: 1_800_000_000n, nanos: 5 } });
  expect(machine.calls).toEqual([['setClock', 1_800_000_000n, 5]]);
  for (const time of [undefined, { seconds: 0n }, { seconds: -1n }, { seconds: 2n ** 62n }, { seconds: 1n, nanos: -1 }])
    await expect(call.SetTime({ time })).rejects.toMatchObject({ code: invalidArgument });
  machine.write('/usr/share/zoneinfo/Europe/Berlin', 'TZif');
  machine.write('/etc/localtime', 'TZif');
  await call.SetTimezone({ timezone_name: 'Europe/Berlin' });
  expect(readlinkSync(at('/etc/localtime'))).toBe('/usr/share/zoneinfo/Europe/Berlin');
  for (const timezone_name of ['', 'Europe', 'Europe/Paris', '../../../etc/localtime', 'a/../b'])
    await expect(call.SetTimezone({ timezone_name })).rejects.toMatchObject({ code: internal });
});

test('disks are mounted, and what the kernel says is in the answer', async () => {
  const request = { source: '/dev/vdc', target: '/mnt/x', fstype: 'ext4', mountflags: 3n, options: 'discard' };
  expect(await call.Mount({ ...request, create_target: true, permissions: 0o700 })).toEqual({ error: 0 });
  expect(statSync(at('/mnt/x')).mode & 0o777).toBe(0o700);
  expect(machine.calls).toEqual([
    ['mount', { source: '/dev/vdc', target: at('/mnt/x'), type: 'ext4', flags: 3, data: 'discard' }],
  ]);
  machine.failures.set('mount', [new LinuxError('mount', 16)]);
  expect(await call.Mount(request)).toEqual({ error: 16 });
  expect(await call.Mount({ ...request, target: '/mnt/external/0' })).toEqual({ error: 0 });
  expect(machine.calls).toHaveLength(2);
  for (const target of ['', 'relative', '/a/../b', '/a\0'])
    await expect(call.Mount({ ...request, target })).rejects.toMatchObject({ code: invalidArgument });
});

test('a blank disk gets a file system if that is wished', async () => {
  const request = { source: '/dev/vdc', target: '/mnt/x', fstype: 'btrfs', mkfs_if_needed: true };
  machine.failures.set('mount', [new LinuxError('mount', 22)]);
  expect(await call.Mount(request)).toEqual({ error: 0 });
  expect(machine.calls.map(([name]) => name)).toEqual(['mount', 'run', 'mount']);
  machine.failures.set('mount', [new LinuxError('mount', 22)]);
  expect(await call.Mount({ ...request, mkfs_if_needed: false })).toEqual({ error: 22 });
});

test('9p is mounted on a connection to the host', async () => {
  expect(await call.Mount9P({ port: 16_384, target: '/mnt/shared' })).toEqual({ error: 0 });
  expect(machine.calls).toEqual([
    [
      'mount',
      {
        ...{ source: '9p', target: at('/mnt/shared'), type: '9p', flags: MOUNT.noSuid | MOUNT.noDev },
        data: 'trans=fd,rfdno=42,wfdno=42,cache=none,access=any,version=9p2000.L',
      },
    ],
    ['close'],
  ]);
  expect(await call.Mount9P({ port: 5, target: '/mnt/shared' })).toEqual({ error: 104 });
});

test('the stateful disk is formatted when it is blank, mounted once, and found by what is on it', async () => {
  await expect(call.GetAvailableSpace({})).rejects.toMatchObject({ code: failedPrecondition });
  machine.write('/dev/vdb', '\0'.repeat(70_000));
  await expect(call.StartTermina({ stateful_device: '/dev/../etc/x' })).rejects.toMatchObject({
    code: invalidArgument,
  });
  machine.programs.set('btrfs', { code: 0, signal: undefined, output: '123456 bytes (…)\n' });
  machine.failures.set('mount', [new LinuxError('mount', 5)]);
  const started = await call.StartTermina({ stateful_device: '/dev/vdb' });
  expect(started).toEqual({ mount_result: 'PARTIAL_DATA_LOSS', free_bytes: 5_000_000n, free_bytes_has_value: true });
  expect(machine.calls.map(([name, first]) => (name === 'run' ? first : name))).toEqual([
    ...['mkfs.btrfs', 'mount', 'mount', 'btrfs'],
  ]);
  expect(await call.StartTermina({ stateful_device: '/dev/vdb' })).toMatchObject({ mount_result: 'SUCCESS' });
  expect(machine.calls).toHaveLength(4);
  expect(await call.GetAvailableSpace({})).toEqual({ available_space: 5_000_000n });
  expect(await call.GetResizeBounds({})).toEqual({ minimum_size: 123_456n });
  expect(await call.GetResizeStatus({})).toEqual({
    ...{ resize_in_progress: false, current_size: 10_000_000n, target_size: 10_000_000n },
  });
});

test('a disk that has a file system is never formatted', async () => {
  const text = Buffer.alloc(70_000);
  text.write('_BHRfS_M', 0x1_0040);
  machine.write('/dev/vdb', text.toString('latin1'));
  machine.failures.set('mount', [new LinuxError('mount', 5), new LinuxError('mount', 5)]);
  expect(await call.StartTermina({ stateful_device: '/dev/vdb' })).toMatchObject({
    ...{ mount_result: 'FAILURE', free_bytes_has_value: false },
  });
  expect(machine.calls.map(([name]) => name)).toEqual(['mount', 'mount']);
});

test('a user is made once, and conflicts are told', async () => {
  machine.write('/etc/passwd', 'root:x:0:0:root:/root:/bin/bash\n');
  machine.write('/etc/group', 'root:x:0:\nsudo:x:27:\n');
  const request = { username: 'ada', uid: 1000, group_names: ['sudo', 'kvm'] };
  expect(await call.SetUpUser(request)).toEqual({ success: true, failure_reason: '', username: 'ada' });
  expect(await call.SetUpUser(request)).toMatchObject({ success: true });
  expect(read('/etc/passwd').split('\n')).toEqual([
    ...['root:x:0:0:root:/root:/bin/bash', 'ada:x:1000:1000::/home/ada:/bin/bash', ''],
  ]);
  expect(read('/etc/group')).toBe('root:x:0:\nsudo:x:27:ada\nada:x:1000:\nkvm:x:1001:ada\n');
  expect(existsSync(at('/home/ada'))).toBe(true);
  for (const wrong of [
    { username: 'root' },
    { username: 'eve', uid: 1000 },
    { username: 'eve', uid: 0 },
    { username: 'eve:x:0:0' },
    { username: '' },
    { username: 'eve', uid: 1001, group_names: ['a:b'] },
  ])
    expect(await call.SetUpUser(wrong), JSON.stringify(wrong)).toMatchObject({ success: false });
});

test('the rest does what it says', async () => {
  mkdirSync(at('/dev'));
  await call.ConfigureContainerGuest({ container_token: 'token' });
  expect(read('/dev/.container_token')).toBe('token');
  await expect(call.ConfigureContainerGuest({})).rejects.toMatchObject({ code: invalidArgument });
  expect((await call.GetKernelVersion({})).kernel_release).toMatch(/^\d/);
  await call.PrepareToSuspend({});
  expect(machine.calls).toEqual([['sync']]);
  expect(await call.LaunchProcess({ argv: ['true'], wait_for_exit: true })).toEqual({ status: 'EXITED', code: 0 });
  await call.Shutdown({});
  expect(isShutDown).toBe(true);
  expect(machine.lines).toEqual([]);
});

test('a machine begins with its mounts, limits and name, and does without what it can do without', () => {
  const { system, log, calls, lines, failures } = machine;
  machine.write('/etc/hostname', '# a comment\n\ntermina\n');
  machine.write('/proc/sys/vm/max_map_count', '1');
  failures.set('mount', [new LinuxError('mount', 16), new LinuxError('mount', 16), new LinuxError('mount', 19)]);
  initialiseMachine(system, log);
  finishMachine(system, log);
  const mounts = calls
    .filter(([name]) => name === 'mount')
    .map(([, options]) => (options as { target: string }).target);
  expect(mounts.slice(0, 3)).toEqual([at('/proc'), at('/sys'), at('/dev')]);
  expect(mounts.at(-1)).toBe(at('/etc'));
  expect(lines.find((line) => line.includes('/dev has no devtmpfs'))).toBeDefined();
  expect(calls).toContainEqual(['setHostName', 'termina']);
  expect(calls).toContainEqual(['setResourceLimit', 'openFiles', 1_048_576]);
  expect(read('/proc/sys/vm/max_map_count')).toBe('262144');
  expect(statSync(at('/run/lock')).isDirectory()).toBe(true);
  expect(lstatSync(at('/var/run')).isSymbolicLink()).toBe(true);
  failures.set('mount', [new LinuxError('mount', 19)]);
  expect(() => initialiseMachine(system, log)).toThrow('ENODEV');
});

test('the end: everybody is asked, then killed, and what was mounted last goes first', async () => {
  const { system, log, calls, failures } = machine;
  machine.write('/proc/self/mounts', 'a / x rw 0 0\nb /proc x rw 0 0\nc /mnt/a x rw 0 0\nd /mnt/a/b\\040c x rw 0 0\n');
  mkdirSync(at('/proc/9'));
  symlinkSync('/bin/stubborn', at('/proc/9/exe'));
  machine.write('/proc/7/stat', '7 (a) 0 (sh)) S 1 7 7 34816 7');
  machine.write('/proc/8/stat', '8 (top) S 7 8 7 34816 8');
  machine.write('/proc/9/stat', '9 (stubborn) S 1 9 9 0 -1');
  failures.set('unmount', [new LinuxError('umount2', 16)]);
  await endEverything(system, log, { graceMs: 50, self: 1 });
  expect(calls.map(([name, ...args]) => [name, ...args.slice(0, 2)])).toEqual([
    ['kill', -1, 'SIGTERM'],
    ['kill', -1, 'SIGCONT'],
    ['kill', 7, 'SIGHUP'],
    ['kill', -1, 'SIGKILL'],
    ['sync'],
    ['unmount', at('/mnt/a/b c')],
    ['unmount', at('/mnt/a/b c'), { detach: true }],
    ['unmount', at('/mnt/a')],
    ['mount', { source: 'none', target: at('/'), flags: MOUNT.remount | MOUNT.readOnly }],
    ['sync'],
  ]);
}, 10_000);

test('small texts are read as they are meant', () => {
  expect(parseKernelParameters('quiet maitred.listen_port=77 maitred.no_startup_processes\n')).toEqual({
    ...{ listenPort: 77, startupProcesses: false, provisionStateful: false, template: false },
  });
  for (const text of ['', 'maitred.listen_port=-1', 'maitred.listen_port=x', 'maitred.listen_port=99999999999'])
    expect(parseKernelParameters(text).listenPort).toBe(8888);
  expect(hostNameOf('')).toBe('');
  expect(mountPoints('nonsense\n\nx y z\n')).toEqual([]);
  expect(kernelLines('error', `one\n\n${'x'.repeat(2000)}`)).toEqual([
    '<3>maitred: one\n',
    `<3>maitred: ${'x'.repeat(900)}\n`,
  ]);
});
