// The back end of a disk alone: our device process and qemu-storage-daemon, in its better mode for each workload, with the
// same driver in front of either and one image in the page cache.

import { closeSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Benchmark, Rate, Target } from '../benchmark.ts';
import { type AioMode, type BackEnd, startOurs, startStorageDaemon } from '../block-back-ends.ts';
import { BlockLoad, type Workload } from '../block-load.ts';
import { makeFolder } from '../fixtures.ts';
import { quantile } from '../measure.ts';

const DISK_BYTES = 512 * 2 ** 20;
const MIB = 2 ** 20;
/** Rounds in which the modes of the peer are compared. */
const TRIALS = 7;

/**
 * All of it has content: a hole would be read without its file. It is written as the workload writes: what was written in
 * one piece is one folio of the page cache, and ext4 looks at all blocks of a folio to write any of them, which is most of
 * the time of a small write into a large one, whoever makes it.
 */
function makeImage(path: string, bytes: number): void {
  const fd = openSync(path, 'wx+');
  const piece = Buffer.alloc(bytes);
  for (let i = 0; i < DISK_BYTES / bytes; i++) writeSync(fd, piece.fill(i + 1));
  closeSync(fd);
}

function loadOf({ frontEnd }: BackEnd, workload: Workload): BlockLoad {
  return new BlockLoad(frontEnd.ram, frontEnd.queue(0), DISK_BYTES, workload);
}

async function startBetter(image: string, folder: string, workload: Workload, iterations: number): Promise<BackEnd> {
  const medians = new Map<AioMode, number>();
  for (const aio of ['threads', 'io_uring'] as const) {
    await using peer = await startStorageDaemon(image, folder, aio);
    const load = loadOf(peer, workload);
    const times = Array.from({ length: TRIALS }, () => {
      const startedAt = performance.now();
      load.run(iterations);
      return performance.now() - startedAt;
    });
    medians.set(aio, quantile(times, 0.5));
  }
  const [threads = 0, uring = 0] = medians.values();
  return await startStorageDaemon(image, folder, threads < uring ? 'threads' : 'io_uring');
}

function block(name: string, workload: Workload, rate: Rate, target: Target, iterations: number): Benchmark {
  const { type, bytes, depth, order } = workload;
  const size = bytes < MIB ? `${bytes / 1024} KiB` : `${bytes / MIB} MiB`;
  return {
    name: `block/${name}`,
    title: `disk back end: ${size} ${order} ${type}, ${depth} in flight`,
    peer: 'qemu-storage-daemon',
    target,
    rate,
    plan: { iterations, rounds: 31 },
    async prepare() {
      const folder = makeFolder();
      const image = join(folder.path, 'disk.img');
      makeImage(image, workload.bytes);
      const disk = openSync(image, 'r+');
      const peer = await startBetter(image, folder.path, workload, iterations);
      const ours = await startOurs(disk, folder.path);
      const [ourLoad, peerLoad] = [loadOf(ours, workload), loadOf(peer, workload)];
      return {
        ours: (count) => ourLoad.run(count),
        peer: (count) => peerLoad.run(count),
        end: async () => {
          await ours[Symbol.asyncDispose]();
          await peer[Symbol.asyncDispose]();
          closeSync(disk);
          folder.remove();
        },
      };
    },
  };
}

const small = { bytes: 4096, order: 'random' } as const;
const large = { bytes: MIB, order: 'sequential', depth: 4 } as const;
const requests: Rate = { unit: 'IO/s', perIteration: 1 };
const throughput: Rate = { unit: 'B/s', perIteration: MIB };
const quicker: Target = { kind: 'speed', atLeast: 1.3 };
const level: Target = { kind: 'speed', atLeast: 1 };

const benchmarks: readonly Benchmark[] = [
  block('read-4k-qd32', { ...small, type: 'read', depth: 32 }, requests, quicker, 20_000),
  block('write-4k-qd32', { ...small, type: 'write', depth: 32 }, requests, quicker, 20_000),
  block('read-4k-qd1', { ...small, type: 'read', depth: 1 }, requests, { kind: 'none' }, 2_000),
  block('write-4k-qd1', { ...small, type: 'write', depth: 1 }, requests, { kind: 'none' }, 2_000),
  block('read-1m-qd4', { ...large, type: 'read' }, throughput, level, 200),
  block('write-1m-qd4', { ...large, type: 'write' }, throughput, level, 200),
];

export default benchmarks;
