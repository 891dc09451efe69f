import { readFileSync } from 'node:fs';
import { isRuntimeError } from '@runtime/sdk';
import { expect, test } from 'vitest';
import { descriptionJsonSchema } from './json-schema.ts';
import { MAX_DESCRIPTION, parseDescription } from './parse.ts';
import { planVm } from './resolve.ts';
import type { VmDescription } from './schema.ts';
import { toMib } from './size.ts';

const defaults = { cwd: '/srv', netBackend: 'passt' } as const;

function problem(text: string): string {
  try {
    parseDescription(text, 'my-vm.yaml');
  } catch (e) {
    if (isRuntimeError(e, 'VMM_ERR_DESCRIPTION')) return e.message;
    throw e;
  }
  return 'none';
}

test('reads YAML and JSON alike', () => {
  const expected = { name: 'dev', mem: '1G', cpus: 2, block: [{ path: 'disk.qcow2', ro: true }] };
  expect(parseDescription('name: dev\nmem: 1G\ncpus: 2\nblock:\n  - path: disk.qcow2\n    ro: true\n', 'x')).toEqual(
    expected,
  );
  expect(parseDescription(JSON.stringify(expected), 'x')).toEqual(expected);
  expect(parseDescription('', 'x')).toEqual({});
});

test.each([
  ['cpu: 2', 'my-vm.yaml: unknown key "cpu"; did you mean "cpus"?'],
  ['block: [{pth: a.img}]', 'unknown key "pth"; did you mean "path"?'],
  ['block: [{path: a.img, block-size: 100}]', 'block[0].block-size'],
  ['mem: 1T', 'mem'],
  ['mem: 1', 'mem'],
  ['name: Capital', 'name: must be 1 to 32 letters'],
  ['name: a/b', 'name'],
  ['cpus: 0', 'cpus'],
  ['vsock: {cid: 2}', 'vsock'],
  ['net: [{mac: nonsense}]', 'net[0].mac'],
  ['net: [{address: 10.0.0.2, gateway: 10.0.0.1}]', 'net[0].address'],
  ['net: [{address: 10.0.0.2/24, gateway: "10.0.0.1,x=y"}]', 'net[0].gateway'],
  ['a: [', 'my-vm.yaml: '],
  ['a: 1\na: 2', 'Map keys must be unique'],
  ['- 1', 'my-vm.yaml: '],
  [`params: ${'x'.repeat(MAX_DESCRIPTION)}`, 'it has more than 262144 bytes'],
  [
    `a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [${'*a,'.repeat(20)}]\nc: &c [${'*b,'.repeat(20)}]\nd: [${'*c,'.repeat(20)}]`,
    'my-vm.yaml: ',
  ],
])('refuses %j', (text, expected) => {
  expect(problem(text)).toContain(expected);
});

test('memory is in MiB', () => {
  expect([256, '256', '256M', '2G'].map(toMib)).toEqual([256, 256, 256, 2048]);
});

test('what is not said is filled in', () => {
  const plan = planVm({ name: 'dev' }, defaults);
  expect(plan).toMatchObject({ board: 'pc', accel: 'auto', memoryMib: 512, cpus: 1, params: '', kernel: undefined });
  expect(plan.devices.map(({ id, kind, optional }) => [id, kind, optional])).toEqual([
    ['net0', 'net', false],
    ['rng0', 'rng', true],
    ['vsock0', 'vsock', true],
  ]);
  expect(plan.natives).toEqual([]);
  const user = planVm({ name: 'dev' }, { ...defaults, netBackend: 'user' });
  expect(user.natives.map(({ id, kind }) => [id, kind])).toEqual([['net0', 'user-net']]);
});

test('a guest behind a user-mode network can have addresses of its own', () => {
  const card = { address: '100.115.92.26/30', gateway: '100.115.92.25', dns: '100.115.92.3' };
  const { devices, natives } = planVm({ name: 'dev', net: [card, { ...card, backend: 'user' }] }, defaults);
  expect(devices.find(({ kind }) => kind === 'net')?.options).toEqual({ backend: 'passt', guest: card });
  expect(natives).toMatchObject([{ kind: 'user-net', guest: card }]);
});

test('ports of this computer lead to a guest behind passt, and to no other', () => {
  const ports = { tcp: ['2222:22', '127.0.0.1/8080'], udp: ['5353'] };
  const { devices } = planVm({ name: 'dev', net: [ports] }, defaults);
  expect(devices.find(({ kind }) => kind === 'net')?.options).toEqual({ backend: 'passt', ...ports });
  for (const backend of ['user', 'tap', 'none'] as const) {
    expect(() => planVm({ name: 'dev', net: [{ ...ports, backend }] }, defaults)).toThrow(`${backend} leads no ports`);
  }
  expect(problem('net: [{tcp: ["22,33"]}]')).toContain('net[0].tcp[0]: must be a port');
});

test.each([
  [{ address: '10.0.0.2/24' }, 'go together'],
  [{ gateway: '10.0.0.1' }, 'go together'],
  [{ address: '10.0.0.2/24', gateway: '10.0.1.1' }, 'not another address of the network'],
  [{ address: '10.0.0.2/24', gateway: '10.0.0.2' }, 'not another address of the network'],
  [{ address: '10.0.0.256/24', gateway: '10.0.0.2' }, 'no IPv4 address'],
  [{ backend: 'tap' as const, address: '10.0.0.2/24', gateway: '10.0.0.1' }, 'gives the guest no address'],
  [{ backend: 'user' as const, address: '10.0.0.2/30', gateway: '10.0.0.1', dns: '10.0.1.3' }, '256 addresses'],
])('refuses the addresses %j', (card, why) => {
  expect(() => planVm({ name: 'dev', net: [card] }, defaults)).toThrow(why);
});

test('everything can be left out', () => {
  const plan = planVm({ name: 'dev', net: [], vsock: false, rng: false }, defaults);
  expect([...plan.devices, ...plan.natives]).toEqual([]);
});

test('devices are numbered by kind, and paths are made absolute', () => {
  const plan = planVm(
    {
      name: 'dev',
      kernel: 'vmlinux',
      initrd: '/boot/initrd',
      params: ['a=1', 'b'],
      mem: 128,
      block: [
        { path: 'a.img', ro: true, id: 'serial', 'block-size': 4096, sparse: false },
        { path: '/b.qcow2', format: 'qcow2' },
      ],
      net: [{ backend: 'tap', 'tap-name': 'tap7', mac: '02:00:00:00:00:01' }, { backend: 'user' }, { backend: 'none' }],
      vsock: { cid: 77 },
      rng: true,
      balloon: true,
      input: ['keyboard', 'tablet'],
      share: [{ path: 'here', tag: 'there' }],
      device: [
        { kind: 'dice', sides: 6 },
        { kind: 'dice', id: 'other', sides: 8 },
      ],
    },
    defaults,
  );
  expect(plan.kernel).toBe('/srv/vmlinux');
  expect(plan.initrd).toBe('/boot/initrd');
  expect(plan.params).toBe('a=1 b');
  const device = (id: string) => plan.devices.find((one) => one.id === id);
  expect(plan.devices.map(({ id }) => id)).toEqual([
    ...['block0', 'block1', 'net0', 'rng0', 'vsock0', 'fs0', 'dice0', 'other'],
  ]);
  expect(device('block0')?.options).toEqual({
    path: '/srv/a.img',
    readonly: true,
    serial: 'serial',
    blockSize: 4096,
    discard: false,
  });
  expect(device('block1')?.options).toEqual({ path: '/b.qcow2', format: 'qcow2' });
  expect(device('net0')).toMatchObject({ wantsMac: true, mac: '02:00:00:00:00:01' });
  expect(device('net0')?.options).toEqual({ backend: 'tap', tapName: 'tap7', mac: '02:00:00:00:00:01' });
  expect(device('vsock0')).toMatchObject({ wantsCid: true, cid: 77, optional: false });
  expect(device('rng0')).toMatchObject({ optional: false });
  expect(device('fs0')).toMatchObject({ tag: 'there', options: { path: '/srv/here', tag: 'there' } });
  expect(device('dice0')?.options).toEqual({ sides: 6 });
  expect(plan.natives.map(({ id, kind }) => [id, kind])).toEqual([
    ['net1', 'user-net'],
    ['balloon0', 'balloon'],
    ['keyboard0', 'keyboard'],
    ['tablet0', 'tablet'],
  ]);
});

test.each([
  [{ mem: 32 }, 'less than 64'],
  [{ initrd: 'x' }, 'it needs the kernel'],
  [{ device: [{ kind: 'dice', id: 'rng0' }] }, 'two devices are called "rng0"'],
])('refuses what cannot be: %j', (description, expected) => {
  expect(() => planVm({ name: 'dev', ...description }, defaults)).toThrow(expected);
});

test('the published JSON schema is that of the code', () => {
  const file = new URL('../../../../docs/reference/vm-schema.json', import.meta.url);
  expect(JSON.parse(readFileSync(file, 'utf8')), 'npm run docs writes it anew').toEqual(descriptionJsonSchema());
});

test('serial ports', () => {
  const serial = (ports: VmDescription['serial']) => planVm({ name: 'dev', params: 'x', serial: ports }, defaults);
  expect(serial([{ type: 'stdout', earlycon: true }])).toMatchObject({
    serials: [],
    params: 'earlycon=uart8250,io,0x3f8 x',
  });
  expect(
    serial([
      { type: 'file', path: 'out', num: 3 },
      { type: 'file', path: '/b' },
    ]),
  ).toMatchObject({
    serials: [
      { port: 2, path: '/b' },
      { port: 3, path: '/srv/out' },
    ],
    params: '8250.nr_uarts=3 x',
  });
  expect(() => serial([{ type: 'file' }])).toThrow('needs the path');
  expect(() => serial([{ type: 'file', num: 1, path: 'x' }])).toThrow('port 1 is the console');
  expect(() => serial([{ type: 'stdout', num: 2 }])).toThrow('the console is port 1');
  expect(() => serial([{ type: 'stdout' }, { type: 'stdout' }])).toThrow('port 1 is given twice');
});
