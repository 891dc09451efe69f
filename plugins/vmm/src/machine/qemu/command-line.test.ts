import { expect, test } from 'vitest';
import type { MachineDevice, MachineSpec } from '../../contract.ts';
import { qemuCommand } from './command-line.ts';

const device = (
  id: string,
  type: MachineDevice['type'],
  slot: number,
  more: Partial<MachineDevice> = {},
): MachineDevice => ({
  ...{ id, type, slot, queueSizes: [256], configSize: 0, socketFd: 20 + slot, socketPath: `/run/vm/${id}.vhost` },
  ...more,
});

const spec: MachineSpec = {
  name: 'dev',
  directory: '/run/vm',
  logDirectory: '/var/log',
  board: 'pc',
  accelerator: 'tcg',
  memoryMib: 512,
  cpus: 2,
  kernel: '/boot/vmlinux',
  initrd: '/boot/initrd',
  params: 'console=ttyS0 quiet',
  devices: [],
  natives: [],
  serials: [],
};
const parts = {
  program: '/usr/bin/qemu-system-x86_64',
  firmware: '/usr/share/qemu/qboot.rom',
  sockets: { qmp: 10, console: 11 },
  serials: [],
};

test.each([
  ['tcg', 1, '-smp 1,maxcpus=2 '],
  ['tcg', 3, '-smp 3 '],
  ['kvm', 1, '-smp 1 '],
] as const)('a guest with %s and %i CPUs, which is to keep its memory barriers', (accelerator, cpus, expected) => {
  expect(qemuCommand({ ...spec, accelerator, cpus }, parts).argv.join(' ')).toContain(expected);
});

test('a machine without devices', () => {
  const { argv, fds } = qemuCommand(spec, parts);
  expect(argv.join(' ')).toBe(
    [
      '/usr/bin/qemu-system-x86_64 -name guest=dev,debug-threads=on -nodefaults -no-user-config -display none',
      '-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny -no-reboot -S',
      '-M pc,memory-backend=mem,smm=off,vmport=off -accel tcg,thread=multi -cpu max -smp 2 -m 512',
      '-object memory-backend-memfd,id=mem,size=512M,share=on,seal=on -bios /usr/share/qemu/qboot.rom',
      '-kernel /boot/vmlinux -initrd /boot/initrd -append console=ttyS0 quiet',
      '-chardev socket,id=qmp,fd=3,server=on,wait=off -mon chardev=qmp,mode=control',
      '-chardev socket,id=console,fd=4,server=on,wait=off -serial chardev:console -device pvpanic',
    ].join(' '),
  );
  expect(fds).toEqual([
    { child: 3, parent: 10 },
    { child: 4, parent: 11 },
  ]);
});

test('devices inherit their sockets; a network card has its own bound', () => {
  const { argv, fds } = qemuCommand(
    {
      ...spec,
      devices: [
        device('block0', 'block', 2, { queueSizes: [128, 128] }),
        device('net0', 'net', 3, { queueSizes: [256, 256], socketFd: -1, mac: '02:52:54:00:00:01' }),
        device('rng0', 'rng', 4),
        device('vsock0', 'vsock', 5),
        device('fs0', 'fs', 10, { queueSizes: [256, 256], tag: 'home' }),
      ],
      natives: [
        { id: 'net1', kind: 'user-net', slot: 11, mac: '02:52:54:00:00:02' },
        { id: 'balloon0', kind: 'balloon', slot: 12 },
        { id: 'keyboard0', kind: 'keyboard', slot: 13 },
      ],
    },
    parts,
  );
  const tail = argv.slice(argv.indexOf('pvpanic') + 1).join(' ');
  expect(tail).toBe(
    [
      '-chardev socket,id=block0-vhost,fd=5,server=on,wait=on',
      '-device vhost-user-blk-pci,id=block0,addr=2,disable-legacy=on,chardev=block0-vhost,num-queues=2,queue-size=128',
      '-chardev socket,id=net0-vhost,path=/run/vm/net0.vhost,server=on,wait=on',
      '-netdev vhost-user,id=net0-net,chardev=net0-vhost,queues=1',
      '-device virtio-net-pci,id=net0,addr=3,disable-legacy=on,netdev=net0-net,mac=02:52:54:00:00:01,vectors=0',
      '-chardev socket,id=rng0-vhost,fd=6,server=on,wait=on -device vhost-user-rng-pci,id=rng0,addr=4,chardev=rng0-vhost',
      '-chardev socket,id=vsock0-vhost,fd=7,server=on,wait=on -device vhost-user-vsock-pci,id=vsock0,addr=5,chardev=vsock0-vhost',
      '-chardev socket,id=fs0-vhost,fd=8,server=on,wait=on',
      '-device vhost-user-fs-pci,id=fs0,addr=a,chardev=fs0-vhost,tag=home,num-request-queues=1,queue-size=256',
      '-netdev user,id=net1-net -device virtio-net-pci,id=net1,addr=b,disable-legacy=on,netdev=net1-net,mac=02:52:54:00:00:02',
      '-device virtio-balloon-pci,id=balloon0,addr=c,disable-legacy=on,deflate-on-oom=on,free-page-reporting=on',
      '-device virtio-keyboard-pci,id=keyboard0,addr=d',
    ].join(' '),
  );
  expect(fds.slice(2)).toEqual([22, 24, 25, 30].map((parent, at) => ({ child: 5 + at, parent })));
});

test('with KVM', () => {
  const net = device('net0', 'net', 3, { queueSizes: [256, 256, 256, 256], socketFd: -1 });
  const { argv } = qemuCommand({ ...spec, accelerator: 'kvm', devices: [net, device('input0', 'input', 4)] }, parts);
  const text = argv.join(' ');
  expect(text).toContain('-accel kvm -cpu host');
  expect(text).toContain('queues=2 -device virtio-net-pci,id=net0,addr=3,disable-legacy=on,netdev=net0-net,mq=on');
  expect(text).not.toContain('vectors=0');
  expect(text).toContain('-device vhost-user-input-pci,id=input0,addr=4,chardev=input0-vhost');
});

test('commas in names do not become options', () => {
  const { argv } = qemuCommand(
    { ...spec, name: 'a,b', devices: [device('net0', 'net', 3, { socketFd: -1, socketPath: '/run/a,server=off' })] },
    { program: parts.program, sockets: parts.sockets, serials: [] },
  );
  expect(argv).toContain('guest=a,,b,debug-threads=on');
  expect(argv).toContain('socket,id=net0-vhost,path=/run/a,,server=off,server=on,wait=on');
  expect(argv).not.toContain('-bios');
});

test("the guest of QEMU's own network can have addresses of its own", () => {
  const guest = { address: '100.115.92.26/30', gateway: '100.115.92.25', dns: '100.115.92.3' };
  const { argv } = qemuCommand({ ...spec, natives: [{ id: 'net0', kind: 'user-net', slot: 3, guest }] }, parts);
  expect(argv).toContain(
    'user,id=net0-net,net=100.115.92.0/24,host=100.115.92.25,dhcpstart=100.115.92.26,dns=100.115.92.3',
  );
});

test.each([
  ['input', 'QEMU wants KVM for it'],
  ['balloon', 'QEMU has no vhost-user front end for it'],
] as const)('refuses a vhost-user %s under TCG', (type, why) => {
  expect(() => qemuCommand({ ...spec, devices: [device('x0', type, 2)] }, parts)).toThrow(why);
});

test('serial ports go to files that it inherits, those between nowhere', () => {
  const serials = [
    { port: 2, path: '/log/2' },
    { port: 4, path: '/log/4' },
  ];
  const { argv, fds } = qemuCommand({ ...spec, serials }, { ...parts, serials: [30, 31] });
  expect(argv.slice(argv.indexOf('pvpanic') + 1).join(' ')).toBe(
    [
      '-add-fd fd=5,set=2 -chardev file,id=serial2,path=/dev/fdset/2,append=on -serial chardev:serial2 -serial null',
      '-add-fd fd=6,set=4 -chardev file,id=serial4,path=/dev/fdset/4,append=on -serial chardev:serial4',
    ].join(' '),
  );
  expect(fds.slice(2).map(({ parent }) => parent)).toEqual([30, 31]);
});

test('a machine whose state is to come has its memory already', () => {
  const command = qemuCommand(spec, { ...parts, incoming: { memory: 9 } });
  const text = command.argv.join(' ');
  expect(text).toContain(' -S -incoming defer ');
  expect(text).toContain('memory-backend-file,id=mem,size=512M,share=on,mem-path=/dev/fd/3 ');
  expect(command.fds.map(({ parent }) => parent)).toEqual([9, 10, 11]);
});
