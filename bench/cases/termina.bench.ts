// From the wish for a Termina VM to its maitred, and to the output of a first command: as programs have it, beside the same
// image in QEMU with its own devices, and beside a guest that does nothing but print.

import module from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ensureTermina, type TerminaImage } from '../../plugins/crostini/src/image/termina-image.ts';
import { vms } from '../../plugins/vmm/src/contract.ts';
import { ensureDefaultGuest } from '../../plugins/vmm/src/guest/default-guest.ts';
import { UP_PREFIX } from '../../plugins/vmm/src/guest/guest-init.ts';
import { PlainQemu } from '../../test/fixtures/guest/plain-qemu.ts';
import { TerminaRig } from '../../test/termina/rig.ts';
import { lacking } from '../../test/vm/lab.ts';
import { type Benchmark, type Side, type Target, Timed } from '../benchmark.ts';
import { qemuDisk } from '../guests.ts';

const MEMORY_MIB = 512;
const BOOT_MS = 120_000;
const NS_PER_MS = 1e6;
/** What maitred logs when it takes calls, and what shows that on the console. */
const SERVING = /maitred: serving/;
const LOUD = 'loglevel=7';
const UP = new RegExp(UP_PREFIX);

type Start = (host: TerminaRig, name: string) => Promise<void>;
/** Another each time: the console of one that has ended can still be read. */
let count = 0;

/** Until maitred serves, by its console. */
const untilServing: Start = async ({ termina, runtime }, name) => {
  const started = termina.startVm({ name, profile: 'fast', kernelParams: [LOUD] });
  started.catch(() => {});
  const machine = `t-${name}`;
  let text = '';
  for (let from = 0; !SERVING.test(text); ) {
    try {
      const { bytes, next, ended } = await runtime.get(vms).readConsole(machine, { from, waitMs: 1_000 });
      text += Buffer.from(bytes).toString('latin1');
      from = next;
      if (ended) throw new Error(`the guest ended:\n${text}`);
    } catch (e) {
      // It is not there yet.
      if (text !== '') throw e;
      await sleep(5);
    }
  }
};

/** Until it is set up for use. */
const untilRunning: Start = async ({ termina }, name) => {
  await termina.startVm({ name, profile: 'fast' });
};

/** Until a program in it has answered. */
const untilAnswer: Start = async (host, name) => {
  await untilRunning(host, name);
  using session = await host.vsh(name, { argv: ['/bin/true'] });
  session.stdin.end();
  session.stdout.resume();
  session.stderr.resume();
  if ((await session.exit) !== 0) throw new Error('the program in the guest failed');
};

function ours(host: TerminaRig, start: Start): Side {
  return async (iterations) => {
    let ns = 0;
    for (let i = 0; i < iterations; i++) {
      const name = `bench${count++}`;
      const startedAt = process.hrtime.bigint();
      await start(host, name);
      ns += Number(process.hrtime.bigint() - startedAt);
      // Its start is to be over before it is stopped, or it counts as one that failed.
      await untilRunning(host, name);
      await host.termina.stopVm(name);
    }
    return new Timed(ns);
  };
}

function plain(boot: () => PlainQemu, line: RegExp): Side {
  return async (iterations) => {
    let ns = 0;
    for (let i = 0; i < iterations; i++) {
      await using qemu = boot();
      ns += (await qemu.line(line, BOOT_MS)).afterMs * NS_PER_MS;
    }
    return new Timed(ns);
  };
}

/** The same image, with QEMU's devices in the place of each of ours. */
function bootImage({ kernel, initrd, rootfs, params }: TerminaImage): PlainQemu {
  return new PlainQemu({
    ...{ kernel, initrd, params: `${params} ${LOUD}`, memoryMiB: MEMORY_MIB, maxCpus: 2 },
    options: [
      ...qemuDisk('root', rootfs, 'threads', 'read-only'),
      ...['-netdev', 'user,id=net', '-device', 'virtio-net-pci,netdev=net,disable-legacy=on'],
      ...['-device', 'virtio-serial-pci,disable-legacy=on'],
      ...['-device', 'virtio-rng-pci,disable-legacy=on'],
      ...['-device', 'virtio-balloon-pci,disable-legacy=on'],
    ],
  });
}

interface Variant {
  readonly name: string;
  readonly title: string;
  readonly peer: string;
  readonly target: Target;
  readonly rounds: number;
  readonly start: Start;
  readonly plain: () => Promise<Side>;
}

function termina({ name, title, peer, target, rounds, start, plain }: Variant): Benchmark {
  return {
    ...{ name, title, peer, target },
    plan: { iterations: 1, rounds, warmUp: 1 },
    async prepare() {
      const missing = lacking();
      if (missing !== undefined) throw new Error(`the guests of this benchmark need ${missing}`);
      // As the command has it: device processes then start from compiled programs.
      module.enableCompileCache(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'runtime/compile'));
      const peerSide = await plain();
      const host = new TerminaRig({ mem: { fast: MEMORY_MIB } });
      await host.open();
      return { ours: ours(host, start), peer: peerSide, end: () => host.close() };
    },
  };
}

const sameImage = async (): Promise<Side> => {
  const image = await ensureTermina({ profile: 'fast' });
  return plain(() => bootImage(image), SERVING);
};

const printOnly = async (): Promise<Side> => {
  const guest = await ensureDefaultGuest();
  return plain(() => new PlainQemu({ ...guest, maxCpus: 2 }), UP);
};

const benchmarks: readonly Benchmark[] = [
  termina({
    name: 'termina/serving',
    title: 'Termina, fast image: from the wish for a VM until its maitred serves',
    peer: 'QEMU with its own devices, the same image',
    target: { kind: 'ratio', atMost: 1.15 },
    ...{ rounds: 7, start: untilServing, plain: sameImage },
  }),
  termina({
    name: 'termina/running',
    title: 'the same, until it has its network, time and zone, and can be used',
    peer: 'the same QEMU, until its maitred serves',
    target: { kind: 'none' },
    ...{ rounds: 5, start: untilRunning, plain: sameImage },
  }),
  termina({
    name: 'termina/first-command',
    title: 'the same, until a first program in it has ended',
    peer: 'QEMU without a device, an init that prints',
    target: { kind: 'none' },
    ...{ rounds: 10, start: untilAnswer, plain: printOnly },
  }),
];

export default benchmarks;
