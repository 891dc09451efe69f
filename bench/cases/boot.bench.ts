// From the wish for a VM to the first line of its user space: the default guest with our devices, beside QEMU without
// anything around it.

import module from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { VmDescription, Vms } from '../../plugins/vmm/src/contract.ts';
import { type DefaultGuest, ensureDefaultGuest } from '../../plugins/vmm/src/guest/default-guest.ts';
import { UP_PREFIX } from '../../plugins/vmm/src/guest/guest-init.ts';
import { PlainQemu } from '../../test/fixtures/guest/plain-qemu.ts';
import { Lab, lacking } from '../../test/vm/lab.ts';
import { type Benchmark, type Side, type Target, Timed } from '../benchmark.ts';
import { qemuDisk } from '../guests.ts';

const DISK_BYTES = 256 * 2 ** 20;
const BOOT_MS = 60_000;
const UP = new RegExp(UP_PREFIX);
const NS_PER_MS = 1e6;

/** Nanoseconds until the guest says that it is up. */
async function bootOurs(vms: Vms, description: VmDescription): Promise<number> {
  const startedAt = process.hrtime.bigint();
  const { name } = await vms.start(description);
  try {
    let text = '';
    let from = 0;
    const until = Date.now() + BOOT_MS;
    while (!UP.test(text)) {
      const { bytes, next, ended } = await vms.readConsole(name, { from, waitMs: 1_000 });
      text += Buffer.from(bytes).toString('latin1');
      from = next;
      if (ended || Date.now() > until) throw new Error(`the guest did not come up; its console:\n${text}`);
    }
    return Number(process.hrtime.bigint() - startedAt);
  } finally {
    await vms.stop(name, { force: true });
    await vms.remove(name);
  }
}

/** The same, in QEMU with these options. */
async function bootPlain(guest: DefaultGuest, options: readonly string[]): Promise<number> {
  await using qemu = new PlainQemu({ ...guest, options });
  return (await qemu.line(UP, BOOT_MS)).afterMs * NS_PER_MS;
}

function repeat(boot: () => Promise<number>): Side {
  return async (iterations) => {
    let ns = 0;
    for (let i = 0; i < iterations; i++) ns += await boot();
    return new Timed(ns);
  };
}

interface Variant {
  readonly name: string;
  readonly title: string;
  readonly peer: string;
  readonly target: Target;
  /** Of QEMU, for the peer. */
  readonly options: (lab: Lab) => readonly string[];
}

function boot({ name, title, peer, target, options }: Variant): Benchmark {
  return {
    ...{ name, title, peer, target },
    plan: { iterations: 1, rounds: 7, warmUp: 1 },
    async prepare() {
      const missing = lacking();
      if (missing !== undefined) throw new Error(`the guests of this benchmark need ${missing}`);
      module.enableCompileCache(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'runtime/compile'));
      const lab = await Lab.open();
      const guest = await ensureDefaultGuest();
      const block = [{ path: lab.image('ours.img', DISK_BYTES) }];
      const peerOptions = options(lab);
      return {
        ours: repeat(() => bootOurs(lab.vms, { name: 'boot', block })),
        peer: repeat(() => bootPlain(guest, peerOptions)),
        end: () => lab[Symbol.asyncDispose](),
      };
    },
  };
}

const benchmarks: readonly Benchmark[] = [
  boot({
    name: 'boot/bare',
    title:
      'boot of the default guest with disk, network, vsock and rng, to its first line, beside one with none of them',
    peer: 'QEMU, no device',
    target: { kind: 'none' },
    options: () => [],
  }),
  boot({
    name: 'boot/equal',
    title: "the same, beside one with QEMU's own disk, network, serial port in the place of vsock, and rng",
    peer: 'QEMU, its own devices',
    target: { kind: 'ratio', atMost: 1.15 },
    options: (lab) => [
      ...qemuDisk('disk', lab.image('peer.img', DISK_BYTES), 'threads', 'read-write'),
      ...['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net,disable-legacy=on'],
      ...['-device', 'virtio-serial-pci,disable-legacy=on'],
      ...['-device', 'virtio-rng-pci,disable-legacy=on'],
    ],
  }),
];

export default benchmarks;
