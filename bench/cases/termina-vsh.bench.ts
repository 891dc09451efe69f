// Bytes between this computer and a program in a guest: through vsh, which frames them in messages of 4 KiB at most and waits
// for whoever is slow, beside a virtio-serial port of QEMU, which does not. On both sides a cat runs all the time.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { TerminaRig } from '../../test/termina/rig.ts';
import { Lab } from '../../test/vm/lab.ts';
import { type Benchmark, type Rate, type Side, Timed } from '../benchmark.ts';
import { bootPeer } from '../guests.ts';

const BYTES = 16 * 2 ** 20;
const CHUNK = Buffer.alloc(64 * 1024);
const rate: Rate = { unit: 'B/s', perIteration: BYTES };
/** Of QEMU's, in the order in which the guest numbers them. */
const PORTS = ['into', 'out'] as const;

interface Ways {
  /** Read in the guest, and thrown away. */
  readonly into: Writable;
  /** Zeroes, as many as are taken. */
  readonly out: Readable;
}

async function throughVsh(parts: AsyncDisposableStack): Promise<Ways> {
  const rig = parts.adopt(new TerminaRig(), (one) => one.close());
  await rig.open();
  await rig.termina.startVm({ name: 'bench', profile: 'fast', memoryMib: 1024 });
  const sink = parts.use(await rig.vsh('bench', { command: 'cat > /dev/null' }));
  const source = parts.use(await rig.vsh('bench', { command: 'cat /dev/zero' }));
  return { into: sink.stdin, out: source.stdout };
}

async function throughSerial(parts: AsyncDisposableStack): Promise<Ways> {
  const lab = parts.use(await Lab.open());
  const options = PORTS.flatMap((name) => [
    ...['-chardev', `socket,id=${name},path=${lab.path(name)},server=on,wait=off`],
    ...['-device', `virtserialport,chardev=${name},name=${name}`],
  ]);
  const guest = parts.use(await bootPeer(parts, ['-device', 'virtio-serial-pci,disable-legacy=on', ...options]));
  const [into, out] = await Promise.all(PORTS.map((name) => open(lab.path(name))));
  if (into === undefined || out === undefined) throw new Error('QEMU has no ports');
  await guest.run('modprobe virtio_console; until test -c /dev/vport*p2; do sleep 0.1; done');
  await guest.run('cat /dev/vport*p1 > /dev/null 2>&1 & cat /dev/zero 2>&1 > /dev/vport*p2 &');
  parts.defer(() => {
    for (const socket of [into, out]) socket.destroy();
  });
  return { into, out };
}

async function open(path: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, 'connect');
  return socket;
}

function writing(stream: Writable): Side {
  return async (iterations) => {
    for (let left = iterations * BYTES; left > 0; left -= CHUNK.length) {
      await new Promise<void>((resolve, reject) => stream.write(CHUNK, (e) => (e ? reject(e) : resolve())));
    }
    return iterations;
  };
}

function reading(stream: Readable): Side {
  return async (iterations) => {
    // What has been kept ready meanwhile is not read in this time.
    while (stream.read() !== null);
    const startedAt = process.hrtime.bigint();
    for (let left = iterations * BYTES; left > 0; ) {
      const chunk = stream.read() as Buffer | null;
      if (chunk === null) await once(stream, 'readable');
      else left -= chunk.length;
    }
    return new Timed(Number(process.hrtime.bigint() - startedAt));
  };
}

function throughput(name: string, title: string, side: (ways: Ways) => Side): Benchmark {
  return {
    ...{ name, title, peer: 'virtio-serial of QEMU', target: { kind: 'none' }, rate },
    plan: { iterations: 1, rounds: 7, warmUp: 1 },
    async prepare() {
      await using parts = new AsyncDisposableStack();
      const [peer, ours] = [side(await throughSerial(parts)), side(await throughVsh(parts))];
      const kept = parts.move();
      return { ours, peer, end: () => kept.disposeAsync() };
    },
  };
}

const benchmarks: readonly Benchmark[] = [
  throughput('vsh/into', 'bytes into a command in a guest', ({ into }) => writing(into)),
  throughput('vsh/out', 'bytes out of a command in a guest', ({ out }) => reading(out)),
];

export default benchmarks;
