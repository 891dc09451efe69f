// What a disk does for a Debian guest: ours beside QEMU's own virtio-blk, each with an image of its own in the page cache.
// fio runs for a second in one guest, then in the other.

import { closeSync, openSync, writeSync } from 'node:fs';
import { z } from 'zod';
import { type Benchmark, type Rate, type Target, Timed } from '../benchmark.ts';
import { type QemuAio, qemuDisk, type Scripts, TwoGuests } from '../guests.ts';
import { quantile } from '../measure.ts';

const MIB = 2 ** 20;
const DISK_BYTES = 256 * MIB;
const SECONDS = 1;
/** Rounds in which the modes of the peer are compared. */
const TRIALS = 2;
const NS_PER_S = 1e9;

interface Workload {
  readonly type: 'read' | 'write';
  readonly bytes: number;
  readonly depth: number;
  readonly order: 'random' | 'sequential';
}

const fioReport = z.object({
  jobs: z.tuple([z.object({ read: z.object({ iops: z.number() }), write: z.object({ iops: z.number() }) })]),
});

/** Requests in a second. @param serial of the disk */
async function fio(guest: Scripts, serial: string, { type, bytes, depth, order }: Workload): Promise<number> {
  const job = [
    ...['--name=job', `--rw=${order === 'random' ? 'rand' : ''}${type}`, `--bs=${bytes}`, `--iodepth=${depth}`],
    ...['--ioengine=libaio', '--direct=1', '--time_based', `--runtime=${SECONDS}`, '--randrepeat=1'],
  ];
  const device = `$(grep -lx ${serial} /sys/block/vd?/serial | cut -d / -f 4)`;
  const output = await guest.sh(`fio --filename=/dev/${device} ${job.join(' ')} --output-format=json`);
  const { jobs } = fioReport.parse(JSON.parse(output.slice(output.indexOf('{'))));
  return jobs[0][type].iops;
}

/** All of it has content: a hole would be read without its file. */
function makeImage(path: string): string {
  const fd = openSync(path, 'wx+');
  const chunk = Buffer.alloc(MIB);
  for (let i = 0; i < DISK_BYTES / MIB; i++) writeSync(fd, chunk.fill(i + 1));
  closeSync(fd);
  return path;
}

const MODES: readonly QemuAio[] = ['threads', 'io_uring'];
const serialOf = (mode: QemuAio): string => mode.replace('_', '-');

async function betterMode(peer: Scripts, workload: Workload): Promise<QemuAio> {
  const medians: number[] = [];
  for (const mode of MODES) {
    const trials: number[] = [];
    for (let i = 0; i < TRIALS; i++) trials.push(await fio(peer, serialOf(mode), workload));
    medians.push(quantile(trials, 0.5));
  }
  const [threads = 0, uring = 0] = medians;
  return threads > uring ? 'threads' : 'io_uring';
}

function guestBlock(name: string, workload: Workload, rate: Rate): Benchmark {
  const { type, bytes, depth, order } = workload;
  const size = bytes < MIB ? `${bytes / 1024} KiB` : `${bytes / MIB} MiB`;
  const target: Target = { kind: 'speed', atLeast: 1 };
  return {
    name: `guest-block/${name}`,
    title: `disk in a guest: ${size} ${order} ${type}, ${depth} in flight`,
    peer: 'virtio-blk of QEMU',
    target,
    rate,
    plan: { iterations: 1, rounds: 9, warmUp: 1 },
    async prepare() {
      const guests = await TwoGuests.boot({
        ours: (lab) => ({ block: [{ path: makeImage(lab.path('ours.img')), id: 'ours' }] }),
        peer: (lab) => {
          const image = makeImage(lab.path('peer.img'));
          return MODES.flatMap((mode) => qemuDisk(serialOf(mode), image, mode, 'read-write'));
        },
      });
      const mode = await betterMode(guests.peer, workload);
      const side = (guest: Scripts, serial: string) => async (iterations: number) =>
        new Timed((iterations * NS_PER_S) / (await fio(guest, serial, workload)));
      return {
        ours: side(guests.ours, 'ours'),
        peer: side(guests.peer, serialOf(mode)),
        end: () => guests[Symbol.asyncDispose](),
      };
    },
  };
}

const small = { bytes: 4096, order: 'random' } as const;
const large = { bytes: MIB, order: 'sequential', depth: 4 } as const;
const requests: Rate = { unit: 'IO/s', perIteration: 1 };
const throughput: Rate = { unit: 'B/s', perIteration: MIB };

const benchmarks: readonly Benchmark[] = [
  guestBlock('read-4k-qd32', { ...small, type: 'read', depth: 32 }, requests),
  guestBlock('write-4k-qd32', { ...small, type: 'write', depth: 32 }, requests),
  guestBlock('read-4k-qd1', { ...small, type: 'read', depth: 1 }, requests),
  guestBlock('write-4k-qd1', { ...small, type: 'write', depth: 1 }, requests),
  guestBlock('read-1m-qd4', { ...large, type: 'read' }, throughput),
  guestBlock('write-1m-qd4', { ...large, type: 'write' }, throughput),
];

export default benchmarks;
