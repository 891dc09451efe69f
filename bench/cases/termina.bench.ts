// From the wish for a Termina VM to its maitred, and to the output of a first command: as programs and people have it, beside
// the same image in QEMU with its own devices, and beside a guest that does nothing but print.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import module from 'node:module';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '@runtime/sdk';
import { ensureTermina, type TerminaImage } from '../../plugins/crostini/src/image/termina-image.ts';
import { vms } from '../../plugins/vmm/src/contract.ts';
import { ensureDefaultGuest } from '../../plugins/vmm/src/guest/default-guest.ts';
import { UP_PREFIX } from '../../plugins/vmm/src/guest/guest-init.ts';
import { ROOT } from '../../test/cli/command-line.ts';
import { PlainQemu } from '../../test/fixtures/guest/plain-qemu.ts';
import { Subject } from '../../test/soak/subject.ts';
import { TerminaRig } from '../../test/termina/rig.ts';
import { lacking } from '../../test/vm/lab.ts';
import { type Benchmark, type Side, type Target, Timed } from '../benchmark.ts';
import { qemuDisk } from '../guests.ts';

const MEMORY_MIB = 512;
const BOOT_MS = 120_000;
const NS_PER_MS = 1e6;
const NS_PER_S = 1e9;
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

const SAID = 'here';

/** A program: it connects to the runtime, and runs a command in a VM of its own. */
function throughSdk(subject: Subject): Side {
  return async (iterations) => {
    let ns = 0;
    for (let i = 0; i < iterations; i++) {
      const startedAt = process.hrtime.bigint();
      await using runtime = await connect({ env: subject.env });
      await using vm = await runtime.vms.start({ profile: 'fast' });
      const { stdout } = await vm.exec(['/bin/echo', SAID]);
      ns += Number(process.hrtime.bigint() - startedAt);
      if (stdout.toString() !== `${SAID}\n`) throw new Error(`the guest said "${stdout}"`);
    }
    return new Timed(ns);
  };
}

/** A person: from exec to exit. */
function throughCommand(subject: Subject): Side {
  const argv = ['--conditions=@runtime/source', join(ROOT, 'sdk/bin/runtime.mjs'), 'run', '--', 'true'];
  return async (iterations) => {
    const startedAt = process.hrtime.bigint();
    for (let i = 0; i < iterations; i++) {
      const child = spawn(process.execPath, argv, { env: subject.env, stdio: ['ignore', 'inherit', 'inherit'] });
      const [code] = await once(child, 'close');
      if (code !== 0) throw new Error(`runtime run ended with code ${code}`);
    }
    return new Timed(Number(process.hrtime.bigint() - startedAt));
  };
}

interface ClientVariant extends Pick<Variant, 'name' | 'title'> {
  readonly snapshots: 'on' | 'off';
  readonly side: (subject: Subject) => Side;
}

/** Of a runtime that runs already, beside a guest that only prints. */
function client({ name, title, snapshots, side }: ClientVariant): Benchmark {
  return {
    ...{ name, title, peer: 'QEMU without a device, an init that prints', target: { kind: 'none' } },
    plan: { iterations: 1, rounds: 10, warmUp: 1 },
    async prepare() {
      const peer = await printOnly();
      const subject = new Subject([
        `settings.crostini.config.snapshots=${snapshots}`,
        `settings.crostini.config.mem.fast=${MEMORY_MIB}`,
      ]);
      await subject.start();
      return { ours: side(subject), peer, end: () => subject[Symbol.asyncDispose]() };
    },
  };
}

/** Where the clock stands in a start that began at 0; ns. Those of the guest are by the clock of its kernel. */
interface Passed {
  readonly machine: number;
  readonly node: number;
  readonly told: number;
  readonly started: number;
}

interface Stage {
  readonly name: string;
  readonly title: string;
  readonly ns: (passed: Passed) => number;
}

const STAGES: readonly Stage[] = [
  { name: 'machine', title: 'image, addresses, devices and QEMU, until the machine runs', ns: (at) => at.machine },
  { name: 'kernel', title: 'kernel of the guest, and Node in it, by its own clock', ns: (at) => at.node },
  { name: 'maitred', title: 'maitred, until it has called the host, by that clock', ns: (at) => at.told - at.node },
  {
    name: 'rest',
    title: 'what is left: firmware, unpacking the kernel, network, time and zone',
    ns: (at) => at.started - at.machine - at.told,
  },
];

/** By the events of the start, and what the guest has logged. */
async function timesOf(rig: TerminaRig, name: string): Promise<Passed> {
  const begun = process.hrtime.bigint();
  const now = (): number => Number(process.hrtime.bigint() - begun);
  let machine = Number.NaN;
  using _ = rig.runtime.events.on('vm:started', () => {
    machine = now();
  });
  await untilRunning(rig, name);
  const started = now();
  const log = await rig.inGuest(name, 'dmesg');
  const logged = (text: string): number =>
    Number(new RegExp(`\\[ *([\\d.]+)\\] maitred: ${text}`).exec(log)?.[1]) * NS_PER_S;
  return { machine, node: logged('Node runs'), told: logged('the host has been told'), started };
}

function stage({ name, title, ns }: Stage): Benchmark {
  return {
    ...{ name: `termina/stage-${name}`, title: `stage of a start: ${title}`, target: { kind: 'none' } },
    plan: { iterations: 1, rounds: 3, warmUp: 1 },
    async prepare() {
      const rig = await openRig();
      const ours: Side = async (iterations) => {
        let sum = 0;
        for (let i = 0; i < iterations; i++) {
          const vm = `bench${count++}`;
          sum += ns(await timesOf(rig, vm));
          await rig.termina.stopVm(vm);
        }
        return new Timed(sum);
      };
      return { ours, end: () => rig.close() };
    },
  };
}

async function openRig(): Promise<TerminaRig> {
  const missing = lacking();
  if (missing !== undefined) throw new Error(`the guests of this benchmark need ${missing}`);
  // As the command has it: device processes then start from compiled programs.
  module.enableCompileCache(join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'runtime/compile'));
  const rig = new TerminaRig({ mem: { fast: MEMORY_MIB }, snapshots: 'off' });
  await rig.open();
  return rig;
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
      const peerSide = await plain();
      const host = await openRig();
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
  client({
    name: 'termina/first-command',
    title: 'a program that connects to the runtime, until a command in a fast VM of its own has answered',
    ...{ snapshots: 'off', side: throughSdk },
  }),
  client({
    name: 'termina/first-command-snapshot',
    title: 'the same, with a snapshot of a guest that has booted',
    ...{ snapshots: 'on', side: throughSdk },
  }),
  client({
    name: 'termina/run-true',
    title: '`runtime run -- true`, from exec to exit',
    ...{ snapshots: 'off', side: throughCommand },
  }),
  ...STAGES.map(stage),
];

export default benchmarks;
