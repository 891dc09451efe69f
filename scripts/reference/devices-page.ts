// docs/reference/devices.md: what each device has, from its definition; what cannot be read there is said here.

import type { AnyDevice, VirtioDeviceName } from '@runtime/sdk/virtio';
import * as virtio from '@runtime/sdk/virtio';
import type { DevicePlan } from '../../plugins/vmm/src/device-plan.ts';
import block from '../../plugins/vmm/src/devices/block/index.ts';
import { DEFAULTS as BLOCK } from '../../plugins/vmm/src/devices/block/options.ts';
import { plan as blockPlan } from '../../plugins/vmm/src/devices/block/plan.ts';
import console from '../../plugins/vmm/src/devices/console/index.ts';
import { plan as consolePlan } from '../../plugins/vmm/src/devices/console/plan.ts';
import input from '../../plugins/vmm/src/devices/input/index.ts';
import { plan as inputPlan } from '../../plugins/vmm/src/devices/input/plan.ts';
import net from '../../plugins/vmm/src/devices/net/index.ts';
import { plan as netPlan } from '../../plugins/vmm/src/devices/net/plan.ts';
import rng from '../../plugins/vmm/src/devices/rng/index.ts';
import { plan as rngPlan } from '../../plugins/vmm/src/devices/rng/plan.ts';
import vsock from '../../plugins/vmm/src/devices/vsock/index.ts';
import { plan as vsockPlan } from '../../plugins/vmm/src/devices/vsock/plan.ts';
import { COMMON_FEATURES } from '../../sdk/src/virtio/device-features.ts';
import { linkTo, ROOT } from './source-text.ts';

interface Described {
  readonly device: AnyDevice;
  readonly plan: DevicePlan;
  readonly what: string;
  /** Its options when nothing is said, and with everything that adds queues or features. */
  readonly least: object;
  readonly most: object;
  readonly given: string;
  readonly qemu: string;
  readonly reload: string;
  readonly crash: string;
  readonly requests: string;
  readonly notes: readonly string[];
}

const NET = { mac: '02:00:00:00:00:01', mtu: 0, queuePairs: 1, queueSize: 256, backend: 'passt', offload: false };

const DEVICES: readonly Described[] = [
  {
    device: block as AnyDevice,
    plan: blockPlan,
    what: 'A disk: a raw file, a block device, or a qcow2 image (version 3, with backing files).',
    least: BLOCK,
    most: { ...BLOCK, queues: 2 },
    given: '`--block PATH,…`',
    qemu: 'yes',
    reload: 'whether the write cache is on; requests in flight are finished first',
    crash: 'nothing is lost: requests in flight are done again by the next process',
    requests:
      '`resize`: takes the size that the file has now; `--params capacity=10G` gives it another one, smaller only with `shrink=true`',
    notes: [
      'A write has ended when it is in the page cache, or with `direct` in the device; a flush that has ended is on stable storage. A driver that does not take `flush`, or switches the write cache off, gets every write there.',
      'Requests go through io_uring where the kernel offers it, with the memory of the guest as their buffers; else through preadv(2) and pwritev(2).',
      'Discard and write-zeroes punch holes into raw files, and give up whole clusters of qcow2 images. Where the file system cannot, zeroes are written.',
      'Refused of qcow2: encryption, external data files, extended L2 entries, and writing to an image with internal snapshots (VMM_ERR_DISK_SNAPSHOTS). Compressed clusters, zlib or zstd, are read.',
      'An image in use is locked against a second writer (VMM_ERR_DISK_IN_USE), on the same range as QEMU and its tools look at; the process of the device keeps the lock when the runtime dies.',
    ],
  },
  {
    device: net as AnyDevice,
    plan: netPlan,
    what: 'A network card: Ethernet frames to a tap device or to passt.',
    least: NET,
    most: { ...NET, backend: 'tap', queuePairs: 2, offload: true, mtu: 1500 },
    given: '`--net backend=passt`, the default, or `backend=tap`',
    qemu: 'yes',
    reload: 'link, filters, number of pairs, the connection to passt',
    crash:
      'frames in flight may be lost or come twice, as on a wire; connections through passt end, since passt starts anew',
    requests: '`link`: `--params up=false` unplugs the cable, `up=true` plugs it in again',
    notes: [
      'Checksums and segmentation are left to the other side with a tap; passt takes whole frames only.',
      'QEMU keeps the control queue to itself, so that filters of the guest are not seen by the device there.',
      '`backend=user` is a card of QEMU itself, without a process of ours: the way out where passt is not installed.',
    ],
  },
  {
    device: rng as AnyDevice,
    plan: rngPlan,
    what: "Random numbers from the host's kernel, getrandom(2).",
    least: {},
    most: {},
    given: 'always, unless `--no-rng`',
    qemu: 'yes',
    reload: 'nothing to keep',
    crash: 'the guest notices nothing but a pause',
    requests: 'none',
    notes: ['One request gets at most 64 KiB.'],
  },
  {
    device: vsock as AnyDevice,
    plan: vsockPlan,
    what: 'Stream sockets between the guest and Unix sockets of the host.',
    least: { cid: 32 },
    most: { cid: 32 },
    given: 'always, unless `--vsock none`; `--vsock cid=N`',
    qemu: 'yes',
    reload: 'all connections, with the bytes under way',
    crash:
      "connections end with a reset; QEMU 7.2 cannot take such a device back, so it is unplugged and plugged in again, which the guest's driver takes in its stride",
    requests: 'none',
    notes: [
      'Up to 4,096 connections at a time, and 256 MiB for sockets of the host that nobody reads.',
      'The sockets and how they are spoken to: [Run a VM](../guides/run-a-vm.md#sockets-between-guest-and-host).',
    ],
  },
  {
    device: input as AnyDevice,
    plan: inputPlan,
    what: 'A keyboard, mouse, tablet or touchscreen whose events come from the runtime.',
    least: {},
    most: {},
    given: '`--device input,profile=keyboard`',
    qemu: 'with KVM only',
    reload: 'events that the guest has not got, and its lights',
    crash: 'events that waited are lost',
    requests: '`event`, `state`; from code, since events are lists of `[type, code, value]`',
    notes: [
      'QEMU 7.2 refuses it under TCG. `--input keyboard` and the like are devices of QEMU itself, for guests that want one to be there.',
    ],
  },
  {
    device: console as AnyDevice,
    plan: consolePlan,
    what: 'A terminal of the guest between two descriptors.',
    least: {},
    most: {},
    given: 'not at all yet',
    qemu: 'no',
    reload: 'input that the guest has not got, output that the host has not taken',
    crash: 'bytes in flight are lost',
    requests: '`resize`: `--params columns=N,rows=N`',
    notes: [
      'QEMU has no vhost-user front end for it: the console of a VM is its serial port. The device is there for machines that carry it, and is tested without a VM.',
    ],
  },
];

export function devicesPage(): string {
  return [
    '# Devices',
    '',
    'Each device is a process of its own that speaks [vhost-user](vhost-user.md) to the machine. It opens nothing: the',
    'runtime hands it descriptors. [Write a device](../guides/write-a-device.md) says how one is made,',
    '[Description of a VM](vm.md) how one is asked for. Queues, features and descriptors below are those of the definitions.',
    '',
    '| device | virtio id | asked for by | QEMU 7.2 carries it | code replaced while in use keeps | its process died |',
    '|---|---|---|---|---|---|',
    ...DEVICES.map(({ device, given, qemu, reload, crash }) =>
      line([
        `[${device.name}](#${device.name})`,
        String(virtio.VIRTIO_DEVICES[device.type]),
        given,
        qemu,
        reload,
        crash,
      ]),
    ),
    '',
    'Devices of QEMU itself, without a process: `--net backend=user`, `--balloon`, `--input`. Front ends for `fs`, `i2c` and',
    '`gpio` are in QEMU 7.2 and can be used by devices of other plugins; any other type is refused (VMM_ERR_DEVICE_TYPE).',
    '',
    '## All devices',
    '',
    `Features of the rings: ${featureNames('any', COMMON_FEATURES).join(', ')}.`,
    'Split and packed rings, indirect descriptors and the event index are served without a line in the device. `inOrder`,',
    '`accessPlatform` and `ringReset` are not offered. QEMU 7.2 does not hand `ringPacked` on unless it is told to.',
    '',
    'Bounds: 256 queues of up to 32,768 entries; 256 bytes of configuration space; 64 regions of guest memory (8 in one table).',
    'A chain is refused, and completed with 0 bytes, when an address or a length leaves the memory that the machine told, when',
    'it is longer than its queue or 1,024 descriptors, or loops.',
    '',
    'A device process that dies is started again at once; one that dies more than 30 times in 10 seconds stays down, and',
    '`vm:device-failed` says so.',
    ...DEVICES.flatMap(describe),
  ].join('\n');
}

function describe({ device, plan, what, least, most, requests, notes }: Described): readonly string[] {
  const queues = queuesOf(device, most).map(({ name, size = 256 }) => `\`${name}\` (${size})`);
  const always = featuresOf(device, least);
  const more = featuresOf(device, most).filter((bit) => !always.includes(bit));
  const names = (bits: readonly number[]): string =>
    bits.length === 0 ? 'none' : featureNames(device.type, mask(bits)).join(', ');
  const fds = Object.entries(plan.fds).map(([name, use]) => `\`${name}\` (${use})`);
  return [
    '',
    `## ${device.name}`,
    '',
    what,
    '',
    '| | |',
    '|---|---|',
    line(['queues', `${queues.join(', ')}${queuesOf(device, least).length < queues.length ? ', or fewer' : ''}`]),
    line(['features', names(always)]),
    ...(more.length === 0 ? [] : [line(['features by option', names(more)])]),
    line(['descriptors', fds.join(', ') || 'none']),
    line(['system calls beside those of all', plan.syscalls.map((name) => `\`${name}\``).join(', ') || 'none']),
    line(['requests (`vm device request`)', requests]),
    line(['code', linkTo(`${ROOT}/plugins/vmm/src/devices/${device.name}`)]),
    '',
    ...notes.map((note) => `- ${note}`),
  ];
}

type Queues = readonly { readonly name: string; readonly size?: number }[];

function queuesOf({ queues }: AnyDevice, options: object): Queues {
  return typeof queues === 'function' ? queues(options, {}) : queues;
}

function featuresOf({ features }: AnyDevice, options: object): readonly number[] {
  return [...(typeof features === 'function' ? features(options, {}) : (features ?? []))].sort((a, b) => a - b);
}

const mask = (bits: readonly number[]): bigint => bits.reduce((all, bit) => all | (1n << BigInt(bit)), 0n);

const NAMES: Partial<Record<VirtioDeviceName | 'any', Readonly<Record<string, number>>>> = {
  any: virtio.VIRTIO_F,
  net: virtio.VIRTIO_NET_F,
  block: virtio.VIRTIO_BLK_F,
  console: virtio.VIRTIO_CONSOLE_F,
  vsock: virtio.VIRTIO_VSOCK_F,
};

function featureNames(type: VirtioDeviceName | 'any', bits: bigint): readonly string[] {
  return Object.entries(NAMES[type] ?? {})
    .filter(([, bit]) => ((bits >> BigInt(bit)) & 1n) === 1n)
    .map(([name, bit]) => `\`${name}\` (${bit})`);
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`;
}
