import { expect, test } from 'vitest';
import { describeRun, type RunOptions } from './run-options.ts';

const none = {
  ...{ name: undefined, mem: undefined, cpus: undefined, initrd: undefined, vsock: undefined, board: undefined },
  ...{
    accel: undefined,
    block: [],
    params: [],
    net: [],
    serial: [],
    input: [],
    sharedDir: [],
    device: [],
    rng: true,
    balloon: false,
  },
} as unknown as RunOptions;
const describe = (options: Partial<Record<keyof RunOptions, unknown>>, kernel?: string) =>
  describeRun(kernel, { ...none, ...options } as RunOptions);

test('nothing said is nothing said', () => {
  expect(describe({})).toEqual({});
});

test('options as crosvm spells them', () => {
  expect(
    describe(
      {
        name: 'dev',
        mem: '512',
        cpus: '2',
        initrd: 'initrd',
        params: ['quiet', 'a=1'],
        block: ['disk.img,ro', 'path=b.qcow2,format=qcow2,block-size=4096,queues=2,direct', '7'],
        vsock: 'cid=40',
        net: ['passt', 'backend=tap,tap-name=tap0,vq-pairs=2', 'none'],
        serial: ['file,path=out,num=2'],
        rng: false,
        balloon: true,
        input: ['keyboard'],
        sharedDir: ['/home,tag=home,ro'],
        device: ['dice,sides=6,loaded,name=x', 'kind=dice,id=d7'],
        accel: 'tcg',
      },
      'vmlinux',
    ),
  ).toEqual({
    name: 'dev',
    kernel: 'vmlinux',
    mem: '512',
    cpus: 2,
    initrd: 'initrd',
    params: 'quiet a=1',
    accel: 'tcg',
    block: [
      { path: 'disk.img', ro: true },
      { path: 'b.qcow2', format: 'qcow2', 'block-size': 4096, queues: 2, direct: true },
      { path: '7' },
    ],
    vsock: { cid: 40 },
    net: [{ backend: 'passt' }, { backend: 'tap', 'tap-name': 'tap0', 'vq-pairs': 2 }, { backend: 'none' }],
    serial: [{ type: 'file', path: 'out', num: 2 }],
    rng: false,
    balloon: true,
    input: ['keyboard'],
    share: [{ path: '/home', tag: 'home', ro: true }],
    device: [
      { kind: 'dice', sides: 6, loaded: true, name: 'x' },
      { kind: 'dice', id: 'd7' },
    ],
  });
});

test.each([
  [{ mem: 'size=2G' }, { mem: '2G' }],
  [{ cpus: 'num-cores=4' }, { cpus: 4 }],
  [{ vsock: 'none' }, { vsock: false }],
  [{ vsock: '77' }, { vsock: { cid: 77 } }],
])('%j', (options, expected) => {
  expect(describe(options)).toEqual(expected);
});

test.each([
  [{ block: ['a.img,rw'] }, 'unknown key "rw"; did you mean "ro"?'],
  [{ block: ['a.img,queues=many'] }, 'queues'],
  [{ mem: 'a lot' }, 'mem'],
  [{ cpus: 'num-cores=2,clusters=3' }, 'cpus'],
  [{ net: ['bridge'] }, 'net[0].backend'],
])('refuses %j', (options, expected) => {
  expect(() => describe(options)).toThrow(expected);
});
